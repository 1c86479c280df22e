//! What the plan of a Deployment is made of, and what it says.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSetCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use crate::watch::{Entry, EntryError};

/// Annotations of Deployments and their ReplicaSets.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// The label that tells the ReplicaSets of a Deployment, and their pods, apart.
pub(super) const TEMPLATE_HASH: &str = "pod-template-hash";

/// A ReplicaSet as the plan sees it.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) entry: Arc<Entry>,
    view: Arc<SetView>,
}

#[derive(Debug, Deserialize)]
struct SetView {
    metadata: SetMeta,
    spec: SetSpec,
    #[serde(default)]
    status: SetStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetMeta {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SetSpec {
    replicas: Option<i32>,
    #[serde(default)]
    min_ready_seconds: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SetStatus {
    pub(super) replicas: i32,
    pub(super) ready_replicas: i32,
    pub(super) available_replicas: i32,
    pub(super) terminating_replicas: Option<i32>,
    pub(super) observed_generation: i64,
    pub(super) conditions: Vec<ReplicaSetCondition>,
}

impl Set {
    pub(super) fn new(entry: Arc<Entry>) -> Result<Self, EntryError> {
        Ok(Self { view: entry.view()?, entry })
    }

    pub(super) fn name(&self) -> &str {
        self.entry.name().name()
    }

    /// How many replicas are asked for.
    pub(super) fn replicas(&self) -> i32 {
        self.view.spec.replicas.unwrap_or(1)
    }

    pub(super) fn min_ready_seconds(&self) -> i32 {
        self.view.spec.min_ready_seconds
    }

    pub(super) fn status(&self) -> &SetStatus {
        &self.view.status
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.view.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    pub(super) fn number(&self, key: &str) -> Option<i64> {
        self.annotation(key)?.parse().ok()
    }

    pub(super) fn revision(&self) -> i64 {
        self.number(REVISION).unwrap_or_default()
    }

    /// Oldest first.
    pub(super) fn age_key(&self) -> (Option<Timestamp>, &str) {
        (self.view.metadata.creation_timestamp.as_ref().map(|time| time.0), self.name())
    }
}

/// What there is.
#[derive(Debug)]
pub(super) struct Observed<'o> {
    pub(super) deployment: &'o Deployment,
    /// The ReplicaSet of the present template, if there is one.
    pub(super) current: Option<Set>,
    /// The others, oldest first.
    pub(super) old: Vec<Set>,
    /// What a ReplicaSet of the present template would be called, and its hash.
    pub(super) hash: String,
    /// Whether a pod of an old ReplicaSet has not ended: asked for only by `Recreate`.
    pub(super) old_pods_running: bool,
}

/// What is to be done, in this order, and what is then to be reported.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// What is to be changed in the Deployment's annotations.
    pub(super) annotate: BTreeMap<String, String>,
    pub(super) create: Option<NewSet>,
    pub(super) change: Vec<ReplicaSetChange>,
    /// Old ReplicaSets beyond the limit of the history.
    pub(super) delete: Vec<String>,
    pub(super) status: DeploymentStatus,
    /// When the deadline for progress will have passed.
    pub(super) again: Option<Duration>,
}

/// A ReplicaSet that is missing.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NewSet {
    pub(super) name: String,
    pub(super) hash: String,
    pub(super) replicas: i32,
    pub(super) annotations: BTreeMap<String, String>,
}

/// What is to be changed in a ReplicaSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ReplicaSetChange {
    pub(super) name: String,
    /// From how many replicas to how many.
    pub(super) scale: Option<(i32, i32)>,
    pub(super) min_ready_seconds: Option<i32>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl ReplicaSetChange {
    pub(super) fn is_empty(&self) -> bool {
        self.scale.is_none() && self.min_ready_seconds.is_none() && self.annotations.is_empty()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let annotations = |f: &mut fmt::Formatter<'_>, annotations: &BTreeMap<String, String>| {
            annotations.iter().try_for_each(|(key, value)| {
                write!(f, " {}={value}", key.rsplit_once('/').map_or(&**key, |(_, name)| name))
            })
        };
        if !self.annotate.is_empty() {
            f.write_str("annotate")?;
            annotations(f, &self.annotate)?;
            writeln!(f)?;
        }
        if let Some(new) = &self.create {
            write!(f, "create {} of {}", new.name, new.replicas)?;
            annotations(f, &new.annotations)?;
            writeln!(f)?;
        }
        for change in &self.change {
            write!(f, "change {}", change.name)?;
            if let Some((from, to)) = change.scale {
                write!(f, " from {from} to {to}")?;
            }
            if let Some(seconds) = change.min_ready_seconds {
                write!(f, " minReadySeconds={seconds}")?;
            }
            annotations(f, &change.annotations)?;
            writeln!(f)?;
        }
        for name in &self.delete {
            writeln!(f, "delete {name}")?;
        }
        let number = |number: Option<i32>| number.unwrap_or_default();
        let status = &self.status;
        write!(
            f,
            "report {} replicas, {} updated, {} ready, {} available, {} unavailable",
            number(status.replicas),
            number(status.updated_replicas),
            number(status.ready_replicas),
            number(status.available_replicas),
            number(status.unavailable_replicas),
        )?;
        for condition in status.conditions.iter().flatten() {
            write!(
                f,
                "\n  {}={} {}: {}",
                condition.type_,
                condition.status,
                condition.reason.as_deref().unwrap_or_default(),
                condition.message.as_deref().unwrap_or_default()
            )?;
        }
        if let Some(again) = self.again {
            write!(f, "\nagain in {again:?}")?;
        }
        Ok(())
    }
}
