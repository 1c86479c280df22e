//! Snapshots of containerd: layers of images as they can be mounted.

use std::collections::HashMap;

/// Makes a snapshot that can be read, of the layers of an image.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ViewSnapshotRequest {
    #[prost(string, tag = "1")]
    pub(crate) snapshotter: String,
    #[prost(string, tag = "2")]
    pub(crate) key: String,
    #[prost(string, tag = "3")]
    pub(crate) parent: String,
    #[prost(map = "string, string", tag = "4")]
    pub(crate) labels: HashMap<String, String>,
}

/// How a snapshot is mounted.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ViewSnapshotResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) mounts: Vec<SnapshotMount>,
}

/// A mount, as the program `mount` takes it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotMount {
    #[prost(string, tag = "1")]
    pub(crate) r#type: String,
    #[prost(string, tag = "2")]
    pub(crate) source: String,
    #[prost(string, repeated, tag = "4")]
    pub(crate) options: Vec<String>,
}

/// Asks how a snapshot is mounted.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MountsRequest {
    #[prost(string, tag = "1")]
    pub(crate) snapshotter: String,
    #[prost(string, tag = "2")]
    pub(crate) key: String,
}

/// Removes a snapshot.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RemoveSnapshotRequest {
    #[prost(string, tag = "1")]
    pub(crate) snapshotter: String,
    #[prost(string, tag = "2")]
    pub(crate) key: String,
}

/// Asks for the snapshots that pass one of the filters.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ListSnapshotsRequest {
    #[prost(string, tag = "1")]
    pub(crate) snapshotter: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) filters: Vec<String>,
}

/// Some of the snapshots.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ListSnapshotsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) info: Vec<SnapshotInfo>,
}

/// A snapshot.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SnapshotInfo {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(map = "string, string", tag = "6")]
    pub(crate) labels: HashMap<String, String>,
}
