//! What the nodes of the cluster are: this machine, or none but in name.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use orchestra_core::admission::ServiceRanges;
use orchestra_core::cluster::{Builder, Node};
use orchestra_core::controllers::PodRanges;
use orchestra_core::controllers::local_path::LocalPath;
use orchestra_core::network::dns;
use orchestra_core::node::{self, ClusterDns, Thresholds};
use orchestra_http::{ManifestUrl, own_address};
use orchestra_ingress::ADDRESSES;
use orchestra_machine::{Balance, Choice, Machine, Network, Place, PodNetwork, Runtime, is_root};
use orchestra_net::{Announcer, Dns, Routes, announce};
use orchestra_runtime::host::{ManifestPath, NetProber};
use orchestra_runtime::process;
use tracing::error;

use crate::cli::Up;
use crate::directory::Range;
use crate::ingress;
use crate::local_volumes::OwnDirectories;

/// Cluster IPs of a cluster whose pods have loopback addresses: anyone may listen there.
const LOOPBACK_SERVICES: &str = "127.96.0.0/16";

/// The addresses of pods of a cluster of several machines.
const POD_ADDRESSES: &str = "10.244.0.0/16";
/// The same where they have both families.
const POD_ADDRESSES_OF_BOTH: &str = "10.244.0.0/16,fd00:10:244::/48";
/// The part that keeps the ways between them.
const POD_NETWORK: &str = "pod-network";
/// The part that answers for the addresses of load balancers.
const LOAD_BALANCERS: &str = "load-balancers";

/// What the names of the cluster end in.
const DOMAIN: &str = "cluster.local";

/// What the cluster's nodes are, and where they keep things.
pub(crate) struct Backend {
    nodes: Nodes,
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

enum Nodes {
    /// So many, whose containers run in name only.
    Fake(usize),
    /// This machine.
    Machine(Machine),
}

/// What is set of the node itself.
#[derive(Default)]
struct Own {
    manifest_path: Option<PathBuf>,
    manifest_url: Option<String>,
    eviction: Thresholds,
    /// Where Ingresses are served beside it, if they are.
    ingress: Option<IpAddr>,
}

/// Chooses as the options say.
pub(crate) async fn choose(options: &Up, directory: &Path) -> anyhow::Result<Backend> {
    let several = options.is_joinable();
    let own = Own {
        manifest_path: options.pod_manifest_path.clone(),
        manifest_url: options.manifest_url.clone(),
        eviction: options.eviction_hard.clone(),
        ingress: ingress::address(options),
    };
    let services = options.service_cluster_ip_range.clone();
    let dual = services.as_ref().is_some_and(|ranges| ranges.cidrs().len() > 1);
    let pods = if dual && !several { both_families() } else { None };
    let machine = machine(&options.machine, directory, several, pods).await?;
    if dual && machine.as_ref().is_some_and(|machine| !machine.leads_in_kernel()) {
        bail!(
            "--service-cluster-ip-range with an IPv6 range takes --network nftables, and pods of this machine's own: in user \
             space services have IPv4 addresses alone"
        );
    }
    let nodes = machine.map_or(Nodes::Fake(options.nodes), Nodes::Machine);
    let (node, directory) = (options.node_name.clone(), directory.to_owned());
    Ok(Backend { nodes, node, directory, services, several, names: true, own })
}

/// Processes of this machine.
pub(crate) async fn of_processes(directory: &Path, node: &str) -> anyhow::Result<Backend> {
    let choice = Choice {
        runtime: Runtime::Process,
        runtime_endpoint: None,
        network: Network::Userspace,
        pod_mtu: None,
        balance: Balance::RoundRobin,
        device_plugins: None,
        cni_conf_dir: PathBuf::new(),
        cni_bin_dir: Vec::new(),
    };
    let machine = machine(&choice, directory, false, None).await?;
    let nodes = machine.map_or(Nodes::Fake(1), Nodes::Machine);
    let (node, directory) = (node.to_owned(), directory.to_owned());
    let (services, own) = (None, Own::default());
    Ok(Backend { nodes, node, directory, services, several: false, names: false, own })
}

async fn machine(
    choice: &Choice,
    directory: &Path,
    several: bool,
    pods: Option<process::Range>,
) -> anyhow::Result<Option<Machine>> {
    let owner = identity(directory);
    orchestra_machine::choose(choice, Place { directory, owner: &owner, several, pods }).await
}

/// The addresses of pods of one machine, where they have both families.
fn both_families() -> Option<process::Range> {
    process::Range::parse("10.85.0.0/16")?.and("fd00:10:85::/64")
}

impl Backend {
    pub(crate) fn describe(&self) -> String {
        match &self.nodes {
            Nodes::Fake(1) => "fake: containers run in name only".to_owned(),
            Nodes::Fake(nodes) => format!("fake, {nodes} nodes: containers run in name only"),
            Nodes::Machine(machine) => machine.description().to_owned(),
        }
    }

    /// Whether the cluster has a node before others join it.
    pub(crate) fn has_nodes(&self) -> bool {
        !matches!(self.nodes, Nodes::Fake(0))
    }

    /// Adds the nodes to a cluster that is to be started.
    pub(crate) async fn add_to(self, builder: Builder) -> anyhow::Result<Builder> {
        let builder = builder.service_ranges(self.service_ranges()?);
        let owner = identity(&self.directory);
        let servers = Vec::from_iter(self.dns()?);
        let builder =
            if servers.is_empty() { builder } else { answer_names(builder, Dns::new().owner(&owner)) };
        let machine = match self.nodes {
            Nodes::Fake(nodes) => return Ok(builder.fake_nodes(nodes)),
            Nodes::Machine(machine) => machine,
        };
        let announces = machine.takes_addresses();
        let segments = Announcer::segments(announces).await;
        let builder = if announces { answer_for_balancers(builder, &self.node, &owner) } else { builder };
        let builder = match machine.pods() {
            Some(pods) => follow_nodes(builder, (&self.node, &owner), pods.clone()),
            None => builder,
        };
        let config = node::Config {
            annotations: BTreeMap::from([
                (announce::SEGMENTS.to_owned(), segments),
                (ADDRESSES.to_owned(), self.own.ingress.map(|ip| ip.to_string()).unwrap_or_default()),
            ]),
            cluster: owner,
            dns: ClusterDns { servers, domain: DOMAIN.to_owned() },
            log_root: self.directory.join("logs"),
            addresses: vec![own_address()],
            eviction: self.own.eviction,
            ..node::Config::default()
        };
        let volumes = machine.volumes(self.directory.join("volumes"));
        let mut node = Node::new(self.node).config(config).volumes(volumes).prober(NetProber);
        if let Some(plugins) = machine.device_plugins() {
            node = node.device_plugins(plugins);
        }
        if let Some(path) = self.own.manifest_path {
            node = node.manifests(Arc::new(ManifestPath::new(path)));
        }
        if let Some(url) = self.own.manifest_url {
            node = node.manifests(Arc::new(ManifestUrl::new(&url)?));
        }
        Ok(builder.node(node, machine.runtime(), machine.network()))
    }

    /// Where volumes are made that are directories of nodes.
    pub(crate) fn local_path(&self) -> LocalPath {
        let root = self.directory.join("local-path");
        let node = (!self.is_fake()).then(|| self.node.clone());
        let directories = Arc::new(OwnDirectories::new(root.clone(), node));
        LocalPath { root: root.display().to_string(), directories }
    }

    /// The addresses of pods, of which each node is given a part; none where there is only this one.
    pub(crate) fn pod_ranges(&self) -> anyhow::Result<Option<PodRanges>> {
        let dual = self.service_ranges()?.cidrs().len() > 1;
        let addresses = if dual { POD_ADDRESSES_OF_BOTH } else { POD_ADDRESSES };
        Ok(if self.several { Some(addresses.parse()?) } else { None })
    }

    /// Takes the addresses of its Services on this machine. Says so if another cluster has them: then one of the two
    /// answers, and it is not known which.
    pub(crate) fn take_services(&self) -> anyhow::Result<Vec<Range>> {
        let mut taken = Vec::new();
        for range in if self.is_fake() { Vec::new() } else { self.service_ranges()?.cidrs() } {
            match Range::take(&range)? {
                Some(range) => taken.push(range),
                None => eprintln!(
                    "warning: another cluster on this machine has the Service addresses {range}: Services of this one are \
                     not reached until the other is stopped and this one started again; a new cluster can be given others \
                     with --service-cluster-ip-range"
                ),
            }
        }
        Ok(taken)
    }

    /// Where the cluster's names are answered; nowhere if this program may not listen there.
    pub(crate) fn dns(&self) -> anyhow::Result<Option<IpAddr>> {
        let address = self.service_ranges()?.dns();
        if self.is_fake() || !self.names {
            return Ok(None);
        }
        // Of a loopback range anybody may have the address, but rarely the port.
        let may_listen = is_root() || UdpSocket::bind((address, 53)).is_ok();
        Ok(may_listen.then_some(address.into()))
    }

    /// The cluster IPs that its network can carry.
    pub(crate) fn service_ranges(&self) -> anyhow::Result<ServiceRanges> {
        Ok(match (&self.services, &self.nodes) {
            (Some(asked), _) => asked.clone(),
            (None, Nodes::Machine(machine)) if machine.is_on_loopback() => LOOPBACK_SERVICES.parse()?,
            (None, _) => ServiceRanges::default(),
        })
    }

    fn is_fake(&self) -> bool {
        matches!(self.nodes, Nodes::Fake(_))
    }
}

/// Gives pods the addresses that the cluster gave the node, and keeps the ways to those of other nodes.
fn follow_nodes(builder: Builder, (node, owner): (&str, &str), pods: PodNetwork) -> Builder {
    let (node, owner) = (node.to_owned(), owner.to_owned());
    builder.part(POD_NETWORK, move |client, stop| {
        let (routes, told) = Routes::new(&node, &owner);
        let routes = routes.mtu(pods.mtu());
        let pods = pods.clone();
        async move {
            tokio::select! {
                () = pods.follow(told) => {}
                ended = routes.run(client, stop.cancelled_owned()) => {
                    if let Err(error) = ended {
                        error!(%error, "pods of other nodes are no longer followed");
                    }
                }
            }
        }
    })
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
