use std::sync::LazyLock;

use serde_json::{Value, json};

use super::canonical;
use crate::api::patch::{json, merge, strategic, unstructured};
use crate::api::schema::Place;

/// A document with whatever patches are about.
static POD: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x/y", "z/w"]},
        "spec": {
            "containers": [
                {"name": "a", "image": "i", "env": [{"name": "E", "value": "1"}], "args": ["x", "y"]},
                {"name": "b", "ports": [{"containerPort": 80}, {"containerPort": 81}]},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "nodeSelector": {"n": null},
        },
    })
});

fn place() -> Place {
    Place::of_kind("v1", "Pod").expect("a kind of the table")
}

pub(super) fn json(patch: &[u8]) {
    if let Ok(patched) = json::apply(POD.clone(), patch) {
        assert!(
            serde_json::from_str::<Value>(&patched.to_string()).is_ok(),
            "what comes out can be read again"
        );
        canonical::settles(place(), patched);
    }
}

pub(super) fn merge(patch: &[u8]) {
    if let Ok(patched) = merge::apply(POD.clone(), patch) {
        canonical::settles(place(), patched.value);
    }
}

pub(super) fn strategic(patch: &[u8]) {
    let Ok(mut patched) = strategic::apply(place(), POD.clone(), patch) else { return };
    if unstructured::convert(place(), &mut patched.value).is_ok() {
        canonical::settles(place(), patched.value);
    }
}
