//! What is on disk: one folder a sandbox, one a container, and nothing anywhere else.
//!
//! ```text
//! <root>/sandboxes/<id>/sandbox.json      who it is, its address; `ready` once it can take containers
//! <root>/containers/<id>/container.json   who it is, and how its process is to be started
//!                        lock             held by the shim for as long as it lives
//!                        state.json       written by the shim once the process runs
//!                        exit.json        written by the shim when it has ended
//!                        attach           a socket: who connects sees what the process writes, see `attach.rs`
//!                        control          a pipe: signal numbers for the process, read by the shim
//!                        config.json, rootfs, upper …   of one that runc holds, see `oci`
//! ```
//!
//! A folder appears complete or not at all (it is made under another name and renamed), a file likewise. So whoever is
//! killed leaves a state that [`Disk`](super::disk::Disk) can read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use orchestra_core::runtime::{
    ContainerMeta, ContainerSpec, DnsConfig, PodRef, RuntimeError, SandboxMeta, SandboxSpec,
};
use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::launch::Launch;
use super::pins::{Pins, is_namespace};
use crate::cgroup;
use crate::oci::bundle::Bundle;
use crate::pod_group;

/// A sandbox, as `sandbox.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) attempt: u32,
    pub(super) owner: String,
    pub(crate) hostname: String,
    pub(crate) host_network: bool,
    pub(super) created_at: Timestamp,
    /// The boot it was made in: after another, its network namespace and its processes are gone.
    pub(super) boot_id: String,
    pub(crate) log_directory: PathBuf,
    pub(super) ip: Option<Ipv4Addr>,
    /// The one of version 6 beside it.
    #[serde(default)]
    pub(super) second_ip: Option<Ipv6Addr>,
    pub(crate) netns: Option<PathBuf>,
    pub(super) ready: bool,
    /// Its containers see the machine's processes, and so each other's.
    #[serde(default)]
    pub(crate) shared_processes: bool,
    /// Its own `resolv.conf`.
    #[serde(default)]
    pub(super) resolv_conf: Option<String>,
    /// What its containers share besides the network, where they are separate from the machine.
    #[serde(default)]
    pub(crate) shared: Option<Pins>,
    /// The control group that holds all of its containers, if one does.
    #[serde(default)]
    pub(crate) group: Option<String>,
}

impl SandboxRecord {
    pub(super) fn new(spec: &SandboxSpec, boot_id: &str) -> Self {
        let pod = spec.meta.pod.clone();
        Self {
            namespace: pod.namespace,
            pod: pod.name,
            uid: pod.uid,
            attempt: spec.meta.attempt,
            owner: spec.meta.owner.clone(),
            hostname: spec.hostname.clone(),
            host_network: spec.namespaces.host_network,
            created_at: Timestamp::now(),
            boot_id: boot_id.to_owned(),
            log_directory: spec.log_directory.clone(),
            ip: None,
            second_ip: None,
            netns: None,
            ready: false,
            shared_processes: spec.namespaces.host_pid || spec.namespaces.share_process_namespace,
            resolv_conf: spec.dns.as_ref().map(resolv_conf),
            shared: None,
            group: spec.resources.map(|_| pod_group::name(&spec.meta)),
        }
    }

    /// Whether it can take containers: not after a reboot, nor when its network namespace is gone, as it is when the
    /// container that this program runs in was killed and started again.
    pub(super) fn is_ready(&self, boot_id: &str) -> bool {
        self.ready
            && self.boot_id == boot_id
            && self.netns.as_deref().is_none_or(is_namespace)
            && self.shared.as_ref().is_none_or(Pins::hold)
    }

    pub(super) fn meta(&self) -> SandboxMeta {
        let pod = PodRef { namespace: self.namespace.clone(), name: self.pod.clone(), uid: self.uid.clone() };
        SandboxMeta { pod, attempt: self.attempt, owner: self.owner.clone() }
    }
}

fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text: String = dns.servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    for (keyword, words) in [("search", &dns.searches), ("options", &dns.options)] {
        if !words.is_empty() {
            text.push_str(&format!("{keyword} {}\n", words.join(" ")));
        }
    }
    text
}

/// A container, as `container.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) sandbox: String,
    pub(super) name: String,
    pub(super) attempt: u32,
    pub(super) hash: String,
    pub(super) image: String,
    pub(super) created_at: Timestamp,
    pub(super) stop_signal: Option<String>,
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    pub(crate) how: How,
}

/// How a container's process is started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum How {
    /// As a process of this machine.
    #[serde(rename = "launch")]
    Process(Box<Launch>),
    /// As a bundle, by runc.
    #[serde(rename = "bundle")]
    Bundle(Box<Bundle>),
}

impl How {
    /// Takes away what the machine holds of a container that has ended.
    pub(super) fn take_away(&self, id: &OsStr) {
        if let Self::Bundle(bundle) = self {
            bundle.runc().delete(id);
        }
        cgroup::remove(&self.group(id));
    }

    /// Its control group.
    pub(super) fn group(&self, id: &OsStr) -> PathBuf {
        match self {
            Self::Process(launch) => launch.group(id),
            Self::Bundle(bundle) => cgroup::of(bundle.pod_group.as_deref(), id),
        }
    }

    /// The file that is its log.
    pub(crate) fn log(&self) -> &Path {
        match self {
            Self::Process(launch) => &launch.log,
            Self::Bundle(bundle) => &bundle.log,
        }
    }

    /// Whether its input ends when the first who wrote leaves.
    pub(super) fn stdin_once(&self) -> bool {
        match self {
            Self::Process(launch) => launch.stdin_once,
            Self::Bundle(bundle) => bundle.stdin_once,
        }
    }

    /// Whether it has a terminal.
    pub(super) fn tty(&self) -> bool {
        match self {
            Self::Process(launch) => launch.tty,
            Self::Bundle(bundle) => bundle.tty,
        }
    }
}

impl ContainerRecord {
    pub(super) fn new(sandbox: &str, spec: &ContainerSpec, how: How) -> Self {
        Self {
            sandbox: sandbox.to_owned(),
            name: spec.meta.name.clone(),
            attempt: spec.meta.attempt,
            hash: spec.meta.hash.clone(),
            image: spec.image.clone(),
            created_at: Timestamp::now(),
            stop_signal: spec.stop_signal.clone(),
            annotations: spec.annotations.clone(),
            how,
        }
    }

    pub(super) fn meta(&self) -> ContainerMeta {
        ContainerMeta { name: self.name.clone(), attempt: self.attempt, hash: self.hash.clone() }
    }
}

/// That a process runs, as `state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    pub(super) shim: i32,
    pub(crate) process: i32,
    pub(super) started_at: Timestamp,
}

/// That it has ended, as `exit.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ExitRecord {
    pub(super) code: i32,
    pub(super) oom_killed: bool,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Timestamp,
    pub(super) reason: String,
    pub(super) message: String,
}

/// A container's folder.
#[derive(Debug, Clone)]
pub(crate) struct ContainerDir(pub(crate) PathBuf);

impl ContainerDir {
    pub(crate) fn record(&self) -> io::Result<ContainerRecord> {
        read(&self.0.join("container.json"))
    }

    pub(crate) fn state(&self) -> io::Result<Option<StateRecord>> {
        optional(read(&self.0.join("state.json")))
    }

    pub(super) fn exit(&self) -> io::Result<Option<ExitRecord>> {
        optional(read(&self.0.join("exit.json")))
    }

    pub(super) fn write_state(&self, state: &StateRecord) -> io::Result<()> {
        write(&self.0.join("state.json"), state)
    }

    pub(super) fn write_exit(&self, exit: &ExitRecord) -> io::Result<()> {
        write(&self.0.join("exit.json"), exit)
    }

    pub(super) fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// Takes the shim's lock. `None` when another shim has it: whoever holds the file holds the container.
    pub(super) fn try_lock(&self) -> io::Result<Option<File>> {
        let file = File::options().create(true).truncate(false).write(true).open(self.0.join("lock"))?;
        // Somebody who looks whether there is a shim holds it for a moment too.
        for _ in 0..50 {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Some(file)),
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(std::time::Duration::from_millis(2)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Whether a shim lives. It alone says whether there is a process: numbers of processes are used again, locks of
    /// the dead are not kept.
    pub(super) fn has_shim(&self) -> io::Result<bool> {
        let Some(file) = optional(File::open(self.0.join("lock")))? else { return Ok(false) };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// An error of the file system, as the port has it.
pub(crate) fn failed(error: io::Error) -> RuntimeError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => {
            RuntimeError::Exhausted { message: error.to_string() }
        }
        _ => RuntimeError::Failed { message: error.to_string() },
    }
}

pub(super) fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::from)
}

pub(super) fn write(path: &Path, record: &impl Serialize) -> io::Result<()> {
    let draft = path.with_extension("new");
    fs::write(&draft, serde_json::to_vec_pretty(record)?)?;
    fs::rename(draft, path)
}

#[cfg(test)]
mod tests;
