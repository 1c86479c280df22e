//! Whether a schema is structural: every value has one type, and alternatives only narrow what is said outside them.

use serde_json::{Map, Value, json};

use crate::api::field::{Errors, Path};
use crate::expression::go_pattern;

type Fields = Map<String, Value>;

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Whether a document has only what structural schemas may have at all. What else it has is refused for itself.
pub(super) fn is_supported(document: &Value) -> bool {
    let Value::Object(fields) = document else { return true };
    let unsupported =
        ["id", "$schema", "$ref", "additionalItems", "patternProperties", "definitions", "dependencies"];
    let plain = unsupported.iter().all(|name| !is_set(fields, name))
        && text(fields, "type") != "null"
        && !fields.get("items").is_some_and(Value::is_array)
        && fields.get("x-kubernetes-preserve-unknown-fields") != Some(&Value::Bool(false));
    plain && below(fields).into_iter().all(is_supported)
}

/// Every schema within a schema.
pub(crate) fn below(fields: &Fields) -> Vec<&Value> {
    let one = ["not", "items", "additionalProperties"].into_iter().filter_map(|name| fields.get(name));
    let lists =
        ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|name| fields.get(name)?.as_array()).flatten();
    let named = fields.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::values);
    one.chain(lists).chain(named).filter(|schema| schema.is_object()).collect()
}

/// Whether a field says anything.
pub(super) fn is_set(fields: &Fields, name: &str) -> bool {
    match fields.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(entries)) => !entries.is_empty() || name == "additionalItems",
        Some(_) => true,
    }
}

pub(super) fn text<'f>(fields: &'f Fields, name: &str) -> &'f str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn flag(fields: &Fields, name: &str) -> bool {
    fields.get(name) == Some(&Value::Bool(true))
}

pub(super) fn schemas<'f>(fields: &'f Fields, name: &str) -> &'f [Value] {
    fields.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn object<'f>(fields: &'f Fields, name: &str) -> Option<&'f Fields> {
    fields.get(name).and_then(Value::as_object)
}

pub(super) fn properties(fields: &Fields) -> impl Iterator<Item = (&String, &Fields)> {
    let all = object(fields, "properties").into_iter().flatten();
    all.filter_map(|(name, property)| Some((name, property.as_object()?)))
}

const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// Says what keeps a schema from being structural; says nothing of a document that has what no such schema may have.
pub fn check_structure(document: &Value, at: &Path, errors: &mut Errors) {
    let Some(fields) = document.as_object().filter(|_| is_supported(document)) else { return };
    let mut found = Errors::new();
    invariants(fields, Level::Root, at, &mut found);
    completeness(fields, Some(fields), at, at, &mut found);
    found.sort();
    errors.extend(found);
}

fn invariants(fields: &Fields, level: Level, at: &Path, errors: &mut Errors) {
    let kind = text(fields, "type");
    if kind == "array" && object(fields, "items").is_none() {
        errors.required(&at.child("items"), "must be specified");
    }
    if let Some(items) = object(fields, "items") {
        invariants(items, Level::Item, &at.child("items"), errors);
    }
    for (name, property) in properties(fields) {
        invariants(property, Level::Field, &at.child("properties").key(name), errors);
    }
    if let Some(additional) = fields.get("additionalProperties").filter(|value| !value.is_null()) {
        let path = at.child("additionalProperties");
        if level == Level::Root {
            errors.forbidden(&path, "must not be used at the root");
        }
        if let Value::Object(of) = additional {
            invariants(of, Level::Field, &path, errors);
        }
        if flag(fields, EMBEDDED) {
            errors.forbidden(&path, "must not be used if x-kubernetes-embedded-resource is set");
        }
    }
    extensions(fields, at, errors);
    let skip = Skip {
        any_of: is_int_or_string_pattern(schemas(fields, "anyOf")),
        first_all_of: schemas(fields, "allOf")
            .first()
            .and_then(Value::as_object)
            .is_some_and(|first| is_int_or_string_pattern(schemas(first, "anyOf"))),
    };
    value_validation(fields, skip, at, errors);
    types(fields, kind, level, at, errors);
    metadata(fields, level, at, errors);
}

fn extensions(fields: &Fields, at: &Path, errors: &mut Errors) {
    for name in [PRESERVE, EMBEDDED] {
        if flag(fields, INT_OR_STRING) && flag(fields, name) {
            errors.invalid(&at.child(name), true, "must be false if x-kubernetes-int-or-string is true");
        }
    }
}

fn types(fields: &Fields, kind: &str, level: Level, at: &Path, errors: &mut Errors) {
    let path = at.child("type");
    if flag(fields, EMBEDDED) && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        match kind {
            "" => errors.required(&path, detail),
            kind => errors.invalid(&path, kind, detail),
        }
    } else if kind.is_empty() && !flag(fields, INT_OR_STRING) && !flag(fields, PRESERVE) {
        errors.required(
            &path,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        );
    }
    if level == Level::Root && !matches!(kind, "" | "object") {
        errors.invalid(&path, kind, "must be object at the root");
    }
}

fn metadata(fields: &Fields, level: Level, at: &Path, errors: &mut Errors) {
    let checked = level == Level::Root || flag(fields, EMBEDDED);
    let property =
        |name: &str| properties(fields).find(|(held, _)| *held == name).map(|(_, property)| property);
    for name in ["kind", "apiVersion"] {
        if let Some(kind) = property(name).map(|property| text(property, "type"))
            && checked
            && kind != "string"
        {
            errors.invalid(&at.child("properties").key(name).child("type"), kind, "must be string");
        }
    }
    if let Some(meta) = property("metadata") {
        let path = at.child("properties").key("metadata");
        let kind = text(meta, "type");
        if checked && kind != "object" {
            errors.invalid(&path.child("type"), kind, "must be object");
        }
        let names_only = properties(meta).all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
        let others = meta
            .keys()
            .any(|name| !matches!(name.as_str(), "type" | "properties" | "default") && is_set(meta, name));
        if level == Level::Root && (others || !names_only) {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.forbidden(&path, detail);
        }
    }
    if flag(fields, EMBEDDED) && !flag(fields, PRESERVE) && properties(fields).next().is_none() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        errors.required(&at.child("properties"), detail);
    }
}

/// The one form in which alternatives may name types: a whole number or text.
fn is_int_or_string_pattern(any_of: &[Value]) -> bool {
    *any_of == [json!({"type": "integer"}), json!({"type": "string"})]
}

/// The alternatives that are passed over, because they are of that form.
#[derive(Clone, Copy, Default)]
struct Skip {
    any_of: bool,
    first_all_of: bool,
}

fn value_validation(fields: &Fields, skip: Skip, at: &Path, errors: &mut Errors) {
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skip.any_of {
            continue;
        }
        for (index, schema) in schemas(fields, name).iter().enumerate() {
            let skip =
                Skip { any_of: name == "allOf" && skip.first_all_of && index == 0, first_all_of: false };
            if let Value::Object(schema) = schema {
                nested(schema, skip, &at.child(name).index(index), errors);
            }
        }
    }
    if let Some(not) = object(fields, "not") {
        nested(not, Skip::default(), &at.child("not"), errors);
    }
    let given = text(fields, "pattern");
    if let Some(why) =
        Some(given).filter(|given| !given.is_empty()).and_then(|given| go_pattern::compile(given).err())
    {
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.invalid(&at.child("pattern"), given, detail);
    }
}

fn nested(fields: &Fields, skip: Skip, at: &Path, errors: &mut Errors) {
    value_validation(fields, skip, at, errors);
    if let Some(items) = object(fields, "items") {
        nested(items, Skip::default(), &at.child("items"), errors);
    }
    for (name, property) in properties(fields) {
        nested(property, Skip::default(), &at.child("properties").key(name), errors);
        if name == "metadata" {
            let path = at.child("properties").key(name);
            errors.forbidden(&path, "must not be specified in a nested context");
        }
    }
    for (name, must) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        (PRESERVE, "must be false to be structural"),
        (EMBEDDED, "must be false to be structural"),
        (INT_OR_STRING, "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ] {
        let there = match fields.get(name) {
            Some(value) if name == "default" => !value.is_null(),
            Some(Value::Object(_)) if name == "additionalProperties" => true,
            _ => is_set(fields, name),
        };
        if there && !(name == "type" && skip.any_of) {
            errors.forbidden(&at.child(name), must);
        }
    }
}

/// What alternatives speak of must be declared outside them.
fn completeness(fields: &Fields, outside: Option<&Fields>, declared: &Path, at: &Path, errors: &mut Errors) {
    let mut each = |name: &str, index: Option<usize>, schema: &Value| {
        let path = at.child(name);
        let path = index.map_or(path.clone(), |index| path.index(index));
        if let Value::Object(schema) = schema {
            nested_completeness(schema, outside, declared, &path, errors);
        }
    };
    if let Some(not) = fields.get("not") {
        each("not", None, not);
    }
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, schema) in schemas(fields, name).iter().enumerate() {
            each(name, Some(index), schema);
        }
    }
}

fn nested_completeness(
    fields: &Fields,
    outside: Option<&Fields>,
    declared: &Path,
    at: &Path,
    errors: &mut Errors,
) {
    let Some(outside) = outside else {
        return errors.required(declared, format!("because it is defined in {at}"));
    };
    completeness(fields, Some(outside), declared, at, errors);
    if let Some(items) = object(fields, "items") {
        let (declared, at) = (declared.child("items"), at.child("items"));
        nested_completeness(items, object(outside, "items"), &declared, &at, errors);
    }
    for (name, property) in properties(fields) {
        let (declared, at) = (declared.child("properties").key(name), at.child("properties").key(name));
        let there = object(outside, "properties").and_then(|all| all.get(name)).and_then(Value::as_object);
        nested_completeness(property, there, &declared, &at, errors);
    }
}
