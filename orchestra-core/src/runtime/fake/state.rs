//! The fake's memory: sandboxes and their containers, found by number.
//!
//! Ids carry the number, so there is no second index to keep. A sandbox with one container takes a few hundred bytes:
//! 150,000 pods must fit beside everything else.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use rustc_hash::FxHashMap;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::behaviour::Behaviour;
use super::{Call, On};
use crate::runtime::{
    Container, ContainerId, ContainerMeta, ContainerState, ContainerStats, EventKind, Exit, Filter, Image,
    MachineStats, PodRef, Resources, Result, RuntimeError, RuntimeEvent, Sandbox, SandboxId, SandboxMeta,
    SandboxState, SupportedFields,
};
use crate::supervise::Task;

#[derive(Default)]
pub(in crate::runtime) struct State {
    pub(super) sandboxes: FxHashMap<u32, FakeSandbox>,
    by_uid: FxHashMap<String, Vec<u32>>,
    next: u32,
    pub(super) images: FxHashMap<String, Image>,
    /// Images that are shown to pods: whose, which, and where.
    pub(super) shown_images: Vec<(String, String, PathBuf)>,
    pub(super) away: bool,
    pub(super) fields: SupportedFields,
    pub(super) failures: VecDeque<(Call, RuntimeError)>,
    pub(super) calls: FxHashMap<Call, u64>,
    pub(super) scripts: Vec<(On, Arc<Behaviour>)>,
    pub(super) subscribers: Vec<mpsc::UnboundedSender<Result<RuntimeEvent>>>,
    pub(super) machine: Option<Box<MachineChange>>,
    pub(super) ports: FxHashMap<u16, Arc<Listen>>,
}

/// Takes a connection to a port.
pub(super) type Listen = dyn Fn(DuplexStream) + Send + Sync;

/// Makes the figures of the machine others than they would be.
pub(super) type MachineChange = dyn FnMut(&mut MachineStats) + Send;

pub(super) struct FakeSandbox {
    pub(super) meta: SandboxMeta,
    pub(super) ready: bool,
    pub(super) created_at: Timestamp,
    pub(super) host_network: bool,
    pub(super) resources: Option<Box<Resources>>,
    pub(super) containers: Vec<FakeContainer>,
}

pub(super) struct FakeContainer {
    pub(super) id: ContainerId,
    pub(super) meta: ContainerMeta,
    pub(super) image: Arc<str>,
    pub(super) image_id: Arc<str>,
    pub(super) state: ContainerState,
    pub(super) created_at: Timestamp,
    pub(super) behaviour: Option<Arc<Behaviour>>,
    pub(super) resources: Resources,
    pub(super) written: Vec<(Timestamp, String)>,
    pub(super) ending: Option<Task>,
}

/// What a container takes of which nothing was said.
const PAGE: u64 = 4096;

/// Ids look like those of Docker (hex), with the sandbox's number first.
const ID_WIDTH: usize = 8;

pub(super) fn number_of(id: &str) -> Option<u32> {
    u32::from_str_radix(id.get(..ID_WIDTH)?, 16).ok()
}

impl State {
    pub(super) fn add_sandbox(&mut self, sandbox: FakeSandbox) -> SandboxId {
        let number = self.next;
        self.next += 1;
        self.by_uid.entry(sandbox.meta.pod.uid.clone()).or_default().push(number);
        self.sandboxes.insert(number, sandbox);
        SandboxId::from(format!("{number:08x}"))
    }

    /// The id of the next container of a sandbox.
    pub(super) fn container_id(&mut self, sandbox: &SandboxId) -> ContainerId {
        let number = self.next;
        self.next += 1;
        ContainerId::from(format!("{sandbox}{number:08x}"))
    }

    pub(super) fn wipe(&mut self) {
        self.sandboxes.clear();
        self.by_uid.clear();
        self.images.clear();
    }

    pub(super) fn remove_sandbox(&mut self, id: &SandboxId) {
        let Some(number) = number_of(id.as_str()) else { return };
        let Some(gone) = self.sandboxes.remove(&number) else { return };
        if let Some(numbers) = self.by_uid.get_mut(&gone.meta.pod.uid) {
            numbers.retain(|n| *n != number);
            if numbers.is_empty() {
                self.by_uid.remove(&gone.meta.pod.uid);
            }
        }
    }

    pub(super) fn sandbox(&mut self, id: &SandboxId) -> Result<&mut FakeSandbox> {
        number_of(id.as_str())
            .and_then(|number| self.sandboxes.get_mut(&number))
            .ok_or_else(|| RuntimeError::no_sandbox(id))
    }

    pub(super) fn container(&mut self, id: &ContainerId) -> Result<&mut FakeContainer> {
        number_of(id.as_str())
            .and_then(|number| self.sandboxes.get_mut(&number))
            .and_then(|sandbox| sandbox.containers.iter_mut().find(|container| container.id == *id))
            .ok_or_else(|| RuntimeError::no_container(id))
    }

    pub(super) fn of_pod(&self, uid: &str) -> impl Iterator<Item = (u32, &FakeSandbox)> {
        let numbers = self.by_uid.get(uid).map(Vec::as_slice).unwrap_or_default();
        numbers.iter().filter_map(|number| Some((*number, self.sandboxes.get(number)?)))
    }

    pub(super) fn list(&self, filter: &Filter) -> Vec<Sandbox> {
        let mut found: Vec<(u32, &FakeSandbox)> = match &filter.pod_uid {
            Some(uid) => self.of_pod(uid).collect(),
            None => self.sandboxes.iter().map(|(number, sandbox)| (*number, sandbox)).collect(),
        };
        found.retain(|(_, sandbox)| filter.matches(&sandbox.meta));
        found.sort_unstable_by_key(|(number, _)| *number);
        found.into_iter().map(|(number, sandbox)| sandbox.observed(number)).collect()
    }

    /// What the running containers use.
    pub(super) fn stats(&self, filter: &Filter, now: Timestamp) -> Vec<ContainerStats> {
        let of_pod = |sandbox: &FakeSandbox| {
            let pod = sandbox.meta.pod.clone();
            let stats = sandbox.containers.iter().filter_map(|container| container.stats(&pod, now));
            stats.collect::<Vec<_>>()
        };
        match &filter.pod_uid {
            Some(uid) => self
                .of_pod(uid)
                .filter(|(_, one)| filter.matches(&one.meta))
                .flat_map(|(_, one)| of_pod(one))
                .collect(),
            None => {
                self.sandboxes.values().filter(|one| filter.matches(&one.meta)).flat_map(of_pod).collect()
            }
        }
    }

    /// Ends a container that runs. Whether it did.
    pub(super) fn end(&mut self, id: &ContainerId, code: i32, oom_killed: bool, now: Timestamp) -> bool {
        let Ok(container) = self.container(id) else { return false };
        let ContainerState::Running { started_at } = container.state else { return false };
        container.state = ContainerState::Exited(Exit {
            code,
            oom_killed,
            started_at: Some(started_at),
            finished_at: now,
            reason: String::new(),
            message: String::new(),
        });
        container.ending = None;
        self.tell(id.as_str(), EventKind::Exited(id.clone()));
        true
    }

    pub(super) fn stop_sandbox(&mut self, id: &SandboxId, now: Timestamp) {
        let Ok(sandbox) = self.sandbox(id) else { return };
        let running: Vec<ContainerId> =
            sandbox.containers.iter().filter(|c| c.state.is_running()).map(|c| c.id.clone()).collect();
        let was_ready = std::mem::replace(&mut sandbox.ready, false);
        for container in running {
            self.end(&container, 137, false, now);
        }
        if was_ready {
            self.tell(id.as_str(), EventKind::SandboxStopped(id.clone()));
        }
    }

    /// Sends an event about a sandbox or container to those who listen.
    pub(super) fn tell(&mut self, id: &str, kind: EventKind) {
        if self.subscribers.is_empty() {
            return;
        }
        let Some(sandbox) = number_of(id).and_then(|number| self.sandboxes.get(&number)) else { return };
        let event = RuntimeEvent { pod: sandbox.meta.pod.clone(), kind };
        self.subscribers.retain(|subscriber| subscriber.send(Ok(event.clone())).is_ok());
    }
}

impl FakeSandbox {
    fn observed(&self, number: u32) -> Sandbox {
        Sandbox {
            id: SandboxId::from(format!("{number:08x}")),
            meta: self.meta.clone(),
            state: if self.ready { SandboxState::Ready } else { SandboxState::NotReady },
            created_at: self.created_at,
            ips: Vec::new(),
            netns: None,
            host_network: self.host_network,
            containers: self.containers.iter().map(FakeContainer::observed).collect(),
        }
    }
}

impl FakeContainer {
    pub(super) fn observed(&self) -> Container {
        Container {
            id: self.id.clone(),
            meta: self.meta.clone(),
            state: self.state.clone(),
            image: self.image.to_string(),
            image_id: self.image_id.to_string(),
            created_at: self.created_at,
        }
    }

    /// Processor time in nanoseconds, and bytes of memory, if it runs.
    pub(super) fn uses(&self, now: Timestamp) -> Option<(u64, u64)> {
        let ContainerState::Running { started_at } = self.state else { return None };
        let (millis, memory) = self.behaviour.as_ref().and_then(|known| known.uses).unwrap_or((0, PAGE));
        let ran = u64::try_from(now.duration_since(started_at).as_millis()).unwrap_or(0);
        // A thousandth of a core for a thousandth of a second is a thousand nanoseconds.
        Some((ran.saturating_mul(millis).saturating_mul(1000), memory))
    }

    /// What it uses, if it runs.
    fn stats(&self, pod: &PodRef, now: Timestamp) -> Option<ContainerStats> {
        let (cpu_nanos, memory_working_set_bytes) = self.uses(now)?;
        Some(ContainerStats {
            pod: pod.clone(),
            container: self.meta.name.clone(),
            at: now,
            cpu_nanos,
            memory_working_set_bytes,
            disk_bytes: 0,
        })
    }

    /// Every line written so far, with its time.
    pub(super) fn lines(&self, now: Timestamp) -> Vec<(Timestamp, String)> {
        let (started, until) = match &self.state {
            ContainerState::Running { started_at } => (Some(*started_at), now),
            ContainerState::Exited(exit) => (exit.started_at, exit.finished_at),
            _ => (None, now),
        };
        let scripted = self.behaviour.iter().flat_map(|b| &b.logs).filter_map(|(after, line)| {
            let at = started?.checked_add(*after).ok()?;
            (at <= until).then(|| (at, line.clone()))
        });
        let mut lines: Vec<_> = scripted.chain(self.written.iter().cloned()).collect();
        lines.sort_by_key(|(at, _)| *at);
        lines
    }

    /// When the next scripted line comes, after `now`.
    pub(super) fn next_line(&self, now: Timestamp) -> Option<Timestamp> {
        let ContainerState::Running { started_at } = self.state else { return None };
        let logs = self.behaviour.as_ref()?.logs.iter();
        logs.filter_map(|(after, _)| started_at.checked_add(*after).ok()).filter(|at| *at > now).min()
    }
}
