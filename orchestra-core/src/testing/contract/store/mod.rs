//! What every [`Store`] must do.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use orchestra_core::{store::memory::MemoryStore, testing::contract};
//!
//! contract::store::check(std::sync::Arc::new(MemoryStore::new())).await;
//! # }
//! ```

pub mod linear;
mod race;
mod reads;
mod watches;
mod writes;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use crate::meta::Revision;
use crate::store::{Batch, Changes, Key, KeyRange, Record, Store, StoreError, Txn};

/// How long anything may take before the store counts as stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the whole suite on a store that nobody else writes. It may hold records already; the suite's own begin with
/// `/contract/`. Panics with what went wrong.
pub async fn check(store: Arc<dyn Store>) {
    writes::check(&*store).await;
    reads::check(&*store).await;
    watches::check(&*store).await;
    race::check(store).await;
}

/// What a store that outlives its process must do besides. `open` opens it, again each time it is called; the one
/// before has then been dropped.
pub async fn check_durable<S: Store, F: Future<Output = S>>(open: impl Fn() -> F) {
    let area = Area::new("durable");
    let store = open().await;
    let mut last = Revision::ZERO;
    for number in 0..20 {
        let txn =
            Txn::new().put(area.key("counter"), number.to_string()).put(area.key(&number.to_string()), "x");
        last = store.commit(txn).await.expect("commit").revision;
    }
    let before = store.list(&area.range(), None, None, 0).await.expect("list");
    drop(store);

    let store = open().await;
    let latest = store.revision().await.expect("revision");
    assert!(latest >= last, "revisions do not go back over a restart: {latest} after {last}");
    let after = store.list(&area.range(), None, None, 0).await.expect("list");
    assert_eq!(after.records, before.records, "every acknowledged write is there after opening again");
    let next = store.commit(Txn::new().put(area.key("counter"), "on")).await.expect("commit").revision;
    assert!(next > latest, "revisions go on");
    match store.watch(&area.range(), last).await {
        Ok(mut watch) => {
            let batches = until(&mut watch, next).await.expect("watch");
            assert_eq!(batches.iter().map(|batch| batch.changes.len()).sum::<usize>(), 1, "{batches:?}");
        }
        Err(StoreError::Compacted { .. }) => {}
        Err(error) => panic!("watch over a restart: {error}"),
    }
}

/// A part of the keys that one check has for itself.
struct Area(String);

impl Area {
    fn new(name: &str) -> Self {
        Self(format!("/contract/{name}/"))
    }

    fn key(&self, name: &str) -> Key {
        Key::new(format!("{}{name}", self.0))
    }

    fn range(&self) -> KeyRange {
        KeyRange::prefix(&self.0)
    }

    /// An area with nothing in it.
    async fn clear(name: &str, store: &dyn Store) -> Self {
        let area = Self::new(name);
        for record in area.all(store).await {
            store.commit(Txn::new().delete(record.key)).await.expect("clear");
        }
        area
    }

    async fn all(&self, store: &dyn Store) -> Vec<Record> {
        store.list(&self.range(), None, None, 0).await.expect("list").records
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("an answer in time")
}

async fn put(store: &dyn Store, key: &Key, value: &str) -> Revision {
    store.commit(Txn::new().put(key.clone(), value.to_owned())).await.expect("put").revision
}

/// The batches of a watch up to a revision; those without changes are left out.
async fn until(watch: &mut Changes, last: Revision) -> Result<Vec<Batch>, StoreError> {
    let mut batches = Vec::new();
    let mut seen = Revision::ZERO;
    while seen < last {
        let batch = in_time(watch.next()).await.expect("a watch does not end by itself")?;
        assert!(batch.revision > seen, "revision {} after {seen}", batch.revision);
        seen = batch.revision;
        if !batch.changes.is_empty() {
            batches.push(batch);
        }
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn memory() {
        check(Arc::new(MemoryStore::new())).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn memory_on_threads() {
        check(Arc::new(MemoryStore::new())).await;
    }

    #[cfg(feature = "redb")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn redb() {
        use crate::store::redb::RedbStore;
        let dir = tempfile::tempdir().unwrap();
        check(Arc::new(RedbStore::open(dir.path()).unwrap())).await;
        check(Arc::new(RedbStore::open(dir.path()).unwrap())).await;
        check_durable(|| async { RedbStore::open(dir.path()).unwrap() }).await;
    }
}
