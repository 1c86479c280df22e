//! A pod runs only on nodes that its node selector and its required node affinity ask for, and those that its profile adds.

use super::{Filter, Reason, Rule};

pub(super) const RULE: Rule = Rule {
    filter: Filter::NodeAffinity,
    applies: |demand| !demand.pod.rules.node.is_any() || demand.profile.added_affinity.requires(),
    passes: |demand, _, node| {
        demand.profile.added_affinity.matches(&node.spec.name, &node.labels)
            && demand.pod.rules.node.matches(&node.spec.name, &node.labels)
    },
    at_a_glance: super::never,
    reasons: |demand, _, node| {
        let added = demand.profile.added_affinity.matches(&node.spec.name, &node.labels);
        vec![if added { Reason::NodeAffinity } else { Reason::AddedAffinity }]
    },
};
