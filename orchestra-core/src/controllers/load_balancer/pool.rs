//! The addresses that a cluster has for its load balancers: pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn address(self, bits: u128) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX)).into(),
            Self::V6 => Ipv6Addr::from_bits(bits).into(),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Addresses that follow each other, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    family: Family,
    first: u128,
    last: u128,
}

/// Text that is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no range of addresses such as 192.0.2.240-192.0.2.250, 192.0.2.240/28, 192.0.2.240 or 2001:db8::100/120"
)]
pub struct InvalidAddressRange(String);

impl FromStr for AddressRange {
    type Err = InvalidAddressRange;

    fn from_str(text: &str) -> Result<Self, InvalidAddressRange> {
        let parsed = match (text.split_once('-'), text.split_once('/')) {
            (Some((first, last)), _) => Self::between(first.trim(), last.trim()),
            (None, Some((network, prefix))) => Self::network(network, prefix),
            (None, None) => Self::between(text, text),
        };
        parsed.ok_or_else(|| InvalidAddressRange(text.to_owned()))
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.family.address(self.first), self.family.address(self.last))
    }
}

impl AddressRange {
    fn between(first: &str, last: &str) -> Option<Self> {
        let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
        let (family, bits) = (Family::of(first), (bits(first), bits(last)));
        (family == Family::of(last) && bits.0 <= bits.1).then_some(Self {
            family,
            first: bits.0,
            last: bits.1,
        })
    }

    fn network(network: &str, prefix: &str) -> Option<Self> {
        let (network, prefix): (IpAddr, u8) = (network.parse().ok()?, prefix.parse().ok()?);
        let family = Family::of(network);
        let host_bits = u32::from(family.bits().checked_sub(prefix)?);
        let others = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        let first = bits(network) & !others;
        Some(Self { family, first, last: first | others })
    }

    fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family && (self.first..=self.last).contains(&bits(address))
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// All addresses that Services of type LoadBalancer may be given. None: the cluster gives none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPool(Vec<AddressRange>);

impl From<Vec<AddressRange>> for AddressPool {
    fn from(ranges: Vec<AddressRange>) -> Self {
        Self(ranges)
    }
}

impl fmt::Display for AddressPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(", "))
    }
}

impl AddressPool {
    /// Whether there is no address in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(address))
    }

    pub(super) fn has(&self, family: Family) -> bool {
        self.0.iter().any(|range| range.family == family)
    }

    /// The first address of a family that is not taken.
    pub(super) fn free(&self, family: Family, taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let ranges = self.0.iter().filter(|range| range.family == family);
        ranges
            .flat_map(|range| range.first..=range.last)
            .map(|bits| family.address(bits))
            .find(|address| !taken(*address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_said_in_three_ways() {
        for (text, shown) in [
            ("192.0.2.240-192.0.2.250", "192.0.2.240-192.0.2.250"),
            ("192.0.2.241/28", "192.0.2.240-192.0.2.255"),
            ("192.0.2.7", "192.0.2.7-192.0.2.7"),
            ("0.0.0.0/0", "0.0.0.0-255.255.255.255"),
            ("2001:db8::1ff/120", "2001:db8::100-2001:db8::1ff"),
            ("::/0", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:db8::1 - 2001:db8::2", "2001:db8::1-2001:db8::2"),
        ] {
            assert_eq!(text.parse::<AddressRange>().unwrap().to_string(), shown, "{text}");
        }
        for bad in ["", "x", "192.0.2.9-192.0.2.8", "192.0.2.0/33", "192.0.2.0-::1", "::/129", "1.2.3.4/-1"] {
            assert!(bad.parse::<AddressRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_that_is_free_is_found_however_large_the_range() {
        let pool = AddressPool(vec!["192.0.2.8/31".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        let free = |family, taken: &[&str]| {
            let taken: Vec<IpAddr> = taken.iter().map(|text| text.parse().unwrap()).collect();
            pool.free(family, |address| taken.contains(&address)).map(|address| address.to_string())
        };
        assert_eq!(free(Family::V4, &["192.0.2.8"]).as_deref(), Some("192.0.2.9"));
        assert_eq!(free(Family::V4, &["192.0.2.8", "192.0.2.9"]), None);
        assert_eq!(free(Family::V6, &["2001:db8::"]).as_deref(), Some("2001:db8::1"));
    }
}
