use k8s_openapi::api::core::v1::Secret;

use crate::api::Rules;
use crate::watch::IndexedField;

/// The rules of Secret objects.
pub(super) struct SecretRules;

impl Rules for SecretRules {
    type Object = Secret;

    const FIELDS: &'static [IndexedField] = &[IndexedField::new("type")];
}
