//! `autoscaling/v1`, which says of metrics only how much of their CPUs pods should use. All else that the stored version
//! has is kept in annotations there, so that nothing is lost on the way to a client and back.

use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerCondition, MetricSpec, MetricStatus,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::measured::{CURRENT, TARGETS, to_newer, to_older};
use super::{DEFAULT_UTILIZATION, fields, utilization_of_cpu};
use crate::api::Conversion;
use crate::objects::json::{Fields, at};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const STATUSES: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// Those, and two that an earlier release wrote.
const ANNOTATIONS: [&str; 6] = [
    METRICS,
    STATUSES,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

const TARGET_CPU: &str = "targetCPUUtilizationPercentage";
const CURRENT_CPU: &str = "currentCPUUtilizationPercentage";

pub(super) const CONVERSION: Conversion =
    Conversion { to_stored, from_stored, same_shape: false, ..Conversion::NONE };

/// The stored version has what the annotations say, and not the annotations.
pub(super) fn drop_annotations(object: &mut Value) {
    take_annotations(object);
}

fn take_annotations(object: &mut Value) -> Map<String, Value> {
    let Some(meta) = at(object, &["metadata"]) else { return Map::new() };
    let Some(annotations) = meta.object("annotations") else { return Map::new() };
    let taken = ANNOTATIONS.iter().filter_map(|name| annotations.remove_entry(*name)).collect();
    if annotations.is_empty() {
        meta.remove("annotations");
    }
    taken
}

/// What an annotation says, if it is of the type that it should be.
fn said<T: DeserializeOwned>(
    annotations: &Map<String, Value>,
    name: &str,
    newer: impl Fn(&Value) -> Value,
) -> Option<Value> {
    let text = annotations.get(name)?.as_str()?;
    let value = newer(&serde_json::from_str(text).ok()?);
    T::deserialize(&value).ok()?;
    Some(value)
}

fn each(list: &Value, one: impl Fn(&Value) -> Value) -> Value {
    list.as_array().map(|items| items.iter().map(one).collect()).unwrap_or_default()
}

fn to_stored(object: &mut Value) {
    let annotations = take_annotations(object);
    let metrics =
        said::<Vec<MetricSpec>>(&annotations, METRICS, |list| each(list, |metric| to_newer(metric, TARGETS)));
    let behavior = said::<HorizontalPodAutoscalerBehavior>(&annotations, BEHAVIOR, |value| {
        rename(value, |name| with_first(name, |first| first.to_ascii_lowercase()))
    });
    let Some(top) = object.as_object_mut() else { return };
    if let Some(spec) = top.object_or_new("spec") {
        let cpu = spec.remove(TARGET_CPU).filter(|percent| !percent.is_null()).map(utilization_of_cpu);
        let mut all: Vec<Value> = metrics.and_then(|list| list.as_array().cloned()).unwrap_or_default();
        all.extend(cpu);
        if all.is_empty() {
            all.push(utilization_of_cpu(DEFAULT_UTILIZATION));
        }
        spec.insert("metrics".to_owned(), all.into());
        let says_something = |behavior: &Value| behavior.as_object().is_some_and(|fields| !fields.is_empty());
        if let Some(behavior) = behavior.filter(says_something) {
            spec.insert("behavior".to_owned(), behavior);
        }
    }
    let statuses = said::<Vec<MetricStatus>>(&annotations, STATUSES, |list| {
        each(list, |metric| to_newer(metric, CURRENT))
    });
    let conditions = said::<Vec<HorizontalPodAutoscalerCondition>>(&annotations, CONDITIONS, Value::clone);
    if let Some(status) = top.object("status") {
        let cpu = status.remove(CURRENT_CPU).filter(|percent| !percent.is_null());
        let current = |percent: Value| {
            serde_json::json!([{ "type": "Resource", "resource": {
                "name": "cpu", "current": { "averageUtilization": percent } } }])
        };
        for (field, value) in
            [("currentMetrics", statuses.or_else(|| cpu.map(current))), ("conditions", conditions)]
        {
            value.into_iter().for_each(|value| drop(status.insert(field.to_owned(), value)));
        }
    }
}

fn from_stored(object: &mut Value) {
    take_annotations(object);
    let mut notes = Vec::new();
    if let Some(spec) = fields(object, "spec") {
        let metrics = spec.remove("metrics").unwrap_or_default();
        let metrics = metrics.as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(percent) = metrics.iter().find_map(cpu_target) {
            spec.insert(TARGET_CPU.to_owned(), percent.clone());
        }
        let others = metrics.iter().filter(|metric| cpu_target(metric).is_none());
        notes.push((METRICS, others.map(|metric| to_older(metric, TARGETS)).collect::<Value>()));
        let behavior = spec
            .remove("behavior")
            .map(|behavior| rename(&behavior, |name| with_first(name, |first| first.to_ascii_uppercase())));
        notes.push((BEHAVIOR, behavior.unwrap_or_default()));
    }
    if let Some(status) = fields(object, "status") {
        let metrics = status.remove("currentMetrics").unwrap_or_default();
        let metrics = metrics.as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(percent) = metrics.iter().rev().find_map(cpu_use) {
            status.insert(CURRENT_CPU.to_owned(), percent.clone());
        }
        let all = metrics.iter().map(|metric| to_older(metric, CURRENT));
        notes.push((STATUSES, all.collect::<Value>()));
        notes.push((CONDITIONS, status.remove("conditions").unwrap_or_default()));
        for count in ["currentReplicas", "desiredReplicas"] {
            status.or(count, 0);
        }
    }
    let is_empty = |note: &Value| note.is_null() || note.as_array().is_some_and(Vec::is_empty);
    for (name, note) in notes.into_iter().filter(|(_, note)| !is_empty(note)) {
        if let Some(annotations) =
            at(object, &["metadata"]).and_then(|meta| meta.object_or_new("annotations"))
        {
            annotations.insert(name.to_owned(), note.to_string().into());
        }
    }
}

/// Which share of their CPUs pods should use, if the metric says that.
fn cpu_target(metric: &Value) -> Option<&Value> {
    cpu(metric, "/resource/target/averageUtilization")
}

fn cpu_use(metric: &Value) -> Option<&Value> {
    cpu(metric, "/resource/current/averageUtilization")
}

fn cpu<'v>(metric: &'v Value, pointer: &str) -> Option<&'v Value> {
    let is_cpu = metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    metric.pointer(pointer).filter(|percent| is_cpu && !percent.is_null())
}

/// A value with other names for its fields, at any depth. The annotation for behavior has those of Go.
fn rename(value: &Value, name: fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(field, value)| (name(field), rename(value, name)))
            .collect(),
        Value::Array(items) => items.iter().map(|item| rename(item, name)).collect(),
        other => other.clone(),
    }
}

fn with_first(name: &str, change: fn(&char) -> char) -> String {
    let mut letters = name.chars();
    letters.next().iter().map(change).chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_older_version_cannot_say_is_in_its_annotations() {
        let stored = json!({
            "metadata": { "name": "a", "annotations": { "mine": "x" } },
            "spec": {
                "scaleTargetRef": { "kind": "Deployment", "name": "d", "apiVersion": "apps/v1" },
                "maxReplicas": 3,
                "metrics": [
                    { "type": "Pods", "pods": { "metric": { "name": "q", "selector": { "matchLabels": { "a": "b" } } },
                        "target": { "type": "AverageValue", "averageValue": "1k" } } },
                    { "type": "Object", "object": { "describedObject": { "kind": "Service", "name": "s" },
                        "metric": { "name": "r" }, "target": { "type": "AverageValue", "averageValue": "2" } } },
                    { "type": "External", "external": { "metric": { "name": "e" },
                        "target": { "type": "Value", "value": "5" } } },
                    { "type": "ContainerResource", "containerResource": { "name": "memory", "container": "c",
                        "target": { "type": "AverageValue", "averageValue": "1Gi" } } },
                    { "type": "Resource", "resource": { "name": "cpu",
                        "target": { "type": "Utilization", "averageUtilization": 70 } } },
                ],
                "behavior": { "scaleUp": { "selectPolicy": "Max", "policies": [
                    { "type": "Pods", "value": 4, "periodSeconds": 15 }] } },
            },
            "status": {
                "currentReplicas": 2,
                "desiredReplicas": 3,
                "currentMetrics": [{ "type": "Resource", "resource": { "name": "cpu",
                    "current": { "averageUtilization": 35, "averageValue": "100m" } } }],
                "conditions": [{ "type": "AbleToScale", "status": "True" }],
            },
        });
        let mut object = stored.clone();
        from_stored(&mut object);
        assert_eq!(object["spec"][TARGET_CPU], 70);
        assert_eq!(object["status"][CURRENT_CPU], 35);
        assert!(object["spec"].get("metrics").is_none() && object["spec"].get("behavior").is_none());
        let annotations = &object["metadata"]["annotations"];
        assert_eq!(
            annotations[BEHAVIOR],
            "{\"ScaleUp\":{\"Policies\":[{\"PeriodSeconds\":15,\"Type\":\"Pods\",\"Value\":4}],\"SelectPolicy\":\"Max\"}}"
        );
        let metrics: Value = serde_json::from_str(annotations[METRICS].as_str().unwrap()).unwrap();
        assert_eq!(
            metrics[0],
            json!({ "type": "Pods", "pods": { "metricName": "q", "targetAverageValue": "1k",
                "selector": { "matchLabels": { "a": "b" } } } })
        );
        to_stored(&mut object);
        assert_eq!(object, stored);
    }

    #[test]
    fn nothing_said_means_four_fifths_of_the_cpus() {
        let mut object = json!({ "metadata": {}, "spec": { "maxReplicas": 3 } });
        to_stored(&mut object);
        assert_eq!(object["spec"]["metrics"], json!([utilization_of_cpu(DEFAULT_UTILIZATION)]));
        // An annotation that is of no use is as if it was not there.
        for text in ["", "7", "[{\"type\": 3}]", "{}"] {
            let mut object = json!({ "metadata": { "annotations": { METRICS: text } }, "spec": {} });
            to_stored(&mut object);
            assert_eq!(object["spec"]["metrics"], json!([utilization_of_cpu(DEFAULT_UTILIZATION)]), "{text}");
            assert!(object["metadata"].get("annotations").is_none());
        }
    }

    proptest! {
        /// No annotation makes a conversion panic.
        #[test]
        fn any_annotation_is_read_or_left(text in "[\\[\\]{}:,\"a-z0-9]{0,40}", at in 0usize..6) {
            let mut object = json!({ "metadata": { "annotations": { ANNOTATIONS[at]: text } }, "status": {} });
            to_stored(&mut object);
            from_stored(&mut object);
        }
    }
}
