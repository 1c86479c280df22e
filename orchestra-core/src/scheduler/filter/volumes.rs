use super::{Demand, Filter, Reason, Rule};
use crate::scheduler::node::NodeInfo;
use crate::scheduler::volumes::{At, OnNode};

/// The claims of the pod's volumes are bound to what can be had on the node, or can be.
pub(super) const RULE: Rule = Rule {
    filter: Filter::VolumeBinding,
    applies: |demand| !demand.claims.is_empty(),
    passes: |demand, _, node| demand.claims.fault.is_none() && matches!(on(demand, node), OnNode::Fits(_)),
    at_a_glance: super::never,
    reasons: |demand, _, node| {
        if let Some(fault) = &demand.claims.fault {
            return vec![Reason::Claims { message: fault.to_string() }];
        }
        match on(demand, node) {
            OnNode::Fits(_) => Vec::new(),
            OnNode::OutOfReach => vec![Reason::VolumeOutOfReach],
            OnNode::NoVolume => vec![Reason::NoVolume],
            OnNode::NoRoom => vec![Reason::NoRoomForVolume],
            OnNode::Gone => vec![Reason::VolumeGone],
        }
    },
};

fn on(demand: &Demand<'_>, node: &NodeInfo) -> OnNode {
    let at = At { name: &node.spec.name, labels: &node.labels };
    demand.claims.on(&demand.snapshot.volumes, at)
}
