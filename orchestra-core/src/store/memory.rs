//! The store of an embedded cluster: everything in memory, gone with the process.
//!
//! The records are in a persistent map, so that every kept revision costs only the nodes that its commit changed,
//! and a read of the past or a page of a long list is a look into an old root.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use imbl::OrdMap;
use tokio::sync::watch;

use super::{
    Batch, Change, Changes, Committed, Expect, Key, KeyRange, Page, Record, Store, StoreError, Txn, Write,
};
use crate::meta::Revision;

/// How many commits a [`MemoryStore`] remembers by default.
pub const DEFAULT_HISTORY: usize = 10_000;

/// A [`Store`] in memory.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: RwLock<State>,
    head: watch::Sender<Revision>,
    keep: usize,
}

struct State {
    records: OrdMap<Key, Record>,
    revision: Revision,
    /// The records as they were before the first commit in `commits`.
    oldest: (Revision, OrdMap<Key, Record>),
    /// The last commits, oldest first, each with the records as they were after it.
    commits: VecDeque<(Batch, OrdMap<Key, Record>)>,
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
    /// An empty store that remembers its last [`DEFAULT_HISTORY`] commits.
    pub fn new() -> Self {
        Self::with_history(DEFAULT_HISTORY)
    }

    /// An empty store that remembers its last `keep` commits.
    pub fn with_history(keep: usize) -> Self {
        let state = State {
            records: OrdMap::new(),
            revision: Revision::ZERO,
            oldest: (Revision::ZERO, OrdMap::new()),
            commits: VecDeque::new(),
        };
        let head = watch::Sender::new(Revision::ZERO);
        Self { shared: Arc::new(Shared { state: RwLock::new(state), head, keep }) }
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn at(&self, at: Option<Revision>) -> Result<(&OrdMap<Key, Record>, Revision), StoreError> {
        let Some(at) = at.filter(|at| *at != self.revision) else {
            return Ok((&self.records, self.revision));
        };
        self.check(at)?;
        let after = self.commits.partition_point(|(batch, _)| batch.revision <= at);
        let records = match after.checked_sub(1) {
            Some(index) => &self.commits[index].1,
            None => &self.oldest.1,
        };
        Ok((records, at))
    }

    fn check(&self, at: Revision) -> Result<(), StoreError> {
        if at > self.revision {
            return Err(StoreError::Future { requested: at, latest: self.revision });
        }
        if at < self.oldest.0 {
            return Err(StoreError::Compacted { requested: at, oldest: self.oldest.0 });
        }
        Ok(())
    }

    fn check_guards(&self, txn: &Txn) -> Result<(), StoreError> {
        for guard in &txn.guards {
            let current = self.records.get(&guard.key).map(|record| record.modified);
            let expected = match guard.expect {
                Expect::Absent => None,
                Expect::At(revision) => Some(revision),
            };
            if current != expected {
                return Err(StoreError::Conflict { key: guard.key.clone(), current });
            }
        }
        Ok(())
    }

    fn apply(&mut self, txn: Txn) -> Arc<[Change]> {
        let revision = self.revision.next();
        let changes = txn.writes.into_iter().filter_map(|write| match write {
            Write::Put { key, value, .. } => {
                let previous = self.records.get(&key).cloned();
                let created = previous.as_ref().map_or(revision, |previous| previous.created);
                let record = Record { key: key.clone(), value, created, modified: revision };
                self.records.insert(key, record.clone());
                Some(Change::Put { record, previous })
            }
            Write::Delete { key } => self.records.remove(&key).map(|previous| Change::Delete { previous }),
        });
        let changes = changes.collect();
        self.revision = revision;
        changes
    }

    fn forget_before(&mut self, before: Revision) {
        while self.commits.front().is_some_and(|(batch, _)| batch.revision <= before) {
            if let Some((batch, records)) = self.commits.pop_front() {
                self.oldest = (batch.revision, records);
            }
        }
        self.oldest.0 = self.oldest.0.max(before.min(self.revision));
    }

    fn batches_after(&self, after: Revision, range: &KeyRange) -> Result<Vec<Batch>, StoreError> {
        self.check(after)?;
        let first = self.commits.partition_point(|(batch, _)| batch.revision <= after);
        Ok(self.commits.range(first..).map(|(batch, _)| within(batch, range)).collect())
    }
}

fn within(batch: &Batch, range: &KeyRange) -> Batch {
    if batch.changes.iter().all(|change| range.contains(change.key())) {
        return batch.clone();
    }
    let changes = batch.changes.iter().filter(|change| range.contains(change.key())).cloned().collect();
    Batch { revision: batch.revision, changes }
}

#[async_trait]
impl Store for MemoryStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.read(|state| state.revision))
    }

    async fn get(&self, key: &Key, at: Option<Revision>) -> Result<Option<Record>, StoreError> {
        self.read(|state| Ok(state.at(at)?.0.get(key).cloned()))
    }

    async fn list(
        &self,
        range: &KeyRange,
        at: Option<Revision>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        use std::ops::Bound;
        let (records, revision) = self.read(|state| state.at(at).map(|(map, at)| (map.clone(), at)))?;
        let start = match after {
            Some(after) if *after >= range.start => Bound::Excluded(after.clone()),
            _ => Bound::Included(range.start.clone()),
        };
        let end = range.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = records.range((start, end)).map(|(_, record)| record);
        let limit = if limit == 0 { usize::MAX } else { limit };
        let page = rest.by_ref().take(limit).cloned().collect();
        Ok(Page { records: page, revision, remaining: rest.count() as u64 })
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, StoreError> {
        let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        state.check_guards(&txn)?;
        if txn.writes.is_empty() {
            return Ok(Committed { revision: state.revision });
        }
        let changes = state.apply(txn);
        let revision = state.revision;
        let records = state.records.clone();
        state.commits.push_back((Batch { revision, changes }, records));
        if state.commits.len() > self.shared.keep {
            let oldest = state.commits[0].0.revision;
            state.forget_before(oldest);
        }
        drop(state);
        self.shared.head.send_if_modified(|head| {
            let newer = revision > *head;
            *head = revision.max(*head);
            newer
        });
        Ok(Committed { revision })
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<Changes, StoreError> {
        self.read(|state| state.check(after))?;
        let (store, range, head) = (self.clone(), range.clone(), self.shared.head.subscribe());
        let batches = stream::try_unfold((after, head), move |(after, mut head)| {
            let (store, range) = (store.clone(), range.clone());
            async move {
                loop {
                    let batches = store.read(|state| state.batches_after(after, &range))?;
                    if let Some(last) = batches.last() {
                        let after = last.revision;
                        let batches = stream::iter(batches.into_iter().map(Ok::<_, StoreError>));
                        return Ok(Some((batches, (after, head))));
                    }
                    if head.wait_for(|head| *head > after).await.is_err() {
                        return Err(StoreError::Closed);
                    }
                }
            }
        });
        Ok(futures::TryStreamExt::try_flatten(batches).boxed())
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let mut state = self.shared.state.write().unwrap_or_else(PoisonError::into_inner);
        state.forget_before(before);
        Ok(())
    }
}
