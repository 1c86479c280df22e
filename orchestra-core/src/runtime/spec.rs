//! What the agent asks for: sandboxes and containers, with everything resolved.
//!
//! Nothing in here refers to the API: variables are expanded, ConfigMaps read, volumes on disk. An adapter translates,
//! and decides nothing.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// An id as the runtime gave it.
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id.into())
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.into())
            }
        }
    };
}

id! {
    /// The runtime's id of a sandbox. Opaque.
    SandboxId
}
id! {
    /// The runtime's id of a container. Opaque; what comes after `://` in pod status.
    ContainerId
}

/// Which pod, for good: a pod of the same name with another uid is another pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid. For a static pod, the hash of its manifest.
    pub uid: String,
}

impl fmt::Display for PodRef {
    /// `name_namespace(uid)`, as the kubelet writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}({})", self.name, self.namespace, self.uid)
    }
}

/// Which sandbox. Survives in [`labels`](super::labels).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SandboxMeta {
    /// The pod it is for.
    pub pod: PodRef,
    /// How many the pod had before.
    pub attempt: u32,
    /// The agent that made it, one word for cluster and node. Agents that share a daemon see only their own.
    pub owner: String,
}

/// Which container of a sandbox. Survives in [`labels`](super::labels).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContainerMeta {
    /// Its name in the pod.
    pub name: String,
    /// How often it was started before, the restart count.
    pub attempt: u32,
    /// A hash of the part of the pod's spec it was made from; another hash means it must be made anew.
    pub hash: String,
}

/// A sandbox to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSpec {
    /// Who it is.
    pub meta: SandboxMeta,
    /// The name its containers see. Empty with the host's network: then it is the machine's.
    pub hostname: String,
    /// How its containers look up names. `None` leaves it to the runtime.
    pub dns: Option<DnsConfig>,
    /// Ports of the machine that lead to it.
    pub host_ports: Vec<HostPort>,
    /// What it shares with the machine.
    pub namespaces: Namespaces,
    /// Kernel parameters of its own.
    pub sysctls: BTreeMap<String, String>,
    /// The pod's labels, for people and tools; identity is in `meta`.
    pub labels: BTreeMap<String, String>,
    /// The pod's annotations, likewise.
    pub annotations: BTreeMap<String, String>,
    /// Where its containers' logs go, for runtimes that write files.
    pub log_directory: PathBuf,
    /// Parent cgroup, where the machine has one for pods.
    pub cgroup_parent: Option<String>,
    /// What all of its containers may use together; `None` where only each for itself has limits. Needs
    /// [`SupportedFields::pod_resources`](super::SupportedFields::pod_resources).
    pub resources: Option<Resources>,
    /// What runs it, by the runtime's own names: the handler of the pod's RuntimeClass. Empty for the usual.
    pub handler: String,
    /// Some container of it is [privileged](SecurityContext::privileged).
    pub privileged: bool,
}

/// What a sandbox shares with the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces {
    /// The machine's network.
    pub host_network: bool,
    /// The machine's processes.
    pub host_pid: bool,
    /// The machine's shared memory.
    pub host_ipc: bool,
    /// Containers of the pod see each other's processes.
    pub share_process_namespace: bool,
    /// The pod's users are none of the machine's, its root neither. Needs
    /// [`SupportedFields::user_namespaces`](super::SupportedFields::user_namespaces).
    pub own_users: bool,
}

/// How containers look up names: the lines of `resolv.conf`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsConfig {
    /// Who to ask, in order.
    pub servers: Vec<IpAddr>,
    /// Domains to try for a short name.
    pub searches: Vec<String>,
    /// Such as `ndots:5`.
    pub options: Vec<String>,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Reads `TCP`, `UDP` or `SCTP`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "TCP" => Self::Tcp,
            "UDP" => Self::Udp,
            "SCTP" => Self::Sctp,
            _ => return None,
        })
    }

    /// `TCP`, `UDP` or `SCTP`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A port of the machine that leads to a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The protocol.
    pub protocol: Protocol,
    /// Port on the machine.
    pub host_port: u16,
    /// Port in the sandbox.
    pub container_port: u16,
    /// Only at this address of the machine; `None` at all.
    pub host_ip: Option<IpAddr>,
}

/// A container to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Who it is.
    pub meta: ContainerMeta,
    /// The image, as written in the pod.
    pub image: String,
    /// The image's id as [`Runtime::image`](super::Runtime::image) found it, so that a tag which moves meanwhile changes
    /// nothing. Empty where the runtime has no images.
    pub image_id: String,
    /// Replaces the image's entry point when not empty. Variables are expanded.
    pub command: Vec<String>,
    /// Replaces the image's command when not empty. Variables are expanded.
    pub args: Vec<String>,
    /// The environment, in order; a name stands in it once.
    pub env: Vec<(String, String)>,
    /// Replaces the image's working directory.
    pub working_dir: Option<String>,
    /// What of the machine's files it sees, in order.
    pub mounts: Vec<Mount>,
    /// What of the machine's devices it has.
    pub devices: Vec<Device>,
    /// What it may do.
    pub security: SecurityContext,
    /// What it may use.
    pub resources: Resources,
    /// Its standard input stays open.
    pub stdin: bool,
    /// Its standard input ends when the first who attached leaves.
    pub stdin_once: bool,
    /// It has a terminal.
    pub tty: bool,
    /// A container of the same sandbox whose processes it sees as its own, where the runtime can do that. Where not, it
    /// sees those that it would see without.
    pub processes_of: Option<ContainerId>,
    /// What ends it, instead of the image's choice: `SIGQUIT`.
    pub stop_signal: Option<String>,
    /// Labels beside those of its identity.
    pub labels: BTreeMap<String, String>,
    /// Annotations: what the agent wants to find again after it restarted.
    pub annotations: BTreeMap<String, String>,
    /// Its log within the sandbox's log directory, for runtimes that write files.
    pub log_path: PathBuf,
}

/// A device of the machine inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where it is on the machine.
    pub host_path: PathBuf,
    /// Where it goes, absolute.
    pub container_path: String,
    /// What may be done with it: letters of `rwm`, for reading, writing and making its file.
    pub permissions: String,
}

/// A piece of the machine's file system inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is on the machine, sub path resolved. It exists.
    pub host_path: PathBuf,
    /// Where it goes, absolute.
    pub container_path: String,
    /// It cannot be written.
    pub read_only: bool,
    /// Nor can what is mounted below it.
    pub recursive_read_only: bool,
    /// Whether mounts made later are seen on the other side.
    pub propagation: Propagation,
}

/// Whether mounts made under a mount later are seen on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Private,
    /// The container sees the machine's.
    HostToContainer,
    /// Both see each other's.
    Bidirectional,
}

/// What a container may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityContext {
    /// User by number; `None` leaves it to the image.
    pub run_as_user: Option<i64>,
    /// Group by number.
    pub run_as_group: Option<i64>,
    /// More groups.
    pub supplemental_groups: Vec<i64>,
    /// No others than these, whatever the image's list of groups says.
    pub strict_groups: bool,
    /// Everything the machine's root may.
    pub privileged: bool,
    /// Its own file system cannot be written.
    pub read_only_root_filesystem: bool,
    /// It cannot gain more than it began with (`no_new_privs`).
    pub no_new_privileges: bool,
    /// Linux capabilities to add, without `CAP_`; `ALL` is all.
    pub add_capabilities: Vec<Capability>,
    /// Linux capabilities to take away, likewise.
    pub drop_capabilities: Vec<Capability>,
    /// System call filter.
    pub seccomp: Option<SeccompProfile>,
    /// AppArmor profile by name; `unconfined` for none, and [`APPARMOR_DEFAULT`] for the runtime's own.
    pub apparmor: Option<String>,
    /// Nothing of `/proc` is hidden from it or made read-only.
    pub unmasked_proc: bool,
}

/// The AppArmor profile that a runtime has of its own.
pub const APPARMOR_DEFAULT: &str = "runtime/default";

/// The name of a Linux capability without `CAP_`, such as `NET_ADMIN`.
pub type Capability = String;

/// A system call filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeccompProfile {
    /// The runtime's own.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// A file on the machine.
    Localhost(PathBuf),
}

/// What a container may use. `None` and 0 mean no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// Weight among others when processors are short: 1024 for a whole core asked for, at least 2.
    pub cpu_shares: u64,
    /// Processor time in each period, in microseconds.
    pub cpu_quota: Option<i64>,
    /// The period, in microseconds.
    pub cpu_period: u64,
    /// Bytes of memory.
    pub memory_bytes: Option<i64>,
    /// How willingly the kernel ends it when memory is short, −1000 to 1000.
    pub oom_score_adj: i32,
}
