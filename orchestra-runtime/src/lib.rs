//! Container runtimes for orchestra: implementations of [`Runtime`](orchestra_core::runtime::Runtime) that really run
//! something.
//!
//! * [`docker::DockerRuntime`] (feature `docker`, on by default): containers by a Docker daemon on this machine. Begin
//!   with [`DockerRuntime::connect`](docker::DockerRuntime::connect).
//!
//! An adapter translates and decides nothing: when to start, restart or remove is the node agent's business, and is
//! tested there without any of this.

#[cfg(feature = "docker")]
pub mod docker;
mod logs;
mod machine;
mod netns;
