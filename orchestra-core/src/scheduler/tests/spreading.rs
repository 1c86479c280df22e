use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{cluster, node, pod, refusal, settle};
use crate::scheduler::node::{NodeId, Room};
use crate::scheduler::{HOSTNAME, NodeSpec, PodInfo, Profile, Snapshot, ZONE, plan};

fn in_zone(index: usize, zones: usize) -> NodeSpec {
    let zone = format!("zone-{}", index % zones);
    node(&format!("n{index}"), json!({"metadata": {"labels": {ZONE: zone}}}))
}

fn spread_over(name: &str, key: &str, changes: Value) -> Arc<PodInfo> {
    let mut constraint = json!({
        "topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    });
    super::lay_over(&mut constraint, changes);
    pod(
        name,
        json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"topologySpreadConstraints": [constraint]},
        }),
    )
}

fn by_node(snapshot: &Snapshot) -> BTreeMap<&str, usize> {
    snapshot.nodes().map(|n| (&*n.spec.name, n.pods.len())).collect()
}

#[test]
fn a_replica_set_is_spread_evenly_without_being_asked() {
    let mut snapshot = cluster((0..10).map(|i| in_zone(i, 2)));
    let owner = json!([{"kind": "ReplicaSet", "uid": "rs", "controller": true}]);
    for i in 0..100 {
        settle(&mut snapshot, &pod(&format!("p{i}"), json!({"metadata": {"ownerReferences": owner}})));
    }
    assert!(by_node(&snapshot).values().all(|n| *n == 10), "{:?}", by_node(&snapshot));
}

#[test]
fn pods_of_a_service_are_spread_though_nodes_differ() {
    let mut snapshot = cluster((0..4).map(|i| in_zone(i, 2)));
    snapshot.set_service("default", "web", Some([("app".to_owned(), "web".to_owned())].into()));
    for i in 0..8 {
        settle(&mut snapshot, &pod(&format!("p{i}"), json!({"metadata": {"labels": {"app": "web"}}})));
    }
    assert!(by_node(&snapshot).values().all(|n| *n == 2), "{:?}", by_node(&snapshot));
}

#[test]
fn a_zone_that_would_lead_by_too_much_is_out() {
    let mut snapshot = cluster([in_zone(0, 2), in_zone(1, 2)]);
    settle(&mut snapshot, &spread_over("p0", ZONE, json!({})));
    settle(&mut snapshot, &spread_over("p1", ZONE, json!({})));
    assert_eq!(by_node(&snapshot), BTreeMap::from([("n0", 1), ("n1", 1)]));
    snapshot.set_node(node(
        "n1",
        json!({"metadata": {"labels": {ZONE: "zone-1"}}, "spec": {"unschedulable": true}}),
    ));
    settle(&mut snapshot, &spread_over("p2", ZONE, json!({})));
    assert_eq!(
        refusal(&snapshot, &spread_over("p3", ZONE, json!({}))),
        "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) were \
         unschedulable."
    );
}

#[test]
fn a_node_without_the_label_is_out() {
    let snapshot = cluster([node("a", json!({}))]);
    assert_eq!(
        refusal(&snapshot, &spread_over("p", ZONE, json!({}))),
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)."
    );
}

#[test]
fn too_few_places_count_as_one_that_is_empty() {
    let mut snapshot = cluster([in_zone(0, 2), in_zone(1, 2)]);
    for i in 0..2 {
        settle(&mut snapshot, &spread_over(&format!("p{i}"), ZONE, json!({"minDomains": 3})));
    }
    assert!(
        refusal(&snapshot, &spread_over("p2", ZONE, json!({"minDomains": 3}))).contains("spread constraints")
    );
    settle(&mut snapshot, &spread_over("p2", ZONE, json!({"minDomains": 2})));
}

#[test]
fn places_that_the_pod_cannot_go_to_do_not_count_unless_it_says_so() {
    let mut snapshot = cluster([in_zone(0, 2), in_zone(1, 2)]);
    let only_first = |name: &str, policy: &str| {
        let web = spread_over(name, ZONE, json!({"nodeAffinityPolicy": policy}));
        let mut json = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
            "spec": {"nodeSelector": {"kubernetes.io/hostname": "n0"}, "topologySpreadConstraints": [{
                "topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
                "nodeAffinityPolicy": policy, "labelSelector": {"matchLabels": {"app": "web"}}}]},
        });
        json["metadata"]["uid"] = web.uid.as_str().into();
        Arc::new(PodInfo::from_json(json.to_string().as_bytes()).expect("valid"))
    };
    settle(&mut snapshot, &only_first("p0", "Honor"));
    settle(&mut snapshot, &only_first("p1", "Honor"));
    assert!(refusal(&snapshot, &only_first("p2", "Ignore")).contains("spread constraints"));
}

#[test]
fn pods_on_their_way_out_do_not_count() {
    let mut snapshot = cluster([in_zone(0, 2), in_zone(1, 2)]);
    settle(&mut snapshot, &spread_over("p0", ZONE, json!({})));
    let first = by_node(&snapshot).into_iter().find(|(_, n)| *n == 1).map(|(n, _)| n.to_owned());
    let first = first.expect("placed");
    let mut leaving = (*spread_over("p0", ZONE, json!({}))).clone();
    leaving.deleting = true;
    snapshot.set_pod(leaving.into(), Some(&first));
    let seeds =
        (0..16).map(|s| match plan(&snapshot, &spread_over("p1", ZONE, json!({})), &Profile::default(), s) {
            crate::scheduler::Plan::Place { feasible, .. } => feasible,
            crate::scheduler::Plan::Unschedulable(d) => panic!("{d}"),
        });
    assert!(seeds.into_iter().all(|feasible| feasible == 2));
}

proptest! {
    /// However pods come and go, no place ever gets more than `maxSkew` ahead of the emptiest by a placement.
    #[test]
    fn never_places_beyond_the_skew(
        nodes in 2usize..7, zones in 1usize..4, max_skew in 1i64..3,
        steps in prop::collection::vec((any::<bool>(), any::<u64>()), 1..40),
    ) {
        let mut snapshot = cluster((0..nodes).map(|i| in_zone(i, zones)));
        let mut placed: Vec<Arc<PodInfo>> = Vec::new();
        for (number, (add, seed)) in steps.into_iter().enumerate() {
            if add || placed.is_empty() {
                let pod = spread_over(&format!("p{number}"), ZONE, json!({"maxSkew": max_skew}));
                let before = by_zone(&snapshot);
                let least = before.values().min().copied().unwrap_or(0);
                match plan(&snapshot, &pod, &Profile::default(), seed) {
                    crate::scheduler::Plan::Place { node, .. } => {
                        snapshot.set_pod(pod.clone(), Some(&node));
                        let zone = snapshot.node_named(&node).map(|n| n.spec.labels[ZONE].clone()).unwrap_or_default();
                        prop_assert!(before[&zone] + 1 - least <= max_skew);
                        placed.push(pod);
                    }
                    crate::scheduler::Plan::Unschedulable(why) => prop_assert!(false, "{}", why),
                }
            } else {
                let gone = placed.swap_remove(seed as usize % placed.len());
                prop_assert!(snapshot.remove_pod(&gone.uid).is_some());
            }
        }
    }

    /// The sums of a snapshot are those of one built anew from the same objects, whatever happened in between.
    #[test]
    fn never_drifts_from_a_snapshot_built_anew(
        steps in prop::collection::vec((0u8..4, 0usize..5, 0usize..8), 1..60),
    ) {
        let mut snapshot = Snapshot::new();
        let mut nodes = BTreeMap::new();
        let mut pods = BTreeMap::new();
        for (what, n, p) in steps {
            let name = format!("n{n}");
            let web = spread_over(&format!("p{p}"), HOSTNAME, json!({}));
            match what {
                0 => { snapshot.set_node(in_zone(n, 2)); nodes.insert(name, in_zone(n, 2)); }
                1 => { snapshot.remove_node(&name); nodes.remove(&name); }
                2 => { snapshot.set_pod(web.clone(), Some(&name)); pods.insert(p, (web, name)); }
                _ => { snapshot.remove_pod(&web.uid); pods.remove(&p); }
            }
            for id in (0..snapshot.node_slots()).map(NodeId::at) {
                prop_assert_eq!(*snapshot.room(id), Room::of(snapshot.node(id)));
            }
        }
        let mut anew = cluster(nodes.into_values());
        for (pod, node) in pods.values() {
            anew.set_pod(pod.clone(), Some(node));
        }
        prop_assert_eq!(by_node(&snapshot), by_node(&anew));
        for candidate in [spread_over("x", ZONE, json!({})), spread_over("x", HOSTNAME, json!({}))] {
            let say = |s: &Snapshot| match plan(s, &candidate, &Profile::default(), 0) {
                crate::scheduler::Plan::Place { feasible, .. } => feasible.to_string(),
                crate::scheduler::Plan::Unschedulable(why) => why.to_string(),
            };
            prop_assert_eq!(say(&snapshot), say(&anew));
        }
    }
}

fn by_zone(snapshot: &Snapshot) -> BTreeMap<String, i64> {
    let mut zones = BTreeMap::new();
    for node in snapshot.nodes() {
        *zones.entry(node.spec.labels[ZONE].clone()).or_default() += node.pods.len() as i64;
    }
    zones
}
