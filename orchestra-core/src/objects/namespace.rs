use k8s_openapi::api::core::v1::Namespace;

use crate::api::{NameRule, Rules};
use crate::watch::IndexedField;

/// The rules of Namespace objects.
pub(super) struct NamespaceRules;

impl Rules for NamespaceRules {
    type Object = Namespace;

    const SHORT_NAMES: &'static [&'static str] = &["ns"];
    const STATUS: bool = true;
    const GENERATION: bool = false;
    const SUBRESOURCES: &'static [&'static str] = &["finalize"];
    const NAME: NameRule = NameRule::Label;
    const FIELDS: &'static [IndexedField] = &[IndexedField::new("status.phase")];
}
