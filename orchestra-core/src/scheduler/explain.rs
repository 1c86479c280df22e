//! Why a pod waits, node by node, and the least that would have to change.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::diagnosis::Diagnosis;
use super::filter::Demand;
use super::filter::node_unschedulable::CORDONED;
use super::filter::{Reason, Verdict};
use super::node::NodeSpec;
use super::plan::{Plan, plan};
use super::pod::PodInfo;
use super::profile::Profile;
use super::rules::{NodeRule, Rules};
use super::snapshot::Snapshot;

/// How many remedies are looked for, and how many of the most promising nodes are tried.
const REMEDIES: usize = 3;
const TRIALS: usize = 20;

/// Everything there is to say about where a pod can go.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The nodes that can take the pod as things are.
    pub fits: Vec<Arc<str>>,
    /// For every other node, all of the rules it fails, in the order in which they are asked.
    pub faults: BTreeMap<Arc<str>, Vec<Verdict>>,
    /// The sentence of the `FailedScheduling` event, without the part about preemption; empty when a node fits.
    pub summary: String,
    /// What would help, the smallest change first. Each was tried: with it, the plan places the pod.
    pub remedies: Vec<Remedy>,
}

/// Changes that together open one node to the pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Remedy {
    /// The node.
    pub node: Arc<str>,
    /// What has to change; never empty.
    pub changes: Vec<Step>,
}

/// One change, to the pod or to the node.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Uncordon the node.
    Uncordon,
    /// Let the pod tolerate a taint of the node.
    Tolerate {
        /// The taint's key.
        key: String,
        /// The taint's value.
        value: String,
        /// The taint's effect.
        effect: String,
    },
    /// Give the node a label that the pod asks for.
    LabelNode {
        /// The label's key.
        key: String,
        /// The label's value.
        value: String,
    },
    /// Take the node selector and the required node affinity off the pod.
    DropNodeRule,
    /// Let the pod ask for less.
    LowerRequest {
        /// Of which resource.
        resource: Arc<str>,
        /// What it asks for in all: milli-CPUs, bytes or units.
        from: i64,
        /// What is free.
        to: i64,
    },
    /// Take the host ports off the pod.
    DropHostPorts,
    /// Allow more difference between places.
    RelaxSpread {
        /// The label the places are told apart by.
        topology_key: String,
        /// The `maxSkew` that would do.
        max_skew: i64,
    },
    /// Take a spread constraint off the pod.
    DropSpread {
        /// The label the places are told apart by.
        topology_key: String,
    },
    /// Take the required pod affinity off the pod.
    DropAffinity,
    /// Take the required pod anti-affinity off the pod.
    DropAntiAffinity,
}

/// Explains a pod that is not counted in the snapshot, by the rules that hold where nothing else is configured.
pub fn explain(snapshot: &Snapshot, pod: &PodInfo) -> Explanation {
    explain_by(&Profile::default(), snapshot, pod)
}

/// Explains a pod that is not counted in the snapshot, by the rules of a profile.
pub fn explain_by(profile: &Profile, snapshot: &Snapshot, pod: &PodInfo) -> Explanation {
    let demand = Demand::new(snapshot, pod, profile);
    let mut explanation = Explanation {
        fits: Vec::new(),
        faults: BTreeMap::new(),
        summary: String::new(),
        remedies: Vec::new(),
    };
    for id in snapshot.listed() {
        let name = snapshot.node(*id).spec.name.clone();
        match demand.faults(*id) {
            faults if faults.is_empty() => explanation.fits.push(name),
            faults => _ = explanation.faults.insert(name, faults),
        }
    }
    if explanation.fits.is_empty() {
        explanation.summary = Diagnosis::of(&demand).to_string();
        explanation.remedies = remedies(profile, snapshot, pod, &explanation.faults);
    }
    explanation
}

fn remedies(
    profile: &Profile,
    snapshot: &Snapshot,
    pod: &PodInfo,
    faults: &BTreeMap<Arc<str>, Vec<Verdict>>,
) -> Vec<Remedy> {
    let mut promising: Vec<Remedy> = faults
        .iter()
        .filter_map(|(name, verdicts)| {
            let node = &snapshot.node_named(name)?.spec;
            let reasons = verdicts.iter().flat_map(|verdict| &verdict.reasons);
            let changes: Option<Vec<Vec<Step>>> = reasons.map(|reason| changes(reason, node, pod)).collect();
            let mut needed: Vec<Step> = Vec::new();
            for change in changes?.concat() {
                // Several reasons may be lifted by one change.
                if !needed.contains(&change) {
                    needed.push(change);
                }
            }
            Some(Remedy { node: name.clone(), changes: needed })
        })
        .collect();
    promising.sort_by(|a, b| a.size().total_cmp(&b.size()));
    let tried = promising.into_iter().take(TRIALS).filter(|remedy| remedy.works(profile, snapshot, pod));
    tried.take(REMEDIES).collect()
}

/// What would lift one reason; `None` when nothing about the pod or this node would.
fn changes(reason: &Reason, node: &NodeSpec, pod: &PodInfo) -> Option<Vec<Step>> {
    Some(vec![match reason {
        Reason::Cordoned => Step::Uncordon,
        Reason::Taint { .. } => return Some(untolerated(node, pod)),
        Reason::NodeAffinity => return Some(missing_labels(node, pod)),
        Reason::Ports => Step::DropHostPorts,
        Reason::Insufficient { resource, requested, used, capacity } if capacity > used => {
            Step::LowerRequest { resource: resource.clone(), from: *requested, to: capacity - used }
        }
        Reason::SpreadLabel { topology_key } => Step::DropSpread { topology_key: topology_key.clone() },
        Reason::Spread { topology_key, skew, .. } => {
            Step::RelaxSpread { topology_key: topology_key.clone(), max_skew: *skew }
        }
        Reason::PodAffinity => Step::DropAffinity,
        Reason::PodAntiAffinity => Step::DropAntiAffinity,
        Reason::TooManyPods { .. } | Reason::Insufficient { .. } => return None,
        Reason::Claims { .. } | Reason::VolumeOutOfReach => return None,
        Reason::NoVolume | Reason::VolumeGone | Reason::NoRoomForVolume => return None,
        Reason::DiskInUse | Reason::ClaimInUse | Reason::TooManyVolumes | Reason::OtherZone => return None,
        Reason::NoDevices | Reason::DevicesElsewhere => return None,
        Reason::AddedAffinity | Reason::Own { .. } => return None,
        Reason::OtherNode | Reason::NotNamed | Reason::ExistingAntiAffinity => return None,
    }])
}

/// The reason names the first taint; all that are not tolerated have to be, or taken away with what they stand for.
fn untolerated(node: &NodeSpec, pod: &PodInfo) -> Vec<Step> {
    let hard = node.taints.iter().filter(|t| t.effect == "NoSchedule" || t.effect == "NoExecute");
    let bare = hard.filter(|taint| !pod.tolerations.iter().any(|t| super::filter::tolerates(t, taint)));
    let change = |taint: &Taint| match &*taint.key {
        CORDONED => Step::Uncordon,
        key => Step::Tolerate {
            key: key.to_owned(),
            value: taint.value.clone().unwrap_or_default(),
            effect: taint.effect.clone(),
        },
    };
    bare.map(change).collect()
}

/// The labels of the node selector that the node lacks; the whole rule, when it is not labels that are lacking.
fn missing_labels(node: &NodeSpec, pod: &PodInfo) -> Vec<Step> {
    let wanted = pod.rules.node.selector().requirements().iter();
    let missing = wanted.filter_map(|r| Some((r.key(), r.values().first()?)));
    let missing = missing.filter(|(key, value)| node.labels.get(*key) != Some(value));
    let labels: Vec<_> =
        missing.map(|(key, value)| Step::LabelNode { key: key.to_owned(), value: value.clone() }).collect();
    let mut labelled = node.labels.clone();
    for change in &labels {
        if let Step::LabelNode { key, value } = change {
            labelled.insert(key.clone(), value.clone());
        }
    }
    let enough = pod.rules.node.matches(&node.name, &(&labelled).into());
    if enough { labels } else { vec![Step::DropNodeRule] }
}

impl Remedy {
    /// How much is asked of people: one change is less than two, and to give up a rule is more than to adjust.
    fn size(&self) -> f64 {
        self.changes.iter().map(Step::size).sum()
    }

    /// Makes the changes in a copy of the cluster and plans.
    fn works(&self, profile: &Profile, snapshot: &Snapshot, pod: &PodInfo) -> bool {
        let (mut snapshot, mut pod) = (snapshot.clone(), pod.clone());
        let Some(mut node) = snapshot.node_named(&self.node).map(|node| node.spec.clone()) else {
            return false;
        };
        for change in &self.changes {
            change.apply(&mut node, &mut pod);
        }
        snapshot.set_node(node);
        matches!(plan(&snapshot, &pod, profile, 0), Plan::Place { node, .. } if node == self.node)
    }
}

impl Step {
    fn size(&self) -> f64 {
        match self {
            Self::Uncordon | Self::Tolerate { .. } => 1.0,
            Self::LabelNode { .. } => 1.5,
            // Between one and two: the more has to be given up, the larger.
            Self::LowerRequest { from, to, .. } => 2.0 - *to as f64 / (*from).max(1) as f64,
            Self::RelaxSpread { max_skew, .. } => 2.0 + *max_skew as f64 / 1000.0,
            Self::DropSpread { .. } | Self::DropHostPorts | Self::DropNodeRule => 3.0,
            Self::DropAffinity | Self::DropAntiAffinity => 3.0,
        }
    }

    fn apply(&self, node: &mut NodeSpec, pod: &mut PodInfo) {
        match self {
            Self::Uncordon => {
                node.unschedulable = false;
                // The node controller takes it away.
                node.taints.retain(|taint| taint.key != CORDONED);
            }
            Self::Tolerate { key, value, effect } => pod.tolerations.push(Toleration {
                key: Some(key.clone()),
                operator: Some("Equal".to_owned()),
                value: Some(value.clone()),
                effect: Some(effect.clone()),
                ..Toleration::default()
            }),
            Self::LabelNode { key, value } => _ = node.labels.insert(key.clone(), value.clone()),
            Self::LowerRequest { resource, to, .. } => pod.requests.needed.set(resource, *to),
            Self::DropHostPorts => pod.ports.clear(),
            rule => rule.relax(Arc::make_mut(&mut pod.rules)),
        }
    }

    fn relax(&self, rules: &mut Rules) {
        match self {
            Self::DropNodeRule => rules.node = NodeRule::any(),
            Self::RelaxSpread { topology_key, max_skew } => {
                let spread = rules
                    .spread
                    .iter_mut()
                    .map(|s| &mut s.terms)
                    .filter(|s| s.required && s.topology_key == *topology_key);
                spread.for_each(|s| s.max_skew = s.max_skew.max(*max_skew));
            }
            Self::DropSpread { topology_key } => {
                rules.spread.retain(|s| s.terms.topology_key != *topology_key)
            }
            Self::DropAffinity => rules.affinity.clear(),
            Self::DropAntiAffinity => rules.anti_affinity.clear(),
            _ => {}
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncordon => write!(f, "uncordon the node"),
            Self::Tolerate { key, value, effect } if value.is_empty() => write!(f, "tolerate {key}:{effect}"),
            Self::Tolerate { key, value, effect } => write!(f, "tolerate {key}={value}:{effect}"),
            Self::LabelNode { key, value } => write!(f, "label the node {key}={value}"),
            Self::DropNodeRule => write!(f, "drop the node selector and affinity"),
            Self::LowerRequest { resource, from, to } => {
                let unit = if &**resource == "cpu" { "m" } else { "" };
                write!(f, "request {to}{unit} of {resource} instead of {from}{unit}")
            }
            Self::DropHostPorts => write!(f, "drop the host ports"),
            Self::RelaxSpread { topology_key, max_skew } => {
                write!(f, "allow a skew of {max_skew} over {topology_key}")
            }
            Self::DropSpread { topology_key } => write!(f, "do not spread over {topology_key}"),
            Self::DropAffinity => write!(f, "drop the pod affinity"),
            Self::DropAntiAffinity => write!(f, "drop the pod anti-affinity"),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes: Vec<_> = self.changes.iter().map(ToString::to_string).collect();
        write!(f, "{}: {}", self.node, changes.join(", "))
    }
}
