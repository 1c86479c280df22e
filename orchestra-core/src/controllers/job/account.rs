//! What is reported after the pods were seen to, and which pods are counted. Pure.
//!
//! A pod that ended is counted exactly once, whatever is cut off where: first its uid is noted in the status, then the
//! finalizer is taken off it, and then, with the pod seen to have none, the note becomes a number. Of Jobs with indexes
//! the list of completed indexes is note and number in one.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::model::{
    COMPLETE, FAILED, FAILURE_TARGET, JobPod, SUCCESS_CRITERIA_MET, SUSPENDED, Wanted, condition, number,
};
use super::plan::{Observed, Plan};
use super::policies::{self, Verdict};
use crate::watch::Entry;

/// How many pods are noted at most: their uids stand in the status.
const MOST_UNCOUNTED: usize = 500;

/// What came of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) created: usize,
    pub(super) deleted: usize,
    /// How many of those deleted were ready.
    pub(super) deleted_ready: usize,
}

/// What is to be written, in this order.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) status: JobStatus,
    /// The pods that lose their finalizer once the status is written.
    pub(super) untrack: Vec<Arc<Entry>>,
    /// There are more to be noted than at a time.
    pub(super) more: bool,
    /// The condition with which the Job has come to its end.
    pub(super) finished: Option<JobCondition>,
    /// Whether the Job was suspended or resumed just now.
    pub(super) suspended: Option<bool>,
}

/// Draws the account.
pub(super) fn account(observed: &Observed<'_>, plan: &Plan<'_>, outcome: Outcome, now: Timestamp) -> Account {
    let wanted = &observed.wanted;
    let active = (plan.counts.active.len() + outcome.created).saturating_sub(outcome.deleted);
    let terminating = plan.counts.terminating + outcome.deleted;
    let end = end(wanted, plan, outcome, active, now);
    let mut account = Account { status: wanted.status.clone(), ..Account::default() };
    let status = &mut account.status;
    status.active = Some(number(active)).filter(|active| *active > 0);
    status.ready = Some(number(plan.counts.ready.saturating_sub(outcome.deleted_ready)));
    status.terminating = Some(number(terminating));
    if status.start_time.is_none() && !wanted.is_suspended() {
        status.start_time = Some(Time(now));
    }
    if end.is_none() && !wanted.deleting {
        account.suspended = suspend(wanted, status, now);
    }
    let all = track(observed, plan, end.as_ref(), &mut account);
    if let Some(end) = end {
        conclude(wanted, end, all && terminating == 0, &mut account, now);
    }
    account
}

/// Why the Job has come to an end, if it has: as planned, or because no more successes are needed. As long as a pod that
/// should go could not be deleted, there is no end.
fn end(
    wanted: &Wanted<'_>,
    plan: &Plan<'_>,
    outcome: Outcome,
    active: usize,
    now: Timestamp,
) -> Option<JobCondition> {
    if let Some(end) = &plan.end {
        return (outcome.deleted == plan.counts.active.len()).then(|| end.clone());
    }
    let succeeded = plan.counts.succeeded;
    let enough = wanted.completions().map_or(succeeded > 0, |completions| succeeded >= completions);
    let message = "Reached expected number of succeeded pods";
    (enough && active == 0)
        .then(|| condition(SUCCESS_CRITERIA_MET, "True", "CompletionsReached", message, now))
}

/// Says whether the Job is suspended, if that has changed. Its time counts anew when it is resumed.
fn suspend(wanted: &Wanted<'_>, status: &mut JobStatus, now: Timestamp) -> Option<bool> {
    let suspended = wanted.is_suspended();
    if wanted.condition(SUSPENDED).is_some() == suspended {
        return None;
    }
    let held = wanted.status.conditions.iter().flatten().any(|held| held.type_ == SUSPENDED);
    if !held && !suspended {
        return None;
    }
    let next = if suspended {
        condition(SUSPENDED, "True", "JobSuspended", "Job suspended", now)
    } else {
        condition(SUSPENDED, "False", "JobResumed", "Job resumed", now)
    };
    set(status, next);
    status.start_time = (!suspended).then_some(Time(now));
    Some(suspended)
}

fn set(status: &mut JobStatus, next: JobCondition) {
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|held| held.type_ == next.type_) {
        Some(held) => *held = next,
        None => conditions.push(next),
    }
}

/// Counts the pods that were noted and have no finalizer any more, and notes others. Returns whether all pods that are to
/// be counted are, without the need of a finalizer.
fn track(
    observed: &Observed<'_>,
    plan: &Plan<'_>,
    end: Option<&JobCondition>,
    account: &mut Account,
) -> bool {
    let wanted = &observed.wanted;
    let tracked: HashSet<&str> = observed.pods.iter().filter(|pod| pod.tracked).map(JobPod::uid).collect();
    let status = &mut account.status;
    let mut noted = status.uncounted_terminated_pods.take().unwrap_or_default();
    let mut succeeded = noted.succeeded.take().unwrap_or_default();
    let mut failed = noted.failed.take().unwrap_or_default();
    settle(&mut status.succeeded, &mut succeeded, &tracked);
    settle(&mut status.failed, &mut failed, &tracked);
    let indexes = wanted.indexes();
    let before = indexes.map(|limit| wanted.completed_indexes(limit)).unwrap_or_default();
    let (mut new_indexes, mut reached) = (0, false);
    for pod in in_order(observed) {
        if !is_done(wanted, plan, end, pod) {
            continue;
        }
        account.untrack.push(Arc::clone(&pod.member.entry));
        let uid = pod.uid().to_owned();
        if pod.succeeded() && !failed.contains(&uid) {
            match indexes {
                Some(_)
                    if pod.is_valid(indexes) && pod.index.is_some_and(|index| !before.contains(index)) =>
                {
                    new_indexes += 1;
                }
                None if !succeeded.contains(&uid) => succeeded.push(uid),
                _ => {}
            }
        } else if counts_as_failed(wanted, end, pod) && !failed.contains(&uid) {
            failed.push(uid);
        }
        if new_indexes + succeeded.len() + failed.len() >= MOST_UNCOUNTED {
            reached = true;
            break;
        }
    }
    if indexes.is_some() {
        let completed = &plan.counts.succeeded_indexes;
        status.succeeded = Some(number(completed.len())).filter(|count| *count > 0);
        status.completed_indexes = Some(completed.to_string()).filter(|text| !text.is_empty());
        status.failed_indexes = plan.counts.failed_indexes.as_ref().map(ToString::to_string);
    }
    account.more = reached;
    let all = !reached && succeeded.is_empty() && failed.is_empty() && account.untrack.is_empty();
    noted.succeeded = Some(succeeded).filter(|uids| !uids.is_empty());
    noted.failed = Some(failed).filter(|uids| !uids.is_empty());
    status.uncounted_terminated_pods = Some(noted);
    all
}

/// Makes a number of the notes of pods that have no finalizer any more.
fn settle(count: &mut Option<i32>, noted: &mut Vec<String>, tracked: &HashSet<&str>) {
    let before = noted.len();
    noted.retain(|uid| tracked.contains(uid.as_str()));
    let counted = number(before - noted.len());
    if counted > 0 {
        *count = Some(count.unwrap_or_default().saturating_add(counted));
    }
}

/// The pods that still have the finalizer, by index.
fn in_order<'p, 'o>(observed: &'p Observed<'o>) -> Vec<&'p JobPod<'o>> {
    let mut pods: Vec<_> = observed.pods.iter().filter(|pod| pod.tracked).collect();
    pods.sort_by_key(|pod| pod.index);
    pods
}

/// Whether nothing is waited for any more before a pod is counted.
fn is_done(wanted: &Wanted<'_>, plan: &Plan<'_>, end: Option<&JobCondition>, pod: &JobPod<'_>) -> bool {
    if wanted.deleting || end.is_some() || pod.succeeded() {
        return true;
    }
    let awaiting = pod.index.and_then(|index| plan.counts.awaiting.get(&index));
    pod.failed && awaiting.is_none_or(|held| held.uid() != pod.uid())
}

fn counts_as_failed(wanted: &Wanted<'_>, end: Option<&JobCondition>, pod: &JobPod<'_>) -> bool {
    // With a Job that failed, all that had not ended failed too.
    let failed = pod.failed || end.is_some_and(|end| end.type_ != SUCCESS_CRITERIA_MET);
    failed
        && pod.is_valid(wanted.indexes())
        && policies::verdict(wanted.spec.pod_failure_policy.as_ref(), pod) != Verdict::Ignore
}

/// Says why the Job ends, and once that was said and all pods are counted and gone, that it has ended.
fn conclude(wanted: &Wanted<'_>, end: JobCondition, all: bool, account: &mut Account, now: Timestamp) {
    if wanted.condition(&end.type_).is_none() {
        set(&mut account.status, end);
        return;
    }
    if !all {
        return;
    }
    let kind = if end.type_ == FAILURE_TARGET { FAILED } else { COMPLETE };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let finished = condition(kind, "True", &text(&end.reason), &text(&end.message), now);
    if kind == COMPLETE {
        account.status.completion_time = finished.last_transition_time.clone();
    }
    set(&mut account.status, finished.clone());
    account.finished = Some(finished);
}
