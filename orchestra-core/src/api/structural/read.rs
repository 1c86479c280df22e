use serde_json::{Map, Value};

use super::{Additional, ListType, Pattern, Rule, Schema, Type, Values};

/// How deep schemas may be nested. A body is not nested deeper than its reader allows; the limit here is for what comes
/// out of a store.
pub const MAX_DEPTH: usize = 200;

/// Why a document is not a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Schemas are nested too deep.
    #[error("schemas may not be nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A schema is not an object.
    #[error("a schema must be an object")]
    NoObject,
}

impl Values {
    pub(super) const NONE: Self = Self {
        format: None,
        enumeration: Vec::new(),
        maximum: None,
        exclusive_maximum: false,
        minimum: None,
        exclusive_minimum: false,
        multiple_of: None,
        max_length: None,
        min_length: None,
        pattern: None,
        max_items: None,
        min_items: None,
        max_properties: None,
        min_properties: None,
        all_of: Vec::new(),
        any_of: Vec::new(),
        one_of: Vec::new(),
        not: None,
    };

    fn says_nothing(&self) -> bool {
        self.format.is_none()
            && self.pattern.is_none()
            && self.not.is_none()
            && [&self.all_of, &self.any_of, &self.one_of].iter().all(|schemas| schemas.is_empty())
            && self.enumeration.is_empty()
            && [self.maximum, self.minimum, self.multiple_of].iter().all(Option::is_none)
            && [self.max_length, self.min_length, self.max_items, self.min_items].iter().all(Option::is_none)
            && [self.max_properties, self.min_properties].iter().all(Option::is_none)
    }
}

impl Schema {
    /// Reads an `openAPIV3Schema`. What is no part of a schema is passed over, as is what is of the wrong type: the
    /// definition's own rules have refused it.
    ///
    /// # Errors
    /// When the document is not a schema, or is nested too deep.
    pub fn read(document: &Value) -> Result<Self, Unreadable> {
        read(document, 0)
    }
}

fn read(document: &Value, depth: usize) -> Result<Schema, Unreadable> {
    if depth > MAX_DEPTH {
        return Err(Unreadable::TooDeep);
    }
    let Value::Object(fields) = document else { return Err(Unreadable::NoObject) };
    let flag = |name: &str| fields.get(name) == Some(&Value::Bool(true));
    let below = |document: &Value| read(document, depth + 1);
    let mut schema = Schema {
        kind: text(fields, "type").map(Type::named),
        int_or_string: flag("x-kubernetes-int-or-string"),
        nullable: flag("nullable"),
        preserve: flag("x-kubernetes-preserve-unknown-fields"),
        embedded: flag("x-kubernetes-embedded-resource"),
        default: fields.get("default").filter(|value| !value.is_null()).cloned(),
        required: texts(fields, "required"),
        list: match text(fields, "x-kubernetes-list-type") {
            Some("set") => ListType::Set,
            Some("map") => ListType::Map,
            _ => ListType::Atomic,
        },
        list_keys: texts(fields, "x-kubernetes-list-map-keys"),
        atomic_map: text(fields, "x-kubernetes-map-type") == Some("atomic"),
        rules: rules(fields),
        ..Schema::default()
    };
    for (name, property) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
        schema.properties.insert(name.as_str().into(), below(property)?);
    }
    schema.additional = match fields.get("additionalProperties") {
        Some(Value::Bool(true)) => Additional::Any,
        Some(Value::Bool(false)) => Additional::Forbidden,
        Some(document @ Value::Object(_)) => Additional::Of(Box::new(below(document)?)),
        _ => Additional::Unsaid,
    };
    if let Some(items @ Value::Object(_)) = fields.get("items") {
        schema.items = Some(Box::new(below(items)?));
    }
    let values = values(fields, &below)?;
    schema.values = (!values.says_nothing()).then(|| Box::new(values));
    schema.has_defaults = schema.default.is_some()
        || schema
            .properties
            .values()
            .chain(schema.items())
            .chain(schema.map_values())
            .any(|s| s.has_defaults);
    Ok(schema)
}

fn values(
    fields: &Map<String, Value>,
    below: &dyn Fn(&Value) -> Result<Schema, Unreadable>,
) -> Result<Values, Unreadable> {
    let flag = |name: &str| fields.get(name) == Some(&Value::Bool(true));
    let number = |name: &str| fields.get(name).and_then(Value::as_f64);
    let whole = |name: &str| fields.get(name).and_then(Value::as_i64);
    let several = |name: &str| {
        let documents = fields.get(name).and_then(Value::as_array).into_iter().flatten();
        documents.map(below).collect::<Result<Vec<_>, _>>()
    };
    Ok(Values {
        format: text(fields, "format").map(Into::into),
        enumeration: fields.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
        maximum: number("maximum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        minimum: number("minimum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        multiple_of: number("multipleOf"),
        max_length: whole("maxLength"),
        min_length: whole("minLength"),
        pattern: text(fields, "pattern").map(Pattern::new),
        max_items: whole("maxItems"),
        min_items: whole("minItems"),
        max_properties: whole("maxProperties"),
        min_properties: whole("minProperties"),
        all_of: several("allOf")?,
        any_of: several("anyOf")?,
        one_of: several("oneOf")?,
        not: fields.get("not").filter(|document| document.is_object()).map(below).transpose()?.map(Box::new),
    })
}

fn rules(fields: &Map<String, Value>) -> Box<[Rule]> {
    let rules = fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
    let rule = |rule: &Value| {
        let text = |name: &str| rule[name].as_str().unwrap_or_default().to_owned();
        Rule {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: rule["reason"].as_str().map(str::to_owned),
            field_path: text("fieldPath"),
            optional_old_self: rule["optionalOldSelf"].as_bool(),
        }
    };
    rules.map(rule).collect()
}

/// A text that is not empty.
fn text<'f>(fields: &'f Map<String, Value>, name: &str) -> Option<&'f str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn texts(fields: &Map<String, Value>, name: &str) -> Box<[Box<str>]> {
    let list = fields.get(name).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(Into::into).collect()
}
