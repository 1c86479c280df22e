use k8s_openapi::api::scheduling::v1::PriorityClass;

use crate::api::Rules;

/// The rules of PriorityClass objects.
pub(super) struct PriorityClassRules;

impl Rules for PriorityClassRules {
    type Object = PriorityClass;

    const SHORT_NAMES: &'static [&'static str] = &["pc"];
    const GENERATION: bool = true;
}
