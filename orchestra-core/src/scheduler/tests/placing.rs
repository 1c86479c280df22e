use serde_json::json;

use super::{asking, cluster, node, place, pod, refusal, settle};
use crate::scheduler::{Plan, Profile, plan};

#[test]
fn a_toleration_opens_a_tainted_node() {
    let taint = json!({"key": "dedicated", "value": "db", "effect": "NoSchedule"});
    let snapshot = cluster([node("a", json!({"spec": {"taints": [taint]}}))]);
    for (toleration, opens) in [
        (json!({"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}), true),
        (json!({"key": "dedicated", "value": "db"}), true),
        (json!({"key": "dedicated", "operator": "Exists"}), true),
        (json!({"operator": "Exists"}), true),
        (json!({"key": "dedicated", "value": "web"}), false),
        (json!({"key": "other", "operator": "Exists"}), false),
        (json!({"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}), false),
    ] {
        let pod = pod("web", json!({"spec": {"tolerations": [toleration]}}));
        let placed = matches!(plan(&snapshot, &pod, &Profile::default(), 1), Plan::Place { .. });
        assert_eq!(placed, opens, "{toleration}");
    }
}

#[test]
fn the_emptier_node_is_better() {
    let mut snapshot = cluster([node("a", json!({})), node("b", json!({}))]);
    snapshot.set_pod(asking("big", "3"), Some("a"));
    assert_eq!(place(&snapshot, &asking("web", "1")), "b");
}

#[test]
fn a_preferred_node_is_better_and_a_soft_taint_worse() {
    let snapshot = cluster([
        node("a", json!({})),
        node("b", json!({"metadata": {"labels": {"disk": "ssd"}}})),
        node("c", json!({"spec": {"taints": [{"key": "old", "effect": "PreferNoSchedule"}]}})),
    ]);
    let ssd = json!({"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]});
    let preferred = json!([{"weight": 1, "preference": ssd}]);
    let pod = pod(
        "web",
        json!({"spec": {"affinity": {"nodeAffinity":
        {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}}),
    );
    assert_eq!(place(&snapshot, &pod), "b");
    for seed in 0..20 {
        let Plan::Place { node, .. } = plan(&snapshot, &asking("web", "1"), &Profile::default(), seed << 32)
        else {
            panic!("fits")
        };
        assert_ne!(&*node, "c");
    }
}

#[test]
fn a_node_with_the_image_is_better() {
    let image = json!([{"names": ["registry/web:1"], "sizeBytes": 900_000_000}]);
    let snapshot = cluster([node("a", json!({})), node("b", json!({"status": {"images": image}}))]);
    let pod = pod("web", json!({"spec": {"containers": [{"name": "a", "image": "registry/web:1"}]}}));
    assert_eq!(place(&snapshot, &pod), "b");
}

#[test]
fn the_seed_decides_between_equals_and_nothing_else_does() {
    let snapshot = cluster((0..8).map(|i| node(&format!("n{i}"), json!({}))));
    let choose = |seed| match plan(&snapshot, &asking("web", "1"), &Profile::default(), seed) {
        Plan::Place { node, .. } => node.to_string(),
        Plan::Unschedulable(diagnosis) => panic!("{diagnosis}"),
    };
    let chosen: std::collections::BTreeSet<_> = (0..64u64).map(|i| choose(i << 32)).collect();
    assert_eq!(chosen.len(), 8);
    assert_eq!(choose(5 << 32), choose(5 << 32));
}

#[test]
fn a_nominated_node_is_taken_first_and_kept_for_the_nominee() {
    let mut snapshot = cluster([node("a", json!({})), node("b", json!({}))]);
    snapshot.set_pod(asking("big", "1"), Some("a"));
    let nominee = pod(
        "nominee",
        json!({"spec": {"priority": 10, "containers":
        [{"name": "m", "resources": {"requests": {"cpu": "3"}}}]}, "status": {"nominatedNodeName": "a"}}),
    );
    assert_eq!(place(&snapshot, &nominee), "a");
    snapshot.nominate(nominee, "a");
    snapshot.set_pod(asking("other", "3"), Some("b"));
    assert_eq!(refusal(&snapshot, &asking("web", "2")), "0/2 nodes are available: 2 Insufficient cpu.");
    snapshot.withdraw_nomination(&"uid-nominee".into());
    assert_eq!(place(&snapshot, &asking("web", "2")), "a");
}

#[test]
fn what_a_pod_held_is_free_when_it_goes_or_finishes() {
    let mut snapshot = cluster([node("a", json!({}))]);
    let big = asking("big", "3");
    settle(&mut snapshot, &big);
    assert!(refusal(&snapshot, &asking("web", "2")).contains("Insufficient cpu"));
    let mut done = (*big).clone();
    done.finished = true;
    snapshot.set_pod(done.into(), Some("a"));
    assert_eq!(place(&snapshot, &asking("web", "2")), "a");
    assert_eq!(snapshot.node_named("a").map(|n| n.requested.is_zero()), Some(true));
}

#[test]
fn a_node_that_comes_back_still_has_its_pods() {
    let mut snapshot = cluster([node("a", json!({}))]);
    snapshot.set_pod(asking("big", "3"), Some("a"));
    snapshot.remove_node("a");
    assert_eq!(refusal(&snapshot, &asking("web", "2")), "no nodes available to schedule pods");
    snapshot.set_node(node("a", json!({})));
    assert!(refusal(&snapshot, &asking("web", "2")).contains("Insufficient cpu"));
}

#[test]
fn in_a_large_cluster_not_every_node_is_looked_at() {
    let snapshot = cluster((0..1000).map(|i| node(&format!("n{i}"), json!({}))));
    let feasible = |options: &Profile| match plan(&snapshot, &asking("web", "1"), options, 3) {
        Plan::Place { feasible, .. } => feasible,
        Plan::Unschedulable(diagnosis) => panic!("{diagnosis}"),
    };
    assert_eq!(feasible(&Profile::default()), 420);
    assert_eq!(feasible(&Profile { percentage_of_nodes_to_score: Some(100), ..Profile::default() }), 1000);
    assert_eq!(feasible(&Profile { percentage_of_nodes_to_score: Some(1), ..Profile::default() }), 100);
}
