use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions};
use proptest::prelude::*;

use super::{Desired, Held, New, Plan, SLICE, plan};
use crate::controllers::endpoints::service::{Family, Port};
use crate::selector::Labels;

fn endpoint(id: usize, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![format!("10.0.{}.{}", id / 250, id % 250)],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        target_ref: Some(ObjectReference { uid: Some(format!("u{id}")), ..ObjectReference::default() }),
        ..Endpoint::default()
    }
}

fn ports(port: i32) -> Vec<Port> {
    vec![Port { name: String::new(), protocol: "TCP".to_owned(), port: Some(port), app_protocol: None }]
}

fn desired(groups: &[(i32, Vec<Endpoint>)]) -> Desired {
    let groups = groups.iter().map(|(port, endpoints)| ((Family::V4, ports(*port)), endpoints.clone()));
    Desired { groups: groups.collect(), ..Desired::default() }
}

fn held(name: &str, port: i32, endpoints: Vec<Endpoint>) -> Held {
    Held {
        name: name.to_owned(),
        family: Some(Family::V4),
        ports: ports(port),
        labels: Labels::new(),
        endpoints,
    }
}

fn endpoints(ids: impl Iterator<Item = usize>) -> Vec<Endpoint> {
    ids.map(|id| endpoint(id, true)).collect()
}

/// How many endpoints each slice has after a plan.
fn sizes(plan: &Plan) -> (Vec<usize>, Vec<(&str, usize)>, Vec<&str>) {
    (
        plan.create.iter().map(|new| new.endpoints.len()).collect(),
        plan.update.iter().map(|(name, endpoints)| (name.as_str(), endpoints.len())).collect(),
        plan.delete.iter().map(String::as_str).collect(),
    )
}

#[test]
fn as_few_slices_change_as_can_be() {
    let full = || held("full", 80, endpoints(0..100));
    let half = || held("half", 80, endpoints(100..150));
    // One more endpoint goes where there is room; the full slice is left alone.
    let more = desired(&[(80, endpoints(0..151))]);
    assert_eq!(sizes(&plan(&more, &[full(), half()])), (vec![], vec![("half", 51)], vec![]));
    // One that goes makes room that is filled by those that come.
    let swapped = desired(&[(80, endpoints(1..151))]);
    assert_eq!(sizes(&plan(&swapped, &[full(), half()])), (vec![], vec![("full", 100)], vec![]));
    // What fits nowhere makes new slices.
    let many = desired(&[(80, endpoints(0..400))]);
    assert_eq!(sizes(&plan(&many, &[full(), half()])), (vec![100, 100], vec![("half", 100)], vec![]));
    // An endpoint that changes changes in its place.
    let mut changed = endpoints(0..150);
    changed[7] = endpoint(7, false);
    let plan = plan(&desired(&[(80, changed)]), &[full(), half()]);
    assert_eq!(sizes(&plan), (vec![], vec![("full", 100)], vec![]));
    assert_eq!(plan.update[0].1[7], endpoint(7, false));
}

#[test]
fn one_empty_slice_says_that_there_are_no_endpoints() {
    let none = desired(&[(80, vec![])]);
    assert_eq!(sizes(&plan(&none, &[])), (vec![0], vec![], vec![]));
    let held_two = [held("a", 80, endpoints(0..1)), held("b", 80, endpoints(1..2))];
    assert_eq!(sizes(&plan(&none, &held_two)), (vec![], vec![("a", 0)], vec!["b"]));
    assert_eq!(plan(&none, &[held("a", 80, vec![])]), Plan::default());
    // Ports that nobody offers any more leave no slice behind.
    let nothing = desired(&[]);
    assert_eq!(sizes(&plan(&nothing, &[held("a", 80, endpoints(0..1))])), (vec![], vec![], vec!["a"]));
}

#[test]
fn a_slice_that_nothing_is_left_for_is_given_what_is_new() {
    let moved = plan(&desired(&[(81, endpoints(0..1))]), &[held("a", 80, endpoints(0..1))]);
    assert_eq!(sizes(&moved), (vec![], vec![], vec![]));
    let new = New { family: Family::V4, ports: ports(81), endpoints: endpoints(0..1) };
    assert_eq!(moved.reuse, [("a".to_owned(), new)]);
    // Endpoints come and go, from none to some and back: one slice, which changes.
    let mut none = desired(&[]);
    none.groups.insert((Family::V4, Vec::new()), Vec::new());
    let placeholder = Held { ports: Vec::new(), ..held("a", 80, vec![]) };
    let some = plan(&desired(&[(80, endpoints(0..2))]), &[placeholder]);
    assert_eq!((sizes(&some), some.reuse.len()), ((vec![], vec![], vec![]), 1));
    let gone = plan(&none, &[held("a", 80, endpoints(0..2))]);
    let new = New { family: Family::V4, ports: Vec::new(), endpoints: Vec::new() };
    assert_eq!((sizes(&gone), gone.reuse.clone()), ((vec![], vec![], vec![]), vec![("a".to_owned(), new)]));
    // So is one of the same ports that was empty, when more comes than another takes.
    let empty = [held("a", 80, vec![]), held("b", 80, vec![])];
    let many = plan(&desired(&[(80, endpoints(0..101))]), &empty);
    assert_eq!(sizes(&many), (vec![], vec![("b", 1)], vec![]));
    assert_eq!(
        many.reuse.iter().map(|(name, new)| (name.as_str(), new.endpoints.len())).collect::<Vec<_>>(),
        [("a", 100)]
    );
    // The type of a slice's addresses cannot change.
    let other = Held { family: Some(Family::V6), ..held("a", 80, vec![]) };
    let both = plan(&desired(&[(80, endpoints(0..1))]), &[other]);
    assert_eq!(sizes(&both), (vec![1], vec![], vec!["a"]));
}

proptest! {
    #[test]
    fn every_endpoint_is_in_one_slice_and_a_second_plan_is_empty(
        before in prop::collection::vec(prop::collection::btree_set(0..400_usize, 0..=100), 0..5),
        after in prop::collection::btree_set((0..400_usize, any::<bool>()), 0..400),
    ) {
        let slices: Vec<_> = before.iter().enumerate().map(|(index, ids)| {
            held(&format!("s{index}"), 80, endpoints(ids.iter().copied()))
        }).collect();
        let wanted: BTreeMap<usize, bool> = after.into_iter().collect();
        let desired = desired(&[(80, wanted.iter().map(|(id, ready)| endpoint(*id, *ready)).collect())]);
        let plan_once = plan(&desired, &slices);
        let mut now: BTreeMap<String, Held> =
            slices.into_iter().map(|slice| (slice.name.clone(), slice)).collect();
        for (name, endpoints) in plan_once.update {
            now.get_mut(&name).unwrap().endpoints = endpoints;
        }
        for (name, new) in plan_once.reuse {
            now.insert(name.clone(), held(&name, 80, new.endpoints)).expect("a slice that there is");
        }
        for name in plan_once.delete {
            prop_assert!(now.remove(&name).is_some());
        }
        for (index, new) in plan_once.create.into_iter().enumerate() {
            now.insert(format!("n{index}"), held(&format!("n{index}"), 80, new.endpoints));
        }
        let all: Vec<_> = now.values().flat_map(|slice| slice.endpoints.clone()).collect();
        let distinct: BTreeSet<_> = all.iter().map(|endpoint| endpoint.addresses[0].clone()).collect();
        prop_assert_eq!((all.len(), distinct.len()), (wanted.len(), wanted.len()));
        prop_assert!(now.values().all(|slice| slice.endpoints.len() <= SLICE));
        prop_assert!(!now.is_empty());
        let again: Vec<Held> = now.into_values().collect();
        prop_assert_eq!(plan(&desired, &again), Plan::default());
    }
}
