//! What is written at once of a new object is what comes of comparing it with nothing.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::Alone;
use crate::api::ownership::managers::Held;
use crate::api::ownership::{Author, FieldSet, Ignored, Kind, NodeId, Schema, first, update};
use crate::api::schema::{Place, canonical};

/// Names of fields of the kinds below, and some of none.
const NAMES: [&str; 36] = [
    "metadata",
    "spec",
    "status",
    "data",
    "labels",
    "annotations",
    "name",
    "uid",
    "finalizers",
    "ownerReferences",
    "generation",
    "containers",
    "initContainers",
    "volumes",
    "emptyDir",
    "env",
    "value",
    "ports",
    "containerPort",
    "protocol",
    "port",
    "resources",
    "requests",
    "cpu",
    "template",
    "selector",
    "matchLabels",
    "hostAliases",
    "ip",
    "tolerations",
    "topologyKey",
    "nodeSelector",
    "securityContext",
    "creationTimestamp",
    "a\"b",
    "ü",
];

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3).prop_map(Value::from),
        Just(json!(1.5)),
        "[a-c\"]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 4, |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => proptest::collection::btree_map(proptest::sample::select(&NAMES[..]), inner, 0..5)
                .prop_map(object),
        ]
    })
}

fn object(fields: std::collections::BTreeMap<&'static str, Value>) -> Value {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}

/// A kind as the server asks about it, or as one of which nothing is known.
fn kinds() -> Vec<Kind<'static>> {
    let mut kinds: Vec<Kind<'static>> = [("v1", "Pod"), ("v1", "Service"), ("apps/v1", "Deployment")]
        .into_iter()
        .map(|(api_version, name)| {
            let place = Place::of_kind(api_version, name).unwrap();
            let (schema, node) = Schema::builtin(place);
            let empty = canonical::nothing(place);
            let ignored = Ignored::These(FieldSet::of(["status"]));
            Kind { api_version, schema, node, empty, ignored, versions: &Alone }
        })
        .collect();
    let ignored = Ignored::These(FieldSet::of(["spec", "containers"]));
    let (schema, node) = (Schema::deduced(), NodeId::DEDUCED);
    let empty = canonical::nothing(Place::Plain);
    kinds.push(Kind { api_version: "a.b/v1", schema, node, empty, ignored, versions: &Alone });
    kinds
}

fn holds(kind: &Kind<'_>, object: &Value) -> Result<bool, TestCaseError> {
    let author = Author { manager: "me", subresource: "", now: "2026-01-01T00:00:00Z" };
    let Some(text) = first(kind, object, author) else { return Ok(false) };
    let text: Value = serde_json::from_str(&text).expect("it is JSON");
    let compared = update(kind, None, object, (Held::Value(&Value::Null), &Value::Null), author);
    prop_assert_eq!(Some(Some(text)), compared.into_value(), "of {}", object);
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn it_is_what_comparing_comes_to(object in values()) {
        for kind in kinds() {
            holds(&kind, &object)?;
        }
    }
}

#[test]
fn of_what_people_make_it_is_found_at_once() {
    let spec = json!({
        "containers": [
            {"name": "a", "env": [{"name": "A", "value": "\""}], "ports": [{"containerPort": 1, "protocol": "TCP"}]},
            {"name": "b", "resources": {"limits": {}}, "command": ["sh"]},
        ],
        "tolerations": [], "nodeSelector": {"a": "b"},
    });
    let pod = json!({"metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x"]}, "spec": spec, "status": {"a": 1}});
    assert!(holds(&kinds()[0], &pod).unwrap());
    let twice = json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}});
    assert!(!holds(&kinds()[0], &twice).unwrap(), "what stands twice is left to the comparison");
    assert!(!holds(&kinds()[0], &json!({"metadata": {"name": "p"}})).unwrap(), "nothing is owned");
}
