use proptest::prelude::*;
use serde_json::{Value, json};

use super::{asking, cluster, node, pod};
use crate::scheduler::{Filter, PodInfo, Snapshot, explain};

fn remedies(snapshot: &Snapshot, pod: &PodInfo) -> Vec<String> {
    explain(snapshot, pod).remedies.iter().map(ToString::to_string).collect()
}

fn dedicated(more: Value) -> Value {
    let mut spec = json!({"taints": [{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]});
    super::lay_over(&mut spec, more);
    json!({ "spec": spec })
}

#[test]
fn the_smallest_change_comes_first() {
    let mut snapshot = cluster([node("full", json!({})), node("db", dedicated(json!({})))]);
    snapshot.set_pod(asking("big", "3"), Some("full"));
    assert_eq!(
        remedies(&snapshot, &asking("web", "2")),
        ["db: tolerate dedicated=db:NoSchedule", "full: request 1000m of cpu instead of 2000m"]
    );
}

#[test]
fn every_rule_that_a_node_fails_is_named_and_lifted() {
    let snapshot = cluster([node("a", dedicated(json!({"unschedulable": true})))]);
    let web = pod(
        "web",
        json!({"spec": {"nodeSelector": {"disk": "ssd"},
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "8"}}}]}}),
    );
    let explanation = explain(&snapshot, &web);
    let filters: Vec<Filter> = explanation.faults["a"].iter().map(|verdict| verdict.filter).collect();
    let all =
        [Filter::NodeUnschedulable, Filter::TaintToleration, Filter::NodeAffinity, Filter::NodeResourcesFit];
    assert_eq!(filters, all);
    assert_eq!(explanation.summary, "0/1 nodes are available: 1 node(s) were unschedulable.");
    assert_eq!(
        remedies(&snapshot, &web),
        [
            "a: uncordon the node, tolerate dedicated=db:NoSchedule, label the node disk=ssd, request 4000m of cpu \
          instead of 8000m"
        ]
    );
}

#[test]
fn the_taint_of_a_cordon_goes_with_it() {
    let taint = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    let snapshot = cluster([node("a", json!({"spec": {"unschedulable": true, "taints": [taint]}}))]);
    assert_eq!(remedies(&snapshot, &asking("web", "1")), ["a: uncordon the node"]);
}

#[test]
fn a_pod_that_fits_needs_no_remedy() {
    let snapshot = cluster([node("a", json!({})), node("b", dedicated(json!({})))]);
    let explanation = explain(&snapshot, &asking("web", "1"));
    assert_eq!(
        (explanation.fits.len(), explanation.remedies.len(), explanation.summary.as_str()),
        (1, 0, "")
    );
}

#[test]
fn what_only_others_could_change_has_no_remedy() {
    let mut snapshot = cluster([node("a", json!({}))]);
    let away = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}]}});
    snapshot.set_pod(pod("shy", json!({"spec": {"affinity": away}})), Some("a"));
    assert!(remedies(&snapshot, &pod("web", json!({}))).is_empty());
}

proptest! {
    /// Whatever is wrong with the nodes, a remedy that is given was tried, and none is given for a pod that fits.
    #[test]
    fn never_promises_what_does_not_help(
        nodes in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 0i64..5), 1..6), cpu in 1i64..7,
    ) {
        let mut snapshot = Snapshot::new();
        for (number, (cordoned, tainted, labelled, used)) in nodes.into_iter().enumerate() {
            let mut changes = if tainted { dedicated(json!({})) } else { json!({"spec": {}}) };
            changes["spec"]["unschedulable"] = cordoned.into();
            if labelled {
                changes["metadata"] = json!({"labels": {"disk": "ssd"}});
            }
            let name = format!("n{number}");
            snapshot.set_node(node(&name, changes));
            snapshot.set_pod(asking(&format!("p{number}"), &used.to_string()), Some(&name));
        }
        let web = pod("web", json!({"spec": {"nodeSelector": {"disk": "ssd"},
            "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu.to_string()}}}]}}));
        let explanation = explain(&snapshot, &web);
        prop_assert_eq!(explanation.fits.len() + explanation.faults.len(), snapshot.len());
        prop_assert!(explanation.fits.is_empty() || explanation.remedies.is_empty());
        let room = snapshot.nodes().any(|n| n.requested.milli_cpu < n.spec.allocatable.milli_cpu);
        prop_assert!(!explanation.fits.is_empty() || explanation.remedies.is_empty() != room);
    }
}
