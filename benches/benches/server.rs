//! API servers that run, asked from outside: how many answers they give in a second, and what processor time each takes.
//!
//! ```text
//! cargo bench -p orchestra-benches --bench server -- NAME KUBECONFIG PID[,PID…] [NAME KUBECONFIG PID[,PID…]]…
//! ```
//!
//! Any Kubernetes will do, such as a kube-apiserver with its etcd beside an `orchestra up --runtime fake --nodes 0`; the PIDs are
//! those of the programs whose time is counted. Servers are asked one after the other by the same clients, each over a
//! connection of its own and on the same processors, so that rates hold for this machine alone; processor time is the
//! server's. A namespace `bench-…` is made in each, and is left behind. Not run by criterion: what is asked for takes seconds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use orchestra_core::api::{Api, Client, ListOptions, Operation, Patch, Status, Target, WatchOptions};
use orchestra_core::k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use orchestra_core::meta::Object;
use orchestra_http::{Kubeconfig, Remote};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: usize = 32;
const PODS: usize = 10_000;
const WATCHERS: usize = 100;
const CHANGES: usize = 100;

fn main() {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let servers: Vec<Server> = arguments
        .chunks(3)
        .map(|one| match one {
            [name, kubeconfig, pids] => Server::new(name, kubeconfig, pids),
            _ => panic!("NAME KUBECONFIG PID[,PID…], not {one:?}"),
        })
        .collect();
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    threads.expect("a runtime").block_on(async {
        for server in &servers {
            println!("{}:", server.name);
            server.measure().await.expect("it answers");
        }
    });
}

struct Server {
    name: String,
    kubeconfig: String,
    pids: Vec<u32>,
}

impl Server {
    fn new(name: &str, kubeconfig: &str, pids: &str) -> Self {
        let pids = pids.split(',').map(|pid| pid.parse().expect("the number of a process")).collect();
        Self { name: name.to_owned(), kubeconfig: kubeconfig.to_owned(), pids }
    }

    /// A client with a connection of its own.
    fn client(&self) -> Client {
        let config = Kubeconfig::read(Path::new(&self.kubeconfig)).expect("a kubeconfig");
        Remote::connect(config).expect("a client").client()
    }

    /// What the programs have had of the processor until now, all their threads together.
    fn processor_time(&self) -> Duration {
        let ticks = self.pids.iter().map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process that runs");
            let (_, after_name) = stat.rsplit_once(") ").expect("the form of Linux");
            let fields: Vec<u64> = after_name.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
            fields[11] + fields[12]
        });
        // Linux tells them by hundredths of a second.
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// Does something so many times over, and says what one of them took.
    async fn row(
        &self,
        id: &str,
        times: usize,
        work: impl Future<Output = Result<(), Status>>,
    ) -> Result<(), Status> {
        let (before, began) = (self.processor_time(), Instant::now());
        work.await?;
        let (took, used) = (began.elapsed().as_secs_f64(), (self.processor_time() - before).as_secs_f64());
        let (rate, each) = (times as f64 / took, used / times as f64 * 1e6);
        println!("  {id:<24} {rate:>9.0}/s {each:>10.1} µs of processor time each");
        Ok(())
    }

    async fn measure(&self) -> Result<(), Status> {
        let first = self.client();
        let namespace = format!("bench-{}", std::process::id());
        let space: Namespace = typed(json!({"metadata": {"name": namespace}}));
        first.cluster::<Namespace>().create(&space).await?;
        let account: ServiceAccount = typed(json!({"metadata": {"name": "default"}}));
        match first.api::<ServiceAccount>(&namespace).create(&account).await {
            Err(status) if !status.is_already_exists() => return Err(status),
            _ => {}
        }
        let clients: Vec<Client> = (0..CLIENTS).map(|_| self.client()).collect();
        let one = std::slice::from_ref(&clients[0]);
        self.row("create ConfigMap, 1", 1_000, create(one, &namespace, "one", 1_000, map)).await?;
        self.row("create ConfigMap, 32", 10_000, create(&clients, &namespace, "many", 10_000, map)).await?;
        self.row("create Pod, 32", PODS, create(&clients, &namespace, "pod", PODS, pod)).await?;
        self.row("get Pod, 32", 20_000, get(&clients, &namespace, 20_000)).await?;
        self.row("list 10,000 Pods", 10, list(&first, &namespace, 0, 10)).await?;
        self.row("page of 500", 100, list(&first, &namespace, 500, 100)).await?;
        self.watch(&namespace).await
    }

    async fn watch(&self, namespace: &str) -> Result<(), Status> {
        let maps = Target::of::<ConfigMap>(Some(namespace));
        let writer = self.client().api::<ConfigMap>(namespace);
        let after = writer.get("one-0").await?.metadata.resource_version;
        let after = after.and_then(|revision| revision.parse().ok());
        let (sender, mut receipts) = mpsc::unbounded_channel();
        for _ in 0..WATCHERS {
            let (client, sender) = (self.client(), sender.clone());
            // That one object alone, so that nothing else is told.
            let options = WatchOptions { after, ..WatchOptions::default() };
            let mut events = client.watch(maps.clone().named("one-0"), options).await?;
            tokio::spawn(async move {
                let _open = client;
                while events.next().await.is_some() && sender.send(()).is_ok() {}
            });
        }
        let changes = async {
            for change in 0..CHANGES {
                writer.patch("one-0", Patch::Merge(json!({"data": {"change": change.to_string()}}))).await?;
                for _ in 0..WATCHERS {
                    receipts.recv().await.expect("watchers");
                }
            }
            Ok(())
        };
        self.row("watch, 100 watchers", CHANGES * WATCHERS, changes).await
    }
}

fn typed<K: Object>(object: Value) -> K {
    serde_json::from_value(object).expect("an object of its kind")
}

fn map(name: &str) -> ConfigMap {
    typed(json!({"metadata": {"name": name}, "data": {"filling": "x".repeat(1024)}}))
}

/// A pod that no scheduler takes up.
fn pod(name: &str) -> Pod {
    let mut pod = orchestra_benches::pod(name);
    pod["spec"]["schedulerName"] = json!("nobody");
    typed(pod)
}

/// Has the clients do something for each number below `times`, each of them one after the other.
async fn each<F>(
    clients: &[Client],
    times: usize,
    work: impl Fn(Client, usize) -> F + Clone + Send + 'static,
) -> Result<(), Status>
where
    F: Future<Output = Result<(), Status>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let tasks = clients.iter().map(|client| {
        let (client, next, work) = (client.clone(), Arc::clone(&next), work.clone());
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= times {
                    return Ok::<(), Status>(());
                }
                work(client.clone(), number).await?;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a client")?;
    }
    Ok(())
}

async fn create<K: Object>(
    clients: &[Client],
    namespace: &str,
    prefix: &'static str,
    times: usize,
    make: fn(&str) -> K,
) -> Result<(), Status> {
    let namespace = namespace.to_owned();
    each(clients, times, move |client, number| {
        let objects: Api<K> = client.api(&namespace);
        async move { objects.create(&make(&format!("{prefix}-{number}"))).await.map(drop) }
    })
    .await
}

async fn get(clients: &[Client], namespace: &str, times: usize) -> Result<(), Status> {
    let namespace = namespace.to_owned();
    each(clients, times, move |client, number| {
        let pods: Api<Pod> = client.api(&namespace);
        async move { pods.get(&format!("pod-{}", number % PODS)).await.map(drop) }
    })
    .await
}

/// The first page of so many pods, or all of them.
async fn list(client: &Client, namespace: &str, limit: usize, times: usize) -> Result<(), Status> {
    for _ in 0..times {
        let list = Operation::List(ListOptions { limit, ..ListOptions::default() });
        client.call(Target::of::<Pod>(Some(namespace)), list).await?;
    }
    Ok(())
}
