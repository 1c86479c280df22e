//! Merge patch (RFC 7396). Beside it, Kubernetes drops the nulls of what a patch adds, also within lists.

use serde_json::{Map, Value};

use super::refusal::{Fields, Refusal, object};
use crate::api::document::Decoded;

/// Applies a patch.
pub(crate) fn apply(current: Value, patch: &[u8]) -> Result<Decoded, Refusal> {
    let Some(Fields { fields, repeated }) = object(patch).map_err(Refusal::undecodable)? else {
        return Err(Refusal::Malformed("Invalid JSON Patch".to_owned()));
    };
    let mut patched = match current {
        Value::Object(held) => held,
        _ => Map::new(),
    };
    merge(&mut patched, fields);
    Ok(Decoded { value: Value::Object(patched), repeated })
}

/// Merges a patch into an object.
fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        match (target.get_mut(&key), value) {
            (_, Value::Null) => {
                target.remove(&key);
            }
            (Some(Value::Object(held)), Value::Object(patch)) => merge(held, patch),
            (Some(held @ Value::Object(_)), value) => *held = value,
            (_, mut value) => {
                prune(&mut value);
                target.insert(key, value);
            }
        }
    }
}

/// Drops the fields that are null.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}
