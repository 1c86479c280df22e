//! A disk is had by one pod of a node, and a claim for one pod by one pod of the cluster.

use std::sync::Arc;

use super::{Demand, Filter, Reason, Rule};
use crate::meta::ObjectName;
use crate::scheduler::node::{NodeId, NodeInfo};
use crate::scheduler::pod::PodInfo;
use crate::scheduler::snapshot::Snapshot;

/// The claims of a pod that only one pod may have, and how many pods have them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exclusive {
    claims: Vec<Arc<str>>,
    users: i64,
}

impl Exclusive {
    pub(super) fn of(snapshot: &Snapshot, pod: &PodInfo) -> Self {
        let named = |claim: &str| ObjectName::namespaced(pod.namespace(), claim);
        let theirs = pod.claims.iter().filter(|(_, own)| !own).map(|(claim, _)| claim);
        let claims: Vec<_> =
            theirs.filter(|claim| snapshot.volumes.is_for_one_pod(&named(claim))).cloned().collect();
        let users = claims.iter().map(|claim| i64::from(snapshot.users_of(&named(claim)).min(1))).sum();
        Self { claims, users }
    }

    /// Counts a pod in (1) or out (-1).
    pub(super) fn adjust(&mut self, pod: &PodInfo, other: &PodInfo, change: i64) {
        self.users += change * self.shared(pod, other);
    }

    fn shared(&self, pod: &PodInfo, other: &PodInfo) -> i64 {
        if self.claims.is_empty() || pod.namespace() != other.namespace() {
            return 0;
        }
        self.claims.iter().filter(|claim| other.claims_volume(claim)).count() as i64
    }
}

pub(super) const RULE: Rule = Rule {
    filter: Filter::VolumeRestrictions,
    applies: |demand| !demand.pod.disks.is_empty() || !demand.exclusive.claims.is_empty(),
    passes: |demand, id, node| disks_are_free(demand, id, node) && claims_are_free(demand, id),
    at_a_glance: super::never,
    reasons: |demand, id, node| {
        vec![if disks_are_free(demand, id, node) { Reason::ClaimInUse } else { Reason::DiskInUse }]
    },
};

fn disks_are_free(demand: &Demand<'_>, id: NodeId, node: &NodeInfo) -> bool {
    let taken = |other: &PodInfo| {
        let conflicts = |disk| demand.pod.disks.iter().any(|own| own.conflicts_with(disk));
        other.disks.iter().any(conflicts)
    };
    demand.pod.disks.is_empty()
        || !(node.pods.iter().any(|other| taken(other)) || demand.ahead_on(id).any(|other| taken(other)))
}

fn claims_are_free(demand: &Demand<'_>, id: NodeId) -> bool {
    let exclusive = &demand.exclusive;
    let ahead = || demand.ahead_on(id).any(|other| exclusive.shared(demand.pod, other) > 0);
    exclusive.claims.is_empty() || (exclusive.users <= 0 && !ahead())
}
