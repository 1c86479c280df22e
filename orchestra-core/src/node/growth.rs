//! Volumes of drivers that were made larger: the part of it that is done where they are shown.
//!
//! Whoever makes a volume larger says in its claim that the rest is to be done on the node (`NodeResizePending`, or the
//! condition `FileSystemResizePending`). A node may not follow claims, so it looks at those of its pods now and then.

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod, Volume,
};
use serde_json::{Value, json};

use super::claimed::bound;
use super::context::{Context, about};
use super::csi::{Driver, For};
use super::model::{HeldTokens, Memory};
use super::ports::HostError;
use super::translate::pod_ref;
use crate::api::Patch;
use crate::quantity::Quantity;

/// How often it is looked.
pub(super) const PERIOD: Duration = Duration::from_secs(30);
const PENDING: &str = "FileSystemResizePending";
const INFEASIBLE: &str = "NodeResizeInfeasible";

/// Lets the claimed volumes of a pod have the room that they are to have by now. What goes wrong is told, and tried again when
/// it is looked next.
pub(super) async fn look(ctx: &Context, pod: &Pod, memory: &Memory) {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claimed = |name: &str| memory.driven.get(name).is_some_and(|known| known.claimed);
    for volume in volumes.filter(|volume| claimed(&volume.name)) {
        match bound(ctx, pod, volume).await {
            Ok(Some((claim, held))) => one(ctx, pod, volume, &claim, &held).await,
            Ok(None) => {}
            Err(why) => tracing::debug!(volume = volume.name, why, "a claim cannot be looked at"),
        }
    }
}

async fn one(
    ctx: &Context,
    pod: &Pod,
    volume: &Volume,
    claim: &PersistentVolumeClaim,
    held: &PersistentVolume,
) {
    let Some(size) = missing(claim, held) else { return };
    let name = held.metadata.name.as_deref().unwrap_or_default();
    let whom = [about(pod, None), about_claim(claim)];
    let done = match grown(ctx, pod, volume, held, &size).await {
        Ok(true) => {
            let told = format!("MountVolume.NodeExpandVolume succeeded for volume \"{name}\"");
            whom.iter().for_each(|it| ctx.normal(it, "FileSystemResizeSuccessful", told.clone()));
            Ok(finished(claim, &size))
        }
        // The driver has nothing to do here: whoever made the volume larger says so of the claim.
        Ok(false) => return,
        Err(error) => Err(error),
    };
    let status = match done {
        Ok(status) => status,
        Err(error) => {
            let told = format!("NodeExpandVolume failed for volume \"{name}\" : {error}");
            whom.iter().for_each(|it| ctx.warning(it, "VolumeResizeFailed", told.clone()));
            match error {
                Failed::Forever(_) => json!({"allocatedResourceStatuses": {"storage": INFEASIBLE}}),
                Failed::Now(_) => return,
            }
        }
    };
    let meta = &claim.metadata;
    let patch = json!({"metadata": {"resourceVersion": meta.resource_version}, "status": status});
    let claims = ctx.client.api::<PersistentVolumeClaim>(meta.namespace.as_deref().unwrap_or_default());
    if let Err(status) =
        claims.patch_status(meta.name.as_deref().unwrap_or_default(), Patch::Merge(patch)).await
    {
        tracing::debug!(volume = name, %status, "it is not said of a claim that it has grown");
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Now(String),
    #[error("{0}")]
    Forever(HostError),
}

async fn grown(
    ctx: &Context,
    pod: &Pod,
    volume: &Volume,
    held: &PersistentVolume,
    size: &str,
) -> Result<bool, Failed> {
    let Some(source) = held.spec.as_ref().and_then(|spec| spec.csi.as_ref()) else { return Ok(false) };
    let driver = Driver::find(ctx, &source.driver).await.map_err(Failed::Now)?;
    let place = For { ctx, pod, volume };
    let csi = place.claimed(held, source, &driver, &mut HeldTokens::new()).await.map_err(Failed::Now)?;
    if csi.read_only {
        return Ok(false);
    }
    let bytes = Quantity::parse(size).map(|size| size.value()).unwrap_or_default();
    match ctx.volumes.grow(&pod_ref(pod), &volume.name, &csi, bytes).await {
        Err(error @ HostError::Infeasible { .. }) => Err(Failed::Forever(error)),
        Err(error) => Err(Failed::Now(error.to_string())),
        Ok(done) => Ok(done),
    }
}

/// How large a volume is by now whose claim says that the rest is to be done on the node.
fn missing(claim: &PersistentVolumeClaim, held: &PersistentVolume) -> Option<String> {
    let status = claim.status.as_ref()?;
    let size = held.spec.as_ref()?.capacity.as_ref()?.get("storage")?;
    let has = status.capacity.as_ref().and_then(|capacity| capacity.get("storage"));
    let has = has.and_then(|has| Quantity::parse(&has.0).ok()).unwrap_or_default();
    (is_pending(status) && Quantity::parse(&size.0).is_ok_and(|size| size > has)).then(|| size.0.clone())
}

fn is_pending(status: &PersistentVolumeClaimStatus) -> bool {
    let said = status.allocated_resource_statuses.as_ref().and_then(|said| said.get("storage"));
    match said.map(String::as_str) {
        Some("NodeResizePending" | "NodeResizeInProgress") => true,
        // It is not tried again before somebody asks for something else.
        Some(INFEASIBLE) => false,
        _ => status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == PENDING && condition.status == "True"),
    }
}

/// What is said of a claim that has grown: of what is told about growing nothing is left.
fn finished(claim: &PersistentVolumeClaim, size: &str) -> Value {
    let conditions = claim.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let of_growing = [PENDING, "Resizing", "ControllerResizeError", "NodeResizeError"];
    let rest: Vec<_> = conditions.filter(|it| !of_growing.contains(&it.type_.as_str())).collect();
    let conditions = if rest.is_empty() { Value::Null } else { json!(rest) };
    json!({
        "capacity": {"storage": size}, "conditions": conditions,
        "allocatedResourceStatuses": {"storage": null},
    })
}

fn about_claim(claim: &PersistentVolumeClaim) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        name: claim.metadata.name.clone(),
        namespace: claim.metadata.namespace.clone(),
        uid: claim.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_do_on_the_node() {
        let held: PersistentVolume =
            serde_json::from_value(json!({"spec": {"capacity": {"storage": "2Gi"}}})).unwrap();
        let of = |status: Value| {
            let claim: PersistentVolumeClaim = serde_json::from_value(json!({"status": status})).unwrap();
            missing(&claim, &held)
        };
        let small = json!({"storage": "1Gi"});
        let asked = json!([{"type": PENDING, "status": "True"}]);
        let said = |what: &str| json!({"capacity": small, "conditions": asked, "allocatedResourceStatuses": {"storage": what}});
        assert_eq!(of(said("NodeResizePending")).as_deref(), Some("2Gi"));
        assert_eq!(of(json!({"capacity": small, "conditions": asked})).as_deref(), Some("2Gi"));
        assert_eq!(of(json!({"capacity": small})), None, "whoever made it larger is not done");
        assert_eq!(of(json!({"capacity": {"storage": "2Gi"}, "conditions": asked})), None);
        assert_eq!(of(said(INFEASIBLE)), None);
    }

    #[test]
    fn a_claim_that_has_grown_tells_of_it_no_more() {
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({"status": {"conditions": [
            {"type": PENDING, "status": "True"}, {"type": "Own", "status": "True"},
        ]}}))
        .unwrap();
        let said = finished(&claim, "2Gi");
        assert_eq!(said["capacity"]["storage"], "2Gi");
        assert_eq!(said["conditions"], json!([{"type": "Own", "status": "True"}]));
        assert_eq!(finished(&PersistentVolumeClaim::default(), "2Gi")["conditions"], Value::Null);
    }
}
