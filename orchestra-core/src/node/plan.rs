//! What to do next for one pod. Pure: everything it goes by is an argument.
//!
//! A plan is a list of [`Step`]s that leaves the executor nothing to choose. It is carried out from the top until a
//! step fails or the list ends; then the runtime is observed again and a new plan made. So each step has to be right
//! only for what was observed, and an agent that dies between two of them loses nothing.

mod resize;

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container as Wanted, Pod, PodSpec};

use super::backoff::add;
use super::model::{
    FailedProbe, Failure, LEAST_GRACE, Memory, Observed, RestartPolicy, Role, container_hash, containers,
    crash_key, ephemeral, is_terminal, may_have_drivers_volumes, reported, start_time, volumes_are_outdated,
};
use super::resize::Resize;
use crate::runtime::{Container, ContainerId, ContainerState, Sandbox, SandboxId, SandboxState};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Put the pod's volumes on disk.
    PrepareVolumes,
    /// Stop a sandbox that can no longer be used, with what runs in it.
    DropSandbox(SandboxId),
    /// Make a sandbox.
    RunSandbox {
        /// How many there were before.
        attempt: u32,
    },
    /// Connect the sandbox.
    Attach(SandboxId),
    /// Make and start a container.
    Start(Start),
    /// Show that a container waits after it crashed, and for how long in all.
    BackOff {
        /// The container.
        container: String,
        /// The wait.
        wait: Duration,
    },
    /// Stop a container so that it is started anew.
    Kill {
        /// The container.
        container: String,
        /// Its id.
        id: ContainerId,
        /// Why.
        why: KillReason,
    },
    /// Give a running container what its pod asks for by now.
    Resize {
        /// The container.
        container: String,
        /// Its id.
        id: ContainerId,
    },
    /// Give a pod as a whole, and what its limits hold, what it asks for by now.
    ResizePod(SandboxId),
    /// Remove a life of a container that nobody will ask for again.
    Forget(ContainerId),
    /// Remove a sandbox that nothing will run in again, with what is left in it.
    ForgetSandbox(SandboxId),
    /// Start nothing, and say why.
    Refuse(String),
    /// Note that the pod has failed as a whole.
    Fail(Failure),
    /// Stop everything: containers first, sidecars after the others, the sandbox last.
    Terminate {
        /// How long the containers get.
        grace: Duration,
    },
    /// Nothing of the pod runs any more: have drivers take back the volumes that they show to it, which others may wait for.
    TakeBack,
    /// Everything has ended: say how, and take the pod out of the API.
    Finish,
    /// The pod is out of the API: remove what is left of it here.
    Release,
}

/// A container to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Its name.
    pub container: String,
    /// Its role.
    pub role: Role,
    /// How often it was started before.
    pub attempt: u32,
    /// One that was made and not started, by an agent that died meanwhile.
    pub existing: Option<ContainerId>,
    /// When its last life ended, if it had one.
    pub ended: Option<Timestamp>,
}

/// Why a container is stopped though its pod goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KillReason {
    /// A probe failed.
    Probe(FailedProbe),
    /// The pod's spec names another image now.
    Changed,
    /// It asks for more or less now, and is to have that from its start.
    Resized,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// When to look again even if nothing happens.
    pub wake: Option<Timestamp>,
}

impl Plan {
    fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), wake: None }
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// What to do next for a pod.
pub fn plan(pod: &Pod, seen: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    let Some(spec) = &pod.spec else { return Plan::default() };
    if memory.gone {
        let step = if seen.is_up() { Step::Terminate { grace: LEAST_GRACE } } else { Step::Release };
        return Plan::of([step]);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        let step = if seen.is_up() { Step::Terminate { grace: grace(pod, spec) } } else { Step::Finish };
        return Plan::of([step]);
    }
    if is_terminal(pod) || memory.failure.is_some() {
        let most = memory.failure.as_ref().and_then(|failure| failure.grace);
        let grace = most.map_or_else(|| grace(pod, spec), |most| grace(pod, spec).min(most).max(LEAST_GRACE));
        if seen.is_up() {
            return Plan::of([Step::Terminate { grace }]);
        }
        if may_have_drivers_volumes(spec) && !memory.volumes_taken_back {
            return match memory.prepare_not_before.filter(|at| *at > now) {
                Some(until) => Plan { wake: Some(until), ..Plan::default() },
                None => Plan::of([Step::TakeBack]),
            };
        }
        // What its containers have left is kept for whoever asks for their logs, unless the disk is needed.
        let left = seen.sandboxes.iter().filter(|_| memory.room_is_needed && is_terminal(pod));
        return Plan::of(left.map(|sandbox| Step::ForgetSandbox(sandbox.id.clone())));
    }
    let mut plan = Planner { pod, spec, seen, memory, now, plan: Plan::default() };
    plan.live();
    plan.plan
}

/// How long containers get to end: what the deletion says, else the pod; at least [`LEAST_GRACE`].
fn grace(pod: &Pod, spec: &PodSpec) -> Duration {
    let seconds =
        pod.metadata.deletion_grace_period_seconds.or(spec.termination_grace_period_seconds).unwrap_or(30);
    Duration::from_secs(seconds.max(0).unsigned_abs()).max(LEAST_GRACE)
}

struct Planner<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    seen: &'a Observed,
    memory: &'a Memory,
    now: Timestamp,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn live(&mut self) {
        if self.past_deadline() || self.completed() {
            return;
        }
        for due in self.memory.storage_due.into_iter().chain(self.memory.growth_due) {
            self.plan.wake_at(due);
        }
        if let Some(why) = &self.memory.refused {
            return self.step(Step::Refuse(why.clone()));
        }
        match self.seen.ready_sandbox() {
            None => self.prepare(),
            Some(sandbox) if self.memory.attached.as_ref().is_none_or(|(id, _)| *id != sandbox.id) => {
                if !self.must_wait() {
                    self.step(Step::Attach(sandbox.id.clone()));
                }
            }
            Some(sandbox) => {
                let sandbox = sandbox.id.clone();
                if !self.memory.volumes_ready {
                    // Adopted: the volumes are on disk already, but what they refer to may have changed meanwhile.
                    if self.must_wait() {
                        return;
                    }
                    self.step(Step::PrepareVolumes);
                }
                self.refresh_volumes();
                self.added(&sandbox);
                self.resize_pod(&sandbox);
                if self.init(&sandbox) {
                    self.apps(&sandbox);
                }
                self.forget_old_lives();
            }
        }
    }

    fn step(&mut self, step: Step) {
        self.plan.steps.push(step);
    }

    /// Ends a pod that was active for longer than it may.
    fn past_deadline(&mut self) -> bool {
        let Some(seconds) = self.spec.active_deadline_seconds else { return false };
        let Some(start) = start_time(self.pod, self.memory) else { return false };
        let deadline = add(start, Duration::from_secs(seconds.max(0).unsigned_abs()));
        if self.now < deadline {
            self.plan.wake_at(deadline);
            return false;
        }
        self.step(Step::Fail(Failure {
            reason: "DeadlineExceeded".into(),
            message: "Pod was active on the node longer than the specified deadline".into(),
            grace: None,
        }));
        true
    }

    /// Ends a pod of which nothing will run again. Whether it is one.
    fn completed(&mut self) -> bool {
        let policy = RestartPolicy::of_pod(self.spec);
        let over = |(role, wanted): (Role, &Wanted)| {
            let exit = self.seen.latest(&wanted.name).and_then(|life| life.state.exit());
            exit.is_some_and(|exit| !policy.restarts(role, wanted, exit.code))
        };
        let all_over = containers(self.spec).filter(|(role, _)| *role == Role::App).all(over);
        let init_failed = containers(self.spec).any(|(role, wanted)| {
            let exit = self.seen.latest(&wanted.name).and_then(|life| life.state.exit());
            role == Role::Init
                && exit.is_some_and(|exit| exit.code != 0 && !policy.restarts(role, wanted, exit.code))
        });
        if !all_over && !init_failed {
            return false;
        }
        if self.seen.is_up() {
            self.step(Step::Terminate { grace: grace(self.pod, self.spec) });
        }
        true
    }

    /// Brings volumes up to date when it is time.
    fn refresh_volumes(&mut self) {
        if volumes_are_outdated(self.pod, self.memory) && self.memory.volumes_due.is_none() {
            return self.step(Step::PrepareVolumes);
        }
        match self.memory.volumes_due.or_else(|| self.memory.tokens_due()) {
            Some(due) if due <= self.now => self.step(Step::PrepareVolumes),
            Some(due) => self.plan.wake_at(due),
            None => {}
        }
    }

    /// Makes what containers need: volumes, a sandbox, its addresses.
    fn prepare(&mut self) {
        if self.must_wait() {
            return;
        }
        for old in &self.seen.sandboxes {
            let in_use = old.containers.iter().any(|container| container.state.is_running());
            if old.state == SandboxState::Ready || in_use {
                self.step(Step::DropSandbox(old.id.clone()));
            }
        }
        if !self.memory.volumes_ready {
            self.step(Step::PrepareVolumes);
        }
        self.step(Step::RunSandbox { attempt: self.seen.next_sandbox_attempt() });
    }

    /// Whether an earlier failure of volumes, sandbox or network is too fresh to try again.
    fn must_wait(&mut self) -> bool {
        let until = self.memory.prepare_not_before.filter(|at| *at > self.now);
        if let Some(until) = until {
            self.plan.wake_at(until);
        }
        until.is_some()
    }

    /// Takes care of the init containers. Whether the pod's own containers may run.
    fn init(&mut self, sandbox: &SandboxId) -> bool {
        let apps_began =
            self.spec.containers.iter().any(|wanted| self.life_in(sandbox, &wanted.name).is_some());
        let init: Vec<_> = containers(self.spec).filter(|(role, _)| *role != Role::App).collect();
        for (role, wanted) in init {
            if role == Role::Init && apps_began {
                continue;
            }
            let passed = match self.life_in(sandbox, &wanted.name) {
                Some(life) if role == Role::Init && life.state.exit().is_some_and(|exit| exit.code == 0) => {
                    true
                }
                Some(life) if life.state.is_running() && role == Role::Sidecar => {
                    self.keep(role, wanted, life);
                    self.memory.probed(wanted, &life.id).started
                }
                Some(life) if life.state.is_running() => false,
                life => {
                    self.start(role, wanted, life);
                    false
                }
            };
            if !passed && !apps_began {
                return false;
            }
        }
        true
    }

    fn apps(&mut self, sandbox: &SandboxId) {
        let policy = RestartPolicy::of_pod(self.spec);
        for wanted in &self.spec.containers {
            let life = self.life_in(sandbox, &wanted.name);
            match life.map(|life| (&life.state, life)) {
                Some((ContainerState::Exited(exit), life)) => {
                    if policy.restarts(Role::App, wanted, exit.code) {
                        self.start(Role::App, wanted, Some(life));
                    }
                }
                Some((state, life)) if state.is_running() => self.keep(Role::App, wanted, life),
                _ => {
                    // It may have ended for good in a sandbox that is no more.
                    let earlier = self.seen.latest(&wanted.name).and_then(|life| life.state.exit());
                    if earlier.is_none_or(|exit| policy.restarts(Role::App, wanted, exit.code)) {
                        self.start(Role::App, wanted, life);
                    }
                }
            }
        }
    }

    /// Starts containers that were added to look into the pod, each once, whatever the others do.
    fn added(&mut self, sandbox: &SandboxId) {
        for wanted in ephemeral(self.spec) {
            let life = self.seen.latest(&wanted.name);
            let made = life.filter(|life| life.state == ContainerState::Created);
            let made = made.filter(|_| self.life_in(sandbox, &wanted.name).is_some());
            let had_begun = life.is_some_and(|life| life.state != ContainerState::Created)
                || self.reported_attempt(&wanted.name) > 0;
            if !had_begun {
                self.start(Role::Ephemeral, &wanted, made);
            }
        }
    }

    /// The newest life of a container in the sandbox that is used now.
    fn life_in(&self, sandbox: &SandboxId, name: &str) -> Option<&'a Container> {
        let sandbox = self.seen.sandboxes.iter().find(|known| known.id == *sandbox)?;
        let lives = sandbox.containers.iter().filter(|container| container.meta.name == name);
        lives.max_by_key(|container| (container.meta.attempt, container.created_at))
    }

    /// Stops a running container when it must be made anew.
    fn keep(&mut self, role: Role, wanted: &Wanted, life: &Container) {
        let why = match self.memory.probed(wanted, &life.id).failed {
            Some(probe) => KillReason::Probe(probe),
            None if role == Role::App && life.meta.hash != container_hash(wanted) => KillReason::Changed,
            None => match self.resize(wanted, life) {
                Some(Resize::Restart) => KillReason::Resized,
                Some(Resize::InPlace) => {
                    return self.step(Step::Resize { container: wanted.name.clone(), id: life.id.clone() });
                }
                None => return,
            },
        };
        self.step(Step::Kill { container: wanted.name.clone(), id: life.id.clone(), why });
    }

    /// Starts a container, or waits until it may be.
    fn start(&mut self, role: Role, wanted: &Wanted, life: Option<&Container>) {
        if let Some(at) = self.memory.not_before.get(&wanted.name).copied().filter(|at| *at > self.now) {
            return self.plan.wake_at(at);
        }
        let existing = life.filter(|life| life.state == ContainerState::Created).map(|life| life.id.clone());
        let last = self.seen.latest(&wanted.name);
        let ended = last.and_then(|life| life.state.exit()).map(|exit| exit.finished_at);
        if let Some((until, wait)) =
            ended.and_then(|ended| self.memory.crashes.until(&crash_key(wanted), ended, self.now))
        {
            self.step(Step::BackOff { container: wanted.name.clone(), wait });
            return self.plan.wake_at(until);
        }
        let attempt = match (&existing, last) {
            (Some(_), Some(made)) => made.meta.attempt,
            (_, Some(last)) => last.meta.attempt + 1,
            (_, None) => self.reported_attempt(&wanted.name),
        };
        let container = wanted.name.clone();
        self.step(Step::Start(Start { container, role, attempt, existing, ended }));
    }

    /// The attempt after the one that the pod's status shows, when the runtime has lost the container.
    fn reported_attempt(&self, name: &str) -> u32 {
        let Some(known) = reported(self.pod, name) else { return 0 };
        let count = u32::try_from(known.restart_count).unwrap_or(0);
        let had_begun = known.container_id.as_deref().is_some_and(|id| !id.is_empty());
        count + u32::from(had_begun)
    }

    /// Of each container the newest life is kept, and one that ended before it, whose log `--previous` shows. A sandbox goes
    /// when another has taken its place and none of these is in it.
    fn forget_old_lives(&mut self) {
        let names = containers(self.spec).map(|(_, wanted)| wanted.name.as_str());
        let old: Vec<Step> = names
            .flat_map(|name| self.seen.lives(name).into_iter().skip(2))
            .filter(|life| !life.state.is_running())
            .map(|life| Step::Forget(life.id.clone()))
            .collect();
        self.plan.steps.extend(old);
        let before = self.seen.sandboxes.split_last().map_or(&[][..], |(_, before)| before);
        let empty = |old: &&Sandbox| old.state == SandboxState::NotReady && old.containers.is_empty();
        self.plan.steps.extend(before.iter().filter(empty).map(|old| Step::ForgetSandbox(old.id.clone())));
    }
}

impl fmt::Display for Plan {
    /// One line a step, for golden tests and the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        match self.wake {
            Some(wake) => writeln!(f, "wake at {wake}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrepareVolumes => f.write_str("prepare volumes"),
            Self::DropSandbox(id) => write!(f, "drop sandbox {id}"),
            Self::RunSandbox { attempt } => write!(f, "run sandbox, attempt {attempt}"),
            Self::Attach(id) => write!(f, "attach sandbox {id}"),
            Self::Start(start) => {
                write!(f, "start {:?} {}, attempt {}", start.role, start.container, start.attempt)?;
                start.existing.as_ref().map_or(Ok(()), |id| write!(f, ", made already as {id}"))
            }
            Self::BackOff { container, wait } => write!(f, "back off {container} for {wait:?}"),
            Self::Kill { container, id, why } => write!(f, "kill {container} ({id}): {why:?}"),
            Self::Resize { container, id } => write!(f, "resize {container} ({id})"),
            Self::ResizePod(id) => write!(f, "resize the pod ({id})"),
            Self::Forget(id) => write!(f, "forget {id}"),
            Self::ForgetSandbox(id) => write!(f, "forget sandbox {id}"),
            Self::Refuse(why) => write!(f, "refuse: {why}"),
            Self::Fail(failure) => write!(f, "fail: {}", failure.reason),
            Self::Terminate { grace } => write!(f, "terminate within {grace:?}"),
            Self::TakeBack => f.write_str("take back volumes"),
            Self::Finish => f.write_str("finish"),
            Self::Release => f.write_str("release"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
