//! Takes out of an object what its manager applied before and does not any more, if nobody else owns it.

use serde_json::Value;

use super::kind::Kind;
use super::managers::Manager;
use super::merge::remove;
use super::set::FieldSet;
use super::walk::field_set;

/// What is left of an object into which a configuration was merged. `last` is what the manager owned before, `own` what
/// it applies now, `others` what all others own.
pub(super) fn prune(
    kind: &Kind<'_>,
    merged: Value,
    last: &Manager<'_>,
    own: &Manager<'_>,
    others: &[Manager<'_>],
) -> Value {
    let Some(whole) = in_version(kind, &merged, &last.api_version) else { return merged };
    let (schema, node) = kind.schema_of(&last.api_version);
    let given_up = last.fields.with_named_fields(schema, Some(node));
    let mut pruned = remove(schema, node, whole.clone(), &given_up);
    // In the version of what is pruned first: other versions may need what is added back in it.
    let mut versions = vec![&*last.api_version];
    for manager in others.iter().chain([own]) {
        if !versions.contains(&&*manager.api_version) {
            versions.push(&manager.api_version);
        }
    }
    let owners: Vec<&Manager<'_>> = others.iter().chain([own]).collect();
    let mut held = whole.clone();
    for version in versions {
        let of = |manager: &&&Manager<'_>| manager.api_version == version;
        let owned =
            owners.iter().filter(of).fold(FieldSet::default(), |set, manager| set.union(&manager.fields));
        (held, pruned) = with_owned(kind, held, pruned, version, &owned);
    }
    let Some(pruned) = in_version(kind, &pruned, &last.api_version) else { return merged };
    // What the manager did not own stays, owned or not.
    let had = field_set(schema, node, &whole).with_named_fields(schema, Some(node));
    let has = field_set(schema, node, &pruned).with_named_fields(schema, Some(node));
    let gone = had.difference(&has).intersection(&given_up);
    let left = remove(schema, node, whole.clone(), &gone);
    in_version(kind, &left, kind.api_version).unwrap_or(merged)
}

/// Adds back what is owned.
fn with_owned(
    kind: &Kind<'_>,
    merged: Value,
    pruned: Value,
    version: &str,
    owned: &FieldSet<'_>,
) -> (Value, Value) {
    let both = (in_version(kind, &merged, version), in_version(kind, &pruned, version));
    let (Some(whole), Some(part)) = both else { return (merged, pruned) };
    let (schema, node) = kind.schema_of(version);
    let had = field_set(schema, node, &whole).with_named_fields(schema, Some(node));
    let has = field_set(schema, node, &part).with_named_fields(schema, Some(node));
    let gone = had.difference(&has.union(&owned.with_named_fields(schema, Some(node))));
    let left = remove(schema, node, whole.clone(), &gone);
    (whole, left)
}

/// An object in a version, if that is served.
fn in_version(kind: &Kind<'_>, object: &Value, version: &str) -> Option<Value> {
    if object.get("apiVersion").and_then(Value::as_str) == Some(version) {
        return Some(object.clone());
    }
    kind.versions.convert(object, version)
}
