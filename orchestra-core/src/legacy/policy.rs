//! Who may do what, and what may be disrupted, before `v1`.

use serde_json::{Map, Value, json};

use super::parts::Tell;

type Fields = Map<String, Value>;

/// In `policy/v1beta1` a selector without requirements matched no pod. Today it matches all, and none is what matches none.
pub(super) fn disruption_budget(mut object: Fields, _version: &str, tell: &mut Tell) -> Option<Value> {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
        && spec.get("selector").is_some_and(is_unrestricted)
    {
        spec.remove("selector");
        tell.note(
            "spec.selector",
            "an empty one matched no pod; it would match all today, so it is left out",
        );
    }
    Some(Value::Object(object))
}

fn is_unrestricted(selector: &Value) -> bool {
    let is_empty = |name: &str| match &selector[name] {
        Value::Null => true,
        Value::Object(labels) => labels.is_empty(),
        Value::Array(expressions) => expressions.is_empty(),
        _ => false,
    };
    selector.is_object() && is_empty("matchLabels") && is_empty("matchExpressions")
}

/// In `v1alpha1` of the roles a subject had a version, and anybody was a user called `*`.
pub(super) fn binding(mut object: Fields, version: &str, tell: &mut Tell) -> Option<Value> {
    let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
    if let ("rbac.authorization.k8s.io/v1alpha1", Some(subjects)) = (version, subjects) {
        for (index, subject) in subjects.iter_mut().enumerate() {
            let Value::Object(subject) = subject else { continue };
            if let Some(Value::String(version)) = subject.remove("apiVersion") {
                let (group, _) = crate::api::split_api_version(&version);
                subject.entry("apiGroup").or_insert(json!(group));
            }
            let is = |subject: &Fields, name: &str, value: &str| {
                subject.get(name).is_some_and(|held| held == value)
            };
            if is(subject, "kind", "User") && is(subject, "name", "*") {
                subject.insert("kind".to_owned(), json!("Group"));
                subject.insert("name".to_owned(), json!("system:authenticated"));
                tell.note(
                    &format!("subjects[{index}]"),
                    "a user * was anybody; it is the group system:authenticated, without those who are not known",
                );
            }
            if is(subject, "kind", "User") || is(subject, "kind", "Group") {
                subject.insert("apiGroup".to_owned(), json!("rbac.authorization.k8s.io"));
            }
        }
    }
    Some(Value::Object(object))
}

/// What changed its version and nothing else.
pub(super) fn same(object: Fields, _version: &str, _tell: &mut Tell) -> Option<Value> {
    Some(Value::Object(object))
}
