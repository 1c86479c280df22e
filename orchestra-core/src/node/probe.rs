//! Probes of running containers: one task for each, which lives as long as the container does.
//!
//! How many successes and failures make a verdict is [`Counter`], which is pure; the tasks only wait, ask, and put the
//! verdict where the pod's loop finds it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Wanted, ObjectReference, Pod, Probe};
use tokio::task::JoinHandle;

use super::backoff::{add, between};
use super::context::{Context, about};
use super::handlers::{Handler, Outcome, run};
use super::mailbox::Mailbox;
use super::model::{FailedProbe, Memory, Observed, Probed, containers};
use crate::runtime::{ContainerId, ContainerState};

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

type Verdicts = Arc<Mutex<BTreeMap<ContainerId, Probed>>>;

/// The probes of one pod.
pub(super) struct Probes {
    verdicts: Verdicts,
    tasks: BTreeMap<(ContainerId, ProbeKind), JoinHandle<()>>,
    mailbox: Arc<Mailbox>,
}

impl Probes {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { verdicts: Verdicts::default(), tasks: BTreeMap::new(), mailbox }
    }

    /// Starts probes of containers that began to run, ends those of containers that no longer do, and tells what was
    /// found. A pod that is being deleted is no longer asked whether it must be restarted.
    pub(super) fn sync(&mut self, ctx: &Arc<Context>, pod: &Arc<Pod>, seen: &Observed, memory: &mut Memory) {
        let ending = memory.gone || pod.metadata.deletion_timestamp.is_some();
        let ip = memory.attached.as_ref().and_then(|(_, ips)| ips.first().copied());
        let host_ip = ctx.facts.host_ips.first().copied();
        let on_host = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        let ip = if on_host { host_ip } else { ip };
        let mut running = Vec::new();
        for (_, wanted) in pod.spec.iter().flat_map(containers) {
            if ProbeKind::ALL.iter().all(|kind| kind.of(wanted).is_none()) {
                continue;
            }
            let Some(life) = seen.latest(&wanted.name) else { continue };
            let ContainerState::Running { started_at } = life.state else { continue };
            running.push(life.id.clone());
            self.lock().entry(life.id.clone()).or_insert(Probed {
                started: wanted.startup_probe.is_none(),
                ready: wanted.readiness_probe.is_none(),
                failed: None,
            });
            for kind in ProbeKind::ALL {
                let wants = kind.of(wanted).and_then(|probe| Some((probe, Handler::of_probe(probe)?)));
                let key = (life.id.clone(), kind);
                let Some((probe, handler)) = wants.filter(|_| !self.tasks.contains_key(&key)) else {
                    continue;
                };
                let worker = Worker {
                    ctx: ctx.clone(),
                    about: about(pod, Some(&wanted.name)),
                    wanted: wanted.clone(),
                    id: life.id.clone(),
                    ip,
                    kind,
                    probe: probe.clone(),
                    handler,
                    started_at,
                    verdicts: self.verdicts.clone(),
                    mailbox: self.mailbox.clone(),
                };
                self.tasks.insert(key, tokio::spawn(worker.run()));
            }
        }
        self.drop_others(&running, ending);
        memory.probed = self.lock().clone();
    }

    fn drop_others(&mut self, running: &[ContainerId], ending: bool) {
        self.tasks.retain(|(id, kind), task| {
            let keep = running.contains(id) && !(ending && *kind != ProbeKind::Readiness);
            if !keep {
                task.abort();
            }
            keep
        });
        self.lock().retain(|id, _| running.contains(id));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ContainerId, Probed>> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

struct Worker {
    ctx: Arc<Context>,
    about: ObjectReference,
    wanted: Wanted,
    id: ContainerId,
    ip: Option<IpAddr>,
    kind: ProbeKind,
    probe: Probe,
    handler: Handler,
    started_at: Timestamp,
    verdicts: Verdicts,
    mailbox: Arc<Mailbox>,
}

impl Worker {
    async fn run(self) {
        let seconds = |value: Option<i32>, default: i32| {
            Duration::from_secs(u64::from(value.filter(|v| *v > 0).unwrap_or(default).unsigned_abs()))
        };
        let period = seconds(self.probe.period_seconds, 10);
        let timeout = seconds(self.probe.timeout_seconds, 1);
        let first = add(self.started_at, seconds(self.probe.initial_delay_seconds, 0));
        self.ctx.clock().sleep(between(self.ctx.now(), first)).await;
        let mut counter = Counter::new(&self.probe);
        loop {
            if self.may_ask() && !self.ask(&mut counter, timeout).await {
                return;
            }
            self.ctx.clock().sleep(period).await;
        }
    }

    /// A startup probe asks until it has passed; the others wait for that.
    fn may_ask(&self) -> bool {
        let started = self.verdict().is_some_and(|probed| probed.started);
        started != (self.kind == ProbeKind::Startup)
    }

    /// Asks once. Whether to go on.
    async fn ask(&self, counter: &mut Counter, timeout: Duration) -> bool {
        let outcome = run(&self.ctx, &self.handler, &self.wanted, &self.id, self.ip, timeout).await;
        let success = match outcome {
            Outcome::Success => true,
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
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
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
            self.mailbox.poke();
        }
        go_on
    }

    fn verdict(&self) -> Option<Probed> {
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner).get(&self.id).copied()
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
