//! A node has no more volumes of a driver than it can have.

use std::collections::BTreeSet;

use super::{Demand, Filter, Reason, Rule};
use crate::meta::ObjectName;
use crate::scheduler::node::{NodeId, NodeInfo};
use crate::scheduler::pod::PodInfo;
use crate::scheduler::volumes::{Source, Volumes};

pub(super) const RULE: Rule = Rule {
    filter: Filter::NodeVolumeLimits,
    applies: |demand| !demand.pod.claims.is_empty() && demand.snapshot.volumes.attached.has_limits(),
    passes: are_within,
    at_a_glance: super::never,
    reasons: |_, _, _| vec![Reason::TooManyVolumes],
};

fn are_within(demand: &Demand<'_>, id: NodeId, node: &NodeInfo) -> bool {
    let volumes = &demand.snapshot.volumes;
    let Some(limits) = volumes.attached.limits(&node.spec.name) else { return true };
    let mut new: BTreeSet<Source> = of(volumes, demand.pod).collect();
    new.retain(|volume| limits.contains_key(&volume.driver));
    if new.is_empty() {
        return true;
    }
    // One volume of several pods is there once.
    let mut there: BTreeSet<Source> = node.pods.iter().flat_map(|pod| of(volumes, pod)).collect();
    there.extend(demand.ahead_on(id).flat_map(|pod| of(volumes, pod)));
    new.retain(|volume| !there.contains(volume));
    there.extend(volumes.attached.on(volumes, &node.spec.name).cloned());
    limits.iter().all(|(driver, limit)| {
        let count = |set: &BTreeSet<Source>| set.iter().filter(|volume| volume.driver == *driver).count();
        let new = count(&new);
        new == 0 || (count(&there) + new) as i64 <= *limit
    })
}

/// The volumes of a pod that a driver attaches.
fn of<'v>(volumes: &'v Volumes, pod: &'v PodInfo) -> impl Iterator<Item = Source> + 'v {
    let claims = pod.claims.iter().map(|(name, _)| ObjectName::namespaced(pod.namespace(), &**name));
    claims.filter_map(|claim| volumes.attachable(&claim))
}
