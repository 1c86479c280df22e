//! Applying to objects of custom kinds: what their structural schemas make of lists and maps.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::properties::{applied_again, sorted};
use super::*;
use crate::api::structural;

fn schema_of(document: &Value) -> (Schema, NodeId) {
    Schema::structural(&structural::Schema::read(document).unwrap())
}

fn of_spec(spec: Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}})
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "T", "spec": spec})
}

/// The fields that who applies a configuration owns of its `spec`.
fn owned(spec: Value, config: Value) -> Value {
    let (schema, node) = schema_of(&of_spec(spec));
    field_set(&schema, node, &object(config)).write()["f:spec"].take()
}

#[test]
fn the_schema_says_what_is_one_value() {
    let text = json!({"type": "string"});
    let keyed = json!({"type": "object", "properties": {"k": text, "p": {"type": "integer", "default": 80}, "v": text}});
    for (what, schema, value, expected) in [
        ("a list", json!({"type": "array", "items": text}), json!(["a"]), json!({})),
        (
            "a set",
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": text}),
            json!(["b", "a"]),
            json!({"v:\"a\"": {}, "v:\"b\"": {}}),
        ),
        (
            "a list by keys, of which one has a default",
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"], "items": keyed}),
            json!([{"k": "a", "v": "1"}]),
            json!({"k:{\"k\":\"a\",\"p\":80}": {".": {}, "f:k": {}, "f:v": {}}}),
        ),
        (
            "a map",
            json!({"type": "object", "additionalProperties": text}),
            json!({"a": "1"}),
            json!({"f:a": {}}),
        ),
        (
            "a map that is one value",
            json!({"type": "object", "additionalProperties": text, "x-kubernetes-map-type": "atomic"}),
            json!({"a": "1"}),
            json!({}),
        ),
        (
            "what is not told of",
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            json!({"x": {"y": [1, 2]}}),
            json!({"f:x": {".": {}, "f:y": {}}}),
        ),
        (
            "what is not told of, within a field that is",
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"in": {"type": "object", "properties": {"y": text}}}}),
            json!({"in": {"y": "1", "z": 1}, "out": 1}),
            json!({"f:in": {"f:y": {}, "f:z": {}}, "f:out": {}}),
        ),
        ("a number or a text", json!({"x-kubernetes-int-or-string": true}), json!("50%"), json!({})),
        (
            "an object of another kind",
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"finalizers": ["a/b"]}, "spec": {"x": 1}}),
            json!({"f:apiVersion": {}, "f:kind": {}, "f:metadata": {"f:finalizers": {"v:\"a/b\"": {}}},
                "f:spec": {".": {}, "f:x": {}}}),
        ),
    ] {
        let spec = json!({"type": "object", "properties": {"it": schema}});
        assert_eq!(owned(spec, json!({"it": value})), json!({"f:it": expected}), "{what}");
    }
}

#[test]
fn every_object_has_metadata_as_kubernetes_has_them() {
    let (schema, node) = schema_of(&of_spec(json!({"type": "object"})));
    let mut config = object(json!({}));
    config["metadata"] = json!({"name": "x", "labels": {"a": "1"}, "finalizers": ["a/b"],
        "ownerReferences": [{"uid": "u", "name": "n"}]});
    let fields = field_set(&schema, node, &config).write();
    let expected = json!({"f:name": {}, "f:labels": {"f:a": {}}, "f:finalizers": {"v:\"a/b\"": {}},
        "f:ownerReferences": {"k:{\"uid\":\"u\"}": {}}});
    assert_eq!(fields["f:metadata"], expected);
}

#[test]
fn what_the_schema_does_not_know_is_refused() {
    let closed = json!({"type": "object", "properties": {"n": {"type": "integer"},
        "t": {"type": "string", "format": "date-time"}}});
    let (schema, node) = schema_of(&of_spec(closed));
    let refused =
        |spec: Value| check(&schema, node, &object(spec), Repeated::Refused).unwrap_err().to_string();
    assert_eq!(refused(json!({"x": 1})), ".spec.x: field not declared in schema");
    assert_eq!(refused(json!({"n": "1"})), ".spec.n: expected numeric (int or float), got string");
    assert!(
        refused(json!({"t": {}})).starts_with(".spec.t: expected any scalar"),
        "a format is more than texts"
    );
}

/// A structural schema, and how its values are made: `depth` levels of lists, maps and objects.
fn shape(depth: u32) -> BoxedStrategy<Value> {
    let text = json!({"type": "string"});
    let leaf = proptest::sample::select(vec![
        text.clone(),
        json!({"type": "integer"}),
        json!({"type": "boolean"}),
        json!({"x-kubernetes-int-or-string": true}),
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        json!({"type": "array", "x-kubernetes-list-type": "set", "items": text}),
    ]);
    if depth == 0 {
        return leaf.boxed();
    }
    let fields = || proptest::collection::btree_map("[abc]", shape(depth - 1), 1..4);
    let object = fields().prop_map(|fields| json!({"type": "object", "properties": fields}));
    let map = (shape(depth - 1), any::<bool>()).prop_map(|(values, atomic)| {
        let kind = if atomic { "atomic" } else { "granular" };
        json!({"type": "object", "additionalProperties": values, "x-kubernetes-map-type": kind})
    });
    let list = shape(depth - 1).prop_map(|items| json!({"type": "array", "items": items}));
    let keyed = fields().prop_map(|mut fields| {
        fields.insert("k".to_owned(), json!({"type": "string"}));
        fields.insert("p".to_owned(), json!({"type": "integer", "default": 1}));
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"],
            "items": {"type": "object", "required": ["k"], "properties": fields}})
    });
    prop_oneof![1 => leaf, 3 => object, 1 => map, 1 => list, 2 => keyed].boxed()
}

/// A value of a schema in which nothing is empty: nobody owns an empty list, so that it goes with its last element.
fn value_of(schema: &Value) -> BoxedStrategy<Value> {
    match schema["type"].as_str().unwrap_or_default() {
        "string" => "[xyz]".prop_map(Value::from).boxed(),
        "integer" => (0..3).prop_map(Value::from).boxed(),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "array" => list_of(schema),
        "object" if schema["properties"].is_object() => fields_of(&schema["properties"]),
        "object" => {
            let values = match &schema["additionalProperties"] {
                Value::Null => "[xy]".prop_map(Value::from).boxed(),
                values => value_of(values),
            };
            proptest::collection::btree_map("[de]", values, 1..3).prop_map(|map| json!(map)).boxed()
        }
        _ => prop_oneof![(0..3).prop_map(Value::from), "[xy]".prop_map(Value::from)].boxed(),
    }
}

/// Some of the fields, and one of them for certain.
fn fields_of(properties: &Value) -> BoxedStrategy<Value> {
    let mut all = Just(serde_json::Map::new()).boxed();
    for (place, (name, schema)) in properties.as_object().unwrap().iter().enumerate() {
        let (name, value) = (name.clone(), value_of(schema));
        let value =
            if place == 0 { value.prop_map(Some).boxed() } else { proptest::option::of(value).boxed() };
        all = (all, value)
            .prop_map(move |(mut fields, value)| {
                fields.extend(value.map(|value| (name.clone(), value)));
                fields
            })
            .boxed();
    }
    all.prop_map(Value::from).boxed()
}

fn list_of(schema: &Value) -> BoxedStrategy<Value> {
    let items = value_of(&schema["items"]);
    match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => proptest::collection::btree_set("[xyz]", 1..3).prop_map(|set| json!(set)).boxed(),
        Some("map") => {
            let items = proptest::collection::btree_map("[mno]", items, 1..3).prop_map(|map| {
                let keyed = |(key, mut item): (String, Value)| {
                    item["k"] = key.into();
                    item
                };
                map.into_iter().map(keyed).collect::<Vec<_>>()
            });
            items.prop_shuffle().prop_map(Value::from).boxed()
        }
        _ => proptest::collection::vec(items, 1..3).prop_map(Value::from).boxed(),
    }
}

/// A schema of a kind with three objects of it.
fn kind_and_objects() -> impl Strategy<Value = (Value, [Value; 3])> {
    let spec = proptest::collection::btree_map("[abc]", shape(3), 1..4)
        .prop_map(|fields| json!({"type": "object", "properties": fields}));
    spec.prop_flat_map(|spec| {
        let one = || value_of(&spec).prop_map(object);
        (Just(of_spec(spec.clone())), [one(), one(), one()])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn to_apply_again_changes_nothing((schema, [live, first, second]) in kind_and_objects()) {
        let (schema, node) = schema_of(&schema);
        applied_again(&kind(&schema, node), [live, first, second])?;
    }

    #[test]
    fn the_applied_is_there_and_owned((schema, [live, first, second]) in kind_and_objects()) {
        let (schema, node) = schema_of(&schema);
        let kind = kind(&schema, node);
        let held = Held::default().updated(&kind, by("u"), live);
        let held = held.applied(&kind, by("a"), &first, true).unwrap();
        let held = held.applied(&kind, by("a"), &second, true).unwrap();
        let object = held.object.clone().unwrap();
        let merged = merge(&schema, node, object.clone(), &second);
        prop_assert_eq!(sorted(&merged), sorted(&object));
        let identity = FieldSet::of(["apiVersion"]).union(&FieldSet::of(["kind"]));
        let expected = field_set(&schema, node, &second).difference(&identity);
        prop_assert_eq!(held.fields("a"), json!([expected.write()]));
    }

    #[test]
    fn what_others_own_is_not_lost_without_force((schema, [live, first, second]) in kind_and_objects()) {
        let (schema, node) = schema_of(&schema);
        let kind = kind(&schema, node);
        let held = Held::default().updated(&kind, by("u"), live);
        let held = held.applied(&kind, by("a"), &first, true).unwrap();
        let before = field_set(&schema, node, &first);
        if let Ok(after) = held.applied(&kind, by("b"), &second, false) {
            let object = after.object.clone().unwrap();
            let lost = before.difference(&field_set(&schema, node, &object));
            prop_assert!(lost.is_empty(), "{lost}");
            prop_assert_eq!(held.fields("a"), after.fields("a"));
        }
    }
}
