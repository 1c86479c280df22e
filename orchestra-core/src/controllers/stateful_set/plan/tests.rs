use std::sync::Arc;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::held_claims::Claims;
use super::super::model::{Observed, POD_NAME, Plan, REVISION, Replica, Step, Wanted, ordinal};
use super::plan;
use crate::controllers::replicas::member::Member;
use crate::controllers::testing::{at, entry, over, text};
use crate::watch::Entry;

fn set(change: &Value) -> Arc<Entry> {
    let set = json!({
        "metadata": {"name": "s", "namespace": "default", "uid": "s", "generation": 1},
        "spec": {
            "replicas": 3, "selector": {}, "template": {}, "serviceName": "h",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        },
    });
    entry(&over(set, change))
}

/// A running and ready pod of a revision.
fn pod(ordinal: u32, revision: &str, change: &Value) -> Member {
    let name = format!("s-{ordinal}");
    let pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "labels": {REVISION: revision, POD_NAME: name},
        },
        "status": {
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": text(0)}],
        },
    });
    Member::new(entry(&over(pod, change))).unwrap()
}

fn new(ordinal: u32) -> Member {
    pod(ordinal, "new", &json!({}))
}

fn old(ordinal: u32) -> Member {
    pod(ordinal, "old", &json!({}))
}

fn unready(ordinal: u32, revision: &str) -> Member {
    pod(ordinal, revision, &json!({"status": {"phase": "Pending", "conditions": []}}))
}

fn leaving(ordinal: u32) -> Member {
    pod(ordinal, "new", &json!({"metadata": {"deletionTimestamp": text(0)}}))
}

fn decide<R>(
    set: &Arc<Entry>,
    pods: &[Member],
    claims: Claims,
    read: impl FnOnce(&Observed<'_>, &Plan<'_>) -> R,
) -> R {
    let view = set.view::<StatefulSet>().unwrap();
    let wanted = Wanted { entry: set, spec: view.spec.as_ref().unwrap() };
    let observed = Observed {
        pods: pods.iter().filter_map(|member| Replica::of("s", member)).collect(),
        wanted,
        current: "old".to_owned(),
        update: "new".to_owned(),
        claims,
        now: at(1_000),
    };
    let plan = plan(&observed, &StatefulSetStatus::default());
    read(&observed, &plan)
}

fn planned(set: &Arc<Entry>, pods: &[Member]) -> String {
    decide(set, pods, Claims::default(), |_, plan| plan.to_string())
}

#[test]
fn only_a_name_that_the_set_gives_has_an_ordinal() {
    for (name, expected) in [
        ("s-0", Some(0)),
        ("s-12", Some(12)),
        ("s-01", None),
        ("s", None),
        ("s-x", None),
        ("t-1", None),
        ("s-s-1", None),
    ] {
        assert_eq!(ordinal("s", name), expected, "{name}");
    }
}

#[test]
fn in_order_each_pod_waits_for_those_before_it() {
    let ordered = set(&json!({}));
    for (pods, expected) in [
        (vec![], "create 0\n"),
        (vec![unready(0, "new")], ""),
        (vec![new(0)], "create 1\n"),
        (vec![new(0), new(2)], "create 1\n"),
        (vec![new(0), leaving(1), new(2)], ""),
        (vec![new(0), new(1), new(2)], ""),
        (vec![new(0), new(1), new(2), new(3), new(4)], "delete 4\n"),
        (vec![new(0), new(1), new(2), new(3), leaving(4)], ""),
        (vec![new(0), new(1), new(2), unready(3, "new"), new(4)], "delete 4\n"),
        (vec![new(0), new(1), new(2), unready(3, "new"), unready(4, "new")], ""),
        (vec![new(0), unready(1, "new"), new(2), new(3)], ""),
        (vec![pod(0, "new", &json!({"status": {"phase": "Failed"}})), new(1), new(2)], "delete 0\n"),
    ] {
        assert_eq!(planned(&ordered, &pods), expected, "{pods:?}");
    }
    let start = set(&json!({"spec": {"ordinals": {"start": 5}}}));
    assert_eq!(planned(&start, &[]), "create 5\n");
    let soon = set(&json!({"spec": {"minReadySeconds": 10_000}}));
    assert_eq!(planned(&soon, &[new(0)]), "");
    let gone = set(&json!({"metadata": {"deletionTimestamp": text(0)}}));
    assert_eq!(planned(&gone, &[new(0)]), "");
}

#[test]
fn in_parallel_no_pod_waits() {
    let parallel = set(&json!({"spec": {"podManagementPolicy": "Parallel", "ordinals": {"start": 5}}}));
    assert_eq!(planned(&parallel, &[]), "create 5\ncreate 6\ncreate 7\n");
    assert_eq!(
        planned(&parallel, &[unready(5, "new"), new(9), new(4)]),
        "create 6\ncreate 7\ndelete 9\ndelete 4\n"
    );
    // One that is missing is made and waited for by an update, unless more than one may be away: as in Kubernetes, where it
    // counts as a pod that is not available from the moment that it is made.
    let rolling = |most: Value| {
        set(&json!({"spec": {"podManagementPolicy": "Parallel", "updateStrategy": {"rollingUpdate": most}}}))
    };
    for (most, pods, expected) in [
        (json!({}), vec![old(0), old(1)], "create 2\n"),
        (json!({}), vec![old(0), old(2)], "create 1\ndelete 2\n"),
        (json!({}), vec![old(0), new(2)], "create 1\n"),
        (json!({}), vec![old(0), old(1), unready(2, "old")], "delete 2\n"),
        (json!({"maxUnavailable": 2}), vec![old(0), old(1)], "create 2\ndelete 1\n"),
        (json!({"maxUnavailable": 2}), vec![old(0), new(2)], "create 1\ndelete 0\n"),
        (json!({"maxUnavailable": 1}), vec![old(0), old(2)], "create 1\n"),
    ] {
        assert_eq!(planned(&rolling(most.clone()), &pods), expected, "{most} {pods:?}");
    }
}

#[test]
fn an_update_goes_from_the_last_to_the_partition() {
    let rolling = |change: Value| set(&json!({"spec": {"updateStrategy": {"rollingUpdate": change}}}));
    for (set, pods, expected) in [
        (rolling(json!({})), vec![old(0), old(1), old(2)], "delete 2\n"),
        (rolling(json!({})), vec![old(0), old(1), new(2)], "delete 1\n"),
        (rolling(json!({})), vec![old(0), old(1), unready(2, "new")], ""),
        (rolling(json!({"partition": 2})), vec![old(0), old(1), old(2)], "delete 2\n"),
        (rolling(json!({"partition": 2})), vec![old(0), old(1), new(2)], ""),
        (rolling(json!({"partition": 2})), vec![new(0)], "create 1 as before\n"),
        (rolling(json!({"maxUnavailable": 2})), vec![old(0), old(1), old(2)], "delete 2\ndelete 1\n"),
        (set(&json!({"spec": {"updateStrategy": {"type": "OnDelete"}}})), vec![old(0), old(1), old(2)], ""),
    ] {
        assert_eq!(
            planned(&set, &pods),
            expected,
            "{:?} {pods:?}",
            set.to_value().unwrap()["spec"]["updateStrategy"]
        );
    }
}

#[test]
fn the_numbers_are_reported_and_an_update_comes_to_its_end() {
    let status =
        |pods: &[Member]| decide(&set(&json!({})), pods, Claims::default(), |_, plan| json!(plan.status));
    let expected = json!({
        "availableReplicas": 2, "collisionCount": 0, "currentReplicas": 1, "currentRevision": "old",
        "observedGeneration": 1, "readyReplicas": 2, "replicas": 3, "updateRevision": "new", "updatedReplicas": 2,
    });
    assert_eq!(status(&[old(0), new(1), unready(2, "new")]), expected);
    let done = status(&[new(0), new(1), new(2)]);
    assert_eq!((&done["currentRevision"], &done["currentReplicas"]), (&json!("new"), &json!(3)));
}

#[test]
fn claims_are_owned_by_who_takes_them_along() {
    let claim = |owners: Value| {
        entry(&json!({"metadata": {
            "name": "d-s-1", "namespace": "default", "uid": "d-s-1", "ownerReferences": owners,
        }}))
    };
    let owner = |kind: &str, version: &str, name: &str, uid: &str| json!([{"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let by_set = || owner("StatefulSet", "apps/v1", "s", "s");
    let keeping = |deleted: &str, scaled: &str, replicas: i32| {
        let volumes = json!([{"name": "d", "persistentVolumeClaim": {"claimName": "d-s-1"}}]);
        let set = set(&json!({"spec": {
            "replicas": replicas, "podManagementPolicy": "Parallel",
            "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {}}],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled},
        }}));
        (set, pod(1, "new", &json!({"spec": {"volumes": volumes}})))
    };
    for (deleted, scaled, replicas, owners, expected) in [
        ("Retain", "Retain", 2, json!([]), None),
        ("Retain", "Retain", 2, by_set(), Some("own d-s-1 by []")),
        ("Delete", "Retain", 2, json!([]), Some("own d-s-1 by [\"StatefulSet\"]")),
        ("Delete", "Retain", 2, by_set(), None),
        ("Delete", "Delete", 1, by_set(), Some("own d-s-1 by [\"Pod\"]")),
        ("Retain", "Delete", 1, json!([]), Some("own d-s-1 by [\"Pod\"]")),
        ("Retain", "Delete", 2, owner("Pod", "v1", "s-1", "s-1"), Some("own d-s-1 by []")),
        // Of an earlier pod, or of somebody else.
        ("Retain", "Delete", 2, owner("Pod", "v1", "s-1", "before"), None),
        ("Delete", "Retain", 2, owner("Other", "v1", "o", "o"), None),
    ] {
        let (set, pod) = keeping(deleted, scaled, replicas);
        let said = decide(&set, &[pod], Claims::of([claim(owners.clone())]), |_, plan| plan.to_string());
        let said = said.lines().find(|line| line.starts_with("own"));
        assert_eq!(said, expected, "{deleted} {scaled} {replicas} {owners}");
    }
    // A claim that goes with the last pod of its name has to be gone before there is another.
    let (set, _) = keeping("Retain", "Delete", 2);
    let stale = Claims::of([claim(owner("Pod", "v1", "s-1", "before"))]);
    assert_eq!(decide(&set, &[], stale, |_, plan| plan.to_string()), "create 0\n");
}

proptest! {
    #[test]
    fn never_is_the_order_broken(
        states in prop::collection::vec(0..5_u8, 0..6),
        (replicas, partition) in (0..6_i32, 0..6_i32),
    ) {
        let made = states.iter().zip(0..).filter_map(|(state, ordinal)| match state {
            0 => None,
            1 => Some(new(ordinal)),
            2 => Some(old(ordinal)),
            3 => Some(unready(ordinal, "new")),
            _ => Some(leaving(ordinal)),
        });
        let pods: Vec<Member> = made.collect();
        let set = set(&json!({"spec": {
            "replicas": replicas, "updateStrategy": {"rollingUpdate": {"partition": partition}},
        }}));
        decide(&set, &pods, Claims::default(), |observed, plan| {
            prop_assert!(plan.steps.len() <= 1, "{plan}");
            let serves = |ordinal: u32| {
                observed.pods.iter().any(|pod| pod.ordinal == ordinal && pod.serves(&observed.wanted, observed.now))
            };
            match plan.steps.first() {
                Some(Step::Create { ordinal, .. }) => {
                    prop_assert!((0..*ordinal).all(serves));
                    prop_assert!(observed.pods.iter().all(|pod| pod.ordinal != *ordinal));
                }
                Some(Step::Delete(replica)) => {
                    let wanted = observed.wanted.ordinals();
                    prop_assert!(wanted.clone().all(serves), "{plan}");
                    let in_set = wanted.contains(&replica.ordinal);
                    prop_assert!(!in_set || (replica.ordinal >= observed.wanted.partition() && !replica.has_revision("new")));
                    let higher = observed.pods.iter().filter(|pod| pod.ordinal > replica.ordinal);
                    prop_assert!(higher.map(|pod| pod.ordinal).all(|ordinal| wanted.contains(&ordinal)));
                }
                _ => {}
            }
            Ok(())
        })?;
    }
}
