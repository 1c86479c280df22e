//! What a node says of the use of its resources: the summary of Kubernetes' node API, as it is written and read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The figures of a node and of its pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The node.
    pub node: NodeStats,
    /// Its pods that run.
    #[serde(default)]
    pub pods: Vec<PodStats>,
}

/// The figures of a node, whoever uses it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStats {
    /// Its name.
    pub node_name: String,
    /// When the machine was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Its processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStats>,
    /// Its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStats>,
    /// The disk of its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs: Option<FsStats>,
    /// Its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rlimit: Option<RlimitStats>,
}

/// The figures of a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStats {
    /// Which pod.
    pub pod_ref: PodReference,
    /// When its sandbox was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Its containers that run.
    pub containers: Vec<ContainerFigures>,
    /// The processors that they use together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStats>,
    /// The memory that they use together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStats>,
    /// Its volumes that are made on the node.
    #[serde(default, rename = "volume", skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeStats>,
    /// What it takes of the node's disk: what its containers write into their own files, logs and `emptyDir` volumes.
    #[serde(default, rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<FsStats>,
}

/// Which pod is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodReference {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
}

/// The figures of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerFigures {
    /// Its name.
    pub name: String,
    /// When it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Its processors.
    pub cpu: CpuStats,
    /// Its memory.
    pub memory: MemoryStats,
    /// What it wrote into its own files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<FsStats>,
}

/// The use of processors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuStats {
    /// When the figures were taken.
    pub time: Timestamp,
    /// Billionths of a core in use, over the [`window`](Self::window_millis) before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_nano_cores: Option<u64>,
    /// Processor time used since the beginning, in nanoseconds.
    pub usage_core_nano_seconds: u64,
    /// Over how long a time the use is an average, in milliseconds. Kubernetes' summary has no such field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_millis: Option<u64>,
}

/// The use of memory, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStats {
    /// When the figures were taken.
    pub time: Timestamp,
    /// What can still be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    /// What is in use, with what can be given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_bytes: Option<u64>,
    /// What is in use and cannot be given back at once.
    pub working_set_bytes: u64,
}

/// How full a disk is, or how much of it something takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FsStats {
    /// When the figures were taken.
    pub time: Timestamp,
    /// Bytes of the disk that can still be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    /// Bytes of the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Inodes of the disk that are free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes_free: Option<u64>,
    /// Inodes of the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// Inodes in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes_used: Option<u64>,
}

/// What a volume takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeStats {
    /// Its name in the pod.
    pub name: String,
    /// How much.
    #[serde(flatten)]
    pub fs: FsStats,
}

/// How many processes there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RlimitStats {
    /// When the figures were taken.
    pub time: Timestamp,
    /// Most that there can be.
    #[serde(rename = "maxpid")]
    pub most: u64,
    /// Those that there are.
    #[serde(rename = "curproc")]
    pub running: u64,
}
