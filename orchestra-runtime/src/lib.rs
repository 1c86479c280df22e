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
//! * [`host`]: the node agent's small ports beside the runtime, for volumes, probes, manifests and devices.
//!
//! An adapter translates and decides nothing: when to start, restart or remove is the node agent's business, and is
//! tested there without any of this.
//!
//! # What runs
//!
//! | task | belongs to | takes in | gives out |
//! | --- | --- | --- | --- |
//! | watch, one a container that runs | a process or native runtime | the end of its shim | an event |
//! | session, one a command or attached stream | who holds the session | bytes both ways | bytes both ways, and a code |
//! | reaper, one a command of Docker's that was given up | itself, for the moment that it takes | a command's process | its end, with what it started |
//! | kubelet's socket of device plugins | [`host::DevicePlugins`] | plugins that register | a task that hears of each one's devices |
//! | connection, one to a daemon, a registry or what is probed | who sends through it | requests | answers |
//!
//! A container of the process and native runtimes is held by a process of its own (`process::init`), which outlives this
//! program. What blocks is done on tokio's threads for that, and is waited for.

mod cgroup;
#[cfg(feature = "cri")]
pub mod cri;
mod cri_log;
#[cfg(feature = "docker")]
pub mod docker;
pub mod host;
mod image_mount;
pub mod images;
mod logs;
mod machine;
mod mounts;
mod namespaces;
pub mod native;
mod netns;
mod oci;
mod pod_group;
mod ports;
mod private;
pub mod process;
mod tree;
