//! Device plugins: programs that register at a kubelet's socket, say what devices there are, and what containers are given
//! with them.
//!
//! A plugin registers whenever that socket is made anew, so nothing of its devices is kept here. Only the names of the
//! resources are, in a file: whoever begins anew knows that what is not there yet was somebody's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use orchestra_core::node::{self, Choice, DeviceError, Devices, GivenMount};
use orchestra_core::runtime::Device;
use tokio::net::UnixListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;

use super::calls::{self, Call, said};
use crate::private;

mod door;
mod proto;
mod wire;

use proto::{
    AllocateRequest, Allocated, ContainerPreference, ListRequest, ListResponse, PluginOptions,
    PreStartRequest, PreferenceRequest, RegisterRequest,
};

/// The socket at which plugins register.
const SOCKET: &str = "kubelet.sock";
/// The file of the resources that have had a plugin.
const NOTE: &str = "orchestra-resources.json";
/// How soon it is tried again to serve where another does, or nothing can be written.
const RETRY: Duration = Duration::from_secs(10);
/// How long a plugin that has registered may take to serve, and how soon it is tried again meanwhile.
const BEGINNING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_millis(100));
/// How long the devices of a plugin that has gone are told of.
const REMEMBERED: Duration = Duration::from_secs(300);
/// How long a plugin may take to say what it prefers, to give devices, and to make them ready for a start.
const PATIENCE: [Duration; 3] = [Duration::from_secs(10), Duration::from_secs(120), Duration::from_secs(30)];
/// How a device is that is well.
const HEALTHY: &str = "Healthy";

/// The device plugins of this machine.
///
/// Plugins are taken in for as long as this is kept. Where another program serves them, a kubelet or another node, it waits
/// until that has ended.
#[derive(Debug)]
pub struct DevicePlugins {
    shared: Arc<Shared>,
    _serving: Task,
}

/// A task that ends with who has it.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    plugins: Mutex<BTreeMap<String, Plugin>>,
    changed: Notify,
    /// How many have registered.
    registered: AtomicU64,
}

/// What is known of a plugin, by its resource.
#[derive(Debug, Default)]
struct Plugin {
    devices: Devices,
    /// How it is reached, unless it has gone.
    reached: Option<Reached>,
    /// When it went.
    gone: Option<Instant>,
}

#[derive(Debug)]
struct Reached {
    channel: Channel,
    options: PluginOptions,
    /// Which registration it is: what an earlier one still says counts no more.
    number: u64,
    /// What hears of its devices.
    _listening: Task,
}

impl DevicePlugins {
    /// Where device plugins look for a kubelet.
    pub const USUAL: &str = "/var/lib/kubelet/device-plugins";

    /// Takes in plugins at the socket `kubelet.sock` of a folder. Takes a runtime of tokio.
    pub fn serve(folder: impl Into<PathBuf>) -> Self {
        let shared = Arc::new(Shared {
            folder: folder.into(),
            plugins: Mutex::default(),
            changed: Notify::new(),
            registered: AtomicU64::default(),
        });
        let serving = tokio::spawn(serve(Arc::clone(&shared)));
        Self { shared, _serving: Task(serving) }
    }
}

async fn serve(shared: Arc<Shared>) {
    let mut told = false;
    let listener = loop {
        match open(&shared.folder) {
            Ok(listener) => break listener,
            Err(error) if !told => {
                told = true;
                tracing::warn!(folder = %shared.folder.display(), %error, "no device plugins can register yet");
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    };
    let _socket = Socket(shared.folder.join(SOCKET));
    for resource in shared.noted() {
        shared.lock().entry(resource).or_default();
    }
    shared.changed.notify_one();
    door::serve(listener, shared).await;
}

/// A socket that goes when nobody listens at it any more.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Listens in a folder, unless somebody does. The sockets of plugins go: those that look for that register again.
fn open(folder: &Path) -> io::Result<UnixListener> {
    private::folders(folder, 0o750)?;
    let socket = folder.join(SOCKET);
    if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
        let message = "another program serves the device plugins of this machine";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let note = folder.join(NOTE);
    if !note.exists()
        && let Some(other) = entries.iter().find(|entry| !is_of_plugins(entry))
    {
        let message = format!(
            "{} is in the way: the sockets of this folder would be removed, so it has to be for device plugins alone",
            other.path().display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    for entry in entries {
        if entry.file_type()?.is_socket() {
            fs::remove_file(entry.path())?;
        }
    }
    if !note.exists() {
        fs::write(note, "[]")?;
    }
    UnixListener::bind(socket)
}

/// Whether something is what plugins and kubelets have in their folder.
fn is_of_plugins(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let of_kubelet = ["kubelet_internal_checkpoint", "DEPRECATION"];
    entry.file_type().is_ok_and(|kind| kind.is_socket()) || of_kubelet.iter().any(|known| name == *known)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Plugin>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The resources that have had a plugin.
    fn noted(&self) -> Vec<String> {
        let note = fs::read(self.folder.join(NOTE)).unwrap_or_default();
        serde_json::from_slice(&note).unwrap_or_default()
    }

    fn note(&self, resources: &[String]) -> io::Result<()> {
        let draft = self.folder.join(format!("{NOTE}.new"));
        fs::write(&draft, serde_json::to_vec(resources)?)?;
        fs::rename(draft, self.folder.join(NOTE))
    }

    /// A plugin says that it is there.
    fn registered(self: &Arc<Self>, asked: RegisterRequest) {
        let resource = asked.resource_name;
        let channel = match calls::connect(&self.folder.join(&asked.endpoint)) {
            Ok(channel) => channel,
            Err(error) => return tracing::warn!(resource, %error, "a device plugin cannot be reached"),
        };
        tracing::info!(resource, endpoint = asked.endpoint, "a device plugin has registered");
        let number = self.registered.fetch_add(1, Ordering::Relaxed);
        let listening = {
            let (shared, resource, channel) = (Arc::clone(self), resource.clone(), channel.clone());
            async move {
                let why = shared.listen(&resource, &channel, number).await;
                tracing::warn!(resource, why, "a device plugin has gone");
                shared.gone(&resource, number);
            }
        };
        let names: Vec<String> = {
            let mut plugins = self.lock();
            let plugin = plugins.entry(resource).or_default();
            // The one before it is heard no more.
            plugin.reached = Some(Reached {
                channel,
                options: asked.options.unwrap_or_default(),
                number,
                _listening: Task(tokio::spawn(listening)),
            });
            plugin.gone = None;
            plugins.keys().cloned().collect()
        };
        if names != self.noted()
            && let Err(error) = self.note(&names)
        {
            tracing::warn!(%error, "the names of resources were not noted");
        }
    }

    /// Takes in what a plugin tells of its devices, until it goes. Why it went.
    async fn listen(&self, resource: &str, channel: &Channel, number: u64) -> String {
        let began = Instant::now();
        let mut told = loop {
            match calls::listen(channel, ListRequest {}).await {
                Ok(told) => break told,
                Err(status) if began.elapsed() > BEGINNING.0 => return said(&status),
                Err(_) => tokio::time::sleep(BEGINNING.1).await,
            }
        };
        loop {
            match told.message().await {
                Ok(Some(list)) => self.told(resource, number, list),
                Ok(None) => return "it ended".to_owned(),
                Err(status) => return said(&status),
            }
        }
    }

    fn told(&self, resource: &str, number: u64, list: ListResponse) {
        let (well, others): (Vec<_>, Vec<_>) =
            list.devices.into_iter().partition(|device| device.health == HEALTHY);
        let names = |devices: Vec<proto::Device>| devices.into_iter().map(|device| device.id).collect();
        if let Some(plugin) = self.lock().get_mut(resource).filter(|plugin| plugin.is(number)) {
            plugin.devices = Devices { healthy: names(well), unhealthy: names(others) };
        }
        self.changed.notify_one();
    }

    fn gone(&self, resource: &str, number: u64) {
        if let Some(plugin) = self.lock().get_mut(resource).filter(|plugin| plugin.is(number)) {
            let well = std::mem::take(&mut plugin.devices.healthy);
            plugin.devices.unhealthy.extend(well);
            plugin.gone = Some(Instant::now());
            plugin.reached = None;
        }
        self.changed.notify_one();
    }

    fn find(&self, resource: &str) -> Result<(Channel, PluginOptions), DeviceError> {
        let plugins = self.lock();
        let reached = plugins.get(resource).and_then(|plugin| plugin.reached.as_ref());
        let reached = reached.map(|reached| (reached.channel.clone(), reached.options));
        reached.ok_or_else(|| DeviceError::Gone { resource: resource.to_owned() })
    }
}

impl Plugin {
    /// Whether this is the registration that counts.
    fn is(&self, number: u64) -> bool {
        self.reached.as_ref().is_some_and(|reached| reached.number == number)
    }
}

async fn ask<Q: Call>(
    resource: &str,
    channel: &Channel,
    question: Q,
    patience: Duration,
) -> Result<Q::Answer, DeviceError> {
    let failed = |message: String| DeviceError::Failed { resource: resource.to_owned(), message };
    match tokio::time::timeout(patience, calls::ask(channel, question)).await {
        Ok(answer) => answer.map_err(|status: Status| failed(said(&status))),
        Err(_) => Err(failed(format!("it does not answer within {patience:?}"))),
    }
}

#[async_trait]
impl node::DevicePlugins for DevicePlugins {
    fn resources(&self) -> BTreeMap<String, Devices> {
        let plugins = self.shared.lock();
        let shown = plugins.iter().map(|(resource, plugin)| {
            let forgotten = plugin.gone.is_some_and(|gone| gone.elapsed() > REMEMBERED);
            (resource.clone(), if forgotten { Devices::default() } else { plugin.devices.clone() })
        });
        shown.collect()
    }

    async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    async fn preferred(&self, resource: &str, choice: &Choice) -> Result<Vec<String>, DeviceError> {
        let (channel, options) = self.shared.find(resource)?;
        if !options.get_preferred_allocation_available {
            return Ok(Vec::new());
        }
        let wanted = ContainerPreference {
            available: choice.available.clone(),
            must_include: choice.must_include.clone(),
            size: i32::try_from(choice.size).unwrap_or(i32::MAX),
        };
        let question = PreferenceRequest { container_requests: vec![wanted] };
        let answer = ask(resource, &channel, question, PATIENCE[0]).await?;
        Ok(answer.container_responses.into_iter().next().unwrap_or_default().devices)
    }

    async fn allocate(&self, resource: &str, devices: &[String]) -> Result<node::Given, DeviceError> {
        let (channel, _) = self.shared.find(resource)?;
        let question = AllocateRequest { container_requests: vec![Allocated { devices: devices.to_vec() }] };
        let answer = ask(resource, &channel, question, PATIENCE[1]).await?;
        let given = answer.container_responses.into_iter().next().ok_or_else(|| DeviceError::Failed {
            resource: resource.to_owned(),
            message: "it answers Allocate for no container".into(),
        })?;
        Ok(translate(given))
    }

    async fn pre_start(&self, resource: &str, devices: &[String]) -> Result<(), DeviceError> {
        let (channel, options) = match self.shared.find(resource) {
            // What it has given is known: the container can do without it meanwhile.
            Err(DeviceError::Gone { .. }) => return Ok(()),
            found => found?,
        };
        if !options.pre_start_required {
            return Ok(());
        }
        let question = PreStartRequest { devices: devices.to_vec() };
        ask(resource, &channel, question, PATIENCE[2]).await.map(drop)
    }
}

fn translate(given: proto::Given) -> node::Given {
    let mount = |mount: proto::Mount| GivenMount {
        host_path: mount.host_path.into(),
        container_path: mount.container_path,
        read_only: mount.read_only,
    };
    let device = |device: proto::Node| Device {
        host_path: device.host_path.into(),
        container_path: device.container_path,
        permissions: device.permissions,
    };
    node::Given {
        env: given.envs.into_iter().collect(),
        mounts: given.mounts.into_iter().map(mount).collect(),
        devices: given.devices.into_iter().map(device).collect(),
        annotations: given.annotations.into_iter().collect(),
        cdi_devices: given.cdi_devices.into_iter().map(|device| device.name).collect(),
    }
}
