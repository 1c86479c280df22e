//! What is wrong with addresses, and with ranges of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// An address that is new, so that it must be written in no old way.
pub(super) fn plain(errors: &mut Errors, path: &Path, text: &str) {
    if let Some(IpAddr::V6(address)) = check::ip(errors, path, text)
        && address.to_ipv4_mapped().is_some()
    {
        errors.invalid(path, text, "must not be an IPv4-mapped IPv6 address");
    }
}

/// What to know of an address that may be written otherwise than it is most often.
pub(super) fn canonical_warning(path: &Path, text: &str) -> Option<String> {
    let IpAddr::V6(address) = text.parse().ok()? else { return None };
    if address.to_ipv4_mapped().is_some() {
        let plain = address.to_canonical();
        return Some(format!("{path}: non-standard IP address {text:?} is invalid: use \"{plain}\""));
    }
    let canonical = address.to_string();
    (canonical != text).then(|| {
        format!("{path}: IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})")
    })
}

/// A range of addresses: the address that it was written with, and how many bits of it all of them share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) address: IpAddr,
    pub(super) bits: u8,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let digits = bits.bytes().all(|digit| digit.is_ascii_digit());
        let canonical = digits && (bits == "0" || !bits.starts_with('0'));
        let range = Self { address: address.parse().ok()?, bits: bits.parse().ok().filter(|_| canonical)? };
        (range.bits <= range.width()).then_some(range)
    }

    const fn width(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Its first address.
    fn first(self) -> IpAddr {
        let rest = u32::from(self.width() - self.bits);
        match self.address {
            IpAddr::V4(v4) => {
                Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(rest).unwrap_or(0)).into()
            }
            IpAddr::V6(v6) => {
                Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0)).into()
            }
        }
    }

    /// Whether an address is in it.
    pub(super) fn contains(self, address: IpAddr) -> bool {
        let other = Self { address, bits: self.bits };
        self.address.is_ipv4() == address.is_ipv4() && other.first() == self.first()
    }

    fn canonical(self) -> String {
        format!("{}/{}", self.first(), self.bits)
    }
}

/// The family of a range; `None` of a text that is none.
pub(super) fn family(text: &str) -> Option<&'static str> {
    check::family_of_cidr(text)
}

/// A range that is new, so that it must be written in no old way.
pub(super) fn range(errors: &mut Errors, path: &Path, text: &str) -> Option<Range> {
    let Some(range) = Range::parse(text) else {
        errors.invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        return None;
    };
    match range.address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            errors.invalid(path, text, "must not have an IPv4-mapped IPv6 address");
        }
        address if address != range.first() => {
            errors.invalid(path, text, "must not have bits set beyond the prefix length");
        }
        _ => {}
    }
    Some(range)
}

/// A range that must be written in the one way in which it is to be written.
pub(super) fn canonical_range(errors: &mut Errors, path: &Path, text: &str) {
    let before = errors.iter().count();
    let Some(range) = range(errors, path, text) else { return };
    if errors.iter().count() == before && range.canonical() != text {
        errors.invalid(path, text, format!("must be in canonical form ({:?})", range.canonical()));
    }
}

/// What to know of a range that is taken although it could be written better.
pub(super) fn range_warnings(path: &Path, text: &str) -> Vec<String> {
    let Some(range) = Range::parse(text) else { return Vec::new() };
    if range.address.is_ipv6() && range.canonical() != text {
        let canonical = range.canonical();
        return vec![format!(
            "{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({canonical:?})"
        )];
    }
    Vec::new()
}
