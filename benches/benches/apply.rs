//! Server-side apply of a pod, in process: one that changes it, and one that changes nothing.
//!
//! `cargo bench -p orchestra-benches --bench apply`. The pod is one that its manager applied and whose status a node
//! wrote. The baselines are a strategic merge patch with the same change, which every server-side apply replaces, and a
//! creation.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use orchestra_core::api::{Body, Client, Operation, PatchKind, Target, WriteOptions};
use orchestra_core::cluster::Cluster;
use orchestra_core::k8s_openapi::api::core::v1::Pod;
use orchestra_core::store::memory::MemoryStore;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group! {
    name = apply;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).sample_size(50);
    targets = pod
}
criterion_main!(apply);

fn pods() -> Target {
    Target::of::<Pod>(Some("default"))
}

fn config(name: &str, label: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web", "round": label}},
        "spec": {
            "schedulerName": "none",
            "containers": [{
                "name": "web", "image": "nginx:1", "command": ["nginx", "-g", "daemon off;"],
                "ports": [{"containerPort": 80}, {"containerPort": 443}],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": 80}},
            }],
        },
    })
}

fn applied(config: &Value) -> Operation {
    let options = WriteOptions { field_manager: Some("bench".to_owned()), ..WriteOptions::default() };
    Operation::Patch { kind: PatchKind::Apply, patch: config.to_string().into(), force: false, options }
}

fn patched(label: &str) -> Operation {
    let patch = json!({"metadata": {"labels": {"round": label}}}).to_string().into();
    Operation::Patch { kind: PatchKind::Strategic, patch, force: false, options: WriteOptions::default() }
}

fn pod(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let cluster = runtime.block_on(Cluster::builder().store(MemoryStore::new()).start()).expect("it starts");
    let client = cluster.client();
    for name in ["same", "other", "patched"] {
        call(&runtime, &client, pods().named(name), applied(&config(name, "0")));
        let status =
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        let options = WriteOptions { field_manager: Some("kubelet".to_owned()), ..WriteOptions::default() };
        let patch = status.to_string().into();
        let patch = Operation::Patch { kind: PatchKind::Strategic, patch, force: false, options };
        call(&runtime, &client, pods().named(name).status(), patch);
    }
    let mut group = c.benchmark_group("apply");
    let same = config("same", "0");
    group.bench_function("pod/unchanged", |b| {
        b.iter(|| call(&runtime, &client, pods().named("same"), applied(&same)));
    });
    let round = std::cell::Cell::new(0_u64);
    let next = || {
        round.set(round.get() + 1);
        round.get().to_string()
    };
    group.bench_function("pod", |b| {
        b.iter(|| call(&runtime, &client, pods().named("other"), applied(&config("other", &next()))));
    });
    group.bench_function("baseline: strategic patch of the pod", |b| {
        b.iter(|| call(&runtime, &client, pods().named("patched"), patched(&next())));
    });
    group.bench_function("baseline: creation of the pod", |b| {
        b.iter(|| {
            let body = Body::Value(config(&format!("made-{}", next()), "0"));
            call(&runtime, &client, pods(), Operation::Create { body, options: WriteOptions::default() });
        });
    });
    group.finish();
    runtime.block_on(cluster.shutdown());
}

fn call(runtime: &Runtime, client: &Client, target: Target, operation: Operation) {
    black_box(runtime.block_on(client.call(target, operation)).expect("it is done"));
}
