//! Emptier nodes are better, and so are those whose processors and memory fill up alike.

use super::MAX;
use crate::scheduler::filter::Demand;
use crate::scheduler::node::NodeId;

/// The share of processors and memory that would stay free, with a default for containers that ask for none.
pub(super) fn least_allocated(demand: &Demand<'_>, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let requests = &demand.pod.requests;
    let points = |id: &NodeId| {
        let node = demand.snapshot.node(*id);
        let has = &node.spec.allocatable;
        let shares = [
            free_share(has.milli_cpu, node.assumed_milli_cpu + requests.assumed_milli_cpu),
            free_share(has.memory, node.assumed_memory + requests.assumed_memory),
        ];
        let known = shares.iter().flatten().count().max(1) as i64;
        shares.iter().flatten().sum::<i64>() / known
    };
    Some(nodes.iter().map(points).collect())
}

fn free_share(capacity: i64, used: i64) -> Option<i64> {
    match capacity {
        0 => None,
        _ if used > capacity => Some(0),
        _ => {
            Some(((i128::from(capacity) - i128::from(used)) * i128::from(MAX) / i128::from(capacity)) as i64)
        }
    }
}

/// How close the used shares of processors and memory would be to each other.
pub(super) fn balanced_allocation(demand: &Demand<'_>, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let needed = &demand.pod.requests.needed;
    let points = |id: &NodeId| {
        let node = demand.snapshot.node(*id);
        let (has, used) = (&node.spec.allocatable, &node.requested);
        let processors = used_share(has.milli_cpu, used.milli_cpu + needed.milli_cpu);
        let memory = used_share(has.memory, used.memory + needed.memory);
        let apart = match (processors, memory) {
            // The standard deviation of two numbers is half of their distance.
            (Some(processors), Some(memory)) => (processors - memory).abs() / 2.0,
            _ => 0.0,
        };
        ((1.0 - apart) * MAX as f64) as i64
    };
    Some(nodes.iter().map(points).collect())
}

fn used_share(capacity: i64, used: i64) -> Option<f64> {
    (capacity != 0).then(|| (used as f64 / capacity as f64).min(1.0))
}
