//! Pods that were to be disrupted and were not: after two minutes nobody is about to delete them any more, and they say
//! so.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod as Object;
use serde_json::json;

use crate::api::{Patch, Status};
use crate::control::{Action, Context, Error, write};
use crate::controllers::Host;
use crate::controllers::pod::Pod;
use crate::watch::Event;

const CONDITION: &str = "DisruptionTarget";
/// The reason of kubelets, who may take as long as they like.
const BY_KUBELET: &str = "TerminationByKubelet";
const TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// Runs the controller.
pub(in crate::controllers) async fn run(host: Host) -> Result<(), Status> {
    let marked = |event: &Event| {
        let pod = &event.object;
        pod.mentions(CONDITION) && pod.view::<Pod>().is_ok_and(|pod| since(&pod).is_some())
    };
    let controller = host.controller::<Object>().named("stale-pod-disruption").when(marked);
    host.run(controller, take_back).await
}

/// Since when a pod is to be disrupted that may stay after all.
fn since(pod: &Pod) -> Option<Timestamp> {
    if pod.metadata.deletion_timestamp.is_some() || pod.has_ended() {
        return None;
    }
    let mut conditions = pod.status.conditions.iter().flatten();
    let held = conditions.find(|condition| &*condition.kind == CONDITION)?;
    let counts = &*held.status == "True" && held.reason.as_deref() != Some(BY_KUBELET);
    counts.then(|| held.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

async fn take_back(context: Context) -> Result<Action, Error> {
    let Some(entry) = context.entry::<Object>().await? else { return Ok(Action::Done) };
    let pod = entry.view::<Pod>()?;
    let Some(since) = since(&pod) else { return Ok(Action::Done) };
    let left = TIMEOUT.saturating_sub(context.now().duration_since(since));
    match Duration::try_from(left) {
        Ok(left) if !left.is_zero() => return Ok(Action::Again(left)),
        _ => {}
    }
    let condition = json!({
        "type": CONDITION, "status": "False", "reason": null, "message": null, "lastTransitionTime": context.now(),
        "observedGeneration": entry.generation(),
    });
    let patch = write::guarded(&entry, json!({"status": {"conditions": [condition]}}));
    let target = write::target::<Object>(entry.name()).status();
    write::unless_gone(context.client().call(target, Patch::Strategic(patch).operation()).await)?;
    Ok(Action::Done)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::testing::{at, entry, pod, text};

    fn since_of(condition: Value, change: &Value) -> Option<Timestamp> {
        let mut object = pod("p", None, change);
        object["status"]["conditions"] = json!([condition]);
        since(&entry(&object).view::<Pod>().unwrap())
    }

    #[test]
    fn only_pods_that_may_stay_after_all_are_meant() {
        let condition = |status: &str, reason: &str| json!({"type": "DisruptionTarget", "status": status, "reason": reason, "lastTransitionTime": text(7)});
        let none = json!({});
        assert_eq!(since_of(condition("True", "EvictionByEvictionAPI"), &none), Some(at(7)));
        assert_eq!(since_of(condition("False", ""), &none), None);
        assert_eq!(since_of(condition("True", "TerminationByKubelet"), &none), None);
        let going = json!({"metadata": {"deletionTimestamp": text(8)}});
        assert_eq!(since_of(condition("True", "EvictionByEvictionAPI"), &going), None);
        let over = json!({"status": {"phase": "Failed"}});
        assert_eq!(since_of(condition("True", "EvictionByEvictionAPI"), &over), None);
        assert_eq!(since_of(json!({"type": "Ready", "status": "True"}), &none), None);
    }
}
