use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::Criterion;
use futures::StreamExt;
use http::Method;
use orchestra_core::api::{Operation, PatchKind, Target, WatchOptions, WriteOptions};
use orchestra_core::k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;

use crate::wire;
use crate::{PATH, Request, Served, pod};

const WATCHERS: usize = 100;

/// How long after the answer to a write each watcher had its event.
#[derive(Default)]
struct Delays(Vec<Duration>);

impl Delays {
    fn print(mut self, id: &str) {
        self.0.sort_unstable();
        let at = |part: usize| self.0.get(self.0.len() * part / 1000).copied().unwrap_or_default();
        println!("{id}: from the write's answer to an event, p50 {:.2?}, p99 {:.2?}", at(500), at(990));
    }
}

/// From a write's call to the last of a hundred watchers' receipt.
pub(crate) fn latency(c: &mut Criterion) {
    let served = Served::start();
    served.fill(1);
    let mut revision = 0;
    let mut change = move || {
        revision += 1;
        Bytes::from(format!(
            r#"[{{"op":"add","path":"/metadata/annotations/revision","value":"{revision}"}}]"#
        ))
    };
    here(c, &served, &mut change);
    let watch = format!("{PATH}?watch=1&resourceVersion={}", served.cluster.server().caches().revision());
    over(c, &served, "http/watch_100", &served.wire, &watch, || Request {
        method: Method::PATCH,
        path: format!("{PATH}/pod-000000"),
        body: change(),
    });
    let mut line = pod("pod-000000").to_vec();
    line.push(b'\n');
    let line = Bytes::from(line);
    let bare = served.bare(line.clone());
    over(c, &served, "baseline/watch_100", &bare, "/watch", || Request::post(line.clone()));
}

fn here(c: &mut Criterion, served: &Served, change: &mut impl FnMut() -> Bytes) {
    let client = served.cluster.client();
    let pods = Target::of::<Pod>(Some("default"));
    let (sender, mut receipts) = mpsc::unbounded_channel();
    served.runtime.block_on(async {
        for _ in 0..WATCHERS {
            let after = Some(served.cluster.server().caches().revision());
            let options = WatchOptions { after, ..WatchOptions::default() };
            let mut events = client.watch(pods.clone(), options).await.expect("a watch");
            let sender = sender.clone();
            tokio::spawn(async move { while events.next().await.is_some() && sender.send(()).is_ok() {} });
        }
    });
    c.bench_function("here/watch_100", |b| {
        b.iter(|| {
            let patch = Operation::Patch {
                kind: PatchKind::Json,
                patch: change(),
                force: false,
                options: WriteOptions::default(),
            };
            served.runtime.block_on(async {
                client.call(pods.clone().named("pod-000000"), patch).await.expect("a change");
                for _ in 0..WATCHERS {
                    receipts.recv().await.expect("watchers");
                }
            });
        });
    });
}

fn over(
    c: &mut Criterion,
    served: &Served,
    id: &str,
    client: &wire::Client,
    path: &str,
    mut write: impl FnMut() -> Request,
) {
    let mut writer = served.connect(client);
    let (sender, mut receipts) = mpsc::unbounded_channel();
    for _ in 0..WATCHERS {
        let (connection, sender) = (served.connect(client), sender.clone());
        // Answered means watching: whatever is written from here on is seen.
        let lines = served.runtime.block_on(connection.watch(path));
        served.runtime.spawn(lines.each(move || sender.send(Instant::now()).is_ok()));
    }
    let mut delays = Delays::default();
    c.bench_function(id, |b| {
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let Request { method, path, body } = write();
                let started = Instant::now();
                let last = served.runtime.block_on(async {
                    writer.send(method, &path, body).await;
                    let answered = Instant::now();
                    let mut last = started;
                    for _ in 0..WATCHERS {
                        let receipt = receipts.recv().await.expect("watchers");
                        delays.0.push(receipt.saturating_duration_since(answered));
                        last = last.max(receipt);
                    }
                    last
                });
                took += last.duration_since(started);
            }
            took
        });
    });
    delays.print(id);
}
