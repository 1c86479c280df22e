//! Writing a pod's status, and taking a pod that has ended out of the API.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::context::Context;
use crate::api::schema::{Place, canonical};
use crate::api::{Body, DeleteOptions, Operation, Reply, Status, Target, WriteOptions};
use crate::watch::{Entry, EntryError};

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
    if is_plainly_said(pod, &status) {
        return (Reported::Done, None);
    }
    let body = match body(entry, &status) {
        Ok(Some(body)) => body,
        Ok(None) => return (Reported::Done, None),
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

/// What is written to say so, if it is anything new. Of a pod the desired state is not written with its status, and whose
/// fields are which is the server's to say: it need read neither.
fn body(entry: &Entry, status: &PodStatus) -> Result<Option<Value>, EntryError> {
    #[derive(Deserialize)]
    struct Held {
        metadata: Map<String, Value>,
        #[serde(default)]
        status: Value,
    }
    let Held { mut metadata, status: held } = entry.peek()?;
    let status = stored(status).map_or_else(|| serde_json::to_value(status), Ok)?;
    if held == status {
        return Ok(None);
    }
    metadata.insert("resourceVersion".to_owned(), entry.revision().to_string().into());
    let body = [
        ("apiVersion", "v1".into()),
        ("kind", "Pod".into()),
        ("metadata", metadata.into()),
        ("status", status),
    ];
    Ok(Some(body.into_iter().map(|(field, value)| (field.to_owned(), value)).collect()))
}

/// Whether a pod's status says this already.
pub(super) fn is_said(pod: &Pod, status: &PodStatus) -> bool {
    is_plainly_said(pod, status) || pod.status.as_ref().map(stored) == Some(stored(status))
}

/// Whether a status that was read says this already, seen without writing either as it is stored: as nearly every round
/// finds. Where this says no, they may say the same all the same.
fn is_plainly_said(pod: &Pod, status: &PodStatus) -> bool {
    let Some(held) = &pod.status else { return false };
    *held == *status || *held == whole(status.clone())
}

/// A status with what is stored though an agent leaves it out, and without what is not stored.
fn whole(mut status: PodStatus) -> PodStatus {
    let of = |state: &mut Option<ContainerState>| {
        let state = state.get_or_insert_default();
        if let Some(running) = &mut state.running {
            running.started_at.iter_mut().for_each(to_the_second);
        }
        if let Some(ended) = &mut state.terminated {
            ended.started_at.iter_mut().chain(&mut ended.finished_at).for_each(to_the_second);
        }
    };
    let lists = [
        &mut status.container_statuses,
        &mut status.init_container_statuses,
        &mut status.ephemeral_container_statuses,
    ];
    for container in lists.into_iter().flatten().flatten() {
        of(&mut container.state);
        of(&mut container.last_state);
    }
    for condition in status.conditions.iter_mut().flatten() {
        let times = condition.last_probe_time.iter_mut().chain(&mut condition.last_transition_time);
        times.for_each(to_the_second);
    }
    status.start_time.iter_mut().for_each(to_the_second);
    status
}

fn to_the_second(time: &mut Time) {
    time.0 = Timestamp::from_second(time.0.as_second()).unwrap_or(time.0);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_back_of_a_status_is_seen_to_say_the_same() {
        let state = json!({"running": {"startedAt": "2026-01-01T00:00:03.25Z"}});
        let container = json!({
            "name": "main", "image": "web:1", "imageID": "", "ready": true, "restartCount": 1, "state": state,
        });
        let condition = json!({
            "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:04.5Z",
        });
        let said: PodStatus = serde_json::from_value(json!({
            "phase": "Running", "startTime": "2026-01-01T00:00:01.75Z", "conditions": [condition],
            "containerStatuses": [container],
        }))
        .unwrap();
        let held: PodStatus = serde_json::from_value(stored(&said).unwrap()).unwrap();
        assert_ne!(held, said, "it comes back with what was left out");
        let pod = Pod { status: Some(held), ..Pod::default() };
        assert!(is_plainly_said(&pod, &said));
        assert!(!is_plainly_said(&Pod::default(), &said));
        let other = PodStatus { phase: Some("Failed".into()), ..said };
        assert!(!is_plainly_said(&pod, &other) && !is_said(&pod, &other));
    }
}
