//! Mirrors: pods of the API that show how static pods are.
//!
//! A mirror runs nothing. It is made when it is missing, made anew when it is of another manifest or somebody deletes it,
//! and goes when its pod has ended. An API that is away changes nothing for the pod.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, PodStatus};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::context::Context;
use super::report::{Reported, is_said};
use super::static_pods::{self, MIRROR};
use crate::api::{Body, DeleteOptions, Operation, Reason, Status, Target, WriteOptions};
use crate::watch::{Entry, EntryError};

/// How soon an API that is away is asked again.
const RETRY: Duration = Duration::from_secs(5);

/// Writes the status of a static pod into its mirror. The pod with that status comes back with it.
pub(super) async fn report(
    ctx: &Context,
    entry: &Entry,
    pod: &Pod,
    status: PodStatus,
) -> (Reported, Option<Arc<Entry>>) {
    let known = is_said(pod, &status);
    let newer = (!known).then(|| {
        static_pods::changed(entry, |object| {
            object["status"] = serde_json::to_value(&status).unwrap_or_default();
        })
    });
    let written = match tell(ctx, entry, pod, status).await {
        Ok(()) => Reported::Done,
        // Whatever stands in the way: it is tried again.
        Err(error) => Reported::Failed(error.to_string()),
    };
    (written, newer.flatten())
}

async fn tell(ctx: &Context, entry: &Entry, pod: &Pod, status: PodStatus) -> Result<(), Status> {
    let mirror = match find(ctx, pod).await? {
        Some(mirror) if stands_for(&mirror, pod) => mirror,
        Some(other) if is_mirror(&other) => {
            remove(ctx, &other).await?;
            create(ctx, entry, pod).await?
        }
        Some(other) => {
            let name = other.metadata.name.unwrap_or_default();
            return Err(Status::internal(format!("the API has another pod {name}: no mirror can be made")));
        }
        None => create(ctx, entry, pod).await?,
    };
    if is_said(&mirror, &status) {
        return Ok(());
    }
    let mut body = serde_json::to_value(&mirror).map_err(Status::internal)?;
    body["kind"] = "Pod".into();
    body["apiVersion"] = "v1".into();
    body["status"] = serde_json::to_value(&status).map_err(Status::internal)?;
    let update = Operation::Update { body: Body::Value(body), options: WriteOptions::default() };
    ctx.client.call(target(pod).status(), update).await.map(drop)
}

/// Removes the mirror of a pod that has ended.
async fn finish(ctx: &Context, pod: &Pod) -> Result<(), Status> {
    match find(ctx, pod).await? {
        Some(mirror) if of_manifest(&mirror) == pod.metadata.uid.as_deref() => remove(ctx, &mirror).await,
        _ => Ok(()),
    }
}

/// Sees to it that a static pod that is no more is not shown, however long the API is away.
pub(super) async fn forget(ctx: &Context, entry: &Entry) {
    let Ok(pod) = entry.decode_bare::<Pod>() else { return };
    while let Err(error) = finish(ctx, &pod).await {
        tracing::debug!(pod = %entry.name(), %error, "the mirror of a pod that is no more stays for now");
        ctx.clock().sleep(RETRY).await;
    }
}

/// Removes a mirror of a pod that is no more.
pub(super) async fn remove_orphan(ctx: &Context, mirror: &Entry) {
    let removed = match mirror.decode_bare::<Pod>() {
        Ok(pod) => remove(ctx, &pod).await,
        Err(error) => Err(Status::internal(error)),
    };
    if let Err(error) = removed {
        tracing::warn!(pod = %mirror.name(), %error, "the mirror of a pod that is no more was not removed");
    }
}

async fn find(ctx: &Context, pod: &Pod) -> Result<Option<Pod>, Status> {
    let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
    match ctx.client.api::<Pod>(namespace.unwrap_or_default()).find(name.unwrap_or_default()).await {
        // A node may read the pods that it has, and no others: so this is none of its own.
        Err(error) if error.reason() == Reason::Forbidden => Ok(None),
        found => found,
    }
}

fn of_manifest(mirror: &Pod) -> Option<&str> {
    mirror.metadata.annotations.as_ref()?.get(MIRROR).map(String::as_str)
}

fn is_mirror(pod: &Pod) -> bool {
    of_manifest(pod).is_some()
}

/// Whether it is the mirror of this very pod, and stays.
fn stands_for(mirror: &Pod, pod: &Pod) -> bool {
    of_manifest(mirror) == pod.metadata.uid.as_deref() && mirror.metadata.deletion_timestamp.is_none()
}

async fn create(ctx: &Context, entry: &Entry, pod: &Pod) -> Result<Pod, Status> {
    let node = ctx.client.cluster::<Node>().get(&ctx.name).await?;
    let object = mirror_of(entry, pod, node.metadata.uid.as_deref().unwrap_or_default(), &ctx.name);
    let object = Pod::deserialize(&object.map_err(Status::internal)?).map_err(Status::internal)?;
    ctx.client.api::<Pod>(pod.metadata.namespace.as_deref().unwrap_or_default()).create(&object).await
}

/// The mirror of a static pod, which belongs to its node.
fn mirror_of(entry: &Entry, pod: &Pod, node_uid: &str, node: &str) -> Result<Value, EntryError> {
    let mut object = entry.to_value()?;
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        // What only a server may set.
        for field in
            ["uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
        {
            meta.remove(field);
        }
    }
    object["metadata"]["annotations"][MIRROR] = pod.metadata.uid.clone().into();
    object["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "Node", "name": node, "uid": node_uid, "controller": true }]);
    Ok(object)
}

async fn remove(ctx: &Context, mirror: &Pod) -> Result<(), Status> {
    let options =
        DeleteOptions { grace_period: Some(0), uid: mirror.metadata.uid.clone(), ..DeleteOptions::default() };
    match ctx.client.call(target(mirror), Operation::Delete(options)).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn target(pod: &Pod) -> Target {
    let name = pod.metadata.name.clone().unwrap_or_default();
    Target::of::<Pod>(pod.metadata.namespace.as_deref()).named(name)
}
