//! How many replicas an object has and should have, in the one form that all kinds have in common.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::ScalePaths;
use super::schema::{Place, canonical};
use crate::selector::{Labels, Selector};

/// The version of a `Scale`.
pub(crate) const SCALE: &str = "autoscaling/v1";

pub(super) fn place() -> Place {
    Place::of_kind(SCALE, "Scale").unwrap_or(Place::Plain)
}

pub(super) fn at<'v>(object: &'v Value, path: &str) -> &'v Value {
    if path.is_empty() { &Value::Null } else { path.split('.').fold(object, |value, step| &value[step]) }
}

/// An object as the `Scale` that its kind's paths say it is.
pub(crate) fn scale_of(object: &Value, paths: &ScalePaths<Arc<str>>) -> Value {
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let number = |path: &str| at(object, path).as_i64().unwrap_or(0);
    let mut status = json!({"replicas": number(&paths.status_replicas)});
    if let Some(selector) = selector_text(at(object, &paths.selector)) {
        status["selector"] = selector.into();
    }
    let mut scale = json!({
        "kind": "Scale",
        "apiVersion": SCALE,
        "metadata": metadata,
        "spec": {"replicas": number(&paths.spec_replicas)},
        "status": status,
    });
    // It has no text that could be misspelled.
    let _ = canonical::reduce(place(), &mut scale);
    canonical::complete(place(), &mut scale);
    scale
}

/// Sets how many replicas an object should have.
pub(crate) fn set_replicas(object: &mut Value, paths: &ScalePaths<Arc<str>>, replicas: i32) {
    let mut value = object;
    for step in paths.spec_replicas.split('.') {
        value = &mut value[step];
    }
    *value = replicas.into();
}

/// The selector as text, whichever way the object has it.
fn selector_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        value => selector_of(value).map(|selector| selector.to_string()),
    }
}

fn selector_of(value: &Value) -> Option<Selector> {
    if value.get("matchLabels").is_some() || value.get("matchExpressions").is_some() {
        let selector = LabelSelector::deserialize(value).ok()?;
        return Selector::from_label_selector(Some(&selector)).ok();
    }
    let labels = Labels::deserialize(value).ok()?;
    Some(Selector::from_map(&labels))
}
