//! Rules as text, and rules in a kernel.

mod kernel;
mod text;

use std::net::IpAddr;
use std::time::Duration;

use orchestra_core::network::{
    Affinity, Endpoint, Protocol, ServiceEntry, ServicePlan, ServicePort, TrafficPolicy,
};

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
