//! A port of a node is had by one pod.

use super::{Filter, Reason, Rule};
use crate::scheduler::pod::HostPort;

pub(super) const RULE: Rule = Rule {
    filter: Filter::NodePorts,
    applies: |demand| !demand.pod.ports.is_empty(),
    passes: |demand, id, node| {
        let free = |taken: &[HostPort]| {
            !demand.pod.ports.iter().any(|wanted| taken.iter().any(|taken| wanted.conflicts_with(taken)))
        };
        free(&node.ports) && demand.ahead_on(id).all(|pod| free(&pod.ports))
    },
    at_a_glance: super::never,
    reasons: |_, _, _| vec![Reason::Ports],
};
