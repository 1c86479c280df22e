//! The API versions that Deployments and ReplicaSets went by before `apps/v1`: what they let a manifest leave out.
//!
//! Kubernetes stopped serving them in 1.16; manifests written for them are still about.

use serde_json::{Map, Value, json};

use crate::api::Conversion;

/// `extensions/v1beta1`: selector and labels left out are the template's labels, and a Deployment has no deadline,
/// keeps every old ReplicaSet, and rolls one pod at a time.
pub(super) const EXTENSIONS_V1BETA1: Conversion = Conversion {
    to_stored: |object| {
        labels_from_template(object);
        let Some(spec) = spec(object) else { return };
        fill(spec, "progressDeadlineSeconds", json!(i32::MAX));
        fill(spec, "revisionHistoryLimit", json!(i32::MAX));
        roll_by_one(spec);
        spec.remove("rollbackTo");
    },
    ..Conversion::NONE
};

/// `apps/v1beta1`: the same of selector and labels, and a Deployment keeps two old ReplicaSets.
pub(super) const APPS_V1BETA1: Conversion = Conversion {
    to_stored: |object| {
        labels_from_template(object);
        let Some(spec) = spec(object) else { return };
        fill(spec, "revisionHistoryLimit", json!(2));
        spec.remove("rollbackTo");
    },
    ..Conversion::NONE
};

/// `extensions/v1beta1` of ReplicaSets: only selector and labels may be left out.
pub(super) const LABELS_ONLY: Conversion = Conversion { to_stored: labels_from_template, ..Conversion::NONE };

fn spec(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("spec")?.as_object_mut()
}

fn fill(fields: &mut Map<String, Value>, name: &str, value: Value) {
    let held = fields.entry(name).or_insert(Value::Null);
    if held.is_null() {
        *held = value;
    }
}

fn labels_from_template(object: &mut Value) {
    let Some(labels @ Value::Object(_)) = object.pointer("/spec/template/metadata/labels").cloned() else {
        return;
    };
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        if meta.get("labels").and_then(Value::as_object).is_none_or(Map::is_empty) {
            meta.insert("labels".to_owned(), labels.clone());
        }
    }
    if let Some(spec) = spec(object) {
        fill(spec, "selector", json!({ "matchLabels": labels }));
    }
}

fn roll_by_one(spec: &mut Map<String, Value>) {
    fill(spec, "strategy", json!({}));
    let Some(strategy) = spec.get_mut("strategy").and_then(Value::as_object_mut) else { return };
    if strategy.get("type").is_none_or(|kind| kind == "RollingUpdate") {
        fill(strategy, "rollingUpdate", json!({}));
        if let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
            fill(rolling, "maxSurge", json!(1));
            fill(rolling, "maxUnavailable", json!(1));
        }
    }
}
