//! Fewer taints that would rather have the pod elsewhere (`PreferNoSchedule`) are better.

use super::normalized;
use crate::scheduler::filter::Demand;
use crate::scheduler::filter::tolerates;
use crate::scheduler::node::NodeId;

pub(super) fn score(demand: &Demand<'_>, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let tolerations = &demand.pod.tolerations;
    let unwanted = |id: &NodeId| {
        if !demand.snapshot.room(*id).tainted {
            return 0;
        }
        let soft = demand.snapshot.node(*id).spec.taints.iter().filter(|t| t.effect == "PreferNoSchedule");
        soft.filter(|taint| !tolerations.iter().any(|t| tolerates(t, taint))).count() as i64
    };
    normalized(nodes.iter().map(unwanted).collect(), true)
}
