use k8s_openapi::api::authentication::v1::TokenRequestSpec;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::api::storage::v1::CSIDriver;
use serde::Deserialize;

use super::node_of;
use super::references::volumes_of;
use crate::api::{Caches, User};
use crate::meta::ObjectName;
use crate::watch::Entry;

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
    let found = pod.and_then(|entry| Some((entry.view::<View>().ok()?, entry)));
    let Some((pod, entry)) = found.filter(|(pod, _)| pod.spec.node_name.as_deref() == Some(node)) else {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    };
    let audience = match spec.audiences.as_deref().unwrap_or_default() {
        [] => "",
        [one] => one,
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    match names(&pod.spec, audience) || wants(caches, &entry, &pod.spec, audience) {
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

/// Whether the driver of a volume of the pod asks for tokens for an audience.
fn wants(caches: &Caches, entry: &Entry, spec: &PodSpec, audience: &str) -> bool {
    let Some(known) = caches.of::<CSIDriver>() else { return false };
    let own = spec.volumes.iter().flatten().filter_map(|volume| Some(volume.csi.as_ref()?.driver.clone()));
    let claimed = volumes_of(caches, entry).into_iter().filter_map(|volume| Some(volume.spec?.csi?.driver));
    own.chain(claimed).any(|name| {
        let driver = known.get(&ObjectName::cluster(name));
        let driver = driver.and_then(|entry| entry.decode_bare::<CSIDriver>().ok());
        driver
            .into_iter()
            .flat_map(|driver| driver.spec.token_requests.unwrap_or_default())
            .any(|asked| asked.audience == audience)
    })
}
