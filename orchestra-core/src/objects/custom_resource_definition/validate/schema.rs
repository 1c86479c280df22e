//! What is wrong with the schema of a version.

use serde_json::Value;

use super::{show, text};
use crate::api::field::{Errors, Path};
use crate::api::structural::{
    Checked, Schema, below, check_defaults, check_properties, check_rules, check_structure,
};

/// Says what is wrong with a schema, if there is one.
pub(super) fn schema(document: &Value, status: bool, path: &Path, errors: &mut Errors) {
    if document.is_null() {
        return;
    }
    let path = path.child("openAPIV3Schema");
    let before = errors.iter().count();
    if status {
        at_root(document, &path, errors);
    }
    if document["nullable"] == true {
        errors.forbidden(&path.child("nullable"), "nullable cannot be true at the root");
    }
    let schema = match Schema::read(document) {
        Ok(schema) => schema,
        Err(error) => return errors.invalid(&path, "", error.to_string()),
    };
    let mut structure = Errors::new();
    check_structure(document, &path, &mut structure);
    if structure.is_empty() {
        check_defaults(&schema, &path, &mut structure);
    }
    errors.extend(structure);
    check_properties(document, Checked { types: true }, &path, errors);
    if errors.iter().count() > before {
        return;
    }
    // Of this field alone nothing else is said, and of it only when nothing else is wrong.
    if names_dialect(document) {
        errors.invalid(&path, "", "OpenAPIV3Schema 'schema' is not supported");
    } else {
        check_rules(&schema, document, &path, &show::rule, errors);
    }
}

/// Whether a schema, or one within it, says by `$schema` what kind of schema it is.
fn names_dialect(document: &Value) -> bool {
    let Some(fields) = document.as_object() else { return false };
    !text(document, "$schema").is_empty() || below(fields).into_iter().any(names_dialect)
}

/// What a schema may have at its root when the status is a subresource, under the names of the internal type.
const AT_ROOT: &[(&str, &str)] = &[
    ("Description", "description"),
    ("Type", "type"),
    ("Format", "format"),
    ("Title", "title"),
    ("Maximum", "maximum"),
    ("ExclusiveMaximum", "exclusiveMaximum"),
    ("Minimum", "minimum"),
    ("ExclusiveMinimum", "exclusiveMinimum"),
    ("MaxLength", "maxLength"),
    ("MinLength", "minLength"),
    ("Pattern", "pattern"),
    ("MaxItems", "maxItems"),
    ("MinItems", "minItems"),
    ("UniqueItems", "uniqueItems"),
    ("MultipleOf", "multipleOf"),
    ("Required", "required"),
    ("Items", "items"),
    ("Properties", "properties"),
    ("ExternalDocs", "externalDocs"),
    ("Example", "example"),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"),
    ("XValidations", "x-kubernetes-validations"),
];

fn at_root(document: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(document, "type");
    if !matches!(kind, "" | "object") {
        let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is \
                      enabled";
        return errors.invalid(&path.child("type"), kind, detail);
    }
    let fields = document.as_object().into_iter().flatten();
    let is_set = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    let mut others = fields.filter(|(name, value)| {
        is_set(value) && !AT_ROOT.iter().any(|(_, allowed)| allowed == name) && *name != "nullable"
    });
    if others.next().is_some() {
        let allowed: Vec<&str> = AT_ROOT.iter().map(|(name, _)| *name).collect();
        let detail = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            allowed.join(" ")
        );
        errors.invalid_object(path, show::schema(document), detail);
    }
}
