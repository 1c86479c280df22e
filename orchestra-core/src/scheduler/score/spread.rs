//! Places with fewer pods like this one are better.
//!
//! The pod's own constraints with `ScheduleAnyway` say what is alike and what a place is. A pod without
//! constraints is spread as its profile says, by default over hosts and zones, away from the other pods of its services and
//! of its controller.

use super::MAX;
use crate::scheduler::filter::Demand;
use crate::scheduler::filter::is_eligible;
use crate::scheduler::group::{asks_for_labels, spreads_of};
use crate::scheduler::node::NodeId;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::rules::Spread;
use crate::scheduler::snapshot::Snapshot;
use crate::scheduler::topology::{Counts, NOWHERE};

pub(super) fn score(demand: &Demand<'_>, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let (snapshot, pod, profile) = (demand.snapshot, demand.pod, demand.profile);
    let soft = spreads_of(snapshot, pod, profile, false).into_iter();
    let constraints: Vec<_> = soft.map(|spread| Preference::counted(snapshot, pod, &spread)).collect();
    if constraints.is_empty() {
        return None;
    }
    // A node that lacks a label that is asked for is liked least.
    let blamed = asks_for_labels(pod, profile);
    let placed = |id: &NodeId| constraints.iter().all(|c| c.counts.column.place(*id) != NOWHERE);
    let considered: Vec<bool> = nodes.iter().map(|id| !blamed || placed(id)).collect();
    let weights: Vec<f64> = constraints.iter().map(|c| c.weight(nodes, &considered)).collect();
    let points = nodes.iter().zip(&considered).map(|(id, considered)| {
        let sum = |(c, weight): (&Preference<'_>, &f64)| {
            c.crowd(*id).map_or(0.0, |n| n * weight + c.max_skew - 1.0)
        };
        considered.then(|| constraints.iter().zip(&weights).map(sum).sum::<f64>().round() as i64)
    });
    Some(inverted(&points.collect::<Vec<_>>()))
}

/// Fewer is better: the smallest gets [`MAX`], and one that was not considered nothing.
fn inverted(points: &[Option<i64>]) -> Vec<i64> {
    let (least, most) = points.iter().flatten().fold((i64::MAX, 0), |(l, m), p| (l.min(*p), m.max(*p)));
    let invert = |p: i64| if most == 0 { MAX } else { MAX * (most + least - p) / most };
    points.iter().map(|p| p.map_or(0, invert)).collect()
}

/// One constraint that is only preferred, with the pods of each place counted.
struct Preference<'s> {
    max_skew: f64,
    counts: Counts<'s>,
}

impl<'s> Preference<'s> {
    fn counted(snapshot: &'s Snapshot, pod: &PodInfo, spread: &Spread) -> Self {
        let mut counts = Counts::none(snapshot.column(&spread.terms.topology_key));
        let alike = snapshot.classes.in_namespace(pod.namespace());
        for class in alike.filter(|class| spread.counts(&class.labels, class.controller.as_ref())) {
            for (id, present) in &class.nodes {
                if is_eligible(&spread.terms, pod, snapshot.node(*id)) {
                    counts.add(*id, i64::from(present.staying));
                }
            }
        }
        Self { max_skew: spread.terms.max_skew as f64, counts }
    }

    /// Spreading over many places counts for more, so that few zones do not outweigh many hosts.
    fn weight(&self, nodes: &[NodeId], considered: &[bool]) -> f64 {
        let mut seen = vec![false; self.counts.column.places()];
        let mut places = 0;
        for (id, _) in nodes.iter().zip(considered).filter(|(_, considered)| **considered) {
            if let Some(seen) = seen.get_mut(self.counts.column.place(*id) as usize) {
                places += i32::from(!std::mem::replace(seen, true));
            }
        }
        f64::from(places + 2).ln()
    }

    /// How many pods like this one are in a node's place.
    fn crowd(&self, id: NodeId) -> Option<f64> {
        self.counts.at(id).map(|count| count as f64)
    }
}
