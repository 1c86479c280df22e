//! What of a node's resources would be used, and whether they would be filled alike.

use smallvec::SmallVec;

use super::MAX;
use crate::scheduler::filter::Demand;
use crate::scheduler::node::NodeId;

/// A resource whose use is looked at, found by its name once and not for each node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'r> {
    Cpu,
    Memory,
    EphemeralStorage,
    Other(&'r str),
}

impl<'r> From<&'r str> for Which<'r> {
    fn from(name: &'r str) -> Self {
        match name {
            "cpu" => Self::Cpu,
            "memory" => Self::Memory,
            "ephemeral-storage" => Self::EphemeralStorage,
            other => Self::Other(other),
        }
    }
}

/// How much of a resource of a node is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) capacity: i64,
    /// By those who are there.
    pub(super) before: i64,
    /// With the pod.
    pub(super) with_pod: i64,
}

/// What a node's resource would be used; `None` if it has none of it, or if it is not one of all pods and this pod asks for
/// none. `assumed` says that containers that ask for no processor time or memory count with a default.
pub(super) fn use_of(demand: &Demand<'_>, id: NodeId, resource: Which<'_>, assumed: bool) -> Option<Use> {
    let (requests, room) = (&demand.pod.requests, demand.snapshot.room(id));
    let (needed, has, used) = (&requests.needed, &room.capacity, &room.requested);
    let (capacity, before, asked) = match resource {
        Which::Cpu if assumed => (has.milli_cpu, room.assumed_milli_cpu, requests.assumed_milli_cpu),
        Which::Cpu => (has.milli_cpu, used.milli_cpu, needed.milli_cpu),
        Which::Memory if assumed => (has.memory, room.assumed_memory, requests.assumed_memory),
        Which::Memory => (has.memory, used.memory, needed.memory),
        Which::EphemeralStorage => (has.ephemeral_storage, used.ephemeral_storage, needed.ephemeral_storage),
        Which::Other(other) => match needed.other(other) {
            0 => return None,
            asked => {
                let node = demand.snapshot.node(id);
                (node.spec.allocatable.other(other), node.requested.other(other), asked)
            }
        },
    };
    (capacity != 0).then(|| Use { capacity, before, with_pod: before + asked })
}

/// Whether the used shares of the resources come closer to each other by the pod, or drift apart.
///
/// A pod that asks for nothing changes nothing, and would be drawn to the same nodes for ever.
pub(super) fn balanced_allocation(demand: &Demand<'_>, nodes: &[NodeId]) -> Option<Vec<i64>> {
    let needed = &demand.pod.requests.needed;
    let asks = |resource: &Which<'_>| match resource {
        Which::Cpu => needed.milli_cpu != 0,
        Which::Memory => needed.memory != 0,
        Which::EphemeralStorage => needed.ephemeral_storage != 0,
        Which::Other(other) => needed.other(other) != 0,
    };
    let resources: SmallVec<[Which<'_>; 4]> =
        demand.profile.balanced.iter().map(|name| Which::from(&**name)).collect();
    if !resources.iter().any(asks) {
        return None;
    }
    let points = |id: &NodeId| {
        let uses = resources.iter().filter_map(|resource| use_of(demand, *id, *resource, false));
        let uses: SmallVec<[Use; 4]> = uses.collect();
        let balance = |used: fn(&Use) -> i64| {
            let shares = uses.iter().map(|one| (used(one) as f64 / one.capacity as f64).min(1.0));
            ((1.0 - deviation(&shares.collect::<SmallVec<[f64; 4]>>())) * MAX as f64) as i64
        };
        MAX / 2 + (MAX / 2 + balance(|used| used.with_pod) - balance(|used| used.before)) / 2
    };
    Some(nodes.iter().map(points).collect())
}

/// The standard deviation.
fn deviation(shares: &[f64]) -> f64 {
    match shares {
        [] | [_] => 0.0,
        // That of two numbers is half of their distance.
        [one, other] => ((one - other) / 2.0).abs(),
        many => {
            let mean = many.iter().sum::<f64>() / many.len() as f64;
            let squares = many.iter().map(|share| (share - mean) * (share - mean));
            (squares.sum::<f64>() / many.len() as f64).sqrt()
        }
    }
}
