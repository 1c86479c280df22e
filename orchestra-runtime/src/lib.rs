//! Container runtimes for orchestra: implementations of [`Runtime`](orchestra_core::runtime::Runtime) that really run
//! something.
//!
//! * [`docker::DockerRuntime`] (feature `docker`, on by default): containers by a Docker daemon on this machine. Begin
//!   with [`DockerRuntime::connect`](docker::DockerRuntime::connect).
//! * [`cri::CriRuntime`] (feature `cri`, on by default): containers by containerd, CRI-O or another that speaks the CRI.
//! * [`images`]: images of containers on the disk, from registries and files.
//! * [`native::NativeRuntime`]: containers of images by this machine's kernel and runc; no daemon. A program that uses it calls
//!   [`process::init`] first in `main`.
//! * [`process::ProcessRuntime`]: a container is a process group on this machine; no daemon, no root, no image. A
//!   program that uses it calls [`process::init`] first in `main`.
//! * [`host`]: the node agent's two small ports beside the runtime, for volumes and probes.
//!
//! An adapter translates and decides nothing: when to start, restart or remove is the node agent's business, and is
//! tested there without any of this.

#[cfg(feature = "cri")]
pub mod cri;
mod cri_log;
#[cfg(feature = "docker")]
pub mod docker;
pub mod host;
pub mod images;
mod logs;
mod machine;
mod mounts;
mod namespaces;
pub mod native;
mod netns;
mod oci;
mod ports;
mod private;
pub mod process;
mod tree;
