//! The cluster's names, answered on each node.
//!
//! [`Dns`] follows the services and endpoint slices, answers for the cluster's domain from them, and asks the machine's
//! own servers for everything else. It listens at the addresses of the Service `kube-dns` in `kube-system`, on each node
//! by itself: a pod's question never leaves its machine, and names are found while the master is away. The machine is
//! given these addresses on its loopback device, which takes root; so does port 53.
//!
//! The Service carries the label by which Kubernetes says that a Service is not for the usual proxy
//! (`service.kubernetes.io/service-proxy-name`), with the value [`PROXY_NAME`]. Who would rather run CoreDNS takes the
//! label away and gives the Service a selector: the nodes let go of the address then, and the proxies take it.
//!
//! Tasks: two loops an address in one task, one task a question that others are asked, one a connection. All end with
//! [`Dns::run`].

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use hickory_proto::rr::Name;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orchestra_core::api::{Client, Status};
use orchestra_core::meta::ObjectName;
use orchestra_core::network::dns::{NAMESPACE, PROXY_LABEL, PROXY_NAME, SERVICE};
use orchestra_core::watch::{Cache, Cursor, Entry, Event, EventKind, Query};

mod answer;
mod cache;
mod index;
mod serve;
#[cfg(test)]
mod tests;
mod upstream;
mod zone;

use index::{ServiceView, SliceView};
use serve::{Names, Sockets};
use upstream::{Servers, Upstream};
use zone::Zone;

use crate::address;

/// The port of DNS.
const PORT: u16 = 53;
/// How soon it is tried again to listen.
const RETRY: Duration = Duration::from_secs(5);

/// Answers the cluster's names on one node.
#[derive(Debug, Clone)]
pub struct Dns {
    origin: Name,
    label: String,
    shared: bool,
    servers: Servers,
}

impl Default for Dns {
    fn default() -> Self {
        Self::new()
    }
}

impl Dns {
    /// For the domain `cluster.local`, with the servers of `/etc/resolv.conf` for all else.
    pub fn new() -> Self {
        let origin = Name::from_ascii("cluster.local.").unwrap_or_default();
        let servers = Servers::File(PathBuf::from("/etc/resolv.conf"));
        Self { origin, label: address::label("dns/default"), shared: false, servers }
    }

    /// Whose addresses on the machine these are, as with [`UserspaceNetwork::owner`](crate::UserspaceNetwork::owner).
    pub fn owner(mut self, owner: &str) -> Self {
        self.label = address::label(&format!("dns/{owner}"));
        self
    }

    /// Lets other nodes of the same cluster on this machine listen at the same address.
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// Asks these for what is not the cluster's.
    pub fn servers(mut self, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.servers = Servers::Fixed(servers.into_iter().collect());
        self
    }

    /// Answers until `shutdown`.
    ///
    /// # Errors
    /// When the cluster does not have the kinds, or they may not be read.
    pub async fn run(self, client: Client, shutdown: impl Future<Output = ()>) -> Result<(), Status> {
        let services = client.cache::<Service>().await?;
        let slices = client.cache::<EndpointSlice>().await?;
        let names = Arc::new(Names {
            zone: RwLock::new(Zone::new(self.origin.clone())),
            upstream: Upstream::new(self.servers.clone()),
        });
        tokio::select! {
            biased;
            () = follow(&names, &services, &slices) => {}
            () = self.listen(&client, &services, &names) => {}
            () = shutdown => {}
        }
        Ok(())
    }

    /// Listens where the Service says, for as long as it says so.
    async fn listen(&self, client: &Client, services: &Cache, names: &Arc<Names>) {
        let mut addresses = None;
        loop {
            let (_, mut changes) = services.list_and_watch(&Query::all());
            let wanted = addresses_of(services);
            if addresses.as_ref() != Some(&wanted) {
                zone_of(names).servers = wanted.iter().copied().collect();
                addresses = Some(wanted.clone());
            }
            let changed = async { while addresses_of(services) == wanted && changes.next().await.is_ok() {} };
            tokio::select! {
                biased;
                () = changed => {}
                () = self.serve(client, &wanted, names) => {}
            }
        }
    }

    /// Listens at these addresses, trying again while it cannot.
    async fn serve(&self, client: &Client, addresses: &BTreeSet<IpAddr>, names: &Arc<Names>) {
        let mut said = false;
        let kept = address::Kept::new(&self.label);
        let sockets = loop {
            match self.open(addresses, &kept).await {
                Ok(sockets) => break sockets,
                Err(error) if !said => {
                    tracing::warn!(%error, "the cluster's names cannot be answered yet");
                    said = true;
                }
                Err(_) => {}
            }
            client.clock().sleep(RETRY).await;
        };
        let serving = sockets.into_iter().map(|socket| socket.serve(Arc::clone(names)));
        futures::future::join_all(serving).await;
        // There is none: wait until there is.
        std::future::pending::<()>().await;
    }

    async fn open(
        &self,
        addresses: &BTreeSet<IpAddr>,
        kept: &address::Kept,
    ) -> std::io::Result<Vec<Sockets>> {
        let own = addresses.iter().filter_map(|ip| match ip {
            IpAddr::V4(ip) if !ip.is_loopback() => Some(*ip),
            _ => None,
        });
        let missing = match own.collect::<BTreeSet<_>>() {
            own if own.is_empty() && addresses.iter().any(IpAddr::is_loopback) => Default::default(),
            own => kept.set(&own).await?,
        };
        if let Some((ip, why)) = missing.first_key_value() {
            return Err(std::io::Error::other(format!("{ip} cannot be given to this machine: {why}")));
        }
        let open = |ip: &IpAddr| {
            let address = SocketAddr::new(*ip, PORT);
            Sockets::open(address, self.shared).map_err(|error| {
                std::io::Error::new(error.kind(), format!("listening at {address}: {error}"))
            })
        };
        addresses.iter().map(open).collect()
    }
}

/// Where the cluster's names are to be answered by the nodes; nowhere if the Service is another's to carry.
fn addresses_of(services: &Cache) -> BTreeSet<IpAddr> {
    let entry = services.get(&ObjectName::namespaced(NAMESPACE, SERVICE));
    let view = entry.and_then(|entry| entry.view::<ServiceView>().ok());
    let ours =
        view.filter(|view| view.metadata.labels.get(PROXY_LABEL).is_some_and(|name| name == PROXY_NAME));
    ours.map(|view| view.spec.addresses().collect()).unwrap_or_default()
}

/// Keeps the zone in step, from now on.
async fn follow(names: &Names, services: &Cache, slices: &Cache) {
    loop {
        let (of_services, mut service_events) = services.list_and_watch(&Query::all());
        let (of_slices, mut slice_events) = slices.list_and_watch(&Query::all());
        let mut index = index::Index::default();
        of_services.iter().filter_map(view::<ServiceView>).for_each(|view| index.put_service(&view));
        of_slices.iter().filter_map(view::<SliceView>).for_each(|view| index.put_slice(&view));
        zone_of(names).index = index;
        // Until one of them fell behind; then all are read again.
        while one(names, &mut service_events, &mut slice_events).await {}
    }
}

async fn one(names: &Names, services: &mut Cursor, slices: &mut Cursor) -> bool {
    tokio::select! {
        event = services.next() => event.map(|event| service_changed(names, &event)).is_ok(),
        event = slices.next() => event.map(|event| slice_changed(names, &event)).is_ok(),
    }
}

fn service_changed(names: &Names, event: &Event) {
    let index = &mut zone_of(names).index;
    match (&event.kind, view::<ServiceView>(&event.object)) {
        (EventKind::Added | EventKind::Modified(_), Some(view)) => index.put_service(&view),
        _ => index
            .remove_service(event.object.name().namespace().unwrap_or_default(), event.object.name().name()),
    }
}

fn slice_changed(names: &Names, event: &Event) {
    let index = &mut zone_of(names).index;
    match (&event.kind, view::<SliceView>(&event.object)) {
        (EventKind::Added | EventKind::Modified(_), Some(view)) => index.put_slice(&view),
        _ => index
            .remove_slice(event.object.name().namespace().unwrap_or_default(), event.object.name().name()),
    }
}

fn zone_of(names: &Names) -> RwLockWriteGuard<'_, Zone> {
    names.zone.write().unwrap_or_else(PoisonError::into_inner)
}

fn view<V: serde::de::DeserializeOwned + Send + Sync + 'static>(entry: &Arc<Entry>) -> Option<Arc<V>> {
    entry.view::<V>().ok()
}
