//! Nodes that more, or weightier, preferences of the pod and of its profile ask for are better.

use super::normalized;
use crate::scheduler::filter::Demand;
use crate::scheduler::node::NodeId;

pub(super) fn score(demand: &Demand<'_>, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let preferred = &demand.pod.rules.preferred_nodes;
    let added = demand.profile.added_affinity.preferred();
    if preferred.is_empty() && added.is_empty() {
        return None;
    }
    let weight = |id: &NodeId| {
        let node = demand.snapshot.node(*id);
        let wanted = preferred.iter().chain(added).filter(|p| p.include(&node.spec.name, &node.labels));
        wanted.map(|p| p.weight).sum()
    };
    normalized(nodes.iter().map(weight).collect(), false)
}
