use std::fs;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use criterion::Criterion;
use orchestra_core::store::redb::RedbStore;
use orchestra_core::store::{Store, Txn};
use redb::{Database, TableDefinition};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::{key, runtime};

const RECORDS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("records");

/// redb with the same batching and nothing else: what wraps it can at best be as fast.
#[derive(Clone)]
struct Raw(mpsc::Sender<(String, Vec<u8>, oneshot::Sender<()>)>);

impl Raw {
    fn open(path: &Path) -> Self {
        let database = Database::builder().set_cache_size(8 << 20).create(path).expect("a database");
        let (sender, jobs) = mpsc::channel();
        std::thread::spawn(move || serve(&database, &jobs));
        Self(sender)
    }

    async fn put(&self, key: String, value: Vec<u8>) {
        let (sender, done) = oneshot::channel();
        self.0.send((key, value, sender)).expect("the writer lives");
        done.await.expect("a commit");
    }
}

fn serve(database: &Database, jobs: &mpsc::Receiver<(String, Vec<u8>, oneshot::Sender<()>)>) {
    let (mut last, mut took) = (1, Duration::ZERO);
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        let patience = Instant::now() + (took / 8).min(Duration::from_millis(1));
        while group.len() < 1024 {
            let next = match jobs.try_recv() {
                Err(_) if group.len() < last => {
                    jobs.recv_timeout(patience.saturating_duration_since(Instant::now())).ok()
                }
                next => next.ok(),
            };
            let Some(next) = next else { break };
            group.push(next);
        }
        last = group.len();
        let started = Instant::now();
        group.sort_by(|a, b| a.0.cmp(&b.0));
        let mut txn = database.begin_write().expect("a transaction");
        txn.set_quick_repair(true);
        let mut table = txn.open_table(RECORDS).expect("a table");
        for (key, value, _) in &group {
            table.insert(key.as_str(), &value[..]).expect("room");
        }
        drop(table);
        txn.commit().expect("a commit");
        for (_, _, done) in group {
            let _ = done.send(());
        }
        took = started.elapsed();
    }
}

/// The time of one of `total` writes that so many writers make at once.
pub(crate) fn write<F: Future<Output = ()> + Send + 'static>(
    runtime: &Runtime,
    writers: u64,
    total: u64,
    mut first: u64,
    put: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Duration {
    let each = total.div_ceil(writers).max(4);
    let started = Instant::now();
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..writers {
            let put = put.clone();
            tasks.push(tokio::spawn(async move {
                for number in first..first + each {
                    put(number).await;
                }
            }));
            first += each;
        }
        for task in tasks {
            task.await.expect("a writer");
        }
    });
    started.elapsed().mul_f64(total as f64 / (each * writers) as f64)
}

/// Spreads writes over the keys, as objects of many namespaces are.
pub(crate) fn scatter(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

pub(crate) fn durable(c: &mut Criterion) {
    let runtime = runtime();
    let directory = tempfile::tempdir().expect("a directory");
    let mut first = 0;
    for writers in [1, 64, 512] {
        let store = RedbStore::open(directory.path().join(format!("ours-{writers}"))).expect("a store");
        c.bench_function(&format!("redb/durable_{writers}"), |b| {
            b.iter_custom(|total| {
                first += 1 << 20;
                let store = store.clone();
                write(&runtime, writers, total, first, move |number| {
                    let store = store.clone();
                    async move {
                        let txn = Txn::new().put(key(scatter(number)), vec![b'x'; 1024]);
                        store.commit(txn).await.expect("a commit");
                    }
                })
            });
        });
        let raw = Raw::open(&directory.path().join(format!("raw-{writers}")));
        c.bench_function(&format!("baseline/redb_raw_{writers}"), |b| {
            b.iter_custom(|total| {
                first += 1 << 20;
                let raw = raw.clone();
                write(&runtime, writers, total, first, move |number| {
                    let raw = raw.clone();
                    async move { raw.put(key(scatter(number)).as_str().to_owned(), vec![b'x'; 1024]).await }
                })
            });
        });
    }
    c.bench_function("baseline/fsync_1k", |b| {
        let mut file = fs::File::create(directory.path().join("plain")).expect("a file");
        b.iter(|| {
            use std::io::Write;
            file.write_all(&[7; 1024]).and_then(|()| file.sync_data()).expect("a write");
        });
    });
}

/// From a file as `kill -9` leaves it to the first answer.
pub(crate) fn reopen(c: &mut Criterion) {
    let runtime = runtime();
    let directory = tempfile::tempdir().expect("a directory");
    let store = Arc::new(RedbStore::open(directory.path().join("live")).expect("a store"));
    runtime.block_on(async {
        for chunk in 0..200 {
            let put = |txn: Txn, number: u64| txn.put(key(chunk * 500 + number), vec![b'x'; 1024]);
            store.commit((0..500).fold(Txn::new(), put)).await.expect("a commit");
        }
    });
    let killed = directory.path().join("killed");
    fs::create_dir(&killed).expect("a directory");
    c.bench_function("redb/reopen_100k", |b| {
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                fs::copy(directory.path().join("live/store.redb"), killed.join("store.redb"))
                    .expect("a copy");
                let started = Instant::now();
                let store = RedbStore::open(&killed).expect("it opens");
                let found = runtime.block_on(store.get(&key(77_777), None)).expect("a read");
                took += started.elapsed();
                assert!(found.is_some());
            }
            took
        });
    });
}
