//! The service proxy of a node: it keeps the node's [`Network`] in step with the cluster's services.
//!
//! [`plan`] decides, [`run`] observes and applies. Whatever changes, the whole plan is made anew and handed over; the
//! network changes what differs.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tracing::{debug, warn};

use crate::api::{Client, Status};
use crate::network::{Network, ServicePlan};
use crate::watch::{Cache, Cursor, Query};
use plan::{ServiceView, Slice};

/// How long changes are gathered before they are applied: a rollout changes slices in bursts.
const GATHER: Duration = Duration::from_millis(50);
/// How soon a plan that could not be applied is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the network of a node in step with the services of the cluster, until `shutdown`.
///
/// # Errors
/// When the cluster does not have the kinds, or they may not be read.
pub async fn run(
    client: Client,
    node: String,
    network: Arc<dyn Network>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Status> {
    let services = client.cache::<Service>().await?;
    let slices = client.cache::<EndpointSlice>().await?;
    tokio::select! {
        biased;
        () = follow(&client, &node, &*network, &services, &slices) => {}
        () = shutdown => {}
    }
    Ok(())
}

async fn follow(client: &Client, node: &str, network: &dyn Network, services: &Cache, slices: &Cache) {
    let mut applied: Option<ServicePlan> = None;
    loop {
        let (service_entries, mut service_events) = services.list_and_watch(&Query::all());
        let (slice_entries, mut slice_events) = slices.list_and_watch(&Query::all());
        let views =
            service_entries.iter().filter_map(|entry| entry.view::<ServiceView>().ok()).collect::<Vec<_>>();
        let parts = slice_entries.iter().filter_map(|entry| entry.view::<Slice>().ok()).collect::<Vec<_>>();
        let wanted = plan::plan(node, views.iter().map(|view| &**view), parts.iter().map(|slice| &**slice));
        let mut again = None;
        if applied.as_ref() != Some(&wanted) {
            match network.apply(&wanted).await {
                Ok(outcome) => {
                    for fault in &outcome.failures {
                        warn!(?fault, "a service is not reachable as it should be");
                    }
                    debug!(services = wanted.services.len(), "services applied");
                    applied = Some(wanted);
                }
                Err(error) => {
                    warn!(%error, "services cannot be applied; trying again");
                    again = Some(RETRY);
                }
            }
        }
        changed(client, &mut service_events, &mut slice_events, again).await;
        client.clock().sleep(GATHER).await;
    }
}

/// Waits for a change of any service or slice, or for the time to try again.
async fn changed(client: &Client, services: &mut Cursor, slices: &mut Cursor, again: Option<Duration>) {
    let timer = async {
        match again {
            Some(wait) => client.clock().sleep(wait).await,
            None => std::future::pending().await,
        }
    };
    // Having fallen behind is a reason to look again, like any other.
    tokio::select! {
        biased;
        _ = services.next() => {}
        _ = slices.next() => {}
        () = timer => {}
    }
}
