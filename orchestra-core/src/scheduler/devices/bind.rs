//! What is written into claims before a pod is bound, and when it is given back.

use k8s_openapi::api::resource::v1::ResourceClaim;
use serde_json::{Value, json};

use super::view::taken;
use super::{Allocation, Taken};
use crate::api::{Client, ListOptions, Patch, Reason, Status};
use crate::clock::random_uid;
use crate::meta::ObjectName;
use crate::scheduler::pod::PodInfo;

/// Keeps a claim that has devices until they are given back.
const PROTECTION: &str = "resource.kubernetes.io/delete-protection";
/// How often it is tried when somebody else writes at the same time.
const TRIES: usize = 5;

/// Gives the claims of a pod what was chosen, and says that the pod uses them.
///
/// # Errors
/// When a claim is gone, or has something else by now, or another has what was chosen.
pub(crate) async fn reserve(
    client: &Client,
    pod: &PodInfo,
    allocations: &[Allocation],
) -> Result<(), Status> {
    nobody_else_has(client, allocations).await?;
    for allocation in allocations {
        let mut tried = 0;
        loop {
            tried += 1;
            match once(client, pod, allocation).await {
                Err(status) if status.is_conflict() && tried < TRIES => {}
                done => break done?,
            }
        }
    }
    Ok(())
}

/// Asks the API whether what was chosen is still to be had. The revision of a claim says nothing of the other claims, and a
/// scheduler that has just begun may not see yet what another gave before it. What claims share of a device is not added
/// up here: that they share it is no fault.
async fn nobody_else_has(client: &Client, allocations: &[Allocation]) -> Result<(), Status> {
    let new: Vec<(&Allocation, Taken)> =
        allocations.iter().filter(|it| it.is_new()).map(|it| (it, it.taken())).collect();
    if new.is_empty() {
        return Ok(());
    }
    for claim in client.cluster::<ResourceClaim>().list_with(ListOptions::default()).await?.items {
        let Some(has) = claim.status.and_then(|status| status.allocation) else { continue };
        let has = taken(has).map_err(Status::internal)?;
        let uid = claim.metadata.uid.as_deref();
        let others = new.iter().filter(|(allocation, _)| uid != Some(allocation.claim.uid.as_str()));
        for (allocation, chosen) in others {
            if let Some(device) = chosen.meets(&has) {
                let other = claim.metadata.name.unwrap_or_default();
                return Err(Status::new(
                    Reason::AlreadyExists,
                    format!("{} of claim {} is had by claim {other}", device.device, allocation.claim.name),
                ));
            }
        }
    }
    Ok(())
}

async fn once(client: &Client, pod: &PodInfo, allocation: &Allocation) -> Result<(), Status> {
    let name = allocation.claim.name.name();
    let claims = client.api::<ResourceClaim>(pod.namespace());
    let mut claim = claims.get(name).await?;
    let other = |why: &str| Status::new(Reason::Conflict, format!("claim {}: {why}", allocation.claim.name));
    if claim.metadata.uid.as_deref() != Some(allocation.claim.uid.as_str())
        || claim.metadata.deletion_timestamp.is_some()
    {
        return Err(Status::new(
            Reason::NotFound,
            format!("the claim {} is not there any more", allocation.claim.name),
        ));
    }
    let status = claim.status.clone().unwrap_or_default();
    let mut change = json!({});
    if let Some(result) = &allocation.result {
        if status.allocation.is_some() {
            return Err(Status::new(Reason::AlreadyExists, "the claim was allocated by somebody else"));
        }
        let mut finalizers = claim.metadata.finalizers.clone().unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == PROTECTION) {
            finalizers.push(PROTECTION.to_owned());
            let patch = json!({"metadata": {
                "resourceVersion": claim.metadata.resource_version, "finalizers": finalizers,
            }});
            claim = claims.patch(name, Patch::Merge(patch)).await?;
        }
        change["allocation"] = settled(client, result.clone());
    } else if status.allocation.is_none() {
        return Err(other("it has nothing any more"));
    }
    let mut users: Vec<Value> = status.reserved_for.iter().flatten().map(|user| json!(user)).collect();
    if !users.iter().any(|user| user["uid"] == pod.uid.as_str()) {
        users.push(json!({"resource": "pods", "name": pod.name.name(), "uid": pod.uid.as_str()}));
        change["reservedFor"] = users.into();
    }
    if change == json!({}) {
        return Ok(());
    }
    let patch = json!({
        "metadata": {"resourceVersion": claim.metadata.resource_version}, "status": change,
    });
    claims.patch_status(name, Patch::Merge(patch)).await.map(drop)
}

/// What was chosen, with what is only known when it is written: since when it is had, and what tells one share of a device from
/// another.
fn settled(client: &Client, mut allocation: Value) -> Value {
    let now = client.clock().now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    allocation["allocationTimestamp"] = now.into();
    for result in allocation["devices"]["results"].as_array_mut().into_iter().flatten() {
        if result.get("consumedCapacity").is_some() {
            result["shareID"] = random_uid(&**client.clock()).as_str().into();
        }
    }
    allocation
}

/// Has a claim give its devices back, which nobody but a pod that cannot use them uses.
///
/// # Errors
/// What the API says.
pub(crate) async fn release(client: &Client, pod: &PodInfo, name: &ObjectName) -> Result<(), Status> {
    let claims = client.api::<ResourceClaim>(pod.namespace());
    let claim = claims.get(name.name()).await?;
    let users = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    if users.into_iter().any(|user| user.uid != pod.uid.as_str()) {
        return Ok(());
    }
    let patch = json!({
        "metadata": {"resourceVersion": claim.metadata.resource_version},
        "status": {"allocation": null, "reservedFor": null, "devices": null},
    });
    claims.patch_status(name.name(), Patch::Merge(patch)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(results: &[(&str, &str)]) -> Taken {
        let result = |(device, how): &(&str, &str)| {
            let mut result = json!({"driver": "d", "pool": "p", "request": "r", "device": device});
            match *how {
                "a share" => result["shareID"] = "s".into(),
                "to look after" => result["adminAccess"] = true.into(),
                _ => {}
            }
            result
        };
        let results: Vec<Value> = results.iter().map(result).collect();
        taken(serde_json::from_value(json!({"devices": {"results": results}})).unwrap()).unwrap()
    }

    #[test]
    fn what_two_claims_cannot_both_have() {
        let cases = [
            (("x", "whole"), ("x", "whole"), true),
            (("x", "whole"), ("y", "whole"), false),
            (("x", "whole"), ("x", "a share"), true),
            (("x", "a share"), ("x", "a share"), false),
            (("x", "whole"), ("x", "to look after"), false),
        ];
        for (one, other, meet) in cases {
            let (taken, others) = (has(&[("z", "a share"), one]), has(&[("w", "whole"), other]));
            let device = meet.then_some("x");
            assert_eq!(taken.meets(&others).map(|it| &*it.device), device, "{one:?} and {other:?}");
            assert_eq!(others.meets(&taken).map(|it| &*it.device), device, "{other:?} and {one:?}");
        }
    }
}
