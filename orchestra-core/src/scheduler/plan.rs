//! Where a pod goes.

use std::sync::Arc;

use super::diagnosis::Diagnosis;
use super::filter::Demand;
use super::node::NodeId;
use super::pod::PodInfo;
use super::profile::Profile;
use super::score;
use super::snapshot::Snapshot;

/// Fewer nodes than this are all looked at.
const LEAST_NODES_TO_SCORE: usize = 100;

/// What a plan says.
#[derive(Clone, Debug)]
pub enum Plan {
    /// The pod goes to a node.
    Place {
        /// The node's name.
        node: Arc<str>,
        /// How many nodes could take it, of those that were looked at.
        feasible: usize,
    },
    /// No node can take it, and why.
    Unschedulable(Diagnosis),
}

/// Chooses a node for a pod. The snapshot must not count the pod itself.
///
/// `seed` says where among the nodes the search starts and which of several equally good ones is taken; the same
/// seed on the same state gives the same plan.
pub fn plan(snapshot: &Snapshot, pod: &PodInfo, profile: &Profile, seed: u64) -> Plan {
    let demand = Demand::new(snapshot, pod, profile);
    if let Some(node) = nominated(&demand) {
        return Plan::Place { node, feasible: 1 };
    }
    let feasible = feasible_nodes(&demand, seed);
    match best(&demand, &feasible, seed) {
        Some(id) => Plan::Place { node: snapshot.node(id).spec.name.clone(), feasible: feasible.len() },
        None => Plan::Unschedulable(Diagnosis::of(&demand)),
    }
}

/// The node on which room was made for the pod, if it fits there now.
fn nominated(demand: &Demand<'_>) -> Option<Arc<str>> {
    let name = demand.pod.nominated_node.as_ref()?;
    let id = demand.snapshot.id_of(name)?;
    demand.fits(id).then(|| name.clone())
}

fn feasible_nodes(demand: &Demand<'_>, seed: u64) -> Vec<NodeId> {
    if let Some(mut named) = demand.named_nodes() {
        named.retain(|id| demand.fits(*id));
        return named;
    }
    let nodes = demand.snapshot.listed();
    let enough = nodes_to_find(nodes.len(), demand.profile);
    let mut feasible = Vec::with_capacity(enough);
    for index in walk(nodes.len(), seed) {
        if demand.fits(nodes[index]) {
            feasible.push(nodes[index]);
            if feasible.len() == enough {
                break;
            }
        }
    }
    feasible
}

fn nodes_to_find(nodes: usize, profile: &Profile) -> usize {
    if nodes < LEAST_NODES_TO_SCORE {
        return nodes;
    }
    let percentage = match profile.percentage_of_nodes_to_score {
        Some(percentage) => usize::from(percentage.min(100)),
        None => 50usize.saturating_sub(nodes / 125).max(5),
    };
    (nodes * percentage / 100).max(LEAST_NODES_TO_SCORE)
}

/// Every index below `count` once, from a start that the seed gives and in steps that scatter: neighbours are often
/// of one zone, and the nodes that happen to be found first should not be.
fn walk(count: usize, seed: u64) -> impl Iterator<Item = usize> {
    let divisor = count.max(1);
    // Steps of about the golden ratio scatter best; one without a common divisor reaches every index.
    let mut step = (divisor * 5 / 8).max(1);
    while greatest_common_divisor(step, divisor) != 1 {
        step += 1;
    }
    let start = (seed % divisor as u64) as usize;
    (0..count).map(move |turn| (start + turn * step) % divisor)
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

fn best(demand: &Demand<'_>, feasible: &[NodeId], seed: u64) -> Option<NodeId> {
    if feasible.len() < 2 {
        return feasible.first().copied();
    }
    let points = score::total(demand, feasible);
    let most = *points.iter().max()?;
    let ties = points.iter().filter(|p| **p == most).count() as u64;
    // The low digits chose the start; the high ones are still free.
    let chosen = (seed >> 32) % ties.max(1);
    let mut tied = feasible.iter().zip(&points).filter(|(_, p)| **p == most);
    tied.nth(chosen as usize).map(|(id, _)| *id)
}
