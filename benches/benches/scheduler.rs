//! Placing pods in a cluster of 5,000 nodes and 30,000 pods, beside a scheduler that looks at every pod.
//!
//! Each iteration plans one pod, counts it on its node, and takes it away again, so that the cluster stays as it is.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use orchestra_benches::scheduling::{node, place_and_remove, pod};
use orchestra_core::scheduler::{HOSTNAME, NodeSpec, PodInfo, Profile, Snapshot, ZONE, plan};
use orchestra_core::selector::Selector;
use serde_json::{Value, json};

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: usize = 5_000;
const PODS: usize = 30_000;
const APPS: usize = 100;

/// Every rule about other pods at once: hard spreading over zones and hosts, away from its own kind, near another.
fn demanding(app: usize) -> Value {
    let of = |app: usize| json!({"matchLabels": {"app": format!("app-{app}")}});
    let spread = |key: &str, skew: usize| json!({"topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": of(app)});
    json!({
        "topologySpreadConstraints": [spread(ZONE, 1), spread(HOSTNAME, 1)],
        "affinity": {
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                [{"topologyKey": HOSTNAME, "labelSelector": of(app)}]},
            "podAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ZONE, "labelSelector": of(app + 1)}],
                "preferredDuringSchedulingIgnoredDuringExecution":
                    [{"weight": 10, "podAffinityTerm": {"topologyKey": ZONE, "labelSelector": of(app + 2)}}],
            },
        },
    })
}

fn populated(spec: impl Fn(usize) -> Value) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for index in 0..NODES {
        snapshot.set_node(node(index));
    }
    for index in 0..PODS {
        let app = index % APPS;
        // Pods of one app end up on different nodes, as its rules would have them.
        let at = format!("node-{:04}", (index / APPS * APPS + index % APPS) % NODES);
        snapshot.set_pod(pod(&format!("pod-{index}"), app, spec(app)), Some(&at));
    }
    snapshot
}

/// What one writes first: for every node, add up its pods; for spreading, look at every pod of the cluster.
struct Naive {
    nodes: Vec<(NodeSpec, Vec<Arc<PodInfo>>)>,
}

impl Naive {
    fn of(snapshot: &Snapshot) -> Self {
        Self { nodes: snapshot.nodes().map(|n| (n.spec.clone(), n.pods.clone())).collect() }
    }

    fn place(&self, pod: &PodInfo, spread: Option<(&str, &Selector)>) -> Option<&str> {
        let free = |spec: &NodeSpec, pods: &[Arc<PodInfo>]| {
            let cpu: i64 = pods.iter().map(|p| p.requests.needed.milli_cpu).sum();
            let memory: i64 = pods.iter().map(|p| p.requests.needed.memory).sum();
            (spec.allocatable.milli_cpu - cpu, spec.allocatable.memory - memory)
        };
        let mut counts = BTreeMap::<&str, i64>::new();
        if let Some((key, selector)) = spread {
            for (spec, pods) in &self.nodes {
                let alike = pods.iter().filter(|p| selector.matches(&p.labels.to_labels())).count();
                *counts.entry(spec.labels[key].as_str()).or_default() += alike as i64;
            }
        }
        let least = counts.values().min().copied().unwrap_or_default();
        let fitting = self.nodes.iter().filter(|(spec, pods)| {
            let (cpu, memory) = free(spec, pods);
            let even = spread.is_none_or(|(key, _)| counts[spec.labels[key].as_str()] <= least);
            even && pods.len() < 110
                && cpu >= pod.requests.needed.milli_cpu
                && memory >= pod.requests.needed.memory
        });
        let best = fitting.max_by_key(|(spec, pods)| free(spec, pods));
        best.map(|(spec, _)| &*spec.name)
    }
}

fn scheduler(c: &mut Criterion) {
    let mut group = c.benchmark_group("scheduler/5000 nodes");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    let mut snapshot = populated(|_| json!({}));
    let mut seed = 0u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed
    };
    let alone = {
        let mut pod = (*pod("new", 0, json!({}))).clone();
        pod.controller = None;
        Arc::new(pod)
    };
    group.bench_function("basic", |b| b.iter(|| place_and_remove(&mut snapshot, &alone, next())));
    let replica = pod("new", 0, json!({}));
    group.bench_function("replica set", |b| b.iter(|| place_and_remove(&mut snapshot, &replica, next())));
    let huge =
        pod("new", 0, json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "64"}}}]}));
    group.bench_function("fits nowhere", |b| {
        b.iter(|| black_box(plan(&snapshot, &huge, &Profile::default(), next())));
    });
    let naive = Naive::of(&snapshot);
    group.bench_function("basic, naive", |b| b.iter(|| black_box(naive.place(&alone, None))));
    let selector = Selector::parse("app=app-0").expect("a selector");
    group.bench_function("spread over zones, naive", |b| {
        b.iter(|| black_box(naive.place(&replica, Some((ZONE, &selector)))));
    });
    let one = json!([{"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "app-0"}}}]);
    let spread = pod("new", 0, json!({"topologySpreadConstraints": one}));
    snapshot.track(&spread);
    group
        .bench_function("spread over zones", |b| b.iter(|| place_and_remove(&mut snapshot, &spread, next())));
    let mut demanded = populated(demanding);
    let worst = pod("new", 0, demanding(0));
    group.bench_function("spread and affinity", |b| {
        b.iter(|| place_and_remove(&mut demanded, &worst, next()))
    });
    group.finish();
}

criterion_group!(benches, scheduler);
criterion_main!(benches);
