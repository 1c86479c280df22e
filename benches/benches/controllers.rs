//! What controllers take for much at once, in a whole cluster: store, API, scheduler, controllers and fake nodes in one
//! process.
//!
//! `cargo bench -p orchestra-benches --bench controllers [-- job cron deployment]`. Each is done once, in real time, and
//! says what it took on the wall and of the processor, everything together. The baseline is as many commits of as many
//! bytes to a bare memory store.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use orchestra_benches::{bare_commits, processor_time};
use orchestra_core::api::{Client, Patch, Target, WatchEvent, WatchOptions};
use orchestra_core::cluster::Cluster;
use orchestra_core::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use orchestra_core::k8s_openapi::api::batch::v1::{CronJob, Job};
use orchestra_core::k8s_openapi::api::core::v1::Node;
use orchestra_core::k8s_openapi::jiff::Timestamp;
use orchestra_core::meta::Revision;
use orchestra_core::node;
use orchestra_core::store::Store;
use orchestra_core::store::memory::MemoryStore;
use serde_json::json;

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PODS: usize = 10_000;
const CRON_JOBS: usize = 1_000;
/// What a fake node takes, as a real one does.
const PODS_PER_NODE: usize = 110;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let wants = |what: &str| asked.is_empty() || asked.iter().any(|one| one == what);
    if wants("job") {
        runtime.block_on(job());
    }
    if wants("cron") {
        runtime.block_on(cron());
    }
    if wants("deployment") {
        runtime.block_on(deployment());
    }
}

/// A Job whose pods end at once, from its creation until it is complete.
async fn job() {
    let (cluster, store) = cluster(PODS.div_ceil(PODS_PER_NODE)).await;
    let client = cluster.client();
    let measured = Measured::begin(&store).await;
    let spec = json!({"completions": PODS, "parallelism": PODS, "completionMode": "Indexed", "template": ends_at_once()});
    let job = from(json!({"metadata": {"name": "all"}, "spec": spec}));
    client.api::<Job>("default").create(&job).await.expect("a Job");
    let complete = |job: &Job| {
        let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Complete" && condition.status == "True")
    };
    until_one(&client, complete).await;
    measured.end(&format!("a Job of {PODS} pods, complete"), PODS).await;
    cluster.shutdown().await;
}

/// CronJobs that all fire when a minute begins, from then until each one's Job is seen.
async fn cron() {
    let (cluster, store) = cluster(CRON_JOBS.div_ceil(PODS_PER_NODE)).await;
    let client = cluster.client();
    // Those that are made before and after a minute begins would fire in two.
    while Timestamp::now().as_second().rem_euclid(60) > 40 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let api = client.api::<CronJob>("default");
    let spec = json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": ends_at_once()}}});
    for number in 0..CRON_JOBS {
        let cron = from(json!({"metadata": {"name": format!("each-{number}")}, "spec": spec}));
        api.create(&cron).await.expect("a CronJob");
    }
    let mut events = client.watch(Target::of::<Job>(None), WatchOptions::default()).await.expect("a watch");
    let minute = Timestamp::from_second((Timestamp::now().as_second() / 60 + 1) * 60).expect("a time");
    let measured = Measured::begin(&store).await;
    let mut late: Vec<i64> = Vec::with_capacity(CRON_JOBS);
    while late.len() < CRON_JOBS {
        if let WatchEvent::Added(_) = events.next().await.expect("the watch goes on").expect("an event") {
            late.push(Timestamp::now().as_millisecond() - minute.as_millisecond());
        }
    }
    late.sort_unstable();
    measured.end(&format!("{CRON_JOBS} CronJobs, the wait for the minute included"), CRON_JOBS).await;
    let at = |hundredth: usize| late[(late.len() * hundredth / 100).min(late.len() - 1)];
    println!("    late by {} ms (p50), {} ms (p99), {} ms (the last)", at(50), at(99), at(100));
    cluster.shutdown().await;
}

/// A Deployment, from its creation until all its pods are there, and from its scaling to nothing until none is. No node
/// takes them: this is what controllers do.
async fn deployment() {
    let (cluster, store) = cluster(0).await;
    let client = cluster.client();
    let deployments = client.api::<Deployment>("default");
    let labels = json!({"app": "web"});
    let template = json!({
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 8080}]}]},
    });
    let spec = json!({"replicas": PODS, "selector": {"matchLabels": labels}, "template": template});
    let measured = Measured::begin(&store).await;
    deployments
        .create(&from(json!({"metadata": {"name": "web"}, "spec": spec})))
        .await
        .expect("a Deployment");
    let has = |count: usize| {
        move |set: &ReplicaSet| set.status.as_ref().is_some_and(|status| status.replicas as usize == count)
    };
    until_one(&client, has(PODS)).await;
    measured.end(&format!("a Deployment of {PODS} pods, created"), PODS).await;
    let measured = Measured::begin(&store).await;
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    deployments.patch("web", none).await.expect("a Deployment");
    until_one(&client, has(0)).await;
    measured.end("the same, scaled to 0", PODS).await;
    cluster.shutdown().await;
}

async fn cluster(nodes: usize) -> (Cluster, MemoryStore) {
    let store = MemoryStore::new();
    let config = node::Config { events: false, ..node::Config::default() };
    let cluster =
        Cluster::builder().store(store.clone()).fake_nodes(nodes).fake_node_config(config).start().await;
    let cluster = cluster.expect("it starts");
    let client = cluster.client();
    let mut ready = BTreeMap::new();
    let mut events = client.watch(Target::of::<Node>(None), WatchOptions::default()).await.expect("a watch");
    while ready.values().filter(|ready| **ready).count() < nodes {
        let event = events.next().await.expect("the watch goes on").expect("an event");
        if let WatchEvent::Added(entry) | WatchEvent::Modified(entry) = event {
            let node = entry.decode::<Node>().expect("a node");
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let mut conditions = conditions.into_iter();
            let is_ready =
                conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
            ready.insert(entry.name().clone(), is_ready);
        }
    }
    (cluster, store)
}

/// Waits until one of a kind's objects is as it is to be.
async fn until_one<K>(client: &Client, is_so: impl Fn(&K) -> bool)
where
    K: orchestra_core::meta::Object + serde::de::DeserializeOwned,
{
    let mut events = client.watch(Target::of::<K>(None), WatchOptions::default()).await.expect("a watch");
    loop {
        let event = events.next().await.expect("the watch goes on").expect("an event");
        if let WatchEvent::Added(entry) | WatchEvent::Modified(entry) = event
            && is_so(&entry.decode::<K>().expect("an object"))
        {
            return;
        }
    }
}

fn ends_at_once() -> serde_json::Value {
    let container = json!({"name": "main", "image": "busybox", "command": ["true"]});
    json!({"spec": {"restartPolicy": "Never", "containers": [container]}})
}

fn from<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("an object")
}

/// What has been measured from, and the commits that came since.
struct Measured<'s> {
    store: &'s MemoryStore,
    first: Revision,
    began: Instant,
    processor: Duration,
}

impl<'s> Measured<'s> {
    async fn begin(store: &'s MemoryStore) -> Self {
        let first = store.revision().await.expect("a revision");
        Self { store, first, began: Instant::now(), processor: processor_time() }
    }

    async fn end(self, what: &str, objects: usize) {
        let (wall, processor) = (self.began.elapsed(), processor_time() - self.processor);
        let commits = self.store.revision().await.expect("a revision").0 - self.first.0;
        let bare = bare_commits(commits, 2_000).await;
        println!(
            "{what}: {:.2} s, processor {:.2} s, {:.0} µs a piece; {commits} commits, which take a bare store {:.2} s",
            wall.as_secs_f64(),
            processor.as_secs_f64(),
            processor.as_secs_f64() * 1e6 / objects as f64,
            bare.as_secs_f64(),
        );
    }
}
