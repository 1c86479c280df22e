use k8s_openapi::api::core::v1::Service;

use crate::api::{NameRule, Rules};
use crate::watch::IndexedField;

/// The rules of Service objects.
pub(super) struct ServiceRules;

impl Rules for ServiceRules {
    type Object = Service;

    const SHORT_NAMES: &'static [&'static str] = &["svc"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const GENERATION: bool = false;
    const SUBRESOURCES: &'static [&'static str] = &["proxy"];
    const NAME: NameRule = NameRule::Label1035;
    const FIELDS: &'static [IndexedField] =
        &[IndexedField::new("spec.clusterIP"), IndexedField::new("spec.type")];
}
