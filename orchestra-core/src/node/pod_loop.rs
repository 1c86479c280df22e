//! The loop of one pod: look, decide, do, report; then sleep until something happens.
//!
//! Between rounds it holds the pod's encoded object and a small [`Memory`], and no timer unless something is due. Steps
//! that take long (a pull, a grace period) are given up as soon as the pod is to end sooner; every step can be.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::admission::{self, Fault, Newcomer, UNEXPECTED};
use super::apply::{Applied, Executor};
use super::backoff::{add, between};
use super::context::{Context, about};
use super::followed::Following;
use super::mailbox::{Ending, Mail, Mailbox};
use super::model::{Failure, Memory, Observed, is_terminal};
use super::plan::{Step, plan};
use super::preempt::{self, Tenant};
use super::probe::Probes;
use super::report::{Reported, finish, report};
use super::sources::Needs;
use super::status::status;
use super::{
    devices, growth, mirror, own_node, pulling, resize, room, shutdown, static_pods, storage, unsupported,
};
use crate::runtime::RuntimeError;
use crate::scheduler::Resources;
use crate::supervise::Backoff;
use crate::watch::{Entry, EntryError};

/// How long steps may take before the pod's status is reported as it was before them.
const REPORT_AFTER: Duration = Duration::from_millis(100);
/// How soon it is looked again whether others have made way.
const MAKING_WAY: Duration = Duration::from_secs(1);
/// What goes before the reason why nobody can make way for a pod.
const RECOVERY: &str = "Unexpected error while attempting to recover from admission failure: preemption: error finding a set \
                        of pods to preempt";
/// How long to wait before a runtime or API that is away is asked again.
const AWAY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));

/// The loop of one pod.
pub(super) struct PodLoop {
    ctx: Arc<Context>,
    mailbox: Arc<Mailbox>,
    entry: Arc<Entry>,
    /// What the pod was read as, and of which entry: kept from one round to the next, and not while nothing happens.
    read: Option<(Arc<Entry>, Arc<Pod>)>,
    memory: Memory,
    probes: Probes,
    failures: u32,
}

enum Next {
    /// Look again at once.
    Now,
    /// Look again when something happens, or at a time.
    Wait(Option<Timestamp>),
    /// The pod is gone.
    Done,
}

impl PodLoop {
    /// The loop of the pod that a mailbox is for. It needs nothing that a loop before it knew. It is on the heap, as a future
    /// would hold what it is begun with beside what it works on.
    pub(super) fn new(ctx: Arc<Context>, mailbox: Arc<Mailbox>) -> Box<Self> {
        let Mail { entry, gone, .. } = mailbox.take();
        let memory = Memory { first_seen: Some(ctx.now()), gone, ..Memory::default() };
        let probes = Probes::new(mailbox.clone());
        Box::new(Self { ctx, probes, mailbox, entry, read: None, memory, failures: 0 })
    }

    /// Runs until nothing of the pod is left.
    pub(super) async fn run(mut self: Box<Self>) {
        let _following = self.follow_sources();
        loop {
            let mail = self.mailbox.take();
            if mail.entry.revision() >= self.entry.revision() {
                self.entry = mail.entry;
            }
            self.memory.gone = mail.gone;
            if let Some(why) = mail.evicted {
                self.evict(why);
            }
            self.memory.room_is_needed |= mail.room_is_needed;
            if mail.sources_changed {
                self.memory.sources_changed(self.ctx.now());
            }
            // The round's future is large and the pod is mostly idle: it lives on the heap, and only while it runs.
            let next = Box::pin(self.round()).await;
            if matches!(next, Next::Wait(_)) {
                self.read = None;
            }
            match next {
                Next::Now => {}
                Next::Wait(None) => self.mailbox.filled().await,
                Next::Wait(Some(at)) => {
                    let sleep = self.ctx.clock().sleep(between(self.ctx.now(), at));
                    tokio::select! { biased; () = self.mailbox.filled() => {}, () = sleep => {} }
                }
                Next::Done => return,
            }
        }
    }

    /// Has the loop told when something changes that the pod refers to, for as long as the answer is kept. What that is
    /// does not change while a pod lives.
    fn follow_sources(&mut self) -> Option<Following> {
        let pod = self.pod().ok()?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let needs = Needs::of_pod(pod.spec.as_ref()?);
        (!self.memory.gone && !needs.is_empty())
            .then(|| self.ctx.followed.follow(&self.ctx.client, namespace, &needs, &self.mailbox))
    }

    /// The pod as the API has it, read once for each state of it.
    fn pod(&mut self) -> Result<Arc<Pod>, EntryError> {
        if let Some((of, pod)) = &self.read
            && Arc::ptr_eq(of, &self.entry)
        {
            return Ok(Arc::clone(pod));
        }
        let pod: Arc<Pod> = Arc::new(self.entry.decode_bare()?);
        self.read = Some((Arc::clone(&self.entry), Arc::clone(&pod)));
        Ok(pod)
    }

    async fn round(&mut self) -> Next {
        let pod = match self.pod() {
            Ok(pod) => pod,
            Err(error) => {
                tracing::error!(pod = %self.entry.name(), %error, "cannot read the pod");
                return Next::Wait(None);
            }
        };
        let seen = match self.observe(&pod).await {
            Ok(seen) => seen,
            Err(error) => return self.away(&error.to_string()),
        };
        if self.ctx.ending.is_cancelled() && seen.sandboxes.is_empty() && !is_terminal(&pod) {
            self.evict(shutdown::rejection());
        }
        if !self.admit(&pod, &seen).await {
            return Next::Wait(Some(add(self.ctx.now(), MAKING_WAY)));
        }
        let now = self.ctx.now();
        let plan = plan(&pod, &seen, &self.memory, now);
        tracing::trace!(pod = %self.entry.name(), %plan, "planned");
        let current = status(&pod, &seen, &self.memory, &self.ctx.facts, now);
        let has_ended = matches!(current.phase.as_deref(), Some("Succeeded" | "Failed"));
        if (has_ended || plan.steps == [Step::Finish]) && !seen.is_up() {
            // Before anybody is told: whoever takes its place may want its devices, and its room.
            self.ctx.ledger.free(self.entry.uid().as_str());
            self.ctx.room.free(self.entry.uid().as_str());
        }
        match plan.steps.as_slice() {
            [] => match self.tell(&pod, current).await {
                Reported::Done => {
                    self.failures = 0;
                    Next::Wait(plan.wake)
                }
                Reported::NotFound => Next::Wait(plan.wake),
                Reported::Stale => self.away("the pod has changed"),
                Reported::Failed(why) => self.away(&why),
            },
            [Step::Finish] => self.finish(&pod, current).await,
            steps => self.work(&pod, &seen, steps.to_vec(), current, plan.wake).await,
        }
    }

    async fn observe(&mut self, pod: &Arc<Pod>) -> Result<Observed, RuntimeError> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let seen = Observed::new(self.ctx.runtime.list(&self.ctx.filter(uid)).await?);
        super::messages::collect(&self.ctx, pod, &seen, &mut self.memory).await;
        let running = |name: &str| seen.latest(name).is_some_and(|life| life.state.is_running());
        self.memory.waiting.retain(|name, _| !running(name));
        self.probes.sync(&self.ctx, pod, &seen, &mut self.memory);
        self.check_storage(pod, &seen).await;
        self.check_growth(pod).await;
        let devices = devices::health(&self.ctx, uid);
        if !devices.is_empty() {
            self.memory.devices = devices;
        }
        let supported = self.ctx.runtime.capabilities().fields;
        self.memory.refused = unsupported::field(pod, &supported)
            .map(|field| unsupported::refusal(&field, &self.ctx.facts.runtime));
        Ok(seen)
    }

    /// Sees that a pod may run here before anything of it begins. One that has begun has what it has. Whether all is settled:
    /// not as long as others make way.
    async fn admit(&mut self, pod: &Pod, seen: &Observed) -> bool {
        let ends = self.memory.failure.is_some() || self.entry.is_deleting();
        let is_over = self.memory.gone || is_terminal(pod) || ends && seen.sandboxes.is_empty();
        if self.memory.admitted || is_over {
            return true;
        }
        if !self.memory.goes_in_for.is_empty() {
            self.memory.goes_in_for.retain(|uid| self.ctx.room.is_held_by(uid));
            self.memory.admitted = self.memory.goes_in_for.is_empty();
            return self.memory.admitted;
        }
        let has_begun = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if has_begun || !seen.sandboxes.is_empty() {
            self.ctx.room.note(self.entry.uid().as_str(), room::held(&self.entry, pod));
            self.memory.allotted = Some(resize::allotted_before(pod));
        } else {
            match self.let_in(pod).await {
                Ok(others) => {
                    self.memory.allotted = Some(resize::all_asked(pod));
                    self.memory.admitted = others.is_empty();
                    self.memory.goes_in_for = others;
                    return self.memory.admitted;
                }
                Err((reason, why)) => {
                    self.reject(reason, why);
                    return true;
                }
            }
        }
        self.memory.admitted = true;
        true
    }

    /// Gives a newcomer what it asks for, and says who has to go for that before it begins; or by what reason and why it is not
    /// let in.
    async fn let_in(&self, pod: &Pod) -> Result<Vec<String>, (String, String)> {
        let (ctx, uid) = (&*self.ctx, self.entry.uid().as_str());
        if let Some((reason, why)) = admission::wrong_system(pod, &ctx.machine.os) {
            return Err((reason.to_owned(), why.to_owned()));
        }
        let devices = ctx.plugins.as_ref().map(|plugins| plugins.resources()).unwrap_or_default();
        let newcomer = Newcomer::of(&self.entry, pod, |resource| devices.contains_key(resource));
        let newcomer = newcomer.map_err(|error| (UNEXPECTED.to_owned(), error.to_string()))?;
        let now = ctx.clock().elapsed();
        // A static pod may be what the API is made of.
        let mut node = match static_pods::is_static(&self.entry) {
            true => ctx.own_node.known().await,
            false => ctx.own_node.since(&ctx.client, now.saturating_sub(own_node::FRESH)).await,
        };
        let mut found = ctx.room.admit(uid, &newcomer, &node);
        if found.as_ref().is_err_and(|faults| faults.iter().any(Fault::is_of_node)) {
            node = ctx.own_node.since(&ctx.client, now).await;
            found = ctx.room.admit(uid, &newcomer, &node);
        }
        let Err(faults) = found else { return Ok(Vec::new()) };
        if newcomer.has_way_made(&faults) {
            let made = ctx.room.promise(uid, &newcomer, &node, |faults, has| self.make_way(pod, faults, has));
            return made.map_err(|why| (UNEXPECTED.to_owned(), format!("{RECOVERY}: {why}")));
        }
        let told = newcomer.told(&faults);
        told.map_or(Ok(Vec::new()), |fault| Err((fault.reason(), fault.to_string())))
    }

    /// Tells pods that they have to go for this one, which lacks nothing but room.
    fn make_way(
        &self,
        pod: &Pod,
        faults: &[Fault],
        has: &dyn Fn(&str) -> Option<Resources>,
    ) -> Result<Vec<String>, String> {
        let residents = &self.ctx.residents;
        let pods =
            residents.all().into_iter().filter_map(|mailbox| mailbox.entry().decode_bare::<Pod>().ok());
        let tenant = |pod: Pod| {
            let uid = pod.metadata.uid.clone()?;
            Some(Tenant { has: has(&uid)?, uid, pod })
        };
        let tenants: Vec<Tenant> = pods.filter_map(tenant).collect();
        let victims = preempt::victims(pod, &tenants, faults)?;
        for mailbox in victims.iter().filter_map(|uid| residents.get(uid)) {
            let (reason, message) = (preempt::PREEMPTED.to_owned(), preempt::WHY.to_owned());
            mailbox.put_evicted(Failure { reason, message, grace: None });
        }
        Ok(victims)
    }

    /// The pod is not let in.
    fn reject(&mut self, reason: String, why: String) {
        if let Ok(pod) = self.entry.decode_bare::<Pod>() {
            self.ctx.warning(&about(&pod, None), &reason, why.clone());
        }
        self.memory.failure.get_or_insert_with(|| admission::rejected(reason, &why));
    }

    /// The pod has to go, unless it is on its way already.
    fn evict(&mut self, why: Failure) {
        if self.memory.failure.is_some() || self.memory.gone || self.entry.is_deleting() {
            return;
        }
        if let Ok(pod) = self.entry.decode_bare::<Pod>() {
            self.ctx.warning(&about(&pod, None), &why.reason, why.message.clone());
        }
        self.memory.failure = Some(why);
    }

    /// Looks how much of the node's disk the pod takes, when it is time.
    async fn check_storage(&mut self, pod: &Pod, seen: &Observed) {
        let limited = pod.spec.as_ref().filter(|spec| storage::is_limited(spec) && seen.is_running());
        let Some(spec) = limited else { return self.memory.storage_due = None };
        let now = self.ctx.now();
        if self.memory.storage_due.is_some_and(|due| now < due) {
            return;
        }
        let taken = storage::taken(&self.ctx, pod).await;
        if let Some(why) = storage::exceeded(spec, &taken) {
            self.evict(why);
        }
        self.memory.storage_due = Some(add(now, storage::PERIOD));
    }

    /// Looks whether a volume of the pod is to have more room, when it is time.
    async fn check_growth(&mut self, pod: &Pod) {
        let (now, memory) = (self.ctx.now(), &mut self.memory);
        if memory.growth_due.is_some_and(|due| due <= now) {
            let are_shown = !memory.gone && !memory.volumes_taken_back;
            memory.growth_due = are_shown.then(|| add(now, growth::PERIOD));
            if are_shown {
                growth::look(&self.ctx, pod, memory).await;
            }
        }
    }

    /// Carries out a plan. The status from before is reported if that takes long.
    async fn work(
        &mut self,
        pod: &Arc<Pod>,
        seen: &Observed,
        steps: Vec<Step>,
        before: PodStatus,
        wake: Option<Timestamp>,
    ) -> Next {
        let ending = if self.memory.gone { Ending::Removed } else { Ending::of(&self.entry) };
        let (ctx, mailbox, entry) = (self.ctx.clone(), self.mailbox.clone(), self.entry.clone());
        let slow = async {
            ctx.clock().sleep(REPORT_AFTER).await;
            if let (_, Some(newer)) = say(&ctx, &entry, pod, before.clone()).await {
                mailbox.put_written(newer);
            }
            tell_of_pulls(&ctx, &mailbox, before).await
        };
        let mut executor = Executor { ctx: &ctx, pod, seen, memory: &mut self.memory };
        let applied = tokio::select! {
            biased;
            applied = executor.carry_out(steps) => applied,
            never = slow => never,
            () = mailbox.ending_other_than(ending) => return Next::Now,
        };
        match applied {
            Applied::All => {
                self.failures = 0;
                Next::Now
            }
            Applied::Waiting => self.after_waiting(pod, wake).await,
            Applied::Released => Next::Done,
            Applied::Away(why) => self.away(&why),
        }
    }

    /// Only containers that wait were left to do: say so, and wait.
    async fn after_waiting(&mut self, pod: &Arc<Pod>, wake: Option<Timestamp>) -> Next {
        let seen = match self.observe(pod).await {
            Ok(seen) => seen,
            Err(error) => return self.away(&error.to_string()),
        };
        let now = self.ctx.now();
        let again = plan(pod, &seen, &self.memory, now);
        let current = status(pod, &seen, &self.memory, &self.ctx.facts, now);
        match self.tell(pod, current).await {
            Reported::Done | Reported::NotFound => {
                let only_waits =
                    again.steps.iter().all(|step| matches!(step, Step::BackOff { .. } | Step::Refuse(_)));
                if only_waits { Next::Wait(again.wake.or(wake)) } else { Next::Now }
            }
            Reported::Stale => self.away("the pod has changed"),
            Reported::Failed(why) => self.away(&why),
        }
    }

    async fn tell(&mut self, pod: &Pod, status: PodStatus) -> Reported {
        let (reported, newer) = say(&self.ctx, &self.entry, pod, status).await;
        self.entry = newer.unwrap_or_else(|| self.entry.clone());
        reported
    }

    /// Everything has ended: the last status, and then the pod leaves the API.
    async fn finish(&mut self, pod: &Pod, last: PodStatus) -> Next {
        if static_pods::is_static(&self.entry) {
            // Its mirror goes when the loop has ended, API or not.
            self.mailbox.put_gone(None);
            return Next::Now;
        }
        match self.tell(pod, last).await {
            Reported::Done => {}
            Reported::NotFound => return Next::Wait(None),
            Reported::Stale => return self.away("the pod has changed"),
            Reported::Failed(why) => return self.away(&why),
        }
        match finish(&self.ctx, pod).await {
            Reported::Failed(why) => self.away(&why),
            // Of a pod that another has the name of, the watch will say that it is gone; until then it may only have been
            // written at the same time, and would stay for ever.
            Reported::Stale => self.away("the pod has changed"),
            // The watch will say that it is gone. Should it stay, for a finalizer, nothing is left to do here.
            _ => Next::Wait(None),
        }
    }

    /// Waits for a runtime or an API that is away, longer each time.
    fn away(&mut self, why: &str) -> Next {
        let wait = AWAY.pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        tracing::debug!(pod = %self.entry.name(), why, ?wait, "trying again later");
        Next::Wait(Some(add(self.ctx.now(), wait)))
    }
}

/// Brings a pod's status up to date while an image is pulled, until it is dropped.
async fn tell_of_pulls(ctx: &Context, mailbox: &Mailbox, before: PodStatus) -> Applied {
    let mut known = None;
    loop {
        ctx.clock().sleep(pulling::SAID_EVERY).await;
        let entry = mailbox.entry();
        let said = ctx.pulling.said(entry.uid().as_str());
        if said == known {
            continue;
        }
        known.clone_from(&said);
        let (Some((container, message)), Ok(pod)) = (said, entry.decode_bare::<Pod>()) else { continue };
        let status = pulling::with_message(before.clone(), &container, message);
        if let (_, Some(newer)) = say(ctx, &entry, &pod, status).await {
            mailbox.put_written(newer);
        }
    }
}

/// Writes the status of a pod where the API shows it.
async fn say(ctx: &Context, entry: &Entry, pod: &Pod, status: PodStatus) -> (Reported, Option<Arc<Entry>>) {
    match static_pods::is_static(entry) {
        true => mirror::report(ctx, entry, pod, status).await,
        false => report(ctx, entry, pod, status).await,
    }
}
