//! A tainted node takes only pods that tolerate its taints.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::{Filter, Reason, Rule};
use crate::scheduler::node::NodeInfo;

pub(super) const RULE: Rule = Rule {
    filter: Filter::TaintToleration,
    applies: |_| true,
    passes: |demand, _, node| tolerated(&demand.pod.tolerations, node),
    at_a_glance: |_, room| (!room.tainted).then_some(true),
    reasons: |demand, _, node| {
        let taint = untolerated(&demand.pod.tolerations, node).cloned().unwrap_or_default();
        let Taint { key, value, effect, .. } = taint;
        vec![Reason::Taint { key, value: value.unwrap_or_default(), effect }]
    },
};

/// Whether no taint of the node keeps the pod away.
pub(crate) fn tolerated(tolerations: &[Toleration], node: &NodeInfo) -> bool {
    node.spec.taints.is_empty() || untolerated(tolerations, node).is_none()
}

fn untolerated<'n>(tolerations: &[Toleration], node: &'n NodeInfo) -> Option<&'n Taint> {
    untolerated_with(tolerations, &node.spec.taints, &["NoSchedule", "NoExecute"])
}

/// The first taint with one of these effects that is not tolerated.
pub(crate) fn untolerated_with<'n>(
    tolerations: &[Toleration],
    taints: &'n [Taint],
    effects: &[&str],
) -> Option<&'n Taint> {
    let mut hard = taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
    hard.find(|taint| !tolerations.iter().any(|t| tolerates(t, taint)))
}

/// Whether a toleration covers a taint. Without an effect it covers all, without a key (and with `Exists`) every
/// taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let covers = |given: &Option<String>, of: &str| given.as_deref().is_none_or(|g| g.is_empty() || g == of);
    if !covers(&toleration.effect, &taint.effect) || !covers(&toleration.key, &taint.key) {
        return false;
    }
    let (ours, theirs) = (toleration.value.as_deref(), taint.value.as_deref());
    let (ours, theirs) = (ours.unwrap_or_default(), theirs.unwrap_or_default());
    match toleration.operator.as_deref() {
        None | Some("" | "Equal") => ours == theirs,
        Some("Exists") => true,
        Some(_) => false,
    }
}
