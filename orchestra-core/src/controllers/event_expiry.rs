//! Events are forgotten an hour after they were last written, as etcd does for Kubernetes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde::Deserialize;

use super::Host;
use crate::api::{DeleteOptions, Operation, Status};
use crate::control::write;
use crate::control::{Action, Context, Error};
use crate::watch::Entry;

/// What is read of an Event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct View {
    metadata: Metadata,
    #[serde(default)]
    last_timestamp: Option<Time>,
    #[serde(default)]
    event_time: Option<MicroTime>,
    #[serde(default)]
    series: Option<Series>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    creation_timestamp: Option<Time>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Series {
    #[serde(default)]
    last_observed_time: Option<MicroTime>,
}

impl View {
    /// When it was last written.
    fn written(&self) -> Option<Timestamp> {
        let series = self.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
        let times = [
            self.metadata.creation_timestamp.as_ref().map(|time| time.0),
            self.last_timestamp.as_ref().map(|time| time.0),
            self.event_time.as_ref().map(|time| time.0),
            series.map(|time| time.0),
        ];
        times.into_iter().flatten().max()
    }
}

/// Runs the controller.
pub(super) async fn run(host: Host, live: Duration) -> Result<(), Status> {
    let live = SignedDuration::try_from(live).unwrap_or(SignedDuration::MAX);
    let reconcile = move |context: Context| async move {
        match context.entry::<Event>().await? {
            Some(entry) => expire(&context, &entry, live).await,
            None => Ok(Action::Done),
        }
    };
    host.run(host.controller::<Event>().named("event-expiry"), reconcile).await
}

async fn expire(context: &Context, entry: &Entry, live: SignedDuration) -> Result<Action, Error> {
    let written = entry.view::<View>()?.written().unwrap_or(context.now());
    let left = live - context.now().duration_since(written);
    if let Ok(left) = Duration::try_from(left)
        && !left.is_zero()
    {
        return Ok(Action::Again(left));
    }
    // If it was counted up meanwhile, it lives on.
    let options = DeleteOptions {
        uid: Some(entry.uid().to_string()),
        revision: Some(entry.revision()),
        ..DeleteOptions::default()
    };
    let target = write::target::<Event>(entry.name());
    write::was_deleted(context.client().call(target, Operation::Delete(options)).await)?;
    Ok(Action::Done)
}
