//! `v1beta3`, which became `v1` but for some names.

use serde_json::{Map, Value};

use super::manifest::security;
use super::parts::{New, Old, Tell};

type Fields = Map<String, Value>;

/// Carries all that has not been taken: it is what it is today.
fn rest(mut old: Old, new: &mut New, tell: &mut Tell) {
    for name in old.names() {
        old.carry(&name, new, tell);
    }
}

pub(super) fn pod(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    let to = pod_spec(old.object("spec", tell), new.below("spec"), tell);
    new.put("spec", to);
    rest(old, &mut new, tell);
    Some(new.done())
}

fn pod_spec(mut old: Old, mut new: New, tell: &mut Tell) -> New {
    old.carry_as("host", "nodeName", &mut new, tell);
    let containers = old.objects("containers", tell).into_iter().enumerate();
    let containers = containers.map(|(index, mut container)| {
        let mut to = new.element("containers", index);
        security(&mut container, &mut to, tell);
        rest(container, &mut to, tell);
        to
    });
    let containers = containers.collect();
    new.put_all("containers", containers);
    rest(old, &mut new, tell);
    new
}

fn template(mut old: Old, mut new: New, tell: &mut Tell) -> New {
    let to = pod_spec(old.object("spec", tell), new.below("spec"), tell);
    new.put("spec", to);
    rest(old, &mut new, tell);
    new
}

pub(super) fn replication_controller(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    let (mut was, mut spec) = (old.object("spec", tell), new.below("spec"));
    was.refuse("templateRef", "a template stands in the controller today", tell);
    let held = was.object("template", tell);
    if !held.is_empty() {
        let to = template(held, spec.below("template"), tell);
        spec.put("template", to);
    }
    rest(was, &mut spec, tell);
    new.put("spec", spec);
    rest(old, &mut new, tell);
    Some(new.done())
}

pub(super) fn pod_template(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    let to = template(old.object("template", tell), new.below("template"), tell);
    new.put("template", to);
    rest(old, &mut new, tell);
    Some(new.done())
}

pub(super) fn service(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    let (mut was, mut spec) = (old.object("spec", tell), new.below("spec"));
    was.carry_as("portalIP", "clusterIP", &mut spec, tell);
    for name in ["publicIPs", "deprecatedPublicIPs"] {
        was.carry_as(name, "externalIPs", &mut spec, tell);
    }
    if was.truth("createExternalLoadBalancer", tell) {
        spec.set("type", "LoadBalancer");
    }
    let ports = was.objects("ports", tell).into_iter().enumerate();
    let ports = ports.map(|(index, mut port)| {
        let mut to = spec.element("ports", index);
        port.carry_as("containerPort", "targetPort", &mut to, tell);
        rest(port, &mut to, tell);
        to
    });
    let ports: Vec<New> = ports.collect();
    if ports.is_empty() {
        // The first ones of this version had one port, at the top of the spec.
        let mut port = spec.element("ports", 0);
        for (was_called, name) in
            [("port", "port"), ("protocol", "protocol"), ("containerPort", "targetPort")]
        {
            was.carry_as(was_called, name, &mut port, tell);
        }
        if !port.fields.is_empty() {
            spec.put_all("ports", vec![port]);
        }
    } else {
        spec.put_all("ports", ports);
    }
    rest(was, &mut spec, tell);
    new.put("spec", spec);
    rest(old, &mut new, tell);
    Some(new.done())
}

pub(super) fn node(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    let (mut was, mut spec) = (old.object("spec", tell), new.below("spec"));
    was.lose("externalID", "nodes have a spec.providerID today, of another form", tell);
    rest(was, &mut spec, tell);
    new.put("spec", spec);
    rest(old, &mut new, tell);
    Some(new.done())
}
