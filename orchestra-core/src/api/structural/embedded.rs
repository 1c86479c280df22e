//! Objects of a kind within an object: each has a kind, a version and metadata of its own, whatever its schema says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize as _;
use serde_json::Value;

use super::{Schema, Spot};
use crate::api::field::{Errors, Path, Shown};
use crate::api::schema::{Place, fit};
use crate::api::{NameRule, metadata, names};
use crate::meta::Scope;

impl Schema {
    /// Drops what metadata of embedded objects cannot have, and names it. Those of the object itself are not looked at.
    ///
    /// # Errors
    /// What is of the wrong type in them.
    pub fn coerce_embedded(&self, value: &mut Value) -> Result<Vec<String>, String> {
        let mut unknown = Vec::new();
        coerce(value, self, false, &Spot::ROOT, &mut unknown)?;
        Ok(unknown)
    }

    /// Says what is wrong with the kinds, versions and metadata of embedded objects.
    pub fn check_embedded(&self, value: &Value, errors: &mut Errors) {
        check(value, self, false, &Spot::ROOT, errors);
    }
}

fn coerce(
    value: &mut Value,
    schema: &Schema,
    embedded: bool,
    at: &Spot<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let at = at.field(name);
                match name.as_str() {
                    _ if !embedded || value.is_null() => {}
                    "metadata" => coerce_metadata(value, &at, unknown)?,
                    "apiVersion" | "kind" if !value.is_string() => {
                        return Err(misfit(&at, value, "must be a string"));
                    }
                    _ => {}
                }
                if let Some(of) = schema.field(name) {
                    coerce(value, of, of.embedded, &at, unknown)?;
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = schema.items() {
                for (index, item) in items.iter_mut().enumerate() {
                    coerce(item, of, of.embedded, &at.index(index), unknown)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn coerce_metadata(value: &mut Value, at: &Spot<'_>, unknown: &mut Vec<String>) -> Result<(), String> {
    let found = fit::fit(Place::metadata(), value).map_err(|error| misfit(at, value, &error))?;
    unknown.extend(found.iter().map(|path| format!("{}.{path}", at.text())));
    Ok(())
}

/// What is said of a value that is of another type than it must be.
fn misfit(at: &Spot<'_>, value: &Value, why: &str) -> String {
    format!("{}: Invalid value: {}: {why}", at.text(), Shown::from(value.clone()))
}

fn check(value: &Value, schema: &Schema, embedded: bool, at: &Spot<'_>, errors: &mut Errors) {
    match value {
        Value::Object(fields) => {
            if embedded {
                check_object(value, &Path::new(&at.text()), errors);
            }
            for (name, value) in fields {
                if let Some(property) = schema.properties.get(name.as_str()) {
                    check(value, property, property.embedded, &at.field(name), errors);
                } else if let Some(of) = schema.map_values() {
                    check(value, of, of.embedded, &at.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(of) = schema.items() {
                for (index, item) in items.iter().enumerate() {
                    check(item, of, of.embedded, &at.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn check_object(object: &Value, at: &Path, errors: &mut Errors) {
    for field in ["apiVersion", "kind"] {
        let path = at.child(field);
        match object.get(field) {
            None => errors.required(&path, ""),
            Some(Value::String(text)) if text.is_empty() => errors.invalid(&path, "", "must not be empty"),
            Some(Value::String(text)) if field == "apiVersion" && text.matches('/').count() > 1 => {
                errors.invalid(&path, text.as_str(), format!("unexpected GroupVersion string: {text}"));
            }
            Some(Value::String(text)) if field == "kind" => {
                let wrong = names::label_1035(&text.to_lowercase());
                if !wrong.is_empty() {
                    let detail =
                        format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                    errors.invalid(&path, text.as_str(), detail);
                }
            }
            Some(Value::String(_)) => {}
            Some(other) => errors.invalid(&path, other.clone(), "must be a string"),
        }
    }
    let Some(meta) = object.get("metadata").filter(|meta| !meta.is_null()) else { return };
    match ObjectMeta::deserialize(meta) {
        Err(error) => errors.invalid(&at.child("metadata"), meta.clone(), error.to_string()),
        Ok(mut meta) => {
            meta.name.get_or_insert_with(|| "fakename".to_owned());
            let namespaced = meta.namespace.as_ref().is_some_and(|namespace| !namespace.is_empty());
            let scope = if namespaced { Scope::Namespaced } else { Scope::Cluster };
            let path = at.child("metadata");
            metadata::validate_at(&meta, scope, NameRule::PathSegment, &path, errors);
        }
    }
}
