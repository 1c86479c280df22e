//! Places with fewer pods like this one are better.
//!
//! The pod's own constraints with `ScheduleAnyway` say what is alike and what a place is. A pod without
//! constraints is spread over hosts and zones, away from the other pods of its services and of its controller.

use super::MAX;
use crate::meta::Uid;
use crate::scheduler::class::Class;
use crate::scheduler::filter::Demand;
use crate::scheduler::filter::is_eligible;
use crate::scheduler::node::NodeId;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::rules::Spread;
use crate::scheduler::snapshot::{HOSTNAME, Snapshot, ZONE};
use crate::scheduler::topology::{Counts, NOWHERE};
use crate::selector::{CompiledSelector, Labels, Selector};

pub(super) fn score(demand: &Demand<'_>, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let constraints = Preference::all_of(demand);
    if constraints.is_empty() {
        return None;
    }
    // A node that lacks a label the pod itself names is liked least; one that lacks a default's is not blamed.
    let own = !demand.pod.rules.spread.is_empty();
    let placed = |id: &NodeId| constraints.iter().all(|c| c.counts.column.place(*id) != NOWHERE);
    let considered: Vec<bool> = nodes.iter().map(|id| !own || placed(id)).collect();
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

/// Which pods count as like this one.
enum Alike<'s> {
    Constraint(&'s Spread),
    Group { services: CompiledSelector, controller: Option<&'s Uid> },
}

impl<'s> Preference<'s> {
    fn all_of(demand: &Demand<'s>) -> Vec<Self> {
        let (snapshot, pod) = (demand.snapshot, demand.pod);
        if !pod.rules.spread.is_empty() {
            let soft = pod.rules.spread.iter().filter(|s| !s.required);
            let counted = soft.map(|s| {
                let alike = Alike::Constraint(s);
                Self::counted(snapshot, pod, &s.topology_key, s.max_skew, &alike)
            });
            return counted.collect();
        }
        let Some(alike) = group_of(snapshot, pod) else { return Vec::new() };
        let defaults = [(HOSTNAME, 3), (ZONE, 5)];
        let counted = defaults.map(|(key, skew)| Self::counted(snapshot, pod, key, skew, &alike));
        counted.into()
    }

    fn counted(snapshot: &'s Snapshot, pod: &PodInfo, key: &str, max_skew: i64, alike: &Alike<'_>) -> Self {
        let mut counts = Counts::none(snapshot.column(key));
        for class in snapshot.classes.in_namespace(pod.namespace()).filter(|class| alike.holds(class)) {
            for (id, present) in &class.nodes {
                if alike.counts_on(snapshot, pod, *id) {
                    counts.add(*id, i64::from(present.staying));
                }
            }
        }
        Self { max_skew: max_skew as f64, counts }
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

impl Alike<'_> {
    fn holds(&self, class: &Class) -> bool {
        match self {
            Self::Constraint(spread) => spread.counts(&class.labels),
            Self::Group { services, controller } => {
                services.matches(&class.labels)
                    && controller.is_none_or(|owner| class.controller.as_ref() == Some(owner))
            }
        }
    }

    fn counts_on(&self, snapshot: &Snapshot, pod: &PodInfo, id: NodeId) -> bool {
        match self {
            Self::Constraint(spread) => is_eligible(spread, pod, snapshot.node(id)),
            Self::Group { .. } => true,
        }
    }
}

/// The pods of the same services and the same controller; `None` when the pod has neither.
fn group_of<'s>(snapshot: &'s Snapshot, pod: &'s PodInfo) -> Option<Alike<'s>> {
    const SPREADING: [&str; 3] = ["ReplicationController", "ReplicaSet", "StatefulSet"];
    let mut together = Labels::new();
    for selector in snapshot.services_in(pod.namespace()).filter(|s| s.selector.matches(&pod.labels)) {
        together.extend(selector.labels.clone());
    }
    let controller = pod.controller.as_ref().filter(|(kind, _)| SPREADING.contains(&&**kind));
    if together.is_empty() && controller.is_none() {
        return None;
    }
    let services = Selector::from_map(&together).compile();
    Some(Alike::Group { services, controller: controller.map(|(_, uid)| uid) })
}
