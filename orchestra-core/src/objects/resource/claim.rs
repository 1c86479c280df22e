use jiff::Timestamp;
use k8s_openapi::api::resource::v1::{DeviceClaim, ResourceClaim, ResourceClaimSpec, ResourceClaimTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::check::IMMUTABLE;
use super::{requests, results, shown};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Deletion, Rules, table};
use crate::objects::json::at;
use crate::objects::meta;

/// The rules of ResourceClaim objects.
pub(in crate::objects) struct ResourceClaimRules;

impl Rules for ResourceClaimRules {
    type Object = ResourceClaim;

    const DELETION: Deletion = Deletion::Object;
    const STATUS: bool = true;
    const GENERATION: bool = false;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("State", "Whether it has its devices, and whether they are used."),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        if let Some(devices) = at(object, &["spec", "devices"]) {
            requests::default(devices);
        }
    }

    /// What a claim asks for never changes, so it is checked once.
    fn validate_create(object: &ResourceClaim, errors: &mut Errors) {
        claimed(&object.spec, &Path::new("spec.devices"), errors);
    }

    fn validate_update(new: &ResourceClaim, old: &ResourceClaim, errors: &mut Errors) {
        if new.spec != old.spec {
            errors.invalid_object(&Path::new("spec"), shown::claim(&new.spec), IMMUTABLE);
        }
    }

    fn validate_status(new: &ResourceClaim, old: &ResourceClaim, errors: &mut Errors) {
        results::status(new, old, errors);
    }

    fn cells(object: &ResourceClaim, now: Timestamp) -> Vec<Value> {
        vec![
            object.metadata.name.clone().into(),
            state(object).into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

fn claimed(spec: &ResourceClaimSpec, path: &Path, errors: &mut Errors) {
    let none = DeviceClaim::default();
    requests::claim(spec.devices.as_ref().unwrap_or(&none), path, errors);
}

fn state(object: &ResourceClaim) -> String {
    let status = object.status.clone().unwrap_or_default();
    let going = object.metadata.deletion_timestamp.is_some();
    let used = status.reserved_for.is_some_and(|users| !users.is_empty());
    let states: &[&str] = match (going, status.allocation.is_some(), used) {
        (true, false, _) => &["deleted"],
        (true, true, false) => &["deleted", "allocated"],
        (true, true, true) => &["deleted", "allocated", "reserved"],
        (false, false, _) => &["pending"],
        (false, true, false) => &["allocated"],
        (false, true, true) => &["allocated", "reserved"],
    };
    states.join(",")
}

/// The rules of ResourceClaimTemplate objects, from which the claims of pods are made.
pub(in crate::objects) struct ResourceClaimTemplateRules;

impl Rules for ResourceClaimTemplateRules {
    type Object = ResourceClaimTemplate;

    const DELETION: Deletion = Deletion::Object;
    fn default(object: &mut Value) {
        if let Some(devices) = at(object, &["spec", "spec", "devices"]) {
            requests::default(devices);
        }
    }

    fn validate(object: &ResourceClaimTemplate, errors: &mut Errors) {
        let path = Path::new("spec");
        let none = ObjectMeta::default();
        let made = object.spec.metadata.as_ref().unwrap_or(&none);
        let at = path.child("metadata");
        super::check::labels(errors, &at.child("labels"), made.labels.as_ref());
        meta::annotations(made, &at.child("annotations"), errors);
        claimed(&object.spec.spec, &path.child("spec.devices"), errors);
    }

    fn validate_update(new: &ResourceClaimTemplate, old: &ResourceClaimTemplate, errors: &mut Errors) {
        if new.spec != old.spec {
            errors.invalid_object(&Path::new("spec"), shown::template(&new.spec), IMMUTABLE);
        }
    }
}
