//! Binding the volumes of a pod before the pod itself.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::json;

use super::{Binding, ClaimInfo, SELECTED_NODE};
use crate::api::{Client, Patch, Reason, Status};
use crate::clock::timeout;
use crate::control::write::target;
use crate::meta::ObjectName;
use crate::watch::Query;

/// The annotation that says that nobody but a controller asked for a binding.
pub(crate) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";

/// Has volumes be bound for a node, and waits until they are: the controller of volumes does the rest.
///
/// # Errors
/// When a volume was taken by another, or cannot be made there, or takes too long.
pub(crate) async fn bind_volumes(
    client: &Client,
    node: &str,
    bindings: &[Binding],
    patience: Duration,
) -> Result<(), Status> {
    for binding in bindings {
        match binding {
            Binding::Volume { claim, volume } => {
                let patch = json!({
                    "metadata": {
                        "resourceVersion": volume.revision.to_string(),
                        "annotations": {BOUND_BY_CONTROLLER: "yes"},
                    },
                    "spec": {"claimRef": reference(claim)},
                });
                let target = target::<PersistentVolume>(&ObjectName::cluster(&*volume.name));
                client.call(target, Patch::Merge(patch).operation()).await?;
            }
            Binding::New { claim } if claim.selected_node.as_deref() == Some(node) => {}
            Binding::New { claim } => {
                let patch = json!({"metadata": {
                    "uid": claim.uid, "resourceVersion": claim.revision.to_string(),
                    "annotations": {SELECTED_NODE: node},
                }});
                let target = target::<PersistentVolumeClaim>(&claim.name);
                client.call(target, Patch::Merge(patch).operation()).await?;
            }
        }
    }
    if bindings.is_empty() {
        return Ok(());
    }
    let late = || Status::new(Reason::Timeout, "the volumes of the pod are not bound yet");
    timeout(&**client.clock(), patience, bound(client, node, bindings)).await.unwrap_or_else(|| Err(late()))
}

/// A claim as a volume refers to it.
pub(crate) fn reference(claim: &ClaimInfo) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.name.namespace(),
        "name": claim.name.name(), "uid": claim.uid, "resourceVersion": claim.revision.to_string(),
    })
}

/// Ends when all claims are bound.
async fn bound(client: &Client, node: &str, bindings: &[Binding]) -> Result<(), Status> {
    let cache = client.cache::<PersistentVolumeClaim>().await?;
    let Some(first) = bindings.first() else { return Ok(()) };
    let namespace = first.claim().name.namespace().unwrap_or_default();
    let all = || bindings.iter().try_fold(true, |all, binding| Ok(is_bound(&cache, node, binding)? && all));
    cache.until(&Query::namespace(namespace), all).await
}

fn is_bound(cache: &crate::watch::Cache, node: &str, binding: &Binding) -> Result<bool, Status> {
    let asked = binding.claim();
    let held = cache.get(&asked.name).filter(|entry| *entry.uid() == asked.uid);
    let gone = || Status::new(Reason::Conflict, format!("the claim {} is not there any more", asked.name));
    let entry = held.ok_or_else(gone)?;
    let claim = ClaimInfo::read(&entry).map_err(Status::internal)?;
    if claim.is_bound() {
        return Ok(true);
    }
    // The cache may be older than what was written just now.
    let seen = entry.revision() > asked.revision || asked.selected_node.is_some();
    let asked_elsewhere =
        matches!(binding, Binding::New { .. }) && seen && claim.selected_node.as_deref() != Some(node);
    if asked_elsewhere {
        let why = format!("no volume can be made for the claim {} on {node}", asked.name);
        return Err(Status::new(Reason::Conflict, why));
    }
    Ok(false)
}
