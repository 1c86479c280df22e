//! What a node's pods use.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodSpec};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use serde::Deserialize;

use crate::api::Caches;
use crate::meta::{GroupResource, ObjectName};
use crate::selector::FieldSelector;
use crate::watch::{Entry, Query};

/// A kind of what pods use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Secret,
    ConfigMap,
    Account,
    Claim,
    Volume,
    ResourceClaim,
    Attachment,
}

/// The kubelet's own pods, which refer to nothing that the API has.
const MIRROR: &str = "kubernetes.io/config.mirror";

#[derive(Deserialize)]
struct PodView {
    metadata: Meta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    resource_claim_statuses: Vec<ClaimStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimStatus {
    resource_claim_name: Option<String>,
}

/// Whether an object is used by a pod of a node.
pub(super) fn refers(caches: &Caches, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
    let get = |id: GroupResource, name: ObjectName| caches.get(&id).and_then(|cache| cache.get(&name));
    match kind {
        Kind::Pod => {
            let pod = get(GroupResource::of::<Pod>(), ObjectName::namespaced(namespace, name));
            pod.is_some_and(|pod| pod.field("spec.nodeName") == Some(node))
        }
        Kind::Attachment => {
            let id = GroupResource::of::<VolumeAttachment>();
            let value = get(id, ObjectName::cluster(name)).and_then(|entry| entry.to_value().ok());
            value.is_some_and(|value| value["spec"]["nodeName"] == node)
        }
        Kind::Volume => pods_of(caches, node, None).iter().any(|pod| has_volume(caches, pod, name)),
        _ => pods_of(caches, node, Some(namespace)).iter().any(|pod| uses(pod, kind, name)),
    }
}

fn pods_of(caches: &Caches, node: &str, namespace: Option<&str>) -> Vec<Arc<Entry>> {
    let Some(cache) = caches.of::<Pod>() else { return Vec::new() };
    let Ok(on_node) = FieldSelector::parse(&format!("spec.nodeName={node}")) else { return Vec::new() };
    let Ok(on_node) = cache.known(on_node) else { return Vec::new() };
    let query = namespace.map_or_else(Query::all, Query::namespace);
    cache.list(&query.fields(on_node))
}

fn uses(pod: &Entry, kind: Kind, name: &str) -> bool {
    let Ok(pod) = pod.view::<PodView>() else { return false };
    if pod.metadata.annotations.contains_key(MIRROR) {
        return false;
    }
    let spec = &pod.spec;
    match kind {
        Kind::Secret => secrets(spec).any(|held| held == name),
        Kind::ConfigMap => config_maps(spec).any(|held| held == name),
        Kind::Account => spec.service_account_name.as_deref() == Some(name),
        Kind::Claim => claims(spec).any(|held| held == name),
        Kind::ResourceClaim => {
            let named = spec.resource_claims.iter().flatten();
            let named = named.filter_map(|claim| claim.resource_claim_name.as_deref());
            let made = pod.status.resource_claim_statuses.iter();
            named
                .chain(made.filter_map(|claim| claim.resource_claim_name.as_deref()))
                .any(|held| held == name)
        }
        Kind::Pod | Kind::Volume | Kind::Attachment => false,
    }
}

fn secrets(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let pull = spec.image_pull_secrets.iter().flatten().map(|secret| secret.name.as_str());
    let volumes = spec.volumes.iter().flatten().flat_map(|volume| {
        let own = volume.secret.iter().filter_map(|secret| secret.secret_name.as_deref());
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        own.chain(sources.filter_map(|source| source.secret.as_ref().map(|secret| secret.name.as_str())))
    });
    let variables = containers(spec).flat_map(|(env, from)| {
        let whole = from.filter_map(|from| from.secret_ref.as_ref().map(|secret| secret.name.as_str()));
        let keys =
            env.filter_map(|env| Some(env.value_from.as_ref()?.secret_key_ref.as_ref()?.name.as_str()));
        whole.chain(keys)
    });
    pull.chain(volumes).chain(variables)
}

fn config_maps(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let volumes = spec.volumes.iter().flatten().flat_map(|volume| {
        let own = volume.config_map.iter().map(|map| map.name.as_str());
        let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        own.chain(sources.filter_map(|source| source.config_map.as_ref().map(|map| map.name.as_str())))
    });
    let variables = containers(spec).flat_map(|(env, from)| {
        let whole = from.filter_map(|from| from.config_map_ref.as_ref().map(|map| map.name.as_str()));
        let keys =
            env.filter_map(|env| Some(env.value_from.as_ref()?.config_map_key_ref.as_ref()?.name.as_str()));
        whole.chain(keys)
    });
    volumes.chain(variables)
}

type Env<'s> = std::iter::Flatten<std::option::Iter<'s, Vec<k8s_openapi::api::core::v1::EnvVar>>>;
type EnvFrom<'s> = std::iter::Flatten<std::option::Iter<'s, Vec<k8s_openapi::api::core::v1::EnvFromSource>>>;

/// The variables of each container, and where further ones come from.
fn containers(spec: &PodSpec) -> impl Iterator<Item = (Env<'_>, EnvFrom<'_>)> {
    let own = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let own = own.map(|held| (held.env.iter().flatten(), held.env_from.iter().flatten()));
    let debugging = spec.ephemeral_containers.iter().flatten();
    own.chain(debugging.map(|held| (held.env.iter().flatten(), held.env_from.iter().flatten())))
}

fn claims(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let volumes = spec.volumes.iter().flatten();
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()))
}

/// Whether a pod has a volume by way of one of its claims.
fn has_volume(caches: &Caches, entry: &Entry, volume: &str) -> bool {
    let Ok(pod) = entry.view::<PodView>() else { return false };
    let Some(cache) = caches.of::<PersistentVolumeClaim>() else { return false };
    let namespace = entry.name().namespace();
    claims(&pod.spec).any(|claim| {
        let claim = cache.get(&ObjectName::new(namespace, claim)).and_then(|claim| claim.to_value().ok());
        claim.is_some_and(|claim| claim["spec"]["volumeName"] == volume)
    })
}
