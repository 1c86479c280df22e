//! A cordoned node takes only pods that tolerate being there.

use k8s_openapi::api::core::v1::Taint;

use super::{Filter, Reason, Rule, tolerates};
use crate::scheduler::filter::Demand;

pub(super) const RULE: Rule = Rule {
    filter: Filter::NodeUnschedulable,
    applies: |_| true,
    passes: |demand, _, node| !node.spec.unschedulable || is_at_home(demand),
    at_a_glance: |_, room| (!room.unschedulable).then_some(true),
    reasons: |_, _, _| vec![Reason::Cordoned],
};

/// The key of the taint that the node controller puts on a node while it is cordoned.
pub(in crate::scheduler) const CORDONED: &str = "node.kubernetes.io/unschedulable";

/// Cordoning acts like this taint, whether or not the node has it yet.
fn is_at_home(demand: &Demand<'_>) -> bool {
    let taint = Taint { key: CORDONED.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
    demand.pod.tolerations.iter().any(|t| tolerates(t, &taint))
}
