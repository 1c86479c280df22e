//! A cluster in which nothing happens writes nothing that a disk would have to keep, whatever is done to its clock.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use orchestra_core::clock::{Clock as _, TokioClock};
use orchestra_core::cluster::{self, Cluster};
use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
use orchestra_core::k8s_openapi::api::core::v1::{Node, Pod};
use orchestra_core::network::Network;
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::runtime::fake::FakeRuntime;
use orchestra_core::runtime::{Filter, Runtime};
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::store::{Durability, KeyRange, Store};
use orchestra_core::testing::SetClock;
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

/// A node is heard of by steady time: it stays Ready, and its pods stay, while the clock is set forth and back. What is
/// written meanwhile bears the time that it then is.
#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_loses_no_node() {
    let clock = SetClock::new(&TokioClock::simulated(7));
    let cluster = Cluster::builder().clock(clock.clone()).fake_nodes(2).start().await.unwrap();
    let client = cluster.client();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "a", "image": "nginx"}]},
    }))
    .unwrap();
    let uid = client.api::<Pod>("default").create(&pod).await.unwrap().metadata.uid;
    for days in [1, 10, -3650, 0] {
        clock.set(jiff::SignedDuration::from_hours(24 * days));
        for _ in 0..30 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            for node in client.cluster::<Node>().list().await.unwrap() {
                let conditions = node.status.unwrap().conditions.unwrap();
                let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
                assert_eq!(ready.status, "True", "{days} days off: {ready:?}");
            }
        }
        let name = format!("after-{}", days.unsigned_abs());
        let made = serde_json::from_value(json!({"metadata": {"name": name}, "spec": pod.spec})).unwrap();
        let made: Pod = client.api::<Pod>("default").create(&made).await.unwrap();
        let off = made.metadata.creation_timestamp.unwrap().0.duration_since(clock.now()).abs();
        assert!(off < jiff::SignedDuration::from_secs(2), "{days} days off: {off}");
    }
    assert_eq!(client.api::<Pod>("default").get("a").await.unwrap().metadata.uid, uid);
    cluster.shutdown().await;
}

/// What an embedder holds on to, and shares, can be handed over as it is.
#[tokio::test(start_paused = true)]
async fn shared_ports_are_ports() {
    let clock = TokioClock::simulated(7);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let runtime: Arc<dyn Runtime> = Arc::new(FakeRuntime::new(Arc::clone(&clock)));
    let network: Arc<dyn Network> = Arc::new(FakeNetwork::with_range([10, 244, 0, 0].into(), 24));
    let cluster = Cluster::builder()
        .clock(clock)
        .store(Arc::clone(&store))
        .node(cluster::Node::new("one"), Arc::clone(&runtime), network)
        .start()
        .await
        .unwrap();
    let pods = cluster.client().api::<Pod>("default");
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "nginx"}]}});
    pods.create(&serde_json::from_value(pod).unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let sandboxes = runtime.list(&Filter::default()).await.unwrap();
    assert_eq!(sandboxes.len(), 1);
    let written = store.list(&KeyRange::all(), None, None, 0).await.unwrap().records;
    assert!(written.iter().any(|record| record.key.as_str().ends_with("/pods/default/a")), "{written:?}");
    cluster.shutdown().await;
}
