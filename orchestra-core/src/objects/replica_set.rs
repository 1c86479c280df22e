use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::{Value, json};

use super::json::{Fields, set};
use super::replicas::{self, COLUMNS, SCALE};
use super::{check, legacy, print, template};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Conversion, Resource, Rules, ScalePaths, desires_otherwise};

/// The rules of ReplicaSet objects.
pub(super) struct ReplicaSetRules;

impl Rules for ReplicaSetRules {
    type Object = ReplicaSet;

    const SHORT_NAMES: &'static [&'static str] = &["rs"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const SCALE: Option<ScalePaths> = Some(SCALE);
    const COLUMNS: &'static [Column] = COLUMNS;

    fn default(object: &mut Value) {
        if let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) {
            spec.or("replicas", 1);
            template::default(spec);
        }
    }

    fn prepare_create(object: &mut Value) {
        set(object, "status", json!({ "replicas": 0 }));
    }

    fn validate(object: &ReplicaSet, errors: &mut Errors) {
        let path = Path::new("spec");
        let spec = object.spec.clone().unwrap_or_default();
        check::not_negative(errors, &path.child("replicas"), spec.replicas);
        check::not_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
        let template = spec.template.unwrap_or_default();
        replicas::selection(&spec.selector, &template, "ReplicaSet", replicas::UNUSABLE, &path, errors);
    }

    fn validate_update(new: &ReplicaSet, old: &ReplicaSet, errors: &mut Errors) {
        let selector = |object: &ReplicaSet| object.spec.as_ref().map(|spec| spec.selector.clone());
        replicas::selector_unchanged(selector(new).as_ref(), selector(old).as_ref(), errors);
    }

    fn warns_of_change(new: &Value, old: &Value) -> bool {
        desires_otherwise(new, old)
    }

    fn warnings(object: &ReplicaSet) -> Vec<String> {
        let template = object.spec.as_ref().and_then(|spec| spec.template.as_ref());
        template::warnings(template, &Path::new("spec.template"))
    }

    fn warnings_at_creation(object: &ReplicaSet) -> Vec<String> {
        print::name_warning(&object.metadata)
    }

    fn validate_json(object: &Value, errors: &mut Errors) {
        replicas::selector_required(object, errors);
        replicas::selector_selects(object, "deployment", errors);
    }

    fn cells(object: &ReplicaSet, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.spec.as_ref(), object.status.as_ref());
        let counts = [
            spec.and_then(|spec| spec.replicas),
            status.map(|status| status.replicas),
            status.and_then(|status| status.ready_replicas),
        ];
        let given = spec.and_then(|spec| spec.template.as_ref());
        let selector = print::selector(spec.map(|spec| &spec.selector));
        replicas::cells(&object.metadata, counts, given, selector, now)
    }
}

/// The row of ReplicaSets, which are served under their older versions too.
pub(super) fn row() -> Resource {
    Resource::of::<ReplicaSetRules>()
        .also("extensions", "v1beta1", legacy::LABELS_ONLY)
        .retired()
        .also("apps", "v1beta2", Conversion::NONE)
        .retired()
}
