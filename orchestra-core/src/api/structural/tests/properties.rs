//! What always holds of schemas and values, whatever they are.

use proptest::prelude::*;

use super::*;

/// Any JSON, not deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// A schema, more or less.
fn any_schema() -> impl Strategy<Value = Value> {
    let leaf = prop::sample::select(vec![
        json!({"type": "string", "default": "d"}),
        json!({"type": "integer", "minimum": 3}),
        json!({"type": "string", "nullable": true, "pattern": "a+"}),
        json!({"x-kubernetes-int-or-string": true}),
        json!({"type": "boolean"}),
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        json!({"type": 5, "required": 7, "enum": {}, "x-kubernetes-validations": [1]}),
    ]);
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::btree_map("[a-c]", inner.clone(), 0..4)
                .prop_map(|properties| json!({"type": "object", "properties": properties})),
            inner
                .clone()
                .prop_map(|items| json!({"type": "array", "items": items, "x-kubernetes-list-type": "set"})),
            inner.clone().prop_map(|of| json!({"type": "object", "additionalProperties": of})),
            (inner.clone(), inner).prop_map(|(one, other)| json!({"type": "object", "anyOf": [one, other]})),
        ]
    })
}

proptest! {
    #[test]
    fn pruning_and_defaulting_are_done_once(document in any_schema(), value in any_json()) {
        let schema = schema(&document);
        let mut once = value;
        schema.prune(&mut once);
        schema.fill_in(&mut once);
        let mut twice = once.clone();
        prop_assert!(schema.prune(&mut twice).is_empty() || document["default"].is_object());
        schema.fill_in(&mut twice);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn any_schema_and_any_value_have_an_answer(document in any_schema(), value in any_json(), old in any_json()) {
        let schema = schema(&document);
        let outcome = schema.validate(&value, None);
        prop_assert!(schema.validate(&value, Some(&value)).is_valid(), "what has not changed is let be");
        let _ = schema.validate(&value, Some(&old));
        let (mut errors, path) = (Errors::new(), Path::new("s"));
        outcome.say(&path, &mut errors);
        check_structure(&document, &path, &mut errors);
        check_properties(&document, Checked { types: true }, &path, &mut errors);
        check_defaults(&schema, &path, &mut errors);
    }
}
