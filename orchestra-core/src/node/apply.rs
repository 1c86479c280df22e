//! Carrying out a plan, step by step.
//!
//! The executor decides nothing about the pod: it does what a step says, remembers what the next plan has to know (a
//! container that waits, and until when), and tells people in events. Whatever it is doing can be given up.

mod resize;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Wanted, Pod, PodSpec};
use k8s_openapi::api::node::v1::RuntimeClass;

use super::address::{addresses, attach, detach};
use super::admission::{UNEXPECTED, rejected};
use super::backoff::{add, go_duration};
use super::context::{Context, about};
use super::devices;
use super::kill::{Ending, Killing};
use super::model::{
    CONFIG_ERROR, FailedProbe, LEAST_GRACE, Memory, Observed, Waiting, containers, ephemeral,
};
use super::mounts::Volumes;
use super::plan::{KillReason, Step};
use super::resize::asked_of_pod;
use super::start::Starting;
use super::stop::Stop;
use super::translate::{self, pod_ref};
use crate::network::NetworkError;
use crate::runtime::{ContainerId, RuntimeError, SandboxId};

/// How soon a failed preparation is tried again: doubling from the first to the second, as the kubelet mounts volumes.
const PREPARE_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(122));

/// As what a container shows that waits for its pod's sandbox.
const CREATING: &str = "ContainerCreating";

/// What came of a plan.
pub(super) enum Applied {
    /// All was done.
    All,
    /// All that could be done was done; something has to wait.
    Waiting,
    /// Nothing is left of the pod.
    Released,
    /// The runtime or the API is away.
    Away(String),
}

/// Carries out the steps of one plan.
pub(super) struct Executor<'a> {
    pub(super) ctx: &'a Arc<Context>,
    pub(super) pod: &'a Arc<Pod>,
    pub(super) seen: &'a Observed,
    pub(super) memory: &'a mut Memory,
}

impl Executor<'_> {
    pub(super) async fn carry_out(&mut self, steps: Vec<Step>) -> Applied {
        let mut waiting = false;
        for step in steps {
            if step == Step::Release {
                return match self.release().await {
                    Ok(()) => Applied::Released,
                    Err(stop) => stop.into(),
                };
            }
            // One container that cannot start does not keep the others from starting; a pod that is not prepared does.
            let alone = matches!(
                step,
                Step::Start(_)
                    | Step::BackOff { .. }
                    | Step::Kill { .. }
                    | Step::Resize { .. }
                    | Step::ResizePod(_)
                    | Step::Forget(_)
                    | Step::ForgetSandbox(_)
            );
            match self.step(step).await {
                Ok(true) => {}
                Ok(false) => waiting = true,
                Err(Stop::Wait) if alone => waiting = true,
                Err(stop) => return stop.into(),
            }
        }
        if waiting { Applied::Waiting } else { Applied::All }
    }

    /// Does one step. Whether something was changed by it.
    async fn step(&mut self, step: Step) -> Result<bool, Stop> {
        match step {
            Step::PrepareVolumes => self.prepare_volumes().await?,
            Step::DropSandbox(id) => self.drop_sandbox(&id).await?,
            Step::RunSandbox { attempt } => self.run_sandbox(attempt).await?,
            Step::Attach(id) => self.attach(&id).await?,
            Step::Start(start) => {
                let pod = self.as_begun();
                let wanted = &wanted(&pod, &start.container)?;
                let starting = Starting {
                    ctx: self.ctx,
                    pod: &pod,
                    wanted,
                    role: start.role,
                    seen: self.seen,
                    memory: &mut *self.memory,
                };
                starting.start(&start).await?;
            }
            Step::BackOff { container, wait } => {
                self.back_off(&container, wait);
                return Ok(false);
            }
            Step::Refuse(why) => {
                self.refuse(&why);
                return Ok(false);
            }
            Step::Kill { container, id, why } => self.kill(&container, &id, why).await?,
            Step::Resize { container, id } => self.resize(&container, &id).await?,
            Step::ResizePod(id) => self.resize_pod(&id).await?,
            Step::Forget(id) => self.ctx.runtime.remove_container(&id).await?,
            Step::ForgetSandbox(id) => {
                self.ctx.runtime.remove_sandbox(&id).await?;
                detach(self.ctx, self.pod, &id, self.memory).await;
            }
            Step::Fail(failure) => {
                self.ctx.normal(&about(self.pod, None), &failure.reason, failure.message.clone());
                self.memory.failure = Some(failure);
            }
            Step::Terminate { grace } => {
                let ending = Ending { ctx: self.ctx, pod: self.pod, seen: self.seen };
                ending.terminate(self.memory, grace).await?;
            }
            Step::TakeBack => self.take_back().await?,
            Step::Finish | Step::Release => {}
        }
        Ok(true)
    }

    fn spec(&self) -> Result<&PodSpec, Stop> {
        self.pod.spec.as_ref().ok_or_else(no_spec)
    }

    fn wanted(&self, name: &str) -> Result<Wanted, Stop> {
        wanted(self.pod, name)
    }

    /// A preparation failed: it is tried again, later each time.
    fn prepare_later(&mut self, reason: &str, message: String) -> Stop {
        self.ctx.warning(&about(self.pod, None), reason, message);
        let wait =
            PREPARE_RETRY.0.saturating_mul(1 << self.memory.prepare_failures.min(16)).min(PREPARE_RETRY.1);
        self.memory.prepare_failures += 1;
        self.memory.prepare_not_before = Some(add(self.ctx.now(), wait));
        Stop::Wait
    }

    async fn prepare_volumes(&mut self) -> Result<(), Stop> {
        let volumes = Volumes { ctx: self.ctx, pod: self.pod };
        let ready = self.memory.volumes_ready;
        match volumes.prepare(self.memory).await {
            Ok(()) => Ok(()),
            Err(message) if ready => {
                self.ctx.warning(&about(self.pod, None), "FailedMount", message);
                // What is mounted stays as it is until it can be brought up to date.
                self.memory.volumes_due = Some(add(self.ctx.now(), self.ctx.config.volume_period));
                Ok(())
            }
            Err(message) => Err(self.prepare_later("FailedMount", message)),
        }
    }

    async fn drop_sandbox(&mut self, id: &SandboxId) -> Result<(), Stop> {
        self.ctx.normal(
            &about(self.pod, None),
            "SandboxChanged",
            "Pod sandbox changed, it will be killed and re-created.",
        );
        self.ctx.runtime.stop_sandbox(id).await?;
        detach(self.ctx, self.pod, id, self.memory).await;
        Ok(())
    }

    async fn run_sandbox(&mut self, attempt: u32) -> Result<(), Stop> {
        if let Err(message) = devices::admit(self.ctx, self.pod).await {
            // Whoever made it makes another, which may find a node that has the devices.
            self.ctx.warning(&about(self.pod, None), UNEXPECTED, message.clone());
            self.memory.failure = Some(rejected(UNEXPECTED.to_owned(), &message));
            return Err(Stop::Wait);
        }
        let dns = match self.ctx.dns().await {
            Ok(dns) => dns,
            Err(error) => {
                let message = format!("The cluster's DNS server is not known yet: {error}");
                return Err(self.prepare_later("DNSConfigForming", message));
            }
        };
        let handler = match self.handler().await {
            Ok(handler) => handler,
            Err(why) => {
                let message = format!("Failed to create pod sandbox: {why}");
                return Err(self.prepare_later("FailedCreatePodSandBox", message));
            }
        };
        let (owner, logs) = (self.ctx.owner(), &self.ctx.config.log_root);
        let how = (attempt, handler.as_str());
        let pod = self.as_begun();
        let begun = pod.spec.as_ref().ok_or_else(no_spec)?;
        let mut spec = match translate::sandbox(&pod, begun, how, &owner, &dns, logs) {
            Ok(spec) => spec,
            Err(why) => {
                let message = format!("Failed to create pod sandbox: {why}");
                return Err(self.prepare_later("FailedCreatePodSandBox", message));
            }
        };
        if !self.ctx.runtime.capabilities().fields.pod_resources {
            spec.resources = None;
        }
        match self.ctx.runtime.run_sandbox(&spec).await {
            Ok(made) => {
                self.memory.prepare_failures = 0;
                self.memory.given_pod = Some((made.id, asked_of_pod(begun)));
                Ok(())
            }
            Err(error @ RuntimeError::Unavailable { .. }) => Err(error.into()),
            Err(error) => Err(self
                .prepare_later("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {error}"))),
        }
    }

    /// What runs the pod, by the runtime's name for it: nothing for the usual.
    async fn handler(&self) -> Result<String, String> {
        let spec = self.pod.spec.as_ref();
        let Some(name) =
            spec.and_then(|spec| spec.runtime_class_name.as_deref()).filter(|name| !name.is_empty())
        else {
            return Ok(String::new());
        };
        let found = self.ctx.client.cluster::<RuntimeClass>().get(name).await;
        found.map(|class| class.handler).map_err(|error| {
            format!("failed to get sandbox runtime: failed to look up RuntimeClass {name}: {error}")
        })
    }

    async fn attach(&mut self, id: &SandboxId) -> Result<(), Stop> {
        let Some(sandbox) = self.seen.sandboxes.iter().find(|sandbox| sandbox.id == *id) else {
            return Ok(());
        };
        let Some(spec) = &self.pod.spec else { return Ok(()) };
        match attach(self.ctx, self.pod, spec, sandbox, self.memory).await {
            Ok(()) => {
                self.memory.prepare_failures = 0;
                self.memory.waiting.retain(|_, waiting| waiting.reason != CREATING);
                Ok(())
            }
            Err(error) => {
                if let NetworkError::Refused { message } = &error {
                    // It says so for as long as the pod asks for it, which an event does not.
                    let waiting = Waiting { reason: CREATING, message: message.clone() };
                    let names = containers(spec).map(|(_, wanted)| wanted.name.clone());
                    self.memory.waiting.extend(names.map(|name| (name, waiting.clone())));
                }
                let message = format!("Failed to create pod sandbox: failed to set up the network: {error}");
                Err(self.prepare_later("FailedCreatePodSandBox", message))
            }
        }
    }

    fn back_off(&mut self, name: &str, wait: Duration) {
        let reference = pod_ref(self.pod);
        let message =
            format!("back-off {} restarting failed container={name} pod={reference}", go_duration(wait));
        let waiting = Waiting { reason: "CrashLoopBackOff", message };
        if self.memory.waiting.insert(name.to_owned(), waiting.clone()).as_ref() != Some(&waiting) {
            let message = format!("Back-off restarting failed container {name} in pod {reference}");
            self.ctx.warning(&about(self.pod, Some(name)), "BackOff", message);
        }
    }

    /// Every container that does not run waits with the reason why it will not.
    fn refuse(&mut self, why: &str) {
        let Some(spec) = &self.pod.spec else { return };
        let waiting = Waiting { reason: CONFIG_ERROR, message: why.to_owned() };
        let mut news = false;
        for (_, wanted) in containers(spec) {
            news |=
                self.memory.waiting.insert(wanted.name.clone(), waiting.clone()).as_ref() != Some(&waiting);
        }
        if news {
            self.ctx.warning(&about(self.pod, None), "Failed", format!("Error: {why}"));
        }
    }

    async fn kill(&mut self, name: &str, id: &ContainerId, why: KillReason) -> Result<(), Stop> {
        let wanted = &self.wanted(name)?;
        if why == KillReason::Resized && !self.has_room_for(wanted, id) {
            return Ok(());
        }
        let (message, probe) = match why {
            KillReason::Probe(FailedProbe::Liveness) => {
                ("failed liveness probe", wanted.liveness_probe.as_ref())
            }
            KillReason::Probe(FailedProbe::Startup) => {
                ("failed startup probe", wanted.startup_probe.as_ref())
            }
            KillReason::Changed => ("definition changed", None),
            KillReason::Resized => ("resize requires restart", None),
        };
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
        let grace = own.or(self.spec()?.termination_grace_period_seconds).unwrap_or(30);
        let killing = Killing {
            ctx: self.ctx,
            pod: self.pod,
            wanted,
            id,
            ip: addresses(self.ctx, self.pod, self.memory).first().copied(),
            message: format!("Container {name} {message}, will be restarted"),
            announce: true,
            run_hook: true,
        };
        killing.run(Duration::from_secs(grace.max(0).unsigned_abs()).max(LEAST_GRACE)).await
    }

    /// Has drivers take back the volumes that they show to the pod.
    async fn take_back(&mut self) -> Result<(), Stop> {
        let uid = pod_ref(self.pod).uid;
        match self.ctx.volumes.take_back(&uid).await {
            Ok(()) => {
                self.ctx.in_use.free(&uid);
                self.memory.volumes_taken_back = true;
                Ok(())
            }
            Err(error) => Err(self.prepare_later("FailedUnmount", format!("UnmountVolume failed: {error}"))),
        }
    }

    /// Removes everything that is left of the pod on this node.
    async fn release(&mut self) -> Result<(), Stop> {
        self.ctx.ledger.free(&pod_ref(self.pod).uid);
        self.ctx.room.free(&pod_ref(self.pod).uid);
        for sandbox in &self.seen.sandboxes {
            self.ctx.runtime.remove_sandbox(&sandbox.id).await?;
            detach(self.ctx, self.pod, &sandbox.id, self.memory).await;
        }
        let reference = pod_ref(self.pod);
        match self.ctx.volumes.remove_pod(&reference.uid).await {
            Ok(()) => self.ctx.in_use.free(&reference.uid),
            Err(error) => tracing::warn!(pod = %reference, %error, "the pod's files were not removed"),
        }
        Ok(self.ctx.runtime.release_images(&reference.uid).await?)
    }
}

fn no_spec() -> Stop {
    Stop::Away("the pod has no spec".into())
}

/// A container of a pod, by its name.
fn wanted(pod: &Pod, name: &str) -> Result<Wanted, Stop> {
    let spec = pod.spec.as_ref().ok_or_else(no_spec)?;
    let usual = containers(spec).find(|(_, wanted)| wanted.name == name);
    let found = usual.map(|(_, wanted)| wanted.clone());
    found
        .or_else(|| ephemeral(spec).find(|wanted| wanted.name == name))
        .ok_or_else(|| Stop::Away(format!("there is no container {name}")))
}

impl From<Stop> for Applied {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Away(why) => Self::Away(why),
            Stop::Wait => Self::Waiting,
        }
    }
}
