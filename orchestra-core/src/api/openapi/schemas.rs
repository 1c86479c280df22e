//! The schemas of the documents: those of the types, with what the API says beyond them.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as metav1;
use k8s_openapi::schemars::SchemaGenerator;
use k8s_openapi::schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Dialect, Row};
use crate::api::schema::{Field, ListType, Place};

const COMPONENTS: &str = "#/components/schemas/";
const DEFINITIONS: &str = "#/definitions/";
const KIND: &str = "x-kubernetes-group-version-kind";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// What `kubectl explain` says of the fields that every object has, in Kubernetes' words: its users know them.
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should \
                           convert recognized schemas to the latest internal value, and may reject unrecognized \
                           values. More info: \
                           https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const OWN_KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer \
                        this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More \
                        info: \
                        https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: \
                        https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A reference to a schema.
pub(super) fn reference(name: &str, dialect: Dialect) -> Value {
    let prefix = if dialect == Dialect::V2 { DEFINITIONS } else { COMPONENTS };
    json!({"$ref": format!("{prefix}{name}")})
}

/// The schemas of these kinds, of their lists, and of everything that they refer to.
pub(super) fn all(rows: &[Row<'_>], dialect: Dialect) -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let roots: Vec<_> = rows.iter().map(|row| (row, row.schema(&mut generator))).collect();
    describe_common(&mut generator);
    let mut schemas: Map<String, Value> = generator.take_definitions(true);
    for (row, root) in roots {
        let schema = match root {
            Some(root) if row.resource.custom => custom(root.to_value(), dialect),
            Some(root) => resolve(root.to_value(), &schemas),
            None => permissive(dialect),
        };
        add_kind(&mut schemas, row, schema);
    }
    drop_unreachable(&mut schemas, rows);
    for (name, schema) in &mut schemas {
        annotate(name, schema);
        if dialect == Dialect::V2 {
            to_v2(schema);
        }
    }
    schemas
}

/// What every group needs: the metadata of lists, options of deletions, failures.
fn describe_common(generator: &mut SchemaGenerator) {
    generator.subschema_for::<metav1::ObjectMeta>();
    generator.subschema_for::<metav1::ListMeta>();
    generator.subschema_for::<metav1::DeleteOptions>();
    generator.subschema_for::<metav1::Status>();
    generator.subschema_for::<k8s_openapi::api::autoscaling::v1::Scale>();
}

/// The schema that a reference leads to, or the schema itself.
fn resolve(schema: Value, schemas: &Map<String, Value>) -> Value {
    let name = schema["$ref"].as_str().and_then(|target| target.strip_prefix(COMPONENTS));
    name.and_then(|name| schemas.get(name)).cloned().unwrap_or(schema)
}

/// The schema of a kind of which nothing is known. Version 2 cannot say "these fields and any other".
fn permissive(dialect: Dialect) -> Value {
    match dialect {
        Dialect::V2 => json!({"type": "object"}),
        Dialect::V3 => {
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {}})
        }
    }
}

/// The schema of a custom kind, with what every object has left to be added.
pub(super) fn custom(mut schema: Value, dialect: Dialect) -> Value {
    if dialect == Dialect::V2 {
        if schema["x-kubernetes-preserve-unknown-fields"] == true {
            return permissive(dialect);
        }
        structural_to_v2(&mut schema);
    }
    if let Some(fields) = schema.as_object_mut() {
        let properties = fields.entry("properties").or_insert_with(|| json!({}));
        if let Some(properties) = properties.as_object_mut() {
            for of_every_object in ["apiVersion", "kind", "metadata"] {
                properties.remove(of_every_object);
            }
        }
    }
    schema
}

/// Leaves out of a structural schema what version 2 cannot say, so that clients take for right what may be so.
fn structural_to_v2(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    for name in ["allOf", "anyOf", "oneOf", "not"] {
        fields.remove(name);
    }
    let flag = |name: &str| fields.get(name) == Some(&Value::Bool(true));
    let (nullable, preserves) = (flag("nullable"), flag("x-kubernetes-preserve-unknown-fields"));
    let untyped = nullable || flag("x-kubernetes-int-or-string") || preserves;
    if untyped {
        fields.remove("type");
    }
    if nullable || preserves {
        for name in ["items", "properties", "additionalProperties", "nullable"] {
            fields.remove(name);
        }
    }
    for name in ["items", "additionalProperties"] {
        if let Some(of) = fields.get_mut(name) {
            structural_to_v2(of);
        }
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(structural_to_v2);
    }
}

/// Adds the schemas of a kind and of its list under the names that they have in this version.
fn add_kind(schemas: &mut Map<String, Value>, row: &Row<'_>, mut schema: Value) {
    let name = row.definition();
    let text = |description: &str| json!({"type": "string", "description": description});
    let (api_version, own_kind) = (text(API_VERSION), text(OWN_KIND));
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.entry("apiVersion").or_insert_with(|| api_version.clone());
        properties.entry("kind").or_insert_with(|| own_kind.clone());
        let meta = || json!({ "description": METADATA, "allOf": [reference(&format!("{META}.ObjectMeta"), Dialect::V3)] });
        properties.entry("metadata").or_insert_with(meta);
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| field != "metadata");
        if required.is_empty() {
            schema.as_object_mut().map(|fields| fields.remove("required"));
        }
    }
    schema[KIND] = json!([row.group_version_kind()]);
    let kind = &row.resource.kind;
    let list = json!({
        "description": format!("{} is a list of {kind} objects.", row.resource.list_kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": api_version,
            "kind": own_kind,
            "metadata": reference(&format!("{META}.ListMeta"), Dialect::V3),
            "items": {
                "description": "The objects.",
                "type": "array",
                "items": reference(&name, Dialect::V3),
            },
        },
        KIND: [row.list_group_version_kind()],
    });
    schemas.insert(format!("{name}List"), list);
    schemas.insert(name, schema);
}

/// Keeps what the kinds lead to: a kind stored in another group is not part of this one's document.
fn drop_unreachable(schemas: &mut Map<String, Value>, rows: &[Row<'_>]) {
    let common = ["DeleteOptions", "Status"].map(|name| format!("{META}.{name}"));
    let mut left: Vec<String> = rows.iter().map(|row| format!("{}List", row.definition())).collect();
    left.extend(common);
    left.push("io.k8s.api.autoscaling.v1.Scale".to_owned());
    let mut reached = BTreeSet::new();
    while let Some(name) = left.pop() {
        if let Some(schema) = schemas.get(&name).filter(|_| !reached.contains(&name)) {
            references(schema, &mut left);
            reached.insert(name);
        }
    }
    schemas.retain(|name, _| reached.contains(name));
}

fn references(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            let target = fields.get("$ref").and_then(Value::as_str);
            found.extend(target.and_then(|target| target.strip_prefix(COMPONENTS)).map(ToOwned::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// Adds to a schema what the API says beyond its type.
fn annotate(name: &str, schema: &mut Value) {
    if let Some(known) = scalar(name) {
        for (key, value) in known {
            schema[key] = value;
        }
        schema.as_object_mut().map(|schema| schema.remove("x-kubernetes-int-or-string"));
        return;
    }
    if let Some(kinds) = common_kinds(name) {
        schema[KIND] = kinds;
    }
    let place = Place::of_definition(name);
    if place.is_atomic() {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (field, schema) in properties {
        annotate_field(schema, place.step(field).facts, name.ends_with("List"));
    }
}

/// The types that are more than one JSON type.
fn scalar(name: &str) -> Option<Vec<(&'static str, Value)>> {
    let of = |types: [&str; 2]| ("oneOf", Value::from(types.map(|name| json!({"type": name})).to_vec()));
    match name {
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => {
            Some(vec![("format", "int-or-string".into()), of(["integer", "string"])])
        }
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => Some(vec![of(["string", "number"])]),
        _ => None,
    }
}

/// The kinds of the types that belong to no row.
fn common_kinds(name: &str) -> Option<Value> {
    let kind = |group: &str, kind: &str| json!([{"group": group, "version": "v1", "kind": kind}]);
    match name.strip_prefix(META).or_else(|| name.strip_prefix("io.k8s.api"))? {
        ".DeleteOptions" => Some(kind("", "DeleteOptions")),
        ".Status" => Some(kind("", "Status")),
        ".autoscaling.v1.Scale" => Some(kind("autoscaling", "Scale")),
        _ => None,
    }
}

fn annotate_field(schema: &mut Value, facts: Option<&'static Field>, in_list: bool) {
    let is_list = schema["type"] == "array";
    if let Some(facts) = facts {
        if let Some(strategy) = facts.strategy() {
            schema["x-kubernetes-patch-strategy"] = strategy.into();
        }
        if let Some(key) = facts.merge_key.filter(|_| facts.merge) {
            schema["x-kubernetes-patch-merge-key"] = key.into();
        }
        if facts.atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
    }
    let list = match facts.map(|facts| &facts.list) {
        _ if !is_list || in_list => return,
        None | Some(ListType::Atomic) => "atomic",
        Some(ListType::Set) => "set",
        Some(ListType::Map(keys)) => {
            schema["x-kubernetes-list-map-keys"] = json!(keys);
            "map"
        }
    };
    schema["x-kubernetes-list-type"] = list.into();
}

/// Says a schema in the words of version 2: no alternatives, and references that may have a description.
fn to_v2(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Array(parts)) = fields.remove("allOf") {
                fields.extend(
                    parts
                        .into_iter()
                        .filter_map(|part| match part {
                            Value::Object(part) => Some(part),
                            _ => None,
                        })
                        .flatten(),
                );
            }
            if fields.remove("oneOf").is_some() {
                fields.insert("type".into(), "string".into());
            }
            fields.remove("anyOf");
            fields.remove("nullable");
            if let Some(Value::String(target)) = fields.get_mut("$ref") {
                *target = target.replace(COMPONENTS, DEFINITIONS);
            }
            for (name, value) in fields {
                match value {
                    // Its fields are called as the type has them, also `oneOf` or `nullable`.
                    Value::Object(properties) if name == "properties" => {
                        properties.values_mut().for_each(to_v2);
                    }
                    value => to_v2(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(to_v2),
        _ => {}
    }
}
