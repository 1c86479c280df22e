//! Pods are made and deleted in one way, and an event about their owner tells of each.
//!
//! Many are at once, on all threads ([`together`](crate::supervise::together)), which is why nothing is borrowed here.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use serde_json::Value;

use crate::api::Status;
use crate::control::events::Recorder;
use crate::control::{Context, write};
use crate::watch::Entry;

/// Creates a pod, and tells of it in an event about its owner. Where the namespace is going away nothing is told: that no
/// pod can be made there is as it should be.
pub(super) async fn create_pod(
    context: Context,
    recorder: Recorder,
    about: ObjectReference,
    pod: Value,
) -> Result<(), Status> {
    match write::create::<Pod>(context.client(), context.namespace(), pod).await {
        Ok(name) => {
            recorder.normal(&about, "SuccessfulCreate", format!("Created pod: {}", name.name()));
            Ok(())
        }
        Err(status) => {
            if !write::namespace_terminating(&status) {
                recorder.warning(&about, "FailedCreate", format!("Error creating: {status}"));
            }
            Err(status)
        }
    }
}

/// Deletes a pod, if it is still the one that was seen, and tells of it in an event about its owner.
pub(super) async fn delete_pod(
    context: Context,
    recorder: Recorder,
    about: ObjectReference,
    pod: Arc<Entry>,
) -> Result<(), Status> {
    match write::delete::<Pod>(context.client(), pod.name(), pod.uid()).await {
        Ok(true) => {
            let message = format!("Deleted pod: {}", pod.name().name());
            recorder.normal(&about, "SuccessfulDelete", message);
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(status) => {
            recorder.warning(&about, "FailedDelete", format!("Error deleting: {status}"));
            Err(status)
        }
    }
}
