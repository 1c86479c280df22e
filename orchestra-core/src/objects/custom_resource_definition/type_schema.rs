//! The schema of a Rust type, as schemars makes it, written as the structural schema of a definition.

use k8s_openapi::schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::meta::Object;

/// The schema of a type, if it has one and that is of an object.
pub(super) fn schema_of<K: Object>() -> Option<Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let schema = K::schema(&mut generator)?;
    object_schema(&schema.to_value(), &generator.take_definitions(true))
}

/// What of a schema is said in a definition by the same name.
const SAME: [&str; 17] = [
    "type",
    "description",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "nullable",
    "multipleOf",
    "example",
];

/// The schema of an object, whose identity and metadata are the API's.
fn object_schema(schema: &Value, definitions: &Map<String, Value>) -> Option<Value> {
    let mut made = Structural { definitions, within: Vec::new() }.of(schema);
    if made["type"] != "object" {
        return None;
    }
    if let Some(properties) = made.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata"));
    }
    if let Some(required) = made.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !["apiVersion", "kind", "metadata"].iter().any(|of_all| name == of_all));
    }
    Some(made)
}

struct Structural<'d> {
    definitions: &'d Map<String, Value>,
    /// The definitions that are being written out.
    within: Vec<&'d str>,
}

impl<'d> Structural<'d> {
    fn of(&mut self, schema: &'d Value) -> Value {
        let Value::Object(fields) = schema else { return anything() };
        if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
            return self.of_definition(target.rsplit('/').next().unwrap_or_default());
        }
        for name in ["allOf", "anyOf", "oneOf"] {
            if let Some(alternatives) = fields.get(name).and_then(Value::as_array) {
                return self.of_alternatives(fields, alternatives);
            }
        }
        let mut made = Map::new();
        for name in SAME {
            if let Some(value) = fields.get(name) {
                made.insert(name.to_owned(), value.clone());
            }
        }
        self.type_and_format(fields, &mut made);
        if let Some(properties) = fields.get("properties").and_then(Value::as_object) {
            let properties = properties.iter().map(|(name, of)| (name.clone(), self.of(of)));
            made.insert("properties".to_owned(), Value::Object(properties.collect()));
        }
        if let Some(items) = fields.get("items") {
            made.insert("items".to_owned(), self.of(items));
        }
        match fields.get("additionalProperties") {
            // What else there is is dropped, and not refused.
            None | Some(Value::Bool(false)) => {}
            Some(_) if made.contains_key("properties") => {
                made.insert("x-kubernetes-preserve-unknown-fields".to_owned(), true.into());
            }
            Some(of) => {
                made.insert("additionalProperties".to_owned(), self.of(of));
            }
        }
        let is_open = made.get("type").is_none() && !made.contains_key("x-kubernetes-int-or-string");
        let is_tuple = made.get("type").is_some_and(|of| of == "array") && !made.contains_key("items");
        if is_open || is_tuple { anything_as(fields) } else { Value::Object(made) }
    }

    fn of_definition(&mut self, name: &str) -> Value {
        let Some((name, definition)) = self.definitions.get_key_value(name) else { return anything() };
        if self.within.contains(&name.as_str()) {
            return anything();
        }
        self.within.push(name);
        let made = self.of(definition);
        self.within.pop();
        made
    }

    /// One that may be missing, or has a text of its own, is that one; names that stand alone are an enum. Others cannot be
    /// said.
    fn of_alternatives(&mut self, fields: &'d Map<String, Value>, alternatives: &'d [Value]) -> Value {
        let is_null = |of: &&Value| {
            of["type"] == "null"
                || of["enum"] == json!([null])
                || of["const"].is_null() && of.get("const").is_some()
        };
        let nullable =
            alternatives.iter().any(|of| is_null(&of)) || fields.get("nullable") == Some(&true.into());
        let left = Vec::from_iter(alternatives.iter().filter(|of| !is_null(of)));
        let mut made = match left.as_slice() {
            [one] => self.of(one),
            several => {
                let names = several.iter().map(|of| of["enum"].as_array().filter(|_| of["type"] == "string"));
                match names.collect::<Option<Vec<_>>>() {
                    Some(names) => {
                        let names = Vec::from_iter(names.into_iter().flatten().cloned());
                        json!({"type": "string", "enum": names})
                    }
                    None => return anything_as(fields),
                }
            }
        };
        if nullable {
            made["nullable"] = true.into();
        }
        for name in ["description", "default"] {
            if let Some(value) = fields.get(name) {
                made[name] = value.clone();
            }
        }
        made
    }

    fn type_and_format(&self, fields: &Map<String, Value>, made: &mut Map<String, Value>) {
        if let Some(Value::Array(types)) = fields.get("type") {
            let (nulls, others): (Vec<_>, Vec<_>) = types.iter().partition(|of| *of == "null");
            made.remove("type");
            if let [one] = others.as_slice() {
                made.insert("type".to_owned(), (*one).clone());
            }
            if !nulls.is_empty() {
                made.insert("nullable".to_owned(), true.into());
            }
        }
        match fields.get("format").and_then(Value::as_str) {
            Some("int-or-string") => {
                made.remove("type");
                made.insert("x-kubernetes-int-or-string".to_owned(), true.into());
            }
            // Of the numbers of Rust the API knows those of Go.
            Some(
                format
                @ ("int32" | "int64" | "float" | "double" | "date-time" | "byte" | "uuid" | "duration"),
            ) => {
                made.insert("format".to_owned(), format.into());
            }
            _ => {}
        }
        for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
            match fields.get(exclusive) {
                Some(Value::Bool(is)) => drop(made.insert(exclusive.to_owned(), (*is).into())),
                Some(number @ Value::Number(_)) => {
                    made.insert(bound.to_owned(), number.clone());
                    made.insert(exclusive.to_owned(), true.into());
                }
                _ => {}
            }
        }
    }
}

fn anything() -> Value {
    json!({"x-kubernetes-preserve-unknown-fields": true})
}

fn anything_as(fields: &Map<String, Value>) -> Value {
    let mut made = anything();
    if let Some(description) = fields.get("description") {
        made["description"] = description.clone();
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What schemars makes of types, each with what a definition says instead.
    #[test]
    fn schemas_become_structural() {
        let definitions = json!({
            "Mode": {"oneOf": [
                {"description": "fast", "type": "string", "enum": ["Fast"]},
                {"description": "slow", "type": "string", "enum": ["Slow"]},
            ]},
            "Shape": {"oneOf": [{"type": "object", "properties": {"Round": {}}}, {"type": "string", "enum": ["Flat"]}]},
            "Tree": {"type": "object", "properties": {"left": {"$ref": "#/components/schemas/Tree"}}},
        });
        let Value::Object(definitions) = definitions else { unreachable!() };
        let anything = json!({"x-kubernetes-preserve-unknown-fields": true});
        for (schema, structural) in [
            (
                json!({"type": "integer", "format": "uint32", "minimum": 0.0}),
                json!({"type": "integer", "minimum": 0.0}),
            ),
            (json!({"type": ["string", "null"]}), json!({"type": "string", "nullable": true})),
            (
                json!({"anyOf": [{"$ref": "#/components/schemas/Mode"}, {"const": null, "nullable": true}]}),
                json!({"type": "string", "enum": ["Fast", "Slow"], "nullable": true}),
            ),
            (
                json!({"allOf": [{"$ref": "#/components/schemas/Mode"}], "description": "How."}),
                json!({"type": "string", "enum": ["Fast", "Slow"], "description": "How."}),
            ),
            (json!({"$ref": "#/components/schemas/Shape"}), anything.clone()),
            (
                json!({"$ref": "#/components/schemas/Tree"}),
                json!({"type": "object", "properties": {"left": anything}}),
            ),
            (json!(true), anything.clone()),
            (json!({"type": "array", "prefixItems": [{"type": "string"}]}), anything.clone()),
            (
                json!({"type": "object", "additionalProperties": {"type": "string"}, "title": "Labels"}),
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
            ),
            (
                json!({"type": "string", "format": "int-or-string"}),
                json!({"x-kubernetes-int-or-string": true}),
            ),
            (
                json!({"type": "number", "exclusiveMinimum": 1}),
                json!({"type": "number", "minimum": 1, "exclusiveMinimum": true}),
            ),
        ] {
            let mut made = Structural { definitions: &definitions, within: Vec::new() };
            assert_eq!(made.of(&schema), structural, "{schema}");
        }
    }
}
