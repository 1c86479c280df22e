//! Routes of this machine to the pods of other nodes. Ours are known by who made them and by a metric that is their
//! owner's: what has both and is not wanted is taken away, also what an earlier life of this program left.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt as _;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::plan::{Here, Own, Range, Way, Ways};
use super::tunnel;

/// Who made a route, as the kernel keeps it: a number that nobody else uses for theirs.
const OURS: RouteProtocol = RouteProtocol::Other(0x6f);

/// How a range is reached: by an address of the segment, or by that of a node's end of a tunnel.
#[derive(Debug, Clone, Copy)]
struct Hop {
    by: IpAddr,
    /// The device it is on: that of the tunnels, and of a segment whichever the kernel finds.
    device: Option<u32>,
}

impl Hop {
    /// Whether a route that there is leads this way.
    fn is(self, held: Self) -> bool {
        self.by == held.by && (self.device.is_none() || self.device == held.device)
    }
}

/// What could not be reached, and why.
type Failed = BTreeMap<Range, String>;

/// Gives the machine these routes and takes away others of this owner. What could not be added is in the answer.
pub(super) async fn set(here: Here, wanted: &Ways) -> io::Result<Failed> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let done = set_with(&handle, here, wanted).await;
    connection.abort();
    done
}

async fn set_with(handle: &Handle, here: Here, wanted: &Ways) -> io::Result<Failed> {
    let mut failed = Failed::new();
    let owner = here.owner;
    let mut missing = hops(handle, here, wanted, &mut failed).await;
    for route in all(handle).await?.into_iter().filter(|route| is_owners(route, owner)) {
        let way = way(&route);
        let wanted = way.is_some_and(|(range, held)| missing.get(&range).is_some_and(|hop| hop.is(held)));
        match way.filter(|_| wanted) {
            Some((range, _)) => drop(missing.remove(&range)),
            None => handle.route().del(route).execute().await.map_err(io::Error::other)?,
        }
    }
    for (range, hop) in missing {
        if let Err(error) = handle.route().add(route(owner, range, hop)?).execute().await {
            failed.insert(range, format!("by {}: {error}", hop.by));
        }
    }
    Ok(failed)
}

/// A route of an owner.
fn route(owner: u32, (range, prefix): Range, hop: Hop) -> io::Result<RouteMessage> {
    let to = RouteMessageBuilder::<IpAddr>::new().destination_prefix(range, prefix);
    let route = to.and_then(|to| to.gateway(hop.by)).map_err(io::Error::other)?;
    let route = route.priority(owner).protocol(OURS);
    Ok(match hop.device {
        // The other end is on no segment of this machine: where it is stands in the tunnel.
        Some(device) => route.output_interface(device).onlink(),
        None => route,
    }
    .build())
}

/// The routes of this machine, of both families; of version 4 alone where the kernel has no other.
async fn all(handle: &Handle) -> io::Result<Vec<RouteMessage>> {
    let v4 = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let mut routes: Vec<RouteMessage> = v4.try_collect().await.map_err(io::Error::other)?;
    let v6 = handle.route().get(RouteMessageBuilder::<Ipv6Addr>::new().build()).execute();
    routes.extend(v6.try_collect::<Vec<_>>().await.unwrap_or_default());
    Ok(routes)
}

/// How each range is reached. Without a range of its own a node has no end of a tunnel.
async fn hops(handle: &Handle, here: Here, wanted: &Ways, failed: &mut Failed) -> BTreeMap<Range, Hop> {
    let (mut hops, mut far) = (BTreeMap::new(), BTreeMap::new());
    for (range, Way { by, end }) in wanted {
        let end = end.filter(|_| here.own.is_some());
        match (by, end) {
            (Some(by), None) => drop(hops.insert(*range, Hop { by: *by, device: None })),
            (Some(by), Some(_)) if !is_behind_a_router(handle, *by).await => {
                hops.insert(*range, Hop { by: *by, device: None });
            }
            (_, Some(end)) => drop(far.insert(*range, end)),
            (None, None) => drop(failed.insert(*range, "as the node has no address of this family".into())),
        }
    }
    let ends: Vec<Own> = far.values().copied().collect();
    match tunnel::set(handle, here, &ends).await {
        Ok(device) => {
            let hop = |(range, end): (Range, Own)| {
                (range, Hop { by: tunnel::hop(range.0.is_ipv6(), &end), device })
            };
            hops.extend(far.into_iter().map(hop));
        }
        Err(error) => {
            let why =
                |(range, end): (Range, Own)| (range, format!("by a tunnel to {}: {error}", end.address));
            failed.extend(far.into_iter().map(why));
        }
    }
    hops
}

/// Whether what is sent to an address goes to a router first. What is not reached at all is said when the route is made.
async fn is_behind_a_router(handle: &Handle, address: IpAddr) -> bool {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let Ok(ask) = RouteMessageBuilder::<IpAddr>::new().destination_prefix(address, bits) else {
        return false;
    };
    let mut answers = std::pin::pin!(handle.route().get(ask.build()).execute());
    let route = answers.try_next().await.ok().flatten();
    route.is_some_and(|route| route.attributes.iter().any(|it| matches!(it, RouteAttribute::Gateway(_))))
}

/// The routes of an owner, and how they are read.
pub(crate) async fn owned(handle: &Handle, owner: u32) -> io::Result<Vec<(String, RouteMessage)>> {
    let held = all(handle).await?;
    let shown = |route: RouteMessage| {
        let ((range, prefix), Hop { by, .. }) = way(&route)?;
        Some((format!("{range}/{prefix} by {by}"), route))
    };
    Ok(held.into_iter().filter(|route| is_owners(route, owner)).filter_map(shown).collect())
}

fn is_owners(route: &RouteMessage, owner: u32) -> bool {
    route.header.protocol == OURS
        && route
            .attributes
            .iter()
            .any(|it| matches!(it, RouteAttribute::Priority(metric) if *metric == owner))
}

fn way(route: &RouteMessage) -> Option<(Range, Hop)> {
    let (mut range, mut by, mut device) = (None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(to) => range = ip(to),
            RouteAttribute::Gateway(gateway) => by = ip(gateway),
            RouteAttribute::Oif(index) => device = Some(*index),
            _ => {}
        }
    }
    Some(((range?, route.header.destination_prefix_length), Hop { by: by?, device }))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}
