use futures::StreamExt;

use super::{Area, in_time, put, until};
use crate::meta::Revision;
use crate::store::{Batch, Change, Store, StoreError, Txn};

pub(super) async fn check(store: &dyn Store) {
    history_joins_live(store).await;
    several_watchers(store).await;
    a_slow_reader(store).await;
    waits_for_what_comes(store).await;
}

fn text(batches: &[Batch]) -> Vec<String> {
    let line = |change: &Change| match change {
        Change::Put { record, previous: None } => format!("+ {:?}", record.value),
        Change::Put { record, previous: Some(previous) } => {
            format!("{:?} -> {:?}", previous.value, record.value)
        }
        Change::Delete { previous } => format!("- {:?}", previous.value),
    };
    batches.iter().flat_map(|batch| batch.changes.iter().map(line)).collect()
}

async fn history_joins_live(store: &dyn Store) {
    let area = Area::clear("join", store).await;
    let (a, other) = (area.key("a"), Area::clear("join-other", store).await.key("a"));
    let start = store.revision().await.expect("revision");
    put(store, &a, "1").await;
    put(store, &other, "not watched").await;
    put(store, &a, "2").await;
    let mut watch = store.watch(&area.range(), start).await.expect("watch");
    store.commit(Txn::new().delete(a.clone()).put(other.clone(), "x")).await.expect("commit");
    let last = put(store, &a, "3").await;
    let batches = until(&mut watch, last).await.expect("watch");
    assert_eq!(text(&batches), ["+ b\"1\"", "b\"1\" -> b\"2\"", "- b\"2\"", "+ b\"3\""]);
    let middle = batches[1].revision;
    let mut again = store.watch(&area.range(), middle).await.expect("watch");
    assert_eq!(
        text(&until(&mut again, last).await.expect("watch")),
        ["- b\"2\"", "+ b\"3\""],
        "only what is after"
    );
    drop(watch);
    let next = put(store, &a, "4").await;
    assert_eq!(text(&until(&mut again, next).await.expect("watch")), ["b\"3\" -> b\"4\""]);
}

async fn several_watchers(store: &dyn Store) {
    let area = Area::clear("several-watchers", store).await;
    let start = store.revision().await.expect("revision");
    let mut watches = Vec::new();
    for _ in 0..5 {
        watches.push(store.watch(&area.range(), start).await.expect("watch"));
    }
    let mut last = start;
    for number in 0..20 {
        last = put(store, &area.key(&(number % 3).to_string()), &number.to_string()).await;
    }
    let all: Vec<_> = futures::future::join_all(watches.iter_mut().map(|watch| until(watch, last))).await;
    let first = text(all[0].as_ref().expect("watch"));
    assert_eq!(first.len(), 20);
    for batches in &all {
        assert_eq!(text(batches.as_ref().expect("watch")), first, "every watcher sees the same");
    }
}

/// A watcher that does not read while its past is forgotten is told so, or has missed nothing.
async fn a_slow_reader(store: &dyn Store) {
    let area = Area::clear("slow", store).await;
    let start = put(store, &area.key("a"), "start").await;
    let mut watch = store.watch(&area.range(), start).await.expect("watch");
    let mut last = start;
    for number in 0..50 {
        last = put(store, &area.key("a"), &number.to_string()).await;
        if number % 10 == 9 {
            store.compact(last).await.expect("compact");
        }
    }
    let mut seen = 0;
    let mut revision = Revision::ZERO;
    while revision < last {
        match in_time(watch.next()).await.expect("a watch does not end by itself") {
            Ok(batch) => {
                revision = batch.revision;
                for change in batch.changes.iter() {
                    let Change::Put { record, .. } = change else { panic!("{change:?}") };
                    assert_eq!(record.value, seen.to_string(), "the next change, or word that it is gone");
                    seen += 1;
                }
            }
            Err(StoreError::Compacted { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(seen, 50);
}

async fn waits_for_what_comes(store: &dyn Store) {
    let area = Area::clear("waits", store).await;
    let latest = store.revision().await.expect("revision");
    let mut watch = store.watch(&area.range(), latest).await.expect("a watch from the latest");
    let written = async {
        tokio::task::yield_now().await;
        put(store, &area.key("a"), "1").await
    };
    let first = async {
        loop {
            let batch = in_time(watch.next()).await.expect("a watch does not end").expect("watch");
            if !batch.changes.is_empty() {
                return batch;
            }
        }
    };
    let (written, first) = futures::future::join(written, first).await;
    assert_eq!(first.revision, written);
    let future = store.watch(&area.range(), Revision(written.0 + 1_000)).await.map(drop);
    assert!(matches!(future, Err(StoreError::Future { .. })), "{future:?}");
}
