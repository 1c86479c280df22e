//! The words of nftables for families of addresses and for protocols.

use std::net::IpAddr;

use orchestra_core::network::Protocol;

/// One of the two families of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn has(self, ip: &IpAddr) -> bool {
        ip.is_ipv4() == (self == Self::V4)
    }

    /// How the header of a packet is called.
    pub(super) fn ip(self) -> &'static str {
        if self == Self::V4 { "ip" } else { "ip6" }
    }

    /// The kernel's number.
    pub(super) fn number(self) -> u8 {
        if self == Self::V4 { 2 } else { 10 }
    }

    /// How many bytes an address has.
    pub(super) fn address_length(self) -> u32 {
        if self == Self::V4 { 4 } else { 16 }
    }

    pub(super) fn kind(self) -> &'static str {
        if self == Self::V4 { "ipv4_addr" } else { "ipv6_addr" }
    }

    pub(super) fn loopback(self) -> &'static str {
        if self == Self::V4 { "127.0.0.0/8" } else { "::1" }
    }
}

/// The bytes of an address, in the order of the network.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// How a protocol is called.
pub(super) fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}
