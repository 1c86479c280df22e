//! Pods that nobody else will remove: of nodes that are no more or are out of service, on their way out without ever having
//! been on a node, and those that ended long ago, when there are too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde_json::{Value, json};

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
/// What somebody says of a node that is down and will not come back by itself.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";
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
        .watches::<Pod, _, _>(node_of)
        .when(bound.or(|event: &crate::watch::Event| event.object.is_deleting()));
    host.run(controller, Orphans::default()).await
}

/// The node of a pod, which may be no more. Of pods that are on none only those count that are on their way out: where
/// thousands wait for a node, each that comes and each that is given one would have all of them looked through.
fn node_of(pod: &Entry) -> Option<ObjectName> {
    match pod.field("spec.nodeName").unwrap_or(NOWHERE) {
        NOWHERE => pod.is_deleting().then(|| ObjectName::cluster(NOWHERE)),
        node => Some(ObjectName::cluster(node)),
    }
}

#[async_trait]
impl Reconciler for Orphans {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let node = context.name().name();
        if node == NOWHERE {
            remove_leaving(&context, NOWHERE).await?;
            return Ok(Action::Done);
        }
        let pods = match context.entry::<Node>().await? {
            Some(entry) => {
                let view = entry.view::<NodeView>()?;
                if is_out_of_service(&view) {
                    remove_leaving(&context, node).await?;
                }
                Vec::new()
            }
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
            let gone = disruption("DeletionByPodGC", "PodGC: node no longer exists", context.now());
            remove(&context, entry, Some(gone)).await?;
        }
        Ok(Action::Done)
    }
}

/// What is read of a node.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeView {
    spec: NodeSpecView,
    status: NodeStatusView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpecView {
    taints: Vec<Taint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatusView {
    conditions: Vec<NodeCondition>,
}

/// Whether a node is down for good, as somebody says who has seen to it: nobody there will end what is on its way out.
fn is_out_of_service(node: &NodeView) -> bool {
    let is_ready = node.status.conditions.iter().any(|held| held.type_ == "Ready" && held.status == "True");
    !is_ready && node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// Removes the pods of a node that are on their way out.
async fn remove_leaving(context: &Context, node: &str) -> Result<(), Error> {
    for entry in pods_on(context, node).await?.iter().filter(|entry| entry.is_deleting()) {
        remove(context, entry, None).await?;
    }
    Ok(())
}

impl Orphans {
    /// How long a node that is gone may yet come back; `None` when it may not.
    fn quarantine(&self, node: &ObjectName, now: Duration) -> Option<Duration> {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *gone.entry(node.clone()).or_insert(now);
        QUARANTINE.checked_sub(now.saturating_sub(since)).filter(|left| !left.is_zero())
    }
}

/// Removes a pod. One that has not ended is said to have failed first: nobody else will say what became of it.
async fn remove(context: &Context, entry: &Arc<Entry>, condition: Option<Value>) -> Result<(), Error> {
    if !pod::Pod::of(entry)?.has_ended() {
        let failed = json!({"phase": "Failed"});
        let told = match condition {
            Some(condition) => report(context, entry, failed, condition).await,
            None => write::patch_status::<Pod>(context.client(), entry, failed).await,
        };
        write::unless_gone(told)?;
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
    /// How many pods that have ended may be kept. Zero: all of them.
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

/// What goes first: what was evicted, which was no pod's own end, then what is oldest.
fn order(entry: &Entry) -> (bool, Option<Timestamp>, ObjectName) {
    let view = entry.view::<EndedView>().map(|view| (*view).clone()).unwrap_or_default();
    (
        view.status.reason != "Evicted",
        view.metadata.creation_timestamp.map(|time| time.0),
        entry.name().clone(),
    )
}

/// What is read of a pod that has ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct EndedView {
    metadata: EndedMeta,
    status: EndedStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct EndedMeta {
    creation_timestamp: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct EndedStatus {
    reason: String,
}

#[async_trait]
impl Reconciler for Finished {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        // The one key that counts; the others are pods listed at the start.
        if context.name().name() != NOWHERE || self.threshold == 0 {
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
            ended.sort_by_cached_key(|entry| order(entry));
            for entry in &ended[..surplus] {
                force_delete(&context, entry).await?;
            }
        }
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::testing::{entry, pod as pod_of, text};

    #[test]
    fn a_node_is_out_of_service_when_it_is_said_to_be_and_is_not_ready() {
        let node = |ready: &str, taint: &str| {
            let node = json!({
                "spec": {"taints": [{"key": taint, "effect": "NoExecute"}]},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            });
            is_out_of_service(&serde_json::from_value(node).unwrap())
        };
        assert!(node("False", OUT_OF_SERVICE) && node("Unknown", OUT_OF_SERVICE));
        assert!(!node("True", OUT_OF_SERVICE), "it has come back");
        assert!(!node("Unknown", "node.kubernetes.io/unreachable"), "nobody has seen to it");
        assert!(!is_out_of_service(&NodeView::default()));
    }

    #[test]
    fn pods_that_wait_for_a_node_lead_nowhere_until_they_leave() {
        let of = |change: Value| node_of(&entry(&pod_of("a", None, &change)));
        let spec = json!({"nodeName": ""});
        assert_eq!(of(json!({"spec": spec})), None);
        let leaving = json!({"spec": spec, "metadata": {"deletionTimestamp": text(5)}});
        assert_eq!(of(leaving), Some(ObjectName::cluster(NOWHERE)));
        assert_eq!(of(json!({"spec": {"nodeName": "n1"}})), Some(ObjectName::cluster("n1")));
    }

    #[test]
    fn what_was_evicted_goes_before_what_is_older() {
        let ended = |name: &str, second, reason: &str| {
            let change = json!({
                "metadata": {"creationTimestamp": text(second)}, "status": {"phase": "Failed", "reason": reason},
            });
            entry(&pod_of(name, None, &change))
        };
        let mut all =
            [ended("a", 5, ""), ended("d", 9, "Evicted"), ended("c", 1, "Error"), ended("b", 1, "")];
        all.sort_by_cached_key(|entry| order(entry));
        let names: Vec<_> = all.iter().map(|entry| entry.name().name().to_owned()).collect();
        assert_eq!(names, ["d", "b", "c", "a"]);
    }
}
