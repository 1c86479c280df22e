//! Parts of definitions as errors show them: with every field, under the names of Kubernetes' internal types.

use serde_json::{Map, Value};

use crate::api::field::Shown;

/// The fields of a schema in the order of the internal type: its name there, its name in a document, and what stands for
/// one that is missing.
const SCHEMA: &[(&str, &str, Missing)] = &[
    ("ID", "id", Missing::Empty),
    ("Schema", "$schema", Missing::Empty),
    ("Ref", "$ref", Missing::Null),
    ("Description", "description", Missing::Empty),
    ("Type", "type", Missing::Empty),
    ("Nullable", "nullable", Missing::False),
    ("Format", "format", Missing::Empty),
    ("Title", "title", Missing::Empty),
    ("Default", "default", Missing::Null),
    ("Maximum", "maximum", Missing::Null),
    ("ExclusiveMaximum", "exclusiveMaximum", Missing::False),
    ("Minimum", "minimum", Missing::Null),
    ("ExclusiveMinimum", "exclusiveMinimum", Missing::False),
    ("MaxLength", "maxLength", Missing::Null),
    ("MinLength", "minLength", Missing::Null),
    ("Pattern", "pattern", Missing::Empty),
    ("MaxItems", "maxItems", Missing::Null),
    ("MinItems", "minItems", Missing::Null),
    ("UniqueItems", "uniqueItems", Missing::False),
    ("MultipleOf", "multipleOf", Missing::Null),
    ("Enum", "enum", Missing::Null),
    ("MaxProperties", "maxProperties", Missing::Null),
    ("MinProperties", "minProperties", Missing::Null),
    ("Required", "required", Missing::Null),
    ("Items", "items", Missing::Null),
    ("AllOf", "allOf", Missing::Null),
    ("OneOf", "oneOf", Missing::Null),
    ("AnyOf", "anyOf", Missing::Null),
    ("Not", "not", Missing::Null),
    ("Properties", "properties", Missing::Null),
    ("AdditionalProperties", "additionalProperties", Missing::Null),
    ("PatternProperties", "patternProperties", Missing::Null),
    ("Dependencies", "dependencies", Missing::Null),
    ("AdditionalItems", "additionalItems", Missing::Null),
    ("Definitions", "definitions", Missing::Null),
    ("ExternalDocs", "externalDocs", Missing::Null),
    ("Example", "example", Missing::Null),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", Missing::Null),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", Missing::False),
    ("XIntOrString", "x-kubernetes-int-or-string", Missing::False),
    ("XListMapKeys", "x-kubernetes-list-map-keys", Missing::Null),
    ("XListType", "x-kubernetes-list-type", Missing::Null),
    ("XMapType", "x-kubernetes-map-type", Missing::Null),
    ("XValidations", "x-kubernetes-validations", Missing::Null),
];

#[derive(Clone, Copy)]
enum Missing {
    Null,
    False,
    Empty,
}

impl From<Missing> for Value {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Null => Self::Null,
            Missing::False => Self::Bool(false),
            Missing::Empty => Self::String(String::new()),
        }
    }
}

/// A field of an object, or what stands for it.
fn or(fields: &Value, name: &str, missing: Missing) -> Value {
    match &fields[name] {
        Value::Null => missing.into(),
        value => value.clone(),
    }
}

fn plain(value: impl Into<Value>) -> Shown {
    value.into().into()
}

/// A schema.
pub(super) fn schema(document: &Value) -> Shown {
    let field = |(name, key, missing): &(&'static str, &str, Missing)| {
        (*name, schema_field(key, &document[*key], (*missing).into()))
    };
    Shown::object(SCHEMA.iter().map(field))
}

fn schema_field(key: &str, value: &Value, missing: Value) -> Shown {
    let several = |list: &Vec<Value>| Shown::list(list.iter().map(schema));
    match (key, value) {
        (_, Value::Null) => missing.into(),
        ("allOf" | "oneOf" | "anyOf", Value::Array(list)) => several(list),
        ("not", document) => schema(document),
        ("properties" | "patternProperties" | "definitions", Value::Object(named)) => {
            Shown::object(named.iter().map(|(name, document)| (name.as_str(), schema(document))))
        }
        ("items", Value::Array(list)) => {
            Shown::object([("Schema", plain(Value::Null)), ("JSONSchemas", several(list))])
        }
        ("items", document) => {
            Shown::object([("Schema", schema(document)), ("JSONSchemas", plain(Value::Null))])
        }
        ("additionalProperties" | "additionalItems", Value::Bool(allows)) => {
            Shown::object([("Allows", plain(*allows)), ("Schema", plain(Value::Null))])
        }
        ("additionalProperties" | "additionalItems", document) => {
            Shown::object([("Allows", plain(true)), ("Schema", schema(document))])
        }
        ("x-kubernetes-validations", Value::Array(rules)) => Shown::list(rules.iter().map(rule)),
        (_, value) => value.clone().into(),
    }
}

/// A rule.
pub(super) fn rule(rule: &Value) -> Shown {
    let field = |name: &'static str, key: &str, missing| (name, plain(or(rule, key, missing)));
    Shown::object([
        field("Rule", "rule", Missing::Empty),
        field("Message", "message", Missing::Empty),
        field("MessageExpression", "messageExpression", Missing::Empty),
        field("Reason", "reason", Missing::Null),
        field("FieldPath", "fieldPath", Missing::Empty),
        field("OptionalOldSelf", "optionalOldSelf", Missing::Null),
    ])
}

/// The versions of a definition. What all have in common is kept elsewhere in the internal type, and so is left out.
pub(super) fn versions(given: &Value, in_common: &[&str]) -> Shown {
    match given {
        Value::Array(list) => Shown::list(list.iter().map(|given| version(given, in_common))),
        _ => Value::Null.into(),
    }
}

fn version(given: &Value, in_common: &[&str]) -> Shown {
    let own = |name: &str| if in_common.contains(&name) { &Value::Null } else { &given[name] };
    let list = |name: &str, item: fn(&Value) -> Shown| match own(name) {
        Value::Array(items) if !items.is_empty() => Shown::list(items.iter().map(item)),
        _ => plain(Value::Null),
    };
    let validation = match own("schema") {
        Value::Null => plain(Value::Null),
        held => {
            let document = &held["openAPIV3Schema"];
            let shown = if document.is_null() { plain(Value::Null) } else { schema(document) };
            Shown::object([("OpenAPIV3Schema", shown)])
        }
    };
    Shown::object([
        ("Name", plain(or(given, "name", Missing::Empty))),
        ("Served", plain(or(given, "served", Missing::False))),
        ("Storage", plain(or(given, "storage", Missing::False))),
        ("Deprecated", plain(or(given, "deprecated", Missing::False))),
        ("DeprecationWarning", plain(or(given, "deprecationWarning", Missing::Null))),
        ("Schema", validation),
        ("Subresources", subresources(own("subresources"))),
        ("AdditionalPrinterColumns", list("additionalPrinterColumns", column)),
        ("SelectableFields", list("selectableFields", selectable)),
    ])
}

fn subresources(given: &Value) -> Shown {
    if given.is_null() {
        return plain(Value::Null);
    }
    let status = if given["status"].is_null() { Value::Null } else { Value::Object(Map::new()) };
    let scale = match &given["scale"] {
        Value::Null => plain(Value::Null),
        scale => Shown::object([
            ("SpecReplicasPath", plain(or(scale, "specReplicasPath", Missing::Empty))),
            ("StatusReplicasPath", plain(or(scale, "statusReplicasPath", Missing::Empty))),
            ("LabelSelectorPath", plain(or(scale, "labelSelectorPath", Missing::Null))),
        ]),
    };
    Shown::object([("Status", plain(status)), ("Scale", scale)])
}

fn column(given: &Value) -> Shown {
    let priority = match &given["priority"] {
        Value::Null => Value::from(0),
        priority => priority.clone(),
    };
    Shown::object([
        ("Name", plain(or(given, "name", Missing::Empty))),
        ("Type", plain(or(given, "type", Missing::Empty))),
        ("Format", plain(or(given, "format", Missing::Empty))),
        ("Description", plain(or(given, "description", Missing::Empty))),
        ("Priority", plain(priority)),
        ("JSONPath", plain(or(given, "jsonPath", Missing::Empty))),
    ])
}

fn selectable(given: &Value) -> Shown {
    Shown::object([("JSONPath", plain(or(given, "jsonPath", Missing::Empty)))])
}
