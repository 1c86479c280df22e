//! Why a pod does not serve.

use std::sync::Arc;

use super::containers;
use super::facts::{Facts, about};
use super::others;
use super::seen::{Condition, Seen, seconds_since};
use super::{Severity, Step};
use crate::scheduler;

/// How long a pod may take over something before that is the matter with it, in seconds.
const PATIENCE: i64 = 30;
/// How long past its grace a pod may be there that was deleted.
const LEAVING: i64 = 60;

/// What is the matter with a pod, down to the cause; nothing if it serves, or is on its way.
pub(super) fn steps(facts: &Facts, pod: &Seen) -> Option<(Severity, Vec<Step>)> {
    if pod.is_deleting() {
        return leaving(facts, pod).map(|steps| (Severity::Minor, steps));
    }
    match &*pod.status.phase {
        "Succeeded" => return None,
        "Failed" => return Some((Severity::Serious, vec![failed(pod)])),
        _ => {}
    }
    if pod.spec.node_name.is_empty() {
        return unplaced(facts, pod).map(|steps| (Severity::Serious, steps));
    }
    if let Some(steps) = lost_node(facts, pod) {
        return Some((Severity::Serious, steps));
    }
    if let Some(step) = containers::trouble(facts, pod) {
        return Some((Severity::Serious, vec![step]));
    }
    if pod.is_ready() {
        return containers::restarted(facts, pod).map(|step| (Severity::Minor, vec![step]));
    }
    let is_new = seconds_since(pod.metadata.creation_timestamp.as_deref(), facts.now) < PATIENCE;
    if is_new {
        return None;
    }
    let step = containers::unready(facts, pod).unwrap_or_else(|| slow(facts, pod));
    Some((Severity::Serious, vec![step]))
}

fn here(pod: &Seen, says: impl Into<String>) -> Step {
    Step::new(about("pods", pod), says)
}

fn leaving(facts: &Facts, pod: &Seen) -> Option<Vec<Step>> {
    // The mark is the time at which its grace is over.
    let past = seconds_since(pod.metadata.deletion_timestamp.as_deref(), facts.now);
    if past < LEAVING {
        return None;
    }
    let step = here(pod, "was deleted and is still there");
    if !pod.metadata.finalizers.is_empty() {
        let holders = pod.metadata.finalizers.join(", ");
        let step = step.because("metadata.finalizers", holders);
        return Some(vec![step.advise("see why whoever put the finalizer there does not take it away")]);
    }
    let mut steps = vec![step];
    let node = facts.get("nodes", "", &pod.spec.node_name);
    steps.extend(node.and_then(|node| others::node(facts, node)).map(|(_, step)| step));
    if let [only] = &mut *steps {
        *only = std::mem::replace(only, here(pod, "")).advise(format!(
            "its node {} has not said that its containers have ended: see whether the agent there runs",
            pod.spec.node_name
        ));
    }
    Some(steps)
}

fn failed(pod: &Seen) -> Step {
    let ended = containers::ended(pod);
    match &*pod.status.reason {
        "" => ended.unwrap_or_else(|| here(pod, "failed")),
        "Evicted" => here(pod, "was evicted from its node")
            .because("status.message", &*pod.status.message)
            .advise("give it requests that say what it needs, or free the node of what is short"),
        reason => here(pod, format!("failed: {reason}")).because("status.message", &*pod.status.message),
    }
}

/// Why a pod has no node.
fn unplaced(facts: &Facts, pod: &Seen) -> Option<Vec<Step>> {
    if !pod.spec.scheduling_gates.is_empty() {
        let gates: Vec<&str> = pod.spec.scheduling_gates.iter().map(|gate| &*gate.name).collect();
        let step = here(pod, format!("is held by its scheduling gates {}", gates.join(", ")));
        return Some(vec![step.advise("whoever put a gate there lifts it when the pod may go on")]);
    }
    let condition = pod.condition("PodScheduled").filter(|condition| condition.is_false());
    let Some(condition) = condition else {
        let waited = seconds_since(pod.metadata.creation_timestamp.as_deref(), facts.now);
        let step = here(pod, "has no node, and no scheduler has looked at it");
        return (waited > PATIENCE)
            .then(|| vec![step.advise("see whether the scheduler that it names runs")]);
    };
    let mut steps = vec![placing(facts, pod, condition)];
    let claims = pod.spec.volumes.iter().map(|volume| &*volume.persistent_volume_claim.claim_name);
    let unbound = claims.filter(|name| !name.is_empty()).find_map(|name| {
        match facts.get("persistentvolumeclaims", &pod.metadata.namespace, name) {
            Some(claim) => others::claim(facts, claim).map(|(_, step)| step),
            None => None,
        }
    });
    steps.extend(unbound);
    Some(steps)
}

/// What the scheduler says, and what would help as its rules have it.
fn placing(facts: &Facts, pod: &Seen, condition: &Condition) -> Step {
    let mut step =
        here(pod, "fits on no node").because("status.conditions[PodScheduled]", &*condition.message);
    if !facts.has_any("nodes") {
        return step;
    }
    if let Some(info) = facts.pod_info(pod) {
        let explained = scheduler::explain(&facts.snapshot(), &info);
        for remedy in &explained.remedies {
            step = step.advise(remedy.to_string());
        }
    }
    step
}

fn lost_node(facts: &Facts, pod: &Seen) -> Option<Vec<Step>> {
    let name = &pod.spec.node_name;
    match facts.get("nodes", "", name) {
        Some(node) => {
            let ready = node.condition("Ready");
            if ready.is_none_or(Condition::is_true) {
                return None;
            }
            let (_, step) = others::node(facts, node)?;
            Some(vec![here(pod, format!("is on the node {name}, which is not ready")), step])
        }
        // Who may not see nodes knows nothing of them.
        None if facts.has_any("nodes") => {
            Some(vec![here(pod, format!("is on the node {name}, which is gone"))])
        }
        None => None,
    }
}

/// A pod that has waited for long, for nothing that its containers say.
fn slow(facts: &Facts, pod: &Seen) -> Step {
    let step = here(pod, "is not ready");
    if let Some(event) = facts.warning(pod, &[]) {
        return step.because(format!("event {}", event.reason), &*event.message);
    }
    let ready = pod.condition("Ready");
    step.because("status.conditions[Ready]", ready.map_or("", |ready| &*ready.message))
}

/// Of several pods the one whose trouble tells most: the worst, and of those the first.
pub(super) fn worst<'f>(
    facts: &Facts,
    pods: impl Iterator<Item = &'f Arc<Seen>>,
) -> Option<(Severity, Vec<Step>, usize)> {
    let mut found: Vec<(Severity, Vec<Step>)> = pods.filter_map(|pod| steps(facts, pod)).collect();
    let count = found.len();
    found.sort_by_key(|(severity, _)| *severity);
    let (severity, steps) = found.into_iter().next()?;
    Some((severity, steps, count))
}
