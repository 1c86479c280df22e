//! What controllers read of a pod, and the questions they ask of it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use crate::watch::{Entry, EntryError};

/// A pod with the few fields that controllers read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spec,
    pub(crate) status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    pub(crate) creation_timestamp: Option<Time>,
    pub(crate) deletion_timestamp: Option<Time>,
    pub(crate) deletion_grace_period_seconds: Option<i64>,
    pub(crate) finalizers: Option<Vec<Box<str>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) node_name: Option<Box<str>>,
    pub(crate) hostname: Option<Box<str>>,
    pub(crate) subdomain: Option<Box<str>>,
    pub(crate) containers: Vec<Container>,
    pub(crate) init_containers: Option<Vec<Container>>,
    pub(crate) tolerations: Option<Vec<k8s_openapi::api::core::v1::Toleration>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Container {
    pub(crate) name: Box<str>,
    pub(crate) restart_policy: Option<Box<str>>,
    pub(crate) ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Port {
    pub(crate) name: Option<Box<str>>,
    pub(crate) container_port: i32,
    pub(crate) protocol: Option<Box<str>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    pub(crate) conditions: Option<Vec<Condition>>,
    pub(crate) container_statuses: Option<Vec<ContainerStatus>>,
    pub(crate) init_container_statuses: Option<Vec<ContainerStatus>>,
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: Option<Box<str>>,
    #[serde(rename = "podIPs")]
    pub(crate) pod_ips: Option<Vec<PodIp>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodIp {
    pub(crate) ip: Box<str>,
}

/// Where a pod stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Phase {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub(crate) kind: Box<str>,
    pub(crate) status: Box<str>,
    pub(crate) reason: Option<Box<str>>,
    pub(crate) last_transition_time: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    pub(crate) name: Box<str>,
    pub(crate) restart_count: i32,
    pub(crate) state: Option<ContainerState>,
}

/// What a container does; of interest is only how it ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerState {
    pub(crate) terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Terminated {
    pub(crate) exit_code: i32,
    pub(crate) finished_at: Option<Time>,
}

impl Pod {
    /// The view of a cached pod.
    pub(crate) fn of(entry: &Entry) -> Result<std::sync::Arc<Self>, EntryError> {
        entry.view()
    }

    /// Whether the pod still counts: it has not ended and is not being deleted.
    pub(crate) fn is_active(&self) -> bool {
        !self.has_ended() && self.metadata.deletion_timestamp.is_none()
    }

    /// Whether it is on its way out and has not ended yet.
    pub(crate) fn is_terminating(&self) -> bool {
        !self.has_ended() && self.metadata.deletion_timestamp.is_some()
    }

    /// Whether something keeps it from going away that has this name.
    pub(crate) fn has_finalizer(&self, name: &str) -> bool {
        self.metadata.finalizers.iter().flatten().any(|held| &**held == name)
    }

    /// The value of an annotation.
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether all its containers have ended for good.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.status.phase, Phase::Succeeded | Phase::Failed)
    }

    fn ready_condition(&self) -> Option<&Condition> {
        self.status.conditions.iter().flatten().find(|condition| &*condition.kind == "Ready")
    }

    /// Whether it can serve.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready_condition().is_some_and(|condition| &*condition.status == "True")
    }

    /// Since when it can serve.
    pub(crate) fn ready_since(&self) -> Option<Timestamp> {
        let condition = self.ready_condition().filter(|condition| &*condition.status == "True")?;
        Some(condition.last_transition_time.as_ref()?.0)
    }

    /// Whether it has been ready for so many seconds, and if it is ready but not for long enough yet, how much is
    /// left.
    pub(crate) fn availability(&self, min_ready_seconds: i32, now: Timestamp) -> Availability {
        if !self.is_ready() {
            return Availability::NotReady;
        }
        let wanted = i64::from(min_ready_seconds.max(0));
        if wanted == 0 {
            return Availability::Available;
        }
        let since = self.ready_since().unwrap_or(now);
        let left = jiff::SignedDuration::from_secs(wanted) - now.duration_since(since);
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => Availability::In(left),
            _ => Availability::Available,
        }
    }

    /// The most restarts of any of its containers.
    pub(crate) fn restarts(&self) -> i32 {
        let counts = self.status.container_statuses.iter().flatten().map(|status| status.restart_count);
        counts.max().unwrap_or_default()
    }

    /// Its addresses, the first one first.
    pub(crate) fn addresses(&self) -> Vec<&str> {
        let listed: Vec<&str> = self.status.pod_ips.iter().flatten().map(|held| &*held.ip).collect();
        let all =
            if listed.is_empty() { self.status.pod_ip.as_deref().into_iter().collect() } else { listed };
        all.into_iter().filter(|address| !address.is_empty()).collect()
    }

    /// The number of a named port.
    pub(crate) fn port(&self, name: &str, protocol: &str) -> Option<i32> {
        let sidecars = self.spec.init_containers.iter().flatten();
        let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let ports = self
            .spec
            .containers
            .iter()
            .chain(sidecars)
            .flat_map(|container| container.ports.iter().flatten());
        let mut named = ports.filter(|port| port.name.as_deref() == Some(name));
        named
            .find(|port| port.protocol.as_deref().unwrap_or("TCP") == protocol)
            .map(|port| port.container_port)
    }

    /// The node it is bound to.
    pub(crate) fn node(&self) -> Option<&str> {
        self.spec.node_name.as_deref().filter(|node| !node.is_empty())
    }
}

/// See [`Pod::availability`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    NotReady,
    In(Duration),
    Available,
}
