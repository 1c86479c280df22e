//! What every object's metadata must be like.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference};
use serde_json::Value;

use super::check::{self, IMMUTABLE, say, shown};
use super::field::{Errors, Path, Problem, Shown};
use super::{NameRule, names, split_api_version};
use crate::meta::Scope;

/// The most that keys and values of annotations may take together, in bytes.
pub const MAX_ANNOTATIONS: usize = 256 * 1024;

/// Says what is wrong with the metadata of an object that is to be created, its name generated if it was to be.
pub fn validate(meta: &ObjectMeta, scope: Scope, rule: NameRule, errors: &mut Errors) {
    validate_at(meta, scope, rule, &Path::new("metadata"), errors);
}

/// The same of metadata that stand at another path, as those of an object within another.
pub fn validate_at(meta: &ObjectMeta, scope: Scope, rule: NameRule, path: &Path, errors: &mut Errors) {
    if let Some(prefix) = meta.generate_name.as_deref().filter(|prefix| !prefix.is_empty()) {
        say(errors, &path.child("generateName"), prefix, names::object_name(rule, prefix, true));
    }
    match meta.name.as_deref().unwrap_or_default() {
        "" => errors.required(&path.child("name"), "name or generateName is required"),
        name => say(errors, &path.child("name"), name, names::object_name(rule, name, false)),
    }
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    match (scope, namespace) {
        (Scope::Namespaced, "") => errors.required(&path.child("namespace"), ""),
        (Scope::Namespaced, name) => say(errors, &path.child("namespace"), name, names::label(name)),
        (Scope::Cluster, "") => {}
        (Scope::Cluster, _) => errors.forbidden(&path.child("namespace"), "not allowed on this type"),
    }
    check::not_negative(errors, &path.child("generation"), meta.generation);
    check::labels(errors, &path.child("labels"), meta.labels.as_ref());
    annotations(meta, &path.child("annotations"), errors);
    let list = meta.owner_references.as_deref().unwrap_or_default();
    owners(list, &path.child("ownerReferences"), errors);
    finalizers(meta.finalizers.as_deref().unwrap_or_default(), &path.child("finalizers"), errors);
    managed(meta.managed_fields.as_deref().unwrap_or_default(), &path.child("managedFields"), errors);
}

/// Says which finalizers have names that Kubernetes does not know and that name no owner either. All but a few kinds ask
/// for that.
pub fn validate_finalizers(meta: &ObjectMeta, errors: &mut Errors) {
    let path = Path::new("metadata.finalizers");
    for (index, finalizer) in meta.finalizers.iter().flatten().enumerate() {
        standard_finalizer(finalizer, &path.index(index), errors);
    }
}

/// Says what is wrong with a change of metadata. Which version it is a change of is seen to before.
pub fn validate_update(new: &ObjectMeta, old: &ObjectMeta, errors: &mut Errors) {
    let path = Path::new("metadata");
    if old.deletion_timestamp.is_some() {
        no_new_finalizers(new, old, &path, errors);
    }
    if new.generation.unwrap_or_default() < old.generation.unwrap_or_default() {
        errors.invalid(
            &path.child("generation"),
            new.generation.unwrap_or_default(),
            "must not be decremented",
        );
    }
    let changed = [
        ("name", shown(&new.name), shown(&old.name)),
        ("namespace", shown(&new.namespace), shown(&old.namespace)),
        ("uid", shown(&new.uid), shown(&old.uid)),
        ("creationTimestamp", shown(&new.creation_timestamp), shown(&old.creation_timestamp)),
        ("deletionTimestamp", shown(&new.deletion_timestamp), shown(&old.deletion_timestamp)),
        (
            "deletionGracePeriodSeconds",
            shown(&new.deletion_grace_period_seconds),
            shown(&old.deletion_grace_period_seconds),
        ),
    ];
    for (field, new, old) in changed {
        if new != old {
            errors.invalid(&path.child(field), new, IMMUTABLE);
        }
    }
}

/// Says what is wrong with annotations, also those of a pod template.
pub(crate) fn annotations(meta: &ObjectMeta, path: &Path, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in meta.annotations.iter().flatten() {
        say(errors, path, key, names::qualified(&key.to_lowercase()));
        size += key.len() + value.len();
    }
    if size > MAX_ANNOTATIONS {
        errors.push(path, Problem::TooLong(MAX_ANNOTATIONS));
    }
}

fn owners(owners: &[OwnerReference], path: &Path, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for owner in owners {
        let (_, version) = split_api_version(&owner.api_version);
        if owner.api_version.matches('/').count() > 1 {
            errors.invalid(
                &path.child("apiVersion"),
                owner.api_version.as_str(),
                format!("unexpected GroupVersion string: {}", owner.api_version),
            );
        } else if version.is_empty() {
            errors.invalid(
                &path.child("apiVersion"),
                owner.api_version.as_str(),
                "version must not be empty",
            );
        }
        for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                errors.invalid(&path.child(field), "", "must not be empty");
            }
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            errors.invalid_object(
                path,
                shown_owner(owner),
                "/v1, Kind=Event is disallowed from being an owner",
            );
        }
        if owner.controller == Some(true) {
            let name = format!("{}/{}", owner.kind, owner.name);
            match &controller {
                Some(first) => errors.invalid_object(
                    path,
                    Shown::list(owners.iter().map(shown_owner)),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for \
                         {first} and {name}"
                    ),
                ),
                None => controller = Some(name),
            }
        }
    }
}

/// An owner with its fields in the order in which Kubernetes has them.
fn shown_owner(owner: &OwnerReference) -> Shown {
    let mut fields: Vec<(&str, Shown)> = vec![
        ("apiVersion", Value::from(owner.api_version.as_str()).into()),
        ("kind", Value::from(owner.kind.as_str()).into()),
        ("name", Value::from(owner.name.as_str()).into()),
        ("uid", Value::from(owner.uid.as_str()).into()),
    ];
    let flags = [("controller", owner.controller), ("blockOwnerDeletion", owner.block_owner_deletion)];
    fields.extend(flags.into_iter().filter_map(|(name, flag)| Some((name, Value::from(flag?).into()))));
    Shown::object(fields)
}

fn finalizers(finalizers: &[String], path: &Path, errors: &mut Errors) {
    // Which one it is, Kubernetes says only of what is wrong with them beside their form.
    for finalizer in finalizers {
        say(errors, path, finalizer, names::qualified(finalizer));
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        errors.invalid(
            path,
            shown(&finalizers),
            "finalizer orphan and foregroundDeletion cannot be both set",
        );
    }
}

/// Says what is wrong with the name of a finalizer.
pub(crate) fn finalizer_name(name: &str, path: &Path, errors: &mut Errors) {
    say(errors, path, name, names::qualified(name));
    standard_finalizer(name, path, errors);
}

fn standard_finalizer(name: &str, path: &Path, errors: &mut Errors) {
    if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
        errors.invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

fn no_new_finalizers(new: &ObjectMeta, old: &ObjectMeta, path: &Path, errors: &mut Errors) {
    let set = |meta: &ObjectMeta| meta.finalizers.iter().flatten().cloned().collect::<BTreeSet<_>>();
    let (new, old) = (set(new), set(old));
    let added: Vec<String> = new.difference(&old).map(|name| format!("{name:?}")).collect();
    if !added.is_empty() {
        errors.forbidden(
            &path.child("finalizers"),
            format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            ),
        );
    }
}

fn managed(entries: &[ManagedFieldsEntry], path: &Path, errors: &mut Errors) {
    for (index, entry) in entries.iter().enumerate() {
        let path = path.index(index);
        let operation = entry.operation.as_deref().unwrap_or_default();
        if !matches!(operation, "Apply" | "Update") {
            errors.invalid(&path.child("operation"), operation, "must be `Apply` or `Update`");
        }
        let form = entry.fields_type.as_deref().unwrap_or_default();
        if !matches!(form, "" | "FieldsV1") {
            errors.invalid(&path.child("fieldsType"), form, "must be `FieldsV1`");
        }
        if entry.manager.as_deref().unwrap_or_default().len() > 128 {
            errors.push(&path.child("manager"), Problem::TooLong(128));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(meta: serde_json::Value) -> Vec<String> {
        let mut errors = Errors::new();
        let meta = serde_json::from_value(meta).unwrap();
        validate(&meta, Scope::Namespaced, NameRule::Subdomain, &mut errors);
        validate_finalizers(&meta, &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn metadata_is_checked_field_by_field() {
        let cases = [
            (json!({ "name": "a", "namespace": "b" }), ""),
            (json!({ "namespace": "b" }), "metadata.name: Required value: name or generateName is required"),
            (json!({ "name": "a" }), "metadata.namespace: Required value"),
            (
                json!({ "name": "a", "namespace": "b.c" }),
                "metadata.namespace: Invalid value: \"b.c\": must not contain dots",
            ),
            (
                json!({ "name": "a", "namespace": "b", "labels": { "k": "-" } }),
                "metadata.labels: Invalid value: \"-\": a valid label must be an empty string",
            ),
            (
                json!({ "name": "a", "namespace": "b", "annotations": { "a/b/c": "x" } }),
                "metadata.annotations: Invalid value: \"a/b/c\": a valid label key",
            ),
            (
                json!({ "name": "a", "namespace": "b", "annotations": { "a": "x".repeat(MAX_ANNOTATIONS) } }),
                "metadata.annotations: Too long: may not be more than 262144 bytes",
            ),
            (
                json!({ "name": "a", "namespace": "b", "finalizers": ["mine"] }),
                "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name",
            ),
            (
                json!({ "name": "a", "namespace": "b", "ownerReferences": [
                    { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "" }] }),
                "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty",
            ),
            (
                json!({ "name": "a", "namespace": "b", "ownerReferences": [
                    { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "1", "controller": true },
                    { "apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "2", "controller": true }] }),
                "metadata.ownerReferences: Invalid value: \
                 [{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"1\",\"controller\":true},\
                 {\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"q\",\"uid\":\"2\",\"controller\":true}]: Only one \
                 reference can have Controller set to true. Found \"true\" in references for Pod/p and Pod/q",
            ),
        ];
        for (meta, wanted) in cases {
            let found = faults(meta.clone()).join("; ");
            assert_eq!(found.is_empty(), wanted.is_empty(), "{meta}: {found}");
            assert!(found.contains(wanted), "{meta}: {found}");
        }
    }

    #[test]
    fn what_an_object_is_never_changes() {
        let meta = |value| serde_json::from_value::<ObjectMeta>(value).unwrap();
        let old = meta(json!({ "name": "a", "uid": "1", "resourceVersion": "1", "finalizers": ["a.b/c"],
            "deletionTimestamp": "2024-01-01T00:00:00Z" }));
        let mut errors = Errors::new();
        validate_update(&old, &old, &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
        let new = meta(json!({ "name": "a", "uid": "2", "finalizers": ["a.b/c", "d.e/f"],
            "deletionTimestamp": "2024-01-01T00:00:00Z" }));
        validate_update(&new, &old, &mut errors);
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found \
                 new finalizers []string{\"d.e/f\"}",
                "metadata.uid: Invalid value: \"2\": field is immutable",
            ]
        );
    }
}
