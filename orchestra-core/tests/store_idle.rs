//! A cluster over a file: one in which nothing happens but heartbeats writes nothing to its disk, and a watch goes on
//! over a restart.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use orchestra_core::api::{WatchOptions, Watched};
use orchestra_core::cluster::Cluster;
use orchestra_core::node;
use orchestra_core::store::redb::RedbStore;
use orchestra_core::testing;
use serde_json::json;

/// So many beats in a row, of three nodes, leave the disk as it is: about those of five minutes.
const BEATS: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(60);

/// Every file of a directory, with when it was last written and what is in it.
fn content(directory: &Path) -> Vec<(String, SystemTime, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            let written = file.metadata().unwrap().modified().unwrap();
            (file.file_name().into_string().unwrap(), written, fs::read(file.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    testing::until(what, PATIENCE, async || holds().await.then_some(())).await;
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

#[tokio::test]
async fn an_idle_cluster_writes_nothing() {
    let (started, directory) = (Instant::now(), tempfile::tempdir().unwrap());
    let store = RedbStore::open(directory.path()).unwrap();
    // Every five minutes, as in Kubernetes, a node says how it is though nothing has changed. That is written; what
    // is between is not. Here hearts beat faster, so that five minutes of beats are over in a few seconds.
    let config = node::Config { heartbeat: Duration::from_millis(50), ..node::Config::default() };
    let cluster = Cluster::builder().store(store).fake_nodes(3).fake_node_config(config);
    let cluster = cluster.start().await.unwrap();
    let client = cluster.client();
    let labels = json!({"app": "web"});
    let pod =
        json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}});
    let spec = json!({"replicas": 6, "selector": {"matchLabels": labels}, "template": pod});
    let deployment = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
    client.api::<Deployment>("default").create(&deployment).await.unwrap();
    until("six pods run", async || {
        let pods = client.api::<Pod>("default").list().await.unwrap();
        pods.len() == 6 && pods.iter().all(is_running)
    })
    .await;

    let beat = async || {
        let leases = client.api::<Lease>("kube-node-lease").list().await.unwrap();
        leases.into_iter().map(|lease| lease.spec.unwrap().renew_time.unwrap().0).min().unwrap()
    };
    // What the start has set going comes to rest, and then nothing is written.
    let begun = client.cache::<Lease>().await.unwrap().revision();
    let mut last = content(directory.path());
    let mut quiet = 0;
    while quiet < BEATS {
        assert!(started.elapsed() < PATIENCE, "it never comes to rest");
        let heard = beat().await;
        until("every node is heard of again", async || beat().await > heard).await;
        let now = content(directory.path());
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
    }
    let now = client.cache::<Lease>().await.unwrap().revision();
    assert!(now.0 - begun.0 >= BEATS, "each beat was a write");
}

#[tokio::test]
async fn a_watch_goes_on_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let start = async || {
        let store = RedbStore::open(directory.path()).unwrap();
        // Its nodes beat: there is what the file does not keep.
        Cluster::builder().store(store).fake_nodes(1).start().await.unwrap()
    };
    let map =
        |name: &str| -> ConfigMap { serde_json::from_value(json!({"metadata": {"name": name}})).unwrap() };
    let cluster = start().await;
    let maps = cluster.client().api::<ConfigMap>("kube-public");
    let made = maps.create(&map("a")).await.unwrap();
    maps.create(&map("b")).await.unwrap();
    until("a heart beats", async || {
        !cluster.client().api::<Lease>("kube-node-lease").list().await.unwrap().is_empty()
    })
    .await;
    maps.delete("b").await.unwrap();
    cluster.shutdown().await;
    drop(maps);

    let cluster = start().await;
    let maps = cluster.client().api::<ConfigMap>("kube-public");
    let after = made.metadata.resource_version.unwrap().parse().unwrap();
    let options = WatchOptions { after: Some(after), ..WatchOptions::default() };
    let mut watch = maps.watch(options).await.unwrap();
    let mut next = async || match watch.next().await.unwrap().unwrap() {
        Watched::Added(map) => format!("added {}", map.metadata.name.unwrap()),
        Watched::Deleted(map) => format!("deleted {}", map.metadata.name.unwrap()),
        other => format!("{other:?}"),
    };
    assert_eq!((next().await, next().await), ("added b".into(), "deleted b".into()));
    maps.create(&map("c")).await.unwrap();
    assert_eq!(next().await, "added c", "and goes on with what is new");
    cluster.shutdown().await;
}
