use k8s_openapi::api::core::v1::ServiceAccount;

use crate::api::{Rules, Subresource};

/// The rules of ServiceAccount objects.
pub(super) struct ServiceAccountRules;

impl Rules for ServiceAccountRules {
    type Object = ServiceAccount;

    const ANSWERS_DELETED: bool = true;
    const SHORT_NAMES: &'static [&'static str] = &["sa"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::TOKEN];

    fn warnings(object: &ServiceAccount) -> Vec<String> {
        let enforce = "kubernetes.io/enforce-mountable-secrets";
        let given = object.metadata.annotations.as_ref().is_some_and(|held| held.contains_key(enforce));
        let warning = format!(
            "metadata.annotations[{enforce}]: deprecated in v1.32+; prefer separate namespaces to isolate access to \
             mounted secrets"
        );
        given.then_some(warning).into_iter().collect()
    }
}
