//! Schemas that are small and ask for much.

use serde_json::{Value, json};

use super::super::{
    Checked, Schema, Unreadable, check_defaults, check_properties, check_rules, check_structure,
};
use crate::api::field::{Errors, Path, Shown};

/// Defaults that double at each level.
fn doubling(levels: usize) -> Value {
    let leaf = json!({"type": "object", "properties": {"z": {"type": "string"}}});
    (0..levels).fold(leaf, |items, _| {
        json!({"type": "object", "properties": {"l": {"type": "array", "default": [{}, {}], "items": items}}})
    })
}

/// What a definition with the schema is refused for.
fn refused(document: &Value) -> Vec<String> {
    let (mut errors, path) = (Errors::new(), Path::new("s"));
    check_structure(document, &path, &mut errors);
    if let Ok(schema) = Schema::read(document) {
        check_defaults(&schema, &path, &mut errors);
        if errors.is_empty() {
            check_rules(&schema, document, &path, &|rule| Shown::from(rule.clone()), &mut errors);
        }
    }
    check_properties(document, Checked { types: true }, &path, &mut errors);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_within_defaults_may_not_grow_beyond_measure() {
    assert_eq!(refused(&doubling(8)), [""; 0]);
    let why = refused(&doubling(40));
    assert_eq!(why.len(), 1, "{why:?}");
    assert!(why[0].ends_with(
        "Forbidden: the defaults of a schema may be 100000 values in all, with those within them"
    ));
}

#[test]
fn an_object_is_filled_in_as_far_as_there_is_room() {
    let schema = Schema::read(&doubling(8)).unwrap();
    let mut small = json!({});
    schema.fill_in(&mut small);
    assert!(schema.is_filled(&small));
    // What a definition from before there was a measure asks for, or an object of many that each want much.
    let bomb = Schema::read(&doubling(40)).unwrap();
    let mut object = json!({});
    bomb.fill_in(&mut object);
    assert!(!bomb.is_filled(&object));
    let list = Schema::read(&json!({"type": "array", "items": doubling(8)})).unwrap();
    let mut many: Value = (0..5000).map(|_| json!({})).collect();
    list.fill_in(&mut many);
    assert!(!list.is_filled(&many));
    assert!(many.to_string().len() < 10 * 1024 * 1024);
}

#[test]
fn what_is_filled_in_is_known_to_be() {
    let document = json!({"type": "object", "properties": {
        "a": {"type": "string", "default": "x"},
        "o": {"type": "object", "properties": {"b": {"type": "integer", "default": 1}}},
        "n": {"type": "string", "nullable": true, "default": "y"},
    }, "additionalProperties": {"type": "object", "properties": {"c": {"type": "integer", "default": 2}}}});
    let schema = Schema::read(&document).unwrap();
    for (value, full) in [
        (json!({}), false),
        (json!({"a": "1", "n": null}), true),
        (json!({"a": null, "n": null}), false),
        (json!({"a": "1", "n": "1", "o": {}}), false),
        (json!({"a": "1", "n": "1", "o": {"b": 2}}), true),
        (json!({"a": "1", "n": "1", "other": {}}), false),
        (json!({"a": "1", "n": "1", "other": {"c": 2}}), true),
    ] {
        assert_eq!(schema.is_filled(&value), full, "{value}");
        let mut after = value;
        schema.fill_in(&mut after);
        assert!(schema.is_filled(&after), "{after}");
    }
}

#[test]
fn what_is_nested_too_deep_is_no_schema() {
    let deep = (0..300).fold(json!({"type": "string"}), |items, _| json!({"type": "array", "items": items}));
    assert_eq!(Schema::read(&deep).unwrap_err(), Unreadable::TooDeep);
}

#[test]
fn rules_that_cost_too_much_are_refused_and_those_that_are_bounded_are_not() {
    let nested = |bound: Value| {
        let mut list = json!({"type": "array", "items": {"type": "string", "maxLength": 10}});
        list["maxItems"] = bound;
        json!({"type": "object", "properties": {"l": list}, "x-kubernetes-validations": [
            {"rule": "self.l.all(a, self.l.all(b, self.l.all(c, a == b || b == c)))"}]})
    };
    assert_eq!(refused(&nested(json!(10))), [""; 0]);
    let why = refused(&nested(json!(null)));
    assert!(why.iter().any(|why| why.contains("estimated rule cost exceeds budget by factor of")), "{why:?}");
}
