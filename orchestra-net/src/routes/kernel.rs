//! Routes of this machine to the pods of other nodes. Ours are known by who made them and by a metric that is their
//! owner's: what has both and is not wanted is taken away, also what an earlier life of this program left.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use futures::TryStreamExt as _;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::plan::{Own, Ways};
use super::tunnel;

/// Who made a route, as the kernel keeps it: a number that nobody else uses for theirs.
const OURS: RouteProtocol = RouteProtocol::Other(0x6f);

/// How a range is reached: by an address of the segment, or by that of a node's end of a tunnel.
#[derive(Debug, Clone, Copy)]
struct Hop {
    by: Ipv4Addr,
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
type Failed = BTreeMap<(Ipv4Addr, u8), String>;

/// Gives the machine these routes and takes away others of this owner. What could not be added is in the answer.
pub(super) async fn set(owner: u32, own: Option<Own>, wanted: &Ways) -> io::Result<Failed> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let done = set_with(&handle, owner, own, wanted).await;
    connection.abort();
    done
}

async fn set_with(handle: &Handle, owner: u32, own: Option<Own>, wanted: &Ways) -> io::Result<Failed> {
    let mut failed = Failed::new();
    let mut missing = hops(handle, owner, own, wanted, &mut failed).await;
    let all = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let held: Vec<RouteMessage> = all.try_collect().await.map_err(io::Error::other)?;
    for route in held.into_iter().filter(|route| is_owners(route, owner)) {
        let way = way(&route);
        let wanted = way.is_some_and(|(range, held)| missing.get(&range).is_some_and(|hop| hop.is(held)));
        match way.filter(|_| wanted) {
            Some((range, _)) => drop(missing.remove(&range)),
            None => handle.route().del(route).execute().await.map_err(io::Error::other)?,
        }
    }
    for ((range, prefix), Hop { by, device }) in missing {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(range, prefix)
            .gateway(by)
            .priority(owner)
            .protocol(OURS);
        let route = match device {
            // The other end is on no segment of this machine: where it is stands in the tunnel.
            Some(device) => route.output_interface(device).onlink(),
            None => route,
        };
        if let Err(error) = handle.route().add(route.build()).execute().await {
            failed.insert((range, prefix), format!("by {by}: {error}"));
        }
    }
    Ok(failed)
}

/// How each range is reached. Without a range of its own a node has no end of a tunnel.
async fn hops(
    handle: &Handle,
    owner: u32,
    own: Option<Own>,
    wanted: &Ways,
    failed: &mut Failed,
) -> BTreeMap<(Ipv4Addr, u8), Hop> {
    let (mut hops, mut far) = (BTreeMap::new(), Ways::new());
    for (range, by) in wanted {
        if own.is_some() && is_behind_a_router(handle, *by).await {
            far.insert(*range, *by);
        } else {
            hops.insert(*range, Hop { by: *by, device: None });
        }
    }
    match tunnel::set(handle, owner, own, &far).await {
        Ok(device) => {
            hops.extend(far.into_keys().map(|range| (range, Hop { by: range.0, device })));
        }
        Err(error) => {
            failed
                .extend(far.into_iter().map(|(range, by)| (range, format!("by a tunnel to {by}: {error}"))));
        }
    }
    hops
}

/// Whether what is sent to an address goes to a router first. What is not reached at all is said when the route is made.
async fn is_behind_a_router(handle: &Handle, address: Ipv4Addr) -> bool {
    let ask = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build();
    let mut answers = std::pin::pin!(handle.route().get(ask).execute());
    let route = answers.try_next().await.ok().flatten();
    route.is_some_and(|route| route.attributes.iter().any(|it| matches!(it, RouteAttribute::Gateway(_))))
}

/// The routes of an owner, and how they are read.
pub(crate) async fn owned(handle: &Handle, owner: u32) -> io::Result<Vec<(String, RouteMessage)>> {
    let all = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let held: Vec<RouteMessage> = all.try_collect().await.map_err(io::Error::other)?;
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

fn way(route: &RouteMessage) -> Option<((Ipv4Addr, u8), Hop)> {
    let (mut range, mut by, mut device) = (None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => range = Some(*ip),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => by = Some(*ip),
            RouteAttribute::Oif(index) => device = Some(*index),
            _ => {}
        }
    }
    Some(((range?, route.header.destination_prefix_length), Hop { by: by?, device }))
}
