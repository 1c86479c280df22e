//! What orchestra is measured by. Each bench has its baseline in the same run: the ratio of the two is the figure,
//! since times move with the machine and with what else it is doing. `BENCHMARKS.md` holds the figures, the targets and
//! what keeps the one from the other.
//!
//! `cargo bench -p orchestra-benches --bench NAME [-- FILTER]`, where NAME is one of
//!
//! | bench | what | beside |
//! | --- | --- | --- |
//! | `cluster` | a cluster in a variable, to its first answer and to three running pods | the same records in a bare store |
//! | `controllers` | a Job of 10,000 pods, 1,000 CronJobs of one minute, a Deployment of 10,000 | as many commits to a bare store |
//! | `growth` | a create, a page, a watch, a placement and memory among 1,000 to 1,000,000 objects | each other |
//! | `http` | get, create, list and watch over HTTPS, by one client and by many | the same call in this process; the same bytes from a bare hyper server |
//! | `memory` | resident memory of a whole cluster, idle and with pods on fake nodes | the JSON of the pods |
//! | `network`, of `orchestra-net` | pods and services: bytes, connections, requests; 5,000 services; names | the kernel alone between bare namespaces |
//! | `node` | pods on each runtime until they run, a hundred adopted, the same idle | the runtime asked directly |
//! | `scheduler` | placing a pod in a cluster of 5,000 nodes | a scheduler that looks at every pod |
//! | `server` | API servers that run, ours and others, asked from outside: rates, and their processor time | each other |
//! | `simulation` | a day, an hour of a large cluster, many lives of a small one, and forks | the same commits in a bare store |
//! | `selectors` | matching, the index of objects by label and that of selectors by object | maps and linear scans |
//! | `streams` | a gigabyte from a port of a pod through the API | the same through one TLS connection |
//! | `store` | the three stores, the cache and the log of events | redb, etcd's client, a broadcast channel |
//! | `writes` | a pod, its status, an event and a lease, written in this process | a commit to the bare store |
//!
//! Read `cluster` first: it is the shortest. A bench is a program of its own under `benches/`, in a directory when it
//! is more than a file; `controllers`, `growth`, `memory`, `network`, `node`, `server`, `simulation` and `streams` are not run by criterion: what
//! they do takes long enough, or is no time. Each crate is optimized whole, which takes minutes; `CARGO_PROFILE_BENCH_LTO=off` is for
//! trying things out.
//!
//! The programs are measured from outside. `orchestra up --runtime fake` prints how long it took; `VmRSS` of
//! `/proc/PID/status`, `write_bytes` of `/proc/PID/io` and the processor time of `/proc/PID/stat` are what the idle
//! figures are made of.

pub mod scheduling;

use std::time::{Duration, Instant};

use orchestra_core::store::memory::MemoryStore;
use orchestra_core::store::{Key, Store, Txn};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// What this process has had of the processor until now, all its threads together.
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// A pod of an ordinary deployment: two kilobytes when it is stored.
pub fn pod(name: &str) -> Value {
    let env = (0..6).map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("value-{n}")}));
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 5});
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"app": "web", "tier": "front", "team": "a"}},
        "spec": {"containers": [{
            "name": "web", "image": "registry.example.com/team/web:1.27.3",
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": env.collect::<Vec<_>>(),
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "livenessProbe": probe, "readinessProbe": probe,
            "volumeMounts": [{"name": "cache", "mountPath": "/var/cache/web"}],
        }], "volumes": [{"name": "cache", "emptyDir": {}}]},
    })
}

/// The memory of this process that is resident, in bytes.
///
/// # Panics
/// Where the kernel is not Linux.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux kernel");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// What so many commits take in a bare store, one after the other, each of a record of `bytes` bytes under one of 5,000
/// keys.
///
/// # Panics
/// When the store refuses one, which a store in memory does not.
pub async fn bare_commits(commits: u64, bytes: usize) -> Duration {
    let key = |number| Key::new(format!("/registry/leases/node-{}", number % 5_000));
    let txns: Vec<Txn> = (0..commits).map(|number| Txn::new().put(key(number), vec![b'x'; bytes])).collect();
    let store = MemoryStore::new();
    let began = Instant::now();
    for txn in txns {
        store.commit(txn).await.expect("a commit");
    }
    began.elapsed()
}
