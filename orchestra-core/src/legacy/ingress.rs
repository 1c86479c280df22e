//! Ingresses before `networking.k8s.io/v1`: a backend was a name and a port side by side.

use serde_json::{Map, Value, json};

use super::parts::{New, Old, Tell};

pub(super) fn ingress(fields: Map<String, Value>, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    for name in ["apiVersion", "kind", "metadata", "status"] {
        old.carry(name, &mut new, tell);
    }
    let (mut was, mut spec) = (old.object("spec", tell), new.below("spec"));
    let held = was.object("backend", tell);
    if !held.is_empty() {
        let to = backend(held, spec.below("defaultBackend"), tell);
        spec.put("defaultBackend", to);
    }
    for name in ["tls", "ingressClassName"] {
        was.carry(name, &mut spec, tell);
    }
    let rules = was.objects("rules", tell).into_iter().enumerate();
    let rules = rules.map(|(index, held)| rule(held, spec.element("rules", index), tell)).collect();
    spec.put_all("rules", rules);
    was.end(tell);
    new.put("spec", spec);
    old.end(tell);
    Some(new.done())
}

fn rule(mut old: Old, mut new: New, tell: &mut Tell) -> New {
    old.carry("host", &mut new, tell);
    let (mut http, mut to) = (old.object("http", tell), new.below("http"));
    let paths = http.objects("paths", tell).into_iter().enumerate();
    let paths = paths.map(|(index, mut path)| {
        let mut one = to.element("paths", index);
        path.carry("path", &mut one, tell);
        path.carry("pathType", &mut one, tell);
        if !one.fields.contains_key("pathType") {
            one.set("pathType", "ImplementationSpecific");
        }
        let held = backend(path.object("backend", tell), one.below("backend"), tell);
        one.put("backend", held);
        path.end(tell);
        one
    });
    let paths = paths.collect();
    to.put_all("paths", paths);
    http.end(tell);
    new.put("http", to);
    old.end(tell);
    new
}

fn backend(mut old: Old, mut new: New, tell: &mut Tell) -> New {
    old.carry("resource", &mut new, tell);
    let mut service = new.below("service");
    old.carry_as("serviceName", "name", &mut service, tell);
    match old.take("servicePort") {
        Some(Value::Number(port)) if port.as_i64() == Some(0) => {}
        Some(port @ Value::Number(_)) => service.set("port", json!({"number": port})),
        Some(Value::String(port)) if port.is_empty() => {}
        Some(port @ Value::String(_)) => service.set("port", json!({"name": port})),
        Some(_) => tell.wrong(&old.path("servicePort"), "it is neither a number nor a name"),
        None => {}
    }
    new.put("service", service);
    old.end(tell);
    new
}
