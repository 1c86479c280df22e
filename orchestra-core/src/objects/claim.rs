//! What claims of volumes ask for: those that stand by themselves, and the templates of them in StatefulSets.

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaimSpec, TypedLocalObjectReference, TypedObjectReference,
};
use serde_json::{Map, Value};

use super::check::{self, say};
use super::json::Fields;
use super::{names, quantities};
use crate::api::field::{Errors, Path};
use crate::quantity::Quantity;

/// How a volume may be used.
pub(super) const ACCESS_MODES: &[&str] =
    &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// What a volume may be to a container.
pub(super) const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// Fills in a claim.
pub(super) fn default(claim: &mut Map<String, Value>) {
    if let Some(spec) = claim.object_or_new("spec") {
        spec.or("volumeMode", "Filesystem");
        if let Some(resources) = spec.object("resources") {
            quantities::round_up(resources, "limits");
            quantities::round_up(resources, "requests");
        }
    }
    if let Some(status) = claim.object_or_new("status") {
        status.or_text("phase", "Pending");
        quantities::round_up(status, "capacity");
        quantities::round_up(status, "allocatedResources");
    }
}

/// Says what is wrong with what a claim asks for.
pub(super) fn validate(spec: &PersistentVolumeClaimSpec, path: &Path, errors: &mut Errors) {
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if modes.is_empty() {
        errors.required(&path.child("accessModes"), "at least 1 access mode is required");
    }
    if let Some(selector) = &spec.selector {
        check::selector(errors, &path.child("selector"), selector);
    }
    access_modes(modes, &path.child("accessModes"), errors);
    storage(spec, &path.child("resources").key("storage"), errors);
    let class = |field: &str, class: &Option<String>, errors: &mut Errors| {
        if let Some(name) = class.as_deref().filter(|name| !name.is_empty()) {
            say(errors, &path.child(field), name, names::subdomain(name));
        }
    };
    class("storageClassName", &spec.storage_class_name, errors);
    if let Some(mode) = &spec.volume_mode {
        check::supported(errors, &path.child("volumeMode"), mode, VOLUME_MODES);
    }
    sources(spec, path, errors);
    class("volumeAttributesClassName", &spec.volume_attributes_class_name, errors);
}

/// Says what is wrong with access modes.
pub(super) fn access_modes(modes: &[String], path: &Path, errors: &mut Errors) {
    for mode in modes {
        check::supported(errors, path, mode, ACCESS_MODES);
    }
    let is_alone = |mode: &&String| *mode == "ReadWriteOncePod";
    let alone = modes.iter().any(|mode| is_alone(&mode));
    let others = modes.iter().any(|mode| !is_alone(&mode) && ACCESS_MODES.contains(&mode.as_str()));
    if alone && others {
        errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

/// Whole bytes, and at least one.
fn storage(spec: &PersistentVolumeClaimSpec, path: &Path, errors: &mut Errors) {
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    match requests.and_then(|requests| requests.get("storage")) {
        None => errors.required(path, ""),
        Some(amount) => positive_bytes(&amount.0, path, errors),
    }
}

/// An amount of whole bytes, and at least one.
pub(super) fn positive_bytes(amount: &str, path: &Path, errors: &mut Errors) {
    let Ok(parsed) = Quantity::parse(amount) else { return };
    if parsed.is_negative() || parsed.is_zero() {
        errors.invalid(path, amount, "must be greater than zero");
    } else if is_fractional(amount) {
        errors.invalid(path, amount, "must be an integer");
    }
}

fn is_fractional(amount: &str) -> bool {
    Quantity::parse(amount).is_ok_and(|amount| amount.milli_value() % 1000 != 0)
}

/// Where the volume's first content comes from, in the older field and in the newer, which say the same.
fn sources(spec: &PersistentVolumeClaimSpec, path: &Path, errors: &mut Errors) {
    if let Some(source) = &spec.data_source {
        data_source(&reference(source), &path.child("dataSource"), errors);
    }
    if let Some(source) = &spec.data_source_ref {
        data_source(source, &path.child("dataSourceRef"), errors);
        if let Some(namespace) = source.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
            let at = path.child("dataSourceRef.namespace");
            say(errors, &at, namespace, names::label(namespace));
        }
    }
    let (Some(older), Some(newer)) = (&spec.data_source, &spec.data_source_ref) else { return };
    let elsewhere = newer.namespace.as_deref().is_some_and(|namespace| !namespace.is_empty());
    // Kubernetes shows the path of the older field as the value, which as JSON is an object without fields.
    if elsewhere {
        let detail = "may not be specified when dataSourceRef.namespace is specified";
        errors.invalid(path, Map::new(), detail);
    } else if reference(older) != *newer {
        errors.invalid(path, Map::new(), "must match dataSourceRef");
    }
}

fn reference(source: &TypedLocalObjectReference) -> TypedObjectReference {
    TypedObjectReference {
        api_group: source.api_group.clone(),
        kind: source.kind.clone(),
        name: source.name.clone(),
        namespace: None,
    }
}

fn data_source(source: &TypedObjectReference, path: &Path, errors: &mut Errors) {
    for (field, text) in [("name", &source.name), ("kind", &source.kind)] {
        if text.is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    match source.api_group.as_deref().unwrap_or_default() {
        "" if source.kind != "PersistentVolumeClaim" => errors.invalid(
            path,
            source.kind.as_str(),
            "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
        ),
        "" => {}
        group => say(errors, &path.child("apiGroup"), group, names::subdomain(group)),
    }
}

/// What a user should know of a claim that is accepted.
pub(super) fn warnings(spec: &PersistentVolumeClaimSpec, path: &Path) -> Vec<String> {
    let resources = spec.resources.clone().unwrap_or_default();
    let amounts = [("requests", resources.requests), ("limits", resources.limits)];
    let stored = amounts.iter().filter_map(|(field, held)| Some((field, held.as_ref()?.get("storage")?)));
    let fractional = stored.filter(|(_, amount)| is_fractional(&amount.0));
    fractional
        .map(|(field, amount)| {
            let at = path.child("resources").child(field).key("storage");
            format!("{at}: fractional byte value {:?} is invalid, must be an integer", amount.0)
        })
        .collect()
}
