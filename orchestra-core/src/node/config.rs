//! What can be set about a node agent.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;

use super::garbage::ImageCollection;
use super::thresholds::Thresholds;
use super::translate::ClusterDns;

/// How long pods have to end when the node does.
///
/// Without it they run on when the agent stops, and are found again when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// All together.
    pub grace: Duration,
    /// How much of that is for the pods that the system needs, which end when all others have.
    pub critical: Duration,
}

/// What can be set about a node agent. The defaults are the kubelet's.
#[derive(Debug, Clone)]
pub struct Config {
    /// Labels of the node, beside those of its host name, system and architecture.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the node.
    pub annotations: BTreeMap<String, String>,
    /// Taints of the node when it registers.
    pub taints: Vec<Taint>,
    /// The node's addresses, the primary first. Pods on the host's network have them.
    pub addresses: Vec<IpAddr>,
    /// Tells this cluster from others that share a machine's runtime.
    pub cluster: String,
    /// How pods look up names.
    pub dns: ClusterDns,
    /// Whether they ask the Service `kube-dns` of the cluster, if there is one and no servers are named here.
    pub dns_service: bool,
    /// Where logs go, for runtimes that write files.
    pub log_root: PathBuf,
    /// Where the agent answers requests for logs and the like, for an API server elsewhere.
    pub endpoint_port: Option<u16>,
    /// How often the node says that it lives.
    pub heartbeat: Duration,
    /// After how long without a sign of life it counts as lost.
    pub lease: Duration,
    /// How often the node's status is written though nothing in it changed.
    pub status_period: Duration,
    /// How soon volumes that could not be brought up to date are tried again. They are when something that they are made
    /// from changes.
    pub volume_period: Duration,
    /// Whether events are written. A thousand fake nodes do without.
    pub events: bool,
    /// Most pods at a time, where the machine's own figure is not to count.
    pub max_pods: Option<u32>,
    /// How little of memory, disk and processes may be left before pods are evicted.
    pub eviction: Thresholds,
    /// When images go that no container is of; never, unless it is said: others may use the machine.
    pub images: Option<ImageCollection>,
    /// How long pods have to end when the agent is told to stop. They run on, unless it is said.
    pub shutdown: Option<Shutdown>,
    /// How much of the machine is kept from pods, in thousandths of a core and bytes.
    pub reserved: (u64, u64),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            taints: Vec::new(),
            addresses: vec![IpAddr::from([127, 0, 0, 1])],
            cluster: "orchestra".into(),
            dns: ClusterDns { servers: Vec::new(), domain: "cluster.local".into() },
            dns_service: false,
            log_root: "/var/log/pods".into(),
            endpoint_port: None,
            heartbeat: Duration::from_secs(10),
            lease: Duration::from_secs(40),
            status_period: Duration::from_secs(300),
            volume_period: Duration::from_secs(60),
            events: true,
            max_pods: None,
            eviction: Thresholds::default(),
            images: None,
            shutdown: None,
            reserved: (0, 0),
        }
    }
}
