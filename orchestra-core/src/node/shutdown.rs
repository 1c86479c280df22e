//! Ending all pods of a node before its machine goes down.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::config::Shutdown;
use super::context::Context;
use super::mailbox::Mailbox;
use super::model::{Failure, LEAST_GRACE, TERMINATED, is_terminal};
use super::pressure::is_critical;
use super::static_pods;
use crate::runtime::{Filter, SandboxState};

/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(100);

/// Ends the pods, in order. Returns when they have ended and the API knows it, or their time is over.
pub(super) async fn end_pods(ctx: &Arc<Context>, shutdown: Shutdown) {
    ctx.ending.cancel();
    tracing::info!(node = ctx.name, grace = ?shutdown.grace, "the pods of the node end");
    let critical = shutdown.critical.min(shutdown.grace);
    for (of_system, time) in [(false, shutdown.grace.saturating_sub(critical)), (true, critical)] {
        let pods: Vec<Arc<Mailbox>> =
            ctx.residents.all().into_iter().filter(|pod| of_the_system(pod) == of_system).collect();
        for pod in &pods {
            pod.put_evicted(Failure {
                reason: TERMINATED.into(),
                message: "Pod was terminated in response to imminent node shutdown.".into(),
                // What does not end by then is killed while there still is somebody to see to it.
                grace: Some(time.saturating_sub(LEAST_GRACE)),
            });
        }
        tokio::select! {
            biased;
            () = ended(ctx, &pods) => {}
            () = ctx.clock().sleep(time.max(LEAST_GRACE * 2)) => {
                tracing::warn!(node = ctx.name, "not all pods have ended in time");
            }
        }
    }
}

/// What is said of a pod that comes when the node is about to go.
pub(super) fn rejection() -> Failure {
    Failure {
        reason: "NodeShutdown".into(),
        message: "Pod was rejected as the node is shutting down.".into(),
        grace: None,
    }
}

fn of_the_system(pod: &Mailbox) -> bool {
    pod.entry().decode_bare::<Pod>().is_ok_and(|pod| is_critical(&pod))
}

async fn ended(ctx: &Context, pods: &[Arc<Mailbox>]) {
    while !have_ended(ctx, pods).await {
        ctx.clock().sleep(LOOK).await;
    }
}

/// Whether nothing of these pods is up any more, and the API says so of those that it gave.
async fn have_ended(ctx: &Context, pods: &[Arc<Mailbox>]) -> bool {
    let Ok(up) = ctx.runtime.list(&Filter::owner(ctx.owner())).await else { return false };
    pods.iter().all(|pod| {
        let entry = pod.entry();
        let uid = entry.uid().as_str();
        let told = static_pods::is_static(&entry)
            || ctx.residents.get(uid).is_none()
            || entry.decode_bare::<Pod>().is_ok_and(|pod| is_terminal(&pod));
        let is_up = |state| state == SandboxState::Ready;
        told && !up.iter().any(|sandbox| sandbox.meta.pod.uid == uid && is_up(sandbox.state))
    })
}
