//! Objects for the tests of plans.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::meta::Revision;
use crate::watch::{Entry, IndexedField};

const FIELDS: &[IndexedField] = &[IndexedField::new("spec.nodeName"), IndexedField::new("status.phase")];

/// So many seconds after the beginning of time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

/// A time as it stands in objects.
pub(crate) fn text(seconds: i64) -> String {
    at(seconds).to_string()
}

pub(crate) fn entry(object: &Value) -> Arc<Entry> {
    Arc::new(Entry::read(Bytes::from(object.to_string()), Revision(1), &FIELDS.into()).unwrap())
}

/// The first value with the second laid over it.
pub(crate) fn over(mut object: Value, change: &Value) -> Value {
    merge(&mut object, change);
    object
}

fn merge(object: &mut Value, change: &Value) {
    let Value::Object(fields) = change else {
        *object = change.clone();
        return;
    };
    if !object.is_object() {
        *object = json!({});
    }
    for (key, value) in fields {
        merge(&mut object[key], value);
    }
}

/// A running and ready pod on a node, controlled by `owner`, changed as said.
pub(crate) fn pod(name: &str, owner: Option<&str>, change: &Value) -> Value {
    let owners: Vec<Value> = owner
        .map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": true}))
        .into_iter()
        .collect();
    let pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "labels": {"app": "web"},
            "creationTimestamp": text(0), "ownerReferences": owners,
        },
        "spec": {"nodeName": "n1"},
        "status": {
            "phase": "Running", "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": text(0)}],
        },
    });
    over(pod, change)
}
