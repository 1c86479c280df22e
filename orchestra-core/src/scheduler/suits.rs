//! Whether a node is one for a pod, whatever else runs there: what a DaemonSet asks, which wants a pod on every node that
//! is. The rules are the scheduler's, so that the two never differ.

use k8s_openapi::api::core::v1::Taint;

use super::filter::untolerated_with;
use super::pod::PodInfo;
use crate::selector::LabelSet;

/// What a node is to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suits {
    /// It may come and stay.
    Yes,
    /// It may not come, but one that is there may stay: the node is tainted since.
    Stays,
    /// It may not be there.
    No,
}

/// Asks the rules about names, labels and taints. A pod that names a node runs there or nowhere.
pub(crate) fn suits(pod: &PodInfo, node: &str, labels: &LabelSet, taints: &[Taint]) -> Suits {
    let named = pod.node.as_deref().is_none_or(|name| name == node);
    if !named || !pod.rules.node.matches(node, labels) {
        return Suits::No;
    }
    let tolerated = |effects: &[&str]| untolerated_with(&pod.tolerations, taints, effects).is_none();
    match (tolerated(&["NoExecute"]), tolerated(&["NoSchedule"])) {
        (true, true) => Suits::Yes,
        (true, false) => Suits::Stays,
        (false, _) => Suits::No,
    }
}
