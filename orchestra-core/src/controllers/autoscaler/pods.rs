//! Which pods an autoscaler counts, and what they asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use super::metrics::{MetricValue, PodUsage};
use crate::controllers::pod::{Condition, Phase};
use crate::quantity::Quantity;

/// How long after its start a pod's use of processors is that of a beginning, and no sign of how busy it is.
const INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// How long after its start a pod may be told unready for the first time.
const FIRST_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// What is read of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
    pub(super) status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) deletion_timestamp: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) containers: Vec<Container>,
    pub(super) init_containers: Vec<Container>,
    pub(super) resources: Option<Resources>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) restart_policy: Option<String>,
    pub(super) resources: Resources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resources {
    pub(super) requests: BTreeMap<String, Quantity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) phase: Phase,
    pub(super) start_time: Option<Time>,
    pub(super) conditions: Vec<Condition>,
}

impl Pod {
    fn ready(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| &*condition.kind == "Ready")
    }

    /// Whether it runs and is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.status.phase == Phase::Running && self.ready().is_some_and(|ready| &*ready.status == "True")
    }

    /// Whether its use of processors, as measured, says nothing yet of how busy it is.
    fn is_beginning(&self, figure: &Figure, now: Timestamp) -> bool {
        let (Some(ready), Some(start)) = (self.ready(), &self.status.start_time) else { return true };
        let since = ready.last_transition_time.as_ref().map_or(start.0, |time| time.0);
        let unready = &*ready.status == "False";
        if now.duration_since(start.0) < INITIALIZATION {
            let window = SignedDuration::try_from(figure.window).unwrap_or(SignedDuration::MAX);
            return unready || figure.at.duration_since(since) < window;
        }
        unready && since.duration_since(start.0) < FIRST_READINESS
    }

    /// How many thousandths of a resource it, or one container of it, asks for.
    fn request(&self, container: Option<&str>, resource: &str) -> Result<i64, String> {
        let name = &self.metadata.name;
        let whole =
            self.spec.resources.as_ref().filter(|whole| container.is_none() && !whole.requests.is_empty());
        if let Some(whole) = whole {
            let asked = whole.requests.get(resource).map(Quantity::milli_value);
            return asked.ok_or_else(|| format!("missing pod-level request for {resource} in Pod {name}"));
        }
        let sidecars =
            self.spec.init_containers.iter().filter(|it| it.restart_policy.as_deref() == Some("Always"));
        let all = self.spec.containers.iter().chain(sidecars);
        let (mut sum, mut found) = (0i64, false);
        for one in all.filter(|one| container.is_none_or(|container| one.name == container)) {
            let asked = one.resources.requests.get(resource).ok_or_else(|| {
                format!("missing request for {resource} in container {} of Pod {name}", one.name)
            })?;
            sum = sum.saturating_add(asked.milli_value());
            found = true;
        }
        match container {
            Some(container) if !found => Err(format!("container {container} not found in Pod {name}")),
            _ => Ok(sum),
        }
    }
}

/// How many thousandths of a resource each pod asks for.
pub(super) fn requests(
    pods: &[Pod],
    container: Option<&str>,
    resource: &str,
) -> Result<BTreeMap<String, i64>, String> {
    let each = |pod: &Pod| Ok((pod.metadata.name.clone(), pod.request(container, resource)?));
    pods.iter().map(each).collect()
}

/// What was measured of one pod, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) value: i64,
    pub(super) at: Timestamp,
    pub(super) window: Duration,
}

/// What was measured, by the names of pods.
pub(super) type Figures = BTreeMap<String, Figure>;

/// How much of a resource pods use, or one container of each. A pod of which a container was not measured is not in it.
pub(super) fn usage(pods: &[PodUsage], container: Option<&str>, resource: &str) -> Figures {
    let each = |pod: &PodUsage| {
        let mut meant =
            pod.containers.iter().filter(|it| container.is_none_or(|name| it.name == name)).peekable();
        meant.peek()?;
        let value = meant.try_fold(0i64, |sum, container| {
            Some(sum.saturating_add(container.usage.get(resource)?.milli_value()))
        })?;
        Some((pod.name.clone(), Figure { value, at: pod.timestamp, window: pod.window }))
    };
    pods.iter().filter_map(each).collect()
}

/// The values of a metric, by the names of the pods.
pub(super) fn values(values: &[MetricValue]) -> Figures {
    let each = |it: &MetricValue| {
        let figure = Figure { value: it.value.milli_value(), at: it.timestamp, window: it.window };
        (it.object.clone(), figure)
    };
    values.iter().map(each).collect()
}

/// The pods of an autoscaler, by what their figures are good for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Groups {
    /// How many are counted.
    pub(super) ready: usize,
    /// Not ready yet: counted as idle when that keeps from scaling up too far.
    pub(super) unready: BTreeSet<String>,
    /// Nothing was measured of them: counted as whatever speaks against a change.
    pub(super) missing: BTreeSet<String>,
    /// On their way out, or failed.
    pub(super) ignored: BTreeSet<String>,
}

/// Sorts pods. `resource` is what was measured, if it is a resource.
pub(super) fn group(pods: &[Pod], figures: &Figures, resource: Option<&str>, now: Timestamp) -> Groups {
    let mut groups = Groups::default();
    for pod in pods {
        let name = pod.metadata.name.clone();
        let figure = figures.get(&name);
        if pod.metadata.deletion_timestamp.is_some() || pod.status.phase == Phase::Failed {
            groups.ignored.insert(name);
        } else if pod.status.phase == Phase::Pending {
            groups.unready.insert(name);
        } else if let Some(figure) = figure {
            if resource == Some("cpu") && pod.is_beginning(figure, now) {
                groups.unready.insert(name);
            } else {
                groups.ready += 1;
            }
        } else {
            groups.missing.insert(name);
        }
    }
    groups
}
