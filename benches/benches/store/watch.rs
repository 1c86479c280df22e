use std::alloc::System;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use orchestra_core::meta::{ObjectName, Revision};
use orchestra_core::watch::{CacheWriter, Cursor, Entry, IndexedFields, Progress, Query, Update};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const WATCHERS: usize = 1_000;

/// A pod of three kilobytes.
fn pod(number: u64, revision: u64) -> Arc<Entry> {
    let json = format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"pod-{number:06}","namespace":"default","uid":"{number:08x}-0000-4000-8000-000000000000","labels":{{"app":"web","tier":"front","pod-template-hash":"7d4b9","team":"a"}}}},"spec":{{"padding":"{}"}}}}"#,
        "x".repeat(2700)
    );
    let json = bytes::Bytes::copy_from_slice(json.as_bytes());
    Arc::new(Entry::read(json, Revision(revision), &IndexedFields::none()).expect("a pod"))
}

fn filled(count: u64) -> CacheWriter {
    let progress = Progress::new();
    let mut writer = CacheWriter::new(&IndexedFields::none(), Arc::clone(&progress));
    writer.fill((0..count).map(|number| pod(number, number + 1)), Revision(count));
    progress.advance(Revision(count));
    writer
}

pub(crate) fn cache(c: &mut Criterion) {
    let region = Region::new(ALLOCATOR);
    let writer = filled(10_000);
    let held = region.change();
    let bytes = held.bytes_allocated - held.bytes_deallocated;
    println!("memory per object of 3 KB in the cache: {} bytes", bytes / 10_000);
    let cache = writer.cache();
    let names: Vec<_> =
        (0..10_000).map(|n| ObjectName::namespaced("default", format!("pod-{n:06}").as_str())).collect();
    let mut turn = 0;
    c.bench_function("cache/get", |b| {
        b.iter(|| {
            turn += 7;
            cache.get(&names[turn % names.len()])
        });
    });
    c.bench_function("cache/snapshot", |b| b.iter(|| black_box(cache).snapshot()));
    c.bench_function("cache/page_500", |b| {
        b.iter(|| {
            let snapshot = cache.snapshot();
            let page = snapshot.range(Some("default"), Some(&names[5000])).take(500);
            page.cloned().collect::<Vec<_>>()
        });
    });
    c.bench_function("cache/list_all_10000", |b| b.iter(|| cache.list(&Query::all())));
}

/// Events to a thousand watchers, read by two threads; the channel hands out a reference-counted copy each.
pub(crate) fn fanout(c: &mut Criterion) {
    const EVENTS: u64 = 100;
    let mut group = c.benchmark_group("log");
    group.throughput(Throughput::Elements(WATCHERS as u64 * EVENTS));
    group.bench_function("fanout_1000", |b| {
        let mut writer = filled(0);
        let mut revision = 0;
        let mut watchers: Vec<Cursor> =
            (0..WATCHERS).map(|_| writer.cache().watch(Revision::ZERO).expect("kept")).collect();
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let pods: Vec<_> = (0..EVENTS).map(|n| pod(n, revision + n + 1)).collect();
                let started = Instant::now();
                for pod in pods {
                    revision += 1;
                    writer.apply(Revision(revision), [Update::Put(pod)]);
                }
                deliver(&mut watchers, EVENTS);
                took += started.elapsed();
            }
            took
        });
    });
    group.bench_function("baseline/broadcast_1000", |b| {
        let (sender, _) = tokio::sync::broadcast::channel(1024);
        let mut watchers: Vec<_> = (0..WATCHERS).map(|_| sender.subscribe()).collect();
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let pods: Vec<_> = (0..EVENTS).map(|n| pod(n, n + 1)).collect();
                let started = Instant::now();
                pods.into_iter().for_each(|pod| drop(sender.send(pod)));
                let (left, right) = watchers.split_at_mut(WATCHERS / 2);
                std::thread::scope(|scope| {
                    for half in [left, right] {
                        scope.spawn(move || {
                            for watcher in half {
                                while let Ok(pod) = watcher.try_recv() {
                                    black_box(pod);
                                }
                            }
                        });
                    }
                });
                took += started.elapsed();
            }
            took
        });
    });
    group.finish();
}

fn deliver(watchers: &mut [Cursor], events: u64) {
    let (left, right) = watchers.split_at_mut(WATCHERS / 2);
    std::thread::scope(|scope| {
        for half in [left, right] {
            scope.spawn(move || {
                for watcher in half {
                    let mut seen = 0;
                    while let Some(event) = watcher.try_next_ref().expect("kept") {
                        black_box(event);
                        seen += 1;
                    }
                    assert_eq!(seen, events);
                }
            });
        }
    });
}
