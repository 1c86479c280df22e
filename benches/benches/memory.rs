//! What a whole cluster takes of memory: idle, and with pods that run on fake nodes.
//!
//! `cargo bench -p orchestra-benches --bench memory [-- PODS…]`. Each line is a process of its own, which reads its
//! resident memory from the kernel: the store, the API with its caches and watchers' log, scheduler, controllers, and
//! for each node the agent, the runtime and the proxy. The pods belong to Deployments of 500.

use std::time::{Duration, Instant};

use orchestra_benches::resident;
use orchestra_core::api::{Client, Target};
use orchestra_core::cluster::Cluster;
use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
use orchestra_core::k8s_openapi::api::core::v1::{Node, Pod};
use orchestra_core::node;
use serde_json::json;

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 4] = [0, 1_000, 10_000, 50_000];
const PODS_PER_NODE: usize = 100;
const PODS_PER_DEPLOYMENT: usize = 500;
/// Set for the process that measures one size.
const SIZE: &str = "ORCHESTRA_BENCH_PODS";

fn main() {
    if let Some(pods) = std::env::var(SIZE).ok().and_then(|pods| pods.parse().ok()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.expect("a runtime").block_on(measure(pods));
    }
    // Cargo adds a flag of its own to what it is given.
    let asked: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    println!("   pods  nodes   VmRSS, idle      and running    a pod   its JSON   all Running in");
    for pods in if asked.is_empty() { SIZES.to_vec() } else { asked } {
        let program = std::env::current_exe().expect("this program");
        let status = std::process::Command::new(program).env(SIZE, pods.to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "{pods} pods did not run");
    }
}

async fn measure(pods: usize) {
    let nodes = pods.div_ceil(PODS_PER_NODE).max(1);
    let config = node::Config { events: false, ..node::Config::default() };
    let cluster = Cluster::builder().fake_nodes(nodes).fake_node_config(config).start().await;
    let cluster = cluster.expect("it starts");
    let client = cluster.client();
    until(async || ready_nodes(&client).await == nodes).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = resident();
    print!("{pods:>7} {nodes:>6} {:>9} KiB", idle / 1024);
    if pods == 0 {
        return println!();
    }
    let started = Instant::now();
    let deployments = client.api::<Deployment>("default");
    for (index, first) in (0..pods).step_by(PODS_PER_DEPLOYMENT).enumerate() {
        let replicas = PODS_PER_DEPLOYMENT.min(pods - first);
        deployments.create(&deployment(index, replicas)).await.expect("a deployment");
    }
    until(async || running(&client).await == pods).await;
    let took = started.elapsed();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let busy = resident();
    let cache = client.service().cache(&Target::of::<Pod>(None)).await.expect("a cache");
    let json: usize = cache.snapshot().range(None, None).map(|pod| pod.bytes().len()).sum();
    let each = busy.saturating_sub(idle) / pods;
    println!(" {:>12} KiB {each:>6} B {:>8} B {:>14.1} s", busy / 1024, json / pods, took.as_secs_f64());
}

fn deployment(index: usize, replicas: usize) -> Deployment {
    let labels = json!({"app": format!("app-{index:03}"), "tier": "front"});
    serde_json::from_value(json!({
        "metadata": {"name": format!("app-{index:03}")},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]}]},
            },
        },
    }))
    .expect("a deployment")
}

async fn ready_nodes(client: &Client) -> usize {
    let nodes = client.cluster::<Node>().list().await.expect("an answer");
    let ready = |node: &&Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    nodes.iter().filter(ready).count()
}

async fn running(client: &Client) -> usize {
    let deployments = client.api::<Deployment>("default").list().await.expect("an answer");
    let ready = |deployment: &Deployment| deployment.status.as_ref()?.ready_replicas;
    deployments.iter().filter_map(ready).sum::<i32>() as usize
}

async fn until(holds: impl AsyncFn() -> bool) {
    while !holds().await {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
