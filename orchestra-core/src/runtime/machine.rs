//! What a runtime says about itself and the machine it runs on.

use jiff::Timestamp;

use super::SupportedFields;

/// What can be asked of a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Capabilities {
    /// Containers come from images. Where not (plain processes), images are neither looked for nor pulled, and a
    /// container must give a command.
    pub images: bool,
    /// [`Runtime::exec`](super::Runtime::exec) works. `exec_sync` always does.
    pub exec: bool,
    /// [`Runtime::attach`](super::Runtime::attach) works.
    pub attach: bool,
    /// [`Runtime::port_forward`](super::Runtime::port_forward) works.
    pub port_forward: bool,
    /// [`Runtime::stats`](super::Runtime::stats) works.
    pub stats: bool,
    /// Mounts reach the container at the path asked for.
    pub mounts: bool,
    /// CPU and memory limits are enforced.
    pub limits: bool,
    /// The runtime gives every sandbox an address itself (see [`RunningSandbox::ips`](super::RunningSandbox::ips)).
    pub addresses: bool,
    /// Containers run in name only, so there is nothing to mount into them and nobody to knock at.
    pub simulated: bool,
    /// Which fields of a pod are carried out. The agent refuses a pod that sets another one.
    pub fields: SupportedFields,
}

impl Capabilities {
    /// Everything a real runtime can have.
    pub const ALL: Self = Self {
        images: true,
        exec: true,
        attach: true,
        port_forward: true,
        stats: true,
        mounts: true,
        limits: true,
        addresses: true,
        simulated: false,
        fields: SupportedFields::ALL,
    };
}

/// Which runtime answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// Short name, the scheme of container ids in pod status: `docker`, `containerd`, `process`, `fake`.
    pub name: String,
    /// Its version, as it says it.
    pub version: String,
}

impl RuntimeInfo {
    /// `name://version`, as it stands in a node's `nodeInfo.containerRuntimeVersion`.
    pub fn reported(&self) -> String {
        format!("{}://{}", self.name, self.version)
    }
}

/// The machine that containers run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineInfo {
    /// Processor cores, in thousandths.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk for images, logs and `emptyDir` volumes.
    pub ephemeral_storage_bytes: u64,
    /// Most pods at a time.
    pub pods: u32,
    /// `linux`, as Go calls it.
    pub os: String,
    /// `amd64`, `arm64` …, as Go calls it.
    pub arch: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// The distribution in words, `PRETTY_NAME` of os-release.
    pub os_image: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// The hardware's own id; often the machine id again.
    pub system_uuid: String,
    /// Changes at each boot.
    pub boot_id: String,
    /// The machine's own name.
    pub hostname: String,
}

impl Default for MachineInfo {
    /// Four cores, 8 GiB, room for 110 pods (what a Kubernetes node takes by default), Linux on x86-64.
    fn default() -> Self {
        Self {
            cpu_millis: 4000,
            memory_bytes: 8 << 30,
            ephemeral_storage_bytes: 64 << 30,
            pods: 110,
            os: "linux".into(),
            arch: "amd64".into(),
            kernel_version: String::new(),
            os_image: String::new(),
            machine_id: String::new(),
            system_uuid: String::new(),
            boot_id: String::new(),
            hostname: String::new(),
        }
    }
}

/// What of the machine is in use, whoever uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineStats {
    /// When the figures were taken.
    pub at: Timestamp,
    /// When the machine was started.
    pub started_at: Option<Timestamp>,
    /// Processor time used since then, of all cores, in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory in use that cannot be given back at once, in bytes.
    pub memory_working_set_bytes: u64,
    /// Memory in use, with what can be given back, in bytes.
    pub memory_usage_bytes: u64,
    /// Memory that can still be had, in bytes.
    pub memory_available_bytes: u64,
    /// The disk of images, logs and `emptyDir` volumes.
    pub disk: DiskStats,
    /// Processes and threads there are.
    pub processes: u64,
    /// Most of them that there can be.
    pub most_processes: u64,
}

/// How full a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskStats {
    /// Its bytes.
    pub capacity_bytes: u64,
    /// Bytes that can still be written.
    pub available_bytes: u64,
    /// Its inodes.
    pub inodes: u64,
    /// Inodes that are free.
    pub inodes_free: u64,
}
