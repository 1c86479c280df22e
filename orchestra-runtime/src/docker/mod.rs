//! Containers by a Docker daemon on this machine, over its Unix socket.
//!
//! A pod is a *pause* container (made in [`pause`]) whose network and IPC namespaces its containers join. Nothing is
//! kept here: identity is in labels, so a daemon or an agent that comes back finds everything. Every request opens a
//! connection of its own, so a daemon that was restarted is simply there again.
//!
//! [`translate`] and [`status`] are pure and turn the port's types into Docker's and back; the rest calls the daemon:
//! [`sandbox`](mod@sandbox) and [`container`](mod@container) for lives, [`images`], [`streams`] for logs, exec and
//! attach, [`events`] for what happens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use orchestra_core::runtime::{
    AttachOptions, ByteStream, Capabilities, Container, ContainerId, ContainerSpec, ContainerStats, Duplex,
    EventStream, ExecOptions, ExecOutput, Filter, Image, ImageRef, LogOptions, MachineInfo, MachineStats,
    PodRef, PullProgress, RegistryCredentials, Resources, Result, RunningSandbox, Runtime, RuntimeError,
    RuntimeInfo, Sandbox, SandboxId, SandboxSpec, Session,
};

mod container;
mod daemon;
mod error;
mod events;
mod image_volumes;
mod images;
mod pause;
mod sandbox;
mod status;
mod streams;
mod translate;

#[cfg(test)]
mod tests;

/// Where Docker listens when nothing else is said.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// Containers by a Docker daemon on this machine.
///
/// Cheap to clone; clones share nothing but the address.
#[derive(Debug, Clone)]
pub struct DockerRuntime {
    docker: Docker,
    socket: Arc<Path>,
    security: daemon::Security,
    /// The layers of its images can be mounted from here.
    layers: bool,
}

impl DockerRuntime {
    /// Connects to the daemon that `DOCKER_HOST` names, or to the one at `/var/run/docker.sock`.
    ///
    /// Answers within about two seconds: [`RuntimeError::Unavailable`] says that there is no daemon, which is how
    /// `--runtime auto` finds out.
    pub async fn connect() -> Result<Self> {
        let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        Self::connect_to(host.as_deref().unwrap_or(DEFAULT_HOST)).await
    }

    /// Connects to the daemon at `unix:///path/to/docker.sock`.
    ///
    /// Other schemes are refused: volumes and pod addresses are those of the daemon's machine, so it has to be this one.
    pub async fn connect_to(host: &str) -> Result<Self> {
        let Some(path) = host.strip_prefix("unix://") else {
            return Err(RuntimeError::InvalidSpec {
                message: format!(
                    "DOCKER_HOST is {host:?}: pods need a daemon on this machine, as unix:///var/run/docker.sock"
                ),
            });
        };
        let docker = Docker::connect_with_unix(host, 120, bollard::API_DEFAULT_VERSION)
            .map_err(|error| error::of(error::About::Daemon, error))?;
        let mut runtime =
            Self { docker, socket: PathBuf::from(path).into(), security: Default::default(), layers: false };
        runtime.ping().await?;
        (runtime.security, runtime.layers) = runtime.daemon_security().await?;
        Ok(runtime)
    }

    /// Whether the daemon answers, and which version of the API both sides speak.
    async fn ping(&self) -> Result<()> {
        let negotiated =
            tokio::time::timeout(Duration::from_secs(2), self.docker.clone().negotiate_version());
        match negotiated.await {
            Ok(answer) => answer.map(drop).map_err(|error| error::of(error::About::Daemon, error)),
            Err(_) => Err(RuntimeError::Unavailable {
                message: format!("Docker at {} does not answer", self.socket.display()),
            }),
        }
    }
}

// What a method does is in the module of its subject, under the same name.
#[async_trait]
impl Runtime for DockerRuntime {
    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::ALL;
        all.fields.user_namespaces = self.security.user_namespaces;
        all.fields.apparmor = self.security.apparmor;
        all.fields.selinux = crate::machine::has_no_selinux();
        all.fields.strict_groups = false;
        all.fields.recursive_read_only = false;
        all.fields.pod_resources = self.security.pod_groups;
        all.fields.image_volumes = self.layers && rustix::process::geteuid().is_root();
        all
    }

    async fn info(&self) -> Result<RuntimeInfo> {
        self.info().await
    }

    async fn machine(&self) -> Result<MachineInfo> {
        self.machine().await
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        self.run_sandbox(spec).await
    }

    async fn update_sandbox(&self, id: &SandboxId, resources: &Resources) -> Result<()> {
        self.update_sandbox(id, resources).await
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.stop_sandbox(id).await
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.remove_sandbox(id).await
    }

    async fn create_container(&self, sandbox: &SandboxId, spec: &ContainerSpec) -> Result<ContainerId> {
        self.create_container(sandbox, spec).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        self.start_container(id).await
    }

    async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        self.update_container(id, resources).await
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.stop_container(id, grace).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.remove(id.as_str()).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>> {
        self.list(filter).await
    }

    async fn container(&self, id: &ContainerId) -> Result<Container> {
        let shown = self.inspect(id).await?;
        status::container(&shown)
            .map(|(_, container)| container)
            .ok_or_else(|| RuntimeError::no_container(id))
    }

    async fn image(&self, image: &ImageRef) -> Result<Option<Image>> {
        self.image(image).await
    }

    async fn pull_image(&self, image: &ImageRef, credentials: Option<&RegistryCredentials>) -> Result<Image> {
        self.pull_image_telling(image, credentials, &PullProgress::default()).await
    }

    async fn pull_image_telling(
        &self,
        image: &ImageRef,
        credentials: Option<&RegistryCredentials>,
        progress: &PullProgress,
    ) -> Result<Image> {
        self.pull_image(image, credentials, progress).await
    }

    async fn images(&self) -> Result<Vec<Image>> {
        self.images().await
    }

    async fn remove_image(&self, image: &ImageRef) -> Result<()> {
        self.remove_image(image).await
    }

    async fn mount_image(&self, image: &str, pod: &PodRef, at: &Path) -> Result<()> {
        self.mount_image(image, pod, at).await
    }

    async fn release_images(&self, pod_uid: &str) -> Result<()> {
        match self.layers {
            true => self.release_images(pod_uid).await,
            false => Ok(()),
        }
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream> {
        self.logs(id, options).await
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        self.exec_sync(id, command, timeout).await
    }

    async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        self.exec(id, options).await
    }

    async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<Session> {
        self.attach(id, options).await
    }

    async fn port_forward(&self, sandbox: &SandboxId, port: u16) -> Result<Box<dyn Duplex>> {
        self.port_forward(sandbox, port).await
    }

    async fn stats(&self, filter: &Filter) -> Result<Vec<ContainerStats>> {
        self.stats(filter).await
    }

    async fn machine_stats(&self) -> Result<MachineStats> {
        self.machine_stats().await
    }

    async fn events(&self) -> Result<EventStream> {
        self.events().await
    }
}
