//! The kinds of `v1beta1` and `v1beta2`: the name is an `id`, and what is wanted a `desiredState`.

use serde_json::{Map, Value, json};

use super::manifest::{name, pod_spec};
use super::parts::{New, Old, Tell};

type Fields = Map<String, Value>;

/// Takes what every object had at its top, and moves it to the metadata.
fn metadata(old: &mut Old, new: &mut New, tell: &mut Tell) {
    let mut to = new.below("metadata");
    old.ignore(&["kind", "apiVersion"]);
    name(old, "id", &mut to, tell);
    for name in ["namespace", "generateName", "labels", "annotations"] {
        old.carry(name, &mut to, tell);
    }
    for name in ["uid", "creationTimestamp", "selfLink", "resourceVersion", "deletionTimestamp"] {
        old.lose(name, "it is the cluster's to say, and left out", tell);
    }
    new.put("metadata", to);
}

const OBSERVED: &str = "it is what was observed, and left out";

/// What was wanted of a pod, and of a template's pods.
fn pod_state(mut state: Old, spec: &mut New, tell: &mut Tell) -> Old {
    for name in ["status", "Condition", "message", "hostIP", "podIP", "info"] {
        state.lose(name, OBSERVED, tell);
    }
    state.carry_as("host", "nodeName", spec, tell);
    let manifest = state.object("manifest", tell);
    state.end(tell);
    manifest
}

pub(super) fn pod(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    metadata(&mut old, &mut new, tell);
    let mut spec = new.below("spec");
    let desired = old.object("desiredState", tell);
    let mut manifest = pod_state(desired, &mut spec, tell);
    let at = manifest.path("id");
    if let Some(id) = manifest.text("id", tell) {
        let known =
            new.fields.get("metadata").and_then(|metadata| metadata["name"].as_str()).map(str::to_owned);
        match known {
            Some(known) if known == super::name(&id) => {}
            Some(_) => tell.note(&at, "the pod's own id is there, and was the one that counted"),
            None => tell.wrong("id", &format!("the pod has no id; its manifest has, {id:?}")),
        }
    }
    pod_spec(manifest, &mut spec, tell);
    for (was, is) in [("nodeSelector", "nodeSelector"), ("serviceAccount", "serviceAccountName")] {
        old.carry_as(was, is, &mut spec, tell);
    }
    old.lose("currentState", OBSERVED, tell);
    new.put("spec", spec);
    old.end(tell);
    Some(new.done())
}

/// What a kubelet read from a file: a manifest by itself.
pub(super) fn container_manifest(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    let (mut to, mut spec) = (new.below("metadata"), new.below("spec"));
    old.ignore(&["kind", "apiVersion"]);
    name(&mut old, "id", &mut to, tell);
    for name in ["namespace", "annotations"] {
        old.carry(name, &mut to, tell);
    }
    new.put("metadata", to);
    pod_spec(old, &mut spec, tell);
    new.put("spec", spec);
    Some(new.done())
}

pub(super) fn replication_controller(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    metadata(&mut old, &mut new, tell);
    let (mut desired, mut spec) = (old.object("desiredState", tell), new.below("spec"));
    desired.carry("replicas", &mut spec, tell);
    desired.carry_as("replicaSelector", "selector", &mut spec, tell);
    let template = desired.object("podTemplate", tell);
    if !template.is_empty() {
        let to = pod_template(template, spec.below("template"), tell);
        spec.put("template", to);
    }
    desired.end(tell);
    new.put("spec", spec);
    old.lose("currentState", OBSERVED, tell);
    old.end(tell);
    Some(new.done())
}

fn pod_template(mut old: Old, mut new: New, tell: &mut Tell) -> New {
    let (mut to, mut spec) = (new.below("metadata"), new.below("spec"));
    for name in ["labels", "annotations"] {
        old.carry(name, &mut to, tell);
    }
    new.put("metadata", to);
    let desired = old.object("desiredState", tell);
    let mut manifest = pod_state(desired, &mut spec, tell);
    manifest.lose("id", "the pods of a controller are called after it", tell);
    pod_spec(manifest, &mut spec, tell);
    for (was, is) in [("nodeSelector", "nodeSelector"), ("serviceAccount", "serviceAccountName")] {
        old.carry_as(was, is, &mut spec, tell);
    }
    new.put("spec", spec);
    old.end(tell);
    new
}

pub(super) fn service(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    metadata(&mut old, &mut new, tell);
    let mut spec = new.below("spec");
    if old.take("selector").is_some_and(|selector| {
        let selects_all = selector.as_object().is_some_and(Map::is_empty);
        spec.set("selector", selector);
        selects_all
    }) {
        tell.note("selector", "an empty one selected every pod, and selects none today");
    }
    let listed = old.objects("ports", tell);
    if listed.is_empty() {
        single_port(&mut old, &mut spec, tell);
    } else {
        for name in ["port", "portName", "protocol", "containerPort"] {
            old.lose(name, "ports is there, and was what counted", tell);
        }
        let ports = listed.into_iter().enumerate().map(|(index, mut port)| {
            let mut to = spec.element("ports", index);
            for (was, is) in [("name", "name"), ("port", "port")] {
                port.carry_as(was, is, &mut to, tell);
            }
            to.set_some("protocol", port.text("protocol", tell).map(|protocol| protocol.to_uppercase()));
            to.set_some("targetPort", port.take("containerPort").filter(is_port));
            port.end(tell);
            to
        });
        let ports = ports.collect();
        spec.put_all("ports", ports);
    }
    old.carry_as("publicIPs", "externalIPs", &mut spec, tell);
    old.carry_as("portalIP", "clusterIP", &mut spec, tell);
    old.carry("sessionAffinity", &mut spec, tell);
    if old.truth("createExternalLoadBalancer", tell) {
        spec.set("type", "LoadBalancer");
    }
    old.lose("proxyPort", "it did nothing", tell);
    new.put("spec", spec);
    old.end(tell);
    Some(new.done())
}

/// A service of one port, which stood at the top.
fn single_port(old: &mut Old, spec: &mut New, tell: &mut Tell) {
    let mut to = spec.element("ports", 0);
    for (was, is) in [("port", "port"), ("portName", "name")] {
        old.carry_as(was, is, &mut to, tell);
    }
    to.set_some("protocol", old.text("protocol", tell).map(|protocol| protocol.to_uppercase()));
    match old.take("containerPort").filter(is_port) {
        Some(port) => to.set("targetPort", port),
        None if to.fields.contains_key("port") => {
            tell.note(
                "containerPort",
                "without it, it was the first port of the pods, and is the service's own today",
            );
        }
        None => {}
    }
    if !to.fields.is_empty() {
        spec.put_all("ports", vec![to]);
    }
}

/// Zero and nothing were no port.
fn is_port(port: &Value) -> bool {
    *port != 0 && port != ""
}

pub(super) fn minion(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    metadata(&mut old, &mut new, tell);
    let (mut spec, mut status) = (new.below("spec"), new.below("status"));
    for name in ["podCIDR", "unschedulable"] {
        old.carry(name, &mut spec, tell);
    }
    let mut resources = old.object("resources", tell);
    resources.carry("capacity", &mut status, tell);
    resources.end(tell);
    if let Some(address) = old.text("hostIP", tell) {
        status.set("addresses", json!([{"type": "InternalIP", "address": address}]));
    }
    old.lose("externalID", "nodes have a spec.providerID today, of another form", tell);
    old.lose("status", OBSERVED, tell);
    new.put("spec", spec);
    new.put("status", status);
    old.end(tell);
    Some(new.done())
}

pub(super) fn endpoints(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    metadata(&mut old, &mut new, tell);
    let subsets = old.objects("subsets", tell);
    let protocol = old.text("protocol", tell).unwrap_or_else(|| "TCP".to_owned()).to_uppercase();
    old.lose("targetRefs", "which pod stands behind an address is left out", tell);
    let named = old.take("endpoints");
    if subsets.is_empty() {
        let addresses = named.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut made = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            let split = address.as_str().and_then(|address| address.rsplit_once(':'));
            match split.and_then(|(ip, port)| Some((ip, port.parse::<u16>().ok()?))) {
                Some((ip, port)) => made.push(json!({
                    "addresses": [{"ip": ip}], "ports": [{"port": port, "protocol": protocol}],
                })),
                None => tell.wrong(&format!("endpoints[{index}]"), "it is not an address and a port"),
            }
        }
        if !made.is_empty() {
            new.set("subsets", made);
        }
    } else {
        let subsets = subsets.into_iter().enumerate().map(|(index, mut subset)| {
            let mut to = new.element("subsets", index);
            let addresses = subset.objects("addresses", tell).into_iter().enumerate();
            let addresses = addresses.map(|(index, mut address)| {
                let mut one = to.element("addresses", index);
                address.carry_as("IP", "ip", &mut one, tell);
                address.carry("targetRef", &mut one, tell);
                address.end(tell);
                one
            });
            let addresses = addresses.collect();
            to.put_all("addresses", addresses);
            subset.carry("ports", &mut to, tell);
            subset.end(tell);
            to
        });
        let subsets = subsets.collect();
        new.put_all("subsets", subsets);
    }
    old.end(tell);
    Some(new.done())
}

pub(super) fn persistent_volume(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    metadata(&mut old, &mut new, tell);
    let (mut was, mut spec) = (old.object("spec", tell), new.below("spec"));
    was.carry_as("persistentDisk", "gcePersistentDisk", &mut spec, tell);
    for name in was.names() {
        was.carry(&name, &mut spec, tell);
    }
    new.put("spec", spec);
    old.lose("status", OBSERVED, tell);
    old.end(tell);
    Some(new.done())
}

/// The kinds whose fields, beside those at the top, are what they are today.
pub(super) fn plain(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    metadata(&mut old, &mut new, tell);
    old.lose("status", OBSERVED, tell);
    for name in ["spec", "data", "type", "secrets", "imagePullSecrets"] {
        old.carry(name, &mut new, tell);
    }
    old.end(tell);
    Some(new.done())
}
