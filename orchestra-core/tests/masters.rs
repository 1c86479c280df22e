//! Several masters over one store, in virtual time: one leads, another takes over, and no work is done twice.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Endpoints, Pod};
use orchestra_core::api::{Client, ListOptions, Operation, Patch, Reason, Reply, Service, Target, User};
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::{Builder, Cluster, Component};
use orchestra_core::control::leader::{Candidate, TERM};
use orchestra_core::meta::{Object, Revision};
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::store::{Change, KeyRange, Store};
use orchestra_core::testing::{self, Faults, FaultyStore};
use serde_json::{Value, json};

const DOWN: Faults =
    Faults { down: true, refused: 0, unanswered: 0, broken_watch: 0, full: false, lag: Duration::ZERO };

/// A master, and the line between it and the store.
struct Master {
    cluster: Cluster,
    line: FaultyStore,
}

impl Master {
    async fn start(store: &MemoryStore, identity: &str, seed: u64) -> Self {
        Self::start_with(store, identity, seed, |builder| builder).await
    }

    async fn start_with(
        store: &MemoryStore,
        identity: &str,
        seed: u64,
        more: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let line = FaultyStore::new(Arc::new(store.clone()), seed);
        let builder = Cluster::builder().store(line.clone()).clock(TokioClock::simulated(seed));
        let cluster = more(builder.elect(identity, TERM)).start().await.unwrap();
        Self { cluster, line }
    }

    fn client(&self) -> Client {
        self.cluster.client()
    }
}

/// Waits, for as long as ten minutes of the cluster's time.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    testing::until(what, Duration::from_secs(600), async || holds().await.then_some(())).await;
}

/// Where pods reach the API.
async fn api_address(client: &Client) -> String {
    let endpoints = client.api::<Endpoints>("default").find("kubernetes").await.unwrap();
    let subsets = endpoints.and_then(|endpoints| endpoints.subsets).unwrap_or_default();
    let addresses = subsets.into_iter().flat_map(|subset| subset.addresses.unwrap_or_default());
    addresses.map(|address| address.ip).collect::<Vec<_>>().join(",")
}

async fn leader(client: &Client, lease: &str) -> String {
    let found = client.api::<Lease>("kube-system").find(lease).await.unwrap();
    found.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
}

fn object<K: Object + serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn workload<K: Object + serde::de::DeserializeOwned>(name: &str, replicas: usize) -> K {
    object(json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "nginx"}]},
            },
        },
    }))
}

/// What the store itself saw of pods.
#[derive(Default)]
struct Seen {
    created: HashSet<String>,
    /// The node that each was given first.
    nodes: HashMap<String, String>,
    moved: usize,
}

/// Takes note of every pod that is ever written, whoever writes it.
fn observe(store: &MemoryStore) -> Arc<Mutex<Seen>> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (noted, store) = (Arc::clone(&seen), store.clone());
    tokio::spawn(async move {
        let mut changes = store.watch(&KeyRange::prefix("/core/pods/"), Revision::ZERO).await.unwrap();
        while let Some(Ok(batch)) = changes.next().await {
            let mut seen = noted.lock().unwrap();
            for change in batch.changes.iter() {
                let Change::Put { record, .. } = change else { continue };
                let pod: Pod = serde_json::from_slice(&record.value).unwrap();
                let uid = pod.metadata.uid.unwrap();
                if let Some(node) = pod.spec.and_then(|spec| spec.node_name) {
                    let first = seen.nodes.entry(uid.clone()).or_insert_with(|| node.clone());
                    let moved = *first != node;
                    seen.moved += usize::from(moved);
                }
                seen.created.insert(uid);
            }
        }
    });
    seen
}

async fn running(client: &Client) -> usize {
    let pods = client.api::<Pod>("default").list().await.unwrap_or_default();
    let is_running =
        |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    pods.iter().filter(is_running).count()
}

#[tokio::test(start_paused = true)]
async fn a_master_that_falls_silent_is_succeeded_and_nothing_is_done_twice() {
    // The lead is lost when so many of the pods have been made: before, amid and after the work.
    for (seed, after) in [0, 1, 7, 20, 33, 40].into_iter().enumerate() {
        let store = MemoryStore::new();
        let seen = observe(&store);
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let first =
            Master::start_with(&store, "first", 1 + seed as u64, |builder| builder.api_address(one, 6443))
                .await;
        until("a leader", || async {
            leader(&first.client(), "kube-controller-manager").await == "first"
                && leader(&first.client(), "kube-scheduler").await == "first"
        })
        .await;
        let second = Master::start_with(&store, "second", 100 + seed as u64, |builder| {
            builder.fake_nodes(3).api_address(two, 6443)
        })
        .await;
        let client = second.client();
        client.api("default").create(&workload::<ReplicaSet>("web", 40)).await.unwrap();
        until("pods", || async { seen.lock().unwrap().created.len() >= after }).await;
        let cut = tokio::time::Instant::now();
        first.line.set(DOWN);
        until("a successor", || async {
            leader(&client, "kube-controller-manager").await == "second"
                && leader(&client, "kube-scheduler").await == "second"
        })
        .await;
        until("pods reach the leader", || async { api_address(&client).await == "10.0.0.2" }).await;
        // A term from the last renewal that was seen, and the pause between two looks.
        assert!(cut.elapsed() <= TERM + Duration::from_secs(4), "it took {:?}", cut.elapsed());
        until("all pods run", || async { running(&client).await == 40 }).await;

        // It comes back, sees that it was succeeded, and leaves the work to the other.
        first.line.set(Faults::default());
        client.api("default").create(&workload::<ReplicaSet>("more", 10)).await.unwrap();
        until("all pods run", || async { running(&client).await == 50 }).await;
        until("the old leader sees it", || async { running(&first.client()).await == 50 }).await;
        assert_eq!(leader(&client, "kube-controller-manager").await, "second");
        let seen = seen.lock().unwrap();
        assert_eq!((seen.created.len(), seen.moved), (50, 0), "cut after {after} pods");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_reach_the_lease_stops_before_its_term_is_over() {
    let store = MemoryStore::new();
    let only = Master::start_with(&store, "only", 1, |builder| builder.fake_nodes(1)).await;
    let client = only.client();
    until("a leader", || async { leader(&client, "kube-controller-manager").await == "only" }).await;
    client.api("default").create(&workload::<Deployment>("web", 2)).await.unwrap();
    until("all pods run", || async { running(&client).await == 2 }).await;

    // The lease cannot be renewed, because another holds it; all else can be written. That this is noticed at the next
    // renewal shows that it is the lead that keeps the controllers going.
    let leases = client.api::<Lease>("kube-system");
    for name in ["kube-controller-manager", "kube-scheduler"] {
        let mut lease = leases.get(name).await.unwrap();
        lease.spec.as_mut().unwrap().holder_identity = Some("another".into());
        leases.update(&lease).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    client.api("default").create(&workload::<Deployment>("late", 2)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(client.api::<ReplicaSet>("default").list().await.unwrap().len(), 1, "nobody works");
    // The other never renews, so its term ends.
    until("all pods run", || async { running(&client).await == 4 }).await;
}

#[tokio::test(start_paused = true)]
async fn a_master_that_stops_in_good_order_is_succeeded_at_once() {
    let store = MemoryStore::new();
    let first = Master::start(&store, "first", 1).await;
    until("a leader", || async { leader(&first.client(), "kube-scheduler").await == "first" }).await;
    let second = Master::start(&store, "second", 2).await;
    let stopped = tokio::time::Instant::now();
    // Each part stands by itself.
    first.cluster.stop(&Component::Scheduler).await;
    until("a successor", || async { leader(&second.client(), "kube-scheduler").await == "second" }).await;
    assert!(stopped.elapsed() < Duration::from_secs(5), "it took {:?}", stopped.elapsed());
    assert_eq!(leader(&second.client(), "kube-controller-manager").await, "first");
    first.cluster.shutdown().await;
    until("a successor", || async { leader(&second.client(), "kube-controller-manager").await == "second" })
        .await;
    assert!(stopped.elapsed() < Duration::from_secs(10), "it took {:?}", stopped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_read_from_another_master_sees_every_acknowledged_write() {
    let store = MemoryStore::new();
    let (writer, reader) =
        (Master::start(&store, "writer", 1).await, Master::start(&store, "reader", 2).await);
    reader.line.set(Faults { lag: Duration::from_millis(300), ..Faults::default() });
    let maps = writer.client().api::<ConfigMap>("default");
    let read = reader.client().api::<ConfigMap>("default");
    for number in 0..20 {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"number": number.to_string()}});
        let made = maps.create(&object(map)).await.unwrap();
        let revision = made.metadata.resource_version.clone();
        let any = at_hand(&reader).await;
        let found = read.find(&format!("m{number}")).await.unwrap().expect("it was acknowledged");
        assert_eq!(found.metadata.resource_version, revision);
        assert_eq!(any, number, "what is at hand, without waiting, is older");
        maps.delete(&format!("gone{number}")).await.unwrap_err();
        assert_eq!(read.list().await.unwrap().len(), number + 1);
    }
    maps.delete("m7").await.unwrap();
    assert!(read.find("m7").await.unwrap().is_none(), "a deletion is seen too");
}

/// How many ConfigMaps a master finds without asking whether there are more: `resourceVersion=0`.
async fn at_hand(master: &Master) -> usize {
    let options = ListOptions { revision: Some(Revision::ZERO), ..ListOptions::default() };
    let target = Target::of::<ConfigMap>(Some("default"));
    let answer =
        master.cluster.server().call(&User::admin(), target, Operation::List(options)).await.unwrap();
    let Reply::List(list) = answer.reply else { panic!("not a list") };
    list.objects.len()
}

/// A leader that was frozen in the middle of its work goes on with it before it can know that another leads.
#[tokio::test(start_paused = true)]
async fn what_a_leader_writes_is_refused_once_another_leads() {
    let store = MemoryStore::new();
    let one = Master::start(&store, "one", 1).await;
    let two = Master::start(&store, "two", 2).await;
    let leases = one.client().api::<Lease>("kube-system");
    let held_by =
        |identity: &str| json!({"metadata": {"name": "part"}, "spec": {"holderIdentity": identity}});
    let mut lease: Lease = leases.create(&object(held_by("one"))).await.unwrap();
    let target = Target::of::<Lease>(Some("kube-system")).named("part");
    let candidate = |identity: &str| Candidate::new(identity, "part");
    let [first, second] = [candidate("one"), candidate("two")];
    let fence = one.cluster.server().fence(&target, |lease| first.holds(lease)).await.unwrap();
    let not_yet = two.cluster.server().fence(&target, |lease| second.holds(lease)).await.unwrap_err();
    assert!(not_yet.is_conflict(), "{not_yet}");

    let leading = one.cluster.server().fenced_client(fence, User::admin());
    let maps = leading.api::<ConfigMap>("default");
    let map = |name: &str| object::<ConfigMap>(json!({"metadata": {"name": name}}));
    let mut held = maps.create(&map("a")).await.unwrap();
    held.data = Some([("a".to_owned(), "late".to_owned())].into());
    // That the leader renews its Lease changes nothing.
    lease.spec.as_mut().unwrap().lease_transitions = Some(0);
    let mut lease = leases.update(&lease).await.unwrap();
    maps.create(&map("b")).await.unwrap();

    lease.spec.as_mut().unwrap().holder_identity = Some("two".into());
    leases.update(&lease).await.unwrap();
    let fence = two.cluster.server().fence(&target, |lease| second.holds(lease)).await.unwrap();
    for outcome in [
        maps.create(&map("late")).await.map(drop),
        maps.update(&held).await.map(drop),
        maps.patch("a", Patch::Merge(json!({"data": {"a": "b"}}))).await.map(drop),
        maps.delete("b").await,
        leading
            .call(Target::of::<ConfigMap>(Some("default")).named("b"), Operation::Delete(Default::default()))
            .await
            .map(drop),
    ] {
        assert_eq!(outcome.unwrap_err().reason(), Reason::ServiceUnavailable);
    }
    let names: Vec<_> = maps.list().await.unwrap().into_iter().filter_map(|map| map.metadata.name).collect();
    assert_eq!(names, ["a", "b"]);
    // The one that leads writes, and so does everybody who leads nothing.
    let leading = two.cluster.server().fenced_client(fence, User::admin());
    leading.api::<ConfigMap>("default").create(&map("c")).await.unwrap();
    one.client().api::<ConfigMap>("default").create(&map("d")).await.unwrap();
    let again = one.cluster.server().fence(&target, |lease| first.holds(lease)).await.unwrap_err();
    assert!(again.is_conflict(), "{again}");
}
