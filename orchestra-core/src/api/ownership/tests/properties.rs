//! What always holds of whose fields are, whatever is applied.

use proptest::prelude::*;

use super::*;

/// A schema with a list of each sort, and maps.
pub(super) fn schema() -> (Schema, NodeId) {
    let mut builder = SchemaBuilder::new();
    let field = |name: &'static str, of| Field { name: name.into(), of, default: None };
    let map = |fields: Vec<Field>, element, atomic| Node {
        map: Some(Map { fields: fields.into_iter().collect(), element, atomic }),
        ..Node::default()
    };
    let list = |element, relation| Node { list: Some(List { element, relation }), ..Node::default() };
    let texts = builder.add(map(Vec::new(), Some(NodeId::STRING), false));
    let whole = builder.add(map(Vec::new(), Some(NodeId::STRING), true));
    let set = builder.add(list(NodeId::STRING, Relation::Set));
    let array = builder.add(list(NodeId::STRING, Relation::Atomic));
    let item = builder.add(Node::default());
    let items = builder.add(list(item, Relation::Keyed(["name".into()].into())));
    let inner = vec![
        field("name", NodeId::STRING),
        field("value", NodeId::STRING),
        field("texts", texts),
        field("items", items),
    ];
    builder.set(item, map(inner, None, false));
    let spec = vec![
        field("text", NodeId::STRING),
        field("texts", texts),
        field("whole", whole),
        field("set", set),
        field("array", array),
        field("items", items),
        field("any", NodeId::DEDUCED),
    ];
    let spec = builder.add(map(spec, None, false));
    let root = vec![field("apiVersion", NodeId::STRING), field("kind", NodeId::STRING), field("spec", spec)];
    let root = builder.add(map(root, None, false));
    (builder.build(), root)
}

/// A configuration whose names are among those given. What is empty is left out: nobody owns an empty list, so that it
/// goes with the last of its elements, as in Kubernetes.
fn config(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let name = || proptest::sample::select(names);
    let texts = || proptest::collection::btree_map(name(), "[xy]", 1..3).prop_map(|map| json!(map));
    let items = |inner: BoxedStrategy<Value>| {
        proptest::collection::btree_map(name(), inner, 1..3).prop_shuffle_items()
    };
    let leaf = (proptest::option::of("[xy]"), proptest::option::of(texts())).prop_map(|(value, texts)| {
        let mut item = json!({});
        if let Some(value) = value {
            item["value"] = value.into();
        }
        if let Some(texts) = texts {
            item["texts"] = texts;
        }
        item
    });
    let nested = (leaf.clone(), proptest::option::of(items(leaf.boxed()))).prop_map(|(mut item, items)| {
        if let Some(items) = items {
            item["items"] = items;
        }
        item
    });
    let set = proptest::collection::btree_set(name(), 1..3).prop_map(|set| json!(set));
    let parts = (
        proptest::option::of(texts()),
        proptest::option::of(set),
        proptest::option::of(items(nested.boxed())),
        proptest::option::of(texts()),
    );
    parts.prop_map(|(texts, set, items, any)| {
        let mut spec = json!({});
        if let Some(texts) = texts {
            spec["texts"] = texts;
        }
        if let Some(set) = set {
            spec["set"] = set;
        }
        if let Some(items) = items {
            spec["items"] = items;
        }
        if let Some(any) = any {
            spec["any"] = any;
        }
        json!({"apiVersion": "v1", "kind": "T", "spec": spec})
    })
}

trait ShuffleItems {
    fn prop_shuffle_items(self) -> BoxedStrategy<Value>;
}

impl<S> ShuffleItems for S
where
    S: Strategy<Value = std::collections::BTreeMap<&'static str, Value>> + 'static,
{
    /// The items of a keyed list, in any order.
    fn prop_shuffle_items(self) -> BoxedStrategy<Value> {
        let list = self.prop_map(|map| {
            let item = |(name, mut item): (&str, Value)| {
                item["name"] = name.into();
                item
            };
            map.into_iter().map(item).collect::<Vec<_>>()
        });
        list.prop_shuffle().prop_map(Value::from).boxed()
    }
}

/// The same with lists sorted, whose order does not matter here.
pub(super) fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(sorted).collect();
            items.sort_by_key(Value::to_string);
            items.into()
        }
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), sorted(value))).collect(),
        other => other.clone(),
    }
}

const ALL: &[&str] = &["a", "b", "c", "d"];
const LEFT: &[&str] = &["a", "b"];
const RIGHT: &[&str] = &["c", "d"];

/// What was applied already and is applied again, later, changes nothing.
pub(super) fn applied_again(kind: &Kind<'_>, [live, first, second]: [Value; 3]) -> Result<(), TestCaseError> {
    let held = Held::default().updated(kind, by("u"), live);
    let held = held.applied(kind, by("a"), &first, true).unwrap();
    let held = held.applied(kind, by("a"), &second, true).unwrap();
    let again = held.applied(kind, Author { now: LATER, ..by("a") }, &second, false).unwrap();
    prop_assert_eq!(again, held);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn to_apply_again_changes_nothing(live in config(ALL), first in config(ALL), second in config(ALL)) {
        let (schema, node) = schema();
        applied_again(&kind(&schema, node), [live, first, second])?;
    }

    #[test]
    fn appliers_of_different_fields_come_in_any_order(ours in config(LEFT), theirs in config(RIGHT), live in config(ALL)) {
        let (schema, node) = schema();
        let kind = kind(&schema, node);
        let start = Held::default().updated(&kind, by("u"), live);
        let both = |first: (&str, &Value), second: (&str, &Value)| {
            let held = start.applied(&kind, by(first.0), first.1, true).unwrap();
            let held = held.applied(&kind, by(second.0), second.1, true).unwrap();
            (sorted(held.object.as_ref().unwrap()), held.fields("a"), held.fields("b"), held.fields("u"))
        };
        prop_assert_eq!(both(("a", &ours), ("b", &theirs)), both(("b", &theirs), ("a", &ours)));
    }

    #[test]
    fn of_what_is_stored_only_what_a_write_touches_is_read(
        live in config(ALL),
        applied in config(ALL),
        writes in proptest::collection::vec((config(ALL), proptest::sample::select(&["a", "b", "c"][..])), 1..6),
    ) {
        let (schema, node) = schema();
        let schema = schema.fixed();
        let kind = kind(&schema, node);
        let held = Held::default().updated(&kind, by("u"), live).applied(&kind, by("a"), &applied, true).unwrap();
        // It is compared there with what comes of reading all.
        writes.into_iter().fold(held, |held, (new, writer)| {
            let held = held.updated(&kind, by(writer), new.clone());
            let mut again = new;
            again["spec"]["text"] = "x".into();
            let held = held.updated(&kind, by(writer), again.clone());
            again["spec"]["text"] = "y".into();
            held.updated(&kind, Author { now: LATER, ..by(writer) }, again)
        });
    }

    #[test]
    fn what_the_applier_never_had_stays(live in config(ALL), first in config(ALL), second in config(ALL)) {
        let (schema, node) = schema();
        let kind = kind(&schema, node);
        let mut live = live;
        live["spec"]["text"] = "x".into();
        let held = Held { object: Some(live.clone()), owners: Value::Null };
        let held = held.applied(&kind, by("a"), &first, true).unwrap();
        let held = held.applied(&kind, by("a"), &second, true).unwrap();
        let (first, before) = (field_set(&schema, node, &first), field_set(&schema, node, &live));
        let kept = before.difference(&first);
        let object = held.object.unwrap();
        let lost = kept.difference(&field_set(&schema, node, &object));
        prop_assert!(lost.is_empty(), "{lost}");
    }

    #[test]
    fn the_applied_is_there_and_owned(live in config(ALL), first in config(ALL), second in config(ALL)) {
        let (schema, node) = schema();
        let kind = kind(&schema, node);
        let held = Held::default().updated(&kind, by("u"), live);
        let held = held.applied(&kind, by("a"), &first, true).unwrap();
        let held = held.applied(&kind, by("a"), &second, true).unwrap();
        let object = held.object.clone().unwrap();
        let merged = merge(&schema, node, object.clone(), &second);
        prop_assert_eq!(sorted(&merged), sorted(&object));
        // A manager of nothing is not noted.
        let owned = held.fields("a");
        let identity = FieldSet::of(["apiVersion"]).union(&FieldSet::of(["kind"]));
        let expected = field_set(&schema, node, &second).difference(&identity);
        let expected: Value = Some(expected).filter(|set| !set.is_empty()).iter().map(FieldSet::write).collect();
        prop_assert_eq!(owned, expected);
    }

    #[test]
    fn sets_are_written_as_they_are_read(one in config(ALL), other in config(ALL)) {
        let (schema, node) = schema();
        let (one, other) = (field_set(&schema, node, &one), field_set(&schema, node, &other));
        for set in [&one, &one.union(&other), &one.difference(&other), &one.intersection(&other)] {
            let written = set.write();
            prop_assert_eq!(&FieldSet::read(&written).unwrap(), set);
            prop_assert_eq!(serde_json::from_str::<Value>(&set.write_text()).unwrap(), written);
        }
        prop_assert_eq!(one.difference(&other).union(&one.intersection(&other)), one.clone());
        prop_assert!(one.difference(&other).intersection(&other).is_empty());
        prop_assert_eq!(one.union(&other), other.union(&one));
    }

    #[test]
    fn a_comparison_says_how_one_becomes_the_other(old in config(ALL), new in config(ALL)) {
        let (schema, node) = schema();
        let forth = compare(&schema, node, &old, &new).unwrap();
        let back = compare(&schema, node, &new, &old).unwrap();
        prop_assert_eq!(&forth.added, &back.removed);
        prop_assert_eq!(&forth.modified, &back.modified);
        prop_assert!(compare(&schema, node, &new, &new).unwrap().is_empty());
    }
}
