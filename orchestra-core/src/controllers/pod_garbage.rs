//! Pods that nobody else will remove: of nodes that are no more, on their way out without ever having been on a
//! node, and those that ended long ago, when there are too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;

use super::Host;
use super::node_lifecycle::pods_on;
use super::pod;
use super::taint_eviction::{disruption, report};
use crate::api::{DeleteOptions, Operation, Status};
use crate::control::predicate::{self, Predicate};
use crate::control::write;
use crate::control::{Action, Context, Error, Reconciler};
use crate::meta::ObjectName;
use crate::watch::Entry;

const NAME: &str = "pod-garbage-collector-controller";
/// Stands for the node of pods that are on none.
const NOWHERE: &str = "";
/// How long a node must have been gone before its pods are removed: it may only be registering anew.
const QUARANTINE: Duration = Duration::from_secs(40);
/// How often pods that have ended are counted at most.
const COUNT_EVERY: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Orphans {
    gone: Mutex<HashMap<ObjectName, Duration>>,
}

/// Runs the controller that removes the pods of nodes that are no more.
pub(super) async fn run_orphans(host: Host) -> Result<(), Status> {
    let bound = predicate::field_changed("spec.nodeName").and(predicate::deleted.not());
    let controller = host
        .controller::<Node>()
        .named(NAME)
        .watches::<Pod, _, _>(|entry| [ObjectName::cluster(entry.field("spec.nodeName").unwrap_or(NOWHERE))])
        .when(bound.or(|event: &crate::watch::Event| event.object.is_deleting()));
    host.run(controller, Orphans::default()).await
}

#[async_trait]
impl Reconciler for Orphans {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let node = context.name().name();
        if node == NOWHERE {
            for entry in pods_on(&context, NOWHERE).await?.iter().filter(|entry| entry.is_deleting()) {
                force_delete(&context, entry).await?;
            }
            return Ok(Action::Done);
        }
        let pods = match context.entry::<Node>().await? {
            Some(_) => Vec::new(),
            None => pods_on(&context, node).await?,
        };
        if pods.is_empty() {
            self.gone.lock().unwrap_or_else(PoisonError::into_inner).remove(context.name());
            return Ok(Action::Done);
        }
        if let Some(left) = self.quarantine(context.name(), context.clock().elapsed()) {
            return Ok(Action::Again(left));
        }
        if context.client().cluster::<Node>().find(node).await?.is_some() {
            return Ok(Action::Done);
        }
        for entry in &pods {
            remove(&context, entry).await?;
        }
        Ok(Action::Done)
    }
}

impl Orphans {
    /// How long a node that is gone may yet come back; `None` when it may not.
    fn quarantine(&self, node: &ObjectName, now: Duration) -> Option<Duration> {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *gone.entry(node.clone()).or_insert(now);
        QUARANTINE.checked_sub(now.saturating_sub(since)).filter(|left| !left.is_zero())
    }
}

async fn remove(context: &Context, entry: &Arc<Entry>) -> Result<(), Error> {
    if !pod::Pod::of(entry)?.has_ended() {
        let condition = disruption("DeletionByPodGC", "PodGC: node no longer exists", context.now());
        write::unless_gone(report(context, entry, json!({"phase": "Failed"}), condition).await)?;
    }
    force_delete(context, entry).await
}

async fn force_delete(context: &Context, entry: &Entry) -> Result<(), Error> {
    let options = DeleteOptions {
        grace_period: Some(0),
        uid: Some(entry.uid().to_string()),
        ..DeleteOptions::default()
    };
    let target = write::target::<Pod>(entry.name());
    write::was_deleted(context.client().call(target, Operation::Delete(options)).await)?;
    Ok(())
}

struct Finished {
    /// How many pods that have ended may be kept.
    threshold: usize,
    counted: Mutex<Option<Duration>>,
}

/// Runs the controller that removes the oldest of the pods that have ended, when there are more than so many.
pub(super) async fn run_finished(host: Host, threshold: usize) -> Result<(), Status> {
    let controller = host
        .controller::<Pod>()
        .named("pod-garbage-collector-finished")
        .when(|_: &crate::watch::Event| false)
        .watches::<Pod, _, _>(|entry| has_ended(entry).then(|| ObjectName::cluster(NOWHERE)))
        .when(predicate::field_changed("status.phase"));
    host.run(controller, Finished { threshold, counted: Mutex::default() }).await
}

fn has_ended(entry: &Entry) -> bool {
    matches!(entry.field("status.phase"), Some("Succeeded" | "Failed"))
}

#[async_trait]
impl Reconciler for Finished {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        // The one key that counts; the others are pods listed at the start.
        if context.name().name() != NOWHERE {
            return Ok(Action::Done);
        }
        let now = context.clock().elapsed();
        let last = self.counted.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        let passed = last.map(|last| now.saturating_sub(last));
        if let Some(left) = passed.and_then(|passed| COUNT_EVERY.checked_sub(passed)) {
            *self.counted.lock().unwrap_or_else(PoisonError::into_inner) = last;
            return Ok(Action::Again(left.max(Duration::from_millis(1))));
        }
        let pods = context.cache::<Pod>().await?.snapshot();
        let mut ended: Vec<_> = pods.range(None, None).filter(|entry| has_ended(entry)).collect();
        let surplus = ended.len().saturating_sub(self.threshold);
        if surplus > 0 {
            let created =
                |entry: &Entry| Some(pod::Pod::of(entry).ok()?.metadata.creation_timestamp.as_ref()?.0);
            ended.sort_by_cached_key(|entry| (created(entry), entry.name().clone()));
            for entry in &ended[..surplus] {
                force_delete(&context, entry).await?;
            }
        }
        Ok(Action::Done)
    }
}
