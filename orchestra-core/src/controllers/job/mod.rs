//! Jobs: pods that run to their end, until enough have.
//!
//! | file | what |
//! | --- | --- |
//! | `plan` | which pods there are to be, and whether the Job has come to an end; pure, with: |
//! | `policies` | what it says of failures and successes |
//! | `backoff` | how long a pod that failed is waited for |
//! | `indexes` | sets of completion indexes |
//! | `account` | what is reported, and how each pod is counted once; pure |
//! | `template` | the pods it makes; pure |
//! | `apply` | carries it out |
//! | `orphans` | frees pods whose Job is gone |
//!
//! This file observes. A run plans, sees to the pods, draws the account of what came of it, and writes it.

mod account;
mod apply;
mod backoff;
mod indexes;
mod model;
mod orphans;
mod plan;
mod policies;
mod template;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use self::apply::Run;
use self::backoff::Backoff;
use self::model::{JobPod, TRACKING, Wanted};
use self::plan::Observed;
use super::Host;
use super::replicas::member::Member;
use crate::api::{Kind, Status};
use crate::control::claim::Claim;
use crate::control::events::{Recorder, reference_to};
use crate::control::predicate::generation_changed;
use crate::control::write;
use crate::control::{Action, Context, Error, Reconciler, Trigger};
use crate::meta::{ObjectName, Uid};
use crate::selector::{Operator, Requirement, Selector};
use crate::watch::{Entry, Query};

pub(super) use self::orphans::run as run_orphans;

const COMPONENT: &str = "job-controller";
/// How long what happens to pods is gathered before a Job is looked at: it has to look at all of them.
const GATHER: Duration = Duration::from_secs(1);
/// The label with which a Job's pods name it.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// Runs the controller.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let recorder = host.recorder(COMPONENT);
    let controller = host
        .controller::<Job>()
        .named(COMPONENT)
        .when(generation_changed)
        // What is only reported of it, mostly by this very controller, can wait.
        .trigger(Trigger::itself(Kind::of::<Job>()).gathering(GATHER))
        .owns::<Pod>()
        .gathering(GATHER)
        .selects::<Pod>(|entry| selector(&*entry.view::<Job>().ok()?))
        .gathering(GATHER)
        .concurrency(5);
    host.run(controller, Jobs { recorder, backoffs: Mutex::default() }).await
}

fn selector(job: &Job) -> Option<Selector> {
    let selector = job.spec.as_ref()?.selector.as_ref()?;
    Selector::try_from(selector).ok().filter(|selector| !selector.is_everything())
}

struct Jobs {
    recorder: Recorder,
    /// The failures of Jobs at work: their pods may be gone before they are waited for.
    backoffs: Mutex<HashMap<ObjectName, (Uid, Backoff)>>,
}

#[async_trait]
impl Reconciler for Jobs {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<Job>().await? else {
            self.forget(context.name());
            free_left_behind(&context).await?;
            return Ok(Action::Done);
        };
        let job = entry.view::<Job>()?;
        let Some(wanted) = Wanted::of(&job).filter(|wanted| !wanted.is_managed_elsewhere()) else {
            return Ok(Action::Done);
        };
        if wanted.is_finished() {
            self.forget(context.name());
            free(&context, context.cache::<Pod>().await?.owned_by(entry.uid())).await?;
            return Ok(Action::Done);
        }
        if !wanted.has_known_mode() {
            let message = "Skipped Job sync because completion mode is unknown";
            self.recorder.warning(&reference_to::<Job>(&entry), "UnknownCompletionMode", message);
            return Ok(Action::Done);
        }
        let Some(pods) = settled_pods(&context, &entry, &job).await? else { return Ok(Action::Done) };
        let observed = Observed {
            pods: pods.iter().map(|member| JobPod::of(&wanted, member)).collect(),
            backoff: self.remembered(context.name(), entry.uid()),
            wanted,
        };
        let run = Run { context: &context, recorder: &self.recorder, job: &entry };
        let plan = plan::plan(&observed, context.now());
        let failures = plan.counts.backoff;
        let again = run.carry_out(&observed, plan).await?;
        self.remember(context.name(), entry.uid(), failures);
        Ok(again)
    }
}

impl Jobs {
    fn remembered(&self, name: &ObjectName, uid: &Uid) -> Option<Backoff> {
        let held = self.backoffs.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(name).filter(|(of, _)| of == uid).map(|(_, backoff)| *backoff)
    }

    fn remember(&self, name: &ObjectName, uid: &Uid, backoff: Backoff) {
        let mut held = self.backoffs.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(name.clone(), (uid.clone(), backoff));
    }

    fn forget(&self, name: &ObjectName) {
        self.backoffs.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// The Job's pods; `None` when some had to be adopted or released first, after which it is looked at again.
async fn settled_pods(context: &Context, entry: &Entry, job: &Job) -> Result<Option<Vec<Member>>, Error> {
    let Some(selector) = selector(job) else { return Ok(None) };
    let cache = context.cache::<Pod>().await?;
    let mut own = cache.owned_by(entry.uid());
    own.retain(|pod| pod.controller().is_some_and(|owner| owner.uid == *entry.uid()));
    let (own, lost): (Vec<_>, Vec<_>) = own.into_iter().partition(|pod| {
        // One that is on its way out is not argued about.
        pod.is_deleting() || selector.compile().matches(pod.labels())
    });
    if !entry.is_deleting() {
        let mut free = cache.list(&Query::namespace(context.namespace()).labels(&selector));
        free.retain(|pod| pod.controller().is_none() && !pod.is_deleting());
        if !(free.is_empty() && lost.is_empty()) {
            let claim = Claim::<Job>::new(context, entry).with_finalizer(TRACKING);
            claim.adopt::<Pod>(&free).await?;
            claim.release::<Pod>(&lost).await?;
            context.run_for(context.name().clone());
            return Ok(None);
        }
    }
    Ok(Some(own.into_iter().map(Member::new).collect::<Result<_, _>>()?))
}

/// Lets go of the pods of a Job that is gone, as far as they name it.
async fn free_left_behind(context: &Context) -> Result<(), Error> {
    let name = context.name().name();
    let named = Requirement::new(JOB_NAME, Operator::In, [name]).map_err(|error| error.to_string())?;
    let query = Query::namespace(context.namespace()).labels(Selector::new([named]));
    let mut pods = context.cache::<Pod>().await?.list(&query);
    pods.retain(|pod| pod.controller().is_none_or(|owner| &*owner.kind == "Job" && *owner.name == *name));
    free(context, pods).await
}

/// Takes the finalizer off pods that need not be counted any more.
async fn free(context: &Context, pods: Vec<Arc<Entry>>) -> Result<(), Error> {
    for pod in pods {
        if super::pod::Pod::of(&pod)?.has_finalizer(TRACKING) {
            write::remove_finalizer::<Pod>(context.client(), &pod, TRACKING).await?;
        }
    }
    Ok(())
}
