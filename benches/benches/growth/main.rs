//! What things cost among a thousand objects, and among a million: the cost is to grow as the work does.
//!
//! `cargo bench -p orchestra-benches --bench growth [-- --chart FILE] [NUMBER…]`: a cluster in this process, one thread, memory
//! store, and nobody acts in it; so many pods of 2 KB in it, for each number in a process of its own. `slope` is that of the
//! line between the ends on logarithmic scales: 0 is the same cost however many there are, 1 is a cost as their number. Not run
//! by criterion: a million pods take minutes to make. A million takes 7 GB of memory.

mod chart;

use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use orchestra_benches::{resident, scheduling};
use orchestra_core::api::{
    Body, Client, ListOptions, Operation, PatchKind, Reply, Server, Target, WatchOptions, WriteOptions,
};
use orchestra_core::cluster::{Cluster, Component};
use orchestra_core::k8s_openapi::api::core::v1::Pod;
use orchestra_core::scheduler::Snapshot;
use serde_json::json;
use tokio::sync::mpsc;

/// As the host programs have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NUMBERS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Of so many pods a node has this many.
const PODS_A_NODE: usize = 30;
const PAGE: usize = 500;
const WATCHERS: usize = 100;
/// How often each thing is done to say what it costs.
const TIMES: usize = 500;
/// How the process for one number is told which.
const ALONE: &str = "--alone";

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut numbers, mut file) = (Vec::new(), None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            ALONE => return alone(number(&arguments.next().expect("a number"))),
            "--chart" => file = arguments.next(),
            other => numbers.push(number(other)),
        }
    }
    if numbers.is_empty() {
        numbers = NUMBERS.to_vec();
    }
    let rows = rows(&numbers);
    let heads: Vec<String> = numbers.iter().map(|number| format!("{number:>10}")).collect();
    println!("{:<24}{}     slope", "pods", heads.concat());
    for row in &rows {
        let cells: Vec<String> =
            row.values.iter().map(|value| format!("{:>10}", row.unit.text(*value))).collect();
        println!("{:<24}{}{:>10.2}", row.id, cells.concat(), row.slope(&numbers));
    }
    if let Some(file) = file {
        let timed: Vec<&Row> = rows.iter().filter(|row| row.unit == Unit::Seconds).collect();
        std::fs::write(file, chart::svg(&numbers, &timed)).expect("the chart is written");
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number of objects"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Seconds,
    Bytes,
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            Self::Bytes => format!("{:.1} KB", value / 1e3),
            Self::Seconds if value < 1e-3 => format!("{:.1} µs", value * 1e6),
            Self::Seconds => format!("{:.2} ms", value * 1e3),
        }
    }
}

/// What one thing costs among each number of objects.
struct Row {
    id: String,
    unit: Unit,
    values: Vec<f64>,
}

impl Row {
    fn slope(&self, numbers: &[usize]) -> f64 {
        let (Some(few), Some(many)) = (numbers.first(), numbers.last()) else { return 0.0 };
        let grown = self.values.last().unwrap_or(&1.0) / self.values.first().unwrap_or(&1.0);
        grown.ln() / (*many as f64 / *few as f64).ln()
    }
}

/// Measures each number in a process of its own, so that memory is its own too.
fn rows(numbers: &[usize]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for number in numbers {
        let program = std::env::current_exe().expect("this program");
        let told = Command::new(program).args([ALONE, &number.to_string()]).output().expect("it runs");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        for line in String::from_utf8_lossy(&told.stdout).lines() {
            let (id, value) = line.rsplit_once('\t').expect("a figure");
            let value = value.parse().expect("a figure");
            match rows.iter_mut().find(|row| row.id == id) {
                Some(row) => row.values.push(value),
                None => {
                    let unit = if id == MEMORY { Unit::Bytes } else { Unit::Seconds };
                    rows.push(Row { id: id.to_owned(), unit, values: vec![value] });
                }
            }
        }
    }
    rows
}

const MEMORY: &str = "memory, each";

fn alone(pods: usize) {
    let say = |id: &str, value: f64| println!("{id}\t{value}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let cluster = Cluster::builder().start().await.expect("it starts");
        for part in [Component::Scheduler, Component::ControllerManager] {
            cluster.stop(&part).await;
        }
        let client = cluster.client();
        let before = resident();
        fill(&client, pods - TIMES).await;
        say("create", create(&client, pods - TIMES..pods).await);
        say(MEMORY, (resident() - before) as f64 / pods as f64);
        say("page, the first", page(&client, None).await);
        let middle = middle(&client, pods).await;
        say("page, in the middle", page(&client, Some(middle)).await);
        say("watch, a delivery", watch(&client, cluster.server()).await);
    });
    say("schedule", schedule(pods));
}

fn pods() -> Target {
    Target::of::<Pod>(Some("default"))
}

async fn fill(client: &Client, number: usize) {
    for number in 0..number {
        make(client, body(number)).await;
    }
}

/// The names are not in the order in which they come.
fn body(number: usize) -> Bytes {
    let scattered = (number as u32).wrapping_mul(0x9e37_79b1);
    orchestra_benches::pod(&format!("pod-{scattered:08x}")).to_string().into()
}

async fn make(client: &Client, body: Bytes) {
    let create = Operation::Create { body: Body::Json(body), options: WriteOptions::default() };
    client.call(pods(), create).await.expect("it is made");
}

fn each(took: Duration, times: usize) -> f64 {
    took.as_secs_f64() / times as f64
}

async fn create(client: &Client, numbers: std::ops::Range<usize>) -> f64 {
    let bodies: Vec<Bytes> = numbers.map(body).collect();
    let (times, began) = (bodies.len(), Instant::now());
    for body in bodies {
        make(client, body).await;
    }
    each(began.elapsed(), times)
}

/// The token that the page before so many leaves, and with it the next page.
async fn list(client: &Client, token: Option<String>) -> Option<String> {
    let options = ListOptions { limit: PAGE, continue_token: token, ..ListOptions::default() };
    match client.call(pods(), Operation::List(options)).await.expect("a page").reply {
        Reply::List(list) => list.continue_token,
        other => panic!("{other:?} is no list"),
    }
}

async fn page(client: &Client, token: Option<String>) -> f64 {
    let began = Instant::now();
    for _ in 0..TIMES {
        list(client, token.clone()).await;
    }
    each(began.elapsed(), TIMES)
}

async fn middle(client: &Client, pods: usize) -> String {
    let mut token = None;
    for _ in 0..(pods / 2 / PAGE).max(1) {
        token = list(client, token).await;
    }
    token.expect("the list goes on")
}

/// What one of many watchers' being told of a change costs, beside the change.
async fn watch(client: &Client, server: &Server) -> f64 {
    let alone = change(client, &mut None).await;
    let after = server.caches().revision();
    let (sender, receipts) = mpsc::unbounded_channel();
    for _ in 0..WATCHERS {
        let options = WatchOptions { after: Some(after), ..WatchOptions::default() };
        let mut events = client.watch(pods(), options).await.expect("a watch");
        let sender = sender.clone();
        tokio::spawn(async move { while events.next().await.is_some() && sender.send(()).is_ok() {} });
    }
    let together = change(client, &mut Some(receipts)).await;
    (together - alone) / WATCHERS as f64
}

async fn change(client: &Client, receipts: &mut Option<mpsc::UnboundedReceiver<()>>) -> f64 {
    let name = format!("pod-{:08x}", 0);
    let began = Instant::now();
    for change in 0..TIMES {
        let patch = json!({"metadata": {"annotations": {"change": change.to_string()}}}).to_string();
        let patch = Operation::Patch {
            kind: PatchKind::Merge,
            patch: patch.into(),
            force: false,
            options: WriteOptions::default(),
        };
        client.call(pods().named(name.as_str()), patch).await.expect("a change");
        if let Some(receipts) = receipts {
            for _ in 0..WATCHERS {
                receipts.recv().await.expect("watchers");
            }
        }
    }
    each(began.elapsed(), TIMES)
}

fn schedule(pods: usize) -> f64 {
    let (mut snapshot, nodes) = (Snapshot::new(), pods / PODS_A_NODE);
    for index in 0..nodes {
        snapshot.set_node(scheduling::node(index));
    }
    // Applications of 300 pods each, however many.
    let apps = (pods / 300).max(1);
    for index in 0..pods {
        let at = format!("node-{:04}", index % nodes);
        snapshot.set_pod(scheduling::pod(&format!("pod-{index}"), index % apps, json!({})), Some(&at));
    }
    let replica = scheduling::pod("new", 0, json!({}));
    let began = Instant::now();
    for seed in 0..TIMES as u64 {
        scheduling::place_and_remove(&mut snapshot, &replica, seed.wrapping_mul(6_364_136_223_846_793_005));
    }
    each(began.elapsed(), TIMES)
}
