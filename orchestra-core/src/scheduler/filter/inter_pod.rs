//! Pods that must run next to each other, or must not. Both sides have a say: the pod to be placed, and the pods
//! that are there.

use super::{Filter, Reason, Rule};
use crate::scheduler::node::NodeId;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::rules::{PodTerm, Rules};
use crate::scheduler::snapshot::Snapshot;
use crate::scheduler::topology::Counts;
use crate::selector::LabelSet;

pub(super) const RULE: Rule = Rule {
    filter: Filter::InterPodAffinity,
    applies: |demand| demand.inter_pod.is_some(),
    passes: |demand, id, _| demand.inter_pod.as_ref().is_none_or(|state| state.fault(id).is_none()),
    at_a_glance: super::never,
    reasons: |demand, id, _| demand.inter_pod.as_ref().and_then(|s| s.fault(id)).into_iter().collect(),
};

/// For each term in question, how many pods it means there are in each place.
#[derive(Clone, Debug)]
pub(crate) struct InterPod<'s> {
    snapshot: &'s Snapshot,
    rules: &'s Rules,
    /// Pods that all of the pod's affinity terms mean, counted by the places of each term.
    together: Vec<Counts<'s>>,
    /// How many such pods there are anywhere.
    companions: i64,
    /// Whether the pod is one of those it wants to be next to, and so may be the first.
    may_be_first: bool,
    /// Pods that each of the pod's anti-affinity terms means.
    apart: Vec<Counts<'s>>,
    /// Pods that want this one away, by the places of each label key their terms use.
    unwelcome: Vec<(&'s str, Counts<'s>)>,
}

/// What a term is compared with.
struct Subject<'a> {
    namespace: &'a str,
    labels: &'a LabelSet,
}

impl<'a> Subject<'a> {
    fn of(pod: &'a PodInfo) -> Self {
        Self { namespace: pod.namespace(), labels: &pod.labels }
    }
}

impl<'s> InterPod<'s> {
    /// `None` when no rule of this kind concerns the pod.
    pub(crate) fn new(snapshot: &'s Snapshot, pod: &'s PodInfo) -> Option<Self> {
        let rules: &Rules = &pod.rules;
        let counts = |terms: &'s [PodTerm]| -> Vec<Counts<'s>> {
            terms.iter().map(|t| Counts::none(snapshot.column(&t.topology_key))).collect()
        };
        let mut state = Self {
            snapshot,
            rules,
            together: counts(&rules.affinity),
            companions: 0,
            may_be_first: false,
            apart: counts(&rules.anti_affinity),
            unwelcome: Vec::new(),
        };
        state.may_be_first = state.is_companion(&Subject::of(pod));
        state.count_others();
        state.count_unwelcoming(&Subject::of(pod));
        let concerned = !(state.together.is_empty() && state.apart.is_empty() && state.unwelcome.is_empty());
        concerned.then_some(state)
    }

    /// Counts a pod in (1) or out (-1), as if it came to the node or left it.
    pub(crate) fn adjust(&mut self, pod: &PodInfo, other: &'s PodInfo, node: NodeId, change: i64) {
        self.count(&Subject::of(other), std::iter::once((node, change)));
        for term in &other.rules.anti_affinity {
            if means(self.snapshot, term, &Subject::of(pod)) {
                self.unwelcome_by(term).add(node, change);
            }
        }
    }

    fn count_others(&mut self) {
        if self.together.is_empty() && self.apart.is_empty() {
            return;
        }
        for class in self.snapshot.classes.all() {
            let subject = Subject { namespace: &class.namespace, labels: &class.labels };
            self.count(&subject, class.nodes.iter().map(|(node, here)| (*node, i64::from(here.all))));
        }
    }

    fn count(&mut self, subject: &Subject<'_>, places: impl Iterator<Item = (NodeId, i64)> + Clone) {
        if self.is_companion(subject) {
            for (node, number) in places.clone() {
                let placed = self.together.iter().any(|counts| counts.at(node).is_some());
                self.companions += if placed { number } else { 0 };
                self.together.iter_mut().for_each(|counts| counts.add(node, number));
            }
        }
        for (term, counts) in self.rules.anti_affinity.iter().zip(&mut self.apart) {
            if means(self.snapshot, term, subject) {
                places.clone().for_each(|(node, number)| counts.add(node, number));
            }
        }
    }

    fn count_unwelcoming(&mut self, own: &Subject<'_>) {
        let snapshot = self.snapshot;
        for class in snapshot.classes.with_terms() {
            for term in class.rules.anti_affinity.iter().filter(|t| means(snapshot, t, own)) {
                let counts = self.unwelcome_by(term);
                class.nodes.iter().for_each(|(node, here)| counts.add(*node, i64::from(here.all)));
            }
        }
    }

    fn unwelcome_by(&mut self, term: &'s PodTerm) -> &mut Counts<'s> {
        let key = term.topology_key.as_str();
        let at = self.unwelcome.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
            self.unwelcome.push((key, Counts::none(self.snapshot.column(key))));
            self.unwelcome.len() - 1
        });
        &mut self.unwelcome[at].1
    }

    fn is_companion(&self, subject: &Subject<'_>) -> bool {
        let terms = &self.rules.affinity;
        !terms.is_empty() && terms.iter().all(|term| means(self.snapshot, term, subject))
    }

    fn fault(&self, node: NodeId) -> Option<Reason> {
        if !self.has_company(node) {
            return Some(Reason::PodAffinity);
        }
        let crowded = |counts: &Counts<'_>| counts.at(node).is_some_and(|number| number > 0);
        if self.apart.iter().any(crowded) {
            return Some(Reason::PodAntiAffinity);
        }
        self.unwelcome.iter().any(|(_, counts)| crowded(counts)).then_some(Reason::ExistingAntiAffinity)
    }

    fn has_company(&self, node: NodeId) -> bool {
        let here = |least: i64| self.together.iter().all(|c| c.at(node).is_some_and(|n| n >= least));
        here(1) || (self.companions == 0 && self.may_be_first && here(0))
    }
}

fn means(snapshot: &Snapshot, term: &PodTerm, subject: &Subject<'_>) -> bool {
    term.matches(subject.namespace, snapshot.namespace_labels(subject.namespace), subject.labels)
}
