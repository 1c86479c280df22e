use k8s_openapi::api::core::v1::PodTemplate;

use crate::api::Rules;

/// The rules of PodTemplate objects.
pub(super) struct PodTemplateRules;

impl Rules for PodTemplateRules {
    type Object = PodTemplate;

    const GENERATION: bool = true;
}
