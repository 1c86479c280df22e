//! What runs containers: the port to Docker, containerd, plain processes, or a fake.
//!
//! [`Runtime`] is modelled on what a node needs and no more: a *sandbox* for each pod (the thing its containers
//! share: network, hostname, host ports), *containers* in it, *images*, logs, exec, figures, and a stream of events.
//!
//! It is built around **adoption**. The node agent keeps nothing on disk: after it restarts it calls
//! [`Runtime::list`] and gets back every sandbox and container it once made, with the identity it gave them. For that
//! an implementation writes the maps of [`labels`] onto its objects and reads them back; containers go on running
//! whether or not an agent is there.
//!
//! What an implementor writes: the methods without a body. What comes free: [`labels`] (identity to labels and back),
//! [`names`] (how objects are called), and the suite `testing::contract::runtime`, which any implementation can run.
//! Abilities that not every runtime has are declared in [`Capabilities`]; their methods answer
//! [`RuntimeError::Unsupported`] unless overridden.
//!
//! [`fake`] is a whole runtime in memory and in virtual time.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

mod error;
pub mod fake;
mod image;
pub mod labels;
mod machine;
pub mod names;
mod observed;
mod progress;
mod shared;
mod spec;
mod stream;
mod supported;

pub use error::{PullFailure, Result, RuntimeError};
pub use image::{Image, ImageRef, RegistryCredentials};
pub use machine::{Capabilities, DiskStats, MachineInfo, MachineStats, RuntimeInfo};
pub use observed::{
    Container, ContainerState, ContainerStats, EventKind, Exit, Filter, RunningSandbox, RuntimeEvent,
    Sandbox, SandboxState,
};
pub use progress::PullProgress;
pub use spec::{
    APPARMOR_DEFAULT, Capability, ContainerId, ContainerMeta, ContainerSpec, Device, DnsConfig, HostPort,
    Mount, Namespaces, PodRef, Propagation, Protocol, Resources, SandboxId, SandboxMeta, SandboxSpec,
    SeccompProfile, SecurityContext,
};
pub use stream::{
    AttachOptions, ByteStream, Duplex, EventStream, ExecOptions, ExecOutput, LogOptions, Session,
    TerminalSize,
};
pub use supported::SupportedFields;

/// A container runtime, as the node agent sees it.
///
/// Rules for every method:
///
/// * **Safe to repeat.** Stopping what is stopped and removing what is gone succeed. Starting a running container
///   succeeds. Creating what exists under the same name and attempt is [`RuntimeError::AlreadyExists`].
/// * **Errors say what to do.** A daemon that is away is [`RuntimeError::Unavailable`] from every method, and never
///   looks like "no containers".
/// * **Cancel-safe.** Dropping a future leaves an object that [`list`](Runtime::list) shows, or none: never one that is
///   running and cannot be found.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// What can be asked of this runtime. It does not change while the program runs.
    fn capabilities(&self) -> Capabilities;

    /// Name and version, asked of the daemon each time: this is also the health check.
    async fn info(&self) -> Result<RuntimeInfo>;

    /// The machine the containers run on: what it has to give, and what it calls itself.
    async fn machine(&self) -> Result<MachineInfo>;

    /// Makes and starts a pod's sandbox.
    ///
    /// Its host ports are taken here, so one in use is an error here and not of a container. When this fails nothing is
    /// left behind but what [`list`](Runtime::list) shows.
    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox>;

    /// Stops a sandbox and, at once and without grace, every container still running in it. The record stays until it
    /// is removed.
    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()>;

    /// Removes a sandbox with its containers and their logs, stopping them first where needed.
    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()>;

    /// Gives a sandbox that was made with [resources](SandboxSpec::resources) others, while its containers run.
    async fn update_sandbox(&self, id: &SandboxId, resources: &Resources) -> Result<()> {
        let _ = (id, resources);
        Err(RuntimeError::Unsupported { what: "the resize of a pod that runs" })
    }

    /// Makes a container in a sandbox, without starting it. The image must be there already:
    /// [`RuntimeError::ImageNotFound`] otherwise, and no pull.
    async fn create_container(&self, sandbox: &SandboxId, spec: &ContainerSpec) -> Result<ContainerId>;

    /// Starts a created container. A command that cannot be executed is [`RuntimeError::StartFailed`], and the container
    /// is from then on [`Exited`](ContainerState::Exited) with that code and the reason `StartError`.
    async fn start_container(&self, id: &ContainerId) -> Result<()>;

    /// Gives a container other processors and memory while it runs. What has no limit then keeps the one it had: limits
    /// of a container can be changed, and not taken away.
    async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        let _ = (id, resources);
        Err(RuntimeError::Unsupported { what: "the resize of a container that runs" })
    }

    /// Asks a container to end (the image's stop signal, SIGTERM by default), and kills it when it has not after
    /// `grace`. Returns when it is no longer running. Zero grace kills at once. A second call with a shorter grace
    /// while a first is waiting takes effect.
    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()>;

    /// Removes a container and its logs; a running one is killed first.
    async fn remove_container(&self, id: &ContainerId) -> Result<()>;

    /// Every sandbox that passes the filter, running or not, with all its containers, oldest attempt first.
    async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>>;

    /// One container as it is now.
    async fn container(&self, id: &ContainerId) -> Result<Container>;

    /// The image if it is here; `None` when it would have to be pulled.
    async fn image(&self, image: &ImageRef) -> Result<Option<Image>>;

    /// Pulls an image and answers what it now is. Whether to pull at all is the agent's decision.
    async fn pull_image(&self, image: &ImageRef, credentials: Option<&RegistryCredentials>) -> Result<Image>;

    /// As [`pull_image`](Self::pull_image), and tells meanwhile how far it has come, where the runtime knows that.
    async fn pull_image_telling(
        &self,
        image: &ImageRef,
        credentials: Option<&RegistryCredentials>,
        progress: &PullProgress,
    ) -> Result<Image> {
        let _ = progress;
        self.pull_image(image, credentials).await
    }

    /// Every image on this machine.
    async fn images(&self) -> Result<Vec<Image>>;

    /// Removes an image by any of its names. One that a container uses is [`RuntimeError::InUse`].
    async fn remove_image(&self, image: &ImageRef) -> Result<()>;

    /// Shows the files of an image, by its id, at a folder of the machine, which cannot be written there. Where that is done
    /// already nothing is done. Until [`release_images`](Self::release_images) the image is in use. Needs
    /// [`SupportedFields::image_volumes`].
    async fn mount_image(&self, image: &str, pod: &PodRef, at: &Path) -> Result<()> {
        let _ = (image, pod, at);
        Err(RuntimeError::Unsupported { what: "volumes that are images" })
    }

    /// Gives up what is kept of images that were shown to a pod. What was mounted has been taken away before.
    async fn release_images(&self, pod_uid: &str) -> Result<()> {
        let _ = pod_uid;
        Ok(())
    }

    /// What a container wrote, standard output and standard error in the order written. Works for a container that has
    /// ended, until it is removed. With [`LogOptions::follow`] the stream ends when the container does.
    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream>;

    /// Runs a command in a container and waits for it, at most `timeout` ([`RuntimeError::Timeout`]). A command that
    /// ends with another code than 0 is an answer, not an error.
    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecOutput>;

    /// Runs a command in a container with its streams connected. Needs [`Capabilities::exec`].
    async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        let _ = (id, options);
        Err(RuntimeError::Unsupported { what: "exec" })
    }

    /// Connects to the streams of a container's main process. Needs [`Capabilities::attach`].
    async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<Session> {
        let _ = (id, options);
        Err(RuntimeError::Unsupported { what: "attach" })
    }

    /// A connection to a port inside a sandbox, on its loopback. Needs [`Capabilities::port_forward`].
    async fn port_forward(&self, sandbox: &SandboxId, port: u16) -> Result<Box<dyn Duplex>> {
        let _ = (sandbox, port);
        Err(RuntimeError::Unsupported { what: "port-forward" })
    }

    /// Figures of the running containers that pass the filter. Needs [`Capabilities::stats`].
    async fn stats(&self, filter: &Filter) -> Result<Vec<ContainerStats>> {
        let _ = filter;
        Err(RuntimeError::Unsupported { what: "stats" })
    }

    /// What of the machine is in use. Needs [`Capabilities::stats`].
    async fn machine_stats(&self) -> Result<MachineStats> {
        Err(RuntimeError::Unsupported { what: "stats" })
    }

    /// What happens to containers from now on, so that nobody has to poll.
    ///
    /// The stream may repeat an event, and ends (or yields an error and ends) when events may have been lost; the
    /// reader then subscribes again and lists. Events of containers that are not ours may be among them.
    async fn events(&self) -> Result<EventStream>;
}

#[cfg(test)]
mod tests;
