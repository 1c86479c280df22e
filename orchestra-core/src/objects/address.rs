//! What is wrong with the addresses of endpoints.

use std::net::IpAddr;

use super::check;
use crate::api::field::{Errors, Path};

/// An address that traffic can be sent to.
///
/// `loopback`: whether it may be a loopback address, which Kubernetes refuses. Where a node may not make networks, its
/// pods have such addresses, and a server for one machine only is reached at one.
pub(super) fn endpoint(errors: &mut Errors, path: &Path, text: &str, loopback: bool) {
    let Some(address) = check::ip(errors, path, text) else { return };
    let (link_local, link_local_multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    let unspecified = format!("unspecified ({text})");
    for (special, what) in [
        (address.is_unspecified(), unspecified.as_str()),
        (address.is_loopback() && !loopback, "in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "in the link-local range (169.254.0.0/16, fe80::/10)"),
        (link_local_multicast, "in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ] {
        if special {
            errors.invalid(path, text, format!("may not be {what}"));
        }
    }
}
