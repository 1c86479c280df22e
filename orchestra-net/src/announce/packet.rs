//! Telling a segment that an address is here now: what routers and machines have in their tables is replaced by it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{
    AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with, sockopt,
};

/// The address of a network card.
pub(super) type Mac = [u8; 6];

const ETHERNET_ARP: [u8; 2] = [0x08, 0x06];
const BROADCAST: Mac = [0xff; 6];
/// The kinds of ARP: some machines heed the one, and some the other.
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// All machines of a segment.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// What has passed no router, as neighbours ask for.
const HOPS: u32 = 255;

/// Tells the segment of a device that an address is at its card.
pub(super) fn announce(address: IpAddr, device: u32, mac: Mac) -> io::Result<()> {
    match address {
        IpAddr::V4(address) => announce_v4(address, device, mac),
        IpAddr::V6(address) => announce_v6(address, device, mac),
    }
}

fn announce_v4(address: Ipv4Addr, device: u32, mac: Mac) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Of no protocol, so that nothing is received.
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
    for kind in [REQUEST, REPLY] {
        sendto(&socket, &arp(kind, address, mac), SendFlags::empty(), &Device::of(device, mac))?;
    }
    Ok(())
}

fn announce_v6(address: Ipv6Addr, device: u32, mac: Mac) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol: Option<Protocol> = Some(ipproto::ICMPV6);
    let socket = socket_with(AddressFamily::INET6, SocketType::RAW, flags, protocol)?;
    sockopt::set_ipv6_multicast_hops(&socket, HOPS)?;
    let all = SocketAddrV6::new(ALL_NODES, 0, 0, device);
    sendto(&socket, &advertisement(address, mac), SendFlags::empty(), &all)?;
    Ok(())
}

/// A frame of ARP that says who has an address, and asks nothing.
fn arp(kind: u8, address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    let target = if kind == REQUEST { [0; 6] } else { mac };
    let frame: [&[u8]; 10] = [
        &BROADCAST,
        &mac,
        &ETHERNET_ARP,
        // Ethernet and IPv4, and how long their addresses are.
        &[0, 1, 0x08, 0x00, 6, 4],
        &[0, kind],
        &mac,
        &address.octets(),
        &target,
        &address.octets(),
        // To the least length of a frame.
        &[0; 18],
    ];
    frame.concat()
}

/// An advertisement of a neighbour that nobody asked for. The kernel adds the checksum.
fn advertisement(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    // It replaces what is known.
    const OVERRIDE: u8 = 0x20;
    let message: [&[u8]; 5] = [&[136, 0, 0, 0], &[OVERRIDE, 0, 0, 0], &address.octets(), &[2, 1], &mac];
    message.concat()
}

/// A device, as a packet socket addresses it.
struct Device(libc::sockaddr_ll);

impl Device {
    fn of(index: u32, mac: Mac) -> Self {
        let mut address = [0; 8];
        address[..6].copy_from_slice(&mac);
        Self(libc::sockaddr_ll {
            sll_family: libc::AF_PACKET.unsigned_abs().try_into().unwrap_or_default(),
            sll_protocol: u16::from_ne_bytes(ETHERNET_ARP),
            sll_ifindex: index.try_into().unwrap_or_default(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: address,
        })
    }
}

#[allow(unsafe_code, reason = "rustix has no address of a packet socket")]
// SAFETY: the pointer is to a `sockaddr_ll` that lives as long as the call, and the length is its own.
unsafe impl SocketAddrArg for Device {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        let length = SocketAddrLen::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
        f((&raw const self.0).cast(), length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    #[test]
    fn a_frame_of_arp() {
        let frame = arp(REQUEST, Ipv4Addr::new(192, 0, 2, 240), MAC);
        let wanted = [
            [0xff; 6].as_slice(),
            &MAC,
            &[8, 6],
            &[0, 1, 8, 0, 6, 4, 0, 1],
            &MAC,
            &[192, 0, 2, 240],
            &[0; 6],
            &[192, 0, 2, 240],
            &[0; 18],
        ];
        assert_eq!(frame, wanted.concat());
        assert_eq!(frame.len(), 60);
        assert_eq!(arp(REPLY, Ipv4Addr::LOCALHOST, MAC)[20..22], [0, 2]);
    }

    #[test]
    fn an_advertisement() {
        let message = advertisement("2001:db8::7".parse().unwrap(), MAC);
        assert_eq!(
            (message.len(), message[0], message[4], &message[24..]),
            (32, 136, 0x20, [2, 1, 2, 0, 0, 0, 0, 9].as_slice())
        );
    }
}
