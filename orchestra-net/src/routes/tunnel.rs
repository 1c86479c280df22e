//! Tunnels (VXLAN) to nodes that a router is before, over UDP at [`PORT`].
//!
//! A node has one device for all of them, with the first address of its pods' range, which is no pod's. What a node must
//! know of another's end follows from what all see: its hardware address from the node's address, and its number from the
//! range of its pods, which is a node's alone, so that clusters of one machine have different ones. Nothing is learned
//! from what arrives. The device's packets are as much smaller than those of the device below as the tunnel needs, or smaller
//! yet if that is said.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{Error, Handle, LinkUnspec, LinkVxlan};

use super::plan::{Here, Own};
use crate::announce::kernel::address_of;

/// Where nodes take each other's packets: the port that is meant for it.
const PORT: u16 = 4789;
/// How many bytes a tunnel puts around a packet: headers of Ethernet, IPv4 and UDP, and its own.
const AROUND: u32 = 14 + 20 + 8 + 8;

/// The name of an owner's device.
pub(crate) fn name(owner: u32) -> String {
    format!("orx{owner:08x}")
}

/// The hardware address of a node's end.
fn hardware(node: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = node.octets();
    // Of those that everybody may give out.
    [0x0a, 0x6f, a, b, c, d]
}

/// The number of a node's end: of the 24 bits that there are, those that ranges of pods differ in.
fn number(range: Ipv4Addr) -> u32 {
    let bits = range.to_bits();
    (bits >> 8) ^ ((bits & 0xff) << 16)
}

/// By which address a node's end is reached from this one's.
pub(super) fn hop(is_v6: bool, end: &Own) -> IpAddr {
    match is_v6 {
        true => on_link(end.address).into(),
        false => end.range.0.into(),
    }
}

/// The address of a node's end on the link that all ends are on.
fn on_link(node: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = node.octets().map(u16::from);
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x6f, 0, a << 8 | b, c << 8 | d)
}

/// Gives the machine tunnels to these ends, and no others. The answer is their device, if there are any.
pub(super) async fn set(handle: &Handle, here: Here, far: &[Own]) -> io::Result<Option<u32>> {
    let name = name(here.owner);
    let held = find(handle, &name).await?;
    let Some(own) = here.own.filter(|_| !far.is_empty()) else {
        if let Some(device) = held {
            handle.link().del(device.header.index).execute().await.map_err(other)?;
        }
        return Ok(None);
    };
    let below = below(handle, own).await?;
    let link = match held {
        Some(device) if is_of(&device, own) => device,
        held => {
            if let Some(device) = held {
                handle.link().del(device.header.index).execute().await.map_err(other)?;
            }
            add(handle, &name, own, below.as_ref()).await?
        }
    };
    let device = link.header.index;
    let address = handle.address().add(device, own.range.0.into(), 32).replace();
    address.execute().await.map_err(other)?;
    let change = LinkUnspec::new_with_index(device).up();
    let room = below.and_then(|below| mtu(&below)).map(|room| room.saturating_sub(AROUND));
    let wanted = room.map(|room| here.mtu.map_or(room, |asked| asked.min(room)));
    let change = match wanted.filter(|wanted| mtu(&link) != Some(*wanted)) {
        Some(wanted) => change.mtu(wanted),
        None => change,
    };
    handle.link().set(change.build()).execute().await.map_err(other)?;
    lead(handle, device, far).await?;
    Ok(Some(device))
}

/// The device that has a node's address.
async fn below(handle: &Handle, own: Own) -> io::Result<Option<LinkMessage>> {
    let addresses: Vec<AddressMessage> =
        handle.address().get().execute().try_collect().await.map_err(other)?;
    let Some(held) = addresses.iter().find(|it| address_of(it) == Some(own.address.into())) else {
        return Ok(None);
    };
    let mut links = std::pin::pin!(handle.link().get().match_index(held.header.index).execute());
    links.try_next().await.map_err(other)
}

/// The largest packet of a device.
fn mtu(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(bytes) => Some(*bytes),
        _ => None,
    })
}

async fn add(handle: &Handle, name: &str, own: Own, below: Option<&LinkMessage>) -> io::Result<LinkMessage> {
    let below = below.ok_or_else(|| {
        io::Error::other(format!("the node's address {} is on none of this machine's devices", own.address))
    })?;
    let link = LinkVxlan::new(name, number(own.range.0))
        .dev(below.header.index)
        .local(own.address)
        .port(PORT)
        .learning(false)
        .address(hardware(own.address).to_vec())
        .build();
    handle.link().add(link).execute().await.map_err(other)?;
    let made = find(handle, name).await?;
    made.ok_or_else(|| io::Error::other("the device is gone again"))
}

/// The device of that name, if there is one.
pub(crate) async fn find(handle: &Handle, name: &str) -> io::Result<Option<LinkMessage>> {
    let all: Vec<LinkMessage> = handle.link().get().execute().try_collect().await.map_err(other)?;
    let named = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::IfName(held) if held == name);
    Ok(all.into_iter().find(|link| link.attributes.iter().any(named)))
}

/// Whether a device is the end of this node, as it is now.
fn is_of(device: &LinkMessage, own: Own) -> bool {
    let has = |wanted: &InfoVxlan| {
        device.attributes.iter().any(|it| {
            let LinkAttribute::LinkInfo(parts) = it else { return false };
            parts
                .iter()
                .any(|part| matches!(part, LinkInfo::Data(InfoData::Vxlan(held)) if held.contains(wanted)))
        })
    };
    has(&InfoVxlan::Id(number(own.range.0))) && has(&InfoVxlan::Local(own.address))
}

/// Where the other ends are: each by its address, which has a hardware address, which is at a node.
async fn lead(handle: &Handle, device: u32, far: &[Own]) -> io::Result<()> {
    for family in [AddressFamily::Inet, AddressFamily::Inet6, AddressFamily::Bridge] {
        let all = handle.neighbours().get().set_address_family(family).execute();
        // A kernel may have no version 6.
        let held: Vec<NeighbourMessage> = match all.try_collect().await {
            Err(_) if family == AddressFamily::Inet6 => continue,
            held => held.map_err(other)?,
        };
        for entry in held.into_iter().filter(|entry| entry.header.ifindex == device) {
            let wanted = far.iter().any(|end| {
                let at = match family {
                    AddressFamily::Inet => hop(false, end),
                    AddressFamily::Inet6 => hop(true, end),
                    _ => end.address.into(),
                };
                leads(&entry, at, &hardware(end.address))
            });
            // What the kernel made of groups by itself goes with the device.
            let is_group = entry.header.kind == RouteType::Multicast;
            if !wanted && !is_group {
                removed(handle.neighbours().del(entry).execute().await)?;
            }
        }
    }
    for end in far {
        let hardware = hardware(end.address);
        let mut at_node = handle
            .neighbours()
            .add_bridge(device, &hardware)
            .destination(end.address.into())
            .flags(NeighbourFlags::Own)
            .replace();
        at_node.message_mut().attributes.push(NeighbourAttribute::Vni(number(end.range.0)));
        at_node.execute().await.map_err(other)?;
        let entry = |is_v6: bool| {
            let at_end = handle.neighbours().add(device, hop(is_v6, end)).link_layer_address(&hardware);
            at_end.replace().execute()
        };
        entry(false).await.map_err(other)?;
        if let Err(error) = entry(true).await {
            tracing::debug!(%error, node = %end.address, "a tunnel leads packets of version 4 alone");
        }
    }
    Ok(())
}

fn leads(entry: &NeighbourMessage, to: IpAddr, hardware: &[u8]) -> bool {
    let has = |wanted: &NeighbourAttribute| entry.attributes.contains(wanted);
    let to = match to {
        IpAddr::V4(to) => NeighbourAddress::Inet(to),
        IpAddr::V6(to) => NeighbourAddress::Inet6(to),
    };
    has(&NeighbourAttribute::Destination(to)) && has(&NeighbourAttribute::LinkLayerAddress(hardware.to_vec()))
}

/// That an entry went by itself is no error.
fn removed(done: Result<(), Error>) -> io::Result<()> {
    match done {
        Err(Error::NetlinkError(error)) if error.to_io().kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(other),
    }
}

fn other(error: Error) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_differ_as_ranges_and_nodes_do() {
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        assert_eq!(number(ip("10.244.1.0")), 0x0a_f4_01);
        let ranges = ["10.244.1.0", "10.244.1.128", "10.244.2.0", "10.245.1.0"].map(|text| number(ip(text)));
        assert!(ranges.iter().all(|number| *number < 1 << 24));
        assert_eq!(std::collections::BTreeSet::from(ranges).len(), 4);
        let [first, ..] = hardware(ip("192.0.2.1"));
        assert_eq!(first & 0b11, 0b10, "one device's, and given out by whoever runs it");
    }
}
