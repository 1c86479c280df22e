//! Answering for the addresses of load balancers on the segment.
//!
//! The cluster gives Services of type LoadBalancer addresses out of a pool
//! ([`load_balancer`](orchestra_core::controllers::load_balancer)). [`Announcer`] follows them on each node. Every node
//! finds by itself which one answers for which address (`plan.rs`), and that one has the address on its device, so that
//! its kernel answers ARP and neighbours, and tells the segment when it takes it over (`packet.rs`). What arrives is led
//! to pods by the node's service network, as on every node.
//!
//! The addresses end by themselves [`LIFE`] after they were renewed last, which is sooner than a node counts as lost: two
//! nodes do not answer for one address, also when a program was killed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orchestra_core::api::{Client, Status};
use orchestra_core::watch::{Cache, Cursor, Entry, Query};

pub(crate) mod kernel;
mod packet;
mod plan;
#[cfg(test)]
mod tests;

use kernel::Done;
pub use plan::SEGMENTS;
use plan::{NodeView, ServiceView, SliceView};

use crate::address;

/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// How often the addresses are renewed and told of anew.
const LOOK: Duration = Duration::from_secs(10);
/// How long they stay without.
const LIFE: Duration = Duration::from_secs(30);

/// A machine's address on a segment, and how many of its bits all there share.
pub type Segment = (IpAddr, u8);

/// Answers for addresses of load balancers.
#[derive(Debug)]
pub struct Announcer {
    node: String,
    owner: u32,
}

/// What is followed.
struct Caches {
    services: Cache,
    slices: Cache,
    nodes: Cache,
}

impl Announcer {
    /// One for the node of that name. `owner` is one word for cluster and node, as with
    /// [`UserspaceNetwork::owner`](crate::UserspaceNetwork::owner).
    pub fn new(node: &str, owner: &str) -> Self {
        Self { node: node.to_owned(), owner: address::metric(owner) }
    }

    /// What the node is to have as its annotation [`SEGMENTS`]: empty where addresses cannot be put on this machine.
    pub async fn segments(may: bool) -> String {
        if !may {
            return String::new();
        }
        match kernel::segments().await {
            Ok(segments) => plan::text(&segments),
            Err(error) => {
                tracing::warn!(%error, "this node cannot answer for addresses of load balancers");
                String::new()
            }
        }
    }

    /// Answers until `shutdown`; then another node does.
    ///
    /// # Errors
    /// When the cluster does not have the kinds, or they may not be read.
    pub async fn run(&self, client: Client, shutdown: impl Future<Output = ()>) -> Result<(), Status> {
        let caches = Caches {
            services: client.cache::<Service>().await?,
            slices: client.cache::<EndpointSlice>().await?,
            nodes: client.cache::<Node>().await?,
        };
        tokio::select! {
            biased;
            () = self.follow(&client, &caches) => {}
            () = shutdown => {}
        }
        if let Err(error) = kernel::set(self.owner, &BTreeSet::new(), LIFE).await {
            tracing::warn!(%error, "addresses of load balancers cannot be given up, and end by themselves");
        }
        Ok(())
    }

    async fn follow(&self, client: &Client, caches: &Caches) {
        let mut held: Option<BTreeSet<IpAddr>> = None;
        let mut told = Told::default();
        let mut due = client.clock().elapsed();
        loop {
            let (services, mut service_events) = caches.services.list_and_watch(&Query::all());
            let (slices, mut slice_events) = caches.slices.list_and_watch(&Query::all());
            let (nodes, mut node_events) = caches.nodes.list_and_watch(&Query::all());
            let wanted = plan::plan(
                &self.node,
                views::<ServiceView>(&services).iter().map(|view| &**view),
                views::<SliceView>(&slices).iter().map(|view| &**view),
                views::<NodeView>(&nodes).iter().map(|view| &**view),
            );
            let now = client.clock().elapsed();
            // Nothing is asked of the kernel where there is nothing to do, as on most nodes.
            if held.as_ref() != Some(&wanted) || (now >= due && !wanted.is_empty()) {
                match kernel::set(self.owner, &wanted, LIFE).await {
                    Ok(done) => told.tell(&done),
                    Err(error) => tracing::warn!(%error, "addresses of load balancers cannot be set"),
                }
                held = Some(wanted);
                due = now + LOOK;
            }
            changed(client, [&mut service_events, &mut slice_events, &mut node_events], due).await;
            client.clock().sleep(GATHER).await;
        }
    }
}

fn views<V: serde::de::DeserializeOwned + Send + Sync + 'static>(entries: &[Arc<Entry>]) -> Vec<Arc<V>> {
    entries.iter().filter_map(|entry| entry.view::<V>().ok()).collect()
}

/// Waits for a change, or for the addresses to be renewed.
async fn changed(client: &Client, [services, slices, nodes]: [&mut Cursor; 3], due: Duration) {
    let left = due.saturating_sub(client.clock().elapsed()).max(GATHER);
    // Having fallen behind is a reason to look again, like any other.
    tokio::select! {
        biased;
        _ = services.next() => {}
        _ = slices.next() => {}
        _ = nodes.next() => {}
        () = client.clock().sleep(left) => {}
    }
}

/// Says what is new, and each fault once.
#[derive(Debug, Default)]
struct Told {
    there: BTreeSet<IpAddr>,
    faults: BTreeSet<String>,
}

impl Told {
    fn tell(&mut self, done: &Done) {
        for address in done.there.keys().filter(|address| !self.there.contains(address)) {
            tracing::info!(%address, "this node answers for an address of a load balancer");
        }
        self.there = done.there.keys().copied().collect();
        let mut faults: BTreeSet<String> =
            done.failed.iter().map(|(address, why)| format!("{address}: {why}")).collect();
        for (address, place) in &done.there {
            let Some(mac) = place.mac else { continue };
            if let Err(error) = packet::announce(*address, place.device, mac) {
                faults.insert(format!("{address}: the segment cannot be told: {error}"));
            }
        }
        for fault in faults.difference(&self.faults) {
            tracing::warn!(fault, "an address of a load balancer is not answered for as it should be");
        }
        self.faults = faults;
    }
}
