//! Writing a pod's status, and taking a pod that has ended out of the API.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::Value;

use super::context::Context;
use crate::api::schema::{Place, canonical};
use crate::api::{Body, DeleteOptions, Operation, Reply, Status, Target, WriteOptions};
use crate::watch::Entry;

/// What came of a write.
pub(super) enum Reported {
    /// It stands as it should.
    Done,
    /// The pod is not there any more.
    NotFound,
    /// The pod has changed since it was read; the watch will bring it.
    Stale,
    /// The API refused, or is away.
    Failed(String),
}

/// Writes the status, if it says something new. The pod as it is then comes back with it.
pub(super) async fn report(
    ctx: &Context,
    entry: &Entry,
    pod: &Pod,
    status: PodStatus,
) -> (Reported, Option<Arc<Entry>>) {
    if is_said(pod, &status) {
        return (Reported::Done, None);
    }
    let body = entry.to_value().and_then(|mut value| {
        value["status"] = serde_json::to_value(&status)?;
        Ok(value)
    });
    let body = match body {
        Ok(body) => body,
        Err(error) => return (Reported::Failed(error.to_string()), None),
    };
    let target = target(pod).status();
    let operation = Operation::Update { body: Body::Value(body), options: WriteOptions::default() };
    match ctx.client.call(target, operation).await {
        Ok(response) => match response.reply {
            Reply::Object(entry) => (Reported::Done, Some(entry)),
            _ => (Reported::Done, None),
        },
        Err(error) => (refused(&error), None),
    }
}

/// Whether a pod's status says this already.
pub(super) fn is_said(pod: &Pod, status: &PodStatus) -> bool {
    pod.status.as_ref() == Some(status) || pod.status.as_ref().map(stored) == Some(stored(status))
}

/// A status as it is stored, which has fields that an agent leaves out, such as an empty `lastState`.
fn stored(status: &PodStatus) -> Option<Value> {
    canonical::form(Place::of_kind("v1", "PodStatus")?, status)
}

/// Takes a pod out of the API for good: nothing of it runs any more.
pub(super) async fn finish(ctx: &Context, pod: &Pod) -> Reported {
    let options =
        DeleteOptions { grace_period: Some(0), uid: pod.metadata.uid.clone(), ..DeleteOptions::default() };
    match ctx.client.call(target(pod), Operation::Delete(options)).await {
        Ok(_) => Reported::Done,
        Err(error) => refused(&error),
    }
}

fn target(pod: &Pod) -> Target {
    let name = pod.metadata.name.clone().unwrap_or_default();
    Target::of::<Pod>(pod.metadata.namespace.as_deref()).named(name)
}

fn refused(error: &Status) -> Reported {
    if error.is_not_found() {
        Reported::NotFound
    } else if error.is_conflict() {
        Reported::Stale
    } else {
        Reported::Failed(error.to_string())
    }
}
