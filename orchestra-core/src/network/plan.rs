//! What leads where: every service of the cluster as one node should serve it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::runtime::Protocol;

/// Everything a node's service network should do, as one value.
///
/// Two plans that are equal ask for the same: services stand in order of namespace and name, ports in the order of the
/// service, endpoints in order of address. Headless and `ExternalName` services are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServicePlan {
    /// The services, in order of namespace and name.
    pub services: Vec<ServiceEntry>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its virtual addresses; at least one.
    pub cluster_ips: Vec<IpAddr>,
    /// More addresses that lead to it: its `externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// Those of its load balancer, if the balancer leaves them as they are.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may come by those of its load balancer, each an address and how many leading bits count; with none, everybody.
    pub source_ranges: Vec<(IpAddr, u8)>,
    /// Whether one client stays with one endpoint.
    pub affinity: Affinity,
    /// Which endpoints take what arrives at a cluster address.
    pub internal_policy: TrafficPolicy,
    /// Which endpoints take what arrives at a node port or an external address.
    pub external_policy: TrafficPolicy,
    /// Where the node says whether it has endpoints of its own, with an external policy of
    /// [`Local`](TrafficPolicy::Local).
    pub health_check_node_port: Option<u16>,
    /// Its ports; at least one.
    pub ports: Vec<ServicePort>,
}

impl ServiceEntry {
    /// `namespace/name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Endpoints that take what arrives at a cluster address.
    pub fn internal<'a>(&self, port: &'a ServicePort) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
        chosen(self.internal_policy, port)
    }

    /// Endpoints that take what arrives at a node port or an external address.
    pub fn external<'a>(&self, port: &'a ServicePort) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
        chosen(self.external_policy, port)
    }
}

fn chosen(policy: TrafficPolicy, port: &ServicePort) -> impl Iterator<Item = &Endpoint> {
    port.endpoints.iter().filter(move |endpoint| policy == TrafficPolicy::Cluster || endpoint.local)
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty when the service has but one port and does not name it.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// Port at the cluster and external addresses.
    pub port: u16,
    /// Port at every address of the node.
    pub node_port: Option<u16>,
    /// Where connections go: the ready endpoints, or the ones that still serve while they end when no other is left.
    /// None at all means that connections are refused.
    pub endpoints: Vec<Endpoint>,
}

/// Where connections go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address and port of the pod.
    pub address: SocketAddr,
    /// Whether the pod is on this node.
    pub local: bool,
}

/// Whether one client stays with one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Affinity {
    /// Each connection goes to the next endpoint.
    #[default]
    None,
    /// A client's address stays with its endpoint until it has been silent for so long.
    ClientIp(Duration),
}

/// Which endpoints take a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TrafficPolicy {
    /// Any of the cluster.
    #[default]
    Cluster,
    /// Those on this node only; where there are none the connection is dropped, not refused.
    Local,
}
