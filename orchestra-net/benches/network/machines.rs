//! Three nodes with pods, two on one segment and one behind a router, and two bare namespaces on a bridge.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;
use orchestra_core::api::Client;
use orchestra_core::cluster::Cluster;
use orchestra_core::network::{
    Affinity, Endpoint, Network as _, PodRef, PolicyPlan, Protocol, ServiceEntry, ServicePlan, ServicePort,
    TrafficPolicy,
};
use orchestra_core::runtime::{Namespaces, Runtime as _, SandboxMeta, SandboxSpec};
use orchestra_net::{NftablesNetwork, Routes};
use orchestra_runtime::process::{Config, ProcessRuntime, Range};
use serde_json::json;
use tempfile::TempDir;

use crate::lab::Lab;
use crate::talk::{self, PORT};

/// The nodes: name, the first three numbers of their pods' addresses, their own address.
const NODES: [(&str, [u8; 3], Ipv4Addr); 3] = [
    ("a", [10, 244, 1], Ipv4Addr::new(192, 0, 2, 1)),
    ("b", [10, 244, 2], Ipv4Addr::new(192, 0, 2, 2)),
    ("c", [10, 244, 3], Ipv4Addr::new(198, 51, 100, 1)),
];

/// A pod, which ends with this.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) place: PathBuf,
    pub(crate) ip: IpAddr,
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.place).status();
    }
}

pub(crate) struct Machines {
    pub(crate) lab: Lab,
    /// Of the first node two pods, of the others one.
    pub(crate) pods: Vec<Pod>,
    /// A Service for the second pod, one for that of the second node.
    pub(crate) plan: ServicePlan,
    _records: TempDir,
}

impl Machines {
    pub(crate) fn new() -> Option<Self> {
        let (mut lab, records) = (Lab::empty("w")?, tempfile::tempdir().expect("a folder"));
        for place in ["a", "b", "c", "segment", "router", "bare", "x", "y"] {
            lab.namespace(place);
        }
        bridge(
            &lab,
            "segment",
            &[("a", "192.0.2.1/24"), ("b", "192.0.2.2/24"), ("router", "192.0.2.254/24")],
        );
        bridge(&lab, "bare", &[("x", "10.9.0.1/24"), ("y", "10.9.0.2/24")]);
        lab.wire(("c", "eth0", NODES[2].2), ("router", "far", Ipv4Addr::new(198, 51, 100, 254)));
        lab.within("router", || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("root"));
        for (place, gateway) in [("a", "192.0.2.254"), ("b", "192.0.2.254"), ("c", "198.51.100.254")] {
            lab.ip(place, &format!("route add default via {gateway}"));
        }
        let counts = NODES.iter().zip([2, 1, 1]);
        let pods: Vec<Pod> = counts
            .flat_map(|((node, range, _), count)| pods(&lab, node, *range, count, records.path()))
            .collect();
        let services = [("one", 1, &pods[1]), ("two", 2, &pods[2])];
        let services = services.map(|(name, n, pod)| {
            let address = SocketAddr::new(pod.ip, PORT);
            service(name, Ipv4Addr::new(10, 96, 0, n), &[Endpoint { address, local: true }])
        });
        let plan = ServicePlan { services: services.into() };
        lead(&lab, &plan);
        for place in
            pods.iter().map(|pod| pod.place.clone()).chain(["a", "b", "c", "y"].map(|name| lab.path(name)))
        {
            talk::answer(&place);
        }
        Some(Self { lab, pods, plan, _records: records })
    }
}

/// A bridge in a place, with a cable to each of some others, of that address there.
fn bridge(lab: &Lab, place: &str, others: &[(&str, &str)]) {
    lab.ip(place, "link add name bridge type bridge");
    lab.ip(place, "link set dev bridge up");
    for (other, address) in others {
        let namespace = lab.path(other).file_name().expect("a name").display().to_string();
        lab.ip(place, &format!("link add name {other} type veth peer name eth0 netns {namespace}"));
        lab.ip(place, &format!("link set dev {other} master bridge up"));
        lab.ip(other, &format!("addr add {address} dev eth0"));
        lab.ip(other, "link set eth0 up");
    }
}

/// Makes pods on a node.
fn pods(lab: &Lab, node: &str, [a, b, c]: [u8; 3], count: u8, records: &Path) -> Vec<Pod> {
    lab.run_at(node, async || {
        let range = Range::parse(&format!("{a}.{b}.{c}.0/24")).expect("a range");
        let config = Config::new(records.join(node)).run(records.join(format!("{node}-run")));
        let runtime = ProcessRuntime::open(config.pods(range, "pods").routed(true)).await.expect("a runtime");
        let mut made = Vec::new();
        for n in 0..count {
            let sandbox = runtime.run_sandbox(&sandbox(node, n)).await.expect("a pod");
            made.push(Pod { place: sandbox.netns.expect("a network of its own"), ip: sandbox.ips[0] });
        }
        made
    })
}

fn sandbox(node: &str, n: u8) -> SandboxSpec {
    let name = format!("{node}{n}");
    SandboxSpec {
        meta: SandboxMeta {
            pod: PodRef { namespace: "default".into(), uid: name.clone(), name: name.clone() },
            attempt: 0,
            owner: "bench".into(),
        },
        hostname: name,
        dns: None,
        host_ports: vec![],
        namespaces: Namespaces::default(),
        sysctls: Default::default(),
        labels: Default::default(),
        annotations: Default::default(),
        log_directory: PathBuf::new(),
        cgroup_parent: None,
        resources: None,
        handler: String::new(),
        privileged: false,
    }
}

pub(crate) fn service(name: &str, ip: Ipv4Addr, endpoints: &[Endpoint]) -> ServiceEntry {
    ServiceEntry {
        namespace: "default".into(),
        name: name.into(),
        cluster_ips: vec![ip.into()],
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        affinity: Affinity::None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        health_check_node_port: None,
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
            endpoints: endpoints.to_vec(),
        }],
    }
}

/// Gives each node its rules, and its ways to the pods of the others.
fn lead(lab: &Lab, plan: &ServicePlan) {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let threads = threads.expect("a runtime");
    let cluster = threads.block_on(Cluster::builder().start()).expect("it starts");
    threads.block_on(make_nodes(&cluster.client()));
    for (node, range, _) in NODES {
        let client = cluster.client();
        lab.run_at(node, async || {
            let network = rules(node, range).await;
            network.apply(plan).await.expect("rules");
            let (routes, _) = Routes::new(node, node);
            let others = NODES.iter().filter(|(other, ..)| *other != node);
            let ranges: Vec<String> = others.map(|(_, [a, b, c], _)| format!("{a}.{b}.{c}.0/24")).collect();
            let all = async {
                let began = Instant::now();
                while ranges.iter().any(|range| lab.ip(node, &format!("route show {range}")).is_empty()) {
                    assert!(began.elapsed() < Duration::from_secs(10), "{node} has no ways to other pods");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            routes.run(client, all).await.expect("nodes");
        });
    }
    threads.block_on(cluster.shutdown());
}

/// The rules of a node, before there is a plan of services. They stay in the kernel when this is dropped.
pub(crate) async fn rules(node: &str, [a, b, c]: [u8; 3]) -> NftablesNetwork {
    let network = NftablesNetwork::new(node, false);
    network.apply_policies(&PolicyPlan::default()).await.expect("policies");
    let (own, cluster) = (Ipv4Addr::new(a, b, c, 0).into(), Ipv4Addr::new(a, b, 0, 0).into());
    network.pods(&[(own, 24)], &[(cluster, 16)]).await.expect("ranges");
    network
}

async fn make_nodes(client: &Client) {
    for (name, [a, b, c], address) in NODES {
        let range = format!("{a}.{b}.{c}.0/24");
        let node = json!({
            "metadata": {"name": name},
            "spec": {"podCIDR": range, "podCIDRs": [range]},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        });
        let node = serde_json::from_value(node).expect("a node");
        client.cluster::<Node>().create(&node).await.expect("a node");
    }
}
