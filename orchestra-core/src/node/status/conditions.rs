//! The conditions of a pod.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};

use super::{Reporter, condition};
use crate::node::model::{Role, TERMINATED, Unresized, containers};
use crate::node::preempt::PREEMPTED;
use crate::node::pressure::EVICTED;
use crate::node::resize;

/// Those the agent answers for, in Kubernetes' order.
const OURS: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
/// Those of a pod whose containers do not have yet, or cannot have, what it asks for by now.
const RESIZING: [&str; 2] = [resize::PENDING, "PodResizeInProgress"];
/// The condition of a pod that has to make room.
const DISRUPTED: &str = "DisruptionTarget";

/// The conditions that go with a status, and those that others have written.
pub(super) fn conditions(of: &Reporter<'_>, status: &PodStatus) -> Vec<PodCondition> {
    let old = of.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let containers_ready = containers_ready(of, status);
    let ready = ready(of, &containers_ready, old);
    let can_start = can_start(of, old);
    let scheduled = old.iter().find(|known| known.type_ == "PodScheduled" && known.status == "True");
    let news = [
        made("PodReadyToStartContainers", can_start, None, None),
        initialized(of, status),
        ready,
        containers_ready,
        scheduled.cloned().unwrap_or_else(|| made("PodScheduled", true, None, None)),
    ];
    let generation = of.pod.metadata.generation;
    let ours = news.into_iter().map(|new| {
        let mut new = condition(old, new, of.now);
        new.observed_generation = generation;
        new
    });
    let resizing = resizing(of)
        .map(|new| PodCondition { observed_generation: generation, ..condition(old, new, of.now) });
    let disrupted = disrupted(of).map(|new| condition(old, new, of.now));
    let is_own = |known: &PodCondition| {
        [&OURS[..], &RESIZING].concat().contains(&known.type_.as_str())
            || (disrupted.is_some() && known.type_ == DISRUPTED)
    };
    let foreign: Vec<PodCondition> = old.iter().filter(|known| !is_own(known)).cloned().collect();
    ours.chain(foreign).chain(resizing).chain(disrupted).collect()
}

/// That running containers, or the pod as a whole, are to have other amounts than they have, and why they cannot, if that is
/// known.
fn resizing(of: &Reporter<'_>) -> Option<PodCondition> {
    let mut pending = None;
    let mut note = |failed: Option<&Unresized>| {
        let Some(failed) = failed else {
            pending = pending.take().or_else(|| Some(made(RESIZING[1], true, None, None)));
            return None;
        };
        let waits = failed.reason != resize::ERROR;
        let kind = if waits { RESIZING[0] } else { RESIZING[1] };
        let told = made(kind, true, Some(failed.reason), Some(failed.message.clone()));
        if waits {
            return Some(told);
        }
        pending = Some(told);
        None
    };
    let asked = resize::asked_of_pod(of.spec);
    let whole = of.whole().filter(|given| resize::changed(given, &asked).next().is_some());
    if whole.is_some()
        && let Some(waits) = note(resize::unresized_pod(of.memory, of.spec))
    {
        return Some(waits);
    }
    for (_, wanted) in containers(of.spec) {
        let Some(life) = of.seen.latest(&wanted.name) else { continue };
        let failed = resize::unresized(of.memory, wanted, &life.id);
        let given = match life.state.is_running() {
            true => resize::given(of.pod, of.memory, wanted, &life.id),
            // It is begun again with what it had, as long as it cannot have more.
            false if failed.is_some_and(|failed| failed.reason != resize::ERROR) => {
                resize::allotted(of.memory, wanted)
            }
            false => continue,
        };
        if resize::change(&given, wanted).is_none() {
            continue;
        }
        if let Some(waits) = note(failed) {
            return Some(waits);
        }
    }
    pending
}

/// That the pod ends because the node has no room for it or goes itself, and not for what it did.
fn disrupted(of: &Reporter<'_>) -> Option<PodCondition> {
    let failure = of.memory.failure.as_ref()?;
    let message = match failure.reason.as_str() {
        EVICTED | TERMINATED => failure.message.clone(),
        PREEMPTED => "Pod was preempted by Kubelet to accommodate a critical pod.".to_owned(),
        _ => return None,
    };
    Some(made(DISRUPTED, true, Some("TerminationByKubelet"), Some(message)))
}

/// Whether the pod has a sandbox that is connected. One that was made before this agent began is taken to be as its
/// status says until the agent has connected it again.
fn can_start(of: &Reporter<'_>, old: &[PodCondition]) -> bool {
    let Some(sandbox) = of.seen.ready_sandbox() else { return false };
    match &of.memory.attached {
        Some((attached, _)) => sandbox.id == *attached,
        None => {
            let before = of.memory.first_seen.is_some_and(|seen| sandbox.created_at < seen);
            let holds =
                |known: &PodCondition| known.type_ == "PodReadyToStartContainers" && known.status == "True";
            before && old.iter().any(holds)
        }
    }
}

fn made(type_: &str, holds: bool, reason: Option<&str>, message: Option<String>) -> PodCondition {
    PodCondition {
        type_: type_.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.map(str::to_owned),
        message,
        ..PodCondition::default()
    }
}

fn listed(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn initialized(of: &Reporter<'_>, status: &PodStatus) -> PodCondition {
    let statuses = status.init_container_statuses.as_deref().unwrap_or_default();
    let began = status.container_statuses.iter().flatten().any(has_begun);
    let roles = containers(of.spec).filter(|(role, _)| *role != Role::App);
    let incomplete: Vec<&str> = roles
        .zip(statuses)
        .filter(|((role, _), status)| match role {
            Role::Sidecar => status.started != Some(true) && !began,
            _ => !status.ready && !began,
        })
        .map(|(_, status)| status.name.as_str())
        .collect();
    match status.phase.as_deref() {
        Some("Succeeded") => made("Initialized", true, Some("PodCompleted"), None),
        _ if incomplete.is_empty() => made("Initialized", true, None, None),
        _ => {
            let message = format!("containers with incomplete status: {}", listed(&incomplete));
            made("Initialized", false, Some("ContainersNotInitialized"), Some(message))
        }
    }
}

fn has_begun(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
        || status.last_state.is_some()
}

fn containers_ready(of: &Reporter<'_>, status: &PodStatus) -> PodCondition {
    let kind = "ContainersReady";
    match status.phase.as_deref() {
        Some("Succeeded") => return made(kind, false, Some("PodCompleted"), None),
        Some("Failed") => return made(kind, false, Some("PodFailed"), None),
        _ => {}
    }
    let sidecars = containers(of.spec).filter(|(role, _)| *role == Role::Sidecar);
    let sidecars = sidecars.filter_map(|(_, wanted)| {
        status.init_container_statuses.iter().flatten().find(|status| status.name == wanted.name)
    });
    let all = sidecars.chain(status.container_statuses.iter().flatten());
    let unready: Vec<&str> = all.filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return made(kind, true, None, None);
    }
    let message = format!("containers with unready status: {}", listed(&unready));
    made(kind, false, Some("ContainersNotReady"), Some(message))
}

/// Ready: the containers are, and so is whatever else the pod says it depends on.
fn ready(of: &Reporter<'_>, containers_ready: &PodCondition, old: &[PodCondition]) -> PodCondition {
    if containers_ready.status != "True" {
        return PodCondition { type_: "Ready".into(), ..containers_ready.clone() };
    }
    let holds = |wanted: &str| old.iter().any(|known| known.type_ == wanted && known.status == "True");
    let gates = of.spec.readiness_gates.iter().flatten();
    let closed: Vec<String> = gates
        .filter(|gate| !holds(&gate.condition_type))
        .map(|gate| {
            let there = old.iter().any(|known| known.type_ == gate.condition_type);
            match there {
                true => format!(
                    "the status of pod readiness gate \"{}\" is not \"True\", but False",
                    gate.condition_type
                ),
                false => format!(
                    "corresponding condition of pod readiness gate \"{}\" does not exist.",
                    gate.condition_type
                ),
            }
        })
        .collect();
    if closed.is_empty() {
        return made("Ready", true, None, None);
    }
    made("Ready", false, Some("ReadinessGatesNotReady"), Some(closed.join(", ")))
}
