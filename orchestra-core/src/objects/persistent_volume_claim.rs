use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use serde_json::{Value, json};

use super::check::{self, say};
use super::json::{Fields, at, set};
use super::print::STORAGE_CLASS;
use super::{claim, names, print};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Deletion, Rules, table};
use crate::quantity::Quantity;

/// What may happen to a resource of a volume that is made larger.
const RESIZING: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// The rules of PersistentVolumeClaim objects.
pub(super) struct PersistentVolumeClaimRules;

impl Rules for PersistentVolumeClaimRules {
    type Object = PersistentVolumeClaim;

    const DELETION: Deletion = Deletion::Object;

    const SHORT_NAMES: &'static [&'static str] = &["pvc"];
    const STATUS: bool = true;
    const GENERATION: bool = false;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Status", "Whether a volume is bound to the claim."),
        Column::new("Volume", "The volume that is bound to it."),
        Column::new("Capacity", "How much the volume holds."),
        Column::new("Access Modes", "How the volume may be used."),
        Column::new("StorageClass", "Of which class the volume is."),
        Column::new("VolumeAttributesClass", "Of which class its attributes are."),
        Column::AGE,
        Column::new("VolumeMode", "What the volume is to a container.").wide(),
    ];

    fn default(object: &mut Value) {
        object.as_object_mut().into_iter().for_each(claim::default);
    }

    fn prepare_create(object: &mut Value) {
        set(object, "status", json!({ "phase": "Pending" }));
        data_sources(object, None);
    }

    fn prepare_update(new: &mut Value, old: &Value) {
        data_sources(new, Some(old));
    }

    fn validate(object: &PersistentVolumeClaim, errors: &mut Errors) {
        claim::validate(&object.spec.clone().unwrap_or_default(), &Path::new("spec"), errors);
    }

    fn validate_update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim, errors: &mut Errors) {
        annotation_unchanged(new, old, errors);
        let none = PersistentVolumeClaimSpec::default();
        let (next, before) = (new.spec.as_ref().unwrap_or(&none), old.spec.as_ref().unwrap_or(&none));
        let path = Path::new("spec");
        if with_mutable_fields_of(new, old) != *before {
            errors.forbidden(
                &path,
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
            );
        }
        not_smaller(next, before, old.status.as_ref(), &path, errors);
        check::unchanged(errors, &Path::new("volumeMode"), &next.volume_mode, &before.volume_mode);
        let class = next.volume_attributes_class_name.as_deref();
        let applied =
            old.status.as_ref().and_then(|status| status.current_volume_attributes_class_name.as_ref());
        if class != before.volume_attributes_class_name.as_deref()
            && class.unwrap_or_default().is_empty()
            && applied.is_some()
        {
            let to = if class.is_none() { "nil" } else { "empty string" };
            errors.forbidden(
                &path.child("volumeAttributesClassName"),
                format!(
                    "update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"
                ),
            );
        }
    }

    fn validate_status(new: &PersistentVolumeClaim, _old: &PersistentVolumeClaim, errors: &mut Errors) {
        let status = new.status.clone().unwrap_or_default();
        let path = Path::new("status");
        for (name, amount) in status.capacity.iter().flatten() {
            not_negative(amount, &path.child("capacity").key(name), errors);
        }
        let at = path.child("allocatedResourceStatuses");
        for (name, state) in status.allocated_resource_statuses.iter().flatten() {
            resource_key(name, &at, errors);
            if !RESIZING.contains(&state.as_str()) {
                errors.not_supported(&at, name.as_str(), RESIZING);
            }
        }
        let at = path.child("allocatedResources");
        for (name, amount) in status.allocated_resources.iter().flatten() {
            resource_key(name, &at, errors);
            not_negative(amount, &at.key(name), errors);
        }
    }

    fn warnings(object: &PersistentVolumeClaim) -> Vec<String> {
        let annotated = object.metadata.annotations.iter().flatten().any(|(key, _)| key == STORAGE_CLASS);
        let old = annotated.then(|| {
            format!(
                "metadata.annotations[{STORAGE_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            )
        });
        let spec = object.spec.iter().flat_map(|spec| claim::warnings(spec, &Path::new("spec")));
        old.into_iter().chain(spec).collect()
    }

    fn cells(object: &PersistentVolumeClaim, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        let deleted = object.metadata.deletion_timestamp.is_some();
        let phase = if deleted { Some("Terminating".to_owned()) } else { status.phase };
        let volume = spec.volume_name.unwrap_or_default();
        let [mut capacity, mut modes] = [String::new(), String::new()];
        if !volume.is_empty() {
            let held = status.capacity.as_ref().and_then(|capacity| capacity.get("storage"));
            capacity = held.map_or("0".to_owned(), |held| held.0.clone());
            modes = print::access_modes(status.access_modes.as_ref());
        }
        let or_unset = |text: Option<String>| text.unwrap_or_else(|| "<unset>".to_owned());
        vec![
            object.metadata.name.clone().into(),
            phase.unwrap_or_default().into(),
            volume.into(),
            capacity.into(),
            modes.into(),
            print::storage_class(&object.metadata, spec.storage_class_name.as_ref()).into(),
            or_unset(spec.volume_attributes_class_name).into(),
            table::age(&object.metadata, now).into(),
            or_unset(spec.volume_mode).into(),
        ]
    }
}

/// Where a volume's first content comes from stands in two fields, an older and a newer one, which say the same. What the
/// older one could never say is dropped, and so is a source in another namespace, which Kubernetes does not allow by
/// itself.
fn data_sources(new: &mut Value, old: Option<&Value>) {
    let had = |field: &str| old.and_then(|old| old.pointer(field)).is_some_and(|held| !held.is_null());
    let had_newer = had("/spec/dataSourceRef");
    let had_any = had_newer || had("/spec/dataSource");
    let Some(spec) = at(new, &["spec"]) else { return };
    let elsewhere = spec.object("dataSourceRef").is_some_and(|newer| !newer.text("namespace").is_empty());
    if elsewhere && !had_newer {
        spec.remove("dataSourceRef");
    }
    if !had_any && !spec.has("dataSourceRef") {
        let known = spec.object("dataSource").is_some_and(|older| {
            matches!(
                (older.text("kind"), older.text("apiGroup")),
                ("PersistentVolumeClaim", "") | ("VolumeSnapshot", "snapshot.storage.k8s.io")
            )
        });
        if !known && spec.get("dataSource").is_some_and(Value::is_object) {
            spec.remove("dataSource");
        }
    }
    match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
        (Some(older @ Value::Object(_)), None | Some(Value::Null)) => {
            spec.insert("dataSourceRef".to_owned(), older);
        }
        (None | Some(Value::Null), Some(newer @ Value::Object(_)))
            if newer["namespace"].as_str().unwrap_or_default().is_empty() =>
        {
            spec.insert("dataSource".to_owned(), newer);
        }
        _ => {}
    }
}

fn annotation(claim: &PersistentVolumeClaim) -> Option<&String> {
    claim.metadata.annotations.as_ref().and_then(|annotations| annotations.get(STORAGE_CLASS))
}

/// Whether the class is now named in the field, as before in the annotation.
fn moves_class(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> bool {
    let class =
        |claim: &PersistentVolumeClaim| claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone());
    let Some(named) = annotation(old) else { return false };
    class(old).is_none()
        && class(new).as_ref() == Some(named)
        && annotation(new).is_none_or(|still| still == named)
}

fn annotation_unchanged(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim, errors: &mut Errors) {
    if !moves_class(new, old) && annotation(new) != annotation(old) {
        let given = annotation(new).cloned().unwrap_or_default();
        errors.invalid(&Path::new("metadata.annotations").child(STORAGE_CLASS), given, check::IMMUTABLE);
    }
}

/// The new specification, with what may change taken back.
fn with_mutable_fields_of(
    new: &PersistentVolumeClaim,
    old: &PersistentVolumeClaim,
) -> PersistentVolumeClaimSpec {
    let mut spec = new.spec.clone().unwrap_or_default();
    let before = old.spec.clone().unwrap_or_default();
    let is_bound = new.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    if before.volume_name.as_ref().is_none_or(String::is_empty) {
        spec.volume_name.clone_from(&before.volume_name);
    }
    let unnamed = before.storage_class_name.is_none() && spec.storage_class_name.is_some();
    let as_annotated = annotation(old).is_none_or(|named| Some(named) == spec.storage_class_name.as_ref());
    if unnamed && as_annotated {
        spec.storage_class_name = None;
    }
    if is_bound {
        let storage = |spec: &PersistentVolumeClaimSpec| {
            spec.resources.as_ref()?.requests.as_ref()?.get("storage").cloned()
        };
        let held = storage(&before);
        let requests = spec.resources.as_mut().and_then(|resources| resources.requests.as_mut());
        if let (Some(requests), Some(held)) = (requests, held) {
            requests.insert("storage".to_owned(), held);
        }
        spec.volume_attributes_class_name = before.volume_attributes_class_name;
    }
    spec
}

/// A claim may be made smaller again as long as nothing of what it was made larger by is there.
fn not_smaller(
    new: &PersistentVolumeClaimSpec,
    old: &PersistentVolumeClaimSpec,
    status: Option<&PersistentVolumeClaimStatus>,
    path: &Path,
    errors: &mut Errors,
) {
    let parsed =
        |amount: Option<&Text>| amount.and_then(|amount| Quantity::parse(&amount.0).ok()).unwrap_or_default();
    let asked = |spec: &PersistentVolumeClaimSpec| {
        let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        parsed(requests.and_then(|requests| requests.get("storage")))
    };
    let capacity = status.and_then(|status| status.capacity.as_ref());
    let held = parsed(capacity.and_then(|capacity| capacity.get("storage")));
    let size = asked(new);
    if size < asked(old) && size <= held {
        let at = path.child("resources.requests.storage");
        errors.forbidden(&at, "field can not be less than status.capacity");
    }
}

fn resource_key(name: &str, path: &Path, errors: &mut Errors) {
    let faults = names::qualified(name);
    let is_own = !name.contains('/') || name.contains("kubernetes.io/");
    if faults.is_empty() && is_own && name != "storage" {
        errors.not_supported(path, name, &["storage"]);
    }
    say(errors, path, name, faults);
}

fn not_negative(amount: &Text, path: &Path, errors: &mut Errors) {
    if let Ok(parsed) = Quantity::parse(&amount.0)
        && parsed.is_negative()
    {
        errors.invalid(path, parsed.value(), "must be a valid resource quantity");
    }
}
