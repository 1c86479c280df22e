use std::sync::Arc;

use futures::future::join;

use super::linear::{self, Recorder};
use super::{Area, in_time, put, until};
use crate::clock::{SharedClock, TokioClock};
use crate::store::{Durability, Expect, Store, StoreError, Txn};

/// How many callers act at once, and how often each.
const CALLERS: usize = 8;
const ROUNDS: usize = 40;

/// Callers that read, list, write, swap and delete the same few keys at once: what they see must be in some order.
pub(super) async fn check(store: Arc<dyn Store>) {
    let area = Arc::new(Area::clear("race", &*store).await);
    let start = put(&*store, &area.key("end"), "not yet").await;
    let records = area.all(&*store).await;
    let clock = TokioClock::simulated(start.0);
    let recorder = Arc::new(Recorder::new(store.clone()));
    let mut watch = store.watch(&area.range(), start).await.expect("watch");
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(call(recorder.clone(), area.clone(), clock.clone(), caller)))
        .collect();
    let calls = async {
        for caller in callers {
            caller.await.expect("a caller that does not panic");
        }
        put(&*store, &area.key("end"), "now").await
    };
    let live = async {
        let mut batches = Vec::new();
        loop {
            let batch = in_time(futures::StreamExt::next(&mut watch)).await.expect("no end").expect("watch");
            let ends = batch.changes.iter().any(|change| *change.key() == area.key("end"));
            batches.extend((!batch.changes.is_empty()).then_some(batch));
            if ends {
                return batches;
            }
        }
    };
    let (last, live) = join(calls, live).await;
    let mut watch = store.watch(&area.range(), start).await.expect("watch");
    let log = until(&mut watch, last).await.expect("watch");
    let bare = |log: &[crate::store::Batch]| -> Vec<_> {
        log.iter().map(|batch| (batch.revision, batch.changes.clone())).collect()
    };
    assert_eq!(bare(&live), bare(&log), "a live watch and a look back tell the same");
    if let Err(wrong) = linear::check(records, start, &log, recorder.calls()) {
        panic!("not linearizable: {wrong}");
    }
}

async fn call(store: Arc<Recorder>, area: Arc<Area>, clock: SharedClock, caller: usize) {
    for round in 0..ROUNDS {
        let random = clock.random();
        let key = area.key(&(random % 3).to_string());
        let other = area.key(&(3 + random / 3 % 2).to_string());
        let value = format!("{caller}.{round}");
        let outcome = match random / 6 % 8 {
            0 | 1 => store.get(&key).await.map(drop),
            2 => store.list(&area.range()).await.map(drop),
            3 => store.commit(Txn::new().put(key, value)).await.map(drop),
            4 => store.commit(Txn::new().create(key, value.clone()).put(other, value)).await.map(drop),
            5 => store.commit(Txn::new().put_with(key, value, Durability::Volatile)).await.map(drop),
            6 => store.commit(Txn::new().delete(key).delete(other)).await.map(drop),
            _ => match store.get(&key).await {
                Ok(Some(record)) => {
                    let txn = Txn::new().expect(key.clone(), Expect::At(record.modified)).put(key, value);
                    store.commit(txn).await.map(drop)
                }
                outcome => outcome.map(drop),
            },
        };
        match outcome {
            Ok(()) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
