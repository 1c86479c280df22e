//! The store of an embedded cluster: everything in memory, gone with the process.
//!
//! The records are in a persistent map, so that a snapshot, a page of a long list and a [fork](MemoryStore::fork) of
//! the whole cluster copy a root and no more.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::ledger::{Keep, Ledger, Records, Shared};
use super::{Changes, Committed, Key, KeyRange, Page, Record, Store, StoreError, Txn};
use crate::meta::Revision;

/// How many commits a [`MemoryStore`] remembers by default.
pub const DEFAULT_HISTORY: usize = 10_000;

/// How many records are read at once of a store that is copied.
const COPIED: usize = 500;

/// How many bytes of replaced and deleted values a [`MemoryStore`] keeps at most.
const HISTORY_BYTES: usize = 64 << 20;

/// A [`Store`] in memory.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    keep: Keep,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store that remembers its last [`DEFAULT_HISTORY`] commits, or fewer when they replaced or deleted
    /// more than 64 MiB.
    pub fn new() -> Self {
        Self::with_history(DEFAULT_HISTORY)
    }

    /// An empty store that remembers at most its last `keep` commits.
    pub fn with_history(keep: usize) -> Self {
        Self::begin(Records::new(), Revision::ZERO, Keep { commits: keep, bytes: HISTORY_BYTES })
    }

    fn begin(records: Records, revision: Revision, keep: Keep) -> Self {
        Self { shared: Shared::new(Ledger::new(records, revision, keep)), keep }
    }

    /// A store that begins with what another holds now, whatever kind of store that is: its records are read, all as of one
    /// revision. One in memory is [forked](Self::fork), which copies nothing.
    ///
    /// # Errors
    /// When the other cannot be read, or forgets its past faster than it is read.
    pub async fn copy_of(store: &dyn Store) -> Result<Self, StoreError> {
        if let Some(memory) = store.in_memory() {
            return Ok(memory.fork());
        }
        let revision = store.revision().await?;
        let (mut records, mut after) = (Records::new(), None);
        loop {
            let page = store.list(&KeyRange::all(), Some(revision), after.as_ref(), COPIED).await?;
            after = page.records.last().map(|record| record.key.clone());
            records.extend(page.records.into_iter().map(|record| (record.key.clone(), record)));
            if page.remaining == 0 {
                let keep = Keep { commits: DEFAULT_HISTORY, bytes: HISTORY_BYTES };
                return Ok(Self::begin(records, revision, keep));
            }
        }
    }

    /// A store of its own that begins with what this one holds now, for asking what would happen if. It shares the
    /// records until one of the two writes them; of the past it knows nothing.
    #[must_use]
    pub fn fork(&self) -> Self {
        self.fork_keeping(self.keep)
    }

    /// The same, which remembers at most its last `keep` commits.
    #[must_use]
    pub(crate) fn fork_remembering(&self, keep: usize) -> Self {
        self.fork_keeping(Keep { commits: keep, ..self.keep })
    }

    fn fork_keeping(&self, keep: Keep) -> Self {
        let (records, revision) = self.shared.read(|ledger| (ledger.records().clone(), ledger.revision()));
        Self::begin(records, revision, keep)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn in_memory(&self) -> Option<&MemoryStore> {
        Some(self)
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.shared.read(Ledger::revision))
    }

    async fn get(&self, key: &Key, at: Option<Revision>) -> Result<Option<Record>, StoreError> {
        self.shared.get(key, at)
    }

    async fn list(
        &self,
        range: &KeyRange,
        at: Option<Revision>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.shared.list(range, at, after, limit)
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, StoreError> {
        let revision = self.shared.write(|ledger| ledger.commit(txn))?;
        Ok(Committed { revision })
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<Changes, StoreError> {
        self.shared.read(|ledger| ledger.since(after).map(drop))?;
        Ok(self.shared.follow(range, after, None))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.shared.write(|ledger| ledger.forget_before(before));
        Ok(())
    }

    async fn skip_to(&self, revision: Revision) -> Result<(), StoreError> {
        self.shared.write(|ledger| ledger.skip_to(revision));
        Ok(())
    }
}
