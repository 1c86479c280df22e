//! The machine around a runtime: files for volumes ([`Volumes`]), a way to knock at a pod's door ([`NetProber`]) and the
//! manifests of a folder ([`ManifestPath`]).
//!
//! Implementations of the node agent's small ports, [`VolumeHost`](orchestra_core::node::VolumeHost),
//! [`Prober`](orchestra_core::node::Prober) and [`Manifests`](orchestra_core::node::Manifests), for any runtime whose pods
//! are on this machine.

mod failure;
mod grpc;
mod manifests;
mod prober;
mod tls;
mod volumes;

pub use manifests::ManifestPath;
pub use prober::NetProber;
pub use volumes::Volumes;

/// What is mounted below a folder.
pub mod mounts {
    pub use crate::mounts::{below, unmount_below};
}
