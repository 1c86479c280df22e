use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::api::Rules;

/// The rules of EndpointSlice objects.
pub(super) struct EndpointSliceRules;

impl Rules for EndpointSliceRules {
    type Object = EndpointSlice;

    const GENERATION: bool = true;
}
