//! A cluster in a program: it ends with what it was made for, follows any clock, and does the same again when it is
//! given the same seed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Event, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use orchestra_core::api::{Client, Patch, Reason, Target, WatchOptions};
use orchestra_core::clock::{Clock, SharedClock, TokioClock};
use orchestra_core::cluster::Cluster;
use orchestra_core::meta::Object;
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::store::{KeyRange, Store};
use serde_json::{Value, json};
use tokio::sync::Notify;

async fn create<K: Object>(client: &Client, object: Value) -> K {
    client.api::<K>("default").create(&serde_json::from_value(object).unwrap()).await.unwrap()
}

fn web(replicas: u32) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    })
}

async fn until_ready(client: &Client, replicas: i32) {
    let ready = |web: &Deployment| web.status.as_ref()?.ready_replicas;
    let deployments = client.api::<Deployment>("default");
    deployments.until("web", |web| web.and_then(ready) == Some(replicas)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watch_and_whoever_waits_end_with_the_cluster() {
    for shut_down in [true, false] {
        let cluster = Cluster::builder().clock(TokioClock::simulated(1)).start().await.unwrap();
        let client = cluster.client();
        let options = WatchOptions { initial_events: Some(true), ..WatchOptions::default() };
        let mut watch = client.watch(Target::of::<ConfigMap>(Some("none")), options).await.unwrap();
        let waiter = client.clone();
        let waiting =
            tokio::spawn(
                async move { waiter.api::<Pod>("default").until("never", |pod| pod.is_some()).await },
            );
        client.clock().sleep(Duration::from_secs(1)).await;
        if shut_down {
            cluster.shutdown().await;
        } else {
            drop(cluster);
        }
        let ended = watch.next().await.unwrap().unwrap_err();
        assert_eq!(ended.reason(), Reason::ServiceUnavailable);
        assert!(watch.next().await.is_none(), "nothing comes after an error");
        let waited = waiting.await.unwrap().unwrap_err();
        assert_eq!(waited.reason(), Reason::ServiceUnavailable);
        let map = serde_json::from_value(json!({"metadata": {"name": "late"}})).unwrap();
        let refused = client.api::<ConfigMap>("default").create(&map).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::ServiceUnavailable, "also after a drop");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_ended_leaves_no_task_and_no_server() {
    let clock = TokioClock::simulated(1);
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (before, mut servers) = (alive(), Vec::new());
    for round in 0..20 {
        let cluster = Cluster::builder().clock(Arc::clone(&clock)).fake_nodes(2).start().await.unwrap();
        servers.push(Arc::downgrade(cluster.server()));
        create::<Deployment>(&cluster.client(), web(4)).await;
        if round % 2 == 0 {
            until_ready(&cluster.client(), 4).await;
        }
        // Some are dropped in the middle of their work.
        if round % 4 < 3 { cluster.shutdown().await } else { drop(cluster) }
    }
    // Ending takes a moment, and no two minutes of trying to write events.
    clock.sleep(Duration::from_secs(5)).await;
    let held = servers.iter().filter(|server| server.strong_count() > 0).count();
    assert_eq!((alive(), held), (before, 0));
}

/// A clock that goes by hand: whoever sleeps is woken when the hand is moved far enough.
#[derive(Debug, Default)]
struct HandClock {
    micros: AtomicU64,
    moved: Notify,
    /// When who sleeps is to wake.
    sleepers: Mutex<BTreeMap<(u64, u64), ()>>,
    random: AtomicU64,
    number: AtomicU64,
}

impl HandClock {
    /// Moves on to when the first sleeper wakes.
    fn advance(&self) {
        let first = self.sleepers.lock().unwrap().keys().next().copied();
        if let Some((at, _)) = first {
            self.micros.fetch_max(at, Ordering::SeqCst);
            self.moved.notify_waiters();
        }
    }
}

#[async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        let start = Timestamp::from_second(1_000_000_000).unwrap();
        start + Duration::from_micros(self.micros.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::SeqCst))
    }

    async fn sleep(&self, duration: Duration) {
        struct Sleeping<'c>(&'c HandClock, (u64, u64));
        impl Drop for Sleeping<'_> {
            fn drop(&mut self) {
                self.0.sleepers.lock().unwrap().remove(&self.1);
            }
        }
        let now = self.micros.load(Ordering::SeqCst);
        let at = now.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        let key = (at, self.number.fetch_add(1, Ordering::SeqCst));
        self.sleepers.lock().unwrap().insert(key, ());
        let _sleeping = Sleeping(self, key);
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.micros.load(Ordering::SeqCst) >= at {
                return;
            }
            moved.await;
        }
    }

    fn random(&self) -> u64 {
        // Any sequence will do.
        self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst).rotate_left(17).wrapping_mul(31)
    }
}

/// Nothing here waits for tokio's time: it is not paused, and a test that needs as much of it as the cluster's would
/// take minutes.
#[tokio::test]
async fn a_clock_that_goes_by_hand_drives_everything() {
    let clock = Arc::new(HandClock::default());
    let hand = Arc::clone(&clock);
    let driver = tokio::spawn(async move {
        loop {
            // Whoever is not asleep goes on until it is.
            for _ in 0..200 {
                tokio::task::yield_now().await;
            }
            hand.advance();
        }
    });
    let shared: SharedClock = clock.clone();
    let began = std::time::Instant::now();
    let cluster = Cluster::builder().clock(shared).fake_nodes(2).start().await.unwrap();
    let client = cluster.client();
    create::<Deployment>(&client, web(3)).await;
    until_ready(&client, 3).await;
    // A node that is silent is noticed after 40 seconds, and its pods leave it after five minutes more.
    let pods = client.api::<Pod>("default").list().await.unwrap();
    let node = pods[0].spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap();
    let (silent, at) = (node.clone(), clock.now());
    cluster.stop(&orchestra_core::cluster::Component::Kubelet(silent)).await;
    let is_gone = |pods: &BTreeMap<_, Pod>| {
        let stays = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
        let on = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        pods.values().filter(stays).count() == 3
            && pods.values().filter(stays).all(|pod| on(pod) != Some(node.clone()))
    };
    client.api::<Pod>("default").until_all(WatchOptions::default(), is_gone).await.unwrap();
    let passed = clock.now().duration_since(at).as_secs();
    assert!((300..400).contains(&passed), "{passed} s of the cluster's time");
    // An event expires after an hour.
    let events = client.api::<Event>("default").list().await.unwrap();
    let name = events[0].metadata.name.clone().unwrap();
    client.api::<Event>("default").until(&name, |event| event.is_none()).await.unwrap();
    assert!(clock.now().duration_since(at).as_secs() >= 3000);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    cluster.shutdown().await;
    driver.abort();
}

#[tokio::test(start_paused = true)]
async fn the_service_of_the_api_comes_back_with_its_endpoints() {
    let builder = Cluster::builder().clock(TokioClock::simulated(1)).api_address([10, 0, 0, 1].into(), 6443);
    let cluster = builder.start().await.unwrap();
    let client = cluster.client();
    let (services, endpoints) = (client.api::<Service>("default"), client.api::<Endpoints>("default"));
    let slices = client.api::<EndpointSlice>("default");
    let first = services.get("kubernetes").await.unwrap();
    services.delete("kubernetes").await.unwrap();
    endpoints.delete("kubernetes").await.unwrap();
    slices.delete("kubernetes").await.unwrap();
    let began = client.clock().elapsed();
    let again = services.until("kubernetes", |held| held.is_some()).await.unwrap().unwrap();
    assert_ne!(again.metadata.uid, first.metadata.uid);
    let address = |service: &Service| service.spec.as_ref().unwrap().cluster_ip.clone();
    assert_eq!(address(&again), address(&first));
    endpoints.until("kubernetes", |held| held.is_some()).await.unwrap();
    slices.until("kubernetes", |held| held.is_some()).await.unwrap();
    assert!(client.clock().elapsed() - began < Duration::from_secs(3));
    // What somebody else writes there is put right too.
    let wrong =
        json!({"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "https", "port": 1}]}]});
    endpoints.patch("kubernetes", Patch::Merge(wrong)).await.unwrap();
    let ip = |held: &Endpoints| Some(held.subsets.as_ref()?[0].addresses.as_ref()?[0].ip.clone());
    endpoints.until("kubernetes", |held| held.and_then(ip).as_deref() == Some("10.0.0.1")).await.unwrap();
    cluster.shutdown().await;
}

/// Everything a store holds after half an hour of a small control plane's life, and when it came to be.
async fn life(seed: u64) -> Vec<String> {
    let store = MemoryStore::new();
    let clock = TokioClock::simulated(seed);
    let builder = Cluster::builder().store(store.clone()).clock(Arc::clone(&clock));
    let cluster = builder.start().await.unwrap();
    let client = cluster.client();
    for name in ["a", "b", "c"] {
        let conditions = json!([{"type": "Ready", "status": "True"}]);
        let status =
            json!({"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "conditions": conditions});
        let node = json!({"metadata": {"name": name}, "status": status});
        let nodes = client.cluster::<Node>();
        nodes.create(&serde_json::from_value(node.clone()).unwrap()).await.unwrap();
        let status = Patch::Merge(json!({"status": node["status"]}));
        nodes.patch_status(name, status).await.unwrap();
    }
    create::<Deployment>(&client, web(6)).await;
    // Nobody speaks for the nodes: their pods are evicted, and others made for them.
    clock.sleep(Duration::from_secs(900)).await;
    client.api::<Deployment>("default").scale("web", 3).await.unwrap();
    clock.sleep(Duration::from_secs(900)).await;
    let page = store.list(&KeyRange::all(), None, None, 100_000).await.unwrap();
    let shown = page.records.iter().map(|record| {
        format!("{} {} {}", record.key, record.modified, String::from_utf8_lossy(&record.value))
    });
    let shown = shown.collect();
    cluster.shutdown().await;
    shown
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_life_to_the_byte() {
    let (first, second) = (life(7).await, life(7).await);
    for (a, b) in first.iter().zip(&second) {
        assert_eq!(a, b);
    }
    assert_eq!(first.len(), second.len());
    assert_ne!(first, life(8).await);
}
