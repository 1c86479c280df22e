//! Bindings: where a pod is to run, as very old schedulers say it. Pods have a subresource for that.

use k8s_openapi::api::core::v1::Binding;

use crate::api::{Relay, Rules, Verb};

/// The rules of Binding objects.
pub(super) struct BindingRules;

impl Rules for BindingRules {
    type Object = Binding;

    const STORED: bool = false;
    const RELAY: Option<Relay> = Some(Relay::to("", "v1", "pods", "binding"));
    const VERBS: &'static [Verb] = &[Verb::Create];
}
