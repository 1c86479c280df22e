//! Templates of pods, as controllers hold them.

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use serde_json::{Map, Value};

use super::json::Fields;
use super::{check, meta, pod};
use crate::api::field::{Errors, Path};

/// Fills in the template in an object.
pub(super) fn default(owner: &mut Map<String, Value>) {
    let Some(template) = owner.object_or_new("template") else { return };
    template.or("metadata", Map::new());
    if let Some(spec) = template.object_or_new("spec") {
        pod::default_spec(spec);
    }
}

/// Says what is wrong with a template.
pub(super) fn validate(template: &PodTemplateSpec, path: &Path, errors: &mut Errors) {
    if let Some(meta) = &template.metadata {
        check::labels(errors, &path.child("labels"), meta.labels.as_ref());
        meta::annotations(meta, &path.child("annotations"), errors);
        pod::validate_annotations(meta, &path.child("annotations"), errors);
    }
    let none = PodSpec::default();
    let spec = template.spec.as_ref().unwrap_or(&none);
    pod::validate_spec(spec, &path.child("spec"), pod::Place::Template, errors);
    if spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
        errors.forbidden(
            &path.child("spec.ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

/// Says what is wrong with the template of a controller of the given kind that keeps a number of equal pods running.
/// `selects`: whether the controller's selector matches labels.
pub(super) fn of_replicas(
    template: Option<&PodTemplateSpec>,
    kind: &str,
    selects: impl Fn(&std::collections::BTreeMap<String, String>) -> bool,
    path: &Path,
    errors: &mut Errors,
) {
    let Some(template) = template else { return errors.required(path, "") };
    let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone());
    if !selects(labels.as_ref().unwrap_or(&std::collections::BTreeMap::new())) {
        errors.invalid(
            &path.child("metadata.labels"),
            check::shown(&labels.filter(|labels| !labels.is_empty())),
            "`selector` does not match template `labels`",
        );
    }
    validate(template, path, errors);
    let Some(spec) = &template.spec else { return };
    if let Some(policy) = spec.restart_policy.as_deref().filter(|policy| *policy != "Always") {
        errors.not_supported(&path.child("spec.restartPolicy"), policy, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        errors.forbidden(
            &path.child("spec.activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {kind} is not Supported"),
        );
    }
}

/// What a user should know of a template that is accepted.
pub(super) fn warnings(template: Option<&PodTemplateSpec>, path: &Path) -> Vec<String> {
    let Some(spec) = template.and_then(|template| template.spec.as_ref()) else { return Vec::new() };
    let meta = template.and_then(|template| template.metadata.clone()).unwrap_or_default();
    pod::warnings_of(&meta, spec, path)
}
