//! What the system sets in an object and what it carries over from the old state: pure, over JSON.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::draft::Part;
use super::meta::metadata;
use crate::api::request::{DeleteOptions, Propagation};
use crate::api::{Deletion, Resource, Subresource};
use crate::meta::Revision;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// The longest prefix of a generated name, so that the name is a DNS label.
const MAX_GENERATED_PREFIX: usize = 63 - 5;

/// A time as objects have it: RFC 3339, in UTC, whole seconds.
pub(super) fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What only the system knows of a new object.
pub(super) struct Birth {
    pub(super) uid: String,
    /// What a generated name ends in.
    pub(super) suffix: String,
    pub(super) now: Timestamp,
}

/// Makes an object fit to be created: sets what only the system sets, and its name, if that is to be generated.
pub(super) fn create(resource: &Resource, object: &mut Value, birth: Birth) {
    let meta = metadata(object);
    for field in ["selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        meta.remove(field);
    }
    let generated = generated_name(resource, meta, &birth);
    meta.insert("uid".to_owned(), birth.uid.into());
    meta.insert("creationTimestamp".to_owned(), timestamp(birth.now).into());
    if resource.generation {
        meta.insert("generation".to_owned(), 1.into());
    }
    let named = generated.is_some();
    if let Some(name) = generated {
        meta.insert("name".to_owned(), name.into());
    }
    if resource.has_status() && !resource.status_at_creation {
        object.as_object_mut().map(|fields| fields.remove("status"));
    }
    resource.rules.prepare_create(object);
    if named {
        // What is defaulted from the name could not be before.
        resource.rules.default(object);
    }
}

/// The version that is given for an object that has none yet. No number is as good as none, as in Kubernetes.
pub(super) fn version_of_new(object: &Value) -> Option<Revision> {
    let given = object["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
    (given != Revision::ZERO).then_some(given)
}

/// The name of an object that leaves it to the system.
fn generated_name(resource: &Resource, meta: &Map<String, Value>, birth: &Birth) -> Option<String> {
    let text = |field: &str| meta.get(field).and_then(Value::as_str).unwrap_or_default();
    if !text("name").is_empty() {
        return None;
    }
    let prefix = text("generateName");
    if prefix.is_empty() && resource.name_optional {
        return Some(birth.uid.clone());
    }
    if prefix.is_empty() {
        // That there is no name is said with what else is wrong with the object.
        return None;
    }
    let prefix = &prefix[..prefix.floor_char_boundary(MAX_GENERATED_PREFIX)];
    Some(format!("{prefix}{}", birth.suffix))
}

/// Takes over from the old state what a write to this part may not change.
pub(super) fn update(resource: &Resource, part: Part<'_>, new: &mut Value, old: &Value) {
    match part {
        Some(part) if part.is_status() => status(resource, new, old),
        Some(part) if part.is_whole() => {
            carry_over_metadata(metadata(new), &old["metadata"]);
            resource.rules.prepare_part(&part.name, new, old);
        }
        // Made from the object that is stored, with the status it is to have.
        Some(_) => {}
        None => object(resource, new, old),
    }
    metadata(new).remove("resourceVersion");
}

fn status(resource: &Resource, new: &mut Value, old: &Value) {
    carry_over_metadata(metadata(new), &old["metadata"]);
    // Of a custom kind, whose metadata say nothing of how it is, the status alone is written.
    let written: &[&str] = if resource.custom { &["status"] } else { &["metadata", "status"] };
    if let (Value::Object(new), Value::Object(old)) = (&mut *new, old) {
        new.retain(|field, _| written.contains(&&**field));
        let others = old.iter().filter(|(field, _)| !written.contains(&&***field));
        new.extend(others.map(|(field, value)| (field.clone(), value.clone())));
    }
    resource.rules.prepare_status(new, old);
}

fn object(resource: &Resource, new: &mut Value, old: &Value) {
    carry_over_metadata(metadata(new), &old["metadata"]);
    if resource.has_status() {
        put(new, "status", old.get("status").cloned());
    }
    resource.rules.prepare_update(new, old);
}

/// Sets a field of an object, or removes it.
fn put(object: &mut Value, field: &str, value: Option<Value>) {
    let Value::Object(fields) = object else { return };
    match value {
        Some(value) => fields.insert(field.to_owned(), value),
        None => fields.remove(field),
    };
}

/// What only the system sets is as it was. Another uid, or an end that is given to what has none, is left, to be refused.
fn carry_over_metadata(meta: &mut Map<String, Value>, old: &Value) {
    if meta.get("uid").and_then(Value::as_str).unwrap_or_default().is_empty() {
        meta.insert("uid".to_owned(), old["uid"].clone());
    }
    let fixed = ["creationTimestamp", "generation"];
    let ends = ["deletionTimestamp", "deletionGracePeriodSeconds"];
    for field in fixed.into_iter().chain(ends) {
        match old.get(field) {
            Some(value) => drop(meta.insert(field.to_owned(), value.clone())),
            None if ends.contains(&field) && meta.get(field).is_some_and(|given| !given.is_null()) => {}
            None => drop(meta.remove(field)),
        }
    }
    meta.remove("selfLink");
}

/// Counts a change of the desired state.
pub(super) fn count_generation(resource: &Resource, part: Part<'_>, new: &mut Value, old: &Value) {
    if resource.generation
        && part.is_none_or(Subresource::is_desired)
        && resource.rules.is_new_generation(new, old)
    {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        metadata(new).insert("generation".to_owned(), generation.into());
    }
}

/// Whether an object is being deleted and nothing keeps it any more.
pub(super) fn is_finished(resource: &Resource, object: &Value) -> bool {
    let meta = &object["metadata"];
    let finalizers = meta["finalizers"].as_array().map_or(0, Vec::len);
    let grace = meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    meta["deletionTimestamp"].is_string() && finalizers == 0 && grace == 0 && !resource.rules.holds(object)
}

/// Marks an object as being deleted. Returns whether there was anything to do: a deletion that is under way is only ever
/// made shorter.
pub(super) fn mark_deleted(
    resource: &Resource,
    object: &mut Value,
    options: &DeleteOptions,
    now: Timestamp,
) -> bool {
    let grace = resource.rules.grace_period(object, options.grace_period).unwrap_or(0).max(0);
    let before = finalizers(object);
    let after = finalizers_for(resource, before.clone(), options);
    let under_way = object["metadata"]["deletionTimestamp"].is_string();
    let shorter = object["metadata"]["deletionGracePeriodSeconds"].as_i64().is_some_and(|old| grace < old);
    if under_way && !shorter && after == before {
        return is_finished(resource, object);
    }
    let meta = metadata(object);
    if after.is_empty() {
        meta.remove("finalizers");
    } else {
        meta.insert("finalizers".to_owned(), after.into());
    }
    if !under_way || shorter {
        let end = now + Duration::from_secs(grace.unsigned_abs());
        meta.insert("deletionTimestamp".to_owned(), timestamp(end).into());
        if resource.deletion != Deletion::Terminating {
            meta.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
        }
    }
    if !under_way {
        if let Some(generation) = meta.get("generation").and_then(Value::as_i64) {
            meta.insert("generation".to_owned(), (generation + 1).into());
        }
        resource.rules.prepare_deletion(object);
    }
    true
}

fn finalizers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The finalizers of an object whose dependents are to fare as a deletion says.
fn finalizers_for(resource: &Resource, mut held: Vec<String>, options: &DeleteOptions) -> Vec<String> {
    let dependents =
        options.propagation.or_else(|| resource.orphan_by_default.then_some(Propagation::Orphan));
    if let Some(dependents) = dependents {
        held.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
        match dependents {
            Propagation::Orphan => held.push(ORPHAN.to_owned()),
            Propagation::Foreground => held.push(FOREGROUND.to_owned()),
            Propagation::Background => {}
        }
    }
    held
}
