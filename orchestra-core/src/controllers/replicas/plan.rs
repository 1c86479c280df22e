//! How many pods, and which. Pure.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::member::Member;
use super::rank;
use crate::controllers::pod::Availability;
use crate::meta::Uid;
use crate::selector::{CompiledSelector, Labels};
use crate::watch::Entry;

/// How many pods are created or deleted in one run at most.
const BURST: usize = 500;

/// What the owner asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) uid: Uid,
    pub(crate) deleting: bool,
    pub(crate) replicas: i32,
    pub(crate) min_ready_seconds: i32,
    pub(crate) selector: CompiledSelector,
    pub(crate) template_labels: Labels,
}

/// What is to be done, in this order, and what is then to be reported.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Pods to be owned from now on: the selector matches them and nobody owns them.
    pub(crate) adopt: Vec<Arc<Entry>>,
    /// Pods to be owned no longer: the selector does not match them.
    pub(crate) release: Vec<Arc<Entry>>,
    /// How many are missing.
    pub(crate) create: usize,
    /// Those that are too many.
    pub(crate) delete: Vec<Arc<Entry>>,
    pub(crate) counts: Counts,
    /// When the next pod that is ready becomes available.
    pub(crate) again: Option<Duration>,
}

/// The numbers of the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) replicas: i32,
    pub(crate) fully_labeled: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    pub(crate) terminating: i32,
}

impl Wanted {
    /// Whether some of an owner's pods may have to go and others stay. Where all go, it does not matter which go first.
    pub(crate) fn chooses(&self, pods: &[Member]) -> bool {
        usize::try_from(self.replicas).is_ok_and(|replicas| replicas > 0 && replicas < pods.len())
    }
}

/// Compares what an owner asks for with the pods of its namespace that it owns or may own. `related` are pods of
/// the same application, among them its own: scaling down evens out their spread over the nodes. They are looked at if the
/// owner [chooses](Wanted::chooses).
pub(crate) fn plan(wanted: &Wanted, pods: &[Member], related: &[Member], now: Timestamp) -> Plan {
    let mut sorted = Sorted::default();
    for member in pods {
        sorted.sort_in(wanted, member);
    }
    let (counts, again) = count(wanted, &sorted, now);
    let mut plan = Plan {
        adopt: entries(&sorted.adopt),
        release: entries(&sorted.release),
        create: 0,
        delete: Vec::new(),
        counts,
        again,
    };
    if wanted.deleting {
        return plan;
    }
    let replicas = usize::try_from(wanted.replicas).unwrap_or_default();
    let have = sorted.keep.len();
    plan.create = replicas.saturating_sub(have).min(BURST);
    let surplus = have.saturating_sub(replicas).min(BURST);
    if surplus > 0 {
        if wanted.chooses(pods) {
            rank::sort(&mut sorted.keep, &by_node(related), now);
        }
        plan.delete = entries(&sorted.keep[..surplus]);
    }
    plan
}

fn entries(members: &[&Member]) -> Vec<Arc<Entry>> {
    members.iter().map(|member| Arc::clone(&member.entry)).collect()
}

fn by_node(related: &[Member]) -> HashMap<&str, usize> {
    let mut nodes = HashMap::new();
    for node in related.iter().filter(|member| member.pod.is_active()).filter_map(|member| member.pod.node())
    {
        *nodes.entry(node).or_default() += 1;
    }
    nodes
}

/// The pods, by what they are to this owner.
#[derive(Default)]
struct Sorted<'p> {
    /// Active pods that are its own, after adoption.
    keep: Vec<&'p Member>,
    adopt: Vec<&'p Member>,
    release: Vec<&'p Member>,
    terminating: i32,
}

impl<'p> Sorted<'p> {
    fn sort_in(&mut self, wanted: &Wanted, member: &'p Member) {
        let owner = member.entry.controller().map(|owner| &owner.uid);
        let own = owner == Some(&wanted.uid);
        if !member.pod.is_active() {
            let terminating = member.entry.is_deleting() && !member.pod.has_ended();
            self.terminating += i32::from(own && terminating);
            return;
        }
        let selected = wanted.selector.matches(member.entry.labels());
        match (owner, selected) {
            (Some(_), true) if own => self.keep.push(member),
            (Some(_), false) if own && !wanted.deleting => self.release.push(member),
            (None, true) if !wanted.deleting => {
                self.adopt.push(member);
                self.keep.push(member);
            }
            _ => {}
        }
    }
}

fn count(wanted: &Wanted, sorted: &Sorted<'_>, now: Timestamp) -> (Counts, Option<Duration>) {
    let mut counts = Counts { terminating: sorted.terminating, ..Counts::default() };
    let mut again: Option<Duration> = None;
    for member in &sorted.keep {
        counts.replicas += 1;
        let labels = member.entry.labels();
        let full = wanted.template_labels.iter().all(|(key, value)| labels.has(key, value));
        counts.fully_labeled += i32::from(full);
        match member.pod.availability(wanted.min_ready_seconds, now) {
            Availability::NotReady => continue,
            Availability::In(left) => again = Some(again.map_or(left, |held| held.min(left))),
            Availability::Available => counts.available += 1,
        }
        counts.ready += 1;
    }
    (counts, again)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (verb, entries) in [("adopt", &self.adopt), ("release", &self.release), ("delete", &self.delete)]
        {
            for entry in entries {
                writeln!(f, "{verb} {}", entry.name())?;
            }
        }
        if self.create > 0 {
            writeln!(f, "create {}", self.create)?;
        }
        let Counts { replicas, fully_labeled, ready, available, terminating } = self.counts;
        write!(
            f,
            "report {replicas} pods, {fully_labeled} labeled, {ready} ready, {available} available, {terminating} terminating"
        )?;
        if let Some(again) = self.again {
            write!(f, "\nagain in {again:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
