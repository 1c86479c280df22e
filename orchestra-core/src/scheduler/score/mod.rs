//! How well each node that can take a pod suits it.
//!
//! Every file gives each node 0 to 100 points, or says that it does not tell them apart; the sum is weighted as
//! Kubernetes weighs by default.

mod image_locality;
mod inter_pod;
mod node_affinity;
mod resources;
mod spread;
mod taints;

use super::filter::Demand;
use super::node::NodeId;

/// How full nodes are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// The emptiest node is the best, as in Kubernetes by default.
    #[default]
    LeastAllocated,
    /// The fullest node on which a pod fits is the best, before all else that is only preferred, so that others stay empty.
    MostAllocated,
}

/// The most points one score gives.
const MAX: i64 = 100;

/// Points for each of `nodes`, in their order; `None` when all are alike to it.
type Score = fn(&Demand<'_>, &[NodeId]) -> Option<Vec<i64>>;

/// How much it weighs that a node is full, where that is wished for: more than all other scores together.
const PACKED: i64 = 2000;

static SCORES: [(i64, Score); 6] = [
    (3, taints::score),
    (2, node_affinity::score),
    (2, spread::score),
    (2, inter_pod::score),
    (1, resources::balanced_allocation),
    (1, image_locality::score),
];

/// The weighted sum of all scores, for each of `nodes` in their order.
pub(crate) fn total(demand: &Demand<'_>, nodes: &[NodeId], fit: Fit) -> Vec<i64> {
    let mut sums = vec![0; nodes.len()];
    let emptiness = resources::least_allocated(demand, nodes).unwrap_or_default();
    for (sum, points) in sums.iter_mut().zip(emptiness) {
        *sum += match fit {
            Fit::LeastAllocated => points,
            Fit::MostAllocated => (MAX - points) * PACKED,
        };
    }
    for (weight, score) in &SCORES {
        for (sum, points) in sums.iter_mut().zip(score(demand, nodes).unwrap_or_default()) {
            *sum += weight * points;
        }
    }
    sums
}

/// Stretches points so that the best gets [`MAX`], or with `reverse` so that it gets 0.
fn normalized(mut points: Vec<i64>, reverse: bool) -> Option<Vec<i64>> {
    let most = points.iter().copied().max().filter(|most| *most > 0)?;
    for p in &mut points {
        *p = *p * MAX / most;
        if reverse {
            *p = MAX - *p;
        }
    }
    Some(points)
}
