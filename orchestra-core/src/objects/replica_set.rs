use k8s_openapi::api::apps::v1::ReplicaSet;

use super::legacy;
use crate::api::{Conversion, Resource, Rules, ScalePaths};
use crate::watch::IndexedField;

/// The rules of ReplicaSet objects.
pub(super) struct ReplicaSetRules;

impl Rules for ReplicaSetRules {
    type Object = ReplicaSet;

    const SHORT_NAMES: &'static [&'static str] = &["rs"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const SCALE: Option<ScalePaths> = Some(ScalePaths {
        spec_replicas: "spec.replicas",
        status_replicas: "status.replicas",
        selector: "spec.selector",
    });
    const FIELDS: &'static [IndexedField] = &[IndexedField::or("status.replicas", "0")];
}

/// The row of ReplicaSets, which are served under their older versions too.
pub(super) fn row() -> Resource {
    Resource::of::<ReplicaSetRules>().also("extensions", "v1beta1", legacy::LABELS_ONLY).also(
        "apps",
        "v1beta2",
        legacy::LABELS_ONLY,
    )
}
