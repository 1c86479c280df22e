//! What a pod requests must be free on its node.

use super::{Filter, Reason, Rule};
use crate::scheduler::filter::Demand;
use crate::scheduler::node::{NodeId, NodeInfo, Room};
use crate::scheduler::resources::Resources;

pub(super) const RULE: Rule = Rule {
    filter: Filter::NodeResourcesFit,
    applies: |_| true,
    passes,
    at_a_glance: |demand, room| {
        let alone = demand.pod.requests.needed.others.is_empty() && !demand.snapshot.has_nominations();
        alone.then(|| has_room(demand, room))
    },
    reasons: shortages,
};

fn passes(demand: &Demand<'_>, id: NodeId, node: &NodeInfo) -> bool {
    if demand.ahead_on(id).next().is_some() {
        return shortages(demand, id, node).is_empty();
    }
    let (wanted, used, has) = (&demand.pod.requests.needed, &node.requested, &node.spec.allocatable);
    has_room(demand, &Room::of(node))
        && wanted.others.iter().all(|(name, amount)| {
            fits(*amount, used.other(name), has.other(name)) || demand.profile.ignored.include(name)
        })
}

/// For one more pod, and for what this one asks of the resources that every node has.
fn has_room(demand: &Demand<'_>, room: &Room) -> bool {
    let (wanted, used, has) = (&demand.pod.requests.needed, &room.requested, &room.capacity);
    room.pods_left > 0
        && fits(wanted.milli_cpu, used.milli_cpu, has.milli_cpu)
        && fits(wanted.memory, used.memory, has.memory)
        && fits(wanted.ephemeral_storage, used.ephemeral_storage, has.ephemeral_storage)
}

fn fits(wanted: i64, used: i64, has: i64) -> bool {
    wanted == 0 || wanted <= has.saturating_sub(used)
}

/// Everything that is short, with the pods that room is kept for counted as if they were there.
fn shortages(demand: &Demand<'_>, id: NodeId, node: &NodeInfo) -> Vec<Reason> {
    let mut used = node.requested.clone();
    let mut pods = node.pods.len() as i64;
    for pod in demand.ahead_on(id) {
        used.add(&pod.requests.needed);
        pods += 1;
    }
    let mut short = Vec::new();
    if pods >= node.spec.max_pods {
        short.push(Reason::TooManyPods { limit: node.spec.max_pods });
    }
    short_of(demand, &used, &node.spec.allocatable, &mut short);
    short
}

fn short_of(demand: &Demand<'_>, used: &Resources, has: &Resources, short: &mut Vec<Reason>) {
    let wanted = &demand.pod.requests.needed;
    let mut check = |resource: &str, requested: i64, used: i64, capacity: i64| {
        if !fits(requested, used, capacity) {
            short.push(Reason::Insufficient { resource: resource.into(), requested, used, capacity });
        }
    };
    check("cpu", wanted.milli_cpu, used.milli_cpu, has.milli_cpu);
    check("memory", wanted.memory, used.memory, has.memory);
    check("ephemeral-storage", wanted.ephemeral_storage, used.ephemeral_storage, has.ephemeral_storage);
    for (name, amount) in wanted.others.iter().filter(|(name, _)| !demand.profile.ignored.include(name)) {
        check(name, *amount, used.other(name), has.other(name));
    }
}
