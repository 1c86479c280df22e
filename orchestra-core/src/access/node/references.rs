//! What a node's pods use.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, PodSpec};
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
    name: String,
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
        _ => {
            pods_of(caches, node, Some(namespace)).iter().any(|pod| uses(pod, kind, name))
                || kind == Kind::Secret && is_told_a_driver(caches, node, namespace, name)
        }
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
        Kind::Claim => claims(&pod).any(|held| held == name),
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
        let drivers = volume.csi.iter().filter_map(|csi| csi.node_publish_secret_ref.as_ref());
        let own = own.chain(drivers.map(|secret| secret.name.as_str()));
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

/// The claims of a pod, those that are made for it among them.
fn claims(pod: &PodView) -> impl Iterator<Item = Cow<'_, str>> {
    pod.spec.volumes.iter().flatten().filter_map(|volume| match &volume.persistent_volume_claim {
        Some(claim) => Some(Cow::from(&claim.claim_name)),
        None => volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod.metadata.name, volume.name).into()),
    })
}

/// The names of the volumes that a pod has by way of its claims.
fn bound(caches: &Caches, entry: &Entry) -> Vec<String> {
    let Ok(pod) = entry.view::<PodView>() else { return Vec::new() };
    let Some(cache) = caches.of::<PersistentVolumeClaim>() else { return Vec::new() };
    let namespace = entry.name().namespace();
    let found = claims(&pod).filter_map(|claim| cache.get(&ObjectName::new(namespace, &claim)));
    let named =
        found.filter_map(|claim| Some(claim.to_value().ok()?["spec"]["volumeName"].as_str()?.to_owned()));
    named.collect()
}

/// Whether a pod has a volume by way of one of its claims.
fn has_volume(caches: &Caches, entry: &Entry, volume: &str) -> bool {
    bound(caches, entry).iter().any(|held| held == volume)
}

/// The volumes that a pod has by way of its claims.
pub(super) fn volumes_of(caches: &Caches, entry: &Entry) -> Vec<PersistentVolume> {
    let Some(cache) = caches.of::<PersistentVolume>() else { return Vec::new() };
    let found = bound(caches, entry).into_iter().filter_map(|name| cache.get(&ObjectName::cluster(name)));
    found.filter_map(|volume| volume.decode_bare().ok()).collect()
}

/// Whether the driver of a volume of some pod of the node is told a Secret, which may be in any namespace.
fn is_told_a_driver(caches: &Caches, node: &str, namespace: &str, name: &str) -> bool {
    let pods = pods_of(caches, node, None);
    pods.iter().any(|pod| volumes_of(caches, pod).iter().any(|volume| tells(volume, namespace, name)))
}

/// Whether a volume's driver is told a Secret by the node that shows it.
fn tells(volume: &PersistentVolume, namespace: &str, name: &str) -> bool {
    let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    let told = csi.into_iter().flat_map(|csi| {
        [&csi.node_stage_secret_ref, &csi.node_publish_secret_ref, &csi.node_expand_secret_ref]
    });
    told.flatten()
        .any(|secret| secret.namespace.as_deref() == Some(namespace) && secret.name.as_deref() == Some(name))
}
