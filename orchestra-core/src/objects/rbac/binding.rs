use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::GROUP;
use crate::api::field::{Errors, Path, Shown};
use crate::api::{Column, NameRule, Rules, check, names, table};
use crate::objects::json::Fields;

const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Role", "The kind and the name of the role."),
    Column::AGE,
    Column::new("Users", "The users that have the role.").wide(),
    Column::new("Groups", "The groups whose users have the role.").wide(),
    Column::new("ServiceAccounts", "The service accounts that have the role.").wide(),
];

/// The rules of RoleBinding objects.
pub(in crate::objects) struct RoleBindingRules;

impl Rules for RoleBindingRules {
    type Object = RoleBinding;

    const CREATED_BY_UPDATE: bool = true;
    const NAME: NameRule = NameRule::PathSegment;
    const COLUMNS: &'static [Column] = COLUMNS;

    fn default(object: &mut Value) {
        default(object);
    }

    fn validate(object: &RoleBinding, errors: &mut Errors) {
        role(&object.role_ref, &["Role", "ClusterRole"], errors);
        subjects(object.subjects.as_deref(), true, errors);
    }

    fn validate_update(new: &RoleBinding, old: &RoleBinding, errors: &mut Errors) {
        same_role(&new.role_ref, &old.role_ref, errors);
    }

    fn cells(object: &RoleBinding, now: Timestamp) -> Vec<Value> {
        cells(&object.metadata, &object.role_ref, object.subjects.as_deref(), now)
    }
}

/// The rules of ClusterRoleBinding objects.
pub(in crate::objects) struct ClusterRoleBindingRules;

impl Rules for ClusterRoleBindingRules {
    type Object = ClusterRoleBinding;

    const CREATED_BY_UPDATE: bool = true;
    const NAME: NameRule = NameRule::PathSegment;
    const COLUMNS: &'static [Column] = COLUMNS;

    fn default(object: &mut Value) {
        default(object);
    }

    fn validate(object: &ClusterRoleBinding, errors: &mut Errors) {
        role(&object.role_ref, &["ClusterRole"], errors);
        subjects(object.subjects.as_deref(), false, errors);
    }

    fn validate_update(new: &ClusterRoleBinding, old: &ClusterRoleBinding, errors: &mut Errors) {
        same_role(&new.role_ref, &old.role_ref, errors);
    }

    fn cells(object: &ClusterRoleBinding, now: Timestamp) -> Vec<Value> {
        cells(&object.metadata, &object.role_ref, object.subjects.as_deref(), now)
    }
}

fn default(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    if let Some(role) = fields.object_or_new("roleRef") {
        role.or_text("apiGroup", GROUP);
    }
    for subject in fields.each("subjects") {
        if matches!(subject.text("kind"), "User" | "Group") {
            subject.or_text("apiGroup", GROUP);
        }
    }
}

fn role(role: &RoleRef, kinds: &[&str], errors: &mut Errors) {
    let path = Path::new("roleRef");
    let group = role.api_group.as_deref().unwrap_or_default();
    if group != GROUP {
        errors.not_supported(&path.child("apiGroup"), group, &[GROUP]);
    }
    if !kinds.contains(&role.kind.as_str()) {
        errors.not_supported(&path.child("kind"), role.kind.as_str(), kinds);
    }
    let path = path.child("name");
    match role.name.as_str() {
        "" => errors.required(&path, ""),
        name => check::say(errors, &path, name, names::object_name(NameRule::PathSegment, name, false)),
    }
}

fn subjects(subjects: Option<&[Subject]>, namespaced: bool, errors: &mut Errors) {
    for (index, held) in subjects.unwrap_or_default().iter().enumerate() {
        subject(held, namespaced, &Path::new("subjects").index(index), errors);
    }
}

fn subject(subject: &Subject, namespaced: bool, path: &Path, errors: &mut Errors) {
    if subject.name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    let group = subject.api_group.as_deref().unwrap_or_default();
    let mut in_group = |wanted: &str| {
        if group != wanted {
            errors.not_supported(&path.child("apiGroup"), group, &[wanted]);
        }
    };
    match subject.kind.as_str() {
        "ServiceAccount" => {
            in_group("");
            if !subject.name.is_empty() {
                check::say(errors, &path.child("name"), &subject.name, names::subdomain(&subject.name));
            }
            if !namespaced && subject.namespace.as_ref().is_none_or(String::is_empty) {
                errors.required(&path.child("namespace"), "");
            }
        }
        "User" | "Group" => in_group(GROUP),
        kind => errors.not_supported(&path.child("kind"), kind, &["ServiceAccount", "User", "Group"]),
    }
}

fn same_role(new: &RoleRef, old: &RoleRef, errors: &mut Errors) {
    if new != old {
        let text = |text: &str| Shown::from(Value::from(text));
        let shown = Shown::object([
            ("APIGroup", text(new.api_group.as_deref().unwrap_or_default())),
            ("Kind", text(&new.kind)),
            ("Name", text(&new.name)),
        ]);
        errors.invalid_object(&Path::new("roleRef"), shown, "cannot change roleRef");
    }
}

fn cells(meta: &ObjectMeta, role: &RoleRef, subjects: Option<&[Subject]>, now: Timestamp) -> Vec<Value> {
    let of_kind = |kind: &str| {
        let named = |subject: &Subject| match &subject.namespace {
            _ if kind != "ServiceAccount" => subject.name.clone(),
            Some(namespace) => format!("{namespace}/{}", subject.name),
            None => format!("/{}", subject.name),
        };
        let held = subjects.unwrap_or_default().iter().filter(|subject| subject.kind == kind);
        held.map(named).collect::<Vec<_>>().join(", ")
    };
    vec![
        meta.name.clone().into(),
        format!("{}/{}", role.kind, role.name).into(),
        table::age(meta, now).into(),
        of_kind("User").into(),
        of_kind("Group").into(),
        of_kind("ServiceAccount").into(),
    ]
}
