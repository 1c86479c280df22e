//! What always holds of patches, whatever the documents are.

use proptest::prelude::*;

use super::*;

/// The strategic patch that turns one document into another, in the form in which kubectl computes it.
fn diff(from: &Value, to: &Value, place: &Place) -> Value {
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return to.clone() };
    let mut patch = serde_json::Map::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, want) in to {
        let step = place.step(key);
        let merges = step.facts.is_some_and(|facts| facts.merge);
        match (from.get(key), want) {
            (Some(held), want) if held == want => {}
            (Some(held @ Value::Object(_)), Value::Object(_)) => {
                patch.insert(key.clone(), diff(held, want, &step.place));
            }
            (Some(Value::Array(held)), Value::Array(want)) if merges => {
                diff_list(&mut patch, key, held, want, &step);
            }
            (_, want) => {
                patch.insert(key.clone(), want.clone());
            }
        }
    }
    Value::Object(patch)
}

fn diff_list(
    patch: &mut serde_json::Map<String, Value>,
    name: &str,
    held: &[Value],
    want: &[Value],
    step: &crate::api::schema::Step,
) {
    let facts = step.facts.unwrap();
    let Some(key) = facts.merge_key else {
        let gone: Vec<_> = held.iter().filter(|item| !want.contains(item)).cloned().collect();
        let new: Vec<_> = want.iter().filter(|item| !held.contains(item)).cloned().collect();
        patch.insert(format!("$deleteFromPrimitiveList/{name}"), gone.into());
        patch.insert(format!("$setElementOrder/{name}"), want.into());
        patch.insert(name.to_owned(), new.into());
        return;
    };
    let find = |list: &[Value], item: &Value| list.iter().find(|held| held[key] == item[key]).cloned();
    let mut changes = Vec::new();
    for item in want {
        let mut change = find(held, item).map_or_else(|| item.clone(), |held| diff(&held, item, &step.place));
        if find(held, item).as_ref() != Some(item) {
            change[key] = item[key].clone();
            // What is new is given as it is.
            if facts.retain_keys && find(held, item).is_some() {
                change["$retainKeys"] = item.as_object().unwrap().keys().cloned().collect();
            }
            changes.push(change);
        }
    }
    for item in held.iter().filter(|item| find(want, item).is_none()) {
        changes.push(json!({key: item[key], "$patch": "delete"}));
    }
    let order: Vec<_> = want.iter().map(|item| json!({key: item[key]})).collect();
    patch.insert(format!("$setElementOrder/{name}"), order.into());
    patch.insert(name.to_owned(), changes.into());
}

fn named(key: &'static str, others: &'static [&'static str]) -> BoxedStrategy<Value> {
    let item = move |name: char| {
        proptest::collection::btree_map(proptest::sample::select(others), 0..3, 0..=others.len()).prop_map(
            move |fields: std::collections::BTreeMap<&str, i32>| {
                let mut item = json!({key: name.to_string()});
                for (field, value) in fields {
                    item[field] = value.into();
                }
                item
            },
        )
    };
    let names = proptest::sample::subsequence(vec!['a', 'b', 'c', 'd'], 0..=4).prop_shuffle();
    names
        .prop_flat_map(move |names| names.into_iter().map(item).collect::<Vec<_>>())
        .prop_map(Value::from)
        .boxed()
}

fn pod() -> impl Strategy<Value = Value> {
    let labels = proptest::collection::btree_map("[a-c]", "[x-z]", 0..3);
    let finalizers = proptest::sample::subsequence(vec!["p", "q", "r"], 0..=3).prop_shuffle();
    let tolerations = proptest::collection::vec((0..3).prop_map(|key| json!({"key": key})), 0..3);
    let env = named("name", &["value"]);
    let container = (named("name", &["image", "tty"]), env).prop_map(|(mut containers, env)| {
        if let Some(first) = containers.get_mut(0) {
            first["env"] = env;
        }
        containers
    });
    let volumes = named("name", &["emptyDir", "hostPath"]);
    (labels, finalizers, tolerations, container, volumes).prop_map(
        |(labels, finalizers, tolerations, containers, volumes)| {
            json!({
                "metadata": {"labels": labels, "finalizers": finalizers},
                "spec": {"tolerations": tolerations, "containers": containers, "volumes": volumes},
            })
        },
    )
}

proptest! {
    #[test]
    fn a_patch_computed_as_kubectl_does_leads_to_its_target(from in pod(), to in pod()) {
        let change = diff(&from, &to, &Place::of(&pods()).unwrap());
        let patched = patch(&pods(), PatchKind::Strategic, &from, &change).unwrap();
        prop_assert_eq!(&patched, &to);
        let again = patch(&pods(), PatchKind::Strategic, &patched, &change).unwrap();
        prop_assert_eq!(&again, &to);
    }

    #[test]
    fn an_empty_patch_changes_nothing(from in pod()) {
        for kind in [PatchKind::Strategic, PatchKind::Merge] {
            prop_assert_eq!(&patch(&pods(), kind, &from, &json!({})).unwrap(), &from);
        }
        prop_assert_eq!(&patch(&pods(), PatchKind::Json, &from, &json!([])).unwrap(), &from);
    }

    #[test]
    fn no_bytes_make_it_panic(kind in proptest::sample::select(PatchKind::ALL.to_vec()), from in pod(), bytes in ".*") {
        let _ = apply(&pods(), kind, from.clone(), bytes.as_bytes());
    }
}
