use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

use super::json::{Fields, at, keep};
use super::{meta, print};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Deletion, NameRule, Reason, Rules, Status, Subresource, Verb, table};
use crate::watch::IndexedField;

/// The label by which a selector finds a namespace of a given name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The rules of Namespace objects.
///
/// A namespace that is deleted stays, `Terminating`, until `spec.finalizers` is empty: the namespace controller takes
/// its entry away, through the `finalize` subresource, once nothing is left inside.
pub(super) struct NamespaceRules;

impl Rules for NamespaceRules {
    type Object = Namespace;

    const SHORT_NAMES: &'static [&'static str] = &["ns"];
    const STATUS: bool = true;
    const GENERATION: bool = false;
    // A namespace is emptied before it goes, so they go one by one.
    const VERBS: &'static [Verb] =
        &[Verb::Create, Verb::Delete, Verb::Get, Verb::List, Verb::Patch, Verb::Update, Verb::Watch];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::edit("finalize", &[Verb::Update])];
    const NAME: NameRule = NameRule::Label;
    const DELETION: Deletion = Deletion::Terminating;
    const FIELDS: &'static [IndexedField] = &[IndexedField::new("status.phase")];
    const COLUMNS: &'static [Column] =
        &[Column::NAME, Column::new("Status", "Whether the namespace is in use or going."), Column::AGE];

    fn default(object: &mut Value) {
        name_label(object);
    }

    fn prepare_create(object: &mut Value) {
        name_label(object);
        let Some(fields) = object.as_object_mut() else { return };
        fields.insert("status".to_owned(), json!({ "phase": "Active" }));
        let Some(spec) = fields.object_or_new("spec") else { return };
        let mut finalizers = spec.get("finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
            finalizers.push("kubernetes".into());
        }
        spec.insert("finalizers".to_owned(), finalizers.into());
    }

    fn prepare_update(new: &mut Value, old: &Value) {
        keep(new, old, "spec");
    }

    fn prepare_deletion(object: &mut Value) {
        let status = object.as_object_mut().and_then(|fields| fields.object_or_new("status"));
        if let Some(status) = status {
            status.insert("phase".to_owned(), "Terminating".into());
        }
    }

    fn holds(object: &Value) -> bool {
        let finalizers = object.pointer("/spec/finalizers").and_then(Value::as_array);
        finalizers.is_some_and(|finalizers| !finalizers.is_empty())
    }

    /// Replaces `spec.finalizers`, which no update may change: what was to be done before the namespace goes is done.
    fn edit(subresource: &str, object: &mut Value, body: &Value, _now: Timestamp) -> Result<(), Status> {
        if subresource != "finalize" {
            let message = "the server does not allow this method on the requested resource";
            return Err(Status::new(Reason::MethodNotAllowed, message));
        }
        let mut errors = Errors::new();
        let finalizers = body["spec"]["finalizers"].as_array().map_or(&[][..], Vec::as_slice);
        for (index, finalizer) in finalizers.iter().filter_map(Value::as_str).enumerate() {
            meta::finalizer_name(finalizer, &Path::new("spec.finalizers").index(index), &mut errors);
        }
        if !errors.is_empty() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            return Err(Status::invalid("", "Namespace", name, &errors));
        }
        if let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) {
            match finalizers {
                [] => drop(spec.remove("finalizers")),
                some => drop(spec.insert("finalizers".to_owned(), some.into())),
            }
        }
        Ok(())
    }

    fn validate(object: &Namespace, errors: &mut Errors) {
        let path = Path::new("spec.finalizers");
        let finalizers = object.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
        for finalizer in finalizers.into_iter().flatten() {
            meta::finalizer_name(finalizer, &path, errors);
        }
    }

    fn validate_status(new: &Namespace, _old: &Namespace, errors: &mut Errors) {
        let phase = new.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        let wanted = if new.metadata.deletion_timestamp.is_some() { "Terminating" } else { "Active" };
        if phase != wanted {
            let when = if wanted == "Active" { "is empty" } else { "is not empty" };
            errors.invalid(
                &Path::new("status.Phase"),
                phase,
                format!("may only be '{wanted}' if `deletionTimestamp` {when}"),
            );
        }
    }

    fn cells(object: &Namespace, now: Timestamp) -> Vec<Value> {
        let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
        vec![
            object.metadata.name.clone().into(),
            print::or_none(phase).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

fn name_label(object: &mut Value) {
    let Some(meta) = at(object, &["metadata"]) else { return };
    let name = meta.text("name").to_owned();
    if !name.is_empty()
        && let Some(labels) = meta.object_or_new("labels")
    {
        labels.insert(NAME_LABEL.to_owned(), name.into());
    }
}
