//! Workloads before `apps/v1` and `batch/v1`: what a manifest left out meant something else.
//!
//! Where a default changed, the old one is written out, so that the object does what it did.

use serde_json::{Map, Value, json};

use super::parts::Tell;

type Fields = Map<String, Value>;

const ROLLBACK: &str = "a rollback is asked of kubectl today: kubectl rollout undo";
const GENERATION: &str = "it is the cluster's to say, and left out";

/// The version of today of what an autoscaler scales, if it was said in one that is no more.
pub(super) fn version_of_scaled(version: &str, kind: &str) -> Option<&'static str> {
    match (version, kind) {
        (
            "extensions/v1beta1" | "apps/v1beta1" | "apps/v1beta2",
            "Deployment" | "ReplicaSet" | "StatefulSet",
        ) => Some("apps/v1"),
        ("v1beta1" | "v1beta2" | "v1beta3" | "extensions/v1beta1", "ReplicationController") => Some("v1"),
        _ => None,
    }
}

pub(super) fn deployment(mut object: Fields, version: &str, tell: &mut Tell) -> Option<Value> {
    if matches!(version, "extensions/v1beta1" | "apps/v1beta1") {
        labels_of_template(&mut object);
    }
    let Some(spec) = spec(&mut object) else { return Some(Value::Object(object)) };
    if spec.remove("rollbackTo").is_some_and(|to| !to.is_null()) {
        tell.note("spec.rollbackTo", ROLLBACK);
    }
    match version {
        "extensions/v1beta1" => {
            or(spec, "progressDeadlineSeconds", json!(i32::MAX));
            or(spec, "revisionHistoryLimit", json!(i32::MAX));
            roll_by_one(spec);
        }
        "apps/v1beta1" => or(spec, "revisionHistoryLimit", json!(2)),
        _ => {}
    }
    Some(Value::Object(object))
}

pub(super) fn replica_set(mut object: Fields, version: &str, _tell: &mut Tell) -> Option<Value> {
    if version == "extensions/v1beta1" {
        labels_of_template(&mut object);
    }
    Some(Value::Object(object))
}

pub(super) fn daemon_set(mut object: Fields, version: &str, tell: &mut Tell) -> Option<Value> {
    if version == "extensions/v1beta1" {
        labels_of_template(&mut object);
    }
    let Some(spec) = spec(&mut object) else { return Some(Value::Object(object)) };
    if spec.remove("templateGeneration").is_some_and(|generation| !generation.is_null()) {
        tell.note("spec.templateGeneration", GENERATION);
    }
    if version == "extensions/v1beta1" {
        replaced_by_hand(spec);
    }
    Some(Value::Object(object))
}

pub(super) fn stateful_set(mut object: Fields, version: &str, _tell: &mut Tell) -> Option<Value> {
    if version == "apps/v1beta1" {
        labels_of_template(&mut object);
        if let Some(spec) = spec(&mut object) {
            replaced_by_hand(spec);
        }
    }
    Some(Value::Object(object))
}

pub(super) fn job(mut object: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    let automatic = spec(&mut object).and_then(|spec| spec.remove("autoSelector"));
    match automatic.filter(|value| !value.is_null()) {
        Some(Value::Bool(true)) => {}
        None | Some(Value::Bool(false)) => {
            labels_of_template(&mut object);
            if let Some(spec) = spec(&mut object).filter(|spec| has(spec, "selector")) {
                or(spec, "manualSelector", json!(true));
            }
        }
        Some(_) => tell.wrong("spec.autoSelector", "it is neither true nor false"),
    }
    Some(Value::Object(object))
}

fn spec(object: &mut Fields) -> Option<&mut Fields> {
    object.get_mut("spec").and_then(Value::as_object_mut)
}

fn has(fields: &Fields, name: &str) -> bool {
    fields.get(name).is_some_and(|value| !value.is_null())
}

fn or(fields: &mut Fields, name: &str, value: Value) {
    if !has(fields, name) {
        fields.insert(name.to_owned(), value);
    }
}

/// Labels and selector could be left out, and were the template's labels.
fn labels_of_template(object: &mut Fields) {
    let labels = object.get("spec").and_then(|spec| spec.pointer("/template/metadata/labels"));
    let Some(labels) = labels.filter(|labels| labels.is_object()).cloned() else { return };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("labels").and_then(Value::as_object).is_none_or(Map::is_empty)
    {
        metadata.insert("labels".to_owned(), labels.clone());
    }
    if let Some(spec) = spec(object) {
        or(spec, "selector", json!({"matchLabels": labels}));
    }
}

fn roll_by_one(spec: &mut Fields) {
    or(spec, "strategy", json!({}));
    let Some(Value::Object(strategy)) = spec.get_mut("strategy") else { return };
    or(strategy, "type", json!("RollingUpdate"));
    if strategy.get("type").is_some_and(|kind| kind == "RollingUpdate") {
        or(strategy, "rollingUpdate", json!({}));
        if let Some(Value::Object(rolling)) = strategy.get_mut("rollingUpdate") {
            or(rolling, "maxSurge", json!(1));
            or(rolling, "maxUnavailable", json!(1));
        }
    }
}

/// Pods of an old template were left alone until somebody deleted them.
fn replaced_by_hand(spec: &mut Fields) {
    or(spec, "updateStrategy", json!({}));
    if let Some(Value::Object(strategy)) = spec.get_mut("updateStrategy") {
        or(strategy, "type", json!("OnDelete"));
    }
}
