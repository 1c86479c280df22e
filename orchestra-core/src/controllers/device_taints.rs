//! Pods whose devices have a taint that drives them away: they go, at once or when their claim puts up with it no longer.
//! A taint that does not say since when it is there is so since it was first seen here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{
    DeviceRequestAllocationResult, DeviceTaint, DeviceToleration, ResourceClaim, ResourceSlice,
};

use super::Host;
use super::taint_eviction::{disruption, report};
use crate::api::Status;
use crate::control::events::{Recorder, reference_to};
use crate::control::{Action, Context, Error, write};
use crate::meta::ObjectName;
use crate::watch::{Cache, Entry, Query};

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let claims = host.client.cache::<ResourceClaim>().await?;
    let controller = host
        .controller::<ResourceClaim>()
        .named("device-taint-eviction-controller")
        .watches::<ResourceSlice, _, _>(move |slice| claims_of(&claims, slice));
    let recorder = host.recorder("device-taint-eviction-controller");
    let seen: Seen = Arc::default();
    host.run(controller, move |context| evict(context, recorder.clone(), Arc::clone(&seen))).await
}

/// Since when each claim has a device with a taint.
type Seen = Arc<Mutex<HashMap<ObjectName, Timestamp>>>;

/// The claims that have a device of the pool of a slice.
fn claims_of(claims: &Cache, slice: &Entry) -> Vec<ObjectName> {
    let Ok(slice) = slice.view::<ResourceSlice>() else { return Vec::new() };
    let is_of = |claim: &ResourceClaim| {
        results(claim).any(|it| it.driver == slice.spec.driver && it.pool == slice.spec.pool.name)
    };
    let using = |entry: &&Arc<Entry>| entry.view::<ResourceClaim>().is_ok_and(|claim| is_of(&claim));
    claims.list(&Query::all()).iter().filter(using).map(|entry| entry.name().clone()).collect()
}

fn results(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let allocation = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
    allocation.and_then(|it| it.devices.as_ref()).and_then(|it| it.results.as_ref()).into_iter().flatten()
}

async fn evict(context: Context, recorder: Recorder, seen: Seen) -> Result<Action, Error> {
    let forget = || seen.lock().unwrap_or_else(PoisonError::into_inner).remove(context.name());
    let Some(entry) = context.entry::<ResourceClaim>().await? else {
        forget();
        return Ok(Action::Done);
    };
    let claim = entry.view::<ResourceClaim>()?;
    let slices = context.cache::<ResourceSlice>().await?;
    let mut due: Option<Timestamp> = None;
    for result in results(&claim) {
        for taint in taints(&slices, result)? {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let since = *seen.entry(context.name().clone()).or_insert(context.now());
            let at = going_at(&taint, result.tolerations.as_deref().unwrap_or_default(), since);
            due = due.into_iter().chain(at).min();
        }
    }
    let Some(due) = due else {
        forget();
        return Ok(Action::Done);
    };
    let left = Duration::try_from(due.duration_since(context.now())).unwrap_or_default();
    if !left.is_zero() {
        return Ok(Action::Again(left));
    }
    let pods = context.cache::<Pod>().await?;
    let users = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
    for user in users.filter(|user| user.resource == "pods") {
        let pod = pods.get(&ObjectName::namespaced(context.namespace(), &*user.name));
        let Some(pod) = pod.filter(|pod| pod.uid().as_str() == user.uid && !pod.is_deleting()) else {
            continue;
        };
        recorder.normal(&reference_to::<Pod>(&pod), "DeviceTaintManagerEviction", "Marking for deletion");
        let why = "Device Taint manager: deleting due to NoExecute taint";
        let condition = disruption("DeletionByDeviceTaintManager", why, context.now());
        write::unless_gone(report(&context, &pod, serde_json::json!({}), condition).await)?;
        write::delete::<Pod>(context.client(), pod.name(), pod.uid()).await?;
    }
    Ok(Action::Done)
}

/// The taints of a device that drive pods away, by the newest slice that has it.
fn taints(slices: &Cache, of: &DeviceRequestAllocationResult) -> Result<Vec<DeviceTaint>, Error> {
    let mut newest: (i64, Vec<DeviceTaint>) = (i64::MIN, Vec::new());
    for entry in slices.list(&Query::all()) {
        let slice = entry.view::<ResourceSlice>()?;
        let pool = &slice.spec.pool;
        if slice.spec.driver != of.driver || pool.name != of.pool || pool.generation < newest.0 {
            continue;
        }
        let mut devices = slice.spec.devices.iter().flatten();
        if let Some(device) = devices.find(|device| device.name == of.device) {
            newest = (pool.generation, device.taints.clone().unwrap_or_default());
        }
    }
    newest.1.retain(|taint| taint.effect == "NoExecute");
    Ok(newest.1)
}

/// When whoever has a device with the taint is to go; `None`: it may stay.
fn going_at(taint: &DeviceTaint, tolerations: &[DeviceToleration], seen: Timestamp) -> Option<Timestamp> {
    let since = taint.time_added.as_ref().map_or(seen, |time| time.0);
    let tolerating: Vec<_> = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
    if tolerating.is_empty() {
        return Some(since.min(seen));
    }
    let seconds = tolerating.iter().filter_map(|toleration| toleration.toleration_seconds).min()?;
    Some(since.checked_add(SignedDuration::from_secs(seconds.max(0))).unwrap_or(Timestamp::MAX))
}

fn tolerates(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    fn text(text: &Option<String>) -> &str {
        text.as_deref().unwrap_or_default()
    }
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    (key.is_empty() || key == taint.key)
        && (effect.is_empty() || effect == taint.effect)
        && (text(&toleration.operator) == "Exists" || text(&toleration.value) == text(&taint.value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controllers::testing::at;

    #[test]
    fn a_pod_goes_when_its_claim_puts_up_with_the_taint_no_longer() {
        let taint = |value: &str| -> DeviceTaint {
            let added = at(100).to_string();
            let taint = json!({"key": "broken", "value": value, "effect": "NoExecute", "timeAdded": added});
            serde_json::from_value(taint).unwrap()
        };
        let tolerations =
            |given: serde_json::Value| -> Vec<DeviceToleration> { serde_json::from_value(given).unwrap() };
        for (given, expected) in [
            (json!([]), Some(at(100))),
            (json!([{"key": "other", "operator": "Exists"}]), Some(at(100))),
            (json!([{"operator": "Exists"}]), None),
            (json!([{"key": "broken", "operator": "Equal", "value": "no"}]), Some(at(100))),
            (json!([{"key": "broken", "operator": "Equal", "value": "yes"}]), None),
            (json!([{"key": "broken", "operator": "Exists", "effect": "NoSchedule"}]), Some(at(100))),
            (json!([{"operator": "Exists", "tolerationSeconds": 60}]), Some(at(160))),
            (json!([{"operator": "Exists", "tolerationSeconds": 60}, {"operator": "Exists"}]), Some(at(160))),
        ] {
            assert_eq!(going_at(&taint("yes"), &tolerations(given.clone()), at(120)), expected, "{given}");
        }
    }
}
