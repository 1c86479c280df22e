//! The devices that the pod's claims ask for can be had on the node.

use super::{Demand, Filter, Reason, Rule};
use crate::scheduler::devices::OnNode;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::volumes::At;

pub(super) const RULE: Rule = Rule {
    filter: Filter::DynamicResources,
    applies: |demand| !demand.devices.is_empty(),
    passes: |demand, _, node| demand.devices.fault.is_none() && matches!(on(demand, node), OnNode::Fits(_)),
    at_a_glance: super::never,
    reasons: |demand, _, node| {
        if let Some(fault) = &demand.devices.fault {
            return vec![Reason::Claims { message: fault.clone() }];
        }
        match on(demand, node) {
            OnNode::Fits(_) => Vec::new(),
            OnNode::Elsewhere => vec![Reason::DevicesElsewhere],
            OnNode::TooFew => vec![Reason::NoDevices],
            OnNode::Fault(message) => vec![Reason::Claims { message }],
        }
    },
};

fn on(demand: &Demand<'_>, node: &NodeInfo) -> OnNode {
    let at = At { name: &node.spec.name, labels: &node.labels };
    demand.devices.allocate(&demand.snapshot.devices, at)
}
