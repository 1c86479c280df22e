use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use orchestra_core::runtime::Capabilities;
use orchestra_core::{network, runtime};
use orchestra_net::cni::Places;
use orchestra_net::{CniNetwork, LimitedNetwork, NftablesNetwork, UserspaceNetwork};
use orchestra_runtime::cri::CriRuntime;
use orchestra_runtime::docker::DockerRuntime;
use orchestra_runtime::host::{DevicePlugins, Volumes};
use orchestra_runtime::native::{self, NativeRuntime};
use orchestra_runtime::process::{self, ProcessRuntime, Range};

use crate::choice::{Choice, Network, Runtime};
use crate::pods::{Networks, PodNetwork};
use crate::{is_root, kept};

/// For what a machine is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// The data directory: its containers stay in the runtime that they are in.
    pub directory: &'p Path,
    /// A word, the same at every start, for what is its own among the containers, addresses and rules of the machine.
    pub owner: &'p str,
    /// Whether other machines are nodes of the cluster too: then pods have the addresses that the cluster gives this node.
    pub several: bool,
    /// The addresses of its pods, if they are said.
    pub pods: Option<Range>,
}

/// What runs containers on this machine, and what connects them.
pub struct Machine {
    kind: Runtime,
    description: String,
    runtime: Arc<dyn runtime::Runtime>,
    network: Arc<dyn network::Network>,
    in_kernel: bool,
    pods: Option<PodNetwork>,
    /// Where device plugins register, if they do.
    devices: Option<PathBuf>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

/// Chooses what runs containers and connects them; `auto` is what the place had before, if it had any. `None` where
/// containers are to run in name only.
///
/// # Errors
/// When what is asked for is not there, or does not go together, or the place has its containers in another runtime.
pub async fn choose(choice: &Choice, place: Place<'_>) -> anyhow::Result<Option<Machine>> {
    let wanted = match choice.runtime {
        Runtime::Auto if choice.runtime_endpoint.is_some() => Runtime::Containerd,
        Runtime::Auto => kept::runtime(place.directory)?.unwrap_or(Runtime::Auto),
        runtime => runtime,
    };
    if choice.runtime_endpoint.is_some() && wanted != Runtime::Containerd {
        bail!(
            "--runtime-endpoint is the socket of --runtime containerd, and not of --runtime {}",
            wanted.name()
        );
    }
    let in_kernel = matches!(choice.network, Network::Nftables | Network::Cni);
    if choice.network == Network::Cni && !is_root() {
        bail!("--network cni takes root: plugins connect network namespaces");
    }
    if choice.network == Network::Cni
        && matches!(wanted, Runtime::Docker | Runtime::Containerd | Runtime::Fake)
    {
        bail!("--network cni needs --runtime native or process: others have plugins of their own, or none");
    }
    if in_kernel && matches!(wanted, Runtime::Docker | Runtime::Containerd | Runtime::Fake) {
        bail!(
            "--network nftables needs --runtime native or process: others lead what their pods send each other past the \
             kernel's rules"
        );
    }
    let opened = match wanted {
        Runtime::Fake if choice.pod_mtu.is_some() => return Err(no_devices()),
        Runtime::Fake => return Ok(None),
        Runtime::Docker => {
            let docker = DockerRuntime::connect().await;
            of_docker(docker.context("no Docker daemon answers; start one, or use --runtime native")?)
        }
        Runtime::Containerd => {
            let runtime = match &choice.runtime_endpoint {
                Some(socket) => CriRuntime::connect_to(socket).await,
                None => CriRuntime::connect().await,
            };
            let advice = "no container runtime answers; start it, or name its --runtime-endpoint";
            of_cri(runtime.context(advice)?)
        }
        Runtime::Native | Runtime::Process => without_daemon(wanted, choice, place).await?,
        Runtime::Auto => match if in_kernel { None } else { daemon().await } {
            Some(opened) => opened,
            None if NativeRuntime::is_possible() => without_daemon(Runtime::Native, choice, place).await?,
            None => without_daemon(Runtime::Process, choice, place).await?,
        },
    };
    if choice.pod_mtu.is_some() && !opened.connects_pods() {
        return Err(no_devices());
    }
    kept::keep(place.directory, opened.kind)?;
    Ok(Some(opened.connected(choice, place).await?))
}

/// Why no size of packets can be said.
fn no_devices() -> anyhow::Error {
    anyhow::anyhow!(
        "--pod-mtu is of pods that this program connects itself: as root, with --runtime native or process, and without \
         --network cni"
    )
}

/// A runtime, before it has a network.
struct Opened {
    kind: Runtime,
    description: String,
    runtime: Arc<dyn runtime::Runtime>,
    /// What makes the networks of its pods, and whether the kernel leads to them, if they are of our making.
    networks: Option<(ProcessRuntime, bool)>,
    /// The runtime, if plugins of its own connect its pods.
    cri: Option<CriRuntime>,
    /// Where plugins are that connect them, if plugins do.
    plugins: Option<Places>,
}

/// The first daemon that answers.
async fn daemon() -> Option<Opened> {
    if let Ok(docker) = DockerRuntime::connect().await {
        return Some(of_docker(docker));
    }
    CriRuntime::connect().await.ok().map(of_cri)
}

fn of_docker(runtime: DockerRuntime) -> Opened {
    let description = "Docker".to_owned();
    let runtime = Arc::new(runtime);
    Opened { kind: Runtime::Docker, description, runtime, networks: None, cri: None, plugins: None }
}

fn of_cri(runtime: CriRuntime) -> Opened {
    let description = format!("the container runtime at {}", runtime.endpoint());
    Opened {
        kind: Runtime::Containerd,
        description,
        runtime: Arc::new(runtime.clone()),
        networks: None,
        cri: Some(runtime),
        plugins: None,
    }
}

/// Containers of images by runc, or processes of this machine.
async fn without_daemon(kind: Runtime, choice: &Choice, place: Place<'_>) -> anyhow::Result<Opened> {
    let kernel = kernel_leads(choice.network, place.several).await?;
    let by_plugins = choice.network == Network::Cni;
    let set = |config: process::Config| {
        let config = config.routed(kernel).bare(by_plugins).mtu(choice.pod_mtu);
        if place.several && is_root() { config.pods_later() } else { config }
    };
    let (runtime, networks, mut description): (Arc<dyn runtime::Runtime>, _, _) = match kind {
        Runtime::Native => {
            let config = native::Config::new(kept::native_directory(place.directory)).process(set);
            let runtime =
                NativeRuntime::open(config).await.context("containers cannot be run without a daemon")?;
            let networks = runtime.networks().clone();
            (Arc::new(runtime), networks, "this machine's own containers, by runc".to_owned())
        }
        _ => {
            let config = set(process::Config::new(kept::process_directory(place.directory)));
            let runtime =
                ProcessRuntime::open(config).await.context("processes cannot be run as containers")?;
            let network = match is_root() {
                true => "in a network of its own",
                false => "with a loopback address of its own",
            };
            let description = format!("processes of this machine, each pod {network}");
            (Arc::new(runtime.clone()), runtime, description)
        }
    };
    if kernel {
        description.push_str("; services by nftables");
    }
    let plugins = by_plugins.then(|| Places {
        configurations: choice.cni_conf_dir.clone(),
        programs: choice.cni_bin_dir.clone(),
        answers: kept::plugins_directory(place.directory),
    });
    Ok(Opened { kind, description, runtime, networks: Some((networks, kernel)), cri: None, plugins })
}

/// Whether the kernel leads to services. A cluster of this machine alone is better off in user space: a daemon that comes
/// later would lead its pods past the kernel's rules.
async fn kernel_leads(wanted: Network, several: bool) -> anyhow::Result<bool> {
    match wanted {
        Network::Userspace => Ok(false),
        Network::Cni => NftablesNetwork::usable(false).await.map_err(anyhow::Error::msg),
        Network::Auto if !several || !is_root() => Ok(false),
        _ => NftablesNetwork::usable(wanted == Network::Nftables).await.map_err(anyhow::Error::msg),
    }
}

impl Opened {
    /// Whether pods have devices of our making.
    fn connects_pods(&self) -> bool {
        self.networks.is_some() && self.plugins.is_none() && is_root()
    }

    async fn connected(self, choice: &Choice, place: Place<'_>) -> anyhow::Result<Machine> {
        let with_cables = self.connects_pods();
        let Self { kind, mut description, runtime, networks, cri, plugins } = self;
        let (devices, balance) = (choice.device_plugins.clone(), choice.balance.into());
        let userspace = UserspaceNetwork::new().owner(place.owner).balance(balance);
        let Some((networks, kernel)) = networks else {
            let network = Arc::new(userspace);
            let told = cri.filter(|_| place.several && is_root()).map(Networks::Plugins);
            let pods = told.map(|networks| PodNetwork { networks, kernel: None, own: None, mtu: None });
            return Ok(Machine { kind, description, runtime, network, in_kernel: false, pods, devices });
        };
        let kernel = kernel.then(|| Arc::new(NftablesNetwork::balanced(place.owner, true, balance)));
        let network: Arc<dyn network::Network> = match &kernel {
            Some(kernel) => Arc::new(Arc::clone(kernel)),
            None => {
                // What was left by a run with the kernel would come first. Without its program nothing was.
                let _ = NftablesNetwork::remove(place.owner).await;
                Arc::new(userspace.host_ports(true))
            }
        };
        let in_kernel = kernel.is_some();
        if let Some(places) = plugins {
            let network = CniNetwork::open(places, network).context("pods cannot be connected by plugins")?;
            description.push_str(&format!("; pods connected by the plugins of {:?}", network.name()));
            let network = Arc::new(network);
            return Ok(Machine { kind, description, runtime, network, in_kernel, pods: None, devices });
        }
        let network: Arc<dyn network::Network> = match with_cables {
            true => Arc::new(LimitedNetwork::new(network, place.owner, process::device)),
            false => network,
        };
        let networks = Networks::Ours(networks);
        let pods = PodNetwork { networks, kernel, own: place.pods, mtu: choice.pod_mtu };
        let follows = place.several && is_root();
        if !follows {
            pods.settle_alone().await;
        }
        Ok(Machine { kind, description, runtime, network, in_kernel, pods: follows.then_some(pods), devices })
    }
}

impl Machine {
    /// What runs containers.
    pub fn runtime(&self) -> Arc<dyn runtime::Runtime> {
        Arc::clone(&self.runtime)
    }

    /// What connects them.
    pub fn network(&self) -> Arc<dyn network::Network> {
        Arc::clone(&self.network)
    }

    /// Whether the kernel leads to services, so that they may have addresses of both families.
    pub fn leads_in_kernel(&self) -> bool {
        self.in_kernel
    }

    /// What it is, for people.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What is to be told where the cluster's pods are, if those of this machine have the addresses that the cluster gives.
    pub fn pods(&self) -> Option<&PodNetwork> {
        self.pods.as_ref()
    }

    /// Whether this program may give the machine addresses: those of services, names and load balancers. It takes root.
    pub fn takes_addresses(&self) -> bool {
        is_root()
    }

    /// Whether pods have loopback addresses, so that services can have no others either.
    pub fn is_on_loopback(&self) -> bool {
        self.kind == Runtime::Process && !is_root()
    }

    /// What takes in the device plugins of this machine, if that is wanted and this program may: it takes root.
    pub fn device_plugins(&self) -> Option<Arc<DevicePlugins>> {
        let folder = self.devices.as_ref().filter(|_| is_root())?;
        Some(Arc::new(DevicePlugins::serve(folder)))
    }

    /// Volumes of its pods, as folders below one.
    pub fn volumes(&self, root: impl AsRef<Path>) -> Volumes {
        let volumes = Volumes::new(root.as_ref());
        match has_own_rights(self.kind, &self.runtime.capabilities()) {
            true => volumes.containers_have_own_rights(),
            false => volumes,
        }
    }
}

/// Whether a runtime has no more rights than this program. A daemon may have more, whatever it gives to containers.
fn has_own_rights(kind: Runtime, can: &Capabilities) -> bool {
    kind == Runtime::Process && !can.fields.privileged
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that gives containers no privileges would still follow a path as root.
    #[test]
    fn no_daemon_has_the_rights_of_this_program() {
        let can = Capabilities::default();
        assert!(has_own_rights(Runtime::Process, &can));
        for daemon in [Runtime::Docker, Runtime::Containerd, Runtime::Native] {
            assert!(!has_own_rights(daemon, &can), "{daemon:?}");
        }
    }
}
