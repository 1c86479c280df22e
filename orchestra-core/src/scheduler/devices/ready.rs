//! Devices that a driver has to prepare before a pod that has them may be bound.

use std::time::Duration;

use k8s_openapi::api::resource::v1::{
    AllocatedDeviceStatus, DeviceRequestAllocationResult, ResourceClaim, ResourceClaimStatus,
};

use super::Allocation;
use crate::api::{Client, Reason, Status};
use crate::clock::timeout;
use crate::scheduler::pod::PodInfo;
use crate::watch::{Cache, Query};

/// How long drivers may take: Kubernetes' figure.
const PATIENCE: Duration = Duration::from_secs(600);

/// Waits until the devices of a pod's claims are ready.
///
/// # Errors
/// When a driver says that one will not be, or they take too long, or a claim is gone. Then they are to be given back.
pub(crate) async fn until_ready(
    client: &Client,
    pod: &PodInfo,
    allocations: &[Allocation],
) -> Result<(), Status> {
    if allocations.is_empty() {
        return Ok(());
    }
    let late = || Status::new(Reason::Timeout, "the devices of the pod are not ready yet");
    let ready = ready(client, pod, allocations);
    timeout(&**client.clock(), PATIENCE, ready).await.unwrap_or_else(|| Err(late()))
}

async fn ready(client: &Client, pod: &PodInfo, allocations: &[Allocation]) -> Result<(), Status> {
    let cache = client.cache::<ResourceClaim>().await?;
    let all =
        || allocations.iter().try_fold(true, |all, allocation| Ok(is_ready(&cache, allocation)? && all));
    cache.until(&Query::namespace(pod.namespace()), all).await
}

fn is_ready(cache: &Cache, allocation: &Allocation) -> Result<bool, Status> {
    let asked = &allocation.claim;
    let gone = || Status::new(Reason::Conflict, format!("the claim {} is not there any more", asked.name));
    let entry = cache.get(&asked.name).filter(|entry| *entry.uid() == asked.uid).ok_or_else(gone)?;
    let claim: ResourceClaim = entry.decode_bare().map_err(Status::internal)?;
    // The cache may not have what was written just now.
    let Some(status) = claim.status.filter(|status| status.allocation.is_some()) else { return Ok(false) };
    match state(&status) {
        State::Ready => Ok(true),
        State::Waiting => Ok(false),
        State::Failed(why) => Err(Status::new(Reason::Conflict, format!("claim {}: {why}", asked.name))),
    }
}

/// How the devices of a claim are.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Ready,
    Waiting,
    Failed(String),
}

fn state(status: &ResourceClaimStatus) -> State {
    let results = status.allocation.iter().filter_map(|it| it.devices.as_ref()?.results.as_ref()).flatten();
    let mut state = State::Ready;
    for result in results {
        let is_it = |held: &&AllocatedDeviceStatus| {
            let of = |result: &DeviceRequestAllocationResult| {
                (result.driver.clone(), result.pool.clone(), result.device.clone(), result.share_id.clone())
            };
            of(result) == (held.driver.clone(), held.pool.clone(), held.device.clone(), held.share_id.clone())
        };
        let held = status.devices.iter().flatten().find(is_it);
        let holds = |type_: &&String| {
            let mut conditions = held.iter().flat_map(|held| held.conditions.iter().flatten());
            conditions.any(|condition| condition.type_ == **type_ && condition.status == "True")
        };
        if let Some(failed) = result.binding_failure_conditions.iter().flatten().find(holds) {
            return State::Failed(format!("device {}: {failed}", result.device));
        }
        if !result.binding_conditions.iter().flatten().all(|type_| holds(&type_)) {
            state = State::Waiting;
        }
    }
    state
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_claim_is_ready_when_all_conditions_of_all_its_devices_hold() {
        let state = |conditions: Value| {
            let results = json!([
                {"request": "r", "driver": "d", "pool": "p", "device": "plain"},
                {
                    "request": "r", "driver": "d", "pool": "p", "device": "far", "shareID": "s",
                    "bindingConditions": ["Attached", "Clean"], "bindingFailureConditions": ["Broken"],
                },
            ]);
            let time = "2026-01-01T00:00:00Z";
            let condition = |(name, status): (&str, &str)| json!({"type": name, "status": status, "reason": "r", "message": "", "lastTransitionTime": time});
            let held: Vec<(String, String)> = serde_json::from_value(conditions).unwrap();
            let conditions: Vec<_> = held.iter().map(|(a, b)| condition((a, b))).collect();
            let device = |share: &str| json!({"driver": "d", "pool": "p", "device": "far", "shareID": share, "conditions": conditions});
            let status = |share: &str| json!({"allocation": {"devices": {"results": results}}, "devices": [device(share)]});
            let other: ResourceClaimStatus = serde_json::from_value(status("another")).unwrap();
            assert_eq!(super::state(&other), State::Waiting, "another share of it says nothing");
            super::state(&serde_json::from_value(status("s")).unwrap())
        };
        let failed = State::Failed("device far: Broken".into());
        for (conditions, expected) in [
            (json!([]), State::Waiting),
            (json!([["Attached", "True"]]), State::Waiting),
            (json!([["Attached", "True"], ["Clean", "False"]]), State::Waiting),
            (json!([["Attached", "True"], ["Clean", "True"]]), State::Ready),
            (json!([["Attached", "True"], ["Clean", "True"], ["Broken", "True"]]), failed),
        ] {
            assert_eq!(state(conditions.clone()), expected, "{conditions}");
        }
    }
}
