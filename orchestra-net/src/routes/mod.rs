//! Ways between the pods of several machines.
//!
//! The cluster gives each node a range of addresses for its pods (`spec.podCIDR`). [`Routes`] follows the nodes, tells
//! which range is this node's, and keeps a route to every other node's range by way of that node's address. Where there is
//! a router between them, which does not know the ranges, the route goes through a tunnel to that node (`tunnel.rs`).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use orchestra_core::api::{Client, Status};
use orchestra_core::watch::{Cache, Cursor, Query};
use tokio::sync::watch;

pub(crate) mod kernel;
mod plan;
#[cfg(test)]
mod tests;
pub(crate) mod tunnel;

use plan::{Here, NodeView, Own, Ways};
pub use plan::{Pods, Range};

use crate::address;

/// How long changes are gathered: nodes come in bursts, and each says how it is every few minutes.
const GATHER: Duration = Duration::from_millis(50);
/// How soon routes that could not be made are tried again, and how often all are looked at, as others may change them.
const LOOK: Duration = Duration::from_secs(10);

/// Keeps the ways to the pods of other nodes.
#[derive(Debug)]
pub struct Routes {
    node: String,
    owner: u32,
    mtu: Option<u32>,
    pods: watch::Sender<Pods>,
}

impl Routes {
    /// The ways from the node of that name, and where it is told what they lead to. `owner` is one word for cluster and
    /// node, as with [`UserspaceNetwork::owner`](crate::UserspaceNetwork::owner).
    pub fn new(node: &str, owner: &str) -> (Self, watch::Receiver<Pods>) {
        let (pods, told) = watch::channel(Pods::default());
        (Self { node: node.to_owned(), owner: address::metric(owner), mtu: None, pods }, told)
    }

    /// The largest packet that goes into a tunnel, in bytes. Without it, and at most, what the device below has room for.
    pub fn mtu(mut self, bytes: Option<u32>) -> Self {
        self.mtu = bytes;
        self
    }

    /// Keeps them until `shutdown`. They stay when it ends.
    ///
    /// # Errors
    /// When the nodes may not be read.
    pub async fn run(&self, client: Client, shutdown: impl Future<Output = ()>) -> Result<(), Status> {
        let nodes = client.cache::<Node>().await?;
        tokio::select! {
            biased;
            () = self.follow(&client, &nodes) => {}
            () = shutdown => {}
        }
        Ok(())
    }

    async fn follow(&self, client: &Client, nodes: &Cache) {
        let mut failed = Vec::new();
        loop {
            let (entries, mut changes) = nodes.list_and_watch(&Query::all());
            let views: Vec<Arc<NodeView>> = entries.iter().filter_map(|entry| entry.view().ok()).collect();
            let (pods, ways, own) = plan::plan(&self.node, views.iter().map(|view| &**view));
            self.pods.send_if_modified(|held| {
                let changed = *held != pods;
                *held = pods;
                changed
            });
            self.set(own, &ways, &mut failed).await;
            changed(client, &mut changes).await;
            client.clock().sleep(GATHER).await;
        }
    }

    /// Says what could not be done, once.
    async fn set(&self, own: Option<Own>, ways: &Ways, failed: &mut Vec<String>) {
        let here = Here { owner: self.owner, own, mtu: self.mtu };
        let now: Vec<String> = match kernel::set(here, ways).await {
            Ok(missing) => {
                missing.iter().map(|((ip, prefix), why)| format!("no route to {ip}/{prefix} {why}")).collect()
            }
            Err(error) => vec![format!("routes cannot be read or changed: {error}")],
        };
        for fault in now.iter().filter(|fault| !failed.contains(fault)) {
            tracing::warn!(fault, "pods of another node are not reached");
        }
        *failed = now;
    }
}

async fn changed(client: &Client, nodes: &mut Cursor) {
    tokio::select! {
        biased;
        // Having fallen behind is a reason to look again, like any other.
        _ = nodes.next() => {}
        () = client.clock().sleep(LOOK) => {}
    }
}
