use k8s_openapi::api::apps::v1::ControllerRevision;

use crate::api::Rules;

/// The rules of ControllerRevision objects.
pub(super) struct ControllerRevisionRules;

impl Rules for ControllerRevisionRules {
    type Object = ControllerRevision;
}
