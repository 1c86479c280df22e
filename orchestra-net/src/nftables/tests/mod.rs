//! Rules as text, and rules in a kernel.

mod kernel;
mod policies;
mod text;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use orchestra_core::network::{
    Affinity, AttachRequest, Endpoint, Network as _, PodPolicy, PodRef, PolicyPlan, Protocol, SandboxId,
    ServiceEntry, ServicePlan, ServicePort, TrafficPolicy,
};

use super::NftablesNetwork;
use crate::lab::Lab;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An endpoint as `ADDRESS` or `ADDRESS@elsewhere`.
fn endpoint(text: &str) -> Endpoint {
    let (address, local) = text.strip_suffix("@elsewhere").map_or((text, true), |address| (address, false));
    Endpoint { address: address.parse().unwrap(), local }
}

fn port(protocol: Protocol, port: u16, node_port: Option<u16>, endpoints: &[&str]) -> ServicePort {
    let endpoints = endpoints.iter().map(|text| endpoint(text)).collect();
    ServicePort { name: String::new(), protocol, port, node_port, endpoints }
}

fn service(name: &str, ips: &[&str], ports: Vec<ServicePort>) -> ServiceEntry {
    ServiceEntry {
        namespace: "shop".into(),
        name: name.into(),
        cluster_ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        affinity: Affinity::None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        ports,
    }
}

fn plan(services: impl IntoIterator<Item = ServiceEntry>) -> ServicePlan {
    ServicePlan { services: services.into_iter().collect() }
}

fn sticky(mut service: ServiceEntry, seconds: u64) -> ServiceEntry {
    service.affinity = Affinity::ClientIp(Duration::from_secs(seconds));
    service
}

const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 7);
const ALL: [&str; 3] = ["10.244.1.1:80", "10.244.1.2:80", "10.244.1.3:80"];

fn web(node_port: Option<u16>, endpoints: &[&str]) -> ServicePlan {
    plan([service(
        "web",
        &["10.96.0.7"],
        vec![port(Protocol::Tcp, 8080, node_port, endpoints), port(Protocol::Udp, 8080, None, endpoints)],
    )])
}

/// A network without policies.
async fn open(owner: &str, host_ports: bool) -> NftablesNetwork {
    let network = NftablesNetwork::new(owner, host_ports);
    network.apply_policies(&PolicyPlan::default()).await.unwrap();
    network
}

/// Policies for whichever pods there are.
fn told(pods: impl IntoIterator<Item = PodPolicy>) -> PolicyPlan {
    PolicyPlan { pods: pods.into_iter().collect(), known: None }
}

/// A pod of the lab that is to be connected.
fn request(n: u8) -> AttachRequest {
    AttachRequest {
        sandbox: SandboxId::from(format!("s{n}").as_str()),
        pod: PodRef { namespace: "shop".into(), name: format!("p{n}"), uid: format!("u{n}") },
        netns: None,
        runtime_ips: vec![Lab::pod(n).into()],
        known_ips: vec![],
        host_ports: vec![],
        annotations: Default::default(),
    }
}
