//! All that the kernel is to hold, and what of it some news are about. Pure.

use orchestra_core::network::{PolicyPlan, ServicePlan};

use super::narrow::{follow, narrowed};
use super::render::{Node, ruleset};
use super::ruleset::Ruleset;

/// What the kernel is to hold.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) plan: ServicePlan,
    pub(super) policies: PolicyPlan,
    pub(super) node: Node,
}

/// What is new in what the kernel is to hold.
pub(super) enum News<'a> {
    Services(&'a ServicePlan),
    Policies(&'a PolicyPlan),
    Node(Node),
}

impl Wanted {
    pub(super) fn ruleset(&self, table: &str) -> Ruleset {
        ruleset(table, &self.plan, &self.policies, &self.node)
    }

    /// What it says of all that has to do with some news, before them and after.
    pub(super) fn before_and_after(&self, table: &str, news: &News<'_>) -> (Ruleset, Ruleset) {
        let no_policies = PolicyPlan::default();
        let services = |plan: &ServicePlan, node: &Node| {
            let (before, after) = narrowed((&self.plan, &self.node), (plan, node));
            let before = ruleset(table, &before, &no_policies, &self.node);
            (before, ruleset(table, &after, &no_policies, node))
        };
        match news {
            News::Services(plan) => services(plan, &self.node),
            News::Node(node) => services(&self.plan, node),
            News::Policies(policies) => {
                let of = |policies| ruleset(table, &ServicePlan::default(), policies, &Node::default());
                (of(&self.policies), of(policies))
            }
        }
    }

    pub(super) fn take(&mut self, news: News<'_>) {
        match news {
            News::Services(plan) => follow(&mut self.plan, plan),
            News::Policies(policies) => self.policies = policies.clone(),
            News::Node(node) => self.node = node,
        }
    }
}
