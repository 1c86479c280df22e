//! The loop of one pod: look, decide, do, report; then sleep until something happens.
//!
//! Between rounds it holds the pod's encoded object and a small [`Memory`], and no timer unless something is due. Steps
//! that take long (a pull, a grace period) are given up as soon as the pod is to end sooner; every step can be.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::apply::{Applied, Executor};
use super::backoff::{add, between};
use super::context::Context;
use super::mailbox::{Ending, Mailbox, ending_of};
use super::model::{Memory, Observed, containers};
use super::plan::{Step, plan};
use super::probe::Probes;
use super::report::{Reported, finish, report};
use super::status::status;
use super::unsupported;
use crate::runtime::RuntimeError;
use crate::watch::Entry;

/// How long steps may take before the pod's status is reported as it was before them.
const REPORT_AFTER: Duration = Duration::from_millis(100);
/// How long to wait before a runtime or API that is away is asked again: doubling from the first to the second.
const AWAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// The loop of one pod.
pub(super) struct PodLoop {
    ctx: Arc<Context>,
    mailbox: Arc<Mailbox>,
    entry: Arc<Entry>,
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
    pub(super) fn new(ctx: Arc<Context>, mailbox: Arc<Mailbox>, entry: Arc<Entry>) -> Self {
        let memory = Memory { first_seen: Some(ctx.now()), ..Memory::default() };
        Self { ctx, probes: Probes::new(mailbox.clone()), mailbox, entry, memory, failures: 0 }
    }

    pub(super) async fn run(mut self) {
        loop {
            let mail = self.mailbox.take();
            if let Some(entry) = mail.entry.filter(|entry| entry.revision() >= self.entry.revision()) {
                self.entry = entry;
            }
            self.memory.gone |= mail.gone;
            // The round's future is large and the pod is mostly idle: it lives on the heap, and only while it runs.
            match Box::pin(self.round()).await {
                Next::Now => {}
                Next::Wait(None) => self.mailbox.filled().await,
                Next::Wait(Some(at)) => {
                    let sleep = self.ctx.clock().sleep(between(self.ctx.now(), at));
                    tokio::select! { () = self.mailbox.filled() => {}, () = sleep => {} }
                }
                Next::Done => return,
            }
        }
    }

    async fn round(&mut self) -> Next {
        let pod: Arc<Pod> = match self.entry.decode::<Pod>() {
            Ok(pod) => Arc::new(pod),
            Err(error) => {
                tracing::error!(pod = %self.entry.name(), %error, "cannot read the pod");
                return Next::Wait(None);
            }
        };
        let seen = match self.observe(&pod).await {
            Ok(seen) => seen,
            Err(error) => return self.away(&error.to_string()),
        };
        let now = self.ctx.now();
        let plan = plan(&pod, &seen, &self.memory, now);
        tracing::trace!(pod = %self.entry.name(), %plan, "planned");
        let current = status(&pod, &seen, &self.memory, &self.ctx.facts, now);
        match plan.steps.as_slice() {
            [] => match self.tell(&pod, current).await {
                Reported::Done => {
                    self.failures = 0;
                    Next::Wait(plan.wake)
                }
                Reported::Gone => Next::Wait(plan.wake),
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
        let wanted = pod.spec.as_ref();
        let running = |name: &str| seen.latest(name).is_some_and(|life| life.state.is_running());
        for (_, container) in wanted.iter().flat_map(|spec| containers(spec)) {
            if running(&container.name) {
                self.memory.waiting.remove(&container.name);
            }
        }
        self.probes.sync(&self.ctx, pod, &seen, &mut self.memory);
        let supported = self.ctx.runtime.capabilities().fields;
        self.memory.refused = unsupported::field(pod, &supported).map(|field| {
            format!("{field} is not supported by the runtime {:?} of this node", self.ctx.facts.runtime)
        });
        Ok(seen)
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
        let ending = if self.memory.gone { Ending::Gone } else { ending_of(&self.entry) };
        let (ctx, mailbox, entry) = (self.ctx.clone(), self.mailbox.clone(), self.entry.clone());
        let slow = async {
            ctx.clock().sleep(REPORT_AFTER).await;
            if let (_, Some(newer)) = report(&ctx, &entry, pod, before).await {
                mailbox.put(newer);
            }
            std::future::pending().await
        };
        let mut executor = Executor { ctx: &ctx, pod, seen, memory: &mut self.memory };
        let applied = tokio::select! {
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
            Reported::Done | Reported::Gone => {
                let only_waits =
                    again.steps.iter().all(|step| matches!(step, Step::BackOff { .. } | Step::Refuse(_)));
                if only_waits { Next::Wait(again.wake.or(wake)) } else { Next::Now }
            }
            Reported::Stale => self.away("the pod has changed"),
            Reported::Failed(why) => self.away(&why),
        }
    }

    async fn tell(&mut self, pod: &Pod, status: PodStatus) -> Reported {
        let (reported, newer) = report(&self.ctx, &self.entry, pod, status).await;
        self.entry = newer.unwrap_or_else(|| self.entry.clone());
        reported
    }

    /// Everything has ended: the last status, and then the pod leaves the API.
    async fn finish(&mut self, pod: &Pod, last: PodStatus) -> Next {
        match self.tell(pod, last).await {
            Reported::Done => {}
            Reported::Gone => return Next::Wait(None),
            Reported::Stale => return self.away("the pod has changed"),
            Reported::Failed(why) => return self.away(&why),
        }
        match finish(&self.ctx, pod).await {
            Reported::Failed(why) => self.away(&why),
            // The watch will say that it is gone. Should it stay, for a finalizer, nothing is left to do here.
            _ => Next::Wait(None),
        }
    }

    /// Waits for a runtime or an API that is away, longer each time.
    fn away(&mut self, why: &str) -> Next {
        let wait = AWAY.0.saturating_mul(1 << self.failures.min(8)).min(AWAY.1);
        self.failures += 1;
        tracing::debug!(pod = %self.entry.name(), why, ?wait, "trying again later");
        Next::Wait(Some(add(self.ctx.now(), wait)))
    }
}
