//! Pods like this one are spread evenly over places.
//!
//! Only constraints with `DoNotSchedule` are a rule; the others are a score.

use std::borrow::Cow;

use super::{Filter, Reason, Rule, tolerated};
use crate::meta::Uid;
use crate::scheduler::group::spreads_of;
use crate::scheduler::node::NodeId;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::profile::Profile;
use crate::scheduler::rules::{Spread, SpreadTerms};
use crate::scheduler::snapshot::Snapshot;
use crate::scheduler::topology::{Counts, NOWHERE};

pub(super) const RULE: Rule = Rule {
    filter: Filter::PodTopologySpread,
    applies: |demand| !demand.spread.0.is_empty(),
    passes: |demand, id, _| demand.spread.0.iter().all(|c| c.admits(id)),
    at_a_glance: super::never,
    reasons: |demand, id, _| demand.spread.0.iter().find_map(|c| c.fault(id)).into_iter().collect(),
};

/// The required constraints of a pod, with the pods of each place counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpreadState<'s>(Vec<Constraint<'s>>);

#[derive(Clone, Debug)]
struct Constraint<'s> {
    spread: Cow<'s, Spread>,
    counts: Counts<'s>,
    /// The places that count at all: those of nodes the pod could be spread over.
    places: Vec<bool>,
    /// The pods of the emptiest place.
    least: i64,
    /// Whether the pod counts itself.
    counts_itself: bool,
}

impl<'s> SpreadState<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot, pod: &'s PodInfo, profile: &Profile) -> Self {
        let required = spreads_of(snapshot, pod, profile, true).into_iter();
        let mut constraints: Vec<_> = required.map(|s| Constraint::new(snapshot, pod, s)).collect();
        if constraints.is_empty() {
            return Self::default();
        }
        // Nodes that lack one of the labels count for no constraint.
        let complete: Vec<NodeId> = {
            let labelled = |id: &&NodeId| constraints.iter().all(|c| c.counts.column.place(**id) != NOWHERE);
            snapshot.listed().iter().filter(labelled).copied().collect()
        };
        for constraint in &mut constraints {
            constraint.count(snapshot, pod, &complete);
        }
        Self(constraints)
    }

    /// Counts a pod in (1) or out (-1), as if it came to the node or left it.
    pub(crate) fn adjust(&mut self, pod: &PodInfo, other: &PodInfo, node: NodeId, change: i64) {
        if other.deleting || other.namespace() != pod.namespace() {
            return;
        }
        for constraint in self.0.iter_mut().filter(|c| c.spread.counts(&other.labels, owner(other))) {
            constraint.counts.add(node, change);
            constraint.find_least();
        }
    }
}

impl<'s> Constraint<'s> {
    fn new(snapshot: &'s Snapshot, pod: &PodInfo, spread: Cow<'s, Spread>) -> Self {
        let counts = Counts::none(snapshot.column(&spread.terms.topology_key));
        let places = vec![false; counts.column.places()];
        let counts_itself = spread.counts(&pod.labels, owner(pod));
        Self { spread, counts, places, least: 0, counts_itself }
    }

    fn count(&mut self, snapshot: &Snapshot, pod: &PodInfo, complete: &[NodeId]) {
        let mut eligible = vec![false; snapshot.node_slots()];
        for id in complete.iter().filter(|id| is_eligible(&self.spread.terms, pod, snapshot.node(**id))) {
            eligible[id.index()] = true;
            self.places[self.counts.column.place(*id) as usize] = true;
        }
        let alike = snapshot.classes.in_namespace(pod.namespace());
        for class in alike.filter(|class| self.spread.counts(&class.labels, class.controller.as_ref())) {
            for (node, present) in class.nodes.iter().filter(|(node, _)| eligible[node.index()]) {
                self.counts.add(*node, i64::from(present.staying));
            }
        }
        self.find_least();
    }

    fn find_least(&mut self) {
        let (mut number, mut least) = (0, i64::MAX);
        for (place, _) in self.places.iter().enumerate().filter(|(_, counts)| **counts) {
            number += 1;
            least = least.min(self.counts.of(place as u32));
        }
        self.least = if number < self.spread.terms.min_domains { 0 } else { least };
    }

    /// By how many pods the node's place would lead; `None` when the node is in no place.
    fn skew(&self, node: NodeId) -> Option<i64> {
        self.counts.at(node).map(|count| count + i64::from(self.counts_itself) - self.least)
    }

    fn admits(&self, node: NodeId) -> bool {
        self.skew(node).is_some_and(|skew| skew <= self.spread.terms.max_skew)
    }

    fn fault(&self, node: NodeId) -> Option<Reason> {
        let SpreadTerms { topology_key, max_skew, .. } = &self.spread.terms;
        let topology_key = topology_key.clone();
        match self.skew(node) {
            None => Some(Reason::SpreadLabel { topology_key }),
            Some(skew) if skew > *max_skew => {
                Some(Reason::Spread { topology_key, skew, max_skew: *max_skew })
            }
            Some(_) => None,
        }
    }
}

fn owner(pod: &PodInfo) -> Option<&Uid> {
    pod.controller.as_ref().map(|(_, uid)| uid)
}

/// Whether the pods of a node count for a constraint.
pub(crate) fn is_eligible(terms: &SpreadTerms, pod: &PodInfo, node: &NodeInfo) -> bool {
    let rule = &pod.rules.node;
    (!terms.honours_affinity || rule.is_any() || rule.matches(&node.spec.name, &node.labels))
        && (!terms.honours_taints || tolerated(&pod.tolerations, node))
}
