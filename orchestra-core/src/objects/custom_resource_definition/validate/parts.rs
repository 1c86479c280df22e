//! What is wrong with what a version has beside its schema.

use serde_json::Value;

use super::text;
use crate::api::field::{Errors, Path, Problem};
use crate::api::structural::{Schema, Type, find_place};

/// How many fields may be selectable.
const MAX_SELECTABLE: usize = 8;

pub(super) fn deprecation(version: &Value, path: &Path, errors: &mut Errors) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    let path = path.child("deprecationWarning");
    if version["deprecated"] != true {
        return errors.invalid(&path, warning, "can only be set for deprecated versions");
    }
    if warning.len() > 256 {
        errors.invalid(&path, warning, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        errors.invalid(&path, warning, "must not be an empty string");
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
        let detail = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {index}"
        );
        errors.invalid(&path, warning, detail);
    }
}

pub(super) fn subresources(given: &Value, path: &Path, errors: &mut Errors) {
    let scale = &given["scale"];
    if scale.is_null() {
        return;
    }
    let mut check = |field: &str, required: bool, below: &[&str], detail: &str| {
        let (given, path) = (text(scale, field), path.child("scale").child(field));
        if given.is_empty() {
            if required {
                errors.required(&path, "");
            }
        } else if simple_path(given, &path, errors) && !below.iter().any(|below| given.starts_with(below)) {
            errors.invalid(&path, given, detail);
        }
    };
    check("specReplicasPath", true, &[".spec."], "should be a json path under .spec");
    check("statusReplicasPath", true, &[".status."], "should be a json path under .status");
    let either = "should be a json path under either .spec or .status";
    check("labelSelectorPath", false, &[".spec.", ".status."], either);
}

fn simple_path(given: &str, path: &Path, errors: &mut Errors) -> bool {
    if given.starts_with('.') {
        return true;
    }
    errors.invalid(path, given, "must be a simple json path starting with .");
    false
}

pub(super) fn columns(given: &Value, path: &Path, errors: &mut Errors) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    for (index, column) in given.as_array().into_iter().flatten().enumerate() {
        let path = path.index(index);
        if text(column, "name").is_empty() {
            errors.required(&path.child("name"), "");
        }
        let (kind, types) = (text(column, "type"), format!("must be one of {}", TYPES.join(",")));
        match kind {
            "" => errors.required(&path.child("type"), types),
            kind if !TYPES.contains(&kind) => errors.invalid(&path.child("type"), kind, types),
            _ => {}
        }
        let format = text(column, "format");
        if !format.is_empty() && !FORMATS.contains(&format) {
            errors.invalid(&path.child("format"), format, format!("must be one of {}", FORMATS.join(",")));
        }
        let (given, path) = (text(column, "jsonPath"), path.child("JSONPath"));
        if given.is_empty() {
            errors.required(&path, "");
        } else {
            simple_path(given, &path, errors);
        }
    }
}

pub(super) fn selectable_fields(fields: &[Value], document: &Value, path: &Path, errors: &mut Errors) {
    let Ok(schema) = Schema::read(document) else { return };
    let mut seen = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let (given, path) = (text(field, "jsonPath"), path.index(index).child("jsonPath"));
        if given.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let place = match find_place(&schema, given, false) {
            Ok(place) => place,
            Err(why) => {
                errors.invalid(&path, given, format!("is an invalid path: {why}"));
                continue;
            }
        };
        if place.first == "metadata" {
            errors.invalid(&path, given, "must not point to fields in metadata");
        }
        if !matches!(place.schema.kind(), Some(Type::String | Type::Boolean | Type::Integer)) {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                          formats are allowed.";
            errors.invalid(&path, given, detail);
        }
        if seen.contains(&place.path) {
            errors.duplicate(&path, given);
        } else {
            seen.push(place.path);
        }
    }
    if seen.len() > MAX_SELECTABLE {
        errors.push(path, Problem::TooMany(seen.len(), MAX_SELECTABLE));
    }
}
