//! What is to be said of a node, and which taints keep pods away from it. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::selector::LabelSet;

/// The conditions that a node reports, the most important one first.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NO_SCHEDULE: &str = "NoSchedule";
const NO_EXECUTE: &str = "NoExecute";
/// Taints that keep new pods away, by the condition and the status that lead to them.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
/// How often a node that is not ready is looked at: what the others do may change what is to be done about it.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// How long a node may be silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grace {
    /// One that has reported before.
    pub(super) running: SignedDuration,
    /// One that has never reported.
    pub(super) starting: SignedDuration,
}

/// Whether pods are driven from a node that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// They are.
    Normal,
    /// They are not, or not yet: so many nodes fail, or another was given up just now.
    Disrupted,
}

/// What is to be changed, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// The conditions, if they change.
    pub(super) conditions: Option<Vec<NodeCondition>>,
    /// The taints, if they change.
    pub(super) taints: Option<Vec<Taint>>,
    /// Whether the node has just ceased to be ready.
    pub(super) lost: bool,
    /// Whether its pods are not to be reported as ready.
    pub(super) unready: bool,
    /// When its silence will have lasted too long.
    pub(super) again: Option<SignedDuration>,
}

/// Labels of the machine that go by two names, of which the first is right.
const LABELS: [(&str, &str); 2] =
    [("kubernetes.io/os", "beta.kubernetes.io/os"), ("kubernetes.io/arch", "beta.kubernetes.io/arch")];

/// The labels that a node lacks, or has otherwise, by what it says of its machine.
pub(super) fn labels(held: &LabelSet) -> Vec<(&'static str, String)> {
    let said = LABELS.iter().filter_map(|(right, other)| Some((*other, held.get(right)?)));
    said.filter(|(other, value)| held.get(other).as_ref() != Some(value)).collect()
}

/// Whether a node is ready and was heard of lately, so that the health of the others does not matter.
pub(super) fn is_well(node: &Node, heard: Timestamp, grace: Grace, now: Timestamp) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
    ready(conditions.unwrap_or_default()) == "True" && now.duration_since(heard) <= grace.running
}

/// Whether pods are driven from a node already.
pub(super) fn is_given_up(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints.iter().any(drives)
}

fn drives(taint: &Taint) -> bool {
    taint.effect == NO_EXECUTE && (taint.key == NOT_READY || taint.key == UNREACHABLE)
}

impl Plan {
    /// Whether it has pods be driven from the node.
    pub(super) fn gives_up(&self) -> bool {
        self.taints.iter().flatten().any(drives)
    }
}

/// Judges a node by when it was last heard of, and whether it was ready when it was last looked at.
pub(super) fn plan(
    node: &Node,
    heard: Timestamp,
    was_ready: bool,
    grace: Grace,
    health: Health,
    now: Timestamp,
) -> Plan {
    let held = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let never = !held.iter().any(|condition| condition.type_ == "Ready");
    let allowed = if never { grace.starting } else { grace.running };
    let silent = now.duration_since(heard);
    let conditions = if silent > allowed { silenced(node, &held, now) } else { held.clone() };
    let (before, ready) = (ready(&held), ready(&conditions));
    let silence = (silent <= allowed).then(|| allowed - silent + SignedDuration::from_millis(1));
    let again = match ready {
        "True" => silence,
        _ if never && silence.is_some() => silence,
        _ => silence.into_iter().chain([LOOK_AGAIN]).min(),
    };
    let lost = (was_ready || before == "True") && ready != "True";
    let taints = taints(node, &conditions, health, now);
    let held_taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    Plan {
        lost,
        unready: lost || (!never && ready == "Unknown"),
        again,
        conditions: (conditions != held).then_some(conditions),
        taints: (taints != held_taints).then_some(taints),
    }
}

/// The status of the Ready condition.
pub(super) fn ready(conditions: &[NodeCondition]) -> &str {
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    ready.map_or("Unknown", |condition| &condition.status)
}

/// The conditions of a node that has not been heard of for too long: nothing is known.
fn silenced(node: &Node, held: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let mut conditions = held.to_vec();
    for kind in REPORTED {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
            }
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(Time(now)),
            }),
        }
    }
    conditions
}

/// The taints that a node is to have: its own, and those that its conditions lead to. One that is there keeps its
/// time, by which pods are given notice.
fn taints(node: &Node, conditions: &[NodeCondition], health: Health, now: Timestamp) -> Vec<Taint> {
    let spec = node.spec.clone().unwrap_or_default();
    let held = spec.taints.unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = BY_CONDITION
        .iter()
        .filter(|(kind, status, _)| {
            conditions.iter().any(|condition| condition.type_ == *kind && condition.status == *status)
        })
        .map(|(_, _, taint)| (*taint, NO_SCHEDULE))
        .collect();
    if spec.unschedulable == Some(true) {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    if health == Health::Normal && conditions.iter().any(|condition| condition.type_ == "Ready") {
        match ready(conditions) {
            "True" => {}
            "False" => wanted.push((NOT_READY, NO_EXECUTE)),
            _ => wanted.push((UNREACHABLE, NO_EXECUTE)),
        }
    }
    let is = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let ours = |taint: &Taint| {
        let mut all = BY_CONDITION.iter().map(|(_, _, key)| *key).chain([UNSCHEDULABLE]);
        (taint.effect == NO_SCHEDULE && all.any(|key| key == taint.key))
            || is(taint, (NOT_READY, NO_EXECUTE))
            || is(taint, (UNREACHABLE, NO_EXECUTE))
    };
    let mut taints = held;
    taints.retain(|taint| !ours(taint) || wanted.iter().any(|wanted| is(taint, *wanted)));
    for wanted in wanted {
        if !taints.iter().any(|taint| is(taint, wanted)) {
            taints.push(Taint {
                key: wanted.0.to_owned(),
                effect: wanted.1.to_owned(),
                value: None,
                time_added: Some(Time(now)),
            });
        }
    }
    taints
}

#[cfg(test)]
mod tests;
