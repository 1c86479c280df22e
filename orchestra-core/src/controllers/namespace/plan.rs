//! How far the emptying of a namespace is. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::meta::GroupResource;

/// What is left in a namespace, and what went wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Left {
    /// How many objects of each kind there still are.
    pub(super) kinds: BTreeMap<GroupResource, usize>,
    /// How many objects each finalizer keeps.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// Kinds whose objects could not be deleted, and why.
    pub(super) errors: Vec<String>,
    /// Why the kinds could not be found out.
    pub(super) discovery: Option<String>,
}

impl Left {
    /// Whether the namespace may go.
    pub(super) fn is_nothing(&self) -> bool {
        self.kinds.is_empty() && self.errors.is_empty() && self.discovery.is_none()
    }
}

/// The conditions that say so, after those held: one that has not changed keeps its time.
pub(super) fn conditions(
    left: &Left,
    held: &[NamespaceCondition],
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let mut conditions = held.to_vec();
    for (kind, bad, reason, message) in judgements(left) {
        let status = if bad { "True" } else { "False" };
        let mut next = NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        };
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition) => {
                if condition.status == next.status {
                    next.last_transition_time = condition.last_transition_time.clone();
                }
                *condition = next;
            }
            None => conditions.push(next),
        }
    }
    conditions
}

type Judgement = (&'static str, bool, &'static str, String);

fn judgements(left: &Left) -> [Judgement; 5] {
    let list = |counts: Vec<String>| counts.join(", ");
    let kinds = list(
        left.kinds
            .iter()
            .map(|(kind, count)| format!("{}.{} has {count} resource instances", kind.resource, kind.group))
            .collect(),
    );
    let finalizers = list(
        left.finalizers
            .iter()
            .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
            .collect(),
    );
    [
        match &left.discovery {
            Some(error) => {
                let message = format!("Discovery failed for some groups, 1 failing: {error}");
                ("NamespaceDeletionDiscoveryFailure", true, "DiscoveryFailed", message)
            }
            None => {
                let message = "All resources successfully discovered".to_owned();
                ("NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered", message)
            }
        },
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        if left.errors.is_empty() {
            let message = "All content successfully deleted, may be waiting on finalization".to_owned();
            ("NamespaceDeletionContentFailure", false, "ContentDeleted", message)
        } else {
            let (count, errors) = (left.errors.len(), left.errors.join(", "));
            let message = format!("Failed to delete all resource types, {count} remaining: {errors}");
            ("NamespaceDeletionContentFailure", true, "ContentDeletionFailed", message)
        },
        if kinds.is_empty() {
            let message = "All content successfully removed".to_owned();
            ("NamespaceContentRemaining", false, "ContentRemoved", message)
        } else {
            let message = format!("Some resources are remaining: {kinds}");
            ("NamespaceContentRemaining", true, "SomeResourcesRemain", message)
        },
        if finalizers.is_empty() {
            let message = "All content-preserving finalizers finished".to_owned();
            ("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", message)
        } else {
            let message = format!("Some content in the namespace has finalizers remaining: {finalizers}");
            ("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", message)
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_is_left_and_keep_their_times() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut left = Left::default();
        left.kinds.insert(GroupResource::new("", "pods"), 2);
        left.kinds.insert(GroupResource::new("apps", "replicasets"), 1);
        left.finalizers.insert("example.org/keep".to_owned(), 1);
        let first = conditions(&left, &[], at(1));
        let text = |conditions: &[NamespaceCondition], index: usize| {
            let condition = &conditions[index];
            (condition.status.clone(), condition.message.clone().unwrap())
        };
        assert_eq!(first.len(), 5);
        let remaining = "Some resources are remaining: pods. has 2 resource instances, replicasets.apps has 1 resource instances";
        assert_eq!(text(&first, 3), ("True".to_owned(), remaining.to_owned()));
        let finalizers = "Some content in the namespace has finalizers remaining: example.org/keep in 1 resource instances";
        assert_eq!(text(&first, 4), ("True".to_owned(), finalizers.to_owned()));
        assert!(!left.is_nothing());

        let second = conditions(&Left::default(), &first, at(2));
        assert_eq!(text(&second, 3), ("False".to_owned(), "All content successfully removed".to_owned()));
        assert_eq!(second[3].last_transition_time, Some(Time(at(2))));
        assert_eq!(second[0].last_transition_time, Some(Time(at(1))));
    }
}
