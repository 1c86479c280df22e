//! The machine around a runtime: files for volumes ([`Volumes`]) and a way to knock at a pod's door ([`NetProber`]).
//!
//! Implementations of the node agent's two small ports, [`VolumeHost`](orchestra_core::node::VolumeHost) and
//! [`Prober`](orchestra_core::node::Prober), for any runtime whose pods are on this machine.

mod failure;
mod grpc;
mod prober;
mod tls;
mod volumes;

pub use prober::NetProber;
pub use volumes::Volumes;
