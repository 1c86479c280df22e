//! What the runtime knows of its sandboxes and containers.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use orchestra_core::runtime::{
    Container, ContainerId, ContainerState, Exit, PodRef, Result, RuntimeError, Sandbox, SandboxId,
};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::{Function, Log};

/// The sandboxes, and what belongs to each container beside what is shown of it.
#[derive(Default)]
pub(super) struct State {
    pub(super) sandboxes: Vec<Sandbox>,
    pub(super) processes: HashMap<ContainerId, Process>,
    last_id: u64,
}

/// What a container runs.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) function: Function,
    pub(super) command: Vec<String>,
    pub(super) stopping: CancellationToken,
    pub(super) log: Arc<Log>,
    task: Option<AbortHandle>,
}

impl Process {
    pub(super) fn new(function: Function, command: Vec<String>, log: Log) -> Self {
        Self { function, command, stopping: CancellationToken::new(), log: Arc::new(log), task: None }
    }
}

impl State {
    /// An id that was never given before.
    pub(super) fn new_id(&mut self) -> String {
        self.last_id += 1;
        format!("{:08x}", self.last_id)
    }

    pub(super) fn sandbox(&mut self, id: &SandboxId) -> Result<&mut Sandbox> {
        let found = self.sandboxes.iter_mut().find(|sandbox| sandbox.id == *id);
        found.ok_or_else(|| RuntimeError::no_sandbox(id))
    }

    pub(super) fn process(&self, id: &ContainerId) -> Result<&Process> {
        self.processes.get(id).ok_or_else(|| RuntimeError::no_container(id))
    }

    /// A container and its pod.
    pub(super) fn container(&mut self, id: &ContainerId) -> Result<(&PodRef, &mut Container)> {
        let all = self.sandboxes.iter_mut().flat_map(|sandbox| {
            let pod = &sandbox.meta.pod;
            sandbox.containers.iter_mut().map(move |container| (pod, container))
        });
        let mut all = all;
        all.find(|(_, container)| container.id == *id).ok_or_else(|| RuntimeError::no_container(id))
    }

    /// Marks a container as running.
    pub(super) fn start(&mut self, id: &ContainerId, now: Timestamp, task: AbortHandle) -> Result<PodRef> {
        let (pod, container) = self.container(id)?;
        container.state = ContainerState::Running { started_at: now };
        let pod = pod.clone();
        if let Some(process) = self.processes.get_mut(id) {
            process.task = Some(task);
        }
        Ok(pod)
    }

    /// Marks a running container as ended and drops its function where it stands. Whose it was, if it was running.
    pub(super) fn end(&mut self, id: &ContainerId, code: i32, now: Timestamp) -> Option<PodRef> {
        let (pod, container) = self.container(id).ok()?;
        let ContainerState::Running { started_at } = container.state else { return None };
        container.state = exited(code, Some(started_at), now, "", "");
        let pod = pod.clone();
        if let Some(process) = self.processes.get_mut(id) {
            process.log.end();
            if let Some(task) = process.task.take() {
                task.abort();
            }
        }
        Some(pod)
    }

    /// Marks a container as one that could not be started.
    pub(super) fn refuse(
        &mut self,
        id: &ContainerId,
        code: i32,
        message: &str,
        now: Timestamp,
    ) -> Result<PodRef> {
        let (pod, container) = self.container(id)?;
        container.state = exited(code, None, now, "StartError", message);
        let pod = pod.clone();
        self.process(id)?.log.end();
        Ok(pod)
    }
}

fn exited(
    code: i32,
    started_at: Option<Timestamp>,
    finished_at: Timestamp,
    reason: &str,
    message: &str,
) -> ContainerState {
    ContainerState::Exited(Exit {
        code,
        oom_killed: false,
        started_at,
        finished_at,
        reason: reason.to_owned(),
        message: message.to_owned(),
    })
}
