//! A pod runs only on nodes that its node selector and its required node affinity ask for.

use super::{Filter, Reason, Rule};

pub(super) const RULE: Rule = Rule {
    filter: Filter::NodeAffinity,
    applies: |demand| !demand.pod.rules.node.is_any(),
    passes: |demand, _, node| demand.pod.rules.node.matches(&node.spec.name, &node.labels),
    reasons: |_, _, _| vec![Reason::NodeAffinity],
};
