//! Carrying out a plan, step by step.
//!
//! The executor decides nothing about the pod: it does what a step says, remembers what the next plan has to know (a
//! container that waits, and until when), and tells people in events. Whatever it is doing can be given up.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as Wanted, Pod, PodSpec};

use super::backoff::{add, go_duration};
use super::context::{Context, about};
use super::kill::{Killing, terminate};
use super::model::{FailedProbe, Memory, Observed, Waiting, containers};
use super::plan::{KillReason, Step};
use super::translate::{self, pod_ref};
use crate::network::AttachRequest;
use crate::runtime::{ContainerId, RuntimeError, Sandbox, SandboxId};

/// How soon a failed preparation is tried again: doubling from the first to the second, as the kubelet mounts volumes.
const PREPARE_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(122));

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

/// Why a step could not be done.
pub(super) enum Stop {
    /// The runtime or the API is away: nothing was learnt about the pod.
    Away(String),
    /// It has to wait; memory says until when.
    Wait,
}

impl From<RuntimeError> for Stop {
    fn from(error: RuntimeError) -> Self {
        Self::Away(error.to_string())
    }
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
            let alone =
                matches!(step, Step::Start(_) | Step::BackOff { .. } | Step::Kill { .. } | Step::Forget(_));
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
            Step::Start(start) => self.start(start).await?,
            Step::BackOff { container, wait } => {
                self.back_off(&container, wait);
                return Ok(false);
            }
            Step::Refuse(why) => {
                self.refuse(&why);
                return Ok(false);
            }
            Step::Kill { container, id, why } => self.kill(&container, &id, why).await?,
            Step::Forget(id) => self.ctx.runtime.remove_container(&id).await?,
            Step::Fail(failure) => {
                self.ctx.normal(&about(self.pod, None), &failure.reason, failure.message.clone());
                self.memory.failure = Some(failure);
            }
            Step::Terminate { grace } => terminate(self, grace).await?,
            Step::Finish | Step::Release => {}
        }
        Ok(true)
    }

    pub(super) fn spec(&self) -> Result<&PodSpec, Stop> {
        self.pod.spec.as_ref().ok_or_else(|| Stop::Away("the pod has no spec".into()))
    }

    pub(super) fn wanted(&self, name: &str) -> Result<Wanted, Stop> {
        let spec = self.spec()?;
        let found = containers(spec).find(|(_, wanted)| wanted.name == name);
        found
            .map(|(_, wanted)| wanted.clone())
            .ok_or_else(|| Stop::Away(format!("there is no container {name}")))
    }

    pub(super) fn ips(&self) -> Vec<IpAddr> {
        let on_host = self.pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
        match (&self.memory.attached, on_host) {
            (_, true) => self.ctx.facts.host_ips.clone(),
            (Some((_, ips)), false) => ips.clone(),
            (None, false) => Vec::new(),
        }
    }

    /// A preparation failed: it is tried again, later each time.
    pub(super) fn prepare_later(&mut self, reason: &str, message: String) -> Stop {
        self.ctx.warning(&about(self.pod, None), reason, message);
        let wait =
            PREPARE_AGAIN.0.saturating_mul(1 << self.memory.prepare_failures.min(16)).min(PREPARE_AGAIN.1);
        self.memory.prepare_failures += 1;
        self.memory.prepare_not_before = Some(add(self.ctx.now(), wait));
        Stop::Wait
    }

    async fn prepare_volumes(&mut self) -> Result<(), Stop> {
        match super::mounts::prepare(self.ctx, self.pod, &self.ips()).await {
            Ok(paths) => {
                let refresh = super::sources::Needs::of_volumes(self.spec()?);
                let due = (!refresh.is_empty()).then(|| add(self.ctx.now(), self.ctx.config.volume_period));
                self.memory.volumes = paths;
                self.memory.volumes_due = due;
                self.memory.volumes_ready = true;
                Ok(())
            }
            Err(message) if self.memory.volumes_ready => {
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
        self.detach(id).await;
        Ok(())
    }

    async fn run_sandbox(&mut self, attempt: u32) -> Result<(), Stop> {
        let config = &self.ctx.config;
        let spec = translate::sandbox(
            self.pod,
            self.spec()?,
            attempt,
            &self.ctx.owner(),
            &config.dns,
            &config.log_root,
        );
        match self.ctx.runtime.run_sandbox(&spec).await {
            Ok(_) => {
                self.memory.prepare_failures = 0;
                Ok(())
            }
            Err(error @ RuntimeError::Unavailable { .. }) => Err(error.into()),
            Err(error) => Err(self
                .prepare_later("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {error}"))),
        }
    }

    /// Connects the sandbox to the network, or finds that it is connected.
    async fn attach(&mut self, id: &SandboxId) -> Result<(), Stop> {
        let Some(sandbox) = self.seen.sandboxes.iter().find(|sandbox| sandbox.id == *id) else {
            return Ok(());
        };
        let spec = self.spec()?;
        if spec.host_network == Some(true) {
            self.memory.attached = Some((id.clone(), self.ctx.facts.host_ips.clone()));
            return Ok(());
        }
        let request = self.attach_request(sandbox, spec);
        match self.ctx.network.attach(&request).await {
            Ok(attachment) => {
                self.memory.prepare_failures = 0;
                self.memory.attached = Some((id.clone(), attachment.ips));
                self.write_hosts_file().await;
                Ok(())
            }
            Err(error) => {
                let message = format!("Failed to create pod sandbox: failed to set up the network: {error}");
                Err(self.prepare_later("FailedCreatePodSandBox", message))
            }
        }
    }

    fn attach_request(&self, sandbox: &Sandbox, spec: &PodSpec) -> AttachRequest {
        let adopted = sandbox.created_at < self.ctx.began;
        let reported = self.pod.status.as_ref().and_then(|status| status.pod_ips.as_ref());
        let known = reported.filter(|_| adopted).into_iter().flatten().filter_map(|ip| ip.ip.parse().ok());
        AttachRequest {
            sandbox: sandbox.id.clone(),
            pod: pod_ref(self.pod),
            netns: sandbox.netns.clone(),
            runtime_ips: sandbox.ips.clone(),
            known_ips: known.collect(),
            host_ports: translate::host_ports(spec),
            annotations: self.pod.metadata.annotations.clone().unwrap_or_default(),
        }
    }

    async fn write_hosts_file(&mut self) {
        let Ok(spec) = self.spec() else { return };
        if !self.ctx.runtime.capabilities().mounts {
            return;
        }
        let reference = pod_ref(self.pod);
        let text = translate::hosts_file(&reference, spec, &self.ips(), &self.ctx.config.dns.domain);
        let file = super::PodFile { name: "etc-hosts", content: text.as_bytes(), mode: 0o644, replace: true };
        match self.ctx.volumes.pod_file(&reference, &file).await {
            Ok(path) => self.memory.hosts_file = Some(path),
            Err(error) => tracing::warn!(pod = %reference, %error, "no hosts file of its own for the pod"),
        }
    }

    pub(super) async fn detach(&mut self, id: &SandboxId) {
        if self.memory.attached.as_ref().is_some_and(|(attached, _)| attached == id) {
            self.memory.attached = None;
        }
        if let Err(error) = self.ctx.network.detach(id, &pod_ref(self.pod)).await {
            // The addresses are found unused when the agent starts the next time.
            tracing::warn!(pod = %pod_ref(self.pod), %error, "the pod's addresses were not given back");
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
        let waiting = Waiting { reason: "CreateContainerConfigError", message: why.to_owned() };
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
        let wanted = self.wanted(name)?;
        let (message, probe) = match why {
            KillReason::Probe(FailedProbe::Liveness) => {
                ("failed liveness probe", wanted.liveness_probe.as_ref())
            }
            KillReason::Probe(FailedProbe::Startup) => {
                ("failed startup probe", wanted.startup_probe.as_ref())
            }
            KillReason::Changed => ("definition changed", None),
        };
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
        let grace = own.or(self.spec()?.termination_grace_period_seconds).unwrap_or(30);
        let killing = Killing {
            ctx: self.ctx,
            pod: self.pod,
            wanted: &wanted,
            id,
            ip: self.ips().first().copied(),
            message: format!("Container {name} {message}, will be restarted"),
            announce: true,
            run_hook: true,
        };
        killing.run(Duration::from_secs(grace.max(1).unsigned_abs())).await
    }

    /// Removes everything that is left of the pod on this node.
    async fn release(&mut self) -> Result<(), Stop> {
        for sandbox in &self.seen.sandboxes {
            self.ctx.runtime.remove_sandbox(&sandbox.id).await?;
            self.detach(&sandbox.id).await;
        }
        let reference = pod_ref(self.pod);
        if let Err(error) = self.ctx.volumes.remove_pod(&reference.uid).await {
            tracing::warn!(pod = %reference, %error, "the pod's files were not removed");
        }
        Ok(())
    }
}

impl From<Stop> for Applied {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Away(why) => Self::Away(why),
            Stop::Wait => Self::Waiting,
        }
    }
}

/// Where a pod's volumes are, by name.
pub(super) type VolumePaths = std::collections::BTreeMap<String, PathBuf>;
