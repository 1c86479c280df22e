//! The fake's side of the port; `sessions` has what is said and heard in sessions.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;

use super::behaviour::{Behaviour, OnStop};
use super::state::{FakeContainer, FakeSandbox, number_of};
use super::{Call, FakeRuntime, Inner, On, State, invented, logs};
use crate::runtime::{
    AttachOptions, ByteStream, Capabilities, Container, ContainerId, ContainerSpec, ContainerState,
    ContainerStats, DiskStats, Duplex, EventKind, EventStream, ExecOptions, ExecOutput, Exit, Filter, Image,
    ImageRef, LogOptions, MachineInfo, MachineStats, PodRef, PullProgress, RegistryCredentials, Resources,
    Result, RunningSandbox, Runtime, RuntimeError, RuntimeInfo, Sandbox, SandboxId, SandboxSpec, Session,
    names,
};

#[async_trait]
impl Runtime for FakeRuntime {
    fn capabilities(&self) -> Capabilities {
        let (fields, port_forward) = {
            let state = self.inner.lock();
            (state.fields, !state.ports.is_empty())
        };
        Capabilities {
            images: true,
            mounts: true,
            limits: true,
            stats: true,
            simulated: true,
            exec: true,
            attach: true,
            port_forward,
            fields,
            ..Capabilities::default()
        }
    }

    async fn info(&self) -> Result<RuntimeInfo> {
        drop(self.inner.enter(Call::Info)?);
        Ok(RuntimeInfo { name: "fake".into(), version: env!("CARGO_PKG_VERSION").into() })
    }

    async fn machine(&self) -> Result<MachineInfo> {
        Ok(self.inner.machine.clone())
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        let now = self.inner.clock.now();
        let mut state = self.inner.enter(Call::RunSandbox)?;
        if state.of_pod(&spec.meta.pod.uid).any(|(_, other)| other.meta == spec.meta) {
            return Err(RuntimeError::AlreadyExists { what: "sandbox", name: names::sandbox(&spec.meta) });
        }
        let id = state.add_sandbox(FakeSandbox {
            meta: spec.meta.clone(),
            ready: true,
            created_at: now,
            host_network: spec.namespaces.host_network,
            resources: spec.resources.map(Box::new),
            containers: Vec::new(),
        });
        Ok(RunningSandbox { id, ips: Vec::new(), netns: None })
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        let now = self.inner.clock.now();
        self.inner.enter(Call::StopSandbox)?.stop_sandbox(id, now);
        self.inner.changed.notify_waiters();
        Ok(())
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        let now = self.inner.clock.now();
        let mut state = self.inner.enter(Call::RemoveSandbox)?;
        state.stop_sandbox(id, now);
        state.remove_sandbox(id);
        drop(state);
        self.inner.changed.notify_waiters();
        Ok(())
    }

    async fn update_sandbox(&self, id: &SandboxId, resources: &Resources) -> Result<()> {
        self.inner.enter(Call::UpdateSandbox)?.sandbox(id)?.resources = Some(Box::new(*resources));
        Ok(())
    }

    async fn create_container(&self, sandbox: &SandboxId, spec: &ContainerSpec) -> Result<ContainerId> {
        let now = self.inner.clock.now();
        let mut state = self.inner.enter(Call::CreateContainer)?;
        let found = state.sandbox(sandbox)?;
        if !found.ready {
            return Err(RuntimeError::NotRunning { id: sandbox.to_string() });
        }
        let pod = found.meta.pod.clone();
        let same = |c: &FakeContainer| c.meta.name == spec.meta.name && c.meta.attempt == spec.meta.attempt;
        if found.containers.iter().any(same) {
            let name = names::container(&pod, &spec.meta);
            return Err(RuntimeError::AlreadyExists { what: "container", name });
        }
        let behaviour = Inner::behaviour(&state, &pod.name, spec);
        let of_image = scripted_pull(&state, &spec.image).is_some_and(|pull| pull.absent);
        let absent = of_image || behaviour.as_ref().is_some_and(|b| b.pull.absent);
        if absent && !state.images.contains_key(&spec.image) {
            return Err(RuntimeError::ImageNotFound { image: spec.image.clone() });
        }
        let id = state.container_id(sandbox);
        let container = FakeContainer {
            id: id.clone(),
            meta: spec.meta.clone(),
            image: spec.image.as_str().into(),
            image_id: spec.image_id.as_str().into(),
            state: ContainerState::Created,
            created_at: now,
            behaviour,
            resources: spec.resources,
            written: Vec::new(),
            ending: None,
        };
        state.sandbox(sandbox)?.containers.push(container);
        Ok(id)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        let behaviour = {
            let mut state = self.inner.enter(Call::StartContainer)?;
            let container = state.container(id)?;
            if container.state.is_running() {
                return Ok(());
            }
            container.behaviour.clone()
        };
        let Some(behaviour) = behaviour else { return self.inner.run(id) };
        if !behaviour.start_delay.is_zero() {
            self.inner.clock.sleep(behaviour.start_delay).await;
        }
        match &behaviour.start_error {
            None => self.inner.run(id),
            Some((exit_code, message)) => self.refuse_start(id, *exit_code, message),
        }
    }

    async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        let mut state = self.inner.enter(Call::UpdateContainer)?;
        let container = state.container(id)?;
        if !container.state.is_running() {
            return Err(RuntimeError::NotRunning { id: id.to_string() });
        }
        container.resources = *resources;
        Ok(())
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let on_stop = {
            let mut state = self.inner.enter(Call::StopContainer)?;
            let Ok(container) = state.container(id) else { return Ok(()) };
            if !container.state.is_running() {
                return Ok(());
            }
            container.behaviour.as_ref().map(|b| b.on_stop).unwrap_or_default()
        };
        let (wait, code) = match on_stop {
            OnStop::Exit { after, code } if after <= grace && !grace.is_zero() => (after, code),
            _ => (grace, 137),
        };
        if !wait.is_zero() {
            tokio::select! {
                biased;
                () = self.inner.clock.sleep(wait) => {}
                () = self.gone(id) => return Ok(()),
            }
        }
        self.exit(id, code);
        Ok(())
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        let now = self.inner.clock.now();
        let mut state = self.inner.enter(Call::RemoveContainer)?;
        state.end(id, 137, false, now);
        let sandbox = number_of(id.as_str()).and_then(|number| state.sandboxes.get_mut(&number));
        if let Some(sandbox) = sandbox {
            sandbox.containers.retain(|container| container.id != *id);
        }
        state.tell(id.as_str(), EventKind::Removed(id.clone()));
        drop(state);
        self.inner.changed.notify_waiters();
        Ok(())
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>> {
        Ok(self.inner.enter(Call::List)?.list(filter))
    }

    async fn container(&self, id: &ContainerId) -> Result<Container> {
        self.inner.enter(Call::List)?.container(id).map(|container| container.observed())
    }

    async fn image(&self, image: &ImageRef) -> Result<Option<Image>> {
        let state = self.inner.enter(Call::Info)?;
        if let Some(pulled) = state.images.get(image.as_str()) {
            return Ok(Some(pulled.clone()));
        }
        let absent = scripted_pull(&state, image.as_str()).is_some_and(|pull| pull.absent);
        Ok((!absent).then(|| invented(image.as_str())))
    }

    async fn pull_image(&self, image: &ImageRef, credentials: Option<&RegistryCredentials>) -> Result<Image> {
        self.pull_image_telling(image, credentials, &PullProgress::default()).await
    }

    async fn pull_image_telling(
        &self,
        image: &ImageRef,
        _credentials: Option<&RegistryCredentials>,
        progress: &PullProgress,
    ) -> Result<Image> {
        let pull = scripted_pull(&*self.inner.enter(Call::PullImage)?, image.as_str()).unwrap_or_default();
        if !pull.delay.is_zero() {
            // Half of it comes at once, and the rest at the end.
            let size = invented(image.as_str()).size_bytes;
            progress.set(size / 2, size);
            self.inner.clock.sleep(pull.delay).await;
        }
        if let Some((why, message)) = pull.failure {
            return Err(RuntimeError::Pull { image: image.to_string(), why, message });
        }
        let pulled = invented(image.as_str());
        self.inner.lock().images.insert(image.to_string(), pulled.clone());
        Ok(pulled)
    }

    async fn images(&self) -> Result<Vec<Image>> {
        let mut images: Vec<Image> = self.inner.enter(Call::Info)?.images.values().cloned().collect();
        images.sort_by(|a, b| a.tags.cmp(&b.tags));
        Ok(images)
    }

    async fn remove_image(&self, image: &ImageRef) -> Result<()> {
        let mut state = self.inner.enter(Call::RemoveImage)?;
        let used = |sandbox: &FakeSandbox| sandbox.containers.iter().any(|c| *c.image == *image.as_str());
        let shown = |id: &str| state.shown_images.iter().any(|(_, shown, _)| shown == id);
        let is_shown = state.images.get(image.as_str()).is_some_and(|held| shown(&held.id));
        if is_shown || state.sandboxes.values().any(used) {
            return Err(RuntimeError::InUse { what: "image", id: image.to_string() });
        }
        state.images.remove(image.as_str());
        Ok(())
    }

    async fn mount_image(&self, image: &str, pod: &PodRef, at: &Path) -> Result<()> {
        let mut state = self.inner.enter(Call::MountImage)?;
        let shown = (pod.uid.clone(), image.to_owned(), at.to_owned());
        if !state.shown_images.contains(&shown) {
            state.shown_images.push(shown);
        }
        Ok(())
    }

    async fn release_images(&self, pod_uid: &str) -> Result<()> {
        self.inner.enter(Call::MountImage)?.shown_images.retain(|(uid, ..)| uid != pod_uid);
        Ok(())
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream> {
        drop(self.inner.enter(Call::Logs)?);
        logs::read(self.inner.clone(), id.clone(), options.clone())
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        let (behaviour, scripted) = {
            let mut state = self.inner.enter(Call::ExecSync)?;
            let scripted = Inner::behaviour_of_command(&state, command);
            let container = state.container(id)?;
            if !container.state.is_running() {
                return Err(RuntimeError::NotRunning { id: id.to_string() });
            }
            (container.behaviour.clone(), scripted)
        };
        if let Some(scripted) = scripted {
            return self.run_script(&scripted, timeout).await;
        }
        let Some(behaviour) = behaviour else { return Ok(ExecOutput::default()) };
        if behaviour.exec_delay > timeout {
            self.inner.clock.sleep(timeout).await;
            return Err(RuntimeError::Timeout { after: timeout });
        }
        self.inner.clock.sleep(behaviour.exec_delay).await;
        Ok(behaviour.exec.as_ref().map_or_else(ExecOutput::default, |answer| answer(command)))
    }

    async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        self.exec(id, options).await
    }

    async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<Session> {
        self.attach(id, options)
    }

    async fn port_forward(&self, sandbox: &SandboxId, port: u16) -> Result<Box<dyn Duplex>> {
        self.port_forward(sandbox, port)
    }

    async fn stats(&self, filter: &Filter) -> Result<Vec<ContainerStats>> {
        let now = self.inner.clock.now();
        Ok(self.inner.enter(Call::Stats)?.stats(filter, now))
    }

    async fn machine_stats(&self) -> Result<MachineStats> {
        let now = self.inner.clock.now();
        let machine = &self.inner.machine;
        let mut state = self.inner.enter(Call::MachineStats)?;
        let containers = state.sandboxes.values().flat_map(|sandbox| &sandbox.containers);
        let used = containers.filter_map(|container| container.uses(now));
        let (running, cpu_nanos, memory) =
            used.fold((0, 0, 0), |(count, cpu, memory), used| (count + 1, cpu + used.0, memory + used.1));
        let disk = machine.ephemeral_storage_bytes;
        let mut stats = MachineStats {
            at: now,
            started_at: None,
            cpu_nanos,
            memory_working_set_bytes: memory,
            memory_usage_bytes: memory,
            memory_available_bytes: machine.memory_bytes.saturating_sub(memory),
            disk: DiskStats {
                capacity_bytes: disk,
                available_bytes: disk,
                inodes: 1 << 20,
                inodes_free: 1 << 20,
            },
            processes: running,
            most_processes: 1 << 15,
        };
        // Not while the state is held: what is left may depend on what the runtime has.
        let change = state.machine.take();
        drop(state);
        if let Some(mut change) = change {
            change(&mut stats);
            self.inner.lock().machine.get_or_insert(change);
        }
        Ok(stats)
    }

    async fn events(&self) -> Result<EventStream> {
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        self.inner.enter(Call::Info)?.subscribers.push(sender);
        let events = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|event| (event, receiver))
        });
        Ok(events.boxed())
    }
}

impl FakeRuntime {
    /// Resolves once a container no longer runs.
    pub(super) async fn gone(&self, id: &ContainerId) {
        loop {
            let changed = self.inner.changed.notified();
            let running = self.inner.lock().container(id).is_ok_and(|container| container.state.is_running());
            if !running {
                return;
            }
            changed.await;
        }
    }

    /// Runs an executed command that something was said about.
    async fn run_script(&self, script: &Behaviour, timeout: Duration) -> Result<ExecOutput> {
        let Some(end) = script.end.filter(|end| end.after <= timeout) else {
            self.inner.clock.sleep(timeout).await;
            return Err(RuntimeError::Timeout { after: timeout });
        };
        self.inner.clock.sleep(end.after).await;
        let stdout = script.logs.iter().flat_map(|(_, line)| line.bytes().chain([b'\n'])).collect();
        Ok(ExecOutput { exit_code: end.code, stdout, stderr: Vec::new() })
    }

    fn refuse_start(&self, id: &ContainerId, exit_code: i32, message: &str) -> Result<()> {
        let now = self.inner.clock.now();
        let mut state = self.inner.lock();
        state.container(id)?.state = ContainerState::Exited(Exit {
            code: exit_code,
            oom_killed: false,
            started_at: None,
            finished_at: now,
            reason: "StartError".into(),
            message: message.to_owned(),
        });
        state.tell(id.as_str(), EventKind::Exited(id.clone()));
        Err(RuntimeError::StartFailed { message: message.to_owned(), exit_code })
    }
}

fn scripted_pull(state: &State, image: &str) -> Option<super::behaviour::Pull> {
    let of_image = |on: &On| matches!(on, On::Image(name) if name == image);
    state.scripts.iter().rev().find(|(on, _)| of_image(on)).map(|(_, behaviour)| behaviour.pull.clone())
}

impl std::fmt::Debug for FakeRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pods = self.inner.lock().sandboxes.len();
        f.debug_struct("FakeRuntime").field("sandboxes", &pods).finish_non_exhaustive()
    }
}
