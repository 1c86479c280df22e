//! How well each node that can take a pod suits it.
//!
//! Every file gives each node 0 to 100 points, or says that it does not tell them apart; the sum is weighted as the
//! profile says.

mod image_locality;
mod inter_pod;
mod node_affinity;
mod packing;
mod resources;
mod spread;
mod taints;

use super::filter::Demand;
use super::node::NodeId;
use super::plugin::Score;

/// The most points one score gives.
const MAX: i64 = 100;

/// Points for each of `nodes`, in their order; `None` when all are alike to it.
type Points = Option<Vec<i64>>;

fn points(score: Score, demand: &Demand<'_>, nodes: &[NodeId]) -> Points {
    match score {
        Score::TaintToleration => taints::score(demand, nodes),
        Score::NodeAffinity => node_affinity::score(demand, nodes),
        Score::NodeResourcesFit => packing::score(demand, nodes),
        Score::PodTopologySpread => spread::score(demand, nodes),
        Score::InterPodAffinity => inter_pod::score(demand, nodes),
        Score::NodeResourcesBalancedAllocation => resources::balanced_allocation(demand, nodes),
        Score::ImageLocality => image_locality::score(demand, nodes),
    }
}

/// The weighted sum of all scores, for each of `nodes` in their order.
pub(crate) fn total(demand: &Demand<'_>, nodes: &[NodeId]) -> Vec<i64> {
    let mut sums = vec![0_i64; nodes.len()];
    let mut add = |weight: i64, points: Points| {
        for (sum, points) in sums.iter_mut().zip(points.unwrap_or_default()) {
            *sum = sum.saturating_add(weight.saturating_mul(points));
        }
    };
    for (score, weight) in &demand.profile.scores {
        add(*weight, points(*score, demand, nodes));
    }
    for (plugin, weight) in &demand.profile.own {
        let node =
            |id: &NodeId| plugin.points(demand.pod, demand.snapshot.node(*id), demand.snapshot).clamp(0, MAX);
        add(*weight, Some(nodes.iter().map(node).collect()));
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
