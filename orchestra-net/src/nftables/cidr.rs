//! Ranges of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cidr {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

impl Cidr {
    /// Which bits of an address count, as an address.
    pub(super) fn mask(&self) -> IpAddr {
        let prefix = u32::from(self.prefix);
        match self.address {
            IpAddr::V4(_) => {
                let zeros = 32_u32.saturating_sub(prefix);
                Ipv4Addr::from_bits(u32::MAX.checked_shl(zeros).unwrap_or(0)).into()
            }
            IpAddr::V6(_) => {
                let zeros = 128_u32.saturating_sub(prefix);
                Ipv6Addr::from_bits(u128::MAX.checked_shl(zeros).unwrap_or(0)).into()
            }
        }
    }

    /// The first address of the range, whichever it was given with.
    pub(super) fn first(&self) -> IpAddr {
        match (self.address, self.mask()) {
            (IpAddr::V4(ip), IpAddr::V4(mask)) => (ip & mask).into(),
            (IpAddr::V6(ip), IpAddr::V6(mask)) => (ip & mask).into(),
            (ip, _) => ip,
        }
    }

    /// The last one.
    pub(super) fn last(&self) -> IpAddr {
        match (self.first(), self.mask()) {
            (IpAddr::V4(ip), IpAddr::V4(mask)) => (ip | !mask).into(),
            (IpAddr::V6(ip), IpAddr::V6(mask)) => (ip | !mask).into(),
            (ip, _) => ip,
        }
    }

    fn contains(&self, other: &Self) -> bool {
        self.first() <= other.first() && other.last() <= self.last()
    }
}

impl From<(IpAddr, u8)> for Cidr {
    fn from((address, prefix): (IpAddr, u8)) -> Self {
        Self { address, prefix }
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.first(), self.prefix)
    }
}

/// The same addresses by ranges none of which is within another: the kernel knows only where they begin and end.
pub(super) fn outermost(ranges: impl IntoIterator<Item = Cidr>) -> Vec<Cidr> {
    let mut all: Vec<Cidr> = ranges.into_iter().collect();
    all.sort_by_key(|range| (range.first(), range.prefix));
    all.dedup_by(|next, held| held.contains(next));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Cidr {
        let (address, prefix) = text.split_once('/').unwrap();
        Cidr { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
    }

    #[test]
    fn ranges_have_two_ends() {
        for (text, shown, last) in [
            ("10.244.1.7/24", "10.244.1.0/24", "10.244.1.255"),
            ("10.1.2.3/32", "10.1.2.3/32", "10.1.2.3"),
            ("10.1.2.3/0", "0.0.0.0/0", "255.255.255.255"),
            ("fd00::5/48", "fd00::/48", "fd00::ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert_eq!(range(text).to_string(), shown);
            assert_eq!(range(text).last().to_string(), last);
        }
    }

    #[test]
    fn what_is_within_another_is_left_out() {
        let ranges = ["10.9.0.0/24", "10.8.0.0/16", "10.9.0.0/16", "10.9.7.0/24", "10.9.0.0/16"].map(range);
        assert_eq!(outermost(ranges), ["10.8.0.0/16", "10.9.0.0/16"].map(range));
    }
}
