use k8s_openapi::api::core::v1::Endpoints;

use crate::api::Rules;

/// The rules of Endpoints objects.
pub(super) struct EndpointsRules;

impl Rules for EndpointsRules {
    type Object = Endpoints;

    const SHORT_NAMES: &'static [&'static str] = &["ep"];
}
