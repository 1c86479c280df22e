//! What every [`Network`] must do.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::network::{
    Affinity, AttachRequest, Endpoint, Network, PodRef, Protocol, SandboxId, ServiceEntry, ServicePlan,
    ServicePort, TrafficPolicy,
};

/// A network to check. Where addresses come with real sandboxes, bring some.
pub struct Subject {
    network: Arc<dyn Network>,
    requests: Vec<AttachRequest>,
    cluster_ip: IpAddr,
}

impl Subject {
    /// A network that gives addresses to sandboxes that need not exist.
    pub fn new(network: Arc<dyn Network>) -> Self {
        let requests = (0..3).map(request).collect();
        Self { network, requests, cluster_ip: IpAddr::V4(Ipv4Addr::new(127, 200, 0, 1)) }
    }

    /// Real sandboxes, at least two, for networks that need them.
    pub fn sandboxes(mut self, requests: Vec<AttachRequest>) -> Self {
        assert!(requests.len() >= 2, "two sandboxes are needed");
        self.requests = requests;
        self
    }

    /// A virtual address the network can serve here; an unusual loopback one unless said otherwise.
    pub fn cluster_ip(mut self, ip: IpAddr) -> Self {
        self.cluster_ip = ip;
        self
    }
}

fn request(n: u32) -> AttachRequest {
    AttachRequest {
        sandbox: SandboxId::from(format!("contract-{n}")),
        pod: PodRef { namespace: "contract".into(), name: format!("pod-{n}"), uid: format!("uid-{n}") },
        netns: None,
        runtime_ips: Vec::new(),
        known_ips: Vec::new(),
        host_ports: Vec::new(),
        annotations: Default::default(),
    }
}

/// Runs the whole suite. Panics with what went wrong.
pub async fn check(subject: &Subject) {
    addresses(subject).await;
    plans(subject).await;
}

async fn addresses(s: &Subject) {
    let mut given = BTreeSet::new();
    for request in &s.requests {
        let attachment = s.network.attach(request).await.expect("attach");
        assert!(!attachment.ips.is_empty(), "a pod has an address");
        for ip in &attachment.ips {
            assert!(given.insert(*ip), "{ip} was given twice");
        }
        let again = s.network.attach(request).await.expect("attach again");
        assert_eq!(again, attachment, "an attached sandbox keeps its addresses");
    }
    for request in &s.requests {
        for _ in 0..2 {
            s.network.detach(&request.sandbox, &request.pod).await.expect("detach, also twice");
        }
    }
    let back = s.network.attach(&s.requests[0]).await.expect("attach after detach");
    assert!(!back.ips.is_empty());
    s.network.detach(&s.requests[0].sandbox, &s.requests[0].pod).await.expect("detach");
    s.network.retain(&[]).await.expect("retain");
}

async fn plans(s: &Subject) {
    let plan = plan(s.cluster_ip, 18_080);
    for plan in [&plan, &plan, &ServicePlan::default(), &ServicePlan::default(), &plan] {
        let applied = s.network.apply(plan).await.expect("apply");
        assert!(applied.failures.is_empty(), "{:?}", applied.failures);
    }
    s.network.apply(&ServicePlan::default()).await.expect("nothing is a plan too");
}

fn plan(cluster_ip: IpAddr, port: u16) -> ServicePlan {
    let endpoint = |last| Endpoint { address: SocketAddr::from(([127, 0, 0, last], 9)), local: last == 1 };
    let port = ServicePort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port,
        node_port: None,
        endpoints: vec![endpoint(1), endpoint(2)],
    };
    ServicePlan {
        services: vec![ServiceEntry {
            namespace: "contract".into(),
            name: "web".into(),
            cluster_ips: vec![cluster_ip],
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            affinity: Affinity::None,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            health_check_node_port: None,
            ports: vec![port],
        }],
    }
}
