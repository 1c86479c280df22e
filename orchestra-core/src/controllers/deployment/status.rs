//! What is reported of a Deployment. Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::bounds::Bounds;
use super::model::{Observed, Set};

pub(super) const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";
/// The reason of a rollout that is complete.
pub(super) const COMPLETE: &str = "NewReplicaSetAvailable";
/// The reason of a rollout that has taken too long.
const TIMED_OUT: &str = "ProgressDeadlineExceeded";

/// The numbers, and whether enough pods are available.
pub(super) fn counted(observed: &Observed<'_>, now: Timestamp) -> DeploymentStatus {
    let deployment = observed.deployment;
    let held = deployment.status.clone().unwrap_or_default();
    let all = || observed.old.iter().chain(&observed.current);
    let sum = |count: fn(&Set) -> i32| all().map(count).sum::<i32>();
    let available = sum(|set| set.status().available_replicas);
    let replicas = sum(|set| set.status().replicas);
    let some = |number: i32| Some(number).filter(|number| *number != 0);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(replicas),
        updated_replicas: observed.current.as_ref().and_then(|set| some(set.status().replicas)),
        ready_replicas: some(sum(|set| set.status().ready_replicas)),
        available_replicas: some(available),
        // While pods are on their way out there are fewer pods than available ones are reported: that is not below 0.
        unavailable_replicas: some((total(observed) - available).max(0)),
        terminating_replicas: all().map(terminating).sum(),
        collision_count: held.collision_count,
        conditions: held.conditions,
    };
    let enough = available >= Bounds::of(deployment).least();
    let condition = if enough {
        condition(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
    } else {
        let message = "Deployment does not have minimum availability.";
        condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    };
    set_condition(&mut status, condition);
    status
}

/// How many pods of a set are on their way out, if its controller says: of a set that it has not seen yet, none.
fn terminating(set: &Set) -> Option<i32> {
    let status = set.status();
    let unseen = status.observed_generation == 0;
    status.terminating_replicas.or(unseen.then_some(0))
}

fn total(observed: &Observed<'_>) -> i32 {
    observed.old.iter().chain(&observed.current).map(Set::replicas).sum()
}

/// How the rollout goes, by the progress made since the last report. Returns when its deadline passes.
pub(super) fn judge(
    status: &mut DeploymentStatus,
    observed: &Observed<'_>,
    now: Timestamp,
) -> Option<std::time::Duration> {
    let deployment = observed.deployment;
    report_failures(status, observed);
    let Some(deadline) = progress_deadline(deployment) else {
        remove_condition(status, PROGRESSING);
        return None;
    };
    let held = progressing(status).cloned();
    let settled = status.replicas == status.updated_replicas
        && held.as_ref().is_some_and(|held| held.reason.as_deref() == Some(COMPLETE));
    if settled {
        return None;
    }
    let (kind, name) = match &observed.current {
        Some(set) => ("ReplicaSet", set.name()),
        None => ("Deployment", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    let subject = format!("{kind} {name:?}");
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set_condition(status, condition(PROGRESSING, "True", COMPLETE, &message, now));
        return None;
    }
    if has_progressed(deployment, status) {
        let message = format!("{subject} is progressing.");
        let mut next = condition(PROGRESSING, "True", "ReplicaSetUpdated", &message, now);
        if let Some(held) = held.filter(|held| held.status == "True") {
            next.last_transition_time = held.last_transition_time;
        }
        // Replaced even if nothing but its time has changed: from now on the deadline counts.
        remove_condition(status, PROGRESSING);
        set_condition(status, next);
    } else if left(status, deadline, now).is_some_and(|left| left <= SignedDuration::ZERO) {
        let message = format!("{subject} has timed out progressing.");
        set_condition(status, condition(PROGRESSING, "False", TIMED_OUT, &message, now));
    }
    let left = left(status, deadline, now)?;
    // A second later, so that it has certainly passed.
    std::time::Duration::try_from(left).ok().map(|left| left + std::time::Duration::from_secs(1))
}

/// How long the rollout may still go on without progress; `None` when that is not to be judged.
fn left(status: &DeploymentStatus, deadline: i32, now: Timestamp) -> Option<SignedDuration> {
    let held = progressing(status)?;
    if matches!(held.reason.as_deref(), Some(COMPLETE | TIMED_OUT)) {
        return None;
    }
    let since = held.last_update_time.as_ref()?.0;
    Some(SignedDuration::from_secs(i64::from(deadline)) - now.duration_since(since))
}

/// The seconds within which there must be progress; the largest number stands for none.
pub(super) fn progress_deadline(deployment: &Deployment) -> Option<i32> {
    let seconds = deployment.spec.as_ref()?.progress_deadline_seconds?;
    (seconds != i32::MAX).then_some(seconds)
}

/// Whether every pod is of the present template and available.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = Bounds::of(deployment).replicas;
    let is = |count: Option<i32>| count.unwrap_or_default() == wanted;
    is(status.updated_replicas)
        && is(status.replicas)
        && is(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

/// Whether there are more new, ready or available pods than at the last report, or fewer old ones.
fn has_progressed(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let held = deployment.status.clone().unwrap_or_default();
    let old = |status: &DeploymentStatus| {
        status.replicas.unwrap_or_default() - status.updated_replicas.unwrap_or_default()
    };
    status.updated_replicas > held.updated_replicas
        || old(status) < old(&held)
        || status.ready_replicas > held.ready_replicas
        || status.available_replicas > held.available_replicas
}

fn report_failures(status: &mut DeploymentStatus, observed: &Observed<'_>) {
    let failure = |set: &Set| {
        set.status().conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE).cloned()
    };
    let current = observed.current.as_ref().and_then(failure);
    match current.or_else(|| observed.old.iter().find_map(failure)) {
        Some(failure) => set_condition(
            status,
            DeploymentCondition {
                type_: failure.type_,
                status: failure.status,
                reason: failure.reason,
                message: failure.message,
                last_update_time: failure.last_transition_time.clone(),
                last_transition_time: failure.last_transition_time,
            },
        ),
        None => remove_condition(status, REPLICA_FAILURE),
    }
}

pub(super) fn progressing(status: &DeploymentStatus) -> Option<&DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == PROGRESSING)
}

pub(super) fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Puts a condition in the place of the one of its type. One that says the same stays as it is.
pub(super) fn set_condition(status: &mut DeploymentStatus, mut next: DeploymentCondition) {
    let conditions = status.conditions.get_or_insert_default();
    if let Some(held) = conditions.iter().find(|held| held.type_ == next.type_) {
        if held.status == next.status && held.reason == next.reason {
            return;
        }
        if held.status == next.status {
            next.last_transition_time = held.last_transition_time.clone();
        }
    }
    conditions.retain(|held| held.type_ != next.type_);
    conditions.push(next);
}

fn remove_condition(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_ != kind);
    }
}
