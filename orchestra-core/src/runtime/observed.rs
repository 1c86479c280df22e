//! What a runtime reports: sandboxes, containers, events, figures.

use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;

use super::{ContainerId, ContainerMeta, PodRef, SandboxId, SandboxMeta};

/// Which sandboxes (or containers) are meant. The default is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Only what this agent made; see [`SandboxMeta::owner`].
    pub owner: Option<String>,
    /// Only of the pod with this uid.
    pub pod_uid: Option<String>,
}

impl Filter {
    /// What one agent made.
    pub fn owner(owner: impl Into<String>) -> Self {
        Self { owner: Some(owner.into()), pod_uid: None }
    }

    /// Of one pod.
    pub fn and_pod(mut self, uid: impl Into<String>) -> Self {
        self.pod_uid = Some(uid.into());
        self
    }

    /// Whether a sandbox of this identity is meant.
    pub fn matches(&self, meta: &SandboxMeta) -> bool {
        self.owner.as_ref().is_none_or(|owner| *owner == meta.owner)
            && self.pod_uid.as_ref().is_none_or(|uid| *uid == meta.pod.uid)
    }
}

/// A sandbox that was just started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningSandbox {
    /// Its id.
    pub id: SandboxId,
    /// The addresses the runtime gave it by itself, first the one of the node's primary family. Empty where that is the
    /// [`Network`](crate::network::Network)'s business.
    pub ips: Vec<IpAddr>,
    /// Its network namespace, where it has one that a file names.
    pub netns: Option<PathBuf>,
}

/// A sandbox as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id.
    pub id: SandboxId,
    /// Who it is, rebuilt from its labels.
    pub meta: SandboxMeta,
    /// Whether it runs.
    pub state: SandboxState,
    /// When it was made.
    pub created_at: Timestamp,
    /// See [`RunningSandbox::ips`].
    pub ips: Vec<IpAddr>,
    /// See [`RunningSandbox::netns`].
    pub netns: Option<PathBuf>,
    /// Whether it uses the machine's own network.
    pub host_network: bool,
    /// Its containers, running or not, in the order they were made.
    pub containers: Vec<Container>,
}

/// Whether a sandbox can take containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SandboxState {
    /// It can.
    Ready,
    /// It was stopped, or died. It can only be removed.
    NotReady,
}

/// A container as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Which one it is, rebuilt from its labels.
    pub meta: ContainerMeta,
    /// What it is doing.
    pub state: ContainerState,
    /// The image as it was asked for.
    pub image: String,
    /// The image it runs, by digest or id.
    pub image_id: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made and never started.
    Created,
    /// Running.
    Running {
        /// Since when.
        started_at: Timestamp,
    },
    /// It ended, by itself or not, or could not be started.
    Exited(Exit),
    /// The runtime cannot say. Treated as running until it can.
    Unknown,
}

impl ContainerState {
    /// Whether a process is (or may be) there.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Unknown)
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<&Exit> {
        match self {
            Self::Exited(exit) => Some(exit),
            _ => None,
        }
    }
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Its code; 128 + n when signal n ended it.
    pub code: i32,
    /// Whether the kernel killed it because it used more memory than it may.
    pub oom_killed: bool,
    /// When it was started. `None` when it never ran.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The runtime's own word for why, where it has a better one than `Completed`, `Error` or `OOMKilled` (which the
    /// agent derives): `StartError`, for instance. Empty otherwise.
    pub reason: String,
    /// The runtime's own words. Empty when it has none.
    pub message: String,
}

/// Something happened to a container or a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// The pod it belongs to.
    pub pod: PodRef,
    /// What happened, to which.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A container's process runs.
    Started(ContainerId),
    /// A container ended.
    Exited(ContainerId),
    /// A container is gone.
    Removed(ContainerId),
    /// A sandbox no longer runs, or is gone.
    SandboxStopped(SandboxId),
}

/// Figures of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerStats {
    /// The pod.
    pub pod: PodRef,
    /// The container's name within it.
    pub container: String,
    /// When they were taken.
    pub at: Timestamp,
    /// Processor time used since it started, in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory in use that cannot be given back at once, in bytes.
    pub memory_working_set_bytes: u64,
    /// Bytes of its writable layer.
    pub disk_bytes: u64,
}
