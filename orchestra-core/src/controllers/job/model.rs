//! A Job and its pods, as the plan sees them.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::indexes::Indexes;
use crate::controllers::pod::{Phase, Pod};
use crate::controllers::replicas::member::Member;

/// Keeps a pod from going away before it has been counted.
pub(super) const TRACKING: &str = "batch.kubernetes.io/job-tracking";
pub(super) const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
pub(super) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
/// The controller that a Job is managed by if it names none.
const CONTROLLER: &str = "kubernetes.io/job-controller";

pub(super) const COMPLETE: &str = "Complete";
pub(super) const FAILED: &str = "Failed";
pub(super) const SUSPENDED: &str = "Suspended";
pub(super) const FAILURE_TARGET: &str = "FailureTarget";
pub(super) const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";

/// A Job as it was read, with the defaults of what it leaves out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'o> {
    pub(super) spec: &'o JobSpec,
    pub(super) status: &'o JobStatus,
    pub(super) deleting: bool,
}

impl<'o> Wanted<'o> {
    /// `None`: the Job is none that can be worked on.
    pub(super) fn of(job: &'o Job) -> Option<Self> {
        static NO_STATUS: JobStatus = JobStatus {
            active: None,
            completed_indexes: None,
            completion_time: None,
            conditions: None,
            failed: None,
            failed_indexes: None,
            ready: None,
            start_time: None,
            succeeded: None,
            terminating: None,
            uncounted_terminated_pods: None,
        };
        Some(Self {
            spec: job.spec.as_ref()?,
            status: job.status.as_ref().unwrap_or(&NO_STATUS),
            deleting: job.metadata.deletion_timestamp.is_some(),
        })
    }

    pub(super) fn parallelism(&self) -> usize {
        count(self.spec.parallelism.unwrap_or(1))
    }

    /// How many successes are wanted; `None`: any one will do.
    pub(super) fn completions(&self) -> Option<usize> {
        self.spec.completions.map(count)
    }

    /// The number of indexes, if each pod has one.
    pub(super) fn indexes(&self) -> Option<u32> {
        let indexed = self.spec.completion_mode.as_deref() == Some("Indexed");
        indexed.then(|| u32::try_from(self.spec.completions.unwrap_or_default()).unwrap_or_default())
    }

    pub(super) fn has_known_mode(&self) -> bool {
        matches!(self.spec.completion_mode.as_deref(), None | Some("Indexed" | "NonIndexed"))
    }

    pub(super) fn backoff_limit(&self) -> usize {
        count(self.spec.backoff_limit.unwrap_or(6))
    }

    pub(super) fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    /// Whether a pod on its way out is only replaced once it has ended.
    pub(super) fn replaces_only_failed(&self) -> bool {
        self.spec.pod_replacement_policy.as_deref() == Some("Failed")
    }

    pub(super) fn is_managed_elsewhere(&self) -> bool {
        self.spec.managed_by.as_deref().is_some_and(|name| name != CONTROLLER)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished().is_some()
    }

    /// The condition that says that it has come to an end.
    pub(super) fn finished(&self) -> Option<&'o JobCondition> {
        self.condition(COMPLETE).or_else(|| self.condition(FAILED))
    }

    /// A condition that is met.
    pub(super) fn condition(&self, kind: &str) -> Option<&'o JobCondition> {
        self.status.conditions.iter().flatten().find(|held| held.type_ == kind && held.status == "True")
    }

    pub(super) fn completed_indexes(&self, completions: u32) -> Indexes {
        Indexes::parse(self.status.completed_indexes.as_deref().unwrap_or_default(), completions)
    }
}

fn count(number: i32) -> usize {
    usize::try_from(number).unwrap_or_default()
}

/// A number as it stands in a status.
pub(super) fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

pub(super) fn condition(
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> JobCondition {
    JobCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// One pod of a Job.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobPod<'o> {
    pub(super) member: &'o Member,
    /// Its completion index, if it has one that is valid.
    pub(super) index: Option<u32>,
    /// Whether it still has to be counted.
    pub(super) tracked: bool,
    /// Whether it counts as one that failed.
    pub(super) failed: bool,
}

impl<'o> JobPod<'o> {
    pub(super) fn of(wanted: &Wanted<'_>, member: &'o Member) -> Self {
        let pod = &*member.pod;
        let deleted = pod.metadata.deletion_timestamp.is_some() && pod.status.phase != Phase::Succeeded;
        Self {
            member,
            index: pod.annotation(COMPLETION_INDEX).and_then(|text| text.parse().ok()),
            tracked: pod.has_finalizer(TRACKING),
            // A deleted pod is one that may never come to say how it ended.
            failed: pod.status.phase == Phase::Failed || (deleted && !wanted.replaces_only_failed()),
        }
    }

    pub(super) fn pod(&self) -> &'o Arc<Pod> {
        &self.member.pod
    }

    pub(super) fn uid(&self) -> &'o str {
        self.member.entry.uid().as_str()
    }

    pub(super) fn succeeded(&self) -> bool {
        self.pod().status.phase == Phase::Succeeded
    }

    /// Whether it has an index of those that the Job has now, if it has any.
    pub(super) fn is_valid(&self, indexes: Option<u32>) -> bool {
        indexes.is_none_or(|limit| self.index.is_some_and(|index| index < limit))
    }

    /// How often pods of its index failed before it, as far as that counts.
    pub(super) fn failures(&self) -> u32 {
        self.noted(FAILURES)
    }

    /// How often pods of its index failed before it, without counting.
    pub(super) fn ignored_failures(&self) -> u32 {
        self.noted(IGNORED_FAILURES)
    }

    fn noted(&self, annotation: &str) -> u32 {
        let noted = self.pod().annotation(annotation).and_then(|text| text.parse::<i32>().ok());
        noted.and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
    }
}
