use k8s_openapi::api::core::v1::ConfigMap;

use crate::api::Rules;

/// The rules of ConfigMap objects.
pub(super) struct ConfigMapRules;

impl Rules for ConfigMapRules {
    type Object = ConfigMap;

    const SHORT_NAMES: &'static [&'static str] = &["cm"];
}
