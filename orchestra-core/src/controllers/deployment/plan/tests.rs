use k8s_openapi::api::apps::v1::Deployment;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::bounds::Bounds;
use super::super::model::{Observed, Plan, Set};
use super::plan;
use crate::controllers::testing::{at, entry, over, text};

/// A ReplicaSet of some revision with so many replicas asked for and available.
#[derive(Clone, Debug)]
struct Rs {
    revision: i64,
    replicas: i32,
    available: i32,
    /// The size of the Deployment when it was last scaled, and the most pods then.
    sizes: Option<(i32, i32)>,
}

fn rs(revision: i64, replicas: i32, available: i32) -> Rs {
    Rs { revision, replicas, available, sizes: None }
}

fn set(rs: &Rs) -> Set {
    let mut annotations = json!({"deployment.kubernetes.io/revision": rs.revision.to_string()});
    if let Some((desired, most)) = rs.sizes {
        annotations["deployment.kubernetes.io/desired-replicas"] = desired.to_string().into();
        annotations["deployment.kubernetes.io/max-replicas"] = most.to_string().into();
    }
    let name = format!("web-{}", rs.revision);
    let object = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "generation": 1,
            "creationTimestamp": text(rs.revision), "annotations": annotations,
        },
        "spec": {"replicas": rs.replicas},
        "status": {
            "replicas": rs.replicas, "readyReplicas": rs.available, "availableReplicas": rs.available,
            "observedGeneration": 1,
        },
    });
    Set::new(entry(&object)).unwrap()
}

fn deployment(replicas: i32, change: &Value) -> Deployment {
    let object = json!({
        "metadata": {"name": "web", "namespace": "default", "generation": 1},
        "spec": {
            "replicas": replicas, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}},
        },
    });
    serde_json::from_value(over(object, change)).unwrap()
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
    json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}})
}

fn decide(deployment: &Deployment, current: Option<Rs>, old: &[Rs]) -> Plan {
    let observed = Observed {
        deployment,
        current: current.as_ref().map(set),
        old: old.iter().map(set).collect(),
        hash: "new".to_owned(),
        old_pods_running: old.iter().any(|rs| rs.replicas > 0),
    };
    plan(&observed, at(0))
}

#[test]
fn a_first_template_gets_all_its_replicas() {
    let deployment =
        deployment(3, &json!({"metadata": {"annotations": {"kubernetes.io/change-cause": "first"}}}));
    insta::assert_snapshot!(decide(&deployment, None, &[]), @r#"
    annotate revision=1
    create web-new of 3 desired-replicas=3 max-replicas=4 revision=1 change-cause=first
    report 0 replicas, 0 updated, 0 ready, 0 available, 0 unavailable
      Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.
      Progressing=True NewReplicaSetCreated: Created new replica set "web-new"
    "#);
}

#[test]
fn a_new_template_gets_what_surge_allows_and_the_old_one_shrinks() {
    let deployment = deployment(4, &rolling(json!("25%"), json!("25%")));
    insta::assert_snapshot!(decide(&deployment, None, &[rs(1, 4, 4)]), @r#"
    annotate revision=2
    create web-new of 1 desired-replicas=4 max-replicas=5 revision=2
    report 4 replicas, 0 updated, 4 ready, 4 available, 0 unavailable
      Available=True MinimumReplicasAvailable: Deployment has minimum availability.
      Progressing=True NewReplicaSetCreated: Created new replica set "web-new"
    "#);
    insta::assert_snapshot!(decide(&deployment, Some(rs(2, 1, 0)), &[rs(1, 4, 4)]), @r#"
    annotate revision=2
    change web-1 from 4 to 3 desired-replicas=4 max-replicas=5
    report 5 replicas, 1 updated, 4 ready, 4 available, 1 unavailable
      Available=True MinimumReplicasAvailable: Deployment has minimum availability.
      Progressing=True ReplicaSetUpdated: ReplicaSet "web-2" is progressing.
    again in 601s
    "#);
}

#[test]
fn pods_that_do_not_work_make_room_first() {
    let deployment = deployment(4, &rolling(json!(1), json!(0)));
    let plan = decide(&deployment, Some(rs(3, 1, 1)), &[rs(1, 2, 0), rs(2, 4, 4)]);
    let sizes: Vec<_> =
        plan.change.iter().filter_map(|change| Some((&*change.name, change.scale?))).collect();
    assert_eq!(sizes, [("web-1", (2, 0)), ("web-2", (4, 3))]);
}

#[test]
fn recreating_waits_until_the_old_pods_are_gone() {
    let deployment = deployment(2, &json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let sizes = |plan: &Plan| plan.change.iter().map(|change| change.scale.unwrap()).collect::<Vec<_>>();
    let first = decide(&deployment, None, &[rs(1, 2, 2)]);
    assert_eq!((first.create.is_none(), sizes(&first)), (true, vec![(2, 0)]));
    let mut ending = Observed {
        deployment: &deployment,
        current: None,
        old: vec![set(&rs(1, 0, 0))],
        hash: "new".to_owned(),
        old_pods_running: true,
    };
    assert_eq!(plan(&ending, at(0)).create, None);
    ending.old_pods_running = false;
    assert_eq!(plan(&ending, at(0)).create.unwrap().replicas, 2);
}

#[test]
fn a_change_of_size_in_a_rollout_is_shared_in_proportion() {
    let scaled = |revision, replicas| Rs { sizes: Some((10, 13)), ..rs(revision, replicas, replicas) };
    let sizes = |replicas, change: Value| {
        let deployment = deployment(replicas, &over(rolling(json!(3), json!(2)), &change));
        let plan = decide(&deployment, Some(scaled(2, 5)), &[scaled(1, 8)]);
        assert!(plan.create.is_none() && plan.delete.is_empty());
        plan.change
            .iter()
            .filter_map(|change| Some((change.name.clone(), change.scale?.1)))
            .collect::<Vec<_>>()
    };
    let expect = |old, new| vec![("web-1".to_owned(), old), ("web-2".to_owned(), new)];
    let sorted = |mut sizes: Vec<(String, i32)>| {
        sizes.sort();
        sizes
    };
    assert_eq!(sorted(sizes(15, json!({}))), expect(11, 7));
    assert_eq!(sorted(sizes(5, json!({}))), expect(5, 3));
    assert_eq!(sorted(sizes(0, json!({}))), expect(0, 0));
    assert_eq!(sorted(sizes(15, json!({"spec": {"paused": true}}))), expect(11, 7));
}

#[test]
fn a_paused_deployment_does_not_roll_and_its_deadline_stands_still() {
    let held = json!([{"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated", "lastUpdateTime": text(-10_000)}]);
    let change = json!({"spec": {"paused": true}, "status": {"conditions": held}});
    let plan = decide(&deployment(3, &change), None, &[Rs { sizes: Some((3, 4)), ..rs(1, 3, 3) }]);
    insta::assert_snapshot!(plan, @r"
    report 3 replicas, 0 updated, 3 ready, 3 available, 0 unavailable
      Available=True MinimumReplicasAvailable: Deployment has minimum availability.
      Progressing=Unknown DeploymentPaused: Deployment is paused
    ");
}

#[test]
fn a_rollback_makes_an_old_revision_the_newest_and_notes_what_it_was() {
    let plan = decide(&deployment(3, &json!({})), Some(rs(1, 0, 0)), &[rs(2, 3, 3), rs(3, 0, 0)]);
    let change = plan.change.iter().find(|change| change.name == "web-1").unwrap();
    assert_eq!(change.annotations["deployment.kubernetes.io/revision"], "4");
    assert_eq!(change.annotations["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(plan.annotate["deployment.kubernetes.io/revision"], "4");
}

#[test]
fn a_rollout_is_complete_or_late() {
    let conditions = |reason: &str, seconds| json!({"status": {"conditions": [{"type": "Progressing", "status": "True", "reason": reason, "lastUpdateTime": text(seconds)}]}});
    let reason = |plan: &Plan| {
        let conditions = plan.status.conditions.clone().unwrap();
        let progressing = conditions.into_iter().find(|condition| condition.type_ == "Progressing").unwrap();
        (progressing.status, progressing.reason.unwrap())
    };
    let counted =
        json!({"status": {"replicas": 3, "updatedReplicas": 3, "readyReplicas": 2, "availableReplicas": 2}});
    let done = decide(&deployment(3, &conditions("ReplicaSetUpdated", -900)), Some(rs(1, 3, 3)), &[]);
    assert_eq!(reason(&done), ("True".to_owned(), "NewReplicaSetAvailable".to_owned()));
    let late = deployment(3, &over(conditions("ReplicaSetUpdated", -600), &counted));
    assert_eq!(
        reason(&decide(&late, Some(rs(1, 3, 2)), &[])),
        ("False".to_owned(), "ProgressDeadlineExceeded".to_owned())
    );
    let early = deployment(3, &over(conditions("ReplicaSetUpdated", -590), &counted));
    let plan = decide(&early, Some(rs(1, 3, 2)), &[]);
    assert_eq!(reason(&plan), ("True".to_owned(), "ReplicaSetUpdated".to_owned()));
    assert_eq!(plan.again.map(|again| again.as_secs()), Some(11));
}

#[test]
fn the_history_is_shortened_when_a_rollout_is_complete() {
    let counted = json!({"status": {
        "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3, "observedGeneration": 1,
    }});
    let old = [rs(1, 0, 0), rs(4, 0, 0), rs(2, 0, 0), rs(3, 0, 0)];
    let plan = decide(&deployment(3, &counted), Some(rs(5, 3, 3)), &old);
    assert_eq!(plan.delete, ["web-1", "web-2"]);
    let under_way = decide(&deployment(3, &json!({})), Some(rs(5, 3, 2)), &old);
    assert!(under_way.delete.is_empty());
}

/// Pods of a Deployment that rolls, as the plan and the ReplicaSets see them.
#[derive(Debug)]
struct World {
    deployment: Deployment,
    current: Option<Rs>,
    old: Vec<Rs>,
}

impl World {
    /// Carries out one plan.
    fn step(&mut self) -> bool {
        let plan = decide(&self.deployment, self.current.clone(), &self.old);
        self.deployment.status = Some(plan.status.clone());
        if let Some(new) = &plan.create {
            let most = Bounds::of(&self.deployment).most();
            let sizes = Some((self.deployment.spec.as_ref().unwrap().replicas.unwrap(), most));
            self.current = Some(Rs { revision: 100, replicas: new.replicas, available: 0, sizes });
        }
        for change in &plan.change {
            let mut sets = self.old.iter_mut().chain(&mut self.current);
            let set = sets.find(|set| format!("web-{}", set.revision) == change.name).unwrap();
            let number = |key: &str| change.annotations.get(key).and_then(|text| text.parse().ok());
            if let Some((_, to)) = change.scale {
                // Pods that are not available are deleted first.
                set.replicas = to;
                set.available = set.available.min(to);
            }
            let sizes = set.sizes.unwrap_or_default();
            set.sizes = Some((
                number("deployment.kubernetes.io/desired-replicas").unwrap_or(sizes.0),
                number("deployment.kubernetes.io/max-replicas").unwrap_or(sizes.1),
            ));
            if let Some(revision) = change.annotations.get("deployment.kubernetes.io/revision") {
                set.revision = revision.parse().unwrap();
            }
        }
        plan.create.is_some() || plan.change.iter().any(|change| change.scale.is_some())
    }

    fn total(&self) -> i32 {
        self.old.iter().chain(&self.current).map(|set| set.replicas).sum()
    }

    fn available(&self) -> i32 {
        self.old.iter().chain(&self.current).map(|set| set.available).sum()
    }
}

proptest! {
    #[test]
    fn a_rollout_keeps_its_bounds_and_ends(
        replicas in 0..30_i32,
        surge in 0..10_i32,
        unavailable in 0..10_i32,
        percent in any::<bool>(),
        old in prop::collection::vec((0..15_i32, 0..15_i32), 1..4),
        luck in prop::collection::vec(0..4_i32, 400),
    ) {
        let bound = |value: i32| if percent { json!(format!("{}%", value * 10)) } else { json!(value) };
        let deployment = deployment(replicas, &rolling(bound(surge), bound(unavailable)));
        let bounds = Bounds::of(&deployment);
        // Old ReplicaSets that together are within the bounds, as an earlier rollout left them.
        let mut room = bounds.most();
        let old = old.iter().enumerate().map(|(index, (size, available))| {
            let size = (*size).min(room);
            room -= size;
            rs(index as i64 + 1, size, (*available).min(size))
        }).collect();
        let mut world = World { deployment, current: None, old };
        let mut quiet = 0;
        for chance in luck {
            let available = world.available();
            let changed = world.step();
            prop_assert!(world.total() <= bounds.most(), "too many: {world:?}");
            prop_assert!(world.available() >= available.min(bounds.least()), "too few: {world:?}");
            let mut ready = 0;
            for set in world.old.iter_mut().chain(&mut world.current) {
                // Some pods become available; only new ones are sure to, some day.
                let more = (set.replicas - set.available).min(chance);
                if set.revision == 100 || chance > 2 {
                    set.available += more;
                    ready += more;
                }
            }
            quiet = if changed || ready > 0 || chance == 0 { 0 } else { quiet + 1 };
            if quiet > 3 {
                break;
            }
        }
        let current = world.current.clone().unwrap();
        prop_assert_eq!((current.replicas, world.total()), (replicas, replicas), "stuck: {:?}", world);
        let mut again = World { current: Some(current), ..world };
        prop_assert!(!again.step(), "not at rest: {again:?}");
    }

    #[test]
    fn a_change_of_size_meets_the_new_bounds(
        after in 0..30_i32,
        sizes in prop::collection::vec(1..12_i32, 2..4),
        surge in 0..5_i32,
    ) {
        let most: i32 = sizes.iter().sum();
        let before = most - surge;
        let deployment = deployment(after, &rolling(json!(surge), json!(1)));
        let mut sets: Vec<Rs> = sizes.iter().enumerate().map(|(index, size)| {
            Rs { sizes: Some((before, most)), ..rs(index as i64 + 1, *size, 0) }
        }).collect();
        prop_assume!(before > 0 && before != after);
        let current = sets.pop();
        let mut world = World { deployment, current, old: sets };
        world.step();
        let expected = if after == 0 { 0 } else { after + surge };
        prop_assert_eq!(world.total(), expected);
        prop_assert!(world.old.iter().chain(&world.current).all(|set| set.replicas >= 0));
    }
}
