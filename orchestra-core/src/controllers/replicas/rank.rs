//! Which pods go first when there are too many.

use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::member::Member;
use crate::controllers::pod::{Phase, Pod};

const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Puts those first that are to be deleted first, in the order of Kubernetes' `ActivePodsWithRanks`: unassigned
/// before assigned, pending before running, not ready before ready, cheap before dear, on a node with many of
/// `related` (the running pods of the same application, by node) before on one with few, ready for a short before
/// for a long time, often before seldom restarted, new before old.
///
/// Ages count by powers of two, so that pods of about the same age go by chance, in the form of their uids. (There,
/// chance decides at once between two that became ready at almost the same time; that is not always an order, and a
/// sort needs one. Here restarts come before chance.)
pub(crate) fn sort(members: &mut [&Member], related: &HashMap<&str, usize>, now: Timestamp) {
    members.sort_by_cached_key(|Member { entry, pod }| {
        let doubled = pod.node().and_then(|node| related.get(node)).copied().unwrap_or_default();
        let ready_for = if pod.is_ready() { magnitude(pod.ready_since(), now) } else { 0 };
        let created = pod.metadata.creation_timestamp.as_ref();
        (
            (pod.node().is_some(), phase(pod), pod.is_ready()),
            cost(pod),
            Reverse(doubled),
            ready_for,
            Reverse(pod.restarts()),
            magnitude(created.map(|Time(time)| *time), now),
            entry.uid().clone(),
        )
    });
}

fn phase(pod: &Pod) -> u8 {
    match pod.status.phase {
        Phase::Pending => 0,
        Phase::Unknown => 1,
        Phase::Running | Phase::Succeeded | Phase::Failed => 2,
    }
}

fn cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(COST)).and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

/// The power of two of an age. No time is younger than any.
fn magnitude(since: Option<Timestamp>, now: Timestamp) -> i64 {
    let age = since.map_or(0, |since| now.duration_since(since).as_nanos());
    match (since, age > 0) {
        (None, _) => -2,
        (Some(_), false) => -1,
        (Some(_), true) => i64::from(age.ilog2()),
    }
}
