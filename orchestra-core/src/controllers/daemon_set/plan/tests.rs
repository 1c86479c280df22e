use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::model::{HASH, Observed, Wanted, node_of};
use super::plan;
use crate::controllers::replicas::member::Member;
use crate::controllers::testing::{at, entry, over, text};
use crate::scheduler::Suits;

fn set(strategy: &Value) -> DaemonSet {
    let spec = json!({"selector": {}, "template": {}, "updateStrategy": strategy});
    serde_json::from_value(json!({"metadata": {"name": "d"}, "spec": spec})).unwrap()
}

fn rolling(unavailable: Value, surge: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

/// A running and ready pod on a node, of the template with a hash.
fn pod(name: &str, node: &str, hash: &str, change: &Value) -> Member {
    let pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "labels": {HASH: hash}, "creationTimestamp": text(0),
        },
        "spec": {"nodeName": node},
        "status": {
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": text(0)}],
        },
    });
    Member::new(entry(&over(pod, change))).unwrap()
}

fn unready() -> Value {
    json!({"status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": text(0)}]}})
}

fn observed<'o>(set: &'o DaemonSet, nodes: &[(&str, Suits)], pods: &'o [Member]) -> Observed<'o> {
    let mut by_node: BTreeMap<String, Vec<&Member>> = BTreeMap::new();
    for member in pods {
        by_node.entry(node_of(member).unwrap().unwrap()).or_default().push(member);
    }
    Observed {
        wanted: Wanted::new(set, set.spec.as_ref().unwrap(), "new".to_owned()),
        nodes: nodes.iter().map(|(node, suits)| ((*node).to_owned(), *suits)).collect(),
        pods: by_node,
        waits: HashMap::new(),
        now: at(1_000),
    }
}

fn planned(set: &DaemonSet, nodes: &[(&str, Suits)], pods: &[Member]) -> String {
    plan(&observed(set, nodes, pods), &DaemonSetStatus::default(), 1).to_string()
}

#[test]
fn every_node_that_suits_has_one_pod() {
    let set = set(&rolling(json!(1), json!(0)));
    let none = json!({});
    let here = |name: &str, node: &str| pod(name, node, "new", &none);
    let deleting = |name: &str| pod(name, "a", "new", &json!({"metadata": {"deletionTimestamp": text(0)}}));
    let target = json!({"key": "metadata.name", "operator": "In", "values": ["gone"]});
    let terms = json!({"nodeSelectorTerms": [{"matchFields": [target]}]});
    let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}});
    let lost = pod("lost", "", "new", &json!({"spec": {"affinity": affinity}}));
    for (nodes, pods, expected) in [
        (vec![("a", Suits::Yes), ("b", Suits::Yes)], vec![here("p", "a")], "create on b\n"),
        (vec![("a", Suits::Stays), ("b", Suits::Stays)], vec![here("p", "a")], ""),
        (vec![("a", Suits::No)], vec![here("p", "a")], "delete p Superfluous\n"),
        (vec![("a", Suits::Yes)], vec![here("p", "a"), here("q", "a")], "delete q Superfluous\n"),
        (vec![("a", Suits::Yes)], vec![deleting("p")], ""),
        (vec![], vec![lost], "delete lost Superfluous\n"),
        (vec![], vec![here("p", "gone")], ""),
    ] {
        assert_eq!(planned(&set, &nodes, &pods), expected, "{nodes:?}");
    }
}

#[test]
fn a_daemon_that_ended_is_replaced_but_not_in_a_hurry() {
    let set = set(&rolling(json!(1), json!(0)));
    let nodes = [("a", Suits::Yes)];
    let ended = |phase: &str| [pod("p", "a", "new", &json!({"status": {"phase": phase}}))];
    assert_eq!(planned(&set, &nodes, &ended("Failed")), "delete p Failed\n");
    assert_eq!(planned(&set, &nodes, &ended("Succeeded")), "delete p Succeeded\n");
    let failed = ended("Failed");
    let mut waiting = observed(&set, &nodes, &failed);
    waiting.waits.insert("a".to_owned(), Duration::from_secs(7));
    assert_eq!(plan(&waiting, &DaemonSetStatus::default(), 1).to_string(), "again in 7s\n");
}

#[test]
fn an_update_keeps_within_its_bounds() {
    let nodes = [("a", Suits::Yes), ("b", Suits::Yes), ("c", Suits::Yes)];
    let none = json!({});
    let old = |name: &str, node: &str| pod(name, node, "old", &none);
    let new = |name: &str, node: &str| pod(name, node, "new", &none);
    let broken = |name: &str, node: &str, hash: &str| pod(name, node, hash, &unready());
    let one_down = rolling(json!(1), json!(0));
    let one_up = rolling(json!(0), json!(1));
    for (strategy, pods, expected) in [
        (&one_down, vec![old("p", "a"), old("q", "b"), old("r", "c")], "delete p Old\n"),
        (&one_down, vec![broken("p", "a", "new"), old("q", "b"), old("r", "c")], ""),
        (
            &one_down,
            vec![broken("p", "a", "old"), broken("q", "b", "old"), old("r", "c")],
            "delete p Old\ndelete q Old\n",
        ),
        (&one_down, vec![new("p", "a"), new("q", "b"), old("r", "c")], "delete r Old\n"),
        (&json!({"type": "OnDelete"}), vec![old("p", "a"), old("q", "b"), old("r", "c")], ""),
        (&one_up, vec![old("p", "a"), old("q", "b"), old("r", "c")], "create on a\n"),
        (&one_up, vec![old("p", "a"), broken("x", "a", "new"), old("q", "b"), old("r", "c")], ""),
        (&one_up, vec![old("p", "a"), new("x", "a"), old("q", "b"), old("r", "c")], "delete p Old\n"),
        (&one_up, vec![broken("p", "a", "old"), old("q", "b"), old("r", "c")], "create on a\ncreate on b\n"),
    ] {
        assert_eq!(planned(&set(strategy), &nodes, &pods), expected, "{strategy} {pods:?}");
    }
}

#[test]
fn the_numbers_are_reported() {
    let set = set(&rolling(json!(1), json!(0)));
    let nodes = [("a", Suits::Yes), ("b", Suits::Yes), ("c", Suits::Stays)];
    let pods = [pod("p", "a", "new", &json!({})), pod("q", "c", "old", &json!({}))];
    let status = plan(&observed(&set, &nodes, &pods), &DaemonSetStatus::default(), 4).status;
    let expected = json!({
        "currentNumberScheduled": 1, "desiredNumberScheduled": 2, "numberAvailable": 1, "numberMisscheduled": 1,
        "numberReady": 1, "numberUnavailable": 1, "observedGeneration": 4, "updatedNumberScheduled": 1,
    });
    assert_eq!(json!(status), expected);
}

proptest! {
    #[test]
    fn never_are_more_nodes_without_a_daemon_than_may_be(
        pods in prop::collection::vec((0..6_usize, any::<bool>(), any::<bool>()), 0..10),
        (unavailable, surge) in prop::sample::select(vec![(1, 0), (2, 0), (0, 1), (0, 3)]),
    ) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let nodes: Vec<_> = names.iter().map(|node| (*node, Suits::Yes)).collect();
        let pods: Vec<_> = pods.into_iter().enumerate().map(|(place, (node, new, ready))| {
            let change = if ready { json!({}) } else { unready() };
            pod(&format!("p{place}"), names[node], if new { "new" } else { "old" }, &change)
        }).collect();
        let set = set(&rolling(json!(unavailable), json!(surge)));
        let observed = observed(&set, &nodes, &pods);
        let plan = plan(&observed, &DaemonSetStatus::default(), 1);
        let served = |gone: &[&str]| names.iter().filter(|node| {
            let pods = observed.pods.get(**node).into_iter().flatten();
            pods.filter(|pod| !gone.contains(&pod.entry.name().name())).any(|pod| pod.pod.is_ready())
        }).count();
        // Which of several pods on a node stay goes by their age; from there on it is about the nodes.
        let gone = |why: Option<super::Why>| -> Vec<&str> {
            let pods = plan.delete.iter().filter(|(_, held)| why.is_none_or(|why| why == *held));
            pods.map(|(pod, _)| pod.entry.name().name()).collect()
        };
        let (before, after) = (served(&gone(Some(super::Why::Superfluous))), served(&gone(None)));
        let least = names.len() - unavailable;
        prop_assert!(after == before || after >= least, "{before} then {after}: {plan}");
        for node in &plan.create {
            let there = observed.pods.get(node).map_or(0, Vec::len);
            prop_assert!(there <= usize::from(surge > 0), "{there} on {node}");
        }
    }
}
