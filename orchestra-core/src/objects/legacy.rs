//! The API versions that Deployments and ReplicaSets went by before `apps/v1`: what they let a manifest leave out.
//!
//! Kubernetes stopped serving them in 1.16; manifests written for them are still about.

use serde_json::{Map, Value, json};

use super::json::{Fields, at};
use crate::api::Conversion;

/// `extensions/v1beta1`: selector and labels left out are the template's labels, and a Deployment has no deadline,
/// keeps every old ReplicaSet, and rolls one pod at a time.
pub(super) const EXTENSIONS_V1BETA1: Conversion = Conversion {
    to_stored: |object| {
        labels_from_template(object);
        let Some(spec) = spec(object) else { return };
        spec.or("progressDeadlineSeconds", json!(i32::MAX));
        spec.or("revisionHistoryLimit", json!(i32::MAX));
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
        spec.or("revisionHistoryLimit", json!(2));
        spec.remove("rollbackTo");
    },
    ..Conversion::NONE
};

/// `extensions/v1beta1` of ReplicaSets: only selector and labels may be left out.
pub(super) const LABELS_ONLY: Conversion = Conversion { to_stored: labels_from_template, ..Conversion::NONE };

fn spec(object: &mut Value) -> Option<&mut Map<String, Value>> {
    at(object, &["spec"])
}

fn labels_from_template(object: &mut Value) {
    let Some(labels @ Value::Object(_)) = object.pointer("/spec/template/metadata/labels").cloned() else {
        return;
    };
    if let Some(meta) = at(object, &["metadata"])
        && meta.get("labels").and_then(Value::as_object).is_none_or(Map::is_empty)
    {
        meta.insert("labels".to_owned(), labels.clone());
    }
    if let Some(spec) = spec(object) {
        spec.or("selector", json!({ "matchLabels": labels }));
    }
}

fn roll_by_one(spec: &mut Map<String, Value>) {
    let Some(strategy) = spec.object_or_new("strategy") else { return };
    if matches!(strategy.text("type"), "" | "RollingUpdate")
        && let Some(rolling) = strategy.object_or_new("rollingUpdate")
    {
        rolling.or("maxSurge", 1);
        rolling.or("maxUnavailable", 1);
    }
}
