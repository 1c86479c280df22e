//! What a Job's status may become. What is wrong already is not said again: whoever writes something else of the status
//! is not to be stopped by it.

use std::collections::HashSet;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};

use super::{indexes, is_indexed};
use crate::api::field::{Errors, Path};
use crate::objects::check::{self, shown};

/// Whether the status has a condition that is true.
pub(super) fn is_true(status: &JobStatus, condition: &str) -> bool {
    is(status, condition, "True")
}

fn is(status: &JobStatus, condition: &str, value: &str) -> bool {
    status.conditions.iter().flatten().any(|held| held.type_ == condition && held.status == value)
}

fn is_finished(status: &JobStatus) -> bool {
    is_true(status, "Complete") || is_true(status, "Failed")
}

/// A status, the one before it, and what they are the status of.
struct StatusUpdate<'j> {
    new: &'j JobStatus,
    old: &'j JobStatus,
    spec: &'j JobSpec,
    path: Path,
}

/// Says what is wrong with a new status.
pub(super) fn validate(new: &Job, old: &Job, errors: &mut Errors) {
    let (none, nothing) = (JobStatus::default(), JobSpec::default());
    let change = StatusUpdate {
        new: new.status.as_ref().unwrap_or(&none),
        old: old.status.as_ref().unwrap_or(&none),
        spec: new.spec.as_ref().unwrap_or(&nothing),
        path: Path::new("status"),
    };
    change.counts(errors);
    change.uncounted(errors);
    change.counters(errors);
    change.conditions(errors);
    change.ends(errors);
    change.finished(errors);
    change.times(errors);
    change.indexes(errors);
}

impl StatusUpdate<'_> {
    /// Whether a condition is true now and was not, or the other way.
    fn turned(&self, condition: &str) -> bool {
        is_true(self.new, condition) != is_true(self.old, condition)
    }

    fn ended(&self) -> bool {
        is_finished(self.new) != is_finished(self.old)
    }

    fn counts(&self, errors: &mut Errors) {
        let status = self.new;
        let counts = [
            ("active", status.active),
            ("succeeded", status.succeeded),
            ("failed", status.failed),
            ("ready", status.ready),
            ("terminating", status.terminating),
        ];
        for (field, count) in counts {
            check::not_negative(errors, &self.path.child(field), count);
        }
        let changed = (status.ready, status.active) != (self.old.ready, self.old.active);
        if let Some(ready) = status.ready.filter(|ready| changed && *ready > status.active.unwrap_or(0)) {
            errors.invalid(&self.path.child("ready"), ready, "cannot set more ready pods than active");
        }
    }

    /// Pods that ended and are not counted yet stand in one of two lists, and once.
    fn uncounted(&self, errors: &mut Errors) {
        let Some(pods) = &self.new.uncounted_terminated_pods else { return };
        let path = self.path.child("uncountedTerminatedPods");
        let mut seen = HashSet::new();
        for (field, uids) in [("succeeded", &pods.succeeded), ("failed", &pods.failed)] {
            for (index, uid) in uids.iter().flatten().enumerate() {
                let path = path.child(field).index(index);
                if uid.is_empty() {
                    errors.invalid(&path, "", "must not be empty");
                } else {
                    check::unique(errors, &mut seen, &path, uid);
                }
            }
        }
    }

    /// What was counted is not taken back, unless the Job was made smaller.
    fn counters(&self, errors: &mut Errors) {
        let may_shrink = is_indexed(self.spec) && self.spec.completions == self.spec.parallelism;
        let counters = [
            ("failed", self.new.failed, self.old.failed, false),
            ("succeeded", self.new.succeeded, self.old.succeeded, may_shrink),
        ];
        for (field, new, old, may_shrink) in counters {
            let new = new.unwrap_or_default();
            if new < old.unwrap_or_default() && !may_shrink {
                let detail = format!("cannot decrease the {field} counter");
                errors.invalid(&self.path.child(field), new, detail);
            }
        }
    }

    /// Conditions that exclude each other, or that need another one first.
    fn conditions(&self, errors: &mut Errors) {
        let path = self.path.child("conditions");
        let [complete, failed, target, met] = ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"]
            .map(|condition| is_true(self.new, condition));
        let [turned_complete, turned_failed, turned_target, turned_met] =
            ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"]
                .map(|condition| self.turned(condition));
        let failed_indexes = self.new.failed_indexes != self.old.failed_indexes;
        let rules = [
            (
                (turned_complete || turned_failed) && complete && failed,
                "cannot set Complete=True and Failed=true conditions",
            ),
            (
                (turned_complete || turned_target) && complete && target,
                "cannot set Complete=True and FailureTarget=true conditions",
            ),
            (
                (turned_failed || failed_indexes) && failed && !target,
                "cannot set Failed=True condition without the FailureTarget=true condition",
            ),
            (
                (turned_complete || turned_met) && complete && !met,
                "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            ),
            (met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
            (met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
            (
                self.spec.success_policy.is_some() && complete && !met,
                "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
            ),
        ];
        for (_, detail) in rules.into_iter().filter(|(is_broken, _)| *is_broken) {
            errors.unfit(&path, detail);
        }
    }

    /// An end is for good.
    fn ends(&self, errors: &mut Errors) {
        let path = self.path.child("conditions");
        let lost = |condition: &str| is_true(self.old, condition) && !is_true(self.new, condition);
        for condition in ["Failed", "Complete", "FailureTarget"] {
            if lost(condition) {
                errors.unfit(&path, format!("cannot disable the terminal {condition}=True condition"));
            }
        }
        if lost("SuccessCriteriaMet") {
            errors.unfit(&path, "cannot disable the SuccessCriteriaMet=True condition");
        }
        if is_true(self.old, "Complete") && self.turned("SuccessCriteriaMet") && !lost("SuccessCriteriaMet") {
            let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
            errors.unfit(&path, detail);
        }
    }

    /// What a Job that has ended has no more.
    fn finished(&self, errors: &mut Errors) {
        if !is_finished(self.new) {
            return;
        }
        let (new, old) = (self.new, self.old);
        let counts = [("active", new.active, old.active), ("terminating", new.terminating, old.terminating)];
        for (field, count, before) in counts {
            if let Some(count) = count.filter(|count| *count > 0 && (self.ended() || Some(*count) != before))
            {
                let detail = format!("{field}>0 is invalid for finished job");
                errors.invalid(&self.path.child(field), count, detail);
            }
        }
        let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_none_or(Vec::is_empty);
        let uncounted = new.uncounted_terminated_pods.as_ref();
        if let Some(pods) = uncounted.filter(|pods| !is_empty(&pods.failed) || !is_empty(&pods.succeeded))
            && (self.ended() || new.uncounted_terminated_pods != old.uncounted_terminated_pods)
        {
            let at = self.path.child("uncountedTerminatedPods");
            errors.invalid(&at, shown(pods), "must be empty for finished job");
        }
    }

    fn times(&self, errors: &mut Errors) {
        let (new, old) = (self.new, self.old);
        let (at_start, at_completion) = (self.path.child("startTime"), self.path.child("completionTime"));
        let (started, completed) =
            (new.start_time != old.start_time, new.completion_time != old.completion_time);
        let complete = is_true(new, "Complete");
        if completed || self.turned("Complete") {
            match &new.completion_time {
                Some(time) if !complete => {
                    let detail = "cannot set completionTime when there is no Complete=True condition";
                    errors.invalid(&at_completion, shown(time), detail);
                }
                None if complete => {
                    errors.required(&at_completion, "completionTime is required for Complete jobs");
                }
                _ => {}
            }
        }
        if let (Some(start), Some(end)) = (&new.start_time, &new.completion_time)
            && (started || completed)
            && end.0 < start.0
        {
            errors.invalid(&at_completion, shown(end), "must be equal to or after `startTime`");
        }
        let suspended = self.spec.suspend == Some(true);
        let idle = suspended && self.spec.completions == Some(0);
        if (self.ended() || started) && !idle && new.start_time.is_none() && is_finished(new) {
            errors.required(&at_start, "startTime is required for finished job");
        }
        if new.completion_time.is_some() && old.completion_time.is_some() && completed {
            errors.invalid(&at_completion, shown(&new.completion_time), check::IMMUTABLE);
        }
        // Who resumes a Job sets the time anew.
        let resumes = is_true(old, "Suspended") && is(new, "Suspended", "False");
        if started && old.start_time.is_some() && !suspended && !resumes {
            let detail = "field is immutable for unsuspended job once set";
            errors.invalid(&at_start, shown(&new.start_time), detail);
        }
    }

    fn indexes(&self, errors: &mut Errors) {
        let completed = self.new.completed_indexes.as_deref().unwrap_or_default();
        let at = self.path.child("completedIndexes");
        let completed_changed = completed != self.old.completed_indexes.as_deref().unwrap_or_default();
        if completed_changed {
            well_formed(completed, "completedIndexes", self.spec.completions, &at, errors);
            if !completed.is_empty() && !is_indexed(self.spec) {
                let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
                errors.invalid(&at, completed, detail);
            }
        }
        let Some(failed) = self.new.failed_indexes.as_deref() else { return };
        let at = self.path.child("failedIndexes");
        let failed_changed = self.new.failed_indexes != self.old.failed_indexes;
        if failed_changed && self.spec.backoff_limit_per_index.is_none() {
            let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
            errors.invalid(&at, failed, detail);
        } else if failed_changed {
            well_formed(failed, "failedIndexes", self.spec.completions, &at, errors);
        }
        if (failed_changed || completed_changed)
            && let Some(completions) = self.spec.completions
            && let Some(index) = indexes::common(completed, failed, completions)
        {
            let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
            errors.invalid(&at, failed, detail);
        }
    }
}

fn well_formed(list: &str, field: &str, completions: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(Err(error)) = completions.map(|completions| indexes::count(list, completions)) {
        errors.invalid(path, list, format!("error parsing {field}: {error}"));
    }
}
