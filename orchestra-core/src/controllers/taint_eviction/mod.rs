//! Driving pods from nodes whose taints they do not tolerate, or no longer.

mod plan;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde_json::{Value, json};

use self::plan::Notice;
use super::Host;
use super::node_lifecycle::pods_on;
use super::pod;
use crate::api::Status;
use crate::control::events::{Recorder, reference_to};
use crate::control::predicate::{self, Predicate};
use crate::control::write;
use crate::control::{Action, Context, Error, Reconciler};
use crate::meta::ObjectName;
use crate::watch::Entry;

const NAME: &str = "taint-eviction-controller";

struct Evictions {
    recorder: Recorder,
    /// The pods of each node that have been given notice.
    noticed: Mutex<HashMap<ObjectName, HashSet<ObjectName>>>,
}

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let recorder = host.recorder(NAME);
    let bound = predicate::field_changed("spec.nodeName").and(predicate::deleted.not());
    let controller = host.controller::<Node>().named(NAME).watches::<Pod, _, _>(node_of).when(bound);
    host.run(controller, Evictions { recorder, noticed: Mutex::default() }).await
}

/// The node that a pod is bound to.
pub(super) fn node_of(pod: &Entry) -> Option<ObjectName> {
    let node = pod.field("spec.nodeName").unwrap_or_default();
    (!node.is_empty()).then(|| ObjectName::cluster(node))
}

#[derive(Debug, Deserialize)]
struct View {
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Spec {
    taints: Vec<Taint>,
}

#[async_trait]
impl Reconciler for Evictions {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<Node>().await? else {
            self.noticed().remove(context.name());
            return Ok(Action::Done);
        };
        let node = entry.view::<View>()?;
        let drives_away = node.spec.taints.iter().any(|taint| taint.effect == "NoExecute");
        if !drives_away && !self.noticed().contains_key(context.name()) {
            return Ok(Action::Done);
        }
        let mut next: Option<Timestamp> = None;
        let mut noticed = HashSet::new();
        for entry in pods_on(&context, context.name().name()).await? {
            let pod = pod::Pod::of(&entry)?;
            if entry.is_deleting() || pod.has_ended() {
                continue;
            }
            let tolerations = pod.spec.tolerations.as_deref().unwrap_or_default();
            match plan::plan(&node.spec.taints, tolerations, context.now()) {
                Notice::None => self.take_back(context.name(), &entry),
                Notice::At(at) if at <= context.now() => self.evict(&context, &entry).await?,
                Notice::At(at) => {
                    noticed.insert(entry.name().clone());
                    next = Some(next.map_or(at, |held| held.min(at)));
                }
            }
        }
        match noticed.is_empty() {
            true => drop(self.noticed().remove(context.name())),
            false => drop(self.noticed().insert(context.name().clone(), noticed)),
        }
        let left = next.and_then(|at| Duration::try_from(at.duration_since(context.now())).ok());
        Ok(Action::again(left))
    }
}

impl Evictions {
    fn noticed(&self) -> MutexGuard<'_, HashMap<ObjectName, HashSet<ObjectName>>> {
        self.noticed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says of a pod that it may stay, if it was given notice.
    fn take_back(&self, node: &ObjectName, entry: &Entry) {
        let was_noticed = self.noticed().get(node).is_some_and(|pods| pods.contains(entry.name()));
        if was_noticed {
            let message = format!("Cancelling deletion of Pod {}", entry.name());
            self.recorder.normal(&reference_to::<Pod>(entry), "TaintManagerEviction", message);
        }
    }

    async fn evict(&self, context: &Context, entry: &Arc<Entry>) -> Result<(), Error> {
        let message = format!("Marking for deletion Pod {}", entry.name());
        self.recorder.normal(&reference_to::<Pod>(entry), "TaintManagerEviction", message);
        let condition = disruption(
            "DeletionByTaintManager",
            "Taint manager: deleting due to NoExecute taint",
            context.now(),
        );
        write::unless_gone(report(context, entry, json!({}), condition).await)?;
        write::delete::<Pod>(context.client(), entry.name(), entry.uid()).await?;
        Ok(())
    }
}

/// The condition that says that a pod did not end by itself.
pub(super) fn disruption(reason: &str, message: &str, now: Timestamp) -> Value {
    json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": Time(now),
    })
}

/// Puts a condition into a pod's status, with what else is to change there.
pub(super) async fn report(
    context: &Context,
    entry: &Entry,
    mut status: Value,
    mut condition: Value,
) -> Result<crate::api::Response, crate::api::Status> {
    let pod = entry.to_value().map_err(crate::api::Status::internal)?;
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|held| held["type"] != condition["type"]);
    condition["observedGeneration"] = entry.generation().into();
    conditions.push(condition);
    status["conditions"] = conditions.into();
    write::patch_status::<Pod>(context.client(), entry, status).await
}
