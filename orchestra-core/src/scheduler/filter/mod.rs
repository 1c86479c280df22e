//! The rules a node must pass to take a pod, one file each.
//!
//! Each rule answers two questions: does the node pass, which is asked of every node and allocates nothing; and
//! why not, which is asked only when no node did. They are asked in the order that the profile gives them, and a node's
//! reasons are those of the first rule it fails.

mod demand;
mod devices;
mod inter_pod;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources;
pub(super) mod node_unschedulable;
mod reason;
mod spread;
mod taints;
mod volume_limits;
mod volume_restrictions;
mod volume_zone;
mod volumes;

use super::node::{NodeId, NodeInfo, Room};
use super::plugin::Filter;

pub(crate) use demand::Demand;
pub(crate) use inter_pod::InterPod;
pub use reason::{Reason, Verdict};
pub(crate) use spread::{SpreadState, is_eligible};
pub(crate) use taints::{tolerated, tolerates, untolerated_with};
pub(crate) use volume_restrictions::Exclusive;

/// One rule.
pub(crate) struct Rule {
    filter: Filter,
    /// Whether it can turn any node down for this pod.
    applies: fn(&Demand<'_>) -> bool,
    pub(crate) passes: fn(&Demand<'_>, NodeId, &NodeInfo) -> bool,
    /// The same by the node's room alone; `None` when it takes the node to say.
    at_a_glance: fn(&Demand<'_>, &Room) -> Option<bool>,
    reasons: fn(&Demand<'_>, NodeId, &NodeInfo) -> Vec<Reason>,
}

/// All rules.
static RULES: [Rule; 13] = [
    node_unschedulable::RULE,
    node_name::RULE,
    taints::RULE,
    node_affinity::RULE,
    node_ports::RULE,
    node_resources::RULE,
    volume_restrictions::RULE,
    volume_limits::RULE,
    volumes::RULE,
    volume_zone::RULE,
    spread::RULE,
    inter_pod::RULE,
    devices::RULE,
];

/// The rules that matter for a pod, in the order in which its profile asks them.
pub(crate) fn applying(demand: &Demand<'_>) -> Vec<&'static Rule> {
    let named = |filter: &Filter| RULES.iter().find(|rule| rule.filter == *filter);
    demand.profile.filters.iter().filter_map(named).filter(|rule| (rule.applies)(demand)).collect()
}

/// A rule that always looks at the node.
fn never(_: &Demand<'_>, _: &Room) -> Option<bool> {
    None
}

impl Rule {
    /// Whether a node of the snapshot passes.
    fn admits(&self, demand: &Demand<'_>, id: NodeId) -> bool {
        let glance = (self.at_a_glance)(demand, demand.snapshot.room(id));
        glance.unwrap_or_else(|| (self.passes)(demand, id, demand.snapshot.node(id)))
    }

    /// What is wrong with a node that does not pass.
    pub(crate) fn verdict(&self, demand: &Demand<'_>, id: NodeId, node: &NodeInfo) -> Verdict {
        Verdict { filter: self.filter, reasons: (self.reasons)(demand, id, node) }
    }
}
