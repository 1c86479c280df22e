//! Why there are not as many pods as there should be.

use std::sync::Arc;

use super::facts::{Facts, about};
use super::pods;
use super::seen::{Condition, Seen, seconds_since};
use super::{Severity, Step};

/// How long a workload may be on its way without anything being the matter, in seconds.
const PATIENCE: i64 = 60;
/// What controllers say when they cannot make a pod.
const REFUSED: [&str; 2] = ["FailedCreate", "FailedDaemonPod"];

type Found = Option<(Severity, Vec<Step>)>;

/// A deployment: by its newest replica set, and by what has become of its pods.
pub(super) fn deployment(facts: &Facts, deployment: &Seen) -> Found {
    let (wanted, there) = (deployment.spec.replicas.unwrap_or(1), deployment.status.available_replicas);
    let stuck = deployment.condition("Progressing").filter(|progress| progress.is_false());
    let number = |set: &Seen| -> i64 {
        let revision = set.metadata.annotations.get("deployment.kubernetes.io/revision");
        revision.and_then(|revision| revision.parse().ok()).unwrap_or(0)
    };
    let newest = facts.owned(deployment, "replicasets").max_by_key(|set| number(set));
    if there >= wanted {
        return rolling(facts, deployment, newest, stuck);
    }
    let mut first = Step::new(about("deployments", deployment), counted(there, wanted));
    if deployment.spec.paused {
        first = first.because("spec.paused", "true").advise("its roll-out is paused: resume it");
    }
    if let Some(stuck) = stuck {
        first = first.because("status.conditions[Progressing]", &*stuck.message);
    }
    let below = newest.and_then(|set| replica_set_below(facts, set));
    // The old ones may be in trouble too, when the newest is not.
    let below = below
        .or_else(|| facts.owned(deployment, "replicasets").find_map(|set| replica_set_below(facts, set)));
    finish(facts, deployment, first, below, there, stuck.is_some())
}

/// A roll-out that does not get on, while the old pods serve.
fn rolling(facts: &Facts, deployment: &Seen, newest: Option<&Arc<Seen>>, stuck: Option<&Condition>) -> Found {
    let below = newest.and_then(|set| {
        let pods = pods::worst(facts, facts.owned(set, "pods"));
        let pods = pods.filter(|(severity, ..)| *severity < Severity::Minor).map(|(_, steps, _)| steps);
        refused(facts, set, "replicasets").or(pods)
    });
    if below.is_none() && stuck.is_none() {
        return None;
    }
    let mut first = Step::new(about("deployments", deployment), "does not get on with its roll-out");
    if let Some(stuck) = stuck {
        first = first.because("status.conditions[Progressing]", &*stuck.message);
    }
    Some((Severity::Serious, std::iter::once(first).chain(below.into_iter().flatten()).collect()))
}

/// A replica set that nobody owns whom one can see.
pub(super) fn replica_set(facts: &Facts, set: &Seen) -> Found {
    let (wanted, there) = (set.spec.replicas.unwrap_or(1), set.status.available_replicas);
    if there >= wanted {
        return None;
    }
    let first = Step::new(about("replicasets", set), counted(there, wanted));
    let below = refused(facts, set, "replicasets").or_else(|| members(facts, facts.owned(set, "pods")));
    let below = below.map(|mut steps| {
        // What its own conditions say is its own step.
        steps.retain(|step| step.about != first.about || !step.evidence.is_empty());
        steps
    });
    finish(facts, set, first, below, there, false)
}

/// What stands between a replica set and its pods; nothing if all is well below it.
fn replica_set_below(facts: &Facts, set: &Seen) -> Option<Vec<Step>> {
    if set.spec.replicas == Some(0) {
        return None;
    }
    refused(facts, set, "replicasets").or_else(|| members(facts, facts.owned(set, "pods")))
}

pub(super) fn stateful_set(facts: &Facts, set: &Seen) -> Found {
    let (wanted, there) = (set.spec.replicas.unwrap_or(1), set.status.available_replicas);
    if there >= wanted {
        return None;
    }
    let first = Step::new(about("statefulsets", set), counted(there, wanted));
    let below = members(facts, facts.owned(set, "pods")).or_else(|| refused(facts, set, "statefulsets"));
    finish(facts, set, first, below, there, false)
}

pub(super) fn daemon_set(facts: &Facts, set: &Seen) -> Found {
    let (wanted, there) = (set.status.desired_number_scheduled, set.status.number_available);
    if there >= wanted {
        return None;
    }
    let first = Step::new(about("daemonsets", set), counted(there, wanted));
    let below = members(facts, facts.owned(set, "pods")).or_else(|| refused(facts, set, "daemonsets"));
    finish(facts, set, first, below, there, false)
}

/// A job that failed, or whose pods fail.
pub(super) fn job(facts: &Facts, job: &Seen) -> Found {
    let is_over = |sort: &str| job.condition(sort).is_some_and(Condition::is_true);
    if is_over("Complete") || is_over("SuccessCriteriaMet") || job.spec.suspend {
        return None;
    }
    let below = || members(facts, facts.owned(job, "pods")).or_else(|| refused(facts, job, "jobs"));
    if let Some(failed) = job.condition("Failed").filter(|failed| failed.is_true()) {
        let first = Step::new(about("jobs", job), "failed");
        let mut steps = vec![first.because("status.conditions[Failed]", told(failed))];
        steps.extend(below().into_iter().flatten());
        return Some((Severity::Serious, steps));
    }
    let found = below()?;
    let says = match job.status.failed {
        0 => "does not get on".to_owned(),
        1 => "does not get on: a pod of it failed already".to_owned(),
        count => format!("does not get on: {count} pods of it failed already"),
    };
    let mut steps = vec![Step::new(about("jobs", job), says)];
    steps.extend(found);
    Some((Severity::Serious, steps))
}

fn told(condition: &Condition) -> String {
    match (&*condition.reason, &*condition.message) {
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn counted(there: i64, wanted: i64) -> String {
    match (there, wanted) {
        (0, 1) => "does not have its one pod available".to_owned(),
        (0, _) => format!("has none of its {wanted} pods available"),
        _ => format!("has {there} of its {wanted} pods available"),
    }
}

/// Whether a workload has fewer pods than it should. How many a Job should have is not known here, so it may always.
fn lacks_pods(facts: &Facts, owner: &Seen, resource: &str) -> bool {
    let wanted = match resource {
        "replicasets" | "statefulsets" => owner.spec.replicas.unwrap_or(1),
        "daemonsets" => owner.status.desired_number_scheduled,
        _ => return true,
    };
    (facts.owned(owner, "pods").count() as i64) < wanted
}

/// Why pods are not even made: a quota, a policy, a webhook. An event is told for an hour after it happened, so it says
/// something only as long as pods are missing.
fn refused(facts: &Facts, owner: &Seen, resource: &str) -> Option<Vec<Step>> {
    let condition = owner.condition("ReplicaFailure").filter(|failure| failure.is_true());
    let event = facts.warning(owner, &REFUSED).filter(|_| lacks_pods(facts, owner, resource));
    let (from, message) = match (condition, event) {
        (Some(condition), _) => ("status.conditions[ReplicaFailure]".to_owned(), &condition.message),
        (None, Some(event)) => (format!("event {}", event.reason), &event.message),
        (None, None) => return None,
    };
    let step = Step::new(about(resource, owner), "may not make its pods").because(from, &**message);
    let step = match message {
        message if message.contains("exceeded quota") => {
            step.advise("raise the quota of the namespace, or ask for less")
        }
        message if message.contains("violates PodSecurity") => {
            step.advise("change the template as the message says, or the level that the namespace enforces")
        }
        message if message.contains("serviceaccount") && message.contains("not found") => {
            step.advise("make the service account that the template names")
        }
        _ => step,
    };
    Some(vec![step])
}

/// The pod that tells most, of those that are in trouble.
fn members<'f>(facts: &Facts, pods: impl Iterator<Item = &'f Arc<Seen>>) -> Option<Vec<Step>> {
    let (_, mut steps, count) = pods::worst(facts, pods)?;
    if count > 1
        && let Some(first) = steps.first_mut()
    {
        first.says = format!("{}, and {} more likewise", first.says, count - 1);
    }
    Some(steps)
}

/// Puts a workload's own step before the cause; while there is none, it may be on its way.
fn finish(
    facts: &Facts,
    owner: &Seen,
    first: Step,
    below: Option<Vec<Step>>,
    there: i64,
    is_stuck: bool,
) -> Found {
    let is_new = seconds_since(owner.metadata.creation_timestamp.as_deref(), facts.now) < PATIENCE;
    if below.is_none() && (is_new || there > 0) && !is_stuck {
        return None;
    }
    let severity = if there == 0 { Severity::Critical } else { Severity::Serious };
    let mut steps = vec![first];
    steps.extend(below.into_iter().flatten());
    Some((severity, steps))
}
