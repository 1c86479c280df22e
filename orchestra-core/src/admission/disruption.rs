//! Evictions keep to the disruption budgets of their pods.
//!
//! What a budget allows is in its status, counted by a controller (`controllers/disruption`). An eviction takes one from
//! it in the very transaction that deletes the pod, guarded by the revision at which the budget was read: so of two
//! evictions that race for the last one, one is made to look again, and no more go than may.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::admission::{Admission, Attributes, WriteVerb};
use crate::api::{Caches, Reason, Resource, Status};
use crate::clock::SharedClock;
use crate::meta::GroupResource;
use crate::selector::{Labels, Selector};
use crate::store::{Expect, Txn};
use crate::watch::{Entry, Query};

/// How many evictions may be under way of a budget: the controller has not seen them yet.
const UNDER_WAY: usize = 2000;

/// Lets as many pods be evicted as their budgets allow.
#[derive(Debug)]
pub struct DisruptionBudgets {
    caches: Caches,
    clock: SharedClock,
}

impl DisruptionBudgets {
    /// Over these caches.
    pub fn new(caches: &Caches, clock: SharedClock) -> Self {
        Self { caches: caches.clone(), clock }
    }
}

#[derive(Deserialize)]
struct View {
    metadata: Head,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Counted,
}

#[derive(Deserialize)]
struct Head {
    name: String,
    #[serde(default)]
    generation: i64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    selector: Option<LabelSelector>,
    unhealthy_pod_eviction_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Counted {
    observed_generation: i64,
    disruptions_allowed: i64,
    current_healthy: i64,
    desired_healthy: i64,
    disrupted_pods: Option<serde_json::Map<String, Value>>,
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    reason: String,
    message: String,
}

impl View {
    fn selects(&self, pod: &Labels) -> bool {
        let selector = self.spec.selector.as_ref().and_then(|selector| Selector::try_from(selector).ok());
        selector.is_some_and(|selector| selector.matches(pod))
    }

    /// Whether the pod may go without being counted: it is no healthy one, and nothing is lost with it.
    fn spares(&self, pod: &Value) -> bool {
        if is_ready(pod) {
            return false;
        }
        let status = &self.status;
        self.spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow")
            || (status.current_healthy >= status.desired_healthy && status.desired_healthy > 0)
    }

    /// Whether one more pod may go now.
    fn allows(&self) -> Result<(), Status> {
        let (name, status) = (&self.metadata.name, &self.status);
        let refuse = |why: &str| {
            let id = GroupResource::new("policy", "poddisruptionbudget");
            Err(Status::forbidden(&id, name, why))
        };
        if status.observed_generation < self.metadata.generation {
            let told = format!("The disruption budget {name} is still being processed by the server.");
            return Err(violated(told).retry_after(10));
        }
        if status.disruptions_allowed < 0 {
            return refuse("pdb disruptions allowed is negative");
        }
        if status.disrupted_pods.as_ref().is_some_and(|pods| pods.len() > UNDER_WAY) {
            return refuse("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
        }
        if status.disruptions_allowed == 0 {
            let failed =
                status.conditions.iter().flatten().find(|condition| {
                    condition.kind == "DisruptionAllowed" && condition.reason == "SyncFailed"
                });
            return Err(violated(match failed {
                Some(condition) => {
                    format!(
                        "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
                        condition.message
                    )
                }
                None => format!(
                    "The disruption budget {name} needs {} healthy pods and has {} currently",
                    status.desired_healthy, status.current_healthy
                ),
            }));
        }
        Ok(())
    }
}

fn violated(why: String) -> Status {
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Status::new(Reason::TooManyRequests, message).because("DisruptionBudget", why, "")
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Whether nothing is disrupted by the end of a pod: it serves nobody yet, or no longer.
fn is_over(pod: &Value) -> bool {
    let phase = pod["status"]["phase"].as_str().unwrap_or("Pending");
    matches!(phase, "Pending" | "Succeeded" | "Failed") || !pod["metadata"]["deletionTimestamp"].is_null()
}

/// A budget of which one was taken for a pod.
fn taken(mut budget: Value, pod: &str, now: Timestamp) -> Value {
    let status = &mut budget["status"];
    let left = status["disruptionsAllowed"].as_i64().unwrap_or_default() - 1;
    status["disruptionsAllowed"] = left.into();
    status["disruptedPods"][pod] = json!(Time(now));
    if left == 0 {
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            if condition["type"] == "DisruptionAllowed" && condition["status"] != "False" {
                condition["status"] = "False".into();
                condition["reason"] = "InsufficientPods".into();
                condition["lastTransitionTime"] = json!(Time(now));
            }
        }
    }
    if let Some(metadata) = budget["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    budget
}

#[async_trait]
impl Admission for DisruptionBudgets {
    fn concerns(&self, kind: &Resource) -> bool {
        kind.id.is::<Pod>()
    }

    async fn check(
        &self,
        attributes: &Attributes<'_>,
        _new: Option<&Value>,
        txn: &mut Txn,
    ) -> Result<Vec<String>, Status> {
        let evicts = attributes.verb == WriteVerb::Delete
            && attributes.subresource == Some("eviction")
            && attributes.resource.id.is::<Pod>();
        let Some(pod) = attributes.old.filter(|pod| evicts && !is_over(pod)) else { return Ok(Vec::new()) };
        let id = GroupResource::of::<PodDisruptionBudget>();
        let open = self.caches.table().served(&id.group, "v1", &id.resource);
        let (Some(open), Some(namespace)) = (open, attributes.name.namespace()) else {
            return Ok(Vec::new());
        };
        let labels = Labels::deserialize(&pod["metadata"]["labels"]).unwrap_or_default();
        let mut budgets: Vec<(Arc<Entry>, Arc<View>)> = Vec::new();
        for entry in open.cache().list(&Query::namespace(namespace)) {
            let view = entry.view::<View>().map_err(Status::internal)?;
            if view.selects(&labels) {
                budgets.push((entry, view));
            }
        }
        let (entry, budget) = match budgets.as_slice() {
            [] => return Ok(Vec::new()),
            [one] => one,
            _ => {
                let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
                           support.";
                return Err(Status::new(Reason::Unknown, why));
            }
        };
        if budget.spares(pod) {
            return Ok(Vec::new());
        }
        budget.allows()?;
        let value = entry.to_value().map_err(Status::internal)?;
        let value = taken(value, attributes.name.name(), self.clock.now());
        let key = open.row().key(entry.name());
        let bytes = Entry::encode(&value).map_err(Status::internal)?;
        let counted = std::mem::take(txn).expect(key.clone(), Expect::At(entry.revision()));
        *txn = counted.put_with(key, bytes, open.row().durability);
        Ok(Vec::new())
    }
}
