//! The messages of the Container Storage Interface, as far as a node calls its drivers, and of the kubelet's registration of
//! plugins; with the numbers that their definitions give their fields.

use std::collections::{BTreeMap, HashMap};

use crate::host::calls::calls;

calls! {
    "/pluginregistration.Registration/GetInfo" InfoRequest -> PluginInfo,
    "/pluginregistration.Registration/NotifyRegistrationStatus" RegistrationStatus -> Empty,
    "/csi.v1.Node/NodeGetInfo" NodeInfoRequest -> NodeInfo,
    "/csi.v1.Node/NodeGetCapabilities" CapabilitiesRequest -> CapabilitiesResponse,
    "/csi.v1.Node/NodeStageVolume" StageRequest -> Empty,
    "/csi.v1.Node/NodeUnstageVolume" UnstageRequest -> Empty,
    "/csi.v1.Node/NodePublishVolume" PublishRequest -> Empty,
    "/csi.v1.Node/NodeUnpublishVolume" UnpublishRequest -> Empty,
    "/csi.v1.Node/NodeExpandVolume" ExpandRequest -> Empty,
}

/// An answer that says nothing but that it was done.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Empty {}

/// Asks a plugin who it is.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InfoRequest {}

/// Who a plugin is.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PluginInfo {
    #[prost(string, tag = "1")]
    pub(super) r#type: String,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) endpoint: String,
    #[prost(string, repeated, tag = "4")]
    pub(super) supported_versions: Vec<String>,
}

/// Tells a plugin what came of its registration.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RegistrationStatus {
    #[prost(bool, tag = "1")]
    pub(super) plugin_registered: bool,
    #[prost(string, tag = "2")]
    pub(super) error: String,
}

/// Asks a driver what it calls this machine.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NodeInfoRequest {}

/// What it calls it, how many volumes it can have there, and where it is.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct NodeInfo {
    #[prost(string, tag = "1")]
    pub(super) node_id: String,
    #[prost(int64, tag = "2")]
    pub(super) max_volumes_per_node: i64,
    #[prost(message, optional, tag = "3")]
    pub(super) accessible_topology: Option<Topology>,
}

/// A place, by the words of a driver.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Topology {
    #[prost(btree_map = "string, string", tag = "1")]
    pub(super) segments: BTreeMap<String, String>,
}

/// Asks what a driver can do on a node.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CapabilitiesRequest {}

/// What it can do.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CapabilitiesResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) capabilities: Vec<Capability>,
}

/// One thing that it can do.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Capability {
    #[prost(message, optional, tag = "1")]
    pub(super) rpc: Option<Rpc>,
}

/// A call that it takes.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Rpc {
    #[prost(int32, tag = "1")]
    pub(super) r#type: i32,
}

impl Rpc {
    /// Volumes are made ready once a node, and then for each pod.
    pub(super) const STAGES: i32 = 1;
    /// Volumes that were made larger are let have their room on the node.
    pub(super) const EXPANDS: i32 = 3;
    /// It tells whether one or several use a volume on the one node that has it.
    pub(super) const COUNTS_WRITERS: i32 = 5;
    /// It gives files to a group by itself.
    pub(super) const GROUPS: i32 = 6;
}

/// How a volume is used: as a device or as files.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct VolumeCapability {
    #[prost(message, optional, tag = "1")]
    pub(super) block: Option<Empty>,
    #[prost(message, optional, tag = "2")]
    pub(super) mount: Option<MountVolume>,
    #[prost(message, optional, tag = "3")]
    pub(super) access_mode: Option<AccessMode>,
}

/// What kind of files.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct MountVolume {
    #[prost(string, tag = "1")]
    pub(super) fs_type: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) mount_flags: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) volume_mount_group: String,
}

/// By how many nodes, and whether they write.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AccessMode {
    #[prost(int32, tag = "1")]
    pub(super) mode: i32,
}

/// Makes a volume ready on a node.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StageRequest {
    #[prost(string, tag = "1")]
    pub(super) volume_id: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(super) publish_context: BTreeMap<String, String>,
    #[prost(string, tag = "3")]
    pub(super) staging_target_path: String,
    #[prost(message, optional, tag = "4")]
    pub(super) volume_capability: Option<VolumeCapability>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(super) secrets: BTreeMap<String, String>,
    #[prost(map = "string, string", tag = "6")]
    pub(super) volume_context: HashMap<String, String>,
}

/// The opposite.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UnstageRequest {
    #[prost(string, tag = "1")]
    pub(super) volume_id: String,
    #[prost(string, tag = "2")]
    pub(super) staging_target_path: String,
}

/// Shows a volume to a pod.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PublishRequest {
    #[prost(string, tag = "1")]
    pub(super) volume_id: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub(super) publish_context: BTreeMap<String, String>,
    #[prost(string, tag = "3")]
    pub(super) staging_target_path: String,
    #[prost(string, tag = "4")]
    pub(super) target_path: String,
    #[prost(message, optional, tag = "5")]
    pub(super) volume_capability: Option<VolumeCapability>,
    #[prost(bool, tag = "6")]
    pub(super) readonly: bool,
    #[prost(btree_map = "string, string", tag = "7")]
    pub(super) secrets: BTreeMap<String, String>,
    #[prost(map = "string, string", tag = "8")]
    pub(super) volume_context: HashMap<String, String>,
}

/// The opposite.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UnpublishRequest {
    #[prost(string, tag = "1")]
    pub(super) volume_id: String,
    #[prost(string, tag = "2")]
    pub(super) target_path: String,
}

/// Lets a volume that is shown have more room.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ExpandRequest {
    #[prost(string, tag = "1")]
    pub(super) volume_id: String,
    #[prost(string, tag = "2")]
    pub(super) volume_path: String,
    #[prost(message, optional, tag = "3")]
    pub(super) capacity_range: Option<CapacityRange>,
    #[prost(string, tag = "4")]
    pub(super) staging_target_path: String,
    #[prost(message, optional, tag = "5")]
    pub(super) volume_capability: Option<VolumeCapability>,
    #[prost(btree_map = "string, string", tag = "6")]
    pub(super) secrets: BTreeMap<String, String>,
}

/// How large a volume is to be.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CapacityRange {
    #[prost(int64, tag = "1")]
    pub(super) required_bytes: i64,
}
