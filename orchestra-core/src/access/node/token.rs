use k8s_openapi::api::authentication::v1::TokenRequestSpec;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde::Deserialize;

use super::node_of;
use crate::api::{Caches, User};
use crate::meta::ObjectName;

#[derive(Deserialize)]
struct View {
    #[serde(default)]
    spec: PodSpec,
}

/// A node may ask for tokens only in the name of its own pods, and for audiences that these name. Whoever is no node is
/// let through.
pub(in crate::access) fn check_token(
    caches: &Caches,
    user: &User,
    namespace: &str,
    spec: &TokenRequestSpec,
) -> Result<(), String> {
    let Some(node) = node_of(user) else { return Ok(()) };
    let bound = spec.bound_object_ref.as_ref().filter(|bound| bound.kind.as_deref() == Some("Pod"));
    let Some(bound) = bound else { return Err("node requested token not bound to a pod".to_owned()) };
    if bound.uid.as_ref().is_none_or(String::is_empty) {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    // That the uid is the pod's is seen to for everybody.
    let name = ObjectName::namespaced(namespace, bound.name.as_deref().unwrap_or_default());
    let pod = caches.of::<Pod>().and_then(|cache| cache.get(&name));
    let pod = pod.and_then(|pod| pod.view::<View>().ok());
    let Some(pod) = pod.filter(|pod| pod.spec.node_name.as_deref() == Some(node)) else {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    };
    let audience = match spec.audiences.as_deref().unwrap_or_default() {
        [] => "",
        [one] => one,
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    match names(&pod.spec, audience) {
        true => Ok(()),
        false => Err(format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            user.name
        )),
    }
}

fn names(spec: &PodSpec, audience: &str) -> bool {
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref());
    let sources = volumes.flat_map(|projected| projected.sources.iter().flatten());
    let mut tokens = sources.filter_map(|source| source.service_account_token.as_ref());
    tokens.any(|token| token.audience.as_deref().unwrap_or_default() == audience)
}
