//! Which devices a claim gets.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{cluster, node, pod};
use crate::meta::{ObjectName, Revision};
use crate::scheduler::devices::{Allocation, DeviceClaim, DeviceClassInfo, OnNode, SliceInfo, Wanted};
use crate::scheduler::volumes::At;
use crate::scheduler::{PodInfo, Snapshot};
use crate::watch::{Entry, IndexedFields};

fn entry(kind: &str, name: &str, mut object: Value) -> Entry {
    object["kind"] = kind.into();
    object["apiVersion"] = "resource.k8s.io/v1".into();
    object["metadata"]["name"] = name.into();
    object["metadata"]["uid"] = format!("uid-{name}").into();
    Entry::read(object.to_string().into(), Revision(1), &IndexedFields::none()).unwrap()
}

/// A node and a class of all devices of `d`.
fn start() -> Snapshot {
    let mut snapshot = cluster([node("a", json!({}))]);
    class(&mut snapshot, "any", json!({"selectors": [{"cel": {"expression": "device.driver == 'd'"}}]}));
    snapshot
}

fn class(snapshot: &mut Snapshot, name: &str, spec: Value) {
    let class = DeviceClassInfo::read(&entry("DeviceClass", name, json!({"spec": spec}))).unwrap();
    snapshot.devices.set_class(name, Some(class));
}

fn slice(snapshot: &mut Snapshot, name: &str, changes: Value) {
    let mut spec = json!({
        "driver": "d", "nodeName": "a", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
    });
    super::lay_over(&mut spec, changes);
    let slice = SliceInfo::read(&entry("ResourceSlice", name, json!({"spec": spec}))).unwrap();
    snapshot.devices.set_slice(name, Some(slice));
}

fn claim(snapshot: &mut Snapshot, name: &str, devices: Value) {
    let object = json!({"metadata": {"namespace": "default"}, "spec": {"devices": devices}});
    let claim = DeviceClaim::read(&entry("ResourceClaim", name, object)).unwrap();
    snapshot.devices.set_claim(&ObjectName::namespaced("default", name), Some(claim));
}

fn using(claims: &[&str]) -> Arc<PodInfo> {
    let claim = |name: &&str| json!({"name": name, "resourceClaimName": name});
    pod("p", json!({"spec": {"resourceClaims": claims.iter().map(claim).collect::<Vec<_>>()}}))
}

fn on(snapshot: &Snapshot, pod: &PodInfo) -> OnNode {
    let node = snapshot.node_named("a").unwrap();
    let wanted = Wanted::of(&snapshot.devices, pod);
    assert_eq!(wanted.fault, None);
    wanted.allocate(&snapshot.devices, At { name: "a", labels: &node.labels })
}

fn allocated(snapshot: &Snapshot, pod: &PodInfo) -> Vec<Allocation> {
    match on(snapshot, pod) {
        OnNode::Fits(allocations) => allocations,
        other => panic!("{other:?}"),
    }
}

/// `request=device` for each.
fn devices(snapshot: &Snapshot, pod: &PodInfo) -> Vec<String> {
    let of = |allocation: &Allocation| {
        let results = allocation.status().unwrap()["devices"]["results"].as_array().unwrap().clone();
        results
            .into_iter()
            .map(|it| format!("{}={}", it["request"].as_str().unwrap(), it["device"].as_str().unwrap()))
    };
    allocated(snapshot, pod).iter().flat_map(of).collect()
}

fn named(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name})).collect()
}

fn exactly(name: &str, spec: Value) -> Value {
    let mut exactly = json!({"deviceClassName": "any"});
    super::lay_over(&mut exactly, spec);
    json!({"name": name, "exactly": exactly})
}

#[test]
fn requests_are_met_together_or_not_at_all() {
    let mut snapshot = start();
    slice(
        &mut snapshot,
        "s",
        json!({"devices": [
            {"name": "small", "attributes": {"size": {"int": 1}}},
            {"name": "large", "attributes": {"size": {"int": 2}}},
        ]}),
    );
    let sized = |size: i32| json!({"selectors": [{"cel": {"expression": format!("device.attributes['d'].size >= {size}")}}]});
    // The first could have either: it leaves the large one to the second.
    claim(&mut snapshot, "c", json!({"requests": [exactly("one", sized(1)), exactly("two", sized(2))]}));
    assert_eq!(devices(&snapshot, &using(&["c"])), ["one=small", "two=large"]);
    claim(&mut snapshot, "c", json!({"requests": [exactly("one", sized(2)), exactly("two", sized(2))]}));
    assert!(matches!(on(&snapshot, &using(&["c"])), OnNode::TooFew));
    // So do claims of one pod.
    claim(&mut snapshot, "c", json!({"requests": [exactly("one", sized(1))]}));
    claim(&mut snapshot, "e", json!({"requests": [exactly("two", sized(2))]}));
    assert_eq!(devices(&snapshot, &using(&["c", "e"])), ["one=small", "two=large"]);
    let allocations = allocated(&snapshot, &using(&["c"]));
    snapshot.devices.assume(&allocations);
    claim(&mut snapshot, "f", json!({"requests": [exactly("one", json!({"count": 2}))]}));
    assert!(matches!(on(&snapshot, &using(&["f"])), OnNode::TooFew));
    snapshot.devices.release(&[allocations[0].claim.uid.clone()]);
    assert_eq!(devices(&snapshot, &using(&["f"])), ["one=small", "one=large"]);
    claim(
        &mut snapshot,
        "g",
        json!({"requests": [exactly("one", json!({
            "selectors": [{"cel": {"expression": "device.attributes['d'].none == 1"}}],
        }))]}),
    );
    assert!(matches!(on(&snapshot, &using(&["g"])), OnNode::Fault(_)));
}

#[test]
fn all_devices_and_the_first_that_can_be_had() {
    let mut snapshot = start();
    slice(&mut snapshot, "s", json!({"devices": named(&["x", "y"])}));
    claim(&mut snapshot, "c", json!({"requests": [exactly("all", json!({"allocationMode": "All"}))]}));
    assert_eq!(devices(&snapshot, &using(&["c"])), ["all=x", "all=y"]);
    let way = |name: &str, count: i32| json!({"name": name, "deviceClassName": "any", "count": count});
    let requests = json!([{"name": "r", "firstAvailable": [way("many", 3), way("few", 2)]}]);
    let config = json!([
        {"requests": ["r/few"], "opaque": {"driver": "d", "parameters": {"a": 1}}},
        {"requests": ["r/many"], "opaque": {"driver": "d", "parameters": {"b": 1}}},
    ]);
    claim(&mut snapshot, "c", json!({"requests": requests, "config": config}));
    class(&mut snapshot, "any", json!({"config": [{"opaque": {"driver": "d", "parameters": {"c": 1}}}]}));
    assert_eq!(devices(&snapshot, &using(&["c"])), ["r/few=x", "r/few=y"]);
    let allocations = allocated(&snapshot, &using(&["c"]));
    let status = allocations[0].status().unwrap();
    assert_eq!(
        status["devices"]["config"],
        json!([
            {"source": "FromClass", "requests": ["r/few"], "opaque": {"driver": "d", "parameters": {"c": 1}}},
            {"source": "FromClaim", "requests": ["r/few"], "opaque": {"driver": "d", "parameters": {"a": 1}}},
        ])
    );
    let fields = json!([{"key": "metadata.name", "operator": "In", "values": ["a"]}]);
    assert_eq!(status["nodeSelector"], json!({"nodeSelectorTerms": [{"matchFields": fields}]}));
    // Of a pool that is being written anew not all devices are known.
    slice(
        &mut snapshot,
        "s",
        json!({
            "devices": named(&["x", "y"]), "pool": {"generation": 2, "resourceSliceCount": 2},
        }),
    );
    assert!(matches!(on(&snapshot, &using(&["c"])), OnNode::TooFew));
    slice(
        &mut snapshot,
        "t",
        json!({
            "devices": named(&["z"]), "pool": {"generation": 2, "resourceSliceCount": 2},
        }),
    );
    assert_eq!(devices(&snapshot, &using(&["c"])), ["r/many=x", "r/many=y", "r/many=z"]);
}

#[test]
fn constraints_taints_counters_and_those_who_only_look() {
    let mut snapshot = start();
    let on_board =
        |name: &str, board: &str| json!({"name": name, "attributes": {"board": {"string": board}}});
    slice(
        &mut snapshot,
        "s",
        json!({"devices": [
            on_board("a", "1"), on_board("b", "2"), on_board("c", "2"), {"name": "bare"},
        ]}),
    );
    let two = json!([exactly("r", json!({"count": 2}))]);
    claim(&mut snapshot, "c", json!({"requests": two, "constraints": [{"matchAttribute": "d/board"}]}));
    assert_eq!(devices(&snapshot, &using(&["c"])), ["r=b", "r=c"]);
    claim(&mut snapshot, "c", json!({"requests": two, "constraints": [{"distinctAttribute": "d/board"}]}));
    assert_eq!(devices(&snapshot, &using(&["c"])), ["r=a", "r=b"]);

    let taint = json!([{"key": "broken", "value": "yes", "effect": "NoSchedule"}]);
    let noted = json!([{"key": "seen", "effect": "None"}]);
    slice(
        &mut snapshot,
        "s",
        json!({"devices": [{"name": "a", "taints": taint}, {"name": "b", "taints": noted}]}),
    );
    claim(&mut snapshot, "c", json!({"requests": two}));
    assert!(matches!(on(&snapshot, &using(&["c"])), OnNode::TooFew));
    let tolerant = json!({"count": 2, "tolerations": [{"key": "broken", "operator": "Exists"}]});
    claim(&mut snapshot, "c", json!({"requests": [exactly("r", tolerant)]}));
    assert_eq!(devices(&snapshot, &using(&["c"])), ["r=a", "r=b"]);

    let part = |name: &str, amount: &str| json!({"name": name, "consumesCounters": [{"counterSet": "gpu", "counters": {"memory": {"value": amount}}}]});
    slice(
        &mut snapshot,
        "s",
        json!({
            "devices": [part("whole", "40Gi"), part("half", "20Gi"), part("other", "20Gi")],
            "sharedCounters": [{"name": "gpu", "counters": {"memory": {"value": "40Gi"}}}],
        }),
    );
    claim(&mut snapshot, "c", json!({"requests": two}));
    assert_eq!(devices(&snapshot, &using(&["c"])), ["r=half", "r=other"]);
    claim(&mut snapshot, "e", json!({"requests": [exactly("r", json!({}))]}));
    assert_eq!(devices(&snapshot, &using(&["e"])), ["r=whole"]);
    let allocations = allocated(&snapshot, &using(&["e"]));
    snapshot.devices.assume(&allocations);
    claim(&mut snapshot, "f", json!({"requests": [exactly("r", json!({}))]}));
    assert!(matches!(on(&snapshot, &using(&["f"])), OnNode::TooFew));
    claim(&mut snapshot, "f", json!({"requests": [exactly("r", json!({"adminAccess": true}))]}));
    assert_eq!(devices(&snapshot, &using(&["f"])), ["r=whole"]);
}

/// A request for so much memory of a device.
fn of_memory(memory: &str, change: Value) -> Value {
    let mut spec = json!({"capacity": {"requests": {"memory": memory}}});
    super::lay_over(&mut spec, change);
    json!({"requests": [exactly("r", spec)]})
}

#[test]
fn a_device_that_several_may_have_is_given_in_portions_until_nothing_is_left() {
    let mut snapshot = start();
    let policy = json!({"default": "10Gi", "validRange": {"min": "5Gi", "step": "5Gi"}});
    let memory = json!({"memory": {"value": "40Gi", "requestPolicy": policy}});
    let card = json!({
        "name": "card", "allowMultipleAllocations": true, "capacity": memory,
        "consumesCounters": [{"counterSet": "slots", "counters": {"slot": {"value": "1"}}}],
    });
    let other = json!({
        "name": "whole", "consumesCounters": [{"counterSet": "slots", "counters": {"slot": {"value": "1"}}}],
    });
    let counters = json!([{"name": "slots", "counters": {"slot": {"value": "1"}}}]);
    slice(&mut snapshot, "s", json!({"devices": [card, other], "sharedCounters": counters}));
    let shares = |snapshot: &Snapshot, name: &str| -> Vec<String> {
        let allocations = allocated(snapshot, &using(&[name]));
        let results = allocations[0].status().unwrap()["devices"]["results"].as_array().unwrap().clone();
        let memory = |it: &Value| it["consumedCapacity"]["memory"].as_str().unwrap().to_owned();
        results.iter().map(|it| format!("{} {}", it["device"].as_str().unwrap(), memory(it))).collect()
    };
    claim(&mut snapshot, "more", of_memory("12Gi", json!({})));
    assert_eq!(shares(&snapshot, "more"), ["card 15Gi"]);
    let more = allocated(&snapshot, &using(&["more"]));
    snapshot.devices.assume(&more);
    // What says nothing has what is given then, and a request may have the device several times.
    claim(&mut snapshot, "two", json!({"requests": [exactly("r", json!({"count": 2}))]}));
    assert_eq!(shares(&snapshot, "two"), ["card 10Gi", "card 10Gi"]);
    let two = allocated(&snapshot, &using(&["two"]));
    snapshot.devices.assume(&two);
    claim(&mut snapshot, "last", of_memory("6Gi", json!({})));
    assert!(matches!(on(&snapshot, &using(&["last"])), OnNode::TooFew));
    claim(&mut snapshot, "last", of_memory("1", json!({})));
    assert_eq!(shares(&snapshot, "last"), ["card 5Gi"]);
    // The counter of the pool is taken once for all of them, and by nobody else.
    let whole = json!({"selectors": [{"cel": {"expression": "!device.allowMultipleAllocations"}}]});
    claim(&mut snapshot, "whole", json!({"requests": [exactly("r", whole)]}));
    assert!(matches!(on(&snapshot, &using(&["whole"])), OnNode::TooFew));
    let given_back = [more[0].claim.uid.clone(), two[0].claim.uid.clone()];
    snapshot.devices.release(&given_back);
    assert_eq!(devices(&snapshot, &using(&["whole"])), ["r=whole"]);
    // What a claim says that it has counts as well.
    let result = json!({
        "request": "r", "driver": "d", "pool": "p", "device": "card", "shareID": "s1",
        "consumedCapacity": {"memory": "35Gi"},
    });
    let object = json!({
        "metadata": {"namespace": "default"}, "spec": {"devices": of_memory("35Gi", json!({}))},
        "status": {"allocation": {"devices": {"results": [result]}}},
    });
    let held = DeviceClaim::read(&entry("ResourceClaim", "held", object)).unwrap();
    snapshot.devices.set_claim(&ObjectName::namespaced("default", "held"), Some(held));
    assert!(matches!(on(&snapshot, &using(&["two"])), OnNode::TooFew));
    assert_eq!(shares(&snapshot, "last"), ["card 5Gi"]);
    // A capacity that no device has is had of none.
    claim(
        &mut snapshot,
        "none",
        json!({"requests": [exactly("r", json!({"capacity": {"requests": {"speed": "1"}}}))]}),
    );
    assert!(matches!(on(&snapshot, &using(&["none"])), OnNode::TooFew));
}

#[test]
fn devices_for_which_nobody_has_to_be_waited_come_first() {
    let mut snapshot = start();
    let far = json!({
        "name": "far", "bindingConditions": ["Attached"], "bindingFailureConditions": ["Lost"], "bindsToNode": true,
    });
    slice(
        &mut snapshot,
        "s",
        json!({"nodeName": null, "allNodes": true, "devices": [far, {"name": "near"}]}),
    );
    claim(&mut snapshot, "one", json!({"requests": [exactly("r", json!({}))]}));
    assert_eq!(devices(&snapshot, &using(&["one"])), ["r=near"]);
    assert_eq!(allocated(&snapshot, &using(&["one"]))[0].status().unwrap().get("nodeSelector"), None);
    claim(&mut snapshot, "two", json!({"requests": [exactly("r", json!({"count": 2}))]}));
    let status = allocated(&snapshot, &using(&["two"]))[0].status().unwrap().clone();
    assert_eq!(status["devices"]["results"][1]["bindingConditions"], json!(["Attached"]));
    assert_eq!(status["devices"]["results"][1]["bindingFailureConditions"], json!(["Lost"]));
    let fields = json!([{"key": "metadata.name", "operator": "In", "values": ["a"]}]);
    assert_eq!(status["nodeSelector"], json!({"nodeSelectorTerms": [{"matchFields": fields}]}));
}
