//! What runs the containers: chosen by the command line and by what this machine has.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use orchestra_core::admission::ServiceRanges;
use orchestra_core::cluster::{Builder, Node};
use orchestra_core::controllers::PodRanges;
use orchestra_core::controllers::local_path::LocalPath;
use orchestra_core::network::dns;
use orchestra_core::node::{self, ClusterDns, Thresholds};
use orchestra_core::runtime::Runtime as _;
use orchestra_http::{ManifestUrl, own_address};
use orchestra_net::routes::Range as Pods;
use orchestra_net::{Announcer, Dns, NftablesNetwork, Routes, UserspaceNetwork, announce};
use orchestra_runtime::cri::CriRuntime;
use orchestra_runtime::docker::DockerRuntime;
use orchestra_runtime::host::{ManifestPath, NetProber, Volumes};
use orchestra_runtime::native::{self, NativeRuntime};
use orchestra_runtime::process::{self, ProcessRuntime};
use tracing::{error, warn};

use crate::cli::{Network, Runtime, Up};
use crate::directory::{self, Range};
use crate::local_volumes::OwnDirectories;

/// Cluster IPs of a cluster whose pods have loopback addresses: anyone may listen there.
const LOOPBACK_SERVICES: &str = "127.96.0.0/16";

/// The addresses of pods of a cluster of several machines.
const POD_ADDRESSES: &str = "10.244.0.0/16";
/// The part that keeps the ways between them.
const POD_NETWORK: &str = "pod-network";
/// The part that answers for the addresses of load balancers.
const LOAD_BALANCERS: &str = "load-balancers";

/// What the names of the cluster end in.
const DOMAIN: &str = "cluster.local";

/// How the runtimes are called on the command line and in the data directory.
pub(crate) const DOCKER: &str = "docker";
pub(crate) const CONTAINERD: &str = "containerd";
pub(crate) const NATIVE: &str = "native";
const PROCESS: &str = "process";

/// A runtime, and where its node keeps things.
pub(crate) struct Backend {
    kind: Kind,
    node: String,
    directory: PathBuf,
    /// The cluster IPs that were asked for.
    services: Option<ServiceRanges>,
    /// Whether other machines may become nodes.
    several: bool,
    /// Whether it answers names.
    names: bool,
    own: Own,
}

/// What is set of the node itself.
#[derive(Default)]
struct Own {
    manifest_path: Option<PathBuf>,
    manifest_url: Option<String>,
    eviction: Thresholds,
}

enum Kind {
    /// Containers in name only, on so many nodes.
    Fake(usize),
    Docker(DockerRuntime),
    Cri(CriRuntime),
    /// With the kernel's rules for services, or without.
    Native(NativeRuntime, bool),
    /// With the kernel's rules for services, or without.
    Process(ProcessRuntime, bool),
}

/// Chooses as the options say; `auto` is what the cluster of the directory had before, if it had any.
pub(crate) async fn choose(options: &Up, directory: &Path) -> anyhow::Result<Backend> {
    let wanted = match (options.runtime, directory::runtime(directory)?.as_deref()) {
        (Runtime::Auto, Some(DOCKER)) => Runtime::Docker,
        (Runtime::Auto, Some(CONTAINERD)) => Runtime::Containerd,
        (Runtime::Auto, Some(NATIVE)) => Runtime::Native,
        (Runtime::Auto, Some(PROCESS)) => Runtime::Process,
        (runtime, _) => runtime,
    };
    if options.network == Network::Nftables
        && matches!(wanted, Runtime::Docker | Runtime::Containerd | Runtime::Fake)
    {
        bail!(
            "--network nftables needs --runtime native or process: others lead what their pods send each other past the kernel's rules"
        );
    }
    let kind = match wanted {
        Runtime::Fake => Kind::Fake(options.nodes),
        Runtime::Docker => {
            let runtime = DockerRuntime::connect().await;
            Kind::Docker(runtime.context("no Docker daemon answers; start one, or use --runtime native")?)
        }
        Runtime::Containerd => {
            let runtime = match &options.runtime_endpoint {
                Some(socket) => CriRuntime::connect_to(socket).await,
                None => CriRuntime::connect().await,
            };
            Kind::Cri(
                runtime.context("no container runtime answers; start it, or name its --runtime-endpoint")?,
            )
        }
        Runtime::Native => open_native(directory, options.network, options.is_joinable()).await?,
        Runtime::Process => open_process(directory, options.network, options.is_joinable()).await?,
        Runtime::Auto => match DockerRuntime::connect().await {
            Ok(runtime) if options.network != Network::Nftables => Kind::Docker(runtime),
            _ => match CriRuntime::connect().await {
                Ok(runtime) if options.network != Network::Nftables => Kind::Cri(runtime),
                _ if NativeRuntime::is_possible() => {
                    open_native(directory, options.network, options.is_joinable()).await?
                }
                _ => open_process(directory, options.network, options.is_joinable()).await?,
            },
        },
    };
    match &kind {
        // Their containers end with the program.
        Kind::Fake(_) => {}
        Kind::Docker(_) => directory::keep_runtime(directory, DOCKER)?,
        Kind::Cri(_) => directory::keep_runtime(directory, CONTAINERD)?,
        Kind::Native(..) => directory::keep_runtime(directory, NATIVE)?,
        Kind::Process(..) => directory::keep_runtime(directory, PROCESS)?,
    }
    let several = options.is_joinable();
    let own = Own {
        manifest_path: options.pod_manifest_path.clone(),
        manifest_url: options.manifest_url.clone(),
        eviction: options.eviction_hard.clone(),
    };
    let (node, directory) = (options.node_name.clone(), directory.to_owned());
    let services = options.service_cluster_ip_range.clone();
    Ok(Backend { kind, node, directory, services, several, names: true, own })
}

/// Processes of this machine.
pub(crate) async fn process(directory: &Path, node: &str) -> anyhow::Result<Backend> {
    let kind = open_process(directory, Network::Userspace, false).await?;
    let (node, directory) = (node.to_owned(), directory.to_owned());
    let (services, own) = (None, Own::default());
    Ok(Backend { kind, node, directory, services, several: false, names: false, own })
}

async fn open_process(directory: &Path, network: Network, several: bool) -> anyhow::Result<Kind> {
    // With Docker beside it, which may come at any time, a cluster of this machine alone is better off in user space.
    let network = if network == Network::Auto && !several { Network::Userspace } else { network };
    let kernel = in_kernel(network).await?;
    let config = process::Config::new(directory.join("containers")).routed(kernel);
    let config = if several && is_root() { config.pods_later() } else { config };
    let runtime = ProcessRuntime::open(config).await.context("processes cannot be run as containers")?;
    Ok(Kind::Process(runtime, kernel))
}

async fn open_native(directory: &Path, network: Network, several: bool) -> anyhow::Result<Kind> {
    let network = if network == Network::Auto && !several { Network::Userspace } else { network };
    let kernel = in_kernel(network).await?;
    let config = native::Config::new(native_directory(directory)).process(|config| {
        let config = config.routed(kernel);
        if several { config.pods_later() } else { config }
    });
    let runtime = NativeRuntime::open(config).await.context("containers cannot be run without a daemon")?;
    Ok(Kind::Native(runtime, kernel))
}

/// Where the native runtime keeps its images and containers.
pub(crate) fn native_directory(directory: &Path) -> PathBuf {
    directory.join("native")
}

/// Whether the kernel leads to services.
async fn in_kernel(wanted: Network) -> anyhow::Result<bool> {
    if wanted == Network::Userspace || (wanted == Network::Auto && !is_root()) {
        return Ok(false);
    }
    NftablesNetwork::usable(wanted == Network::Nftables).await.map_err(anyhow::Error::msg)
}

impl Backend {
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::Fake(1) => "fake: containers run in name only".to_owned(),
            Kind::Fake(nodes) => format!("fake, {nodes} nodes: containers run in name only"),
            Kind::Docker(_) => "Docker".to_owned(),
            Kind::Cri(runtime) => format!("the container runtime at {}", runtime.endpoint()),
            Kind::Native(_, true) => {
                "this machine's own containers, by runc; services by nftables".to_owned()
            }
            Kind::Native(_, false) => "this machine's own containers, by runc".to_owned(),
            Kind::Process(_, true) => {
                "processes of this machine, each pod in a network of its own; services by nftables".to_owned()
            }
            Kind::Process(..) if is_root() => {
                "processes of this machine, each pod in a network of its own".to_owned()
            }
            Kind::Process(..) => {
                "processes of this machine, each pod with a loopback address of its own".to_owned()
            }
        }
    }

    /// Adds the nodes to a cluster that is to be started.
    pub(crate) async fn add_to(self, builder: Builder) -> anyhow::Result<Builder> {
        let builder = builder.service_ranges(self.service_ranges()?);
        let name = identity(&self.directory);
        let servers = Vec::from_iter(self.dns()?);
        let builder =
            if servers.is_empty() { builder } else { answer_names(builder, Dns::new().owner(&name)) };
        let announces = is_root() && !matches!(self.kind, Kind::Fake(_));
        let segments = Announcer::segments(announces).await;
        let builder = if announces { answer_for_balancers(builder, &self.node, &name) } else { builder };
        let config = node::Config {
            annotations: BTreeMap::from([(announce::SEGMENTS.to_owned(), segments)]),
            cluster: name.clone(),
            dns: ClusterDns { servers, domain: DOMAIN.to_owned() },
            log_root: self.directory.join("logs"),
            addresses: vec![own_address()],
            eviction: self.own.eviction.clone(),
            ..node::Config::default()
        };
        let mut volumes = Volumes::new(self.directory.join("volumes"));
        if matches!(&self.kind, Kind::Process(runtime, _) if !runtime.capabilities().fields.privileged) {
            volumes = volumes.containers_have_own_rights();
        }
        let node_name = self.node.clone();
        let mut node = Node::new(self.node).config(config).volumes(volumes).prober(NetProber);
        if let Some(path) = self.own.manifest_path {
            node = node.manifests(Arc::new(ManifestPath::new(path)));
        }
        if let Some(url) = self.own.manifest_url {
            node = node.manifests(Arc::new(ManifestUrl::new(&url)?));
        }
        Ok(match self.kind {
            Kind::Fake(nodes) => builder.fake_nodes(nodes),
            Kind::Docker(runtime) => builder.node(node, runtime, UserspaceNetwork::new().owner(&name)),
            Kind::Cri(runtime) => builder.node(node, runtime, UserspaceNetwork::new().owner(&name)),
            Kind::Native(runtime, kernel) => {
                let networks = runtime.networks().clone();
                let several = self.several.then_some(node_name);
                on_this_machine(builder, (node, runtime), networks, (&name, several), kernel).await
            }
            Kind::Process(runtime, kernel) => {
                let several = (self.several && is_root()).then_some(node_name);
                on_this_machine(builder, (node, runtime.clone()), runtime, (&name, several), kernel).await
            }
        })
    }

    /// Where volumes are made that are directories of nodes.
    pub(crate) fn local_path(&self) -> LocalPath {
        let root = self.directory.join("local-path");
        let node = (!matches!(self.kind, Kind::Fake(_))).then(|| self.node.clone());
        let directories = Arc::new(OwnDirectories::new(root.clone(), node));
        LocalPath { root: root.display().to_string(), directories }
    }

    /// The addresses of pods, of which each node is given a part; none where there is only this one.
    pub(crate) fn pod_ranges(&self) -> anyhow::Result<Option<PodRanges>> {
        Ok(if self.several { Some(POD_ADDRESSES.parse()?) } else { None })
    }

    /// Takes the addresses of its Services on this machine. Says so if another cluster has them: then one of the two
    /// answers, and it is not known which.
    pub(crate) fn take_services(&self) -> anyhow::Result<Option<Range>> {
        if matches!(self.kind, Kind::Fake(_)) {
            return Ok(None);
        }
        let range = self.service_ranges()?.to_string();
        let taken = Range::take(&range)?;
        if taken.is_none() {
            warn!(
                range,
                "another cluster on this machine has these Service addresses: Services of this one are not reached until \
                 the other is stopped and this one started again; a new cluster can be given others with \
                 --service-cluster-ip-range"
            );
        }
        Ok(taken)
    }

    /// Where the cluster's names are answered; nowhere if this program may not listen there.
    pub(crate) fn dns(&self) -> anyhow::Result<Option<IpAddr>> {
        let address = self.service_ranges()?.dns();
        Ok(match self.kind {
            Kind::Fake(_) => None,
            _ if !self.names => None,
            _ if is_root() => Some(address.into()),
            // Of a loopback range anybody may have the address, but rarely the port.
            _ => UdpSocket::bind((address, 53)).is_ok().then_some(address.into()),
        })
    }

    /// The cluster IPs that its network can carry.
    pub(crate) fn service_ranges(&self) -> anyhow::Result<ServiceRanges> {
        Ok(match (&self.services, &self.kind) {
            (Some(asked), _) => asked.clone(),
            (None, Kind::Process(..)) if !is_root() => LOOPBACK_SERVICES.parse()?,
            (None, _) => ServiceRanges::default(),
        })
    }
}

/// Adds a node whose pods have networks of our making. `several` names it where other machines may be nodes too.
async fn on_this_machine(
    builder: Builder,
    (node, runtime): (Node, impl orchestra_core::runtime::Runtime),
    networks: ProcessRuntime,
    (owner, several): (&str, Option<String>),
    kernel: bool,
) -> Builder {
    let kernel = kernel.then(|| Arc::new(NftablesNetwork::new(owner, true)));
    let builder = match several {
        Some(name) => follow_nodes(builder, (name, owner), networks, kernel.clone()),
        None => {
            let own = networks.pods().map(|range| (range.gateway().into(), range.prefix()));
            tell_kernel(kernel.as_deref(), own.as_slice(), own.as_slice()).await;
            builder
        }
    };
    match kernel {
        Some(kernel) => builder.node(node, runtime, kernel),
        None => {
            // What was left by a run with the kernel would come first. Without its program nothing was.
            let _ = NftablesNetwork::remove(owner).await;
            builder.node(node, runtime, UserspaceNetwork::new().owner(owner).host_ports(true))
        }
    }
}

/// Gives pods the addresses that the cluster gave the node, and keeps the ways to those of other nodes.
fn follow_nodes(
    builder: Builder,
    (node, owner): (String, &str),
    runtime: ProcessRuntime,
    kernel: Option<Arc<NftablesNetwork>>,
) -> Builder {
    let owner = owner.to_owned();
    builder.part(POD_NETWORK, move |client, stop| {
        let (routes, mut told) = Routes::new(&node, &owner);
        let (runtime, kernel) = (runtime.clone(), kernel.clone());
        async move {
            let follow = async {
                while told.changed().await.is_ok() {
                    let pods = told.borrow_and_update().clone();
                    let range = pods
                        .own
                        .iter()
                        .find_map(|(ip, prefix)| process::Range::parse(&format!("{ip}/{prefix}")));
                    range.into_iter().for_each(|range| runtime.give_pods(range));
                    tell_kernel(kernel.as_deref(), &pods.own, &pods.cluster).await;
                }
            };
            tokio::select! {
                () = follow => {}
                ended = routes.run(client, stop.cancelled_owned()) => {
                    if let Err(error) = ended {
                        error!(%error, "pods of other nodes are no longer followed");
                    }
                }
            }
        }
    })
}

async fn tell_kernel(kernel: Option<&NftablesNetwork>, own: &[Pods], cluster: &[Pods]) {
    if let Some(kernel) = kernel
        && let Err(error) = kernel.pods(own, cluster).await
    {
        warn!(%error, "the kernel was not told where the pods are");
    }
}

/// Answers the cluster's names for as long as it runs.
fn answer_names(builder: Builder, dns: Dns) -> Builder {
    builder.part(dns::SERVICE, move |client, stop| {
        let dns = dns.clone();
        async move {
            if let Err(error) = dns.run(client, stop.cancelled_owned()).await {
                error!(%error, "the cluster's names are no longer answered");
            }
        }
    })
}

/// Answers for the addresses of load balancers for as long as it runs.
fn answer_for_balancers(builder: Builder, node: &str, owner: &str) -> Builder {
    let announcer = Arc::new(Announcer::new(node, owner));
    builder.part(LOAD_BALANCERS, move |client, stop| {
        let announcer = Arc::clone(&announcer);
        async move {
            if let Err(error) = announcer.run(client, stop.cancelled_owned()).await {
                error!(%error, "addresses of load balancers are no longer answered for");
            }
        }
    })
}

/// A word for the cluster of a data directory, the same at every start: by it the cluster tells what is its own among
/// the containers and addresses of the machine.
pub(crate) fn identity(directory: &Path) -> String {
    format!("{:08x}", crc32fast::hash(directory.as_os_str().as_bytes()))
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
