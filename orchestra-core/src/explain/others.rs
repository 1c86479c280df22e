//! Nodes, claims, and what else has conditions.

use super::facts::{Facts, about};
use super::seen::{Condition, Seen, seconds_since};
use super::{Severity, Step};

/// How long something may take before that is the matter with it, in seconds.
const PATIENCE: i64 = 60;

type Found = Option<(Severity, Step)>;

pub(super) fn node(facts: &Facts, node: &Seen) -> Found {
    let here = |says: &str| Step::new(about("nodes", node), says);
    let is_new = seconds_since(node.metadata.creation_timestamp.as_deref(), facts.now) < PATIENCE;
    match node.condition("Ready") {
        Some(ready) if ready.is_true() => {}
        Some(ready) if ready.status == "Unknown" => {
            let step = here("is not ready: its agent has gone silent");
            let step = step.because("status.conditions[Ready]", told(ready));
            return Some((
                Severity::Critical,
                step.advise("see whether the machine runs, and reaches the API server"),
            ));
        }
        Some(ready) => {
            let step = here("is not ready").because("status.conditions[Ready]", told(ready));
            return Some((Severity::Critical, step.advise("the message says what its agent waits for")));
        }
        None if is_new => return None,
        None => {
            let step = here("has never said that it is ready");
            return Some((Severity::Critical, step.advise("see whether its agent runs")));
        }
    }
    let pressing = ["MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"];
    let pressed =
        pressing.iter().filter_map(|sort| node.condition(sort)).find(|condition| condition.is_true());
    if let Some(pressed) = pressed {
        let says = match &*pressed.sort {
            "MemoryPressure" => "is short of memory",
            "DiskPressure" => "is short of disk",
            "PIDPressure" => "is short of process ids",
            _ => "has no network",
        };
        let step = here(says).because(format!("status.conditions[{}]", pressed.sort), told(pressed));
        return Some((Severity::Serious, step));
    }
    node.spec.unschedulable.then(|| {
        let step = here("takes no new pods: it is cordoned").because("spec.unschedulable", "true");
        (Severity::Minor, step.advise(format!("kubectl uncordon {}", node.metadata.name)))
    })
}

fn told(condition: &Condition) -> String {
    match (&*condition.reason, &*condition.message) {
        ("", message) => message.to_owned(),
        (reason, "") => reason.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

pub(super) fn claim(facts: &Facts, claim: &Seen) -> Found {
    let here = |says: &str| Step::new(about("persistentvolumeclaims", claim), says);
    match &*claim.status.phase {
        "Lost" => Some((
            Severity::Critical,
            here("has lost its volume").because("spec.volumeName", &*claim.spec.volume_name),
        )),
        "Pending" | "" => {
            let class = claim.spec.storage_class_name.as_deref().unwrap_or_default();
            let known = facts.get("storageclasses", "", class);
            let waits = known.is_some_and(|class| class.volume_binding_mode == "WaitForFirstConsumer");
            let used = facts.all("pods").any(|pod| {
                let mut volumes = pod.spec.volumes.iter();
                pod.metadata.namespace == claim.metadata.namespace
                    && volumes.any(|volume| volume.persistent_volume_claim.claim_name == claim.metadata.name)
            });
            let is_new =
                seconds_since(claim.metadata.creation_timestamp.as_deref(), facts.now) < PATIENCE / 2;
            let event = facts.warning(claim, &[]);
            if (waits && !used) || (is_new && event.is_none()) {
                return None;
            }
            let step = here("is bound to no volume");
            let step = match event {
                Some(event) => step.because(format!("event {}", event.reason), &*event.message),
                None => step,
            };
            Some((Severity::Serious, advised(facts, step, class, known.is_some())))
        }
        _ => None,
    }
}

fn advised(facts: &Facts, step: Step, class: &str, is_known: bool) -> Step {
    match class {
        "" => step
            .because("spec.storageClassName", "none, and no class is the default")
            .advise("name a storage class, mark one as the default, or make a volume that fits"),
        class if !is_known && facts.has_any("storageclasses") => {
            let step = step.because("spec.storageClassName", format!("there is no class {class}"));
            step.advise("make the class, or name one that there is")
        }
        class => step.advise(format!("see that the provisioner of the class {class} runs")),
    }
}

/// An autoscaler that cannot do its work.
pub(super) fn autoscaler(object: &Seen) -> Found {
    let bad = ["AbleToScale", "ScalingActive"].iter().filter_map(|sort| object.condition(sort));
    let bad =
        bad.into_iter().find(|condition| condition.is_false() && condition.reason != "ScalingDisabled")?;
    let step = Step::new(about("horizontalpodautoscalers", object), "does not scale");
    Some((Severity::Minor, step.because(format!("status.conditions[{}]", bad.sort), told(bad))))
}

/// A namespace that does not go.
pub(super) fn namespace(facts: &Facts, namespace: &Seen) -> Found {
    let since = seconds_since(namespace.metadata.deletion_timestamp.as_deref(), facts.now);
    if !namespace.is_deleting() || since < PATIENCE {
        return None;
    }
    let holds = |condition: &&Condition| condition.is_true() && !condition.message.is_empty();
    let mut step = Step::new(about("namespaces", namespace), "was deleted and is still there");
    for condition in namespace.status.conditions.iter().filter(holds) {
        step = step.because(format!("status.conditions[{}]", condition.sort), &*condition.message);
    }
    Some((Severity::Minor, step))
}
