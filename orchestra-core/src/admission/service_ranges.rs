//! The addresses and node ports that services may have.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The addresses that services may have: of version 4, and of version 6 too where the cluster has both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRanges {
    network: Ipv4Addr,
    prefix: u8,
    second: Option<(Ipv6Addr, u8)>,
    node_ports: RangeInclusive<u16>,
}

/// Text that is not a network fit for services, or two.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an IPv4 network of /8 to /28 such as 10.96.0.0/12, or one and an IPv6 network of /64 to /124 such as \
     10.96.0.0/12,fd00:10:96::/112"
)]
pub struct InvalidRange(String);

impl Default for ServiceRanges {
    fn default() -> Self {
        Self { network: Ipv4Addr::new(10, 96, 0, 0), prefix: 12, second: None, node_ports: 30_000..=32_767 }
    }
}

impl FromStr for ServiceRanges {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid = || InvalidRange(text.to_owned());
        let (first, second) = match text.split_once(',') {
            Some((first, second)) => (first, Some(second)),
            None => (text, None),
        };
        let (network, prefix) = parsed::<Ipv4Addr>(first, 8..=28).ok_or_else(invalid)?;
        let network = Ipv4Addr::from(u32::from(network) & mask(prefix));
        let second = match second {
            Some(text) => {
                let (network, prefix) = parsed::<Ipv6Addr>(text, 64..=124).ok_or_else(invalid)?;
                Some((Ipv6Addr::from_bits(network.to_bits() & (u128::MAX << (128 - prefix))), prefix))
            }
            None => None,
        };
        Ok(Self { network, prefix, second, ..Self::default() })
    }
}

/// A network whose prefix is one of these.
fn parsed<A: FromStr>(text: &str, prefixes: RangeInclusive<u8>) -> Option<(A, u8)> {
    let (network, prefix) = text.trim().split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| prefixes.contains(prefix))?;
    Some((network.parse().ok()?, prefix))
}

impl fmt::Display for ServiceRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cidrs().join(","))
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX << (32 - prefix)
}

impl ServiceRanges {
    /// With another range for node ports.
    #[must_use]
    pub fn with_node_ports(mut self, node_ports: RangeInclusive<u16>) -> Self {
        self.node_ports = node_ports;
        self
    }

    /// The first address: that of the API server's own service.
    pub fn api_server(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + 1)
    }

    /// The tenth address: that of the Service by which names are looked up, where everybody expects it.
    pub fn dns(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network) + 10)
    }

    /// Its networks, one of each family that the cluster has.
    pub fn cidrs(&self) -> Vec<String> {
        let second = self.second.map(|(network, prefix)| format!("{network}/{prefix}"));
        [format!("{}/{}", self.network, self.prefix)].into_iter().chain(second).collect()
    }

    pub(super) fn node_ports(&self) -> &RangeInclusive<u16> {
        &self.node_ports
    }

    /// Whether services may have addresses of both families.
    pub(super) fn is_dual(&self) -> bool {
        self.second.is_some()
    }

    pub(super) fn has(&self, family: &str) -> bool {
        family == V4 || self.is_dual()
    }

    /// The network of a family.
    pub(super) fn cidr(&self, family: &str) -> String {
        self.cidrs().into_iter().nth(usize::from(family == V6)).unwrap_or_default()
    }

    pub(super) fn contains(&self, family: &str, address: IpAddr) -> bool {
        match (address, self.second) {
            (IpAddr::V4(address), _) if family == V4 => {
                u32::from(address) & mask(self.prefix) == u32::from(self.network)
            }
            (IpAddr::V6(address), Some((network, prefix))) if family == V6 => {
                (address.to_bits() ^ network.to_bits()) >> (128 - prefix) == 0
            }
            _ => false,
        }
    }

    /// How many addresses of a family can be given out: not the network's own, and not the last one, which version 4 has
    /// for all.
    pub(super) fn size(&self, family: &str) -> u64 {
        match self.second {
            Some((_, prefix)) if family == V6 => {
                u64::try_from((1u128 << (128 - prefix)) - 2).unwrap_or(u64::MAX)
            }
            _ => u64::from(!mask(self.prefix)) - 1,
        }
    }

    /// An address of a family by its place in the network.
    pub(super) fn nth(&self, family: &str, n: u64) -> IpAddr {
        match self.second {
            Some((network, _)) if family == V6 => {
                Ipv6Addr::from_bits(network.to_bits() + u128::from(n)).into()
            }
            // No larger than what of an address is not the network's.
            _ => Ipv4Addr::from_bits(u32::from(self.network).wrapping_add(n as u32)).into(),
        }
    }
}

/// How the families of addresses are called.
pub(super) const V4: &str = "IPv4";
pub(super) const V6: &str = "IPv6";

/// The family of an address.
pub(super) fn family_of(address: &str) -> &'static str {
    if address.contains(':') { V6 } else { V4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_or_one_of_each_family() {
        let one: ServiceRanges = "10.96.7.9/16".parse().unwrap();
        assert_eq!((one.to_string().as_str(), one.is_dual(), one.size(V4)), ("10.96.0.0/16", false, 65_534));
        let both: ServiceRanges = "10.96.0.0/16, fd00:10:96::1/112".parse().unwrap();
        assert_eq!(both.cidrs(), ["10.96.0.0/16", "fd00:10:96::/112"]);
        assert_eq!((both.cidr(V4), both.cidr(V6)), ("10.96.0.0/16".into(), "fd00:10:96::/112".into()));
        assert_eq!((both.size(V6), both.nth(V6, 258).to_string().as_str()), (65_534, "fd00:10:96::102"));
        let has = |family: &str, ip: &str| both.contains(family, ip.parse().unwrap());
        assert!(has(V4, "10.96.3.3") && has(V6, "fd00:10:96::ffff"));
        assert!(!has(V6, "10.96.3.3") && !has(V4, "fd00:10:96::1") && !has(V6, "fd00:10:96::1:0"));
        for bad in [
            "",
            "10.96.0.0",
            "10.96.0.0/29",
            "fd00::/112",
            "10.96.0.0/16,10.97.0.0/16",
            "10.96.0.0/16,fd00::/48",
        ] {
            assert!(bad.parse::<ServiceRanges>().is_err(), "{bad}");
        }
    }
}
