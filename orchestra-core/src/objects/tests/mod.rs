//! The rules of the built-in kinds, asked as the API asks them: by table, in JSON.

mod apps;
mod autoscaling;
mod batch;
mod cells;
mod certificates;
mod defaults;
mod devices;
mod fitting;
mod flowcontrol;
mod invalid;
mod invalid_pods;
mod networking;
mod pod_warnings;
mod policy;
mod properties;
mod quotas;
mod refused;
mod registration;
mod storage;
mod table;
mod updates;
mod volume_sources;
mod volumes;

use std::sync::Arc;

use serde_json::{Value, json};

use super::builtin;
use crate::api::Resource;
use crate::api::field::Errors;
use crate::api::schema::{Place, canonical};

/// The row of the kind that a manifest is of.
fn row(manifest: &Value) -> Arc<Resource> {
    let text = |field: &str| manifest[field].as_str().unwrap_or_default();
    Arc::clone(builtin().by_kind(text("apiVersion"), text("kind")).expect("a built-in kind"))
}

/// A manifest without what says nothing, as defaulting sees it.
fn reduce(row: &Resource, object: &mut Value) -> Result<bool, canonical::Refusal> {
    canonical::reduce(Place::of(row).expect("a built-in kind"), object)
}

/// An object with the fields that are written though they are empty.
fn complete(mut object: Value) -> Value {
    canonical::complete(Place::of(&row(&object)).expect("a built-in kind"), &mut object);
    object
}

/// A manifest as it would be stored, but for the fields that are written though they are empty.
fn stored(manifest: &Value) -> Value {
    let row = row(manifest);
    let mut object = manifest.clone();
    reduce(&row, &mut object).expect("quantities");
    row.rules.default(&mut object);
    if row.has_status() && !row.status_at_creation {
        object.as_object_mut().unwrap().remove("status");
    }
    row.rules.prepare_create(&mut object);
    object
}

/// What is wrong with a manifest.
fn faults(manifest: &Value) -> Vec<String> {
    let mut errors = Errors::new();
    let (row, object) = (row(manifest), complete(stored(manifest)));
    row.rules.validate(&object, &mut errors).expect("an object of the kind");
    row.rules.validate_create(&object, &mut errors).expect("an object of the kind");
    errors.iter().map(ToString::to_string).collect()
}

/// What is wrong with a change from one stored object to a manifest.
fn change(new: &Value, old: &Value) -> (Value, Vec<String>) {
    let row = row(old);
    let mut object = new.clone();
    reduce(&row, &mut object).expect("quantities");
    row.rules.default(&mut object);
    row.rules.prepare_update(&mut object, old);
    let mut errors = Errors::new();
    let whole = complete(object.clone());
    row.rules.validate(&whole, &mut errors).expect("an object of the kind");
    row.rules.validate_update(&whole, &complete(old.clone()), &mut errors).expect("an object of the kind");
    (object, errors.iter().map(ToString::to_string).collect())
}

/// Each manifest is refused for just these reasons; for none, it is accepted.
fn refused<'w>(cases: impl IntoIterator<Item = (Value, Vec<&'w str>)>) {
    for (manifest, wanted) in cases {
        assert_eq!(faults(&manifest), wanted, "{manifest}");
    }
}

/// Edits of a stored object, and for which reasons each is refused.
fn refused_changes<'w>(old: &Value, cases: impl IntoIterator<Item = (&'w str, Value, Vec<&'w str>)>) {
    for (pointer, value, wanted) in cases {
        let mut new = old.clone();
        *new.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}")) = value;
        assert_eq!(change(&new, old).1, wanted, "{pointer}");
    }
}

/// What is wrong with a new status.
fn status_faults(object: &Value, old: Value, new: Value) -> Vec<String> {
    let row = row(object);
    let with = |status: Value| {
        let mut object = object.clone();
        object["status"] = status;
        row.rules.default(&mut object);
        complete(object)
    };
    let mut errors = Errors::new();
    row.rules.validate_status(&with(new), &with(old), &mut errors).expect("objects of the kind");
    errors.iter().map(ToString::to_string).collect()
}

/// The row of an object that is a minute old.
fn printed(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["creationTimestamp"] = json!("2024-01-01T00:00:00Z");
    let bytes = serde_json::to_vec(&object).unwrap();
    let now = "2024-01-01T00:01:00Z".parse().unwrap();
    row(&object).rules.cells(&bytes, now).unwrap().into()
}

/// A pod with one container, and whatever else is given of its specification.
fn pod(spec: Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "p", "namespace": "default" },
        "spec": { "containers": [{ "name": "c", "image": "nginx" }] },
    });
    merge(&mut pod["spec"], spec);
    pod
}

/// A Deployment with a template of one container, and whatever else is given of its specification.
fn deployment(spec: Value) -> Value {
    let mut deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "d", "namespace": "default" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "nginx:1.25" }] },
            },
        },
    });
    merge(&mut deployment["spec"], spec);
    deployment
}

/// A Service, with whatever is given of its specification.
fn service(spec: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "s", "namespace": "default" },
        "spec": spec,
    })
}

fn merge(into: &mut Value, from: Value) {
    for (key, value) in from.as_object().expect("fields") {
        into[key] = value.clone();
    }
}
