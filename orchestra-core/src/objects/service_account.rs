use k8s_openapi::api::core::v1::ServiceAccount;

use crate::api::Rules;

/// The rules of ServiceAccount objects.
pub(super) struct ServiceAccountRules;

impl Rules for ServiceAccountRules {
    type Object = ServiceAccount;

    const SHORT_NAMES: &'static [&'static str] = &["sa"];
    const SUBRESOURCES: &'static [&'static str] = &["token"];
}
