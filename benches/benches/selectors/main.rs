//! Selectors: one match, the index of objects, the index of selectors, each beside the straightforward way.
//!
//! `cargo bench -p orchestra-benches --bench selectors` measures processor time; the curves over the number of objects and of selectors are
//! the ids that begin with `scale/`.

mod cpu;
mod data;
mod naive;

use std::alloc::System;
use std::cell::LazyCell;
use std::hint::black_box;

use criterion::{BatchSize, criterion_group, criterion_main};
use orchestra_core::selector::{LabelSet, Labels, Selector};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use crate::cpu::ProcessorTime;
use crate::data::{FOUR, Objects, Random};
use crate::naive::Naive;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

criterion_group! {
    name = selectors;
    config = criterion::Criterion::default().with_measurement(ProcessorTime).warm_up_time(std::time::Duration::from_millis(500)).sample_size(50);
    targets = one_match, parse, index_100k, reverse_10k, scale
}
criterion_main!(selectors);

type Criterion = criterion::Criterion<ProcessorTime>;
type Bencher<'b> = criterion::Bencher<'b, ProcessorTime>;

/// Matches a selector with one set after the other.
fn rounds(c: &mut Criterion, id: &str, selector: &Selector, sets: &[Labels]) {
    assert!(sets.len().is_power_of_two());
    let (compiled, naive) = (selector.compile(), Naive::of(selector));
    let interned: Vec<_> = sets.iter().map(LabelSet::new).collect();
    let mut turn = 0;
    let mut next = move || {
        turn += 1;
        turn & (sets.len() - 1)
    };
    c.bench_function(&format!("match/{id}"), |b| b.iter(|| black_box(&compiled).matches(&interned[next()])));
    c.bench_function(&format!("baseline/match/{id}"), |b| {
        b.iter(|| black_box(&naive).matches(&sets[next()]))
    });
}

fn one_match(c: &mut Criterion) {
    let mut random = Random(7);
    let mixed: Vec<_> = (0..1024).map(|_| data::five(&mut random)).collect();
    let four = Selector::parse(FOUR).expect("good");
    let hits: Vec<_> = mixed.iter().filter(|labels| four.matches(labels)).take(64).cloned().collect();
    let one = Selector::parse("app=app-3").expect("good");
    rounds(c, "mixed", &four, &mixed);
    rounds(c, "hit", &four, &hits);
    rounds(c, "one_pair", &one, &hits);
}

fn parse(c: &mut Criterion) {
    c.bench_function("parse/four", |b| b.iter_with_large_drop(|| Selector::parse(black_box(FOUR))));
    c.bench_function("baseline/parse/four", |b| b.iter_with_large_drop(|| naive::parse(black_box(FOUR))));
    let selector = Selector::parse(FOUR).expect("good");
    c.bench_function("compile/four", |b| b.iter_with_large_drop(|| black_box(&selector).compile()));
    let labels = data::six(&mut Random(7));
    let kept = LabelSet::new(&labels);
    c.bench_function("intern/six", |b| b.iter_with_large_drop(|| LabelSet::new(black_box(&labels))));
    drop(kept);
}

fn index_100k(c: &mut Criterion) {
    let objects = LazyCell::new(|| {
        let objects = data::objects(100_000);
        let region = Region::new(ALLOCATOR);
        let index = data::indexed(&objects);
        let held = region.change();
        let bytes = held.bytes_allocated - held.bytes_deallocated;
        println!("index_100k: {} bytes an object, with 6 labels", bytes as f64 / index.len() as f64);
        drop(objects);
        Objects::new(100_000)
    });
    let four = Selector::parse(FOUR).expect("good");
    let compiled = four.compile();
    let naive = Naive::of(&four);
    let selected =
        || objects.objects.iter().filter(|(_, labels)| naive.matches(labels)).map(|(name, _)| name);
    let keys = |b: &mut Bencher<'_>| {
        b.iter(|| objects.index.select(&compiled, None).iter().collect::<Vec<_>>());
    };
    c.bench_function("index_100k/set", |b| {
        let index = &objects.index;
        b.iter(|| index.select(&compiled, None).to_set().len());
    });
    c.bench_function("baseline/index_100k/set", |b| b.iter(|| selected().count()));
    c.bench_function("index_100k/keys", keys);
    c.bench_function("baseline/index_100k/keys", |b| b.iter(|| selected().collect::<Vec<_>>()));
    c.bench_function("index_100k/page", |b| {
        b.iter(|| objects.index.select(&compiled, None).iter().take(500).collect::<Vec<_>>());
    });
    c.bench_function("baseline/index_100k/page", |b| b.iter(|| selected().take(500).collect::<Vec<_>>()));
    c.bench_function("index_100k/namespace", |b| {
        b.iter(|| objects.index.select(&compiled, Some("team-7")).iter().collect::<Vec<_>>());
    });
    let negative = Selector::parse("tier!=db,!legacy").expect("good").compile();
    c.bench_function("index_100k/negative_page", |b| {
        b.iter(|| objects.index.select(&negative, None).iter().take(500).collect::<Vec<_>>());
    });
    updates(c, &objects);
}

/// All six labels of one object after the other.
fn updates(c: &mut Criterion, objects: &Objects) {
    let mut random = Random(11);
    let others: Vec<_> = (0..1024).map(|_| data::six(&mut random)).collect();
    let sets: Vec<_> = others.iter().map(LabelSet::new).collect();
    let mut index = objects.index.clone();
    c.bench_function("index_100k/update", |b| {
        b.iter(|| {
            let object = random.below(objects.objects.len() as u64) as usize;
            index.insert(objects.objects[object].0.clone(), &sets[object % sets.len()]);
        });
    });
    let mut maps = objects.objects.clone();
    c.bench_function("baseline/index_100k/update", |b| {
        b.iter(|| {
            let object = random.below(maps.len() as u64) as usize;
            maps[object].1.clone_from(&others[object % others.len()]);
        });
    });
    let (name, labels) = &objects.objects[77];
    let (old, new) = (LabelSet::new(labels), LabelSet::new(labels));
    c.bench_function("index_100k/update_unchanged", |b| b.iter(|| index.update(name, black_box(&old), &new)));
}

fn reverse_10k(c: &mut Criterion) {
    let distinct = data::distinct_selectors(10_000);
    let one = data::labels([("app", "app-4711".into()), ("tier", "web".into()), ("env", "prod".into())]);
    reverse(c, "reverse_10k/distinct", &distinct, &one, 1);
    reverse(c, "reverse_10k/many", &data::crowded_selectors(9_975), &data::busy_pod(), 285);
}

fn reverse(c: &mut Criterion, id: &str, selectors: &[Selector], pod: &Labels, answers: usize) {
    let index = data::reverse(selectors);
    let naive: Vec<_> = selectors.iter().map(Naive::of).collect();
    let set = LabelSet::new(pod);
    assert_eq!(index.matching("default", &set).count(), answers, "{id}");
    c.bench_function(id, |b| b.iter(|| index.matching("default", black_box(&set)).count()));
    let scan = || naive.iter().filter(|selector| selector.matches(black_box(pod))).count();
    c.bench_function(&format!("baseline/{id}"), |b| b.iter(scan));
}

/// Cost against the number of objects, and of selectors.
fn scale(c: &mut Criterion) {
    let compiled = Selector::parse(FOUR).expect("good").compile();
    let mut group = c.benchmark_group("scale");
    group.sample_size(10);
    for count in [100, 1_000, 10_000, 100_000, 1_000_000] {
        let objects = LazyCell::new(|| Objects::new(count));
        let select = || objects.index.select(&compiled, None);
        group.bench_function(format!("objects/set/{count}"), |b| {
            LazyCell::force(&objects);
            b.iter(|| select().to_set().len());
        });
        group.bench_function(format!("objects/keys/{count}"), |b| {
            b.iter(|| select().iter().collect::<Vec<_>>())
        });
        group.bench_function(format!("objects/page/{count}"), |b| {
            b.iter(|| select().iter().take(500).collect::<Vec<_>>());
        });
        let naive = Naive::of(compiled.selector());
        group.bench_function(format!("objects/scan/{count}"), |b| {
            b.iter(|| objects.objects.iter().filter(|(_, labels)| naive.matches(labels)).count());
        });
        group.bench_function(format!("objects/update/{count}"), |b| {
            let (mut random, mut index) = (Random(13), objects.index.clone());
            let sets: Vec<_> = (0..1024).map(|_| LabelSet::new(&data::six(&mut random))).collect();
            b.iter(|| {
                let object = random.below(objects.objects.len() as u64) as usize;
                index.insert(objects.objects[object].0.clone(), &sets[object % sets.len()]);
            });
        });
        group.bench_function(format!("objects/build/{count}"), |b| {
            let sets: Vec<_> =
                objects.objects.iter().map(|(name, labels)| (name, LabelSet::new(labels))).collect();
            b.iter_batched(
                orchestra_core::selector::LabelIndex::new,
                |mut index| {
                    sets.iter().for_each(|(name, set)| index.insert((*name).clone(), set));
                    index
                },
                BatchSize::PerIteration,
            );
        });
    }
    for count in [100, 1_000, 10_000, 100_000, 1_000_000] {
        let index = LazyCell::new(|| data::reverse(&data::distinct_selectors(count)));
        let set = LabelSet::new(&data::labels([("app", "app-47".into()), ("tier", "web".into())]));
        group.bench_function(format!("selectors/reverse/{count}"), |b| {
            LazyCell::force(&index);
            b.iter(|| index.matching("default", black_box(&set)).count());
        });
    }
    group.finish();
}
