//! Revisions: which number a ReplicaSet has, what is noted on it, and which of them are kept. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;

use super::bounds::Bounds;
use super::model::{DESIRED_REPLICAS, MAX_REPLICAS, REVISION, REVISION_HISTORY, Set};

/// Annotations of a Deployment that its ReplicaSets do not take over.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// How long the list of earlier revisions of one ReplicaSet may be.
const HISTORY_CHARACTERS: usize = 2000;

/// The number that the ReplicaSet of the present template has, or is to get: one more than all the others.
pub(super) fn next_revision(old: &[Set]) -> i64 {
    old.iter().map(Set::revision).max().unwrap_or_default().saturating_add(1)
}

/// The annotations of a new ReplicaSet.
pub(super) fn of_new(deployment: &Deployment, revision: i64, bounds: Bounds) -> BTreeMap<String, String> {
    let mut annotations = copied(deployment);
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations.extend(sizes(bounds));
    annotations
}

/// What is to be noted on a ReplicaSet that is that of the present template: what the Deployment says, and its
/// number, if it has become the newest again by a rollback.
pub(super) fn of_current(deployment: &Deployment, set: &Set, revision: i64) -> BTreeMap<String, String> {
    let mut annotations = copied(deployment);
    let held = set.annotation(REVISION);
    if set.revision() < revision {
        annotations.insert(REVISION.to_owned(), revision.to_string());
        if let Some(before) = held.filter(|text| text.parse::<i64>().is_ok())
            && let Some(history) = appended(set.annotation(REVISION_HISTORY).unwrap_or_default(), before)
        {
            annotations.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
    annotations.retain(|key, value| set.annotation(key) != Some(value));
    annotations
}

/// What a ReplicaSet notes of the Deployment's size, by which it is scaled in proportion.
pub(super) fn sizes(bounds: Bounds) -> [(String, String); 2] {
    [
        (DESIRED_REPLICAS.to_owned(), bounds.replicas.to_string()),
        (MAX_REPLICAS.to_owned(), bounds.most().to_string()),
    ]
}

fn copied(deployment: &Deployment) -> BTreeMap<String, String> {
    let annotations = deployment.metadata.annotations.iter().flatten();
    let kept = annotations.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn appended(history: &str, revision: &str) -> Option<String> {
    if history.is_empty() {
        return Some(revision.to_owned());
    }
    let mut kept = history;
    while kept.len() + revision.len() + 1 > HISTORY_CHARACTERS {
        (_, kept) = kept.split_once(',')?;
    }
    Some(format!("{kept},{revision}"))
}

/// The old ReplicaSets that the limit of the history leaves no room for, the oldest revisions first. One that still
/// has pods, or whose controller has not looked at it yet, stays.
pub(super) fn superfluous(deployment: &Deployment, old: &[Set]) -> Vec<String> {
    let Some(limit) = deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit) else {
        return Vec::new();
    };
    let mut sets: Vec<&Set> = old.iter().filter(|set| !set.entry.is_deleting()).collect();
    sets.sort_by_key(|set| (set.revision(), set.age_key()));
    let surplus = sets.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
    let idle = |set: &&&Set| {
        set.status().replicas == 0
            && set.replicas() == 0
            && set.entry.generation() <= set.status().observed_generation
    };
    sets.iter().take(surplus).filter(idle).map(|set| set.name().to_owned()).collect()
}
