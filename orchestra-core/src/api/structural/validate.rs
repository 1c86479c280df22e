use serde_json::{Map, Value, json};

use super::outcome::{Outcome, Reason};
use super::{Additional, Schema, Spot, Type, Values, format, number};

impl Schema {
    /// Whether a value fits. Of a change, what is as it was in the old value is not looked at again: it may be from a
    /// time when the schema allowed it.
    pub fn validate(&self, value: &Value, old: Option<&Value>) -> Outcome {
        let mut outcome = Outcome::default();
        check(self, value, old, &Spot::ROOT, &mut outcome);
        outcome
    }
}

fn check(schema: &Schema, value: &Value, old: Option<&Value>, at: &Spot<'_>, out: &mut Outcome) {
    if old == Some(value) {
        return;
    }
    let values = schema.values();
    let format = values.format.as_deref().filter(|name| format::applies(schema, name));
    if has_types(schema) || format.is_some() {
        out.met += usize::from(fits_type(schema, format, value, at, out)) + 1;
    }
    if value.is_null() {
        return check_enum(values, value, at, out);
    }
    alternatives(values, value, old, at, out);
    match value {
        Value::String(text) => {
            check_text(values, text, at, out);
            if let Some(format) = format.filter(|name| format::is_of_text(name)) {
                check_format(format, text, at, out);
                out.met += 1;
            }
            out.met += 1;
        }
        Value::Number(given) => {
            number::check(schema, values, given, at, out);
            out.met += 2;
        }
        Value::Array(items) => {
            let old = old.and_then(Value::as_array);
            check_list(schema, items, old.map(Vec::as_slice), at, out);
            out.met += 2;
        }
        _ => {}
    }
    // A number with a fraction where a whole one must be is told of once.
    let is_fraction = schema.kind == Some(Type::Integer)
        && value.as_f64().is_some_and(|float| value.is_f64() && float.fract() != 0.0);
    if !is_fraction {
        check_enum(values, value, at, out);
    }
    out.met += 1;
    if let Value::Object(fields) = value {
        check_object(schema, fields, old.and_then(Value::as_object), at, out);
        out.met += 1;
    }
    out.met += 1;
}

fn has_types(schema: &Schema) -> bool {
    schema.kind.is_some() || schema.int_or_string
}

/// The types that a schema allows, as errors name them.
fn types(schema: &Schema) -> &str {
    match &schema.kind {
        _ if schema.int_or_string => "integer,string",
        Some(kind) => kind.as_str(),
        None => "",
    }
}

fn allows(schema: &Schema, name: &str) -> bool {
    if schema.int_or_string {
        return matches!(name, "integer" | "string");
    }
    schema.kind.as_ref().is_some_and(|kind| kind.as_str() == name)
}

/// The type of a value, and the format that goes with it.
fn type_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Number(number) if number.is_f64() => ("number", "float64"),
        Value::Number(_) => ("integer", "int64"),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

fn fits_type(schema: &Schema, format: Option<&str>, value: &Value, at: &Spot<'_>, out: &mut Outcome) -> bool {
    let (found, found_format) = type_of(value);
    let mut refuse = |wanted: &str, found: &str| {
        let name = at.text();
        let message = format!("{name} in body must be of type {wanted}: {found:?}");
        out.fault(name, found.into(), Reason::Type, message);
        false
    };
    if value.is_null() {
        return !has_types(schema) || schema.nullable || refuse(types(schema), "null");
    }
    let is_whole = value.as_f64().is_some_and(number::is_whole) && allows(schema, "integer");
    let is_number = found == "integer" && allows(schema, "number");
    let fits = allows(schema, found) || (value.is_f64() && is_whole) || is_number;
    if let Some(format) = format {
        let sequence = matches!(value, Value::String(_) | Value::Array(_));
        if !sequence && !fits && format != found_format {
            return refuse(format, found_format);
        }
        if sequence && !allows(schema, "number") && !allows(schema, "integer") {
            return true;
        }
    }
    fits || refuse(types(schema), found)
}

fn alternatives(values: &Values, value: &Value, old: Option<&Value>, at: &Spot<'_>, out: &mut Outcome) {
    let mut main = Outcome::default();
    let tried = |schema: &Schema| {
        let mut outcome = Outcome::default();
        check(schema, value, old, at, &mut outcome);
        outcome
    };
    let say = |main: &mut Outcome, what: String| {
        let message = format!("\"{}\" must {what}", at.text());
        main.fault(String::new(), Value::Null, Reason::Schema, message);
    };
    if !values.any_of.is_empty() {
        let outcomes: Vec<Outcome> = values.any_of.iter().map(tried).collect();
        match outcomes.iter().position(Outcome::is_valid) {
            Some(first) => main.merge(outcomes[first].clone()),
            None => {
                say(&mut main, "validate at least one schema (anyOf)".to_owned());
                main.merge(nearest(outcomes));
            }
        }
    }
    if !values.one_of.is_empty() {
        let outcomes: Vec<Outcome> = values.one_of.iter().map(tried).collect();
        let valid = outcomes.iter().filter(|outcome| outcome.is_valid()).count();
        match valid {
            1 => outcomes.into_iter().filter(Outcome::is_valid).for_each(|outcome| main.merge(outcome)),
            0 => {
                say(&mut main, "validate one and only one schema (oneOf). Found none valid".to_owned());
                main.merge(nearest(outcomes));
            }
            more => say(
                &mut main,
                format!("validate one and only one schema (oneOf). Found {more} valid alternatives"),
            ),
        }
    }
    let mut all = 0;
    for schema in &values.all_of {
        let outcome = tried(schema);
        all += usize::from(outcome.is_valid());
        main.merge(outcome);
    }
    if all != values.all_of.len() {
        let none = if all == 0 { ". None validated" } else { "" };
        say(&mut main, format!("validate all the schemas (allOf){none}"));
    }
    if values.not.as_deref().is_some_and(|schema| tried(schema).is_valid()) {
        say(&mut main, "not validate the schema (not)".to_owned());
    }
    out.merge(main);
    out.met += 2;
}

/// What came of the alternative that the value meets most of, of several that it does not fit.
fn nearest(outcomes: Vec<Outcome>) -> Outcome {
    let mut best: Option<Outcome> = None;
    for outcome in outcomes {
        if best.as_ref().is_none_or(|best| outcome.met > best.met) {
            best = Some(outcome);
        }
    }
    best.unwrap_or_default()
}

fn check_text(values: &Values, text: &str, at: &Spot<'_>, out: &mut Outcome) {
    let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    if let Some(most) = values.max_length.filter(|most| length() > *most) {
        let name = at.text();
        let message = format!("{name} in body should be at most {most} chars long");
        return out.fault(name, text.into(), Reason::TooLong(most), message);
    }
    if let Some(least) = values.min_length.filter(|least| length() < *least) {
        let name = at.text();
        let message = format!("{name} in body should be at least {least} chars long");
        return out.fault(name, text.into(), Reason::Other, message);
    }
    if let Some(pattern) = values.pattern.as_ref().filter(|pattern| pattern.matches(text) != Some(true)) {
        let name = at.text();
        let message = format!("{name} in body should match '{}'", pattern.as_str());
        out.fault(name, text.into(), Reason::Other, message);
    }
}

fn check_format(format: &str, text: &str, at: &Spot<'_>, out: &mut Outcome) {
    if !format::fits(format, text) {
        let name = at.text();
        let message = format!("{name} in body must be of type {format}: {text:?}");
        out.fault(name, text.into(), Reason::Type, message);
    }
}

fn check_list(schema: &Schema, items: &[Value], old: Option<&[Value]>, at: &Spot<'_>, out: &mut Outcome) {
    let values = schema.values();
    if let Some(of) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            let before = old.and_then(|old| super::lists::correlated(schema, item, old));
            check(of, item, before, &at.index(index), out);
        }
    }
    let size = i64::try_from(items.len()).unwrap_or(i64::MAX);
    if let Some(least) = values.min_items.filter(|least| size < *least) {
        let name = at.text();
        let message = format!("{name} in body should have at least {least} items");
        out.fault(name, json!(size), Reason::Other, message);
    }
    if let Some(most) = values.max_items.filter(|most| size > *most) {
        let name = at.text();
        let message = format!("{name} in body should have at most {most} items");
        out.fault(name, json!(size), Reason::TooMany(items.len(), most), message);
    }
}

fn check_enum(values: &Values, value: &Value, at: &Spot<'_>, out: &mut Outcome) {
    if values.enumeration.is_empty() || values.enumeration.iter().any(|allowed| number::same(allowed, value))
    {
        return;
    }
    let name = at.text();
    let allowed: Vec<String> = values.enumeration.iter().map(ToString::to_string).collect();
    let message = format!("{name} in body should be one of [{}]", allowed.join(" "));
    out.fault(name, value.clone(), Reason::Enum(values.enumeration.clone()), message);
}

fn check_object(
    schema: &Schema,
    fields: &Map<String, Value>,
    old: Option<&Map<String, Value>>,
    at: &Spot<'_>,
    out: &mut Outcome,
) {
    let values = schema.values();
    let size = i64::try_from(fields.len()).unwrap_or(i64::MAX);
    if let Some(least) = values.min_properties.filter(|least| size < *least) {
        let name = at.text();
        let message = format!("{name} in body should have at least {least} properties");
        out.fault(name, json!(size), Reason::Other, message);
    }
    if let Some(most) = values.max_properties.filter(|most| size > *most) {
        let name = at.text();
        let message = format!("{name} in body should have at most {most} properties");
        out.fault(name, json!(size), Reason::TooMany(fields.len(), most), message);
    }
    let before = |name: &str| old.and_then(|old| old.get(name));
    let others = || fields.iter().filter(|(name, _)| !schema.properties.contains_key(name.as_str()));
    match &schema.additional {
        Additional::Forbidden => {
            for (name, _) in others() {
                let (path, here) = (at.field(name).text(), at.text());
                let message = format!("{here}.{name} in body is a forbidden property");
                out.fault(path, Value::Null, Reason::Other, message);
            }
        }
        Additional::Of(of) => {
            others().for_each(|(name, value)| check(of, value, before(name), &at.field(name), out));
        }
        Additional::Any | Additional::Unsaid => {}
    }
    for (name, property) in &schema.properties {
        if let Some(value) = fields.get(&**name) {
            check(property, value, before(name), &at.field(name), out);
        }
    }
    for name in schema.required.iter().filter(|name| !fields.contains_key(&***name)) {
        let path = at.field(name).text();
        let message = format!("{path} in body is required");
        out.fault(path, Value::Null, Reason::Required, message);
    }
}

impl Type {
    pub(super) fn is_text(&self) -> bool {
        *self == Self::String
    }
}
