//! PersistentVolumes. `source` says what is wrong with where a volume is, `update` what may change.

mod source;
mod update;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeSpec};
use serde_json::{Value, json};

pub(super) use source::inline as validate_inline;

use super::check::{self, say, shown};
use super::claim::{VOLUME_MODES, access_modes};
use super::json::{Fields, set};
use super::print::STORAGE_CLASS;
use super::{names, pod, print, quantities};
use crate::api::field::{Errors, Path, Problem};
use crate::api::{Column, Deletion, Rules, table};
use crate::quantity::Quantity;

/// The annotation of old with options for mounting.
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

/// The rules of PersistentVolume objects.
pub(super) struct PersistentVolumeRules;

impl Rules for PersistentVolumeRules {
    type Object = PersistentVolume;

    const DELETION: Deletion = Deletion::Object;
    const METADATA_CHECKED_ONCE: bool = true;

    const SHORT_NAMES: &'static [&'static str] = &["pv"];
    const STATUS: bool = true;
    const GENERATION: bool = false;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Capacity", "How much the volume holds."),
        Column::new("Access Modes", "How it may be used."),
        Column::new("Reclaim Policy", "What becomes of it when its claim is deleted."),
        Column::new("Status", "Whether it is bound to a claim."),
        Column::new("Claim", "The claim that it is bound to."),
        Column::new("StorageClass", "Of which class it is."),
        Column::new("VolumeAttributesClass", "Of which class its attributes are."),
        Column::new("Reason", "Why it is as it is."),
        Column::AGE,
        Column::new("VolumeMode", "What it is to a container.").wide(),
    ];

    fn default(object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        if let Some(spec) = fields.object_or_new("spec") {
            spec.or_text("persistentVolumeReclaimPolicy", "Retain");
            spec.or("volumeMode", "Filesystem");
            quantities::round_up(spec, "capacity");
            if let Some(path) = spec.object("hostPath") {
                path.or("type", "");
            }
            pod::default_network_volume(spec);
        }
        if let Some(status) = fields.object_or_new("status") {
            status.or_text("phase", "Pending");
        }
    }

    fn prepare_create(object: &mut Value) {
        let mut status = json!({ "phase": "Pending" });
        if let Some(created) = object.pointer("/metadata/creationTimestamp") {
            status["lastPhaseTransitionTime"] = created.clone();
        }
        set(object, "status", status);
    }

    fn prepare_status(new: &mut Value, old: &Value) {
        let phase = |object: &Value| object.pointer("/status/phase").cloned();
        let since = old.pointer("/status/lastPhaseTransitionTime");
        if let Some(since) = since.filter(|_| phase(new) == phase(old))
            && let Some(status) = new.get_mut("status").and_then(Value::as_object_mut)
        {
            status.or("lastPhaseTransitionTime", since.clone());
        }
    }

    fn validate(object: &PersistentVolume, errors: &mut Errors) {
        let spec = object.spec.clone().unwrap_or_default();
        let path = Path::new("spec");
        modes(&spec, &path.child("accessModes"), errors);
        capacity(&spec, &path.child("capacity"), errors);
        if let Some(policy) =
            spec.persistent_volume_reclaim_policy.as_deref().filter(|policy| !policy.is_empty())
        {
            let at = path.child("persistentVolumeReclaimPolicy");
            check::supported(errors, &at, policy, &["Delete", "Recycle", "Retain"]);
        }
        node_affinity(&spec, &path.child("nodeAffinity"), errors);
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let found = source::validate(&spec, name, &path, errors);
        classes(&spec, &path, errors);
        if let Some(mode) = &spec.volume_mode {
            check::supported(errors, &path.child("volumeMode"), mode, VOLUME_MODES);
        }
        let annotated = object.metadata.annotations.iter().flatten().any(|(key, _)| key == MOUNT_OPTIONS);
        if annotated && !found.is_some_and(source::takes_mount_options) {
            errors.forbidden(
                &Path::new("metadata.annotations").child(MOUNT_OPTIONS),
                "may not specify mount options for this volume type",
            );
        }
    }

    fn validate_update(new: &PersistentVolume, old: &PersistentVolume, errors: &mut Errors) {
        update::validate(new, old, errors);
    }

    fn warnings(object: &PersistentVolume) -> Vec<String> {
        warnings(object)
    }

    fn cells(object: &PersistentVolume, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        let deleted = object.metadata.deletion_timestamp.is_some();
        let phase = if deleted { Some("Terminating".to_owned()) } else { status.phase };
        let claim = spec.claim_ref.map(|claim| {
            let part = |text: Option<String>| text.unwrap_or_default();
            format!("{}/{}", part(claim.namespace), part(claim.name))
        });
        let held = spec.capacity.as_ref().and_then(|capacity| capacity.get("storage"));
        let or_unset = |text: Option<String>| text.unwrap_or_else(|| "<unset>".to_owned());
        vec![
            object.metadata.name.clone().into(),
            held.map_or("0".to_owned(), |held| held.0.clone()).into(),
            print::access_modes(spec.access_modes.as_ref()).into(),
            spec.persistent_volume_reclaim_policy.unwrap_or_default().into(),
            phase.unwrap_or_default().into(),
            claim.unwrap_or_default().into(),
            print::storage_class(&object.metadata, spec.storage_class_name.as_ref()).into(),
            or_unset(spec.volume_attributes_class_name).into(),
            status.reason.unwrap_or_default().into(),
            table::age(&object.metadata, now).into(),
            or_unset(spec.volume_mode).into(),
        ]
    }
}

fn modes(spec: &PersistentVolumeSpec, path: &Path, errors: &mut Errors) {
    match spec.access_modes.as_deref().unwrap_or_default() {
        [] => errors.required(path, ""),
        modes => access_modes(modes, path, errors),
    }
}

/// A volume has storage, some, and nothing else.
fn capacity(spec: &PersistentVolumeSpec, path: &Path, errors: &mut Errors) {
    let held = spec.capacity.as_ref().filter(|held| !held.is_empty());
    if held.is_none() {
        errors.required(path, "");
    }
    if !held.is_some_and(|held| held.len() == 1 && held.contains_key("storage")) {
        let problem = Problem::NotSupported(shown(&held).into(), vec!["storage".to_owned()]);
        errors.push(path, problem);
    }
    for (name, amount) in held.into_iter().flatten() {
        let Ok(parsed) = Quantity::parse(&amount.0) else { continue };
        if parsed.is_negative() {
            errors.invalid(&path.key(name), parsed.value(), "must be a valid resource quantity");
        }
        if parsed.is_negative() || parsed.is_zero() {
            errors.invalid(&path.key(name), amount.0.as_str(), "must be greater than zero");
        }
    }
}

fn node_affinity(spec: &PersistentVolumeSpec, path: &Path, errors: &mut Errors) {
    let Some(affinity) = &spec.node_affinity else { return };
    match &affinity.required {
        Some(nodes) => pod::validate_node_selector(nodes, &path.child("required"), errors),
        None => errors.required(&path.child("required"), "must specify required node constraints"),
    }
}

fn classes(spec: &PersistentVolumeSpec, path: &Path, errors: &mut Errors) {
    if let Some(class) = spec.storage_class_name.as_deref().filter(|class| !class.is_empty()) {
        say(errors, &path.child("storageClassName"), class, names::subdomain(class));
    }
    let Some(class) = spec.volume_attributes_class_name.as_deref() else { return };
    let at = path.child("volumeAttributesClassName");
    if class.is_empty() {
        errors.required(&at, "an empty string is disallowed");
    } else {
        say(errors, &at, class, names::subdomain(class));
    }
    if spec.csi.is_none() {
        errors.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
    }
}

fn warnings(object: &PersistentVolume) -> Vec<String> {
    let spec = object.spec.clone().unwrap_or_default();
    let mut warnings = Vec::new();
    let old = [
        (STORAGE_CLASS, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
        (MOUNT_OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ];
    for (key, said) in old {
        if object.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(key)) {
            warnings.push(format!("metadata.annotations[{key}]: {said}"));
        }
    }
    if spec.persistent_volume_reclaim_policy.as_deref() == Some("Recycle") {
        warnings.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning."
                .to_owned(),
        );
    }
    let nodes = spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    let path = Path::new("spec.nodeAffinity.required.nodeSelectorTerms");
    for (index, term) in nodes.into_iter().flat_map(|nodes| &nodes.node_selector_terms).enumerate() {
        pod::warn_of_node_term(term, false, &path.index(index), &mut warnings);
    }
    warnings.extend(source::warnings(&spec));
    warnings
}
