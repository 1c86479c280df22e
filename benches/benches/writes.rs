//! What those writes cost that a cluster makes most: `cargo bench -p orchestra-benches --bench writes [-- FILTER]`.
//!
//! One after the other, on one thread, through the API in this process with all that it asks before a write, and with
//! nobody who follows what is written but the API's own caches. Beside them is a commit alone, to a bare store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use orchestra_benches::pod;
use orchestra_core::api::{Body, Client, Operation, Patch, Target, WriteOptions};
use orchestra_core::clock::{Clock, SharedClock, TokioClock};
use orchestra_core::cluster::{Cluster, Component};
use orchestra_core::k8s_openapi::api::coordination::v1::Lease;
use orchestra_core::k8s_openapi::api::core::v1::{Event, Node, Pod};
use orchestra_core::k8s_openapi::jiff::Timestamp;
use orchestra_core::meta::Object;
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::store::{Key, Store, Txn};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NAMESPACE: &str = "default";
const LEASES: &str = "kube-node-lease";
/// How many pods there are whose statuses are reported, in turn.
const PODS: u64 = 64;

criterion_group! {
    name = writes;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = pods, statuses, events, leases, bare
}
criterion_main!(writes);

/// A clock by which a second passes whenever it is looked at: events are bounded by time.
#[derive(Debug)]
struct Hurrying {
    inner: SharedClock,
    looks: AtomicU64,
}

#[async_trait]
impl Clock for Hurrying {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn elapsed(&self) -> Duration {
        self.inner.elapsed() + Duration::from_secs(self.looks.fetch_add(1, Ordering::Relaxed))
    }

    async fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration).await;
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }
}

struct Bench {
    runtime: Runtime,
    _cluster: Cluster,
    client: Client,
    number: AtomicU64,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let cluster = runtime.block_on(async {
            let clock = Hurrying { inner: TokioClock::system(), looks: AtomicU64::new(0) };
            let cluster = Cluster::builder().clock(Arc::new(clock)).start().await.expect("it starts");
            for part in [Component::Scheduler, Component::ControllerManager] {
                cluster.stop(&part).await;
            }
            cluster
        });
        let client = cluster.client();
        Self { runtime, _cluster: cluster, client, number: AtomicU64::new(0) }
    }

    fn next(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// Measures a call with what is made for it beforehand.
    fn measure<T>(
        &self,
        c: &mut Criterion,
        id: &str,
        make: impl Fn(u64) -> T,
        call: impl AsyncFn(&Client, T),
    ) {
        c.bench_function(id, |b| {
            let make = || make(self.next());
            b.iter_batched(make, |it| self.runtime.block_on(call(&self.client, it)), BatchSize::PerIteration);
        });
    }

    async fn create<K: Object>(client: &Client, object: Value) {
        let objects = client.api::<K>(NAMESPACE).objects().clone();
        objects.create(object, WriteOptions::default()).await.expect("it is made");
    }
}

fn pods(c: &mut Criterion) {
    let bench = Bench::new();
    let make = |number| pod(&format!("made-{number:09}"));
    bench.measure(c, "writes/pod", make, async |client, pod| Bench::create::<Pod>(client, pod).await);
    let text = |number| Bytes::from(make(number).to_string());
    bench.measure(c, "writes/pod_text", text, async |client, text| {
        let body = Body::Json(text);
        let create = Operation::Create { body, options: WriteOptions::default() };
        client.call(Target::of::<Pod>(Some(NAMESPACE)), create).await.expect("it is made");
    });
}

/// Statuses as a node reports them.
fn statuses(c: &mut Criterion) {
    let bench = Bench::new();
    bench.runtime.block_on(async {
        let node = json!({"metadata": {"name": "n1"}});
        let nodes = bench.client.cluster::<Node>().objects().clone();
        nodes.create(node, WriteOptions::default()).await.expect("a node");
        for number in 0..PODS {
            let mut pod = pod(&format!("pod-{number}"));
            pod["spec"]["nodeName"] = "n1".into();
            Bench::create::<Pod>(&bench.client, pod).await;
        }
    });
    let make = |number: u64| {
        let (of, at) = (
            number % PODS,
            format!("2026-01-01T{:02}:{:02}:{:02}Z", number / 3600 % 24, number / 60 % 60, number % 60),
        );
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": at});
        let conditions: Vec<Value> =
            ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
                .map(condition)
                .into();
        let status = json!({"status": {
            "phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.1.0.7", "podIPs": [{"ip": "10.1.0.7"}], "startTime": at,
            "conditions": conditions,
            "containerStatuses": [{"name": "web", "image": "web", "imageID": "web@sha256:1", "containerID": "fake://1",
                "ready": true, "started": true, "restartCount": 0, "state": {"running": {"startedAt": at}}}],
        }});
        (format!("pod-{of}"), Patch::Merge(status))
    };
    bench.measure(c, "writes/pod_status", make, async |client, (name, patch)| {
        let pods = client.api::<Pod>(NAMESPACE).objects().clone();
        pods.patch_status(&name, patch, WriteOptions::default()).await.expect("it is changed");
    });
}

fn events(c: &mut Criterion) {
    let bench = Bench::new();
    let make = |number| {
        json!({
            "kind": "Event", "apiVersion": "v1",
            "metadata": {"name": format!("web-5b8f7c9d6f-x2x4z.{number:016x}"), "namespace": NAMESPACE},
            "involvedObject": {"kind": "Pod", "apiVersion": "v1", "namespace": NAMESPACE, "name": "web-5b8f7c9d6f-x2x4z",
                "uid": "3f0c8a52-5c1e-4f5e-9d8e-0d6c3a3c0f11", "resourceVersion": "17", "fieldPath": "spec.containers{web}"},
            "reason": "Started", "message": "Container started", "type": "Normal", "count": 1,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
            "source": {"component": "kubelet", "host": "n1"}, "reportingComponent": "kubelet", "reportingInstance": "n1",
        })
    };
    bench.measure(c, "writes/event", make, async |client, event| Bench::create::<Event>(client, event).await);
}

/// Heartbeats, as nodes send them.
fn leases(c: &mut Criterion) {
    let bench = Bench::new();
    let lease = |number: u64| {
        json!({
            "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
            "metadata": {"name": "n1", "namespace": LEASES, "ownerReferences": [
                {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "3f0c8a52-5c1e-4f5e-9d8e-0d6c3a3c0f11"}]},
            "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 40,
                "renewTime": format!("2026-01-01T{:02}:{:02}:{:02}.000000Z", number / 3600 % 24, number / 60 % 60, number % 60)},
        })
    };
    let objects = bench.client.api::<Lease>(LEASES).objects().clone();
    bench.runtime.block_on(objects.create(lease(0), WriteOptions::default())).expect("a lease");
    bench.measure(c, "writes/lease", lease, async |client, lease| {
        let objects = client.api::<Lease>(LEASES).objects().clone();
        objects.update("n1", lease, WriteOptions::default()).await.expect("it is renewed");
    });
}

fn bare(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (store, number) = (MemoryStore::new(), AtomicU64::new(0));
    let make = || {
        let number = number.fetch_add(1, Ordering::Relaxed) % 5_000;
        Txn::new().put(Key::new(format!("/registry/pods/default/pod-{number}")), vec![b'x'; 2048])
    };
    c.bench_function("baseline/commit_2k", |b| {
        b.iter_batched(
            make,
            |txn| runtime.block_on(store.commit(txn)).expect("a commit"),
            BatchSize::PerIteration,
        );
    });
}
