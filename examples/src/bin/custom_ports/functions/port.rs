//! The functions as a [`Runtime`]: its methods one by one, each as the trait's contract has it.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use orchestra_core::runtime::{
    ByteStream, Capabilities, Container, ContainerId, ContainerSpec, ContainerState, EventKind, EventStream,
    ExecOutput, Filter, Image, ImageRef, LogOptions, MachineInfo, PullFailure, RegistryCredentials, Result,
    RunningSandbox, Runtime, RuntimeError, RuntimeEvent, RuntimeInfo, Sandbox, SandboxId, SandboxSpec,
    SandboxState, names,
};

use super::{Functions, KILLED, Log, NO_COMMAND, Process};

#[async_trait]
impl Runtime for Functions {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.images = true;
        capabilities
    }

    async fn info(&self) -> Result<RuntimeInfo> {
        Ok(RuntimeInfo { name: "function".into(), version: env!("CARGO_PKG_VERSION").into() })
    }

    async fn machine(&self) -> Result<MachineInfo> {
        Ok(MachineInfo { hostname: "in-process".into(), ..MachineInfo::default() })
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        if let Some(port) = spec.host_ports.first() {
            let message = format!("a function has no port of the machine, and this pod wants {port:?}");
            return Err(RuntimeError::InvalidSpec { message });
        }
        let mut state = self.lock();
        if state.sandboxes.iter().any(|sandbox| sandbox.meta == spec.meta) {
            return Err(RuntimeError::AlreadyExists { what: "sandbox", name: names::sandbox(&spec.meta) });
        }
        let id = SandboxId::from(state.new_id());
        state.sandboxes.push(Sandbox {
            id: id.clone(),
            meta: spec.meta.clone(),
            state: SandboxState::Ready,
            created_at: self.0.clock.now(),
            ips: Vec::new(),
            netns: None,
            host_network: spec.namespaces.host_network,
            containers: Vec::new(),
        });
        Ok(RunningSandbox { id, ips: Vec::new(), netns: None })
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        let containers: Vec<ContainerId> = match self.lock().sandbox(id) {
            Ok(sandbox) if sandbox.state == SandboxState::Ready => {
                sandbox.state = SandboxState::NotReady;
                sandbox.containers.iter().map(|container| container.id.clone()).collect()
            }
            // Stopped or gone already.
            _ => return Ok(()),
        };
        for container in &containers {
            self.end(container, KILLED);
        }
        if let Ok(sandbox) = self.lock().sandbox(id) {
            let pod = sandbox.meta.pod.clone();
            self.tell(RuntimeEvent { pod, kind: EventKind::SandboxStopped(id.clone()) });
        }
        Ok(())
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.stop_sandbox(id).await?;
        let mut state = self.lock();
        let Ok(sandbox) = state.sandbox(id) else { return Ok(()) };
        let containers: Vec<ContainerId> =
            sandbox.containers.drain(..).map(|container| container.id).collect();
        state.processes.retain(|container, _| !containers.contains(container));
        state.sandboxes.retain(|sandbox| sandbox.id != *id);
        Ok(())
    }

    async fn create_container(&self, sandbox: &SandboxId, spec: &ContainerSpec) -> Result<ContainerId> {
        let function = self.function(&spec.image)?;
        let mut state = self.lock();
        let new = ContainerId::from(state.new_id());
        let held = state.sandbox(sandbox)?;
        if held.state != SandboxState::Ready {
            return Err(RuntimeError::NotRunning { id: sandbox.to_string() });
        }
        let same = |c: &Container| c.meta.name == spec.meta.name && c.meta.attempt == spec.meta.attempt;
        if held.containers.iter().any(same) {
            let name = names::container(&held.meta.pod, &spec.meta);
            return Err(RuntimeError::AlreadyExists { what: "container", name });
        }
        held.containers.push(Container {
            id: new.clone(),
            meta: spec.meta.clone(),
            state: ContainerState::Created,
            image: spec.image.clone(),
            image_id: image_id(&spec.image),
            created_at: self.0.clock.now(),
        });
        let command = [spec.command.as_slice(), &spec.args].concat();
        let log = Log::new(self.0.clock.clone());
        state.processes.insert(new.clone(), Process::new(function, command, log));
        Ok(new)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        // The function is called without the lock, because it may print.
        let process = {
            let mut state = self.lock();
            match state.container(id)?.1.state {
                ContainerState::Created => state.process(id)?.clone(),
                ContainerState::Exited(_) => return Err(RuntimeError::NotRunning { id: id.to_string() }),
                ContainerState::Running { .. } | ContainerState::Unknown => return Ok(()),
            }
        };
        let running = self.call(&process);
        let mut state = self.lock();
        match running {
            // Somebody else was faster: started it, or removed it.
            _ if state.container(id)?.1.state != ContainerState::Created => Ok(()),
            Some(running) => self.spawn(&mut state, id, running),
            None => {
                let message = format!("no such command: {:?}", process.command);
                let pod = state.refuse(id, NO_COMMAND, &message, self.0.clock.now())?;
                self.tell(RuntimeEvent { pod, kind: EventKind::Exited(id.clone()) });
                Err(RuntimeError::StartFailed { message, exit_code: NO_COMMAND })
            }
        }
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let process = {
            let mut state = self.lock();
            match state.container(id) {
                Ok((_, container)) if container.state.is_running() => state.process(id)?.clone(),
                _ => return Ok(()),
            }
        };
        if !grace.is_zero() {
            process.stopping.cancel();
            tokio::select! {
                () = process.log.ended() => {}
                () = self.0.clock.sleep(grace) => {}
            }
        }
        self.end(id, KILLED);
        Ok(())
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.end(id, KILLED);
        let mut state = self.lock();
        let Ok((pod, _)) = state.container(id) else { return Ok(()) };
        let pod = pod.clone();
        for sandbox in &mut state.sandboxes {
            sandbox.containers.retain(|container| container.id != *id);
        }
        state.processes.remove(id);
        self.tell(RuntimeEvent { pod, kind: EventKind::Removed(id.clone()) });
        Ok(())
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>> {
        let state = self.lock();
        Ok(state.sandboxes.iter().filter(|sandbox| filter.matches(&sandbox.meta)).cloned().collect())
    }

    async fn container(&self, id: &ContainerId) -> Result<Container> {
        Ok(self.lock().container(id)?.1.clone())
    }

    async fn image(&self, image: &ImageRef) -> Result<Option<Image>> {
        Ok(self.0.images.contains_key(image.as_str()).then(|| described(image.as_str())))
    }

    async fn pull_image(&self, image: &ImageRef, _: Option<&RegistryCredentials>) -> Result<Image> {
        let absent = || RuntimeError::Pull {
            image: image.to_string(),
            why: PullFailure::NotFound,
            message: "this program has no function of that name".into(),
        };
        self.image(image).await?.ok_or_else(absent)
    }

    async fn images(&self) -> Result<Vec<Image>> {
        Ok(self.0.images.keys().map(|image| described(image)).collect())
    }

    async fn remove_image(&self, _: &ImageRef) -> Result<()> {
        Err(RuntimeError::Unsupported { what: "removing functions" })
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream> {
        Ok(self.lock().process(id)?.log.read(options.clone()))
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        let function = {
            let mut state = self.lock();
            if !state.container(id)?.1.state.is_running() {
                return Err(RuntimeError::NotRunning { id: id.to_string() });
            }
            state.process(id)?.function.clone()
        };
        let process = Process::new(function, command.to_vec(), Log::new(self.0.clock.clone()));
        let missing = RuntimeError::StartFailed {
            message: format!("no such command: {command:?}"),
            exit_code: NO_COMMAND,
        };
        let running = self.call(&process).ok_or(missing)?;
        tokio::select! {
            exit_code = running => {
                Ok(ExecOutput { exit_code, stdout: process.log.text().into_bytes(), stderr: Vec::new() })
            }
            () = self.0.clock.sleep(timeout) => Err(RuntimeError::Timeout { after: timeout }),
        }
    }

    async fn events(&self) -> Result<EventStream> {
        let events = futures::stream::unfold(self.0.events.subscribe(), |mut receiver| async move {
            // One that fell too far behind has lost events. The stream ends, and the reader begins anew.
            receiver.recv().await.ok().map(|event| (Ok(event), receiver))
        });
        Ok(events.boxed())
    }
}

fn image_id(image: &str) -> String {
    format!("function:{image}")
}

fn described(image: &str) -> Image {
    Image {
        id: image_id(image),
        tags: vec![image.to_owned()],
        digests: Vec::new(),
        size_bytes: 0,
        uid: None,
        username: None,
    }
}
