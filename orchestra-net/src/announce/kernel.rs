//! Addresses of balancers on this machine's devices. Ours are known by a metric that is their owner's.
//!
//! They end by themselves when they are not renewed: of a program that was killed nothing goes on answering, though the
//! machine does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::TryStreamExt as _;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, CacheInfo,
};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::Segment;
use super::packet::Mac;
use super::plan::is_on;

/// Where an address was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) device: u32,
    pub(super) mac: Option<Mac>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The addresses that are there.
    pub(super) there: BTreeMap<IpAddr, Place>,
    /// Those that could not be put there.
    pub(super) failed: BTreeMap<IpAddr, String>,
}

/// What the machine has.
struct Machine {
    /// Devices that are up and no loopback, by their numbers.
    devices: BTreeMap<u32, Option<Mac>>,
    addresses: Vec<AddressMessage>,
    /// The devices of the default routes, of version 4 and 6.
    ways_out: [Option<u32>; 2],
}

/// The segments that this machine is on.
pub(super) async fn segments() -> io::Result<Vec<Segment>> {
    with_handle(async |handle| {
        Ok(Machine::read(handle).await?.segments().map(|(_, segment)| segment).collect())
    })
    .await
}

/// Gives the machine these addresses for as long as `life`, and takes away others of this owner.
pub(super) async fn set(owner: u32, wanted: &BTreeSet<IpAddr>, life: Duration) -> io::Result<Done> {
    with_handle(async |handle| set_with(handle, owner, wanted, life).await).await
}

async fn with_handle<T>(work: impl AsyncFnOnce(&Handle) -> io::Result<T>) -> io::Result<T> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let done = work(&handle).await;
    connection.abort();
    done
}

async fn set_with(
    handle: &Handle,
    owner: u32,
    wanted: &BTreeSet<IpAddr>,
    life: Duration,
) -> io::Result<Done> {
    let machine = Machine::read(handle).await?;
    let mut done = Done::default();
    let mut others = BTreeSet::new();
    for message in &machine.addresses {
        let Some(address) = address_of(message) else { continue };
        if !is_owners(message, owner) {
            others.insert(address);
        } else if !wanted.contains(&address)
            || machine.place(address).map(|it| it.device) != Some(message.header.index)
        {
            handle.address().del(message.clone()).execute().await.map_err(io::Error::other)?;
        }
    }
    for address in wanted {
        let place = match machine.place(*address) {
            _ if others.contains(address) => Err("this machine has it already".to_owned()),
            None => Err("no device of this machine leads to it".to_owned()),
            Some(place) => add(handle, owner, *address, place.device, life)
                .await
                .map(|()| place)
                .map_err(|error| error.to_string()),
        };
        match place {
            Ok(place) => drop(done.there.insert(*address, place)),
            Err(why) => drop(done.failed.insert(*address, why)),
        }
    }
    Ok(done)
}

/// Adds an address, or renews it.
async fn add(handle: &Handle, owner: u32, address: IpAddr, device: u32, life: Duration) -> io::Result<()> {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let mut request = handle.address().add(device, address, bits).replace();
    let mut cache = CacheInfo::default();
    // This machine shall not send from it by itself.
    cache.ifa_preferred = 0;
    cache.ifa_valid = u32::try_from(life.as_secs()).unwrap_or(u32::MAX);
    let attributes = &mut request.message_mut().attributes;
    attributes.push(AddressAttribute::CacheInfo(cache));
    attributes.push(AddressAttribute::RoutePriority(owner));
    if address.is_ipv6() {
        // Whoever had it before may still answer: to wait for that would be to have nobody answer.
        attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute));
        request.message_mut().header.flags = AddressHeaderFlags::Nodad;
    }
    request.execute().await.map_err(|error| match error {
        rtnetlink::Error::NetlinkError(error) => error.to_io(),
        error => io::Error::other(error),
    })
}

impl Machine {
    async fn read(handle: &Handle) -> io::Result<Self> {
        let links: Vec<LinkMessage> =
            handle.link().get().execute().try_collect().await.map_err(io::Error::other)?;
        let addresses = handle.address().get().execute().try_collect().await.map_err(io::Error::other)?;
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut ways_out = [None, None];
        for (way, question) in ways_out.iter_mut().zip([v4, v6]) {
            let routes: Vec<RouteMessage> =
                handle.route().get(question).execute().try_collect().await.map_err(io::Error::other)?;
            *way =
                routes.iter().filter_map(way_out).min_by_key(|(metric, _)| *metric).map(|(_, device)| device);
        }
        let usable = |link: &&LinkMessage| {
            link.header.flags.contains(LinkFlags::Up) && !link.header.flags.contains(LinkFlags::Loopback)
        };
        let devices = links.iter().filter(usable).map(|link| (link.header.index, mac(link))).collect();
        Ok(Self { devices, addresses, ways_out })
    }

    /// The segments of its devices, each the machine's own address and how many bits of it all there share.
    fn segments(&self) -> impl Iterator<Item = (u32, Segment)> + '_ {
        self.addresses.iter().filter_map(|message| {
            let (address, prefix) = (address_of(message)?, message.header.prefix_len);
            let link_local = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
            let shared = prefix < if address.is_ipv4() { 32 } else { 128 };
            let device = message.header.index;
            (shared && !link_local && self.devices.contains_key(&device))
                .then_some((device, (address, prefix)))
        })
    }

    /// The device on whose segment an address is, or else the one that leads out.
    fn place(&self, address: IpAddr) -> Option<Place> {
        let near = self
            .segments()
            .filter(|(_, segment)| is_on(*segment, address))
            .max_by_key(|(_, (_, prefix))| *prefix)
            .map(|(device, _)| device);
        let out = self.ways_out[usize::from(address.is_ipv6())];
        let device = near.or_else(|| out.filter(|device| self.devices.contains_key(device)))?;
        Some(Place { device, mac: self.devices.get(&device).copied().flatten() })
    }
}

fn way_out(route: &RouteMessage) -> Option<(u32, u32)> {
    let (mut metric, mut device) = (0, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Oif(index) => device = Some(*index),
            _ => {}
        }
    }
    (route.header.destination_prefix_length == 0).then_some(())?;
    Some((metric, device?))
}

fn mac(link: &LinkMessage) -> Option<Mac> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => Mac::try_from(bytes.as_slice()).ok(),
        _ => None,
    })
}

pub(crate) fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    // Of version 6 there is only one of the two.
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    })
}

pub(crate) fn is_owners(message: &AddressMessage, owner: u32) -> bool {
    message
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, AddressAttribute::RoutePriority(metric) if *metric == owner))
}
