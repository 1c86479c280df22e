//! Which nodes get a pod and which pods go. Pure.

use std::fmt;

use k8s_openapi::api::apps::v1::DaemonSetStatus;

use super::model::{Observed, Plan, Why};
use super::rolling;
use crate::controllers::pod::{Availability, Phase};
use crate::controllers::replicas::member::Member;
use crate::scheduler::Suits;

/// How many pods are created or deleted in one run at most.
const BURST: usize = 250;

/// Decides. What is wrong with the number of pods is put right first; only then is there an update.
pub(super) fn plan<'o>(observed: &Observed<'o>, held: &DaemonSetStatus, generation: i64) -> Plan<'o> {
    let mut plan = Plan::default();
    for (node, suits) in &observed.nodes {
        see_to_node(observed, node, *suits, &mut plan);
    }
    // A pod for a node that is gone is never placed, and so nobody else deletes it.
    for (_, pods) in observed.pods.iter().filter(|(node, _)| !observed.nodes.contains_key(*node)) {
        let unplaced = pods.iter().filter(|pod| pod.pod.node().is_none() && !pod.entry.is_deleting());
        plan.delete.extend(unplaced.map(|pod| (*pod, Why::Superfluous)));
    }
    if plan.create.is_empty() && plan.delete.is_empty() && !observed.wanted.is_on_delete() {
        rolling::roll(observed, &mut plan);
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    report(observed, held, generation, &mut plan);
    plan
}

fn see_to_node<'o>(observed: &Observed<'o>, node: &str, suits: Suits, plan: &mut Plan<'o>) {
    let pods = observed.pods.get(node).map_or(&[][..], Vec::as_slice);
    let staying = || pods.iter().filter(|pod| !pod.entry.is_deleting());
    if suits == Suits::No {
        return plan.delete.extend(staying().map(|pod| (*pod, Why::Superfluous)));
    }
    if pods.is_empty() {
        if suits == Suits::Yes {
            plan.create.push(node.to_owned());
        }
        return;
    }
    let mut running: Vec<&Member> = Vec::new();
    for pod in staying() {
        match pod.pod.status.phase {
            Phase::Failed => match observed.waits.get(node) {
                Some(left) => plan.look_again(*left),
                None => plan.delete.push((*pod, Why::Failed)),
            },
            Phase::Succeeded => plan.delete.push((*pod, Why::Succeeded)),
            Phase::Pending | Phase::Running | Phase::Unknown => running.push(*pod),
        }
    }
    running.sort_by_key(|pod| age(pod));
    if !observed.wanted.has_surge() {
        return plan.delete.extend(running.iter().skip(1).map(|pod| (*pod, Why::Superfluous)));
    }
    match running.len() {
        0 if suits == Suits::Yes => plan.create.push(node.to_owned()),
        0 | 1 => {}
        _ => thin_out(observed, &running, plan),
    }
}

/// Two pods may be on a node while it is updated: the oldest of the old template as long as it is ready, and the oldest
/// of the new one until it is available.
fn thin_out<'o>(observed: &Observed<'o>, running: &[&'o Member], plan: &mut Plan<'o>) {
    let wanted = &observed.wanted;
    let (new, old): (Vec<&Member>, Vec<&Member>) = running.iter().partition(|pod| wanted.is_new(pod));
    plan.delete.extend(new.iter().chain(&old).filter_map(|pod| {
        let first = new.first().into_iter().chain(old.first()).any(|first| std::ptr::eq(*first, *pod));
        (!first).then_some((*pod, Why::Superfluous))
    }));
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!old.pod.is_ready() || wanted.is_available(new, observed.now))
    {
        plan.delete.push((old, Why::Old));
    }
}

/// Placed before unplaced, old before new.
fn age(pod: &Member) -> (bool, Option<jiff::Timestamp>, String) {
    let created = pod.pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (pod.pod.node().is_none(), created, pod.entry.name().name().to_owned())
}

fn report(observed: &Observed<'_>, held: &DaemonSetStatus, generation: i64, plan: &mut Plan<'_>) {
    let wanted = &observed.wanted;
    let (mut desired, mut current, mut misplaced) = (0, 0, 0);
    let (mut ready, mut available, mut updated) = (0, 0, 0);
    for (node, suits) in &observed.nodes {
        let pods = observed.pods.get(node).map_or(&[][..], Vec::as_slice);
        let oldest = pods.iter().min_by_key(|pod| age(pod));
        if *suits != Suits::Yes {
            misplaced += i32::from(oldest.is_some());
            continue;
        }
        desired += 1;
        let Some(pod) = oldest else { continue };
        current += 1;
        updated += i32::from(wanted.is_new(pod));
        match wanted.availability(pod, observed.now) {
            Availability::NotReady => continue,
            Availability::In(left) => plan.look_again(left),
            Availability::Available => available += 1,
        }
        ready += 1;
    }
    let some = |count: i32| Some(count).filter(|count| *count != 0);
    plan.status = DaemonSetStatus {
        collision_count: held.collision_count,
        conditions: held.conditions.clone(),
        current_number_scheduled: current,
        desired_number_scheduled: desired,
        number_available: some(available),
        number_misscheduled: misplaced,
        number_ready: ready,
        number_unavailable: some(desired - available),
        observed_generation: Some(generation),
        updated_number_scheduled: some(updated),
    };
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pod, why) in &self.delete {
            writeln!(f, "delete {} {why:?}", pod.entry.name().name())?;
        }
        for node in &self.create {
            writeln!(f, "create on {node}")?;
        }
        if let Some(again) = self.again {
            writeln!(f, "again in {again:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
