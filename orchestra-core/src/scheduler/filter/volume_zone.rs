//! A volume whose labels say in which zone or region it is, is had there.

use super::{Filter, Reason, Rule};
use crate::scheduler::node::NodeInfo;
use crate::scheduler::volumes::ZONES;

pub(super) const RULE: Rule = Rule {
    filter: Filter::VolumeZone,
    applies: |demand| demand.claims.zones().next().is_some(),
    passes: |demand, _, node| {
        // A node that says nothing of where it is may be anywhere.
        let says = ZONES.iter().any(|(key, _)| node.spec.labels.contains_key(*key));
        !says
            || demand.claims.zones().all(|(key, places)| at(node, key).is_some_and(|at| places.contains(at)))
    },
    at_a_glance: super::never,
    reasons: |_, _, _| vec![Reason::OtherZone],
};

/// Where a node is, by a label or by that which has come in its place.
fn at<'n>(node: &'n NodeInfo, key: &str) -> Option<&'n String> {
    let labels = &node.spec.labels;
    let newer = || ZONES.iter().find(|(older, _)| *older == key).and_then(|(_, newer)| labels.get(*newer));
    labels.get(key).or_else(newer)
}
