//! How a pod is spread: as it says itself, or as its profile spreads pods that say nothing.

use std::borrow::Cow;

use super::pod::PodInfo;
use super::profile::{Profile, Spreading};
use super::rules::Spread;
use super::snapshot::Snapshot;
use crate::meta::Uid;
use crate::selector::{CompiledSelector, Labels, Selector};

/// The constraints of a pod that are required, or those that are only preferred.
pub(crate) fn spreads_of<'s>(
    snapshot: &Snapshot,
    pod: &'s PodInfo,
    profile: &Profile,
    required: bool,
) -> Vec<Cow<'s, Spread>> {
    if !pod.rules.spread.is_empty() {
        let own = pod.rules.spread.iter().filter(|spread| spread.terms.required == required);
        return own.map(Cow::Borrowed).collect();
    }
    let terms = profile.spreading.terms(required);
    if terms.is_empty() {
        return Vec::new();
    }
    let Some((selector, controller)) = group_of(snapshot, pod) else { return Vec::new() };
    let spread = |terms| Spread::of_group(terms, selector.clone(), controller.cloned());
    terms.into_iter().map(|terms| Cow::Owned(spread(terms))).collect()
}

/// Whether a node that lacks one of the labels of the constraints is blamed for it: not where the pod did not ask for them,
/// and its profile neither.
pub(crate) fn asks_for_labels(pod: &PodInfo, profile: &Profile) -> bool {
    !pod.rules.spread.is_empty() || profile.spreading != Spreading::System
}

/// The pods of the same services and the same controller; `None` when the pod has neither.
fn group_of<'p>(snapshot: &Snapshot, pod: &'p PodInfo) -> Option<(CompiledSelector, Option<&'p Uid>)> {
    const SPREADING: [&str; 3] = ["ReplicationController", "ReplicaSet", "StatefulSet"];
    let mut together = Labels::new();
    for selector in snapshot.services_in(pod.namespace()).filter(|s| s.selector.matches(&pod.labels)) {
        together.extend(selector.labels.clone());
    }
    let controller = pod.controller.as_ref().filter(|(kind, _)| SPREADING.contains(&&**kind));
    if together.is_empty() && controller.is_none() {
        return None;
    }
    Some((Selector::from_map(&together).compile(), controller.map(|(_, uid)| uid)))
}
