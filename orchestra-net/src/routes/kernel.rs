//! Routes of this machine to the pods of other nodes. Ours are known by who made them and by a metric that is their
//! owner's: what has both and is not wanted is taken away, also what an earlier life of this program left.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

use futures::TryStreamExt as _;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::plan::Ways;

/// Who made a route, as the kernel keeps it: a number that nobody else uses for theirs.
const OURS: RouteProtocol = RouteProtocol::Other(0x6f);

/// Gives the machine these routes and takes away others of this owner. What could not be added is in the answer.
pub(super) async fn set(owner: u32, wanted: &Ways) -> io::Result<BTreeMap<(Ipv4Addr, u8), String>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let done = set_with(&handle, owner, wanted).await;
    connection.abort();
    done
}

async fn set_with(
    handle: &Handle,
    owner: u32,
    wanted: &Ways,
) -> io::Result<BTreeMap<(Ipv4Addr, u8), String>> {
    let all = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let held: Vec<RouteMessage> = all.try_collect().await.map_err(io::Error::other)?;
    let mut missing = wanted.clone();
    for route in held.into_iter().filter(|route| is_owners(route, owner)) {
        let way = way(&route);
        let wanted = way.is_some_and(|(range, by)| missing.get(&range) == Some(&by));
        match way.filter(|_| wanted) {
            Some((range, _)) => drop(missing.remove(&range)),
            None => handle.route().del(route).execute().await.map_err(io::Error::other)?,
        }
    }
    let mut failed = BTreeMap::new();
    for ((range, prefix), by) in missing {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(range, prefix)
            .gateway(by)
            .priority(owner)
            .protocol(OURS)
            .build();
        if let Err(error) = handle.route().add(route).execute().await {
            failed.insert((range, prefix), format!("by {by}: {error}"));
        }
    }
    Ok(failed)
}

/// The routes of an owner, and how they are read.
pub(crate) async fn owned(handle: &Handle, owner: u32) -> io::Result<Vec<(String, RouteMessage)>> {
    let all = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
    let held: Vec<RouteMessage> = all.try_collect().await.map_err(io::Error::other)?;
    let shown = |route: RouteMessage| {
        let ((range, prefix), by) = way(&route)?;
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

fn way(route: &RouteMessage) -> Option<((Ipv4Addr, u8), Ipv4Addr)> {
    let (mut range, mut by) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(ip)) => range = Some(*ip),
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => by = Some(*ip),
            _ => {}
        }
    }
    Some(((range?, route.header.destination_prefix_length), by?))
}
