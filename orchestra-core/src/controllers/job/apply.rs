//! Carries out one plan for one Job.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use serde_json::json;

use super::account::{self, Account, Outcome};
use super::model::{COMPLETE, TRACKING};
use super::plan::{NewPod, Observed, Plan};
use super::template;
use crate::api::Status;
use crate::control::events::{Recorder, reference_to};
use crate::control::owner_reference;
use crate::control::write;
use crate::control::{Action, Context, Error};
use crate::controllers::of_pods::{create_pod, delete_pod};
use crate::controllers::replicas::member::Member;
use crate::supervise::together;
use crate::watch::Entry;

/// How many writes are under way at a time.
const AT_A_TIME: usize = 64;

pub(super) struct Run<'r> {
    pub(super) context: &'r Context,
    pub(super) recorder: &'r Recorder,
    pub(super) job: &'r Arc<Entry>,
}

impl Run<'_> {
    fn about(&self) -> ObjectReference {
        reference_to::<Job>(self.job)
    }

    /// Pods first, then the account of what came of it, then the finalizers of what was noted in it.
    pub(super) async fn carry_out(&self, observed: &Observed<'_>, plan: Plan<'_>) -> Result<Action, Error> {
        let mut outcome = Outcome::default();
        let managed = match self.delete(&plan, &mut outcome).await {
            Ok(()) => self.create(&plan.create, &mut outcome).await,
            failed => failed,
        };
        let account = account::account(observed, &plan, outcome, self.context.now());
        self.report(observed, &account).await?;
        for pods in account.untrack.chunks(AT_A_TIME) {
            let freed = pods.iter().map(|pod| free(self.context.clone(), Arc::clone(pod)));
            together(freed.collect()).await.into_iter().collect::<Result<(), _>>()?;
        }
        match managed {
            Err(status) if !write::namespace_terminating(&status) => Err(status.into()),
            // Each such run brings it closer to its end.
            Ok(()) if plan.more || account.more => Ok(Action::Again(Duration::ZERO)),
            _ => Ok(Action::again(plan.again)),
        }
    }

    async fn delete(&self, plan: &Plan<'_>, outcome: &mut Outcome) -> Result<(), Status> {
        let mut failed = None;
        for members in plan.delete.chunks(AT_A_TIME) {
            let delete = |member: &&Member| {
                let frees = plan.uncounted && member.pod.has_finalizer(TRACKING);
                delete(
                    frees,
                    self.context.clone(),
                    self.recorder.clone(),
                    self.about(),
                    Arc::clone(&member.entry),
                )
            };
            let deleted = together(members.iter().map(delete).collect()).await;
            for (member, deleted) in members.iter().zip(deleted) {
                match deleted {
                    Ok(()) => {
                        outcome.deleted += 1;
                        outcome.deleted_ready += usize::from(member.pod.is_ready());
                    }
                    Err(status) => failed = Some(status),
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn create(&self, pods: &[NewPod], outcome: &mut Outcome) -> Result<(), Status> {
        if pods.is_empty() {
            return Ok(());
        }
        let job = self.job.to_value().map_err(Status::internal)?;
        let owner = owner_reference::controller::<Job>(self.job);
        let (created, mut left) = (Arc::new(AtomicUsize::new(0)), pods.iter());
        let done = write::slow_start(pods.len(), || {
            let pod = left.next().map(|new| template::pod(&job, &owner, *new));
            let (context, recorder, about) = (self.context.clone(), self.recorder.clone(), self.about());
            let created = Arc::clone(&created);
            async move {
                if let Some(pod) = pod {
                    create_pod(context, recorder, about, pod).await?;
                    created.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        })
        .await;
        outcome.created = created.load(Ordering::Relaxed);
        done
    }

    async fn report(&self, observed: &Observed<'_>, account: &Account) -> Result<(), Error> {
        let (held, next) = (observed.wanted.status, &account.status);
        if held == next {
            return Ok(());
        }
        let patch = write::difference(&json!(held), &json!(next));
        let written = write::patch_status::<Job>(self.context.client(), self.job, patch).await;
        write::unless_gone(written)?;
        self.tell(observed, account);
        Ok(())
    }

    fn tell(&self, observed: &Observed<'_>, account: &Account) {
        let about = self.about();
        match account.suspended {
            Some(true) => self.recorder.normal(&about, "Suspended", "Job suspended"),
            Some(false) => self.recorder.normal(&about, "Resumed", "Job resumed"),
            None => {}
        }
        let Some(finished) = &account.finished else { return };
        if finished.type_ != COMPLETE {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            return self.recorder.warning(&about, text(&finished.reason), text(&finished.message));
        }
        let wanted = observed.wanted.spec.completions;
        if wanted.is_some_and(|wanted| account.status.succeeded.unwrap_or_default() > wanted) {
            let message = "Too many succeeded pods running after completion count reached";
            self.recorder.warning(&about, "TooManySucceededPods", message);
        }
        self.recorder.normal(&about, "Completed", "Job completed");
    }
}

/// Has a pod that is counted no longer wait for that.
async fn free(context: Context, pod: Arc<Entry>) -> Result<(), Status> {
    write::remove_finalizer::<Pod>(context.client(), &pod, TRACKING).await
}

async fn delete(
    frees: bool,
    context: Context,
    recorder: Recorder,
    about: ObjectReference,
    pod: Arc<Entry>,
) -> Result<(), Status> {
    if frees {
        free(context.clone(), Arc::clone(&pod)).await?;
    }
    delete_pod(context, recorder, about, pod).await
}
