//! Containers of images, by the kernel of this machine: no daemon.
//!
//! ```text
//! agent ── images     what there is to run, on the disk; see `images`
//!       └─ process    sandboxes, records, logs and streams, which are those of the process runtime
//!            └─ shim  holds one container from start to end, and outlives the agent
//!                 └─ runc   makes the container of a bundle, and is gone
//!                      └─ the container's first process, which then is the shim's child
//! ```
//!
//! What isolates a container (namespaces, capabilities, system calls, control groups, devices) is runc's work, which is told
//! what to do by `oci/bundle.rs`. The container's root is mounted in the shim's own namespace of mounts, so nothing of it is left on
//! the machine however shim and container end. All that is known of a container is in its folder, as in the process runtime:
//! whoever opens the same folder has the same containers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::runtime::{
    AttachOptions, ByteStream, Capabilities, Container, ContainerId, ContainerSpec, ContainerStats, Duplex,
    EventStream, ExecOptions, ExecOutput, Filter, Image, ImageRef, LogOptions, MachineInfo, MachineStats,
    PodRef, PullProgress, RegistryCredentials, Resources, Result, RunningSandbox, Runtime, RuntimeError,
    RuntimeInfo, Sandbox, SandboxId, SandboxSpec, Session, SupportedFields,
};

mod container;
mod stored;

pub use stored::Images;

use crate::oci::machine::Machine;
use crate::oci::runc;
use crate::process::{self, ProcessRuntime};

/// Where a [`NativeRuntime`] keeps things and what it gives out.
#[derive(Debug, Clone)]
pub struct Config {
    root: PathBuf,
    runc: Option<PathBuf>,
    process: process::Config,
}

impl Config {
    /// Keeps images and containers in this folder, which must be the same after a restart.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self { process: process::Config::new(&root).separate(), root, runc: None }
    }

    /// Another runc than the one that is found.
    pub fn runc(mut self, program: impl Into<PathBuf>) -> Self {
        self.runc = Some(program.into());
        self
    }

    /// Changes what is the same as for processes: addresses, the bridge, the helper.
    pub fn process(mut self, change: impl FnOnce(process::Config) -> process::Config) -> Self {
        self.process = change(self.process);
        self
    }
}

/// Containers of images without a daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NativeRuntime {
    processes: ProcessRuntime,
    images: Images,
    runc: PathBuf,
    /// Where that keeps what it knows, which a reboot may forget.
    state: PathBuf,
    version: String,
}

impl NativeRuntime {
    /// Whether containers can be run here: as root, and with runc.
    pub fn is_possible() -> bool {
        rustix::process::geteuid().is_root() && runc::find().is_some()
    }

    /// Opens a runtime, with all the images and containers it has.
    ///
    /// [`RuntimeError::InvalidSpec`] where no containers can be run, which says why.
    pub async fn open(config: Config) -> Result<Self> {
        let invalid = |message: &str| RuntimeError::InvalidSpec { message: message.to_owned() };
        if !rustix::process::geteuid().is_root() {
            return Err(invalid(
                "containers without a daemon take root: run this as root, or with --runtime process",
            ));
        }
        let runc = config.runc.or_else(runc::find);
        let runc =
            runc.ok_or_else(|| invalid("containers without a daemon take runc: install the package runc"))?;
        if !Machine::look().cgroups {
            return Err(invalid(
                "containers without a daemon take control groups, and none are mounted in /sys/fs/cgroup; `ip netns exec` hides \
                 them, `nsenter --net` does not",
            ));
        }
        let version = runc::Runc::version(&runc).map_err(process::record::failed)?;
        let images = Images::open(&config.root).await?;
        let processes = ProcessRuntime::open(config.process).await?;
        if !processes.inner.abilities.networks {
            return Err(invalid(
                "this machine gives no network namespaces, without which pods have no addresses",
            ));
        }
        // In the folder of all runtimes: of two data directories the containers have different names.
        let state = processes.inner.run().join("runc");
        crate::private::own_folder(&state).map_err(process::record::failed)?;
        Ok(Self { processes, images, runc, state, version })
    }

    /// Its images.
    pub fn store(&self) -> &Images {
        &self.images
    }

    /// What gives pods their networks, which is the same as for processes.
    pub fn networks(&self) -> &ProcessRuntime {
        &self.processes
    }
}

/// What is done of a pod's fields.
fn fields() -> SupportedFields {
    let mut fields = SupportedFields::ALL;
    fields.apparmor = crate::machine::has_apparmor();
    fields.selinux = crate::machine::has_no_selinux();
    fields
}

// What a method does is in the module of its subject, under the same name.
#[async_trait]
impl Runtime for NativeRuntime {
    fn capabilities(&self) -> Capabilities {
        let limits = self.processes.inner.abilities.limits;
        let mut all = Capabilities::ALL;
        all.stats = limits;
        all.limits = limits;
        all.fields = fields();
        all.fields.pod_resources = limits;
        all.fields.user_namespaces = self.processes.inner.abilities.own_users;
        // Whoever holds their processes would have to be theirs too, and sees the machine's files.
        all.fields.own_users_share_processes = false;
        all
    }

    async fn info(&self) -> Result<RuntimeInfo> {
        Ok(RuntimeInfo {
            name: "native".into(),
            version: format!("{}+runc-{}", env!("CARGO_PKG_VERSION"), self.version),
        })
    }

    async fn machine(&self) -> Result<MachineInfo> {
        self.processes.machine().await
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        self.processes.run_sandbox(spec).await
    }

    async fn update_sandbox(&self, id: &SandboxId, resources: &Resources) -> Result<()> {
        self.processes.update_sandbox(id, resources).await
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.processes.stop_sandbox(id.as_str()).await
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.processes.remove_sandbox(id.as_str()).await
    }

    async fn create_container(&self, sandbox: &SandboxId, spec: &ContainerSpec) -> Result<ContainerId> {
        self.create_container(sandbox, spec).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        self.processes.start_container(id).await
    }

    async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        // Its control groups are called as those of processes are.
        self.processes.update_container(id, resources).await
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.processes.stop_container(id.as_str(), grace).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.processes.remove_container(id).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>> {
        self.processes.list(filter).await
    }

    async fn container(&self, id: &ContainerId) -> Result<Container> {
        self.processes.container(id).await
    }

    async fn image(&self, image: &ImageRef) -> Result<Option<Image>> {
        self.images.find(image).await
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
        self.images.pull(image, credentials, progress).await
    }

    async fn images(&self) -> Result<Vec<Image>> {
        self.images.list().await
    }

    async fn remove_image(&self, image: &ImageRef) -> Result<()> {
        self.images.remove(image).await
    }

    async fn mount_image(&self, image: &str, pod: &PodRef, at: &Path) -> Result<()> {
        self.images.show(image, pod, at).await
    }

    async fn release_images(&self, pod_uid: &str) -> Result<()> {
        self.images.release(pod_uid).await
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream> {
        self.processes.logs(id, options).await
    }

    async fn exec_sync(&self, id: &ContainerId, command: &[String], timeout: Duration) -> Result<ExecOutput> {
        self.processes.exec_sync(id, command, timeout).await
    }

    async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        self.processes.exec(id, options).await
    }

    async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<Session> {
        self.processes.attach(id, options).await
    }

    async fn port_forward(&self, sandbox: &SandboxId, port: u16) -> Result<Box<dyn Duplex>> {
        self.processes.port_forward(sandbox, port).await
    }

    async fn stats(&self, filter: &Filter) -> Result<Vec<ContainerStats>> {
        self.processes.stats(filter).await
    }

    async fn machine_stats(&self) -> Result<MachineStats> {
        self.processes.machine_stats().await
    }

    async fn events(&self) -> Result<EventStream> {
        self.processes.events().await
    }
}
