//! A pod that names its node runs there or nowhere.

use super::{Filter, Reason, Rule};

pub(super) const RULE: Rule = Rule {
    filter: Filter::NodeName,
    applies: |demand| demand.pod.node.is_some(),
    passes: |demand, _, node| demand.pod.node.as_deref().is_none_or(|name| *name == *node.spec.name),
    at_a_glance: super::never,
    reasons: |_, _, _| vec![Reason::OtherNode],
};
