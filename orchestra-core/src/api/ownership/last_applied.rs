//! From client-side apply to server-side apply: the annotation in which `kubectl apply` keeps what it applied last.

use serde_json::{Map, Value};

use super::compare::compare;
use super::kind::Kind;
use super::walk::{Repeated, check, field_set};

/// The only manager that the annotation concerns.
const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// As many bytes as all annotations of an object may have.
const MOST_BYTES: usize = 256 * 1024;

fn annotations(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata")?.get("annotations")?.as_object()
}

fn last(object: &Value) -> Option<&str> {
    annotations(object)?.get(ANNOTATION)?.as_str().filter(|last| !last.is_empty())
}

/// What `kubectl` applied by itself and what is as it was then: that it may take from whoever was noted to own it, as
/// that was itself. As `fieldsV1`.
pub(super) fn unchanged(kind: &Kind<'_>, live: &Value, manager: &str) -> Option<Value> {
    if manager != KUBECTL {
        return None;
    }
    let applied: Value = serde_json::from_str(last(live)?).ok()?;
    if applied.get("apiVersion").and_then(Value::as_str) != Some(kind.api_version) {
        return None;
    }
    check(kind.schema, kind.node, live, Repeated::Refused).ok()?;
    check(kind.schema, kind.node, &applied, Repeated::Refused).ok()?;
    let changes = compare(kind.schema, kind.node, &applied, live).ok()?;
    let set = field_set(kind.schema, kind.node, &applied)
        .difference(&changes.modified)
        .difference(&changes.added)
        .difference(&changes.removed);
    Some(set.write())
}

/// The object with the configuration in its annotation, if `kubectl` applies and the annotation is there.
pub(super) fn renewed(live: &Value, object: Option<Value>, config: &Value, manager: &str) -> Option<Value> {
    if manager != KUBECTL || last(object.as_ref().unwrap_or(live)).is_none() {
        return object;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
        if annotations.is_empty()
            && let Some(meta) = config.get_mut("metadata").and_then(Value::as_object_mut)
        {
            meta.remove("annotations");
        }
    }
    let text = format!("{config}\n");
    if last(object.as_ref().unwrap_or(live)) == Some(&text) {
        return object;
    }
    let mut object = object.unwrap_or_else(|| live.clone());
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(ANNOTATION.to_owned(), text.into());
        let size: usize =
            annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
        if size > MOST_BYTES {
            annotations.remove(ANNOTATION);
        }
    }
    Some(object)
}
