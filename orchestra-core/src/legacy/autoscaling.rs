//! Autoscalers before `autoscaling/v1` and `autoscaling/v2`.

use serde_json::{Map, Value, json};

use super::parts::{New, Old, Tell};
use super::workloads::version_of_scaled;

type Fields = Map<String, Value>;

const OBSERVED: &str = "it is what was observed, and left out";

/// Of `extensions/v1beta1`, which knew processor time alone.
pub(super) fn by_processor(fields: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    for name in ["apiVersion", "kind", "metadata"] {
        old.carry(name, &mut new, tell);
    }
    old.lose("status", OBSERVED, tell);
    let (mut was, mut spec) = (old.object("spec", tell), new.below("spec"));
    for name in ["minReplicas", "maxReplicas"] {
        was.carry(name, &mut spec, tell);
    }
    let (mut scaled, mut to) = (was.object("scaleRef", tell), spec.below("scaleTargetRef"));
    for name in ["kind", "name", "apiVersion"] {
        scaled.carry(name, &mut to, tell);
    }
    match scaled.text("subresource", tell).as_deref() {
        None | Some("scale") => {}
        Some(_) => tell.wrong(&scaled.path("subresource"), "it is by scale alone that anything is scaled"),
    }
    scaled.end(tell);
    of_today(&mut to);
    spec.put("scaleTargetRef", to);
    let mut utilization = was.object("cpuUtilization", tell);
    utilization.carry_as("targetPercentage", "targetCPUUtilizationPercentage", &mut spec, tell);
    utilization.end(tell);
    was.end(tell);
    new.put("spec", spec);
    old.end(tell);
    Some(new.done())
}

/// Of `autoscaling/v2beta1`, which had a field for each way to say a target, and `v2beta2`, which has today's.
pub(super) fn by_metrics(fields: Fields, version: &str, tell: &mut Tell) -> Option<Value> {
    let (mut old, mut new) = (Old::new(fields), New::at(""));
    for name in ["apiVersion", "kind", "metadata"] {
        old.carry(name, &mut new, tell);
    }
    old.lose("status", OBSERVED, tell);
    let (mut was, mut spec) = (old.object("spec", tell), new.below("spec"));
    let (mut scaled, mut to) = (was.object("scaleTargetRef", tell), spec.below("scaleTargetRef"));
    for name in scaled.names() {
        scaled.carry(&name, &mut to, tell);
    }
    of_today(&mut to);
    spec.put("scaleTargetRef", to);
    if version == "autoscaling/v2beta1" {
        let metrics = was.objects("metrics", tell).into_iter().enumerate();
        let metrics = metrics.map(|(index, old)| metric(old, spec.element("metrics", index), tell)).collect();
        spec.put_all("metrics", metrics);
    }
    for name in was.names() {
        was.carry(&name, &mut spec, tell);
    }
    new.put("spec", spec);
    old.end(tell);
    Some(new.done())
}

/// What is scaled has gone to another version too.
fn of_today(reference: &mut New) {
    let text = |name: &str| reference.fields.get(name).and_then(Value::as_str).unwrap_or_default();
    if let Some(version) = version_of_scaled(text("apiVersion"), text("kind")) {
        reference.set("apiVersion", version);
    }
}

fn metric(mut old: Old, mut new: New, tell: &mut Tell) -> New {
    old.carry("type", &mut new, tell);
    for source in ["resource", "containerResource"] {
        let (mut held, mut to) = (old.object(source, tell), new.below(source));
        for name in ["name", "container"] {
            held.carry(name, &mut to, tell);
        }
        target(&mut held, "targetAverageUtilization", "targetAverageValue", "", &mut to, tell);
        held.end(tell);
        new.put(source, to);
    }
    let (mut held, mut to) = (old.object("pods", tell), new.below("pods"));
    identified(&mut held, "selector", &mut to, tell);
    target(&mut held, "", "targetAverageValue", "", &mut to, tell);
    held.end(tell);
    new.put("pods", to);
    let (mut held, mut to) = (old.object("object", tell), new.below("object"));
    held.carry_as("target", "describedObject", &mut to, tell);
    identified(&mut held, "selector", &mut to, tell);
    target(&mut held, "", "averageValue", "targetValue", &mut to, tell);
    held.end(tell);
    new.put("object", to);
    let (mut held, mut to) = (old.object("external", tell), new.below("external"));
    identified(&mut held, "metricSelector", &mut to, tell);
    target(&mut held, "", "targetAverageValue", "targetValue", &mut to, tell);
    held.end(tell);
    new.put("external", to);
    old.end(tell);
    new
}

fn identified(old: &mut Old, selector: &str, new: &mut New, tell: &mut Tell) {
    let mut metric = new.below("metric");
    old.carry_as("metricName", "name", &mut metric, tell);
    old.carry_as(selector, "selector", &mut metric, tell);
    new.put("metric", metric);
}

/// One target out of the fields for it, of which an average counted before a value.
fn target(old: &mut Old, utilization: &str, average: &str, value: &str, new: &mut New, tell: &mut Tell) {
    let mut chosen: Option<&str> = None;
    for (field, kind, name) in [
        (utilization, "Utilization", "averageUtilization"),
        (average, "AverageValue", "averageValue"),
        (value, "Value", "value"),
    ] {
        let at = old.path(field);
        match (old.take(field).filter(|amount| *amount != "0" && *amount != 0), chosen) {
            (None, _) => {}
            (Some(amount), None) => {
                new.set("target", json!({"type": kind, name: amount}));
                chosen = Some(field);
            }
            (Some(_), Some(chosen)) => {
                tell.note(&at, &format!("{chosen} is there, and there is one target alone"))
            }
        }
    }
}
