//! The next steps: which pods come, which go, in which order. Pure.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSetStatus;

use super::model::{Observed, Plan, Replica, Step};
use crate::controllers::pod::{Availability, Phase};

/// Whether what comes after may still be done in this run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Wait,
}

/// Decides. In order, each pod waits for those before it to be available, and each that goes waits for those after it to be
/// gone; in parallel none waits.
pub(super) fn plan<'o>(observed: &Observed<'o>, held: &StatefulSetStatus) -> Plan<'o> {
    let mut plan = Plan { status: count(observed, held), ..Plan::default() };
    plan.again = next_availability(observed);
    if observed.wanted.entry.is_deleting() {
        return plan;
    }
    if scale_up(observed, &mut plan) == Then::GoOn && scale_down(observed, &mut plan) == Then::GoOn {
        update(observed, &mut plan);
    }
    complete(observed, &mut plan.status);
    plan
}

fn replicas<'p, 'o>(observed: &'p Observed<'o>) -> Vec<(u32, Option<&'p Replica<'o>>)> {
    let ordinals = observed.wanted.ordinals();
    ordinals.map(|ordinal| (ordinal, observed.pods.iter().find(|pod| pod.ordinal == ordinal))).collect()
}

/// The pods that are not wanted any more, the highest ordinal first.
fn condemned<'p, 'o>(observed: &'p Observed<'o>) -> Vec<&'p Replica<'o>> {
    let ordinals = observed.wanted.ordinals();
    let mut condemned: Vec<_> = observed.pods.iter().filter(|pod| !ordinals.contains(&pod.ordinal)).collect();
    condemned.sort_by_key(|pod| std::cmp::Reverse(pod.ordinal));
    condemned
}

fn scale_up<'o>(observed: &Observed<'o>, plan: &mut Plan<'o>) -> Then {
    let ordered = observed.wanted.is_ordered();
    for (ordinal, replica) in replicas(observed) {
        let then = match replica {
            Some(replica) => see_to(observed, replica, plan),
            None => create(observed, ordinal, plan),
        };
        if ordered && then == Then::Wait {
            return Then::Wait;
        }
    }
    Then::GoOn
}

fn create(observed: &Observed<'_>, ordinal: u32, plan: &mut Plan<'_>) -> Then {
    let wanted = &observed.wanted;
    if !observed.claims.are_stale(wanted, ordinal) {
        let kept = ordinal < wanted.ordinals().start.saturating_add(wanted.partition());
        plan.steps.push(Step::Create { ordinal, present: wanted.is_on_delete() || !kept });
    }
    Then::Wait
}

fn see_to<'o>(observed: &Observed<'o>, replica: &Replica<'o>, plan: &mut Plan<'o>) -> Then {
    let wanted = &observed.wanted;
    if replica.member.pod.has_ended() {
        // Another takes its place when it is gone.
        if !replica.is_terminating() {
            plan.steps.push(Step::Delete(*replica));
        }
        return Then::Wait;
    }
    if replica.member.pod.status.phase == Phase::Pending && observed.claims.lack(wanted, replica.ordinal) {
        plan.steps.push(Step::Claim(replica.ordinal));
    }
    let serves = replica.is_ready() && replica.serves(wanted, observed.now);
    if wanted.is_ordered() && !serves {
        return Then::Wait;
    }
    plan.steps.extend(observed.claims.owned(wanted, replica));
    if !replica.is_identified() || !replica.has_storage(wanted) {
        plan.steps.push(Step::Identify(*replica));
    }
    Then::GoOn
}

fn scale_down<'o>(observed: &Observed<'o>, plan: &mut Plan<'o>) -> Then {
    let wanted = &observed.wanted;
    let condemned = condemned(observed);
    for pod in &condemned {
        plan.steps.extend(observed.claims.owned(wanted, pod));
    }
    // The pods that are wanted are all available by now, in order: so the first that is not is one of these.
    let first_out =
        condemned.iter().rev().find(|pod| !pod.serves(wanted, observed.now)).map(|pod| pod.ordinal);
    for pod in condemned {
        if pod.is_terminating() {
            if wanted.is_ordered() {
                return Then::Wait;
            }
            continue;
        }
        if wanted.is_ordered() {
            if pod.serves(wanted, observed.now) || first_out == Some(pod.ordinal) {
                plan.steps.push(Step::Delete(*pod));
            }
            return Then::Wait;
        }
        plan.steps.push(Step::Delete(*pod));
    }
    Then::GoOn
}

/// Replaces pods of another revision, the highest ordinal first.
fn update<'o>(observed: &Observed<'o>, plan: &mut Plan<'o>) {
    let wanted = &observed.wanted;
    if wanted.is_on_delete() {
        return;
    }
    let replicas = replicas(observed);
    let serves =
        |replica: Option<&Replica<'_>>| replica.is_some_and(|replica| replica.serves(wanted, observed.now));
    let out = replicas.iter().filter(|(_, replica)| !serves(*replica)).count();
    let mut left = wanted.most_unavailable().map(|most| most.saturating_sub(out));
    let partition = usize::try_from(wanted.partition()).unwrap_or(usize::MAX);
    for (_, replica) in replicas.iter().skip(partition).rev() {
        if left == Some(0) {
            return;
        }
        let Some(replica) = replica else {
            // It is being made, of the new revision: it counts as unavailable, and is waited for if that is not counted.
            if left.is_some() {
                continue;
            }
            return;
        };
        if !replica.has_revision(&observed.update) && !replica.is_terminating() {
            let going = plan
                .steps
                .iter()
                .any(|step| matches!(step, Step::Delete(it) if it.ordinal == replica.ordinal));
            if !going {
                plan.steps.push(Step::Delete(**replica));
            }
            if replica.has_revision(&observed.current) {
                plan.status.current_replicas = plan.status.current_replicas.map(|count| count - 1);
            }
            match &mut left {
                Some(left) => *left -= 1,
                None => return,
            }
        } else if left.is_none() && !serves(Some(replica)) {
            return;
        }
    }
}

fn count(observed: &Observed<'_>, held: &StatefulSetStatus) -> StatefulSetStatus {
    let wanted = &observed.wanted;
    let pods = || observed.pods.iter();
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let of = |revision: &str| {
        Some(number(pods().filter(|pod| !pod.is_terminating() && pod.has_revision(revision)).count()))
    };
    let available = |pod: &&Replica<'_>| {
        pod.is_ready() && pod.availability(wanted, observed.now) == Availability::Available
    };
    StatefulSetStatus {
        available_replicas: Some(number(pods().filter(available).count())),
        collision_count: Some(held.collision_count.unwrap_or_default()),
        conditions: held.conditions.clone(),
        current_replicas: of(&observed.current),
        current_revision: Some(observed.current.clone()),
        observed_generation: Some(wanted.entry.generation()),
        ready_replicas: Some(number(pods().filter(|pod| pod.is_ready()).count())),
        replicas: number(observed.pods.len()),
        update_revision: Some(observed.update.clone()),
        updated_replicas: of(&observed.update),
    }
}

/// Once every pod is of the new revision and ready, that is the current one.
fn complete(observed: &Observed<'_>, status: &mut StatefulSetStatus) {
    let wanted = Some(i32::try_from(observed.wanted.replicas()).unwrap_or(i32::MAX));
    if !observed.wanted.is_on_delete()
        && status.updated_replicas == wanted
        && status.ready_replicas == wanted
        && Some(status.replicas) == wanted
    {
        status.current_replicas = status.updated_replicas;
        status.current_revision.clone_from(&status.update_revision);
    }
}

fn next_availability(observed: &Observed<'_>) -> Option<Duration> {
    let left =
        observed.pods.iter().filter_map(|pod| match pod.availability(&observed.wanted, observed.now) {
            Availability::In(left) => Some(left),
            Availability::NotReady | Availability::Available => None,
        });
    left.min()
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Create { ordinal, present: true } => writeln!(f, "create {ordinal}")?,
                Step::Create { ordinal, present: false } => writeln!(f, "create {ordinal} as before")?,
                Step::Delete(replica) => writeln!(f, "delete {}", replica.ordinal)?,
                Step::Claim(ordinal) => writeln!(f, "claim for {ordinal}")?,
                Step::Own { claim, owners, .. } => {
                    let kinds = owners.iter().filter_map(|owner| owner["kind"].as_str()).collect::<Vec<_>>();
                    writeln!(f, "own {} by {kinds:?}", claim.name().name())?;
                }
                Step::Identify(replica) => writeln!(f, "identify {}", replica.ordinal)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
