use serde_json::{Value, json};

use super::{cluster, node, place, pod, refusal};
use crate::scheduler::{NodeSpec, PodInfo, Snapshot};
use std::sync::Arc;

fn in_zone(name: &str, zone: &str) -> NodeSpec {
    node(name, json!({"metadata": {"labels": {"topology.kubernetes.io/zone": zone}}}))
}

fn term(app: &str, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key})
}

fn with(name: &str, app: &str, kind: &str, term: Value) -> Arc<PodInfo> {
    pod(
        name,
        json!({
            "metadata": {"labels": {"app": app}},
            "spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}},
        }),
    )
}

fn two_zones() -> Snapshot {
    cluster([in_zone("a", "one"), in_zone("b", "one"), in_zone("c", "two")])
}

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

#[test]
fn next_to_another_pod() {
    let mut snapshot = two_zones();
    let web = with("web", "web", "podAffinity", term("db", ZONE));
    assert_eq!(
        refusal(&snapshot, &web),
        "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    );
    snapshot.set_pod(pod("db", json!({"metadata": {"labels": {"app": "db"}}})), Some("c"));
    assert_eq!(place(&snapshot, &web), "c");
}

#[test]
fn the_first_of_a_group_that_wants_to_be_together() {
    let mut snapshot = two_zones();
    let first = with("w1", "web", "podAffinity", term("web", HOST));
    let at = super::settle(&mut snapshot, &first);
    assert_eq!(place(&snapshot, &with("w2", "web", "podAffinity", term("web", HOST))), at);
}

#[test]
fn away_from_another_pod() {
    let mut snapshot = two_zones();
    snapshot.set_pod(pod("db", json!({"metadata": {"labels": {"app": "db"}}})), Some("a"));
    assert_eq!(place(&snapshot, &with("web", "web", "podAntiAffinity", term("db", ZONE))), "c");
    snapshot.set_pod(pod("db2", json!({"metadata": {"labels": {"app": "db"}}})), Some("c"));
    assert_eq!(
        refusal(&snapshot, &with("web", "web", "podAntiAffinity", term("db", ZONE))),
        "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    );
}

#[test]
fn a_pod_that_is_there_keeps_others_away() {
    let mut snapshot = two_zones();
    snapshot.set_pod(with("db", "db", "podAntiAffinity", term("web", ZONE)), Some("a"));
    let web = pod("web", json!({"metadata": {"labels": {"app": "web"}}}));
    assert_eq!(place(&snapshot, &web), "c");
    snapshot.remove_node("c");
    assert_eq!(
        refusal(&snapshot, &web),
        "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules."
    );
    snapshot.remove_pod(&"uid-db".into());
    place(&snapshot, &web);
}

#[test]
fn terms_look_at_their_own_namespace_unless_they_say_otherwise() {
    let mut snapshot = two_zones();
    let other = json!({"metadata": {"namespace": "other", "labels": {"app": "db"}}});
    snapshot.set_pod(pod("db", other), Some("c"));
    let refused = |changes: Value| {
        let mut term = term("db", ZONE);
        super::lay_over(&mut term, changes);
        let web = with("web", "web", "podAffinity", term);
        matches!(
            crate::scheduler::plan(&snapshot, &web, &Default::default(), 1),
            crate::scheduler::Plan::Unschedulable(_)
        )
    };
    assert!(refused(json!({})));
    assert!(!refused(json!({"namespaces": ["other"]})));
    assert!(!refused(json!({"namespaceSelector": {}})));
    assert!(refused(json!({"namespaceSelector": {"matchLabels": {"team": "a"}}})));
    snapshot.set_namespace("other", Some([("team".to_owned(), "a".to_owned())].into()));
    let web = {
        let mut term = term("db", ZONE);
        super::lay_over(&mut term, json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}));
        with("web", "web", "podAffinity", term)
    };
    assert_eq!(place(&snapshot, &web), "c");
}

#[test]
fn preferences_between_pods() {
    let mut snapshot = two_zones();
    snapshot.set_pod(pod("db", json!({"metadata": {"labels": {"app": "db"}}})), Some("c"));
    let preferring = |kind: &str| {
        let preferred = json!([{"weight": 100, "podAffinityTerm": term("db", ZONE)}]);
        pod(
            "web",
            json!({"spec": {"affinity": {kind:
            {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}}}),
        )
    };
    assert_eq!(place(&snapshot, &preferring("podAffinity")), "c");
    assert_ne!(place(&snapshot, &preferring("podAntiAffinity")), "c");
}
