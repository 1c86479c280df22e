//! Which Job is started now, and which go. Pure.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job, JobCondition};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::due::{Never, Times};
use crate::control::events::EventType;
use crate::cron::{Schedule, time_zone};
use crate::watch::Entry;

/// How long a CronJob is left alone at most: the clock may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// A CronJob and its Jobs as they were read.
#[derive(Debug)]
pub(super) struct Observed<'o> {
    pub(super) name: &'o str,
    pub(super) cron: &'o CronJob,
    pub(super) jobs: Vec<Child>,
    /// The uids of Jobs that the status names and that are certainly not there.
    pub(super) gone: Vec<String>,
    pub(super) now: Timestamp,
}

/// A Job that was made for it.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) entry: Arc<Entry>,
    pub(super) job: Arc<Job>,
}

impl Child {
    fn name(&self) -> &str {
        self.entry.name().name()
    }

    fn finished(&self) -> Option<&JobCondition> {
        let mut conditions = self.job.status.as_ref()?.conditions.iter().flatten();
        conditions.find(|it| matches!(&*it.type_, "Complete" | "Failed") && it.status == "True")
    }

    fn ended_as(&self, kind: &str) -> bool {
        self.finished().is_some_and(|condition| condition.type_ == kind)
    }

    fn started(&self) -> Option<Timestamp> {
        Some(self.job.status.as_ref()?.start_time.as_ref()?.0)
    }
}

/// What is to be done, in this order, and what is then to be reported, a Job that is started added.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) delete: Vec<Child>,
    /// The time for which a Job is started.
    pub(super) start: Option<Timestamp>,
    pub(super) status: CronJobStatus,
    pub(super) tell: Vec<(EventType, &'static str, String)>,
    /// When to look again if nothing happens.
    pub(super) again: Option<Duration>,
}

impl Plan {
    fn warn(&mut self, reason: &'static str, message: impl Into<String>) {
        self.tell.push((EventType::Warning, reason, message.into()));
    }

    fn say(&mut self, reason: &'static str, message: impl Into<String>) {
        self.tell.push((EventType::Normal, reason, message.into()));
    }

    fn active(&mut self) -> &mut Vec<ObjectReference> {
        self.status.active.get_or_insert_default()
    }

    fn forget(&mut self, uid: &str) {
        self.active().retain(|held| held.uid.as_deref() != Some(uid));
    }
}

/// Decides.
pub(super) fn plan(observed: &Observed<'_>) -> Plan {
    let status = observed.cron.status.clone().unwrap_or_default();
    let mut plan = Plan { status, ..Plan::default() };
    thin_out(observed, &mut plan);
    follow(observed, &mut plan);
    if observed.cron.metadata.deletion_timestamp.is_none() {
        schedule(observed, &mut plan);
    }
    if plan.active().is_empty() {
        plan.status.active = None;
    }
    plan.again = plan.again.map(|again| again.min(LOOK_AGAIN));
    plan
}

/// Of Jobs that have ended only so many are kept, the last ones.
fn thin_out(observed: &Observed<'_>, plan: &mut Plan) {
    let spec = &observed.cron.spec;
    for (kind, limit) in
        [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)]
    {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
        let ended = observed.jobs.iter().filter(|child| child.ended_as(kind) && !child.entry.is_deleting());
        let mut ended: Vec<&Child> = ended.collect();
        ended.sort_by_key(|child| (child.started().is_none(), child.started(), child.name().to_owned()));
        let surplus = ended.len().saturating_sub(limit);
        for child in &ended[..surplus] {
            plan.delete.push((*child).clone());
            plan.forget(child.entry.uid().as_str());
        }
    }
}

/// Takes note of Jobs that have ended or are gone.
fn follow(observed: &Observed<'_>, plan: &mut Plan) {
    for child in &observed.jobs {
        let uid = child.entry.uid().as_str();
        let noted = plan.active().iter().any(|held| held.uid.as_deref() == Some(uid));
        match child.finished() {
            None if !noted => {
                let message =
                    format!("Saw a job that the controller did not create or forgot: {}", child.name());
                plan.warn("UnexpectedJob", message);
            }
            None => {}
            Some(condition) => {
                if noted {
                    let message =
                        format!("Saw completed job: {}, condition: {}", child.name(), condition.type_);
                    plan.say("SawCompletedJob", message);
                    plan.forget(uid);
                }
                if condition.type_ == "Complete" {
                    let completed = child.job.status.as_ref().and_then(|it| it.completion_time.clone());
                    let last = plan.status.last_successful_time.take();
                    plan.status.last_successful_time = last.max(completed);
                }
            }
        }
    }
    for uid in &observed.gone {
        if let Some(held) = plan.active().iter().find(|held| held.uid.as_ref() == Some(uid)) {
            let message = format!("Active job went missing: {}", held.name.clone().unwrap_or_default());
            plan.say("MissingJob", message);
            plan.forget(uid);
        }
    }
}

fn schedule(observed: &Observed<'_>, plan: &mut Plan) {
    let spec = &observed.cron.spec;
    let text = &spec.schedule;
    let Some(zone) = zone(observed.cron) else {
        let zone = spec.time_zone.as_deref().unwrap_or_default();
        return plan.warn("UnknownTimeZone", format!("invalid timeZone: {zone:?}: unknown time zone {zone}"));
    };
    if spec.suspend == Some(true) {
        return;
    }
    let schedule: Schedule = match text.parse() {
        Ok(schedule) => schedule,
        Err(error) => {
            return plan.warn("UnparseableSchedule", format!("unparseable schedule: {text:?} : {error}"));
        }
    };
    if schedule.has_zone() {
        let message = format!(
            "CRON_TZ or TZ used in schedule {text:?} is not officially supported, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        );
        plan.warn("UnsupportedSchedule", message);
    }
    let times = Times { schedule: &schedule, zone: &zone };
    let now = observed.now;
    let (earliest, since) = (earliest(observed), since(observed));
    let due = match times.due(earliest, now) {
        Ok(due) => due,
        Err(Never) => {
            let message = format!(
                "invalid schedule: {text} : time difference between two schedules is less than 1 second"
            );
            return plan.warn("InvalidSchedule", message);
        }
    };
    plan.again = times.left(since, now);
    let Some(time) = due.last else { return };
    if due.are_many() {
        let message =
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.warn("TooManyMissedTimes", message);
    }
    if may_start(observed, time, plan) {
        plan.start = Some(time);
    }
}

/// Whether a Job is started for a time that has come. Those that it replaces go.
fn may_start(observed: &Observed<'_>, time: Timestamp, plan: &mut Plan) -> bool {
    let spec = &observed.cron.spec;
    let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    if deadline.is_some_and(|deadline| observed.now.duration_since(time) > deadline) {
        let time = time.strftime("%a, %d %b %Y %H:%M:%S +0000");
        plan.warn("MissSchedule", format!("Missed scheduled time to start a job: {time}"));
        return false;
    }
    let name = job_name(observed.name, time);
    let done = plan.status.last_schedule_time.as_ref().is_some_and(|last| last.0 == time);
    if done || plan.active().iter().any(|held| held.name.as_ref() == Some(&name)) {
        return false;
    }
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !plan.active().is_empty() => {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.say("JobAlreadyActive", message);
            false
        }
        Some("Replace") => {
            let active: Vec<_> = plan.active().drain(..).filter_map(|held| held.uid).collect();
            let replaced = observed
                .jobs
                .iter()
                .filter(|child| active.iter().any(|uid| *uid == child.entry.uid().as_str()));
            plan.delete.extend(replaced.cloned());
            true
        }
        _ => true,
    }
}

/// The time zone that it names; UTC if it names none.
pub(super) fn zone(cron: &CronJob) -> Option<TimeZone> {
    match cron.spec.time_zone.as_deref() {
        Some(name) => time_zone(name),
        None => Some(TimeZone::UTC),
    }
}

/// Since when times count: since the last one for which a Job was started.
fn since(observed: &Observed<'_>) -> Timestamp {
    let last = observed.cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    let created = observed.cron.metadata.creation_timestamp.as_ref();
    last.or(created).map_or(observed.now, |time| time.0)
}

/// As `since`, without what is past the deadline anyway.
fn earliest(observed: &Observed<'_>) -> Timestamp {
    let since = since(observed);
    let seconds = observed.cron.spec.starting_deadline_seconds;
    let limit = seconds.and_then(|seconds| observed.now.checked_sub(SignedDuration::from_secs(seconds)).ok());
    limit.map_or(since, |limit| limit.max(since))
}

/// The name of the Job for a time, so that there is never a second one.
pub(super) fn job_name(cron: &str, time: Timestamp) -> String {
    format!("{cron}-{}", time.as_second().div_euclid(60))
}

/// A Job with the time it is for.
pub(super) fn noted(status: &mut CronJobStatus, reference: ObjectReference, time: Timestamp) {
    status.active.get_or_insert_default().push(reference);
    status.last_schedule_time = Some(Time(time));
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for child in &self.delete {
            writeln!(f, "delete {}", child.name())?;
        }
        for (_, reason, _) in &self.tell {
            writeln!(f, "{reason}")?;
        }
        if let Some(time) = self.start {
            writeln!(f, "start {time}")?;
        }
        if let Some(again) = self.again {
            writeln!(f, "again in {again:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
