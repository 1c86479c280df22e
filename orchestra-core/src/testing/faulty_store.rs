//! A store that fails when it is told to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::{SharedClock, TokioClock};
use crate::meta::Revision;
use crate::store::{Changes, Committed, Key, KeyRange, Page, Record, Store, StoreError, Txn};

/// How a [`FaultyStore`] behaves. All chances are out of 1,000; the default is a store without fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// That a read or a commit finds the store [`Unavailable`](StoreError::Unavailable) and does nothing.
    pub refused: u16,
    /// That a commit is made and its answer lost: the caller is told `Unavailable`, as when a connection breaks.
    pub unanswered: u16,
    /// That a watch breaks before its next batch.
    pub broken_watch: u16,
    /// No call reaches the store at all, as when it is down or cut off.
    pub down: bool,
    /// How long a watch takes to tell of a commit, as over a slow line.
    pub lag: Duration,
    /// Commits that write find no room; everything else goes on.
    pub full: bool,
}

/// A [`Store`] in front of another that fails as [`Faults`] say. What happens follows from a seed. A clone is the
/// same store.
#[derive(Clone, Debug)]
pub struct FaultyStore {
    store: Arc<dyn Store>,
    faults: Arc<Mutex<Faults>>,
    /// Goes up when all watches are to break.
    cuts: watch::Sender<u64>,
    chance: SharedClock,
}

impl FaultyStore {
    /// A store that has no faults until told.
    pub fn new(store: Arc<dyn Store>, seed: u64) -> Self {
        let cuts = watch::Sender::new(0);
        Self { store, faults: Arc::default(), cuts, chance: TokioClock::simulated(seed) }
    }

    /// Changes how it fails, from the next call on. One that goes down breaks all watches at once.
    pub fn set(&self, faults: Faults) {
        *self.faults() = faults;
        if faults.down {
            self.break_watches();
        }
    }

    /// Ends every watch with [`StoreError::Unavailable`].
    pub fn break_watches(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn happens(&self, chance: u16) -> bool {
        chance > 0 && self.chance.random() % 1000 < u64::from(chance)
    }

    fn reach(&self) -> Result<Faults, StoreError> {
        let faults = *self.faults();
        if faults.down || self.happens(faults.refused) { Err(unavailable()) } else { Ok(faults) }
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("a fault was asked for".into())
}

#[async_trait]
impl Store for FaultyStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.reach()?;
        self.store.revision().await
    }

    async fn get(&self, key: &Key, at: Option<Revision>) -> Result<Option<Record>, StoreError> {
        self.reach()?;
        self.store.get(key, at).await
    }

    async fn list(
        &self,
        range: &KeyRange,
        at: Option<Revision>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.reach()?;
        self.store.list(range, at, after, limit).await
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, StoreError> {
        let faults = self.reach()?;
        if faults.full && !txn.writes.is_empty() {
            return Err(StoreError::OutOfSpace("a full disk was asked for".into()));
        }
        let committed = self.store.commit(txn).await?;
        if self.happens(faults.unanswered) { Err(unavailable()) } else { Ok(committed) }
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<Changes, StoreError> {
        self.reach()?;
        let changes = self.store.watch(range, after).await?;
        let cuts = self.cuts.subscribe();
        let state = Some((changes, cuts, self.clone()));
        Ok(stream::unfold(state, |state| async {
            let (mut changes, mut cuts, store) = state?;
            let next = tokio::select! {
                biased;
                _ = cuts.changed() => Err(unavailable()),
                batch = changes.next() => batch?,
            };
            let Faults { broken_watch: chance, lag, .. } = *store.faults();
            if !lag.is_zero() {
                store.chance.sleep(lag).await;
            }
            match next {
                Ok(_) if store.happens(chance) => Some((Err(unavailable()), None)),
                Ok(batch) => Some((Ok(batch), Some((changes, cuts, store)))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed())
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.reach()?;
        self.store.compact(before).await
    }

    async fn skip_to(&self, revision: Revision) -> Result<(), StoreError> {
        self.reach()?;
        self.store.skip_to(revision).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        if self.reach()?.full {
            return Err(StoreError::OutOfSpace("a full disk was asked for".into()));
        }
        self.store.ready().await
    }

    async fn time_of(&self, revision: Revision) -> Result<Option<Timestamp>, StoreError> {
        self.reach()?;
        self.store.time_of(revision).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;
    use crate::testing::contract;

    #[tokio::test]
    async fn without_faults_it_is_a_store_like_any_other() {
        contract::store::check(Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()), 1))).await;
    }

    #[tokio::test]
    async fn it_fails_as_it_is_told() {
        let memory = Arc::new(MemoryStore::new());
        let store = FaultyStore::new(memory.clone(), 7);
        let key = Key::new("/a");
        let mut watch = store.watch(&KeyRange::all(), Revision::ZERO).await.unwrap();
        store.set(Faults { full: true, ..Faults::default() });
        let full = store.commit(Txn::new().put(key.clone(), "1")).await;
        assert!(matches!(full, Err(StoreError::OutOfSpace(_))));
        store.set(Faults { unanswered: 1000, ..Faults::default() });
        let lost = store.commit(Txn::new().put(key.clone(), "2")).await;
        assert!(matches!(lost, Err(StoreError::Unavailable(_))));
        assert_eq!(memory.get(&key, None).await.unwrap().unwrap().value, "2", "made, and its answer lost");
        assert!(watch.next().await.unwrap().is_ok());
        store.set(Faults { down: true, ..Faults::default() });
        assert!(matches!(watch.next().await, Some(Err(StoreError::Unavailable(_)))));
        assert!(watch.next().await.is_none());
        assert!(store.get(&key, None).await.is_err());
        store.set(Faults::default());
        assert!(store.get(&key, None).await.is_ok());
    }
}
