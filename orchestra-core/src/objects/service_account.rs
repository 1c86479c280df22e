use k8s_openapi::api::core::v1::ServiceAccount;
use serde_json::Value;

use super::json::Fields;
use crate::api::{Deletion, Rules, Subresource};

/// An annotation by which pods may mount only the secrets that their account lists.
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";

/// The rules of ServiceAccount objects.
pub(super) struct ServiceAccountRules;

impl Rules for ServiceAccountRules {
    type Object = ServiceAccount;

    const SHORT_NAMES: &'static [&'static str] = &["sa"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::TOKEN];
    const DELETION: Deletion = Deletion::Object;

    fn prepare_create(object: &mut Value) {
        only_names(object);
    }

    fn prepare_update(new: &mut Value, _old: &Value) {
        only_names(new);
    }

    fn warns_of_change(_new: &Value, old: &Value) -> bool {
        let noted = old.pointer("/metadata/annotations").and_then(Value::as_object);
        noted.is_none_or(|noted| !noted.contains_key(ENFORCE))
    }

    fn warnings(object: &ServiceAccount) -> Vec<String> {
        let given = object.metadata.annotations.as_ref().is_some_and(|held| held.contains_key(ENFORCE));
        let warning = format!(
            "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to \
             mounted secrets"
        );
        given.then_some(warning).into_iter().collect()
    }
}

/// Secrets are those of the same namespace, and said by their names alone.
fn only_names(object: &mut Value) {
    for secret in object.as_object_mut().into_iter().flat_map(|fields| fields.each("secrets")) {
        secret.retain(|field, _| field == "name");
    }
}
