//! What is reported of a set of replicas. Pure.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::plan::Counts;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// The condition that says that pods could not be created or deleted.
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The status of a ReplicaSet or ReplicationController, whose fields are the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) replicas: i32,
    pub(crate) fully_labeled_replicas: i32,
    pub(crate) ready_replicas: i32,
    pub(crate) available_replicas: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) terminating_replicas: Option<i32>,
    pub(crate) observed_generation: i64,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) last_transition_time: Option<Time>,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) message: String,
}

/// What went wrong in this run, if anything did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub(crate) reason: &'static str,
    /// In the words of the API.
    pub(crate) message: String,
}

/// The next status. `terminating` says whether the kind reports pods that are on their way out.
pub(crate) fn next(
    held: &Status,
    counts: Counts,
    generation: i64,
    failure: Option<&Failure>,
    terminating: bool,
    now: Timestamp,
) -> Status {
    let mut conditions = held.conditions.clone();
    let failed = conditions.iter().any(|condition| condition.kind == REPLICA_FAILURE);
    match failure {
        // The first failure stays until there is none.
        Some(failure) if !failed => conditions.push(Condition {
            kind: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(Time(now)),
            reason: failure.reason.to_owned(),
            message: failure.message.clone(),
        }),
        Some(_) => {}
        None => conditions.retain(|condition| condition.kind != REPLICA_FAILURE),
    }
    Status {
        replicas: counts.replicas,
        fully_labeled_replicas: counts.fully_labeled,
        ready_replicas: counts.ready,
        available_replicas: counts.available,
        terminating_replicas: terminating.then_some(counts.terminating),
        observed_generation: generation,
        conditions,
    }
}

/// The change that makes it so. Numbers that are 0 and lists that are empty are left out of objects, as Kubernetes
/// does, except the number of replicas.
pub(crate) fn patch(status: &Status) -> Value {
    let number = |value: i32| if value == 0 { Value::Null } else { value.into() };
    let conditions = match &status.conditions[..] {
        [] => Value::Null,
        conditions => json!(conditions),
    };
    json!({
        "replicas": status.replicas,
        "fullyLabeledReplicas": number(status.fully_labeled_replicas),
        "readyReplicas": number(status.ready_replicas),
        "availableReplicas": number(status.available_replicas),
        "terminatingReplicas": status.terminating_replicas,
        "observedGeneration": status.observed_generation,
        "conditions": conditions,
    })
}
