//! CronJobs: a Job at each time of a schedule.
//!
//! `plan.rs` decides and `due.rs` says for which time; this file observes and applies. A Job is named by the minute it is
//! for, so that none is started twice, whatever happens between its creation and the note of it.

mod due;
mod plan;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Value, json};

use self::plan::{Child, Observed, Plan};
use super::Host;
use crate::api::{DeleteOptions, Operation, Propagation, Status};
use crate::control::events::{Recorder, reference_to};
use crate::control::owner_reference;
use crate::control::write;
use crate::control::{Action, Context, Error, Reconciler};
use crate::watch::Entry;

const COMPONENT: &str = "cronjob-controller";
/// How many are seen to at a time. All that are due at a minute are due at once, and the pods of the first to start would
/// keep the rest waiting.
const CONCURRENCY: usize = 32;
/// The annotation with the time that a Job is for.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let recorder = host.recorder(COMPONENT);
    let controller = host.controller::<CronJob>().named(COMPONENT).owns::<Job>().concurrency(CONCURRENCY);
    host.run(controller, CronJobs { recorder }).await
}

struct CronJobs {
    recorder: Recorder,
}

#[async_trait]
impl Reconciler for CronJobs {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<CronJob>().await? else { return Ok(Action::Done) };
        let cron = entry.view::<CronJob>()?;
        let owned = context.cache::<Job>().await?.owned_by(entry.uid());
        let own = owned.into_iter().filter(|job| job.controller().is_some_and(|it| it.uid == *entry.uid()));
        let jobs =
            own.map(|job| Ok(Child { job: job.view()?, entry: job })).collect::<Result<Vec<_>, Error>>()?;
        let gone = gone(&context, &cron, &jobs).await?;
        let now = context.now();
        let plan = plan::plan(&Observed { name: entry.name().name(), cron: &cron, jobs, gone, now });
        let run = Run { context: &context, recorder: &self.recorder, cron: &entry };
        run.carry_out(&cron, plan).await
    }
}

/// The Jobs that the status names and that are not there, the API itself asked.
async fn gone(context: &Context, cron: &CronJob, jobs: &[Child]) -> Result<Vec<String>, Error> {
    let mut gone = Vec::new();
    for held in cron.status.iter().flat_map(|status| status.active.iter().flatten()) {
        let (Some(uid), Some(name)) = (&held.uid, &held.name) else { continue };
        if jobs.iter().any(|child| child.entry.uid().as_str() == uid) {
            continue;
        }
        let there = context.api::<Job>().find(name).await?;
        if there.is_none_or(|job| job.metadata.uid.as_ref() != Some(uid)) {
            gone.push(uid.clone());
        }
    }
    Ok(gone)
}

/// Carries out one plan for one CronJob.
struct Run<'r> {
    context: &'r Context,
    recorder: &'r Recorder,
    cron: &'r Arc<Entry>,
}

impl Run<'_> {
    fn about(&self) -> ObjectReference {
        reference_to::<CronJob>(self.cron)
    }

    async fn carry_out(&self, cron: &CronJob, plan: Plan) -> Result<Action, Error> {
        for (kind, reason, message) in &plan.tell {
            self.recorder.record(&self.about(), *kind, *reason, message.clone());
        }
        for child in &plan.delete {
            self.delete(&child.entry).await?;
        }
        let mut status = plan.status;
        let started = match plan.start {
            Some(time) => self.start(cron, time, &mut status).await,
            None => Ok(()),
        };
        let held = cron.status.clone().unwrap_or_default();
        if status != held {
            let patch = write::difference(&json!(held), &json!(status));
            let written = write::patch_status::<CronJob>(self.context.client(), self.cron, patch).await;
            write::unless_gone(written)?;
        }
        match started {
            Err(status) if !write::namespace_terminating(&status) => Err(status.into()),
            _ => Ok(Action::again(plan.again)),
        }
    }

    async fn delete(&self, job: &Entry) -> Result<(), Error> {
        let options = DeleteOptions {
            uid: Some(job.uid().to_string()),
            propagation: Some(Propagation::Background),
            ..DeleteOptions::default()
        };
        let target = write::target::<Job>(job.name());
        match write::was_deleted(self.context.client().call(target, Operation::Delete(options)).await) {
            Ok(true) => {
                let message = format!("Deleted job {}", job.name().name());
                self.recorder.normal(&self.about(), "SuccessfulDelete", message);
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(status) => {
                self.recorder.warning(&self.about(), "FailedDelete", format!("Deleted job: {status}"));
                Err(status.into())
            }
        }
    }

    /// Starts the Job for a time and notes it; one that was started before and not noted is noted now.
    async fn start(&self, cron: &CronJob, time: Timestamp, status: &mut CronJobStatus) -> Result<(), Status> {
        let job = self.job(cron, time)?;
        match write::create_entry::<Job>(self.context.client(), self.context.namespace(), job).await {
            Ok(job) => {
                let message = format!("Created job {}", job.name().name());
                self.recorder.normal(&self.about(), "SuccessfulCreate", message);
                plan::noted(status, reference_to::<Job>(&job), time);
                Ok(())
            }
            Err(error) if error.is_already_exists() => self.note(time, status).await,
            Err(error) => {
                if !write::namespace_terminating(&error) {
                    let message = format!("Error creating job: {error}");
                    self.recorder.warning(&self.about(), "FailedCreate", message);
                }
                Err(error)
            }
        }
    }

    async fn note(&self, time: Timestamp, status: &mut CronJobStatus) -> Result<(), Status> {
        let name = plan::job_name(self.cron.name().name(), time);
        let Some(job) = self.context.api::<Job>().find(&name).await? else { return Ok(()) };
        let mut owners = job.metadata.owner_references.iter().flatten();
        let ours = owners.any(|it| it.controller == Some(true) && it.uid == self.cron.uid().as_str());
        let noted = status.active.iter().flatten().any(|held| held.uid == job.metadata.uid);
        if ours && !noted {
            plan::noted(status, crate::control::events::reference(&job), time);
        }
        Ok(())
    }

    fn job(&self, cron: &CronJob, time: Timestamp) -> Result<Value, Status> {
        let object = self.cron.to_value().map_err(Status::internal)?;
        let template = &object["spec"]["jobTemplate"];
        let zone = plan::zone(cron).unwrap_or(jiff::tz::TimeZone::UTC);
        let at = time.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        let mut metadata = json!({
            "name": plan::job_name(self.cron.name().name(), time),
            "namespace": self.context.namespace(),
            "annotations": template["metadata"]["annotations"],
            "ownerReferences": [owner_reference::controller::<CronJob>(self.cron)],
        });
        metadata["annotations"][SCHEDULED] = at.replace("+00:00", "Z").into();
        if let Some(labels) = template["metadata"].get("labels") {
            metadata["labels"] = labels.clone();
        }
        Ok(json!({"metadata": metadata, "spec": template["spec"]}))
    }
}
