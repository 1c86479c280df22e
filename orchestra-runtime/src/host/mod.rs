//! The machine around a runtime: files for volumes ([`Volumes`]), a way to knock at a pod's door ([`NetProber`]), the
//! manifests of a folder ([`ManifestPath`]) and the device plugins of the machine ([`DevicePlugins`]).
//!
//! Implementations of the node agent's small ports, [`VolumeHost`](orchestra_core::node::VolumeHost),
//! [`Prober`](orchestra_core::node::Prober), [`Manifests`](orchestra_core::node::Manifests) and
//! [`DevicePlugins`](orchestra_core::node::DevicePlugins), for any runtime whose pods are on this machine.

#[cfg(any(feature = "csi", feature = "device-plugins"))]
mod calls;
#[cfg(feature = "csi")]
mod csi;
#[cfg(feature = "device-plugins")]
mod devices;
mod failure;
mod group;
mod grpc;
mod manifests;
mod prober;
mod tls;
mod volumes;

#[cfg(feature = "device-plugins")]
pub use devices::DevicePlugins;
pub use manifests::ManifestPath;
pub use prober::NetProber;
pub use volumes::Volumes;

/// What is mounted below a folder, and at one.
pub mod mounts {
    pub use crate::mounts::{below, is_mounted, unmount, unmount_below};
}
