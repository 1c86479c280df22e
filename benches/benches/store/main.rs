//! The stores and the watch cache, each beside a baseline in the same run.
//!
//! `cargo bench -p orchestra-benches --bench store`. The files are made in the system's directory for temporary
//! files: set `TMPDIR` to a directory on the disk that is to be measured.

mod disk;
mod etcd;
mod watch;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::store::{Key, KeyRange, Store, Txn};
use tokio::runtime::Runtime;

criterion_group! {
    name = store;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).sample_size(10);
    targets = memory, watch::cache, watch::fanout, disk::durable, disk::reopen, etcd::durable
}
criterion_main!(store);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn key(number: u64) -> Key {
    Key::new(format!("//pods/default/pod-{number:06}"))
}

fn memory(c: &mut Criterion) {
    let runtime = runtime();
    let store = MemoryStore::new();
    let keys: Vec<Key> = (0..1 << 14).map(key).collect();
    let value = bytes::Bytes::from(vec![b'x'; 1024]);
    let mut turn = 0;
    c.bench_function("memory/commit", |b| {
        b.iter(|| {
            turn += 1;
            let key = keys[turn & (keys.len() - 1)].clone();
            runtime.block_on(store.commit(Txn::new().put(key, value.clone()))).expect("a commit")
        });
    });
    c.bench_function("memory/get", |b| {
        b.iter(|| {
            turn += 1;
            runtime.block_on(store.get(&keys[turn & (keys.len() - 1)], None)).expect("a read")
        });
    });
    c.bench_function("memory/snapshot", |b| b.iter(|| black_box(&store).fork()));
    let range = KeyRange::prefix("//pods/");
    c.bench_function("memory/page_500", |b| {
        b.iter(|| runtime.block_on(store.list(&range, None, Some(&keys[5000]), 500)).expect("a page"));
    });
}
