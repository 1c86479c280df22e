//! What is wrong with the fields of a schema, each by itself: types that there are not, extensions that contradict each
//! other, what no schema of a custom kind may have.

use serde_json::{Map, Value};

use super::complete::{flag, is_set, object, properties, schemas, text};
use super::place;
use super::{Schema, Unreadable};
use crate::api::field::{Errors, Path};

type Fields = Map<String, Value>;

/// What is checked beside what always is.
#[derive(Clone, Copy, Debug)]
pub struct Checked {
    /// Whether types must be among those that there are. Not of a definition that had others before.
    pub types: bool,
}

/// The way that led to a schema, as far as it matters.
#[derive(Clone, Copy)]
struct Context<'c> {
    checked: Checked,
    /// Why no default may stand here, if none may.
    no_default: Option<&'c str>,
    in_metadata: bool,
}

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const LIST_TYPE: &str = "x-kubernetes-list-type";
const LIST_KEYS: &str = "x-kubernetes-list-map-keys";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const VALIDATIONS: &str = "x-kubernetes-validations";

/// Says what is wrong with the fields of a schema and of those within it.
pub fn check_properties(document: &Value, checked: Checked, at: &Path, errors: &mut Errors) {
    let Value::Object(fields) = document else { return };
    check(fields, true, Context { checked, no_default: None, in_metadata: false }, at, errors);
}

fn check(fields: &Fields, root: bool, context: Context<'_>, at: &Path, errors: &mut Errors) {
    standard(fields, context, at, errors);
    if flag(fields, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&at.child("uniqueItems"), detail);
    }
    within(fields, root, context, at, errors);
    if fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let path = at.child("x-kubernetes-preserve-unknown-fields");
        errors.invalid(&path, false, "must be true or undefined");
    }
    map_type(fields, at, errors);
    list_type(fields, at, errors);
    list_map(fields, at, errors);
    list_elements(fields, at, errors);
    rules(fields, at, errors);
}

fn standard(fields: &Fields, context: Context<'_>, at: &Path, errors: &mut Errors) {
    let kind = text(fields, "type");
    if context.checked.types && !kind.is_empty() && !TYPES.contains(&kind) {
        errors.not_supported(&at.child("type"), kind, TYPES);
    }
    if let Some(why) =
        context.no_default.filter(|_| fields.get("default").is_some_and(|value| !value.is_null()))
    {
        errors.forbidden(&at.child("default"), format!("must not be set {why}"));
    }
    for name in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        if is_set(fields, name) {
            errors.forbidden(&at.child(name), format!("{name} is not supported"));
        }
    }
    if kind == "null" {
        errors.forbidden(&at.child("type"), "type cannot be set to null, use nullable as an alternative");
    }
    if fields.get("items").is_some_and(|items| items.as_array().is_some_and(|items| !items.is_empty())) {
        errors.forbidden(&at.child("items"), "items must be a schema object and not an array");
    }
    if context.in_metadata && flag(fields, "x-kubernetes-embedded-resource") {
        let path = at.child("x-kubernetes-embedded-resource");
        errors.forbidden(&path, "must not be used inside of resource meta");
    }
}

/// The schemas within one.
fn within(fields: &Fields, root: bool, context: Context<'_>, at: &Path, errors: &mut Errors) {
    match fields.get("additionalProperties") {
        None | Some(Value::Null) => {}
        Some(additional) => {
            let path = at.child("additionalProperties");
            if properties(fields).next().is_some() && additional != &Value::Bool(true) {
                errors.forbidden(&path, "additionalProperties and properties are mutual exclusive");
            }
            if let Value::Object(of) = additional {
                let in_metadata = "inside additionalProperties applying to object metadata";
                let no_default = if context.in_metadata { Some(in_metadata) } else { context.no_default };
                check(of, false, Context { no_default, ..context }, &path, errors);
            }
        }
    }
    for (name, property) in properties(fields) {
        let of_every_object = matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
        let is_meta = of_every_object && (root || flag(fields, "x-kubernetes-embedded-resource"));
        let why = format!("in top-level {name}");
        let context = Context {
            in_metadata: context.in_metadata || is_meta,
            no_default: if root && is_meta { Some(&why) } else { context.no_default },
            ..context
        };
        check(property, false, context, &at.child("properties").key(name), errors);
    }
    if let Some(not) = object(fields, "not") {
        check(not, false, context, &at.child("not"), errors);
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        for (index, schema) in schemas(fields, name).iter().enumerate() {
            if let Value::Object(schema) = schema {
                check(schema, false, context, &at.child(name).index(index), errors);
            }
        }
    }
    match fields.get("items") {
        Some(Value::Object(items)) => check(items, false, context, &at.child("items"), errors),
        Some(Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                if let Value::Object(item) = item {
                    check(item, false, context, &at.child("items").index(index), errors);
                }
            }
        }
        _ => {}
    }
}

/// A list or a map must be one.
fn of_type(fields: &Fields, wanted: &str, detail: &str, at: &Path, errors: &mut Errors) -> bool {
    match text(fields, "type") {
        kind if kind == wanted => return true,
        "" => errors.required(&at.child("type"), detail),
        kind => errors.invalid(&at.child("type"), kind, detail),
    }
    false
}

fn map_type(fields: &Fields, at: &Path, errors: &mut Errors) {
    let Some(map_type) = fields.get(MAP_TYPE).and_then(Value::as_str) else { return };
    of_type(fields, "object", "must be object if x-kubernetes-map-type is specified", at, errors);
    if !matches!(map_type, "atomic" | "granular") {
        errors.not_supported(&at.child(MAP_TYPE), map_type, &["atomic", "granular"]);
    }
}

fn list_type(fields: &Fields, at: &Path, errors: &mut Errors) {
    let list_type = fields.get(LIST_TYPE).and_then(Value::as_str);
    if let Some(list_type) = list_type {
        let detail = "must be array if x-kubernetes-list-type is specified";
        let is_list = of_type(fields, "array", detail, at, errors);
        if let Some(items) = object(fields, "items").filter(|_| is_list && list_type == "set") {
            let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
            let (extension, fits) = match text(items, "type") {
                "array" => (LIST_TYPE, matches!(text(items, LIST_TYPE), "" | "atomic")),
                "object" => (MAP_TYPE, text(items, MAP_TYPE) == "atomic"),
                _ => ("", true),
            };
            if !fits {
                let held = items.get(LIST_TYPE).cloned().unwrap_or_default();
                errors.invalid(&at.child("items").child(extension), held, detail);
            }
        }
        if !matches!(list_type, "atomic" | "set" | "map") {
            errors.not_supported(&at.child(LIST_TYPE), list_type, &["atomic", "set", "map"]);
        }
    }
    if is_set(fields, LIST_KEYS) {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        match list_type {
            None => errors.required(&at.child(LIST_TYPE), detail),
            Some("map") => {}
            Some(other) => errors.invalid(&at.child(LIST_TYPE), other, detail),
        }
    }
}

fn keys(fields: &Fields) -> Vec<&str> {
    schemas(fields, LIST_KEYS).iter().filter_map(Value::as_str).collect()
}

fn list_map(fields: &Fields, at: &Path, errors: &mut Errors) {
    if text(fields, LIST_TYPE) != "map" {
        return;
    }
    let (held, path) = (keys(fields), at.child(LIST_KEYS));
    if held.is_empty() {
        errors.required(&path, "must not be empty if x-kubernetes-list-type is map");
    }
    let Some(items) = object(fields, "items") else {
        return errors.required(&at.child("items"), "must have a schema if x-kubernetes-list-type is map");
    };
    let kind = text(items, "type");
    if kind != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        return errors.invalid(&at.child("items").child("type"), kind, detail);
    }
    for (index, key) in held.iter().enumerate() {
        match properties(items).find(|(name, _)| name == key) {
            Some((_, property)) if matches!(text(property, "type"), "array" | "object") => {
                let path = at.child("items").child("properties").key(key).child("type");
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.invalid(&path, kind, detail);
            }
            Some(_) => {}
            None => {
                let shown = Value::from(held.clone());
                errors.invalid(&path, shown, "entries must all be names of item properties");
            }
        }
        if held[..index].contains(key) {
            errors.invalid(&path, Value::from(held.clone()), "must not contain duplicate entries");
        }
    }
}

/// The elements of sets and maps, and what tells them apart, are always there.
fn list_elements(fields: &Fields, at: &Path, errors: &mut Errors) {
    let list_type = text(fields, LIST_TYPE);
    let Some(items) = object(fields, "items").filter(|_| matches!(list_type, "set" | "map")) else { return };
    let path = at.child("items");
    if flag(items, "nullable") {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.forbidden(&path.child("nullable"), detail);
    }
    if list_type == "set" {
        return;
    }
    let required: Vec<&str> = schemas(items, "required").iter().filter_map(Value::as_str).collect();
    for key in keys(fields) {
        let Some((_, property)) = properties(items).find(|(name, _)| *name == key) else { continue };
        let path = path.child("properties").key(key);
        let has_default = property.get("default").is_some_and(|value| !value.is_null());
        if !required.contains(&key) && !has_default {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.required(&path.child("default"), detail);
        }
        if flag(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.forbidden(&path.child("nullable"), detail);
        }
    }
}

const REASONS: &[&str] =
    &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// What is wrong with rules beside their expressions.
fn rules(fields: &Fields, at: &Path, errors: &mut Errors) {
    for (index, rule) in schemas(fields, VALIDATIONS).iter().enumerate() {
        let Value::Object(rule) = rule else { continue };
        let path = at.child(VALIDATIONS).index(index);
        let (expression, message) = (text(rule, "rule").trim(), text(rule, "message"));
        let breaks = |text: &str| text.contains(['\n', '\r']);
        if expression.is_empty() {
            errors.required(&path.child("rule"), "rule is not specified");
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.invalid(&path.child("message"), message, "must be non-empty if specified");
        } else if breaks(message.trim()) {
            errors.invalid(&path.child("message"), message, "must not contain line breaks");
        } else if breaks(expression) && message.trim().is_empty() {
            let detail = "message must be specified if rule contains line breaks";
            errors.required(&path.child("message"), detail);
        }
        let computed = text(rule, "messageExpression");
        if !computed.is_empty() && computed.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            errors.required(&path.child("messageExpression"), detail);
        }
        if let Some(reason) =
            rule.get("reason").and_then(Value::as_str).filter(|held| !REASONS.contains(held))
        {
            errors.not_supported(&path.child("reason"), reason, REASONS);
        }
        field_path(fields, text(rule, "fieldPath"), &path.child("fieldPath"), errors);
    }
}

fn field_path(fields: &Fields, given: &str, at: &Path, errors: &mut Errors) {
    if given.is_empty() {
        return;
    }
    if given.trim().is_empty() {
        errors.invalid(at, given, "must be non-empty if specified");
    }
    if given.contains(['\n', '\r']) {
        errors.invalid(at, given, "must not contain line breaks");
    }
    let schema: Result<Schema, Unreadable> = Schema::read(&Value::Object(fields.clone()));
    if schema.is_ok_and(|schema| place::find(&schema, given, true).is_err()) {
        errors.invalid(at, given, "must be a valid path");
    }
}
