//! Places with pods that the pod likes, or that like the pod, are better.

use super::MAX;
use crate::scheduler::filter::Demand;
use crate::scheduler::node::NodeId;
use crate::scheduler::rules::PodTerm;
use crate::scheduler::topology::Counts;
use crate::selector::LabelSet;

pub(super) fn score(demand: &Demand<'_>, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let mut places = Places { demand, by_key: Vec::new() };
    places.count_liked();
    places.count_liking();
    if places.by_key.is_empty() {
        return None;
    }
    let sum = |id: &NodeId| places.by_key.iter().filter_map(|(_, counts)| counts.at(*id)).sum::<i64>();
    let sums: Vec<i64> = nodes.iter().map(sum).collect();
    let (least, most) = sums.iter().fold((i64::MAX, i64::MIN), |(l, m), s| (l.min(*s), m.max(*s)));
    let range = most - least;
    (range > 0).then(|| sums.iter().map(|s| (s - least) * MAX / range).collect())
}

/// Weights summed by place, for each label key that some term uses.
struct Places<'d, 's> {
    demand: &'d Demand<'s>,
    by_key: Vec<(&'s str, Counts<'s>)>,
}

impl<'s> Places<'_, 's> {
    /// Pods that this one would like near (or, with a negative weight, far).
    fn count_liked(&mut self) {
        let (snapshot, rules) = (self.demand.snapshot, &self.demand.pod.rules);
        if rules.preferred_pods.is_empty() {
            return;
        }
        for class in snapshot.classes.all() {
            for (weight, term) in &rules.preferred_pods {
                if self.means(term, &class.namespace, &class.labels) {
                    let counts = self.by(term);
                    class.nodes.iter().for_each(|(id, here)| counts.add(*id, weight * i64::from(here.all)));
                }
            }
        }
    }

    /// Pods that would like this one near, or must have it.
    fn count_liking(&mut self) {
        let (snapshot, pod, profile) = (self.demand.snapshot, self.demand.pod, self.demand.profile);
        if profile.ignores_preferences_of_others && pod.rules.preferred_pods.is_empty() {
            return;
        }
        let must = profile.required_affinity_weight;
        for class in snapshot.classes.with_terms() {
            let required = class.rules.affinity.iter().filter(|_| must > 0).map(|term| (must, term));
            let preferred = class.rules.preferred_pods.iter().map(|(weight, term)| (*weight, term));
            for (weight, term) in required.chain(preferred) {
                if self.means(term, pod.namespace(), &pod.labels) {
                    let counts = self.by(term);
                    class.nodes.iter().for_each(|(id, here)| counts.add(*id, weight * i64::from(here.all)));
                }
            }
        }
    }

    fn means(&self, term: &PodTerm, namespace: &str, labels: &LabelSet) -> bool {
        term.matches(namespace, self.demand.snapshot.namespace_labels(namespace), labels)
    }

    fn by(&mut self, term: &'s PodTerm) -> &mut Counts<'s> {
        let key = term.topology_key.as_str();
        let at = self.by_key.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
            self.by_key.push((key, Counts::none(self.demand.snapshot.column(key))));
            self.by_key.len() - 1
        });
        &mut self.by_key[at].1
    }
}
