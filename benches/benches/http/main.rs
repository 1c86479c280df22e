//! The Kubernetes API over HTTPS on loopback, beside the same call in this process and the same bytes from a bare
//! hyper server.
//!
//! `cargo bench -p orchestra-benches --bench http`. Client and server share this process and its two threads, in the
//! baselines too. The parts that act on pods are stopped, so that a request costs what the request costs.

mod watch;
mod wire;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::Method;
use orchestra_core::api::{Body, Client, ListOptions, Operation, Reply, Target, WriteOptions};
use orchestra_core::cluster::{Cluster, Component};
use orchestra_core::k8s_openapi::api::core::v1::Pod;
use orchestra_http::{ApiHost, Authority, Frontend, ServerTls};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use wire::Connection;

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PODS: usize = 10_000;
const CLIENTS: usize = 32;
const PATH: &str = "/api/v1/namespaces/default/pods";

criterion_group! {
    name = http;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).sample_size(20);
    targets = get, create, list, watch::latency
}
criterion_main!(http);

/// A cluster in which nobody acts, and its API on a port of this machine.
struct Served {
    runtime: Runtime,
    cluster: Cluster,
    _api: ApiHost,
    authority: Authority,
    wire: wire::Client,
}

impl Served {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let authority = Authority::new().expect("an authority");
        let address = IpAddr::from(Ipv4Addr::LOCALHOST);
        let identity = authority.issue_server(&[], &[address]).expect("a certificate");
        let tls = ServerTls::new(&identity, authority.certificate()).expect("TLS");
        let (cluster, api) = runtime.block_on(async {
            let cluster = Cluster::builder().start().await.expect("it starts");
            for part in [Component::Scheduler, Component::ControllerManager] {
                cluster.stop(&part).await;
            }
            let listener = TcpListener::bind((address, 0)).await.expect("a listener");
            let api = ApiHost::new(listener, tls, Frontend::new(&cluster)).expect("it serves");
            (cluster, api)
        });
        let wire = wire::Client::new(&authority, api.address());
        Self { runtime, cluster, _api: api, authority, wire }
    }

    fn connect(&self, client: &wire::Client) -> Connection {
        self.runtime.block_on(client.connect())
    }

    fn bare(&self, answer: Bytes) -> wire::Client {
        self.runtime.block_on(wire::bare(&self.authority, answer))
    }

    /// Makes pods in this process.
    fn fill(&self, count: usize) {
        let client = self.cluster.client();
        self.runtime.block_on(async {
            for number in 0..count {
                create_here(&client, pod(&format!("pod-{number:06}"))).await;
            }
        });
    }
}

/// A pod as the text that a client sends.
fn pod(name: &str) -> Bytes {
    let mut pod = orchestra_benches::pod(name);
    let checksum = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    pod["metadata"]["annotations"] = json!({"example.com/checksum": checksum});
    pod.to_string().into()
}

async fn create_here(client: &Client, body: Bytes) -> usize {
    let create = Operation::Create { body: Body::Json(body), options: WriteOptions::default() };
    let made = client.call(Target::of::<Pod>(Some("default")), create).await.expect("it is made");
    match made.reply {
        Reply::Object(entry) => entry.bytes().len(),
        other => panic!("{other:?} is no object"),
    }
}

/// One request at a time over one connection.
fn one(c: &mut Criterion, served: &Served, id: &str, client: &wire::Client, request: impl Fn() -> Request) {
    let mut connection = served.connect(client);
    c.bench_function(id, |b| {
        b.iter(|| {
            let Request { method, path, body } = request();
            served.runtime.block_on(connection.send(method, &path, body))
        });
    });
}

struct Request {
    method: Method,
    path: String,
    body: Bytes,
}

impl Request {
    fn get(path: impl Into<String>) -> Self {
        Self { method: Method::GET, path: path.into(), body: Bytes::new() }
    }

    fn post(body: Bytes) -> Self {
        Self { method: Method::POST, path: PATH.to_owned(), body }
    }
}

/// The time of one of so many requests that many clients make at once, each over a connection of its own.
fn many(
    c: &mut Criterion,
    served: &Served,
    id: &str,
    client: &wire::Client,
    request: impl Fn() -> Request + Clone + Send + 'static,
) {
    let connect = || Arc::new(Mutex::new(served.connect(client)));
    let connections: Vec<_> = (0..CLIENTS).map(|_| connect()).collect();
    c.bench_function(id, |b| {
        b.iter_custom(|total| {
            let each = total.div_ceil(CLIENTS as u64).max(8);
            let started = Instant::now();
            served.runtime.block_on(async {
                let tasks = connections.iter().map(|connection| {
                    let (connection, request) = (Arc::clone(connection), request.clone());
                    tokio::spawn(async move {
                        let mut connection = connection.lock().await;
                        for _ in 0..each {
                            let Request { method, path, body } = request();
                            connection.send(method, &path, body).await;
                        }
                    })
                });
                for task in tasks.collect::<Vec<_>>() {
                    task.await.expect("a client");
                }
            });
            started.elapsed().mul_f64(total as f64 / (each * CLIENTS as u64) as f64)
        });
    });
}

fn get(c: &mut Criterion) {
    let served = Served::start();
    served.fill(100);
    let path = || Request::get(format!("{PATH}/pod-000042"));
    let answer = served.runtime.block_on(async { served.wire.connect().await.get(&path().path).await });
    println!("http/get is answered with {} bytes", answer.len());
    let bare = served.bare(answer);
    let client = served.cluster.client();
    c.bench_function("here/get", |b| {
        b.iter(|| {
            let target = Target::of::<Pod>(Some("default")).named("pod-000042");
            served.runtime.block_on(client.call(target, Operation::GET)).expect("an answer")
        });
    });
    one(c, &served, "http/get", &served.wire, path);
    one(c, &served, "baseline/get", &bare, path);
    many(c, &served, "http/get_32", &served.wire, path);
    many(c, &served, "baseline/get_32", &bare, path);
}

fn create(c: &mut Criterion) {
    let served = Served::start();
    let number = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let next = move || {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        pod(&format!("made-{number:09}"))
    };
    let client = served.cluster.client();
    let size = served.runtime.block_on(create_here(&client, next()));
    println!("http/create makes objects of {size} bytes");
    c.bench_function("here/create", |b| {
        // What is asked is what a call costs, and not what it costs to write a manifest.
        let call = |body| served.runtime.block_on(create_here(&client, body));
        b.iter_batched(&next, call, BatchSize::PerIteration);
    });
    let bare = served.bare(vec![b'x'; size].into());
    let post = move || Request::post(next());
    one(c, &served, "http/create", &served.wire, post.clone());
    one(c, &served, "baseline/create", &bare, post.clone());
    many(c, &served, "http/create_32", &served.wire, post.clone());
    many(c, &served, "baseline/create_32", &bare, post);
}

fn list(c: &mut Criterion) {
    let served = Served::start();
    served.fill(PODS);
    let client = served.cluster.client();
    for (name, limit) in [(format!("list_{PODS}"), 0), ("list_page_500".to_owned(), 500)] {
        let path = format!("{PATH}?limit={limit}");
        let request = || Request::get(path.as_str());
        let answer = served.runtime.block_on(async { served.wire.connect().await.get(&path).await });
        println!("http/{name} is answered with {} bytes", answer.len());
        c.bench_function(&format!("here/{name}"), |b| {
            b.iter(|| {
                let list = Operation::List(ListOptions { limit, ..ListOptions::default() });
                served.runtime.block_on(client.call(Target::of::<Pod>(Some("default")), list))
            });
        });
        one(c, &served, &format!("http/{name}"), &served.wire, request);
        one(c, &served, &format!("baseline/{name}"), &served.bare(answer), request);
    }
}
