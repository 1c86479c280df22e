//! Whose a name is: pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The names that a definition has, and why it has not all that it asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settled {
    pub(super) accepted: Value,
    /// The reason and the message of a refusal; the last of several.
    pub(super) conflict: Option<(&'static str, String)>,
}

/// Settles the names of a definition among the others of its group.
pub(super) fn settle(definition: &Value, others: &[Value]) -> Settled {
    let asked = &definition["spec"]["names"];
    let held = &definition["status"]["acceptedNames"];
    let taken = |fields: &[&str]| -> BTreeSet<&str> {
        let accepted = others.iter().map(|other| &other["status"]["acceptedNames"]);
        let names = accepted.flat_map(|accepted| {
            let single = fields.iter().filter_map(|field| accepted[*field].as_str());
            let short = accepted["shortNames"].as_array().filter(|_| fields.contains(&"plural"));
            single.chain(short.into_iter().flatten().filter_map(Value::as_str))
        });
        names.filter(|name| !name.is_empty()).collect()
    };
    let (resources, kinds) = (taken(&["plural", "singular"]), taken(&["kind", "listKind"]));
    let mut accepted: Map<String, Value> = held.as_object().cloned().unwrap_or_default();
    let mut conflict = None;
    let mut single = |field: &str, reason, taken: &BTreeSet<&str>, conflict: &mut Option<_>| {
        let (wanted, has) =
            (asked[field].as_str().unwrap_or_default(), held[field].as_str().unwrap_or_default());
        if wanted != has && taken.contains(wanted) {
            *conflict = Some((reason, in_use(wanted)));
        } else {
            put(&mut accepted, field, &asked[field]);
        }
    };
    single("plural", "PluralConflict", &resources, &mut conflict);
    single("singular", "SingularConflict", &resources, &mut conflict);
    single("kind", "KindConflict", &kinds, &mut conflict);
    single("listKind", "ListKindConflict", &kinds, &mut conflict);
    let short = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (wanted, has) = (short(&asked["shortNames"]), short(&held["shortNames"]));
    let fresh = wanted.iter().filter(|name| !has.contains(name));
    let refused: Vec<String> =
        fresh.filter(|name| resources.contains(name.as_str())).map(|name| in_use(name)).collect();
    match &refused[..] {
        [] => put(&mut accepted, "shortNames", &asked["shortNames"]),
        [one] => conflict = Some(("ShortNamesConflict", one.clone())),
        many => conflict = Some(("ShortNamesConflict", format!("[{}]", many.join(", ")))),
    }
    put(&mut accepted, "categories", &asked["categories"]);
    Settled { accepted: accepted.into(), conflict }
}

fn in_use(name: &str) -> String {
    format!("{name:?} is already in use")
}

fn put(names: &mut Map<String, Value>, field: &str, value: &Value) {
    if value.is_null() {
        names.remove(field);
    } else {
        names.insert(field.to_owned(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition(plural: &str, singular: &str, kind: &str, short: &[&str], accepted: Value) -> Value {
        let names = json!({
            "plural": plural, "singular": singular, "kind": kind, "listKind": format!("{kind}List"),
            "shortNames": short,
        });
        json!({"spec": {"names": names}, "status": {"acceptedNames": accepted}})
    }

    #[test]
    fn names_are_whose_who_had_them_first() {
        let none = json!({"plural": "", "kind": ""});
        let first = definition("as", "a", "A", &["x"], none.clone());
        let alone = settle(&first, &[]);
        assert_eq!(alone.conflict, None);
        assert_eq!(alone.accepted, first["spec"]["names"]);
        let has = definition("as", "a", "A", &["x"], alone.accepted);
        for (other, reason, message) in [
            (definition("a", "b", "B", &[], none.clone()), "PluralConflict", "\"a\" is already in use"),
            (definition("bs", "a", "B", &[], none.clone()), "SingularConflict", "\"a\" is already in use"),
            (
                definition("bs", "b", "A", &[], none.clone()),
                "ListKindConflict",
                "\"AList\" is already in use",
            ),
            (
                definition("bs", "b", "B", &["x", "y", "as"], none.clone()),
                "ShortNamesConflict",
                "[\"x\" is already in use, \"as\" is already in use]",
            ),
        ] {
            let settled = settle(&other, std::slice::from_ref(&has));
            assert_eq!(settled.conflict, Some((reason, message.to_owned())));
        }
        // What one has already, one keeps, whoever has it besides.
        let kept =
            definition("bs", "b", "B", &["x"], json!({"plural": "bs", "kind": "B", "shortNames": ["x"]}));
        assert_eq!(settle(&kept, &[has]).conflict, None);
    }
}
