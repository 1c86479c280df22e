use k8s_openapi::api::core::v1::ReplicationController;

use crate::api::{Rules, ScalePaths};
use crate::watch::IndexedField;

/// The rules of ReplicationController objects.
pub(super) struct ReplicationControllerRules;

impl Rules for ReplicationControllerRules {
    type Object = ReplicationController;

    const SHORT_NAMES: &'static [&'static str] = &["rc"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const SCALE: Option<ScalePaths> = Some(ScalePaths {
        spec_replicas: "spec.replicas",
        status_replicas: "status.replicas",
        selector: "spec.selector",
    });
    const FIELDS: &'static [IndexedField] = &[IndexedField::or("status.replicas", "0")];
    const ORPHAN_BY_DEFAULT: bool = true;
}
