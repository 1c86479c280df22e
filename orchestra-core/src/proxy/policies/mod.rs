//! The policies of the cluster, for the pods of one node: [`plan`] decides, [`follow`] observes and applies.

mod plan;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use crate::api::{Client, Status};
use crate::network::{Network, PolicyPlan};
use crate::watch::{Cache, Cursor, Query};
use plan::Seen;

/// How long changes are gathered before they are applied.
const GATHER: Duration = Duration::from_millis(20);
/// How soon a plan that could not be applied is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The caches that policies are read from.
struct Caches {
    policies: Cache,
    pods: Cache,
    namespaces: Cache,
}

/// Keeps what the node's pods may receive and send in step with the cluster, for as long as it is polled.
pub(super) async fn follow(client: &Client, node: &str, network: &dyn Network) -> Result<(), Status> {
    let caches = Caches {
        policies: client.cache::<NetworkPolicy>().await?,
        pods: client.cache::<Pod>().await?,
        namespaces: client.cache::<Namespace>().await?,
    };
    let mut applied: Option<PolicyPlan> = None;
    loop {
        let (policies, on_policies) = views(&caches.policies);
        let (pods, on_pods) = views(&caches.pods);
        let (namespaces, on_namespaces) = views(&caches.namespaces);
        let wanted = plan::plan(node, &Seen { policies, pods, namespaces });
        let mut again = None;
        if applied.as_ref() != Some(&wanted) {
            match network.apply_policies(&wanted).await {
                Ok(()) => {
                    debug!(pods = wanted.pods.len(), "policies applied");
                    applied = Some(wanted);
                }
                Err(error) => {
                    warn!(%error, "policies cannot be applied; trying again");
                    again = Some(RETRY);
                }
            }
        }
        changed(client, [on_policies, on_pods, on_namespaces], again).await;
        client.clock().sleep(GATHER).await;
    }
}

fn views<V: DeserializeOwned + Send + Sync + 'static>(cache: &Cache) -> (Vec<Arc<V>>, Cursor) {
    let (entries, changes) = cache.list_and_watch(&Query::all());
    (entries.iter().filter_map(|entry| entry.view::<V>().ok()).collect(), changes)
}

/// Waits for a change of any of them, or for the time to try again.
async fn changed(client: &Client, cursors: [Cursor; 3], again: Option<Duration>) {
    let [mut policies, mut pods, mut namespaces] = cursors;
    // Having fallen behind is a reason to look again, like any other.
    tokio::select! {
        biased;
        _ = policies.next() => {}
        _ = pods.next() => {}
        _ = namespaces.next() => {}
        () = super::due(client, again) => {}
    }
}
