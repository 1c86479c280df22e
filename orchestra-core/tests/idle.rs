//! A cluster in which nothing happens writes nothing that a disk would have to keep.

use std::time::Duration;

use futures::StreamExt;
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::Cluster;
use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::store::{Durability, KeyRange, Store};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn heartbeats_alone_go_on() {
    let store = MemoryStore::new();
    let builder = Cluster::builder().store(store.clone()).clock(TokioClock::simulated(7)).fake_nodes(2);
    let cluster = builder.start().await.unwrap();
    let web: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    }))
    .unwrap();
    let deployments = cluster.client().api::<Deployment>("default");
    deployments.create(&web).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = deployments.get("web").await.unwrap().status.unwrap();
    assert_eq!(status.available_replicas, Some(3));

    let settled = store.revision().await.unwrap();
    // Below five minutes, after which nodes say again how they are.
    tokio::time::sleep(Duration::from_secs(200)).await;
    let last = store.revision().await.unwrap();
    let mut changes = store.watch(&KeyRange::all(), settled).await.unwrap();
    let (mut seen, mut heartbeats) = (settled, 0);
    while seen < last {
        let batch = changes.next().await.unwrap().unwrap();
        seen = batch.revision;
        for change in batch.changes.iter() {
            let kinds = cluster.server().kinds();
            let (row, name) = kinds.parse_key(change.key()).unwrap();
            assert_eq!(row.durability, Durability::Volatile, "{} {name} was written", row.id);
            heartbeats += 1;
        }
    }
    assert!(heartbeats >= 2 * 200 / 10 - 2, "{heartbeats} heartbeats of two nodes");
    cluster.shutdown().await;
}
