//! Which pods there are to be, and whether the Job has come to an end. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::JobCondition;

use super::backoff::{self, Backoff};
use super::indexes::Indexes;
use super::model::{FAILURE_TARGET, JobPod, SUCCESS_CRITERIA_MET, Wanted, condition};
use super::policies::{self, Verdict};
use crate::controllers::pod::Phase;
use crate::controllers::replicas::member::Member;
use crate::controllers::replicas::rank;

/// How many pods are created or deleted in one run at most.
const BURST: usize = 500;

/// A Job and its pods as they were read.
#[derive(Debug)]
pub(super) struct Observed<'o> {
    pub(super) wanted: Wanted<'o>,
    pub(super) pods: Vec<JobPod<'o>>,
    /// What is known of earlier failures.
    pub(super) backoff: Option<Backoff>,
}

/// What is to be done with pods.
#[derive(Debug, Default)]
pub(super) struct Plan<'o> {
    pub(super) create: Vec<NewPod>,
    pub(super) delete: Vec<&'o Member>,
    /// Whether what is deleted is not to be counted.
    pub(super) uncounted: bool,
    /// Why the Job has come to an end, if it has: `FailureTarget` or `SuccessCriteriaMet`.
    pub(super) end: Option<JobCondition>,
    pub(super) counts: Counts<'o>,
    /// There is more to do than in one run: it need not wait for anything to happen.
    pub(super) more: bool,
    /// When to look again if nothing happens.
    pub(super) again: Option<Duration>,
}

/// A pod to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewPod {
    pub(super) index: Option<u32>,
    /// How often pods of the index failed before, and how often without counting; noted if failures are limited for each
    /// index.
    pub(super) failures: Option<(u32, u32)>,
}

/// What the pods come to.
#[derive(Debug, Default)]
pub(super) struct Counts<'o> {
    pub(super) active: Vec<&'o Member>,
    pub(super) ready: usize,
    pub(super) terminating: usize,
    pub(super) succeeded: usize,
    pub(super) failed: usize,
    pub(super) succeeded_indexes: Indexes,
    /// `None` if failures are not limited for each index.
    pub(super) failed_indexes: Option<Indexes>,
    /// By index, the last pod that failed and has no successor yet: kept until the successor has its count.
    pub(super) awaiting: BTreeMap<u32, JobPod<'o>>,
    pub(super) backoff: Backoff,
}

/// Decides.
pub(super) fn plan<'o>(observed: &Observed<'o>, now: Timestamp) -> Plan<'o> {
    let wanted = &observed.wanted;
    let counts = count(observed);
    let (end, deadline) = judge(observed, &counts, now);
    let mut plan = Plan { end, again: deadline, ..Plan::default() };
    if plan.end.is_some() {
        plan.delete = counts.active.clone();
    } else if wanted.is_suspended() && !wanted.deleting {
        plan.delete = counts.active.clone();
        plan.uncounted = true;
    } else if !wanted.deleting {
        manage(observed, &counts, now, &mut plan);
    }
    plan.counts = counts;
    plan
}

fn count<'o>(observed: &Observed<'o>) -> Counts<'o> {
    let Observed { wanted, pods, .. } = observed;
    let uncounted = wanted.status.uncounted_terminated_pods.as_ref();
    let succeeded: HashSet<&str> =
        uncounted.iter().flat_map(|it| it.succeeded.iter().flatten()).map(String::as_str).collect();
    let failed: HashSet<&str> =
        uncounted.iter().flat_map(|it| it.failed.iter().flatten()).map(String::as_str).collect();
    let indexes = wanted.indexes();
    let fresh = |pod: &&JobPod<'_>| pod.tracked && pod.is_valid(indexes);
    let new_succeeded =
        || pods.iter().filter(fresh).filter(|pod| pod.succeeded() && !succeeded.contains(pod.uid()));
    let new_failed = || pods.iter().filter(fresh).filter(|pod| pod.failed && !failed.contains(pod.uid()));
    let policy = wanted.spec.pod_failure_policy.as_ref();
    let counting = new_failed().filter(|pod| policies::verdict(policy, pod) != Verdict::Ignore).count();
    let held = observed.backoff.unwrap_or_else(|| Backoff::remembered(pods));
    let mut counts = Counts {
        succeeded: number(wanted.status.succeeded) + new_succeeded().count() + succeeded.len(),
        failed: number(wanted.status.failed) + counting + failed.len(),
        backoff: held.after(new_succeeded(), new_failed()),
        ..Counts::default()
    };
    for pod in pods {
        if pod.pod().is_active() {
            counts.active.push(pod.member);
            counts.ready += usize::from(pod.pod().is_ready());
        }
        counts.terminating += usize::from(pod.pod().is_terminating());
    }
    if let Some(limit) = indexes {
        count_indexes(observed, limit, &mut counts);
    }
    counts
}

fn number(count: Option<i32>) -> usize {
    count.and_then(|count| usize::try_from(count).ok()).unwrap_or_default()
}

fn count_indexes<'o>(observed: &Observed<'o>, limit: u32, counts: &mut Counts<'o>) {
    let Observed { wanted, pods, .. } = observed;
    let fresh = || pods.iter().filter(|pod| pod.tracked && pod.is_valid(Some(limit)));
    let new: Indexes = fresh().filter(|pod| pod.succeeded()).filter_map(|pod| pod.index).collect();
    counts.succeeded_indexes = wanted.completed_indexes(limit).union(&new);
    counts.succeeded = counts.succeeded_indexes.len();
    let Some(most) = wanted.spec.backoff_limit_per_index else { return };
    let policy = wanted.spec.pod_failure_policy.as_ref();
    let given_up = |pod: &&JobPod<'_>| {
        pod.failed
            && match policies::verdict(policy, pod) {
                Verdict::FailIndex => true,
                Verdict::Ignore => false,
                Verdict::Count | Verdict::FailJob(_) => i64::from(pod.failures()) >= i64::from(most),
            }
    };
    let new: Indexes = fresh().filter(given_up).filter_map(|pod| pod.index).collect();
    let held = Indexes::parse(wanted.status.failed_indexes.as_deref().unwrap_or_default(), limit);
    let failed = held.union(&new);
    let active: HashSet<u32> =
        pods.iter().filter(|pod| pod.pod().is_active()).filter_map(|pod| pod.index).collect();
    for pod in fresh().filter(|pod| pod.failed) {
        let Some(index) = pod.index else { continue };
        if counts.succeeded_indexes.contains(index) || failed.contains(index) || active.contains(&index) {
            continue;
        }
        let rank = |pod: &JobPod<'_>| (pod.failures() + pod.ignored_failures(), backoff::finished(pod.pod()));
        let held = counts.awaiting.entry(index).or_insert(*pod);
        if rank(pod) >= rank(held) {
            *held = *pod;
        }
    }
    counts.failed_indexes = Some(failed);
}

/// Whether the Job has come to an end, and when its time will be up if it has not.
fn judge(
    observed: &Observed<'_>,
    counts: &Counts<'_>,
    now: Timestamp,
) -> (Option<JobCondition>, Option<Duration>) {
    let wanted = &observed.wanted;
    // What was once said stands.
    if let Some(said) = wanted.condition(SUCCESS_CRITERIA_MET).or_else(|| wanted.condition(FAILURE_TARGET)) {
        return (Some(said.clone()), None);
    }
    let fail = |reason: &str, message: &str| condition(FAILURE_TARGET, "True", reason, message, now);
    if let Some(message) = failed_by_policy(observed) {
        return (Some(fail("PodFailurePolicy", &message)), None);
    }
    if counts.failed > wanted.backoff_limit() || restarted_too_often(observed) {
        let message = "Job has reached the specified backoff limit";
        return (Some(fail("BackoffLimitExceeded", message)), None);
    }
    let left = time_left(wanted, now);
    if left.is_some_and(|left| left.is_zero()) {
        return (Some(fail("DeadlineExceeded", "Job was active longer than specified deadline")), None);
    }
    let end = wanted.indexes().and_then(|limit| {
        let failed = counts.failed_indexes.as_ref().map_or(0, Indexes::len);
        let most = wanted.spec.max_failed_indexes.and_then(|most| usize::try_from(most).ok());
        if most.is_some_and(|most| failed > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(fail("MaxFailedIndexesExceeded", message));
        }
        if failed > 0 && failed + counts.succeeded >= limit as usize {
            return Some(fail("FailedIndexes", "Job has failed indexes"));
        }
        let policy = wanted.spec.success_policy.as_ref();
        let message = policies::succeeded(policy, limit, &counts.succeeded_indexes)?;
        Some(condition(SUCCESS_CRITERIA_MET, "True", "SuccessPolicy", &message, now))
    });
    (end, left)
}

fn failed_by_policy(observed: &Observed<'_>) -> Option<String> {
    let policy = observed.wanted.spec.pod_failure_policy.as_ref()?;
    observed.pods.iter().filter(|pod| pod.failed).find_map(|pod| match policies::verdict(Some(policy), pod) {
        Verdict::FailJob(message) => Some(message),
        _ => None,
    })
}

/// Whether the containers of pods that are restarted in place were so too often.
fn restarted_too_often(observed: &Observed<'_>) -> bool {
    let wanted = &observed.wanted;
    let policy = wanted.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let alive = observed.pods.iter().map(|pod| &pod.pod().status);
    let alive = alive.filter(|status| matches!(status.phase, Phase::Running | Phase::Pending));
    let containers =
        alive.flat_map(|status| status.container_statuses.iter().chain(&status.init_container_statuses));
    let restarts: i64 = containers.flatten().map(|status| i64::from(status.restart_count)).sum();
    restarts >= wanted.backoff_limit().max(1) as i64
}

/// How long the Job may still be active; zero when that time is up.
fn time_left(wanted: &Wanted<'_>, now: Timestamp) -> Option<Duration> {
    let seconds = wanted.spec.active_deadline_seconds.filter(|_| !wanted.is_suspended())?;
    let since = wanted.status.start_time.as_ref().map_or(now, |start| start.0);
    let left = SignedDuration::from_secs(seconds) - now.duration_since(since);
    // A clock that was set back must not make it longer.
    let left = left.min(SignedDuration::from_secs(seconds));
    Some(Duration::try_from(left).unwrap_or_default())
}

/// As many active pods as are wanted: first fewer, then more.
fn manage<'o>(observed: &Observed<'o>, counts: &Counts<'o>, now: Timestamp, plan: &mut Plan<'o>) {
    let wanted = &observed.wanted;
    let active = counts.active.len();
    let want = match wanted.completions() {
        // Any success will do: then what runs is let run to its end.
        None if counts.succeeded > 0 => active,
        None => wanted.parallelism(),
        Some(completions) => completions.saturating_sub(counts.succeeded).min(wanted.parallelism()),
    };
    plan.delete = surplus(observed, counts, active.saturating_sub(want), now);
    plan.more = plan.delete.len() > BURST;
    plan.delete.truncate(BURST);
    if !plan.delete.is_empty() {
        plan.uncounted = true;
        return;
    }
    let leaving = if wanted.replaces_only_failed() { counts.terminating } else { 0 };
    let missing = want.saturating_sub(leaving + active);
    if missing == 0 {
        return;
    }
    let mut wait = |left: Duration| plan.again = Some(plan.again.map_or(left, |held| held.min(left)));
    let per_index = counts.failed_indexes.is_some();
    let left = counts.backoff.left(now);
    if !per_index && !left.is_zero() {
        return wait(left);
    }
    let (more, missing) = (missing > BURST, missing.min(BURST));
    let Some(limit) = wanted.indexes() else {
        plan.create = vec![NewPod { index: None, failures: None }; missing];
        plan.more = more;
        return;
    };
    let mut waiting: Option<Duration> = None;
    for index in pending(observed, counts, missing, limit) {
        let before = counts.awaiting.get(&index);
        let left = before.map_or(Duration::ZERO, |pod| backoff::left_for_index(pod, now));
        if left.is_zero() {
            let failures = per_index.then(|| failures(wanted, before));
            plan.create.push(NewPod { index: Some(index), failures });
        } else {
            waiting = Some(waiting.map_or(left, |held| held.min(left)));
        }
    }
    // Of those that wait, time tells.
    plan.more = more && plan.create.len() == BURST;
    if let Some(left) = waiting {
        plan.again = Some(plan.again.map_or(left, |held| held.min(left)));
    }
}

/// What the successor of a pod notes of the failures of its index.
fn failures(wanted: &Wanted<'_>, before: Option<&JobPod<'_>>) -> (u32, u32) {
    let Some(before) = before else { return (0, 0) };
    let ignored = policies::verdict(wanted.spec.pod_failure_policy.as_ref(), before) == Verdict::Ignore;
    let (counted, not_counted) = (before.failures(), before.ignored_failures());
    if ignored { (counted, not_counted + 1) } else { (counted + 1, not_counted) }
}

/// The first indexes that have no pod and need one.
fn pending(observed: &Observed<'_>, counts: &Counts<'_>, count: usize, limit: u32) -> Vec<u32> {
    let only_failed = observed.wanted.replaces_only_failed();
    let there = |pod: &&JobPod<'_>| pod.pod().is_active() || (only_failed && pod.pod().is_terminating());
    let taken: Indexes = observed.pods.iter().filter(there).filter_map(|pod| pod.index).collect();
    let mut taken = taken.union(&counts.succeeded_indexes);
    if let Some(failed) = &counts.failed_indexes {
        taken = taken.union(failed);
    }
    taken.first_missing(count, limit)
}

/// The active pods that must go: those that share an index or have none that is valid, and of the rest those that are
/// too many, the least advanced first.
fn surplus<'o>(
    observed: &Observed<'o>,
    counts: &Counts<'o>,
    at_least: usize,
    now: Timestamp,
) -> Vec<&'o Member> {
    let none = HashMap::new();
    let (mut surplus, mut rest) = (Vec::new(), Vec::new());
    if let Some(limit) = observed.wanted.indexes() {
        let mut by_index: BTreeMap<u32, Vec<&'o Member>> = BTreeMap::new();
        for pod in observed.pods.iter().filter(|pod| pod.pod().is_active()) {
            match pod.index.filter(|index| *index < limit) {
                Some(index) => by_index.entry(index).or_default().push(pod.member),
                None => surplus.push(pod.member),
            }
        }
        for mut same in by_index.into_values() {
            rank::sort(&mut same, &none, now);
            rest.extend(same.pop());
            surplus.append(&mut same);
        }
    } else {
        rest.clone_from(&counts.active);
    }
    let more = at_least.saturating_sub(surplus.len()).min(rest.len());
    if more > 0 {
        rank::sort(&mut rest, &none, now);
        surplus.extend(rest.drain(..more));
    }
    surplus
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for member in &self.delete {
            let how = if self.uncounted { " uncounted" } else { "" };
            writeln!(f, "delete {}{how}", member.entry.name().name())?;
        }
        for new in &self.create {
            f.write_str("create")?;
            if let Some(index) = new.index {
                write!(f, " {index}")?;
            }
            if let Some((counted, ignored)) = new.failures {
                write!(f, " after {counted}+{ignored} failures")?;
            }
            writeln!(f)?;
        }
        if let Some(end) = &self.end {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            writeln!(f, "{} {}: {}", end.type_, text(&end.reason), text(&end.message))?;
        }
        if let Some(again) = self.again {
            writeln!(f, "again in {again:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
