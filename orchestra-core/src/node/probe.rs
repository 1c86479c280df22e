//! Probes of running containers: one task for each, which lives as long as the container does.
//!
//! How many successes and failures make a verdict is [`Counter`], which is pure; the tasks only wait, ask, and put the
//! verdict where the pod's loop finds it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Wanted, ObjectReference, Pod, Probe};

use super::backoff::{add, between};
use super::context::{Context, about};
use super::handlers::{Handler, Outcome, run};
use super::mailbox::Mailbox;
use super::model::{FailedProbe, Memory, Observed, Probed, containers, reported};
use crate::runtime::{ContainerId, ContainerState};
use crate::signal::Signal;
use crate::supervise::Task;

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Whether the container has started; the others wait for it.
    Startup,
    /// Whether it must be restarted.
    Liveness,
    /// Whether it takes traffic.
    Readiness,
}

impl ProbeKind {
    const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    fn of(self, wanted: &Wanted) -> Option<&Probe> {
        match self {
            Self::Startup => wanted.startup_probe.as_ref(),
            Self::Liveness => wanted.liveness_probe.as_ref(),
            Self::Readiness => wanted.readiness_probe.as_ref(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// Turns single answers into verdicts: only so many in a row count.
#[derive(Debug, Clone)]
pub struct Counter {
    success_threshold: i32,
    failure_threshold: i32,
    last: Option<bool>,
    run: i32,
}

impl Counter {
    /// A counter with a probe's thresholds.
    pub fn new(probe: &Probe) -> Self {
        Self {
            success_threshold: probe.success_threshold.unwrap_or(1).max(1),
            failure_threshold: probe.failure_threshold.unwrap_or(3).max(1),
            last: None,
            run: 0,
        }
    }

    /// Counts an answer. The verdict, when there is one now.
    pub fn count(&mut self, success: bool) -> Option<bool> {
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        let enough = if success { self.success_threshold } else { self.failure_threshold };
        (self.run >= enough).then_some(success)
    }
}

/// What the loop of a pod and its probes tell each other while the probes run.
struct Shared {
    verdicts: Mutex<BTreeMap<ContainerId, Probed>>,
    /// Where the pod is reached. A pod that was adopted has no address until its sandbox is connected again, and one
    /// whose sandbox was made anew has another.
    address: Signal<Option<IpAddr>>,
    mailbox: Arc<Mailbox>,
}

impl Shared {
    fn verdicts(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Probed>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verdict(&self, id: &ContainerId) -> Option<Probed> {
        self.verdicts().get(id).copied()
    }
}

/// The probes of one pod. Dropping them ends their tasks.
pub(super) struct Probes {
    shared: Arc<Shared>,
    tasks: BTreeMap<(ContainerId, ProbeKind), Task>,
}

impl Probes {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        let shared = Shared { verdicts: Mutex::default(), address: Signal::new(None), mailbox };
        Self { shared: Arc::new(shared), tasks: BTreeMap::new() }
    }

    /// Starts probes of containers that began to run, ends those of containers that no longer do, and tells what was
    /// found. A pod that is being deleted is no longer asked whether it must be restarted.
    pub(super) fn sync(&mut self, ctx: &Arc<Context>, pod: &Pod, seen: &Observed, memory: &mut Memory) {
        let address = address_of(ctx, pod, memory);
        self.shared.address.change(|known| std::mem::replace(known, address) != address);
        let mut running = Vec::new();
        for (_, wanted) in pod.spec.iter().flat_map(containers) {
            if ProbeKind::ALL.iter().all(|kind| kind.of(wanted).is_none()) {
                continue;
            }
            let Some(life) = seen.latest(&wanted.name) else { continue };
            let ContainerState::Running { started_at } = life.state else { continue };
            running.push(life.id.clone());
            let first = || first_verdict(ctx, pod, wanted, &life.id);
            self.shared.verdicts().entry(life.id.clone()).or_insert_with(first);
            for kind in ProbeKind::ALL {
                self.start(ctx, pod, wanted, &life.id, kind, started_at);
            }
        }
        let ending = memory.gone || pod.metadata.deletion_timestamp.is_some();
        self.drop_others(&running, ending);
        memory.probed = self.shared.verdicts().clone();
    }

    fn start(
        &mut self,
        ctx: &Arc<Context>,
        pod: &Pod,
        wanted: &Wanted,
        id: &ContainerId,
        kind: ProbeKind,
        started_at: Timestamp,
    ) {
        let key = (id.clone(), kind);
        if self.tasks.contains_key(&key) {
            return;
        }
        let Some((probe, handler)) = kind.of(wanted).and_then(|p| Some((p, Handler::of_probe(p)?))) else {
            return;
        };
        let worker = Arc::new(Worker {
            ctx: ctx.clone(),
            about: about(pod, Some(&wanted.name)),
            wanted: wanted.clone(),
            id: id.clone(),
            kind,
            probe: probe.clone(),
            handler,
            started_at,
            shared: self.shared.clone(),
        });
        let label = format!("{} probe of {}", kind.word(), wanted.name);
        let task = Task::start(label, ctx.clock().clone(), move || Arc::clone(&worker).run());
        self.tasks.insert(key, task);
    }

    fn drop_others(&mut self, running: &[ContainerId], ending: bool) {
        let keep = |id: &ContainerId, kind| running.contains(id) && !(ending && kind != ProbeKind::Readiness);
        self.tasks.retain(|(id, kind), _| keep(id, *kind));
        self.shared.verdicts().retain(|id, _| running.contains(id));
    }
}

/// Where a pod is reached, if that is known.
fn address_of(ctx: &Context, pod: &Pod, memory: &Memory) -> Option<IpAddr> {
    if pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true) {
        return ctx.facts.host_ips.first().copied();
    }
    memory.attached.as_ref().and_then(|(_, ips)| ips.first().copied())
}

/// What counts until a probe has said something: what the pod's status says of this very container, so that an agent
/// that restarts takes no pod out of its services; else that it has neither started nor is ready.
fn first_verdict(ctx: &Context, pod: &Pod, wanted: &Wanted, id: &ContainerId) -> Probed {
    let shown_id = ctx.facts.shown_id(id);
    let reported = reported(pod, &wanted.name).filter(|known| known.container_id.as_ref() == Some(&shown_id));
    Probed {
        started: wanted.startup_probe.is_none() || reported.is_some_and(|known| known.started == Some(true)),
        ready: wanted.readiness_probe.is_none() || reported.is_some_and(|known| known.ready),
        failed: None,
    }
}

struct Worker {
    ctx: Arc<Context>,
    about: ObjectReference,
    wanted: Wanted,
    id: ContainerId,
    kind: ProbeKind,
    probe: Probe,
    handler: Handler,
    started_at: Timestamp,
    shared: Arc<Shared>,
}

impl Worker {
    async fn run(self: Arc<Self>) {
        let seconds = |value: Option<i32>, default: i32| {
            Duration::from_secs(u64::from(value.filter(|v| *v > 0).unwrap_or(default).unsigned_abs()))
        };
        let period = seconds(self.probe.period_seconds, 10);
        let timeout = seconds(self.probe.timeout_seconds, 1);
        let first = add(self.started_at, seconds(self.probe.initial_delay_seconds, 0));
        self.ctx.clock().sleep(between(self.ctx.now(), first)).await;
        let mut counter = Counter::new(&self.probe);
        loop {
            if self.may_ask() && !self.probe_once(&mut counter, timeout).await {
                return;
            }
            self.ctx.clock().sleep(period).await;
        }
    }

    /// A startup probe asks until it has passed; the others wait for that.
    fn may_ask(&self) -> bool {
        let started = self.shared.verdict(&self.id).is_some_and(|probed| probed.started);
        started != (self.kind == ProbeKind::Startup)
    }

    /// Where the pod is reached, once that is known.
    async fn address(&self) -> Option<IpAddr> {
        if !self.handler.needs_address() {
            return self.shared.address.get();
        }
        self.shared.address.until(Option::is_some).await
    }

    /// Probes once. Whether to go on.
    async fn probe_once(&self, counter: &mut Counter, timeout: Duration) -> bool {
        let address = self.address().await;
        let outcome = run(&self.ctx, &self.handler, &self.wanted, &self.id, address, timeout).await;
        let result = match outcome {
            Outcome::Success | Outcome::Warning(_) => "successful",
            Outcome::Failure(_) => "failed",
            Outcome::Unknown(_) => "unknown",
        };
        self.ctx.probes.count(&self.about, &self.wanted.name, self.kind.word(), result);
        let success = match outcome {
            Outcome::Success => true,
            Outcome::Warning(message) => {
                let message = format!("{} probe warning: {message}", self.kind.word());
                self.ctx.warning(&self.about, "ProbeWarning", message);
                true
            }
            Outcome::Failure(message) => {
                let message = format!("{} probe failed: {message}", self.kind.word());
                self.ctx.warning(&self.about, "Unhealthy", message);
                false
            }
            Outcome::Unknown(message) => {
                let message =
                    format!("{} probe errored and resulted in unknown state: {message}", self.kind.word());
                self.ctx.warning(&self.about, "Unhealthy", message);
                return true;
            }
        };
        match counter.count(success) {
            Some(verdict) => self.judge(verdict),
            None => true,
        }
    }

    /// Notes a verdict, and wakes the pod's loop when it is news. Whether to go on asking.
    fn judge(&self, success: bool) -> bool {
        let mut verdicts = self.shared.verdicts();
        let Some(probed) = verdicts.get_mut(&self.id) else { return false };
        let before = *probed;
        let go_on = match (self.kind, success) {
            (ProbeKind::Readiness, ready) => {
                probed.ready = ready;
                true
            }
            (ProbeKind::Startup, true) => {
                probed.started = true;
                false
            }
            (ProbeKind::Startup, false) => {
                probed.failed = Some(FailedProbe::Startup);
                false
            }
            (ProbeKind::Liveness, true) => true,
            (ProbeKind::Liveness, false) => {
                probed.failed = Some(FailedProbe::Liveness);
                false
            }
        };
        let news = *probed != before;
        drop(verdicts);
        if news {
            self.shared.mailbox.poke();
        }
        go_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(success_threshold: i32, failure_threshold: i32, answers: &str) -> String {
        let probe = Probe {
            success_threshold: Some(success_threshold),
            failure_threshold: Some(failure_threshold),
            ..Probe::default()
        };
        let mut counter = Counter::new(&probe);
        let letter = |verdict| match verdict {
            Some(true) => 'S',
            Some(false) => 'F',
            None => '-',
        };
        answers.chars().map(|answer| letter(counter.count(answer == 's'))).collect()
    }

    #[test]
    fn only_so_many_in_a_row_count() {
        for (success, failure, answers, expected) in [
            (1, 3, "s", "S"),
            (1, 3, "fff", "--F"),
            (1, 3, "ffsff", "--S--"),
            (1, 3, "fffff", "--FFF"),
            (2, 1, "sfss", "-F-S"),
            (0, 0, "fs", "FS"),
        ] {
            assert_eq!(verdicts(success, failure, answers), expected, "{answers}");
        }
    }
}
