//! A cluster in a variable: how long until it answers, and until it runs something.
//!
//! `cargo bench -p orchestra-benches --bench cluster`. Each round is a cluster of its own on one thread, from nothing
//! to the answer; stopping it is not counted. The baselines make the same records in a bare memory store: what no
//! cluster over that store could beat.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use futures::StreamExt;
use orchestra_core::api::{Client, Target, WatchEvent, WatchOptions};
use orchestra_core::cluster::Cluster;
use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
use orchestra_core::k8s_openapi::api::core::v1::{Namespace, Pod};
use orchestra_core::meta::Revision;
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::store::{Batch, Change, KeyRange, Store, Txn};
use serde_json::json;
use tokio::runtime::Runtime;

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REPLICAS: usize = 3;

criterion_group! {
    name = cluster;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).sample_size(20);
    targets = first_answer, deployment
}
criterion_main!(cluster);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn first_answer(c: &mut Criterion) {
    let start = async |store: MemoryStore| {
        let cluster = Cluster::builder().store(store).fake_nodes(1).start().await.expect("it starts");
        let namespaces = cluster.client().cluster::<Namespace>().list().await.expect("an answer");
        assert!(!namespaces.is_empty());
        cluster
    };
    measure(c, "first_answer", start);
}

fn deployment(c: &mut Criterion) {
    let start = async |store: MemoryStore| {
        let cluster = Cluster::builder().store(store).fake_nodes(1).start().await.expect("it starts");
        deploy(&cluster.client()).await;
        cluster
    };
    measure(c, "deployment_of_3_running", start);
}

/// From the call to the last of the pods that is seen running.
async fn deploy(client: &Client) {
    let web: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    }))
    .expect("a deployment");
    let pods = Target::of::<Pod>(Some("default"));
    let mut events = client.watch(pods, WatchOptions::default()).await.expect("a watch");
    client.api::<Deployment>("default").create(&web).await.expect("a deployment");
    let mut running = std::collections::BTreeSet::new();
    while running.len() < REPLICAS {
        match events.next().await.expect("the watch goes on").expect("an event") {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod)
                if pod.field("status.phase") == Some("Running") =>
            {
                running.insert(pod.name().clone());
            }
            _ => {}
        }
    }
}

/// Measures a start from an empty store, and beside it the making of the records that it had made by then.
fn measure(c: &mut Criterion, what: &str, start: impl AsyncFn(MemoryStore) -> Cluster) {
    let runtime = runtime();
    c.bench_function(&format!("cluster/{what}"), |b| {
        b.iter_custom(|rounds| {
            runtime.block_on(async {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    let started = Instant::now();
                    let cluster = start(MemoryStore::new()).await;
                    took += started.elapsed();
                    cluster.shutdown().await;
                }
                took
            })
        });
    });
    let store = MemoryStore::new();
    let batches = runtime.block_on(async {
        let cluster = start(store.clone()).await;
        let batches = history(&store).await;
        cluster.shutdown().await;
        batches
    });
    println!("cluster/{what} makes {} commits", batches.len());
    c.bench_function(&format!("baseline/{what}_records"), |b| {
        b.iter_custom(|rounds| {
            let txns: Vec<Vec<Txn>> = (0..rounds).map(|_| batches.iter().map(txn).collect()).collect();
            let started = Instant::now();
            for txns in txns {
                let store = MemoryStore::new();
                runtime.block_on(async {
                    for txn in txns {
                        store.commit(txn).await.expect("a commit");
                    }
                });
            }
            started.elapsed()
        });
    });
}

/// Every commit of a store, up to now.
async fn history(store: &MemoryStore) -> Vec<Batch> {
    let last = store.revision().await.expect("a revision");
    let mut changes = store.watch(&KeyRange::all(), Revision::ZERO).await.expect("a watch");
    let mut batches: Vec<Batch> = Vec::new();
    while batches.last().is_none_or(|batch| batch.revision < last) {
        batches.push(changes.next().await.expect("the watch goes on").expect("a batch"));
    }
    batches
}

fn txn(batch: &Batch) -> Txn {
    batch.changes.iter().fold(Txn::new(), |txn, change| match change {
        Change::Put { record, .. } => txn.put(record.key.clone(), record.value.clone()),
        Change::Delete { previous } => txn.delete(previous.key.clone()),
    })
}
