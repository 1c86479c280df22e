//! The sentences people search the web for, word for word.

use serde_json::json;

use super::{asking, cluster, node, pod, refusal};
use crate::scheduler::{Plan, Preemption, Profile, Snapshot, plan, preempt};

fn tainted(name: &str, key: &str) -> crate::scheduler::NodeSpec {
    node(name, json!({"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}}))
}

/// The whole sentence, as it stands in the event.
fn with_preemption(snapshot: &Snapshot, pod: &crate::scheduler::PodInfo) -> String {
    let Plan::Unschedulable(mut diagnosis) = plan(snapshot, pod, &Profile::default(), 7) else {
        panic!("{} fits", pod.name)
    };
    if let Preemption::Impossible(why) | Preemption::NotTried(why) =
        preempt(snapshot, pod, &Profile::default(), &diagnosis, 7)
    {
        diagnosis.preemption = why;
    }
    diagnosis.to_string()
}

#[test]
fn nothing_is_free() {
    let not_ready = "node.kubernetes.io/not-ready";
    let mut snapshot = cluster([node("a", json!({})), tainted("b", not_ready), tainted("c", not_ready)]);
    snapshot.set_pod(asking("big", "3"), Some("a"));
    assert_eq!(
        with_preemption(&snapshot, &asking("web", "2")),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). preemption: 0/3 nodes \
         are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn more_than_any_node_has() {
    let snapshot = cluster([node("a", json!({})), node("b", json!({}))]);
    assert_eq!(
        with_preemption(&snapshot, &asking("web", "64")),
        "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 Preemption is not \
         helpful for scheduling."
    );
}

#[test]
fn a_node_is_short_of_several_things() {
    let snapshot = cluster([node("a", json!({"status": {"allocatable": {"pods": "0", "memory": "1Gi"}}}))]);
    let pod = pod(
        "web",
        json!({"spec": {"containers": [{"name": "a", "resources": {"requests":
        {"cpu": "5", "memory": "2Gi", "ephemeral-storage": "1Ti", "example.com/gpu": "1"}}}]}}),
    );
    assert_eq!(
        refusal(&snapshot, &pod),
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient ephemeral-storage, 1 Insufficient \
         example.com/gpu, 1 Insufficient memory, 1 Too many pods."
    );
}

#[test]
fn every_other_reason() {
    let mut snapshot = cluster([
        node("cordoned", json!({"spec": {"unschedulable": true}})),
        node("unlabelled", json!({"metadata": {"labels": {"disk": "hdd"}}})),
        node("taken", json!({"metadata": {"labels": {"disk": "ssd"}}})),
    ]);
    let port = json!([{"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}]}]);
    snapshot.set_pod(pod("first", json!({"spec": {"containers": port}})), Some("taken"));
    let pod = pod("web", json!({"spec": {"containers": port, "nodeSelector": {"disk": "ssd"}}}));
    assert_eq!(
        with_preemption(&snapshot, &pod),
        "0/3 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't \
         match Pod's node affinity/selector, 1 node(s) were unschedulable. preemption: 0/3 nodes are available: 1 \
         No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    );
}

#[test]
fn counts_are_sorted_as_text() {
    let mut nodes: Vec<_> = (0..10).map(|i| tainted(&format!("t{i}"), "dedicated")).collect();
    nodes.extend((0..2).map(|i| node(&format!("c{i}"), json!({"spec": {"unschedulable": true}}))));
    assert_eq!(
        refusal(&cluster(nodes), &asking("web", "1")),
        "0/12 nodes are available: 10 node(s) had untolerated taint(s), 2 node(s) were unschedulable."
    );
}

#[test]
fn no_nodes() {
    assert_eq!(refusal(&Snapshot::new(), &asking("web", "1")), "no nodes available to schedule pods");
}

#[test]
fn a_pod_that_must_not_preempt() {
    let mut snapshot = cluster([node("a", json!({}))]);
    snapshot.set_pod(asking("big", "3"), Some("a"));
    let mut web = (*asking("web", "2")).clone();
    (web.priority, web.may_preempt) = (10, false);
    assert_eq!(
        with_preemption(&snapshot, &web),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    );
}

#[test]
fn a_pod_pinned_to_a_node_by_name() {
    let mut snapshot = cluster([node("a", json!({})), node("b", json!({}))]);
    snapshot.set_pod(asking("big", "3"), Some("a"));
    let name = json!({"key": "metadata.name", "operator": "In", "values": ["a"]});
    let pod = pod(
        "daemon",
        json!({"spec": {
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "2"}}}],
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchFields": [name]}]}}},
        }}),
    );
    assert_eq!(
        refusal(&snapshot, &pod),
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    );
}
