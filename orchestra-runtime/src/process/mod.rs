//! Containers that are process groups on this machine: no daemon, no root, no image.
//!
//! A container must give a command, which is a program of this machine. Each is held by a *shim*, this same program
//! started again (see [`init`]), which outlives the agent, keeps the log, and writes down how it ended. Everything else
//! is on disk too, so a runtime that is opened on the same folder has the same containers; see `record.rs`.
//!
//! | | with root | without |
//! | --- | --- | --- |
//! | address | a network namespace on a bridge, from [`Config::pods`] | one of [`Config::loopback`], which the process has to bind: it is in `POD_IP` and `HOST` |
//! | mounts | a root of its own made of the machine's folders | the same, where the machine allows user namespaces |
//! | processes | it sees its own, and none outlives it | the same, where the machine allows user namespaces |
//! | user, groups, capabilities | yes | only its own; what is dropped cannot be regained |
//! | read-only root | yes | the same, where the machine allows user namespaces |
//! | limits | by control groups, where they can be made | no |
//!
//! [`Runtime::capabilities`] says what was found, and so what a pod may ask for. Not isolated: devices, system calls, and
//! whatever of the machine's files a container's user may read. The containers of a pod share nothing but their address;
//! with `shareProcessNamespace` or `hostPID` they see the machine's processes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use orchestra_core::runtime::{
    AttachOptions, ByteStream, Capabilities, Container, ContainerId, ContainerSpec, ContainerStats, Duplex,
    EventStream, ExecOptions, ExecOutput, Filter, Image, ImageRef, LogOptions, MachineInfo, MachineStats,
    RegistryCredentials, Resources, Result, RunningSandbox, Runtime, RuntimeError, RuntimeEvent, RuntimeInfo,
    Sandbox, SandboxId, SandboxSpec, Session, SupportedFields,
};
use tokio::sync::broadcast;

mod address;
mod attach;
mod capabilities;
mod container;
pub(crate) mod disk;
mod exec;
mod fork;
mod helper;
mod home;
pub(crate) mod launch;
mod link;
mod named;
pub(crate) mod pause;
mod pins;
mod read;
pub(crate) mod record;
mod rootfs;
mod sandbox;
mod supervise;
mod terminal;
mod users;
mod watch;

pub use address::Range;
pub use helper::init;
pub use link::device;
pub(crate) use watch::readable;

use disk::Disk;
use helper::{Abilities, Helper};

use crate::cgroup::{self, Limits};
use crate::pod_group;

/// Where a [`ProcessRuntime`] keeps things and what it gives out.
#[derive(Debug, Clone)]
pub struct Config {
    root: PathBuf,
    run: PathBuf,
    /// `None` until the cluster says.
    pods: Option<Range>,
    routed: bool,
    /// Whether others give pods their addresses.
    bare: bool,
    loopback: Range,
    bridge: String,
    /// The largest packet of a pod, if it is said.
    mtu: Option<u32>,
    helper: Option<PathBuf>,
    /// Whether its containers are separate from the machine in all that a sandbox holds for them.
    separate: bool,
}

impl Config {
    /// Keeps its records in this folder, which must be the same after a restart.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let range = |first, second| Range::new([first, second, 0, 0].into(), 16);
        Self {
            root: root.into(),
            run: run_folder(),
            pods: Some(range(10, 85)),
            routed: false,
            bare: false,
            loopback: range(127, 85),
            bridge: "orchestra0".into(),
            mtu: None,
            helper: None,
            separate: false,
        }
    }

    /// Has sandboxes hold all that the containers of a pod share: they are separate from the machine.
    pub(crate) fn separate(mut self) -> Self {
        self.separate = true;
        self
    }

    /// What can be asked for to run a pod: where containers are separate it is runc, and may be called so.
    pub(crate) fn handlers(&self) -> &'static [&'static str] {
        if self.separate { &["", "runc"] } else { &[""] }
    }

    /// Addresses of pods that have a network namespace; `10.85.0.0/16` unless said otherwise. Runtimes of one machine
    /// may share a range and a bridge: each address is given once.
    pub fn pods(mut self, range: Range, bridge: impl Into<String>) -> Self {
        self.pods = Some(range);
        self.bridge = bridge.into();
        self
    }

    /// Pods that have a network namespace are given addresses of a range that is told later, by
    /// [`ProcessRuntime::give_pods`]; until then they wait.
    pub fn pods_later(mut self) -> Self {
        self.pods = None;
        self
    }

    /// Leads what pods send each other by way of the machine, though they are on one bridge: so that its rules for services
    /// and policies see it, and answers come back the same way. It takes a machine that passes on packets, as
    /// `orchestra-net`'s `NftablesNetwork` makes it.
    pub fn routed(mut self, routed: bool) -> Self {
        self.routed = routed;
        self
    }

    /// Gives pods a network namespace with nothing in it but loopback, for others to connect, as plugins of CNI do. Without
    /// root it changes nothing.
    pub fn bare(mut self, bare: bool) -> Self {
        self.bare = bare;
        self
    }

    /// The largest packet that pods with a network namespace send, in bytes, and the bridge; what the kernel begins devices
    /// with unless said otherwise. Pods that are connected keep what they have.
    pub fn mtu(mut self, bytes: Option<u32>) -> Self {
        self.mtu = bytes;
        self
    }

    /// Addresses of pods that have none; `127.85.0.0/16` unless said otherwise.
    pub fn loopback(mut self, range: Range) -> Self {
        self.loopback = range;
        self
    }

    /// What all runtimes of the machine share and a reboot may forget: `/run/orchestra`, or without root
    /// `$XDG_RUNTIME_DIR/orchestra`.
    pub fn run(mut self, folder: impl Into<PathBuf>) -> Self {
        self.run = folder.into();
        self
    }

    /// Another program as the helper, one that calls [`init`] first in `main`.
    pub fn helper(mut self, program: impl Into<PathBuf>) -> Self {
        self.helper = Some(program.into());
        self
    }
}

fn run_folder() -> PathBuf {
    let uid = rustix::process::geteuid();
    if uid.is_root() {
        return "/run/orchestra".into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| Path::new(folder).is_dir()) {
        Some(folder) => PathBuf::from(folder).join("orchestra"),
        None => std::env::temp_dir().join(format!("orchestra-{}", uid.as_raw())),
    }
}

/// Containers that are process groups on this machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProcessRuntime {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    config: Config,
    pub(crate) disk: Disk,
    helper: Helper,
    pub(crate) abilities: Abilities,
    addresses: address::Addresses,
    /// Of which addresses are given now.
    range: Mutex<Option<Range>>,
    boot_id: String,
    events: broadcast::Sender<RuntimeEvent>,
    /// Containers whose end somebody waits for already.
    watched: Mutex<HashMap<String, watch::Watching>>,
}

impl Inner {
    /// What all runtimes of the machine share.
    pub(crate) fn run(&self) -> &Path {
        &self.config.run
    }

    /// Where the root of a container is mounted whose users are its pod's own: beside what is for root only, since these must
    /// get there. Each container has its own mounts, so one empty folder is enough for all.
    pub(crate) fn root_of_own(&self) -> PathBuf {
        let mut name = self.config.run.file_name().unwrap_or_default().to_owned();
        name.push("-root");
        self.config.run.with_file_name(name)
    }
}

impl ProcessRuntime {
    /// Opens a runtime, with all the containers it has, and finds out what this machine allows.
    ///
    /// [`RuntimeError::InvalidSpec`] when there is no helper: see [`init`].
    pub async fn open(config: Config) -> Result<Self> {
        let runtime = Self::discover(config).await?;
        if let Err(error) = runtime.sweep_networks().await {
            tracing::warn!(%error, "networks of pods that are gone were not all removed");
        }
        Ok(runtime)
    }

    /// Gives pods addresses of this range from now on; those that have one keep it. Without network namespaces nothing
    /// changes.
    pub fn give_pods(&self, range: Range) {
        if self.inner.abilities.networks {
            *self.inner.range.lock().unwrap_or_else(PoisonError::into_inner) = Some(range);
        }
    }

    /// The addresses that pods are given now, if they have been told.
    pub fn pods(&self) -> Option<Range> {
        *self.inner.range.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn range(&self) -> Result<Range> {
        let range = self.pods();
        let message = "this node has been given no addresses for its pods yet".to_owned();
        range.ok_or(RuntimeError::Failed { message })
    }

    async fn discover(config: Config) -> Result<Self> {
        blocking(move || {
            let helper = Helper::find(config.helper.as_deref())?;
            let disk = Disk::open(&config.root).map_err(record::failed)?;
            let abilities = disk.scratch(|scratch| Abilities::probe(&helper, scratch))?;
            let range = if abilities.networks { config.pods } else { Some(config.loopback) };
            crate::private::own_folder(&config.run).map_err(record::failed)?;
            let addresses = address::Addresses::open(&config.run).map_err(record::failed)?;
            let boot_id = crate::machine::read(Path::new("/")).boot_id;
            let inner = Inner {
                config,
                disk,
                helper,
                abilities,
                addresses,
                range: Mutex::new(range),
                boot_id,
                events: broadcast::channel(1024).0,
                watched: Mutex::default(),
            };
            Ok(Self { inner: Arc::new(inner) })
        })
        .await
    }
}

/// Runs something that works on files.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RuntimeError::Failed { message: error.to_string() }),
    }
}

/// What is done of a pod's fields with what was found of the machine. System V IPC and users of the machine are seen in
/// any case.
fn fields(found: Abilities) -> SupportedFields {
    let users = found.users;
    let mut fields = SupportedFields::NONE;
    fields.run_as_user = true;
    fields.run_as_group = true;
    fields.supplemental_groups = true; // without root its own, and others are refused when the container is made
    fields.strict_groups = users;
    fields.privileged = users;
    fields.read_only_root_filesystem = found.mounts;
    fields.add_capabilities = users;
    fields.drop_capabilities = true; // without root there are none, and none can be regained
    // Nothing is hidden of it in the first place.
    fields.unmasked_proc = true;
    fields.no_new_privileges = true;
    fields.host_pid = true;
    fields.host_ipc = true;
    fields.share_process_namespace = true;
    fields.selinux = crate::machine::has_no_selinux();
    fields.pod_resources = found.limits;
    fields
}

// What a method does is in the module of its subject, under the same name.
#[async_trait]
impl Runtime for ProcessRuntime {
    fn capabilities(&self) -> Capabilities {
        let found = self.inner.abilities;
        let mut all = Capabilities::ALL;
        all.images = false;
        all.stats = found.limits;
        all.mounts = found.mounts;
        all.limits = found.limits;
        all.fields = fields(found);
        all
    }

    async fn info(&self) -> Result<RuntimeInfo> {
        Ok(RuntimeInfo { name: "process".into(), version: env!("CARGO_PKG_VERSION").into() })
    }

    async fn machine(&self) -> Result<MachineInfo> {
        let root = self.inner.config.root.clone();
        blocking(move || Ok(crate::machine::read(&root))).await
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<RunningSandbox> {
        self.run_sandbox(spec).await
    }

    async fn update_sandbox(&self, id: &SandboxId, resources: &Resources) -> Result<()> {
        let (disk, id, resources) = (self.inner.disk.clone(), id.clone(), *resources);
        blocking(move || match disk.sandbox(id.as_str())?.group {
            Some(group) => pod_group::update(&group, &resources),
            None => Err(RuntimeError::Unsupported { what: "the resize of a pod without a control group" }),
        })
        .await
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.stop_sandbox(id.as_str()).await
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.remove_sandbox(id.as_str()).await
    }

    async fn create_container(&self, sandbox: &SandboxId, spec: &ContainerSpec) -> Result<ContainerId> {
        self.create_container(sandbox, spec).await
    }

    async fn start_container(&self, id: &ContainerId) -> Result<()> {
        self.start_container(id).await
    }

    async fn update_container(&self, id: &ContainerId, resources: &Resources) -> Result<()> {
        let (disk, id, limits) = (self.inner.disk.clone(), id.clone(), Limits::new(resources));
        blocking(move || {
            let (_, record) = disk.container(id.as_str())?;
            match cgroup::update(&record.how.group(OsStr::new(id.as_str())), &limits) {
                Err(error) if error.kind() == io::ErrorKind::Unsupported => Err(RuntimeError::Unsupported {
                    what: "the resize of a container without control groups",
                }),
                outcome => outcome.map_err(|error| RuntimeError::Failed {
                    message: format!("container {id} could not be resized: {error}"),
                }),
            }
        })
        .await
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.stop_container(id.as_str(), grace).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        self.remove_container(id).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Sandbox>> {
        self.list(filter).await
    }

    async fn container(&self, id: &ContainerId) -> Result<Container> {
        let (disk, id) = (self.inner.disk.clone(), id.clone());
        blocking(move || {
            let (dir, record) = disk.container(id.as_str())?;
            container::observed(id, &dir, &record)
        })
        .await
    }

    /// Always `None`: there are no images.
    async fn image(&self, _image: &ImageRef) -> Result<Option<Image>> {
        Ok(None)
    }

    async fn pull_image(&self, _: &ImageRef, _: Option<&RegistryCredentials>) -> Result<Image> {
        Err(RuntimeError::Unsupported { what: "images" })
    }

    async fn images(&self) -> Result<Vec<Image>> {
        Ok(Vec::new())
    }

    async fn remove_image(&self, _image: &ImageRef) -> Result<()> {
        Ok(())
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
        let root = self.inner.config.root.clone();
        blocking(move || crate::machine::stats(&root)).await
    }

    async fn events(&self) -> Result<EventStream> {
        self.events().await
    }
}
