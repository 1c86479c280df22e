use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{
    VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec, VolumeAttachmentStatus, VolumeError,
};
use serde_json::{Value, json};

use crate::api::field::{Errors, Path, Problem, Shown};
use crate::api::{Column, Deletion, Rules, table};
use crate::objects::check::{IMMUTABLE, say, shown};
use crate::objects::json::{keep, set};
use crate::objects::{names, persistent_volume, volume_source};

/// The most bytes that what the driver tells of an attachment has together, and that an error has.
const MAX_METADATA: usize = 256 * 1024;
const MAX_ERROR: usize = 1024;

/// The rules of VolumeAttachment objects.
pub(in crate::objects) struct VolumeAttachmentRules;

impl Rules for VolumeAttachmentRules {
    type Object = VolumeAttachment;

    const DELETION: Deletion = Deletion::Object;
    const METADATA_CHECKED_ONCE: bool = true;

    const STATUS: bool = true;
    const GENERATION: bool = false;
    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column { format: "name", ..Column::new("Attacher", "What attaches the volume.") },
        Column::new("PV", "The volume."),
        Column::new("Node", "The node."),
        Column { kind: "boolean", ..Column::new("Attached", "Whether the volume is attached.") },
        Column::AGE,
    ];

    fn prepare_create(object: &mut Value) {
        set(object, "status", json!({ "attached": false }));
    }

    /// Whoever attaches changes nothing but the status, the metadata of the system apart.
    fn prepare_status(new: &mut Value, old: &Value) {
        if let (Some(new), Some(old)) = (new.get_mut("metadata"), old.get("metadata")) {
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                keep(new, old, field);
            }
        }
    }

    fn validate(object: &VolumeAttachment, errors: &mut Errors) {
        let spec = &object.spec;
        let path = Path::new("spec");
        volume_source::driver_name(&spec.attacher, &path.child("attacher"), errors);
        source(&spec.source, &path.child("source"), errors);
        say(errors, &path.child("nodeName"), &spec.node_name, names::subdomain(&spec.node_name));
        status(object.status.as_ref(), &Path::new("status"), errors);
    }

    fn validate_update(new: &VolumeAttachment, old: &VolumeAttachment, errors: &mut Errors) {
        if new.spec != old.spec {
            errors.invalid_object(&Path::new("spec"), shown_spec(&new.spec), IMMUTABLE);
        }
    }

    fn validate_status(new: &VolumeAttachment, _old: &VolumeAttachment, errors: &mut Errors) {
        status(new.status.as_ref(), &Path::new("status"), errors);
    }

    fn cells(object: &VolumeAttachment, now: Timestamp) -> Vec<Value> {
        let attached = object.status.as_ref().is_some_and(|status| status.attached);
        vec![
            object.metadata.name.clone().into(),
            object.spec.attacher.as_str().into(),
            object.spec.source.persistent_volume_name.clone().unwrap_or_default().into(),
            object.spec.node_name.as_str().into(),
            attached.into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

/// The volume stands by itself and is named, or it stands here.
fn source(source: &VolumeAttachmentSource, path: &Path, errors: &mut Errors) {
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (&source.inline_volume_spec, source.persistent_volume_name.as_deref()) {
        (None, None) => errors.required(path, ONE),
        (Some(_), Some(_)) => errors.forbidden(path, ONE),
        (None, Some("")) => {
            let at = path.child("persistentVolumeName");
            errors.required(&at, "must specify non empty persistentVolumeName");
        }
        (None, Some(_)) => {}
        (Some(spec), None) => {
            persistent_volume::validate_inline(spec, &path.child("inlineVolumeSpec"), errors)
        }
    }
    if let Some(name) = source.persistent_volume_name.as_deref() {
        say(errors, &path.child("persistentVolumeName"), name, names::subdomain(name));
    }
}

fn status(status: Option<&VolumeAttachmentStatus>, path: &Path, errors: &mut Errors) {
    let Some(status) = status else { return };
    let metadata = status.attachment_metadata.iter().flatten();
    if metadata.map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_METADATA {
        errors.push(&path.child("attachmentMetadata"), Problem::TooLong(MAX_METADATA));
    }
    for (field, error) in [("attachError", &status.attach_error), ("detachError", &status.detach_error)] {
        if let Some(error) = error {
            volume_error(error, &path.child(field), errors);
        }
    }
}

fn volume_error(error: &VolumeError, path: &Path, errors: &mut Errors) {
    if error.message.as_deref().unwrap_or_default().len() > MAX_ERROR {
        // Kubernetes names another limit than the one it holds to.
        errors.push(&path.child("message"), Problem::TooLong(MAX_METADATA));
    }
    if let Some(code) = error.error_code.filter(|code| *code < 0) {
        let detail = format!("must be between 0 and {}, inclusive", i32::MAX);
        errors.invalid(&path.child("errorCode"), code, detail);
    }
}

fn shown_spec(spec: &VolumeAttachmentSpec) -> Shown {
    let source = Shown::object([
        ("PersistentVolumeName", shown(&spec.source.persistent_volume_name).into()),
        ("InlineVolumeSpec", shown(&spec.source.inline_volume_spec).into()),
    ]);
    Shown::object([
        ("Attacher", shown(&spec.attacher).into()),
        ("Source", source),
        ("NodeName", shown(&spec.node_name).into()),
    ])
}
