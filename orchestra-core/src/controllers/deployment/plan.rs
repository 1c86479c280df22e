//! What a Deployment needs next. Pure.
//!
//! One run makes one kind of step: it creates the ReplicaSet of a new template, or scales up, or scales down, or
//! tidies up; what follows from it is decided when it can be seen. So at every moment in between, however long it
//! lasts and wherever the process dies, the ReplicaSets ask for no more than `maxSurge` pods too many, and no more than
//! `maxUnavailable` of those that should be available are not. It is their sizes that count, as in Kubernetes: one that is
//! made smaller while it makes its pods may have more for a moment.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;

use super::bounds::Bounds;
use super::history;
use super::model::{DESIRED_REPLICAS, NewSet, Observed, Plan, REVISION, ReplicaSetChange, Set};
use super::scale;
use super::status::{self, PROGRESSING};

/// Why the ReplicaSets of a Deployment change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// It is being deleted: nothing changes but the report.
    Deleting,
    /// It is paused, or its size changed: they are scaled, and no new one is made.
    Scaling,
    Rolling,
    Recreating,
}

/// Decides the next step.
pub(super) fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let deployment = observed.deployment;
    let bounds = Bounds::of(deployment);
    let mut plan = Plan::default();
    match mode(observed, bounds) {
        Mode::Deleting => {}
        Mode::Scaling => {
            adjust_current(&mut plan, observed);
            for (set, to) in scale::in_proportion(observed, bounds) {
                resize(&mut plan, set, to, bounds);
            }
            if is_paused(deployment) {
                plan.delete = history::superfluous(deployment, &observed.old);
            }
        }
        Mode::Rolling => roll(&mut plan, observed, bounds),
        Mode::Recreating => recreate(&mut plan, observed, bounds),
    }
    report(&mut plan, observed, now);
    plan
}

fn mode(observed: &Observed<'_>, bounds: Bounds) -> Mode {
    let deployment = observed.deployment;
    let recreate = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref()?.type_.as_deref());
    if deployment.metadata.deletion_timestamp.is_some() {
        Mode::Deleting
    } else if is_paused(deployment) || is_resized(observed, bounds) {
        Mode::Scaling
    } else if recreate == Some("Recreate") {
        Mode::Recreating
    } else {
        Mode::Rolling
    }
}

pub(super) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or_default()
}

/// Whether an active ReplicaSet was last scaled for another size of the Deployment.
fn is_resized(observed: &Observed<'_>, bounds: Bounds) -> bool {
    let mut active = observed.old.iter().chain(&observed.current).filter(|set| set.replicas() > 0);
    active
        .any(|set| set.number(DESIRED_REPLICAS).is_some_and(|desired| desired != i64::from(bounds.replicas)))
}

fn roll(plan: &mut Plan, observed: &Observed<'_>, bounds: Bounds) {
    let Some(current) = &observed.current else {
        let most = bounds.most();
        let have: i32 = observed.old.iter().map(Set::replicas).sum();
        return create(plan, observed, (most - have).clamp(0, bounds.replicas), bounds);
    };
    adjust_current(plan, observed);
    let size = scale::of_current(observed, current, bounds);
    if size != current.replicas() {
        return resize(plan, current, size, bounds);
    }
    let shrunk = scale::old_down(observed, current, bounds);
    if shrunk.is_empty() {
        return tidy(plan, observed);
    }
    for (set, to) in shrunk {
        resize(plan, set, to, bounds);
    }
}

fn recreate(plan: &mut Plan, observed: &Observed<'_>, bounds: Bounds) {
    if observed.current.is_some() {
        adjust_current(plan, observed);
    }
    let active: Vec<&Set> = observed.old.iter().filter(|set| set.replicas() > 0).collect();
    if !active.is_empty() {
        return active.into_iter().for_each(|set| resize(plan, set, 0, bounds));
    }
    if observed.old_pods_running || observed.old.iter().any(|set| set.status().replicas > 0) {
        return;
    }
    match &observed.current {
        None => create(plan, observed, bounds.replicas, bounds),
        Some(current) if current.replicas() != bounds.replicas => {
            resize(plan, current, bounds.replicas, bounds);
        }
        Some(_) => tidy(plan, observed),
    }
}

/// Makes the ReplicaSet of a new template.
fn create(plan: &mut Plan, observed: &Observed<'_>, replicas: i32, bounds: Bounds) {
    let deployment = observed.deployment;
    let revision = history::next_revision(&observed.old);
    note_revision(plan, deployment, &revision.to_string());
    plan.create = Some(NewSet {
        name: format!("{}-{}", deployment.metadata.name.as_deref().unwrap_or_default(), observed.hash),
        hash: observed.hash.clone(),
        replicas,
        annotations: history::of_new(deployment, revision, bounds),
    });
}

/// Keeps what is noted on the ReplicaSet of the present template, and its `minReadySeconds`, as the Deployment says.
fn adjust_current(plan: &mut Plan, observed: &Observed<'_>) {
    let Some(current) = &observed.current else { return };
    let deployment = observed.deployment;
    let revision = history::next_revision(&observed.old);
    let seconds = deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default();
    let change = ReplicaSetChange {
        name: current.name().to_owned(),
        scale: None,
        min_ready_seconds: (seconds != current.min_ready_seconds()).then_some(seconds),
        annotations: history::of_current(deployment, current, revision),
    };
    let number = change.annotations.get(REVISION).map(String::as_str).or(current.annotation(REVISION));
    note_revision(plan, deployment, number.unwrap_or_default());
    if !change.is_empty() {
        plan.change.push(change);
    }
}

fn note_revision(plan: &mut Plan, deployment: &Deployment, revision: &str) {
    let held = deployment.metadata.annotations.as_ref().and_then(|all| all.get(REVISION));
    if held.map(String::as_str) != Some(revision) && !revision.is_empty() {
        plan.annotate.insert(REVISION.to_owned(), revision.to_owned());
    }
}

/// Gives a ReplicaSet another size, and notes the size of the Deployment that this was decided on.
fn resize(plan: &mut Plan, set: &Set, to: i32, bounds: Bounds) {
    let scale = (set.replicas() != to).then_some((set.replicas(), to));
    let sizes: BTreeMap<_, _> = history::sizes(bounds)
        .into_iter()
        .filter(|(key, value)| set.annotation(key) != Some(value.as_str()))
        .collect();
    if scale.is_none() && sizes.is_empty() {
        return;
    }
    match plan.change.iter_mut().find(|change| change.name == set.name()) {
        Some(change) => {
            change.scale = scale;
            change.annotations.extend(sizes);
        }
        None => plan.change.push(ReplicaSetChange {
            name: set.name().to_owned(),
            scale,
            min_ready_seconds: None,
            annotations: sizes,
        }),
    }
}

/// Once a rollout is complete, shortens the history.
fn tidy(plan: &mut Plan, observed: &Observed<'_>) {
    let held = observed.deployment.status.clone().unwrap_or_default();
    if status::is_complete(observed.deployment, &held) {
        plan.delete = history::superfluous(observed.deployment, &observed.old);
    }
}

fn report(plan: &mut Plan, observed: &Observed<'_>, now: Timestamp) {
    let deployment = observed.deployment;
    plan.status = status::counted(observed, now);
    if status::progress_deadline(deployment).is_some() && deployment.metadata.deletion_timestamp.is_none() {
        let steps = [pause(deployment, plan), found(observed, plan), created(plan)];
        for (state, reason, message) in steps.into_iter().flatten() {
            let condition = status::condition(PROGRESSING, state, reason, &message, now);
            status::set_condition(&mut plan.status, condition);
        }
    }
    // A rollout that stands still by intent is not judged.
    if !is_paused(deployment) && deployment.metadata.deletion_timestamp.is_none() && plan.create.is_none() {
        plan.again = status::judge(&mut plan.status, observed, now);
    }
}

type Progress = Option<(&'static str, &'static str, String)>;

/// While a Deployment is paused its progress is unknown, which also stops the deadline.
fn pause(deployment: &Deployment, plan: &Plan) -> Progress {
    const PAUSED: &str = "DeploymentPaused";
    let held = status::progressing(&plan.status).and_then(|held| held.reason.as_deref());
    match (is_paused(deployment), held) {
        (_, Some("ProgressDeadlineExceeded")) => None,
        (true, held) if held != Some(PAUSED) => Some(("Unknown", PAUSED, "Deployment is paused".to_owned())),
        (false, Some(PAUSED)) => Some(("Unknown", "DeploymentResumed", "Deployment is resumed".to_owned())),
        _ => None,
    }
}

/// A ReplicaSet of the template was there already when the Deployment was first looked at.
fn found(observed: &Observed<'_>, plan: &Plan) -> Progress {
    let current = observed.current.as_ref()?;
    let first = status::progressing(&plan.status).is_none() && !is_paused(observed.deployment);
    first.then(|| ("True", "FoundNewReplicaSet", format!("Found new replica set {:?}", current.name())))
}

fn created(plan: &Plan) -> Progress {
    let new = plan.create.as_ref()?;
    Some(("True", "NewReplicaSetCreated", format!("Created new replica set {:?}", new.name)))
}

#[cfg(test)]
mod tests;
