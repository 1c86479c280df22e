//! What the expressions of a policy make of an object: pure.

use serde_json::{Value, json};

use crate::api::{PatchKind, Resource, patch};
use crate::expression::Val;

/// What may not be changed by an applied configuration: what tells the object from others.
const FIXED: [&str; 2] = ["name", "namespace"];

/// The object with operations performed on it, one after the other.
///
/// # Errors
/// Which of them cannot be, and why.
pub(super) fn operations(resource: &Resource, object: &Value, made: &Val<'_>) -> Result<Value, String> {
    let made = made.to_json().map_err(|error| error.to_string())?;
    let mut object = object.clone();
    for operation in made.as_array().into_iter().flatten() {
        let one = json!([operation]).to_string();
        object = patch::apply(resource, PatchKind::Json, object.clone(), one.as_bytes())
            .map_err(|_| format!("JSON Patch: {}", unfit(&object, operation)))?;
    }
    Ok(object)
}

/// Why an operation cannot be performed, in the words of Kubernetes.
fn unfit(object: &Value, operation: &Value) -> String {
    let text = |field: &str| operation.get(field).and_then(Value::as_str).unwrap_or_default();
    let (op, path) = (text("op"), text("path"));
    let (parent, last) = path.rsplit_once('/').unwrap_or(("", path));
    let there = object.pointer(parent).is_some_and(|held| held.is_object() || held.is_array());
    let key = last.replace("~1", "/").replace("~0", "~");
    match op {
        "add" | "remove" | "replace" if !there => {
            format!("{op} operation does not apply: doc is missing path: \"{path}\": missing value")
        }
        "remove" => {
            format!(
                "error in remove for path: '{path}': Unable to remove nonexistent key: {key}: missing value"
            )
        }
        "replace" => format!("replace operation does not apply: doc is missing key: {path}: missing value"),
        "test" => format!("testing value {path} failed: test failed"),
        "add" => format!("error in add for path: '{path}': it is no place in the document"),
        "copy" | "move" => {
            format!(
                "{op} operation does not apply: doc is missing from path: {}: missing value",
                text("from")
            )
        }
        other => format!("Unexpected kind: {other}"),
    }
}

/// The object with a configuration merged into it.
///
/// # Errors
/// Why it cannot be.
pub(super) fn applied(
    resource: &Resource,
    version: (&str, &str),
    object: &Value,
    made: &Val<'_>,
) -> Result<Value, String> {
    let mut made = made.to_json().map_err(|error| error.to_string())?;
    let Some(fields) = made.as_object_mut() else {
        return Err("unsupported return type from ApplyConfiguration expression".to_owned());
    };
    if fields.get("apiVersion").or(fields.get("kind")).is_some() {
        return Err("invalid ApplyConfiguration: may not set apiVersion or kind".to_owned());
    }
    let metadata = fields.get("metadata").and_then(Value::as_object);
    if let Some(field) =
        metadata.and_then(|metadata| FIXED.into_iter().find(|name| metadata.contains_key(*name)))
    {
        return Err(format!("invalid ApplyConfiguration: may not set metadata.{field}"));
    }
    for field in ["apiVersion", "kind"] {
        fields.insert(field.to_owned(), object[field].clone());
    }
    Ok(resource.merged(version, object.clone(), &made))
}
