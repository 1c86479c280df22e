//! What is wrong with the addresses of endpoints.

use std::net::IpAddr;

use super::check;
use crate::api::field::{Errors, Path};

/// An address that traffic can be sent to.
///
/// Kubernetes refuses loopback addresses here. This cluster does not: they are the addresses of pods where the node
/// may not make networks.
pub(super) fn endpoint(errors: &mut Errors, path: &Path, text: &str) {
    let Some(address) = check::ip(errors, path, text) else { return };
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    for (special, what) in [
        (address.is_unspecified(), "unspecified (0.0.0.0 or ::)"),
        (link_local, "in the link-local range (169.254.0.0/16, fe80::/10)"),
        (link_local_multicast, "in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ] {
        if special {
            errors.invalid(path, text, format!("may not be {what}"));
        }
    }
}
