//! The metadata of an object on its way, and what of it says who owns the fields.

use serde_json::{Map, Value};

/// The field of metadata that says who owns which fields.
pub(super) const MANAGED_FIELDS: &str = "managedFields";

/// The object's metadata, made if it is missing.
pub(super) fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    let meta = &mut object["metadata"];
    if !meta.is_object() {
        *meta = Value::Object(Map::new());
    }
    match meta {
        Value::Object(fields) => fields,
        _ => unreachable!("metadata was made an object on the lines above"),
    }
}

/// Puts `managedFields` into an object that is to be stored.
pub(super) fn put_managed(object: &mut Value, managed: Option<Value>) {
    if let Some(managed) = managed {
        metadata(object).insert(MANAGED_FIELDS.to_owned(), managed);
    }
}

/// Takes `managedFields` out of an object: what is decoded, compared and validated has none.
pub(super) fn take_managed(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove(MANAGED_FIELDS)
}
