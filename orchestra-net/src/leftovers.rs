//! What networks have on a machine, and taking it away: for a machine that shall be as it was before.

use std::io;
use std::net::IpAddr;

use futures::TryStreamExt as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{Handle, new_connection};

use crate::address::{label, metric};
use crate::announce::kernel::{address_of, is_owners};
use crate::bandwidth::kernel::mirrors;
use crate::nftables::NftablesNetwork;
use crate::routes::kernel::owned;
use crate::routes::tunnel;

/// What the networks of one owner have on this machine: addresses of services, names and load balancers, routes, a
/// tunnel's end, mirrors of pods' devices, tables of nftables. Nothing of another owner's, nor of anybody else's, is among it.
#[derive(Debug)]
pub struct Leftovers {
    owner: String,
    tables: Vec<String>,
    addresses: Vec<(IpAddr, AddressMessage)>,
    routes: Vec<(String, RouteMessage)>,
    tunnel: Option<(String, u32)>,
    mirrors: Vec<(u32, String, String)>,
    bridge: Option<(String, u32)>,
}

impl Leftovers {
    /// Looks for them. `bridge` is the one that pods of this machine were on: it counts when no pod's device is left,
    /// as several clusters of a machine may share it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub async fn of(owner: &str, bridge: &str) -> io::Result<Self> {
        // Without root there are neither tables nor bridges of ours.
        let may = rustix::process::geteuid().is_root();
        let tables = if may { NftablesNetwork::tables(owner).await? } else { Vec::new() };
        let (connection, handle, _) = new_connection()?;
        let connection = tokio::spawn(connection);
        let found = Self::found(&handle, owner, Some(bridge).filter(|_| may)).await;
        connection.abort();
        let tables = tables.into_iter().map(|(family, name)| format!("{family} {name}")).collect();
        Ok(Self { tables, ..found? })
    }

    async fn found(handle: &Handle, owner: &str, bridge: Option<&str>) -> io::Result<Self> {
        let labels = [label(owner), label(&format!("dns/{owner}"))];
        let all: Vec<AddressMessage> =
            handle.address().get().execute().try_collect().await.map_err(io::Error::other)?;
        let is_ours = |message: &AddressMessage| {
            let labelled = message
                .attributes
                .iter()
                .any(|it| matches!(it, AddressAttribute::Label(label) if labels.contains(label)));
            labelled || is_owners(message, metric(owner))
        };
        let addresses = all.into_iter().filter(is_ours);
        let links: Vec<LinkMessage> =
            handle.link().get().execute().try_collect().await.map_err(io::Error::other)?;
        Ok(Self {
            owner: owner.to_owned(),
            tables: Vec::new(),
            addresses: addresses.filter_map(|message| Some((address_of(&message)?, message))).collect(),
            routes: owned(handle, metric(owner)).await?,
            tunnel: named(&links).find(|(name, _)| *name == tunnel::name(metric(owner))),
            mirrors: mirrors(handle, metric(owner)).await?,
            bridge: bridge.and_then(|bridge| unused(&links, bridge)),
        })
    }

    /// What there is, a line each.
    pub fn lines(&self) -> Vec<String> {
        let tables = self.tables.iter().map(|table| format!("nftables table {table}"));
        let addresses = self.addresses.iter().map(|(address, _)| format!("address {address}"));
        let routes = self.routes.iter().map(|(route, _)| format!("route {route}"));
        let bridge = self.bridge.iter().map(|(name, _)| format!("bridge {name}"));
        let tunnel = self.tunnel.iter().map(|(name, _)| format!("tunnel {name}"));
        let mirrors = self.mirrors.iter().map(|(_, name, _)| format!("mirror {name} of a pod's device"));
        tables.chain(addresses).chain(routes).chain(tunnel).chain(mirrors).chain(bridge).collect()
    }

    /// Takes all of it away.
    ///
    /// # Errors
    /// When the kernel refuses; the rest is tried again by looking for it again.
    pub async fn remove(self) -> io::Result<()> {
        if !self.tables.is_empty() {
            NftablesNetwork::remove(&self.owner).await?;
        }
        let (connection, handle, _) = new_connection()?;
        let connection = tokio::spawn(connection);
        let removed = self.remove_with(&handle).await;
        connection.abort();
        removed.map_err(io::Error::other)
    }

    async fn remove_with(self, handle: &Handle) -> Result<(), rtnetlink::Error> {
        for (_, message) in self.addresses {
            handle.address().del(message).execute().await?;
        }
        for (_, route) in self.routes {
            handle.route().del(route).execute().await?;
        }
        let named = self.tunnel.into_iter().chain(self.bridge).map(|(_, index)| index);
        for index in self.mirrors.into_iter().map(|(index, ..)| index).chain(named) {
            handle.link().del(index).execute().await?;
        }
        Ok(())
    }
}

/// The bridge of that name, if it is there and no device of a pod is.
fn unused(links: &[LinkMessage], bridge: &str) -> Option<(String, u32)> {
    let named: Vec<(String, u32)> = named(links).collect();
    let is_pods = |name: &str| {
        name.strip_prefix("orc")
            .is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let used = named.iter().any(|(name, _)| is_pods(name));
    named.into_iter().find(|(name, _)| name == bridge && !used)
}

/// The names and numbers of devices.
fn named(links: &[LinkMessage]) -> impl Iterator<Item = (String, u32)> {
    let name = |link: &LinkMessage| {
        link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })
    };
    links.iter().filter_map(move |link| Some((name(link)?, link.header.index)))
}
