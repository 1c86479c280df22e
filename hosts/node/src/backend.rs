//! What runs the containers and connects them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use orchestra_core::clock::SharedClock;
use orchestra_core::network;
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::runtime;
use orchestra_core::runtime::fake::FakeRuntime;
use orchestra_net::routes::Pods;
use orchestra_net::{NftablesNetwork, UserspaceNetwork};
use orchestra_runtime::cri::CriRuntime;
use orchestra_runtime::docker::DockerRuntime;
use orchestra_runtime::native::{self, NativeRuntime};
use orchestra_runtime::process::{self, ProcessRuntime, Range};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::options::{Network, Options, Runtime};

/// A runtime with the network that goes with it.
pub(crate) struct Backend {
    /// What the runtime is called on the command line.
    pub(crate) name: &'static str,
    pub(crate) runtime: Arc<dyn runtime::Runtime>,
    pub(crate) network: Arc<dyn network::Network>,
    /// Whether pods reach cluster addresses, which takes root.
    pub(crate) reaches_services: bool,
    /// Whether this machine can be given addresses of load balancers.
    pub(crate) announces: bool,
    /// What is told where the cluster's pods are, if this node's can be anywhere.
    pub(crate) pods: Option<PodNetwork>,
}

/// What must know which addresses the pods of this node have.
pub(crate) struct PodNetwork {
    runtime: ProcessRuntime,
    kernel: Option<Arc<NftablesNetwork>>,
    /// What was said on the command line.
    own: Option<Range>,
}

/// Chooses as the options say. `owner` tells what is this node's on the machine from what is others'.
pub(crate) async fn choose(
    options: &Options,
    directory: &Path,
    owner: &str,
    clock: &SharedClock,
) -> anyhow::Result<Backend> {
    let wanted = options.runtime;
    if wanted == Runtime::Fake {
        let network = FakeNetwork::with_range(fake_range(owner), 24);
        return Ok(Backend {
            name: "fake",
            runtime: Arc::new(FakeRuntime::new(Arc::clone(clock))),
            network: Arc::new(network),
            reaches_services: false,
            announces: false,
            pods: None,
        });
    }
    if wanted == Runtime::Containerd || options.runtime_endpoint.is_some() {
        let runtime = match &options.runtime_endpoint {
            Some(socket) => CriRuntime::connect_to(socket).await,
            None => CriRuntime::connect().await,
        };
        let runtime =
            runtime.context("no container runtime answers; start it, or name its --runtime-endpoint")?;
        return daemon("containerd", runtime, options, owner);
    }
    if !matches!(wanted, Runtime::Native | Runtime::Process) {
        match DockerRuntime::connect().await {
            Ok(docker) => return daemon("docker", docker, options, owner),
            Err(error) if wanted == Runtime::Docker => {
                return Err(error).context("no Docker daemon answers; start one, or use --runtime native");
            }
            Err(_) => {}
        }
        if let Ok(runtime) = CriRuntime::connect().await {
            return daemon("containerd", runtime, options, owner);
        }
    }
    let native = wanted == Runtime::Native || (wanted == Runtime::Auto && NativeRuntime::is_possible());
    on_this_machine(native, options, directory, owner).await
}

/// A daemon that gives pods addresses by itself.
fn daemon(
    name: &'static str,
    runtime: impl runtime::Runtime,
    options: &Options,
    owner: &str,
) -> anyhow::Result<Backend> {
    if options.network == Network::Nftables {
        bail!(
            "Docker and containerd lead what their pods send each other past the rules of the kernel; use --network userspace"
        );
    }
    Ok(Backend {
        name,
        runtime: Arc::new(runtime),
        network: Arc::new(UserspaceNetwork::new().owner(owner)),
        reaches_services: is_root(),
        announces: is_root(),
        pods: None,
    })
}

/// Containers of images without a daemon, or processes of this machine: the networks of pods are of our making.
async fn on_this_machine(
    native: bool,
    options: &Options,
    directory: &Path,
    owner: &str,
) -> anyhow::Result<Backend> {
    // Without a master there are no services, and nobody gives addresses.
    let alone = options.standalone;
    let in_kernel = !alone && kernel(options.network).await?;
    let set = |config: process::Config| {
        let config = config.routed(in_kernel);
        if is_root() && !alone { config.pods_later() } else { config }
    };
    let (runtime, networks): (Arc<dyn runtime::Runtime>, ProcessRuntime) = match native {
        true => {
            let config = native::Config::new(directory.join("native")).process(set);
            let runtime =
                NativeRuntime::open(config).await.context("containers cannot be run without a daemon")?;
            let networks = runtime.networks().clone();
            (Arc::new(runtime), networks)
        }
        false => {
            let config = set(process::Config::new(directory.join("containers")));
            let runtime =
                ProcessRuntime::open(config).await.context("processes cannot be run as containers")?;
            (Arc::new(runtime.clone()), runtime)
        }
    };
    if let Some(range) = options.pod_cidr.filter(|_| alone) {
        networks.give_pods(range);
    }
    let kernel = in_kernel.then(|| Arc::new(NftablesNetwork::new(owner, true)));
    let network: Arc<dyn network::Network> = match &kernel {
        Some(kernel) => Arc::new(Arc::clone(kernel)),
        None => {
            // What was left by a run with the kernel would come first. Without its program nothing was.
            let _ = NftablesNetwork::remove(owner).await;
            Arc::new(UserspaceNetwork::new().owner(owner).host_ports(true))
        }
    };
    let pods = PodNetwork { runtime: networks, kernel, own: options.pod_cidr };
    Ok(Backend {
        name: if native { "native" } else { "process" },
        runtime,
        network,
        reaches_services: is_root(),
        announces: is_root(),
        pods: is_root().then_some(pods),
    })
}

/// Whether the kernel leads to services.
async fn kernel(wanted: Network) -> anyhow::Result<bool> {
    if wanted == Network::Userspace || (wanted == Network::Auto && !is_root()) {
        return Ok(false);
    }
    NftablesNetwork::usable(wanted == Network::Nftables).await.map_err(anyhow::Error::msg)
}

impl PodNetwork {
    /// Passes on what is told, for as long as it is polled.
    pub(crate) async fn follow(self, mut told: watch::Receiver<Pods>) {
        loop {
            let mut pods = told.borrow_and_update().clone();
            if let Some(own) = self.own {
                pods.own = vec![(own.gateway().into(), own.prefix())];
            }
            self.settle(&pods).await;
            if told.changed().await.is_err() {
                return;
            }
        }
    }

    async fn settle(&self, pods: &Pods) {
        let first = pods.own.iter().find_map(|(address, prefix)| match address {
            IpAddr::V4(address) => Range::parse(&format!("{address}/{prefix}")),
            IpAddr::V6(_) => None,
        });
        if let Some(range) = first {
            info!(%range, "pods of this node have these addresses");
            self.runtime.give_pods(range);
        }
        if let Some(kernel) = &self.kernel
            && let Err(error) = kernel.pods(&pods.own, &pods.cluster).await
        {
            warn!(%error, "the kernel was not told where the pods are");
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The first address of the pods of a fake node: most nodes of a cluster have a range of their own.
fn fake_range(owner: &str) -> Ipv4Addr {
    // FNV-1a: the same range at every start.
    let hash =
        owner.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [_, _, high, low] = hash.to_be_bytes();
    Ipv4Addr::new(10, 128 | high & 0x7f, low, 0)
}
