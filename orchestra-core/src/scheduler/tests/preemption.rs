use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::{cluster, node, place, pod};
use crate::meta::ObjectName;
use crate::scheduler::{Budget, Plan, PodInfo, Preemption, Profile, Snapshot, plan, preempt};

fn ranked(name: &str, cpu: &str, priority: i32) -> Arc<PodInfo> {
    pod(
        name,
        json!({"spec": {"priority": priority, "containers":
        [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]}}),
    )
}

fn make_room(snapshot: &Snapshot, pod: &PodInfo) -> Preemption {
    let Plan::Unschedulable(diagnosis) = plan(snapshot, pod, &Profile::default(), 7) else {
        panic!("{} fits", pod.name)
    };
    preempt(snapshot, pod, &Profile::default(), &diagnosis, 7)
}

fn evicted(snapshot: &Snapshot, pod: &PodInfo) -> (String, Vec<String>) {
    match make_room(snapshot, pod) {
        Preemption::Evict { node, victims } => {
            (node.to_string(), victims.iter().map(|v| v.name.name().to_owned()).collect())
        }
        Preemption::Impossible(why) | Preemption::NotTried(why) => panic!("{why}"),
    }
}

#[test]
fn no_more_pods_go_than_must_and_the_least_important_first() {
    let mut snapshot = cluster([node("a", json!({}))]);
    for (name, cpu, priority) in [("low", "1", 1), ("lower", "1", 0), ("mid", "1", 5), ("high", "1", 50)] {
        snapshot.set_pod(ranked(name, cpu, priority), Some("a"));
    }
    assert_eq!(evicted(&snapshot, &ranked("new", "1", 10)), ("a".to_owned(), vec!["lower".to_owned()]));
    assert_eq!(evicted(&snapshot, &ranked("new", "2", 10)).1, ["low", "lower"]);
}

#[test]
fn the_node_whose_victims_matter_least_is_chosen() {
    let mut snapshot = cluster([node("a", json!({})), node("b", json!({})), node("c", json!({}))]);
    snapshot.set_pod(ranked("a1", "4", 5), Some("a"));
    snapshot.set_pod(ranked("b1", "2", 1), Some("b"));
    snapshot.set_pod(ranked("b2", "2", 1), Some("b"));
    snapshot.set_pod(ranked("c1", "4", 1), Some("c"));
    assert_eq!(evicted(&snapshot, &ranked("new", "3", 10)), ("c".to_owned(), vec!["c1".to_owned()]));
}

/// A node whose victims a budget lets go is chosen before one whose victims matter less; on a node, what a budget keeps
/// stays, if that helps.
#[test]
fn pods_that_a_budget_keeps_are_spared() {
    let labelled = |name: &str, cpu: &str, priority: i32| {
        pod(
            name,
            json!({"metadata": {"labels": {"app": "kept"}}, "spec": {"priority": priority, "containers":
            [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]}}),
        )
    };
    let budget = |allowed: i64, granted: &str| {
        let status =
            json!({"disruptionsAllowed": allowed, "disruptedPods": {granted: "2026-11-28T00:00:00Z"}});
        let budget = json!({"spec": {"selector": {"matchLabels": {"app": "kept"}}}, "status": status});
        Budget::from_json(budget.to_string().as_bytes()).unwrap()
    };
    let mut snapshot = cluster([node("a", json!({})), node("b", json!({}))]);
    snapshot.set_pod(labelled("a1", "2", 1), Some("a"));
    snapshot.set_pod(ranked("a2", "2", 8), Some("a"));
    snapshot.set_pod(ranked("b1", "4", 5), Some("b"));
    let new = ranked("new", "2", 10);
    assert_eq!(evicted(&snapshot, &new), ("a".to_owned(), vec!["a1".to_owned()]));
    let name = ObjectName::namespaced("default", "budget");
    snapshot.set_budget(&name, budget(0, "other"));
    assert_eq!(evicted(&snapshot, &new), ("b".to_owned(), vec!["b1".to_owned()]));
    // Where everything must go, less of what is kept does.
    snapshot.set_pod(labelled("b1", "4", 5), Some("b"));
    assert_eq!(evicted(&snapshot, &new), ("a".to_owned(), vec!["a2".to_owned()]));
    snapshot.set_budget(&name, budget(1, "other"));
    assert_eq!(evicted(&snapshot, &new), ("a".to_owned(), vec!["a1".to_owned()]));
    snapshot.set_budget(&name, budget(0, "a1"));
    assert_eq!(evicted(&snapshot, &new), ("a".to_owned(), vec!["a1".to_owned()]));
    snapshot.set_budget(&name, None);
    assert_eq!(evicted(&snapshot, &new), ("a".to_owned(), vec!["a1".to_owned()]));
}

#[test]
fn a_port_and_an_anti_affinity_can_be_freed() {
    let mut snapshot = cluster([node("a", json!({}))]);
    let port = json!([{"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}]}]);
    let away = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    snapshot.set_pod(pod("port", json!({"spec": {"containers": port}})), Some("a"));
    snapshot.set_pod(pod("shy", json!({"spec": {"affinity": away}})), Some("a"));
    snapshot.set_pod(pod("bystander", json!({})), Some("a"));
    let new = pod(
        "new",
        json!({
        "metadata": {"labels": {"app": "web"}}, "spec": {"priority": 1, "containers": port}}),
    );
    let (_, mut victims) = evicted(&snapshot, &new);
    victims.sort();
    assert_eq!(victims, ["port", "shy"]);
}

#[test]
fn nobody_is_chased_twice() {
    let mut snapshot = cluster([node("a", json!({}))]);
    let mut leaving = (*ranked("leaving", "4", 0)).clone();
    (leaving.deleting, leaving.preempted) = (true, true);
    snapshot.set_pod(leaving.into(), Some("a"));
    let mut new = (*ranked("new", "4", 10)).clone();
    new.nominated_node = Some("a".into());
    let Preemption::NotTried(why) = make_room(&snapshot, &new) else {
        panic!("waits for the one that leaves")
    };
    assert_eq!(why, "not eligible due to a terminating pod on the nominated node.");
}

proptest! {
    /// Whoever is sent away, the pod fits afterwards, nobody as important had to go, and nobody went needlessly.
    #[test]
    fn never_evicts_in_vain(
        pods in prop::collection::vec((0usize..4, 1i64..5, 0i32..6), 1..16),
        cpu in 1i64..5, priority in 0i32..7,
    ) {
        let mut snapshot = cluster((0..4).map(|i| node(&format!("n{i}"), json!({}))));
        for (number, (on, cpu, priority)) in pods.into_iter().enumerate() {
            snapshot.set_pod(ranked(&format!("p{number}"), &cpu.to_string(), priority), Some(&format!("n{on}")));
        }
        let new = ranked("new", &cpu.to_string(), priority);
        let Plan::Unschedulable(diagnosis) = plan(&snapshot, &new, &Profile::default(), 7) else { return Ok(()) };
        let Preemption::Evict { node, victims } = preempt(&snapshot, &new, &Profile::default(), &diagnosis, 7) else { return Ok(()) };
        prop_assert!(!victims.is_empty() && victims.iter().all(|v| v.priority < priority));
        for spared in &victims {
            let mut without = snapshot.clone();
            for victim in victims.iter().filter(|v| v.uid != spared.uid) {
                without.remove_pod(&victim.uid);
            }
            let overfull = match plan(&without, &new, &Profile::default(), 7) {
                Plan::Unschedulable(_) => true,
                Plan::Place { node: other, .. } => other != node,
            };
            prop_assert!(overfull, "{} need not have gone", spared.name);
        }
        for victim in &victims {
            snapshot.remove_pod(&victim.uid);
        }
        prop_assert_eq!(place(&snapshot, &new), &*node);
    }
}
