//! A DaemonSet, its pods by node, and the nodes, as the plan sees them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;

use crate::controllers::pod::Availability;
use crate::controllers::replicas::member::Member;
use crate::controllers::share::share;
use crate::scheduler::Suits;
use crate::watch::{Entry, EntryError};
use jiff::Timestamp;

/// The label with the hash of the template that a pod was made from.
pub(super) const HASH: &str = "controller-revision-hash";
/// The label of a pod and the annotation of its DaemonSet that say how often the template has changed.
pub(super) const GENERATION_LABEL: &str = "pod-template-generation";
pub(super) const GENERATION: &str = "deprecated.daemonset.template.generation";

/// What there is.
#[derive(Debug)]
pub(super) struct Observed<'o> {
    pub(super) wanted: Wanted<'o>,
    /// All nodes, by name.
    pub(super) nodes: BTreeMap<String, Suits>,
    /// The DaemonSet's pods by the node that they are for, also for nodes that are not there.
    pub(super) pods: BTreeMap<String, Vec<&'o Member>>,
    /// By node, until when a pod that fails is left alone.
    pub(super) waits: HashMap<String, Duration>,
    pub(super) now: Timestamp,
}

/// What the DaemonSet asks for.
#[derive(Debug)]
pub(super) struct Wanted<'o> {
    pub(super) spec: &'o DaemonSetSpec,
    /// The hash of the present template.
    pub(super) hash: String,
    pub(super) generation: Option<String>,
}

impl<'o> Wanted<'o> {
    pub(super) fn new(set: &DaemonSet, spec: &'o DaemonSetSpec, hash: String) -> Self {
        let annotation = set.metadata.annotations.as_ref().and_then(|all| all.get(GENERATION));
        let generation = annotation.filter(|text| text.parse::<i64>().is_ok()).cloned();
        Self { spec, hash, generation }
    }

    /// Whether a pod is of the present template.
    pub(super) fn is_new(&self, member: &Member) -> bool {
        let labels = member.entry.labels();
        labels.has(HASH, &self.hash)
            || self.generation.as_deref().is_some_and(|number| labels.has(GENERATION_LABEL, number))
    }

    fn rolling(&self) -> Option<(Option<&'o IntOrString>, Option<&'o IntOrString>)> {
        let strategy = self.spec.update_strategy.as_ref()?;
        if strategy.type_.as_deref() == Some("OnDelete") {
            return None;
        }
        let rolling = strategy.rolling_update.as_ref();
        Some((
            rolling.and_then(|rolling| rolling.max_surge.as_ref()),
            rolling.and_then(|rolling| rolling.max_unavailable.as_ref()),
        ))
    }

    /// Whether an old pod is only replaced when somebody deletes it.
    pub(super) fn is_on_delete(&self) -> bool {
        self.rolling().is_none() && self.spec.update_strategy.is_some()
    }

    /// How many nodes of so many may have two pods, and how many none that is available. Both 0 would stop a rollout for
    /// ever: then it is one that may have none.
    pub(super) fn bounds(&self, nodes: usize) -> Bounds {
        let (surge, unavailable) = self.rolling().unwrap_or((None, None));
        let of = i32::try_from(nodes).unwrap_or(i32::MAX);
        let share = |value: Option<&IntOrString>, default: i32| {
            let count = value.map_or(default, |value| share(value, of, true));
            usize::try_from(count).unwrap_or_default()
        };
        let surge = share(surge, 0);
        let unavailable = share(unavailable, 1);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Bounds { surge, unavailable }
    }

    pub(super) fn has_surge(&self) -> bool {
        self.bounds(1).surge > 0
    }

    pub(super) fn availability(&self, member: &Member, now: Timestamp) -> Availability {
        member.pod.availability(self.spec.min_ready_seconds.unwrap_or_default(), now)
    }

    pub(super) fn is_available(&self, member: &Member, now: Timestamp) -> bool {
        self.availability(member, now) == Availability::Available
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) surge: usize,
    pub(super) unavailable: usize,
}

/// What is to be done, in this order, and what is then to be reported.
#[derive(Debug, Default)]
pub(super) struct Plan<'o> {
    pub(super) delete: Vec<(&'o Member, Why)>,
    /// The nodes that get a pod.
    pub(super) create: Vec<String>,
    pub(super) status: DaemonSetStatus,
    /// When to look again if nothing happens.
    pub(super) again: Option<Duration>,
}

/// Why a pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its node is none for it, or it is one too many.
    Superfluous,
    /// It has failed: another may do better.
    Failed,
    /// It ran to its end, which no daemon should.
    Succeeded,
    /// It is of an old template.
    Old,
}

impl Plan<'_> {
    pub(super) fn look_again(&mut self, after: Duration) {
        self.again = Some(self.again.map_or(after, |held| held.min(after)));
    }
}

/// The node that a pod is for: where it is, or where it has to go.
pub(super) fn node_of(member: &Member) -> Result<Option<String>, EntryError> {
    match member.pod.node() {
        Some(node) => Ok(Some(node.to_owned())),
        None => target(&member.entry),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Targeted {
    spec: TargetedSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TargetedSpec {
    affinity: Option<k8s_openapi::api::core::v1::Affinity>,
}

fn target(pod: &Entry) -> Result<Option<String>, EntryError> {
    let view = pod.view::<Targeted>()?;
    let affinity = view.spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let terms = required.into_iter().flat_map(|required| &required.node_selector_terms);
    let mut fields = terms.flat_map(|term| term.match_fields.iter().flatten());
    let named = fields.find(|field| field.key == "metadata.name" && field.operator == "In");
    Ok(named.and_then(|field| field.values.as_ref()?.first().cloned()))
}
