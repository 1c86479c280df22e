//! What is changed in a fork.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::api::history::restored;
use crate::api::{
    Body, Client, DeleteOptions, Kinds, Objects, Operation, Patch, Resource, Status, Target, WriteOptions,
    split_api_version,
};
use crate::cluster::Cluster;

/// How long a drain tries again what a budget refuses.
const DRAINING: Duration = Duration::from_secs(600);
/// How long it waits before it does.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a node is away while it is upgraded.
const UPGRADING: Duration = Duration::from_secs(120);

/// Something that somebody might do. As JSON it is an object of one field, such as `{"loseNode": "n1"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Intervention {
    /// Applies a manifest. What names no namespace is of `default`.
    Apply(Value),
    /// Has an object be as it is written, in place of what it is: what is not written is gone from it.
    Replace(Value),
    /// Deletes an object: its kind as kubectl takes it, its namespace and name.
    Delete {
        /// The kind.
        kind: String,
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
    },
    /// Has a workload have so many pods.
    Scale {
        /// The kind, as kubectl takes it.
        kind: String,
        /// The namespace.
        namespace: String,
        /// The name.
        name: String,
        /// How many.
        replicas: u32,
    },
    /// A node is lost, with all that runs there.
    LoseNode(String),
    /// A node takes no more pods.
    Cordon(String),
    /// A node takes pods again.
    Uncordon(String),
    /// A node takes no more pods, and those that it has are evicted, as budgets allow.
    Drain(String),
    /// A node is upgraded: it is drained, is away for two minutes, and takes pods again if it did before.
    Upgrade(String),
}

impl fmt::Display for Intervention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply(manifest) => {
                let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
                write!(f, "apply {} {name}", manifest["kind"].as_str().unwrap_or("an object"))
            }
            Self::Replace(object) => {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                write!(f, "change {} {name}", object["kind"].as_str().unwrap_or("an object"))
            }
            Self::Delete { kind, namespace, name } => write!(f, "delete {kind} {namespace}/{name}"),
            Self::Scale { kind, namespace, name, replicas } => {
                write!(f, "scale {kind} {namespace}/{name} to {replicas}")
            }
            Self::LoseNode(node) => write!(f, "lose the node {node}"),
            Self::Cordon(node) => write!(f, "cordon the node {node}"),
            Self::Uncordon(node) => write!(f, "uncordon the node {node}"),
            Self::Drain(node) => write!(f, "drain the node {node}"),
            Self::Upgrade(node) => write!(f, "upgrade the node {node}"),
        }
    }
}

impl Intervention {
    /// The node that is lost by it.
    pub(super) fn loses(&self) -> Option<&str> {
        match self {
            Self::LoseNode(node) => Some(node),
            _ => None,
        }
    }

    /// Makes it in the cluster of a client. What is left undone is said.
    ///
    /// # Errors
    /// What the API says.
    pub(super) async fn make(&self, cluster: &Cluster) -> Result<Option<String>, Status> {
        let client = &cluster.client();
        match self {
            Self::Apply(manifest) => apply(cluster, manifest).await?,
            Self::Replace(object) => replace(cluster, object).await?,
            Self::Delete { kind, namespace, name } => {
                named(cluster, kind, namespace)?.delete(name, DeleteOptions::default()).await?;
            }
            Self::Scale { kind, namespace, name, replicas } => {
                let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
                let objects = named(cluster, kind, namespace)?;
                objects.patch(name, patch, WriteOptions::default()).await?;
            }
            // Its agent falls silent; that it is there at all is asked for.
            Self::LoseNode(node) => drop(client.cluster::<Node>().get(node).await?),
            Self::Cordon(node) => cordon(client, node, true).await?,
            Self::Uncordon(node) => cordon(client, node, false).await?,
            Self::Drain(node) => return drain(client, node).await,
            Self::Upgrade(node) => return upgrade(client, node).await,
        }
        Ok(None)
    }
}

async fn cordon(client: &Client, node: &str, unschedulable: bool) -> Result<(), Status> {
    let patch = Patch::Merge(json!({"spec": {"unschedulable": unschedulable}}));
    client.cluster::<Node>().patch(node, patch).await.map(drop)
}

/// The objects of a kind that is called as kubectl takes it: `deploy`, `deployments`, `Deployment`.
fn named(cluster: &Cluster, word: &str, namespace: &str) -> Result<Objects, Status> {
    let kinds = cluster.server().kinds();
    let kind = kind_named(&kinds, word)?;
    Ok(cluster.client().objects(&kind.info(), kind.is_namespaced().then_some(namespace)))
}

pub(super) fn kind_named<'k>(kinds: &'k Kinds, word: &str) -> Result<&'k Resource, Status> {
    let kind = kinds.named(&word.to_lowercase());
    kind.map(|row| &**row).ok_or_else(|| Status::bad_request(format!("there is no kind {word:?}")))
}

/// The kind, the namespace (empty if it has none) and the name of what a manifest is of.
pub(super) fn manifested<'k, 'm>(
    kinds: &'k Kinds,
    manifest: &'m Value,
) -> Result<(&'k Resource, &'m str, &'m str), Status> {
    let text = |field: &str| manifest[field].as_str().unwrap_or_default();
    let (group, _) = split_api_version(text("apiVersion"));
    let kind = kinds.by_group_kind(group, text("kind")).ok_or_else(|| {
        Status::bad_request(format!("no kind {:?} of {:?} is served", text("kind"), text("apiVersion")))
    })?;
    let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or("default");
    let namespace = if kind.is_namespaced() { namespace } else { "" };
    let name = manifest["metadata"]["name"].as_str();
    let name =
        name.ok_or_else(|| Status::bad_request(format!("a manifest of a {} has no name", kind.kind)))?;
    Ok((kind, namespace, name))
}

async fn apply(cluster: &Cluster, manifest: &Value) -> Result<(), Status> {
    let kinds = cluster.server().kinds();
    let (kind, namespace, name) = manifested(&kinds, manifest)?;
    let options = WriteOptions { field_manager: Some("what-if".into()), ..WriteOptions::default() };
    let patch = Patch::Apply { config: manifest.clone(), force: true };
    let objects = cluster.client().objects(&kind.info(), kind.is_namespaced().then_some(namespace));
    objects.patch(name, patch, options).await.map(drop)
}

async fn replace(cluster: &Cluster, object: &Value) -> Result<(), Status> {
    let kinds = cluster.server().kinds();
    let (kind, namespace, name) = manifested(&kinds, object)?;
    let objects = cluster.client().objects(&kind.info(), kind.is_namespaced().then_some(namespace));
    let now = objects.get(name).await?.to_value().map_err(Status::internal)?;
    objects.update(name, restored(object, Some(&now)), WriteOptions::default()).await.map(drop)
}

/// Evicts what a node has, again and again where a budget refuses it. Says what is still there in the end.
async fn drain(client: &Client, node: &str) -> Result<Option<String>, Status> {
    cordon(client, node, true).await?;
    let (pods, began) = (client.cluster::<Pod>(), client.clock().elapsed());
    loop {
        let (mut left, mut refused) = (0, None);
        for pod in pods.list().await?.iter().filter(|pod| is_drained_from(pod, node)) {
            left += 1;
            if pod.metadata.deletion_timestamp.is_none()
                && let Err(status) = evict(client, pod).await
            {
                refused = Some(status.message().to_owned());
            }
        }
        if left == 0 {
            return Ok(None);
        }
        if client.clock().elapsed().saturating_sub(began) > DRAINING {
            let why = refused.unwrap_or_else(|| "they do not end".to_owned());
            return Ok(Some(format!(
                "{left} pods stay on {node} after {} minutes: {why}",
                DRAINING.as_secs() / 60
            )));
        }
        client.clock().sleep(PAUSE).await;
    }
}

/// Takes a node out and in again. One that cannot be emptied is not upgraded, and takes pods again.
async fn upgrade(client: &Client, node: &str) -> Result<Option<String>, Status> {
    let before = client.cluster::<Node>().get(node).await?;
    let was_cordoned = before.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let undone = drain(client, node).await?;
    if undone.is_none() {
        client.clock().sleep(UPGRADING).await;
    }
    if !was_cordoned {
        cordon(client, node, false).await?;
    }
    Ok(undone)
}

/// Whether a drain is about a pod: one that has not ended, and that no DaemonSet would put there again.
fn is_drained_from(pod: &Pod, node: &str) -> bool {
    let is_there = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node);
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let of_daemon_set = pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "DaemonSet");
    let annotations = pod.metadata.annotations.as_ref();
    let mirrors = annotations.is_some_and(|held| held.contains_key("kubernetes.io/config.mirror"));
    is_there && !of_daemon_set && !mirrors && !matches!(phase, "Succeeded" | "Failed")
}

async fn evict(client: &Client, pod: &Pod) -> Result<(), Status> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let target = Target::of::<Pod>(pod.metadata.namespace.as_deref()).named(name).sub("eviction");
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name, "namespace": pod.metadata.namespace},
    });
    let options = WriteOptions::default();
    match client.call(target, Operation::Create { body: Body::Value(body), options }).await {
        Err(status) if !status.is_not_found() => Err(status),
        _ => Ok(()),
    }
}
