//! The present and the recent past of a store that keeps its records in memory.
//!
//! The records are in a persistent map: a snapshot is a copy of its root, and a commit copies only the nodes that
//! somebody else still holds. The past is the commits themselves, each with what it replaced, so that a read at an
//! older revision undoes the commits since.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use imbl::OrdMap;

use super::{Batch, Change, Changes, Expect, Key, KeyRange, Page, Record, StoreError, Txn, Write};
use crate::meta::Revision;
use crate::signal::Signal;

/// All records at one revision.
pub(super) type Records = OrdMap<Key, Record>;

/// How much of the past a [`Ledger`] remembers; the tighter bound counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// Commits.
    pub(super) commits: usize,
    /// Bytes of values that only the past refers to.
    pub(super) bytes: usize,
}

/// The records as they are, and the commits that led here.
#[derive(Debug)]
pub(super) struct Ledger {
    records: Records,
    revision: Revision,
    /// The oldest revision that can be read: that before the first of `commits`.
    oldest: Revision,
    /// The last commits, oldest first.
    commits: VecDeque<Batch>,
    bytes: usize,
    keep: Keep,
}

/// Records that transactions are checked against and done on.
pub(super) trait Table {
    fn get(&self, key: &Key) -> Option<&Record>;

    /// Writes a record, and tells what it is now and what it was.
    fn put(&mut self, key: Key, value: Bytes, revision: Revision) -> (Record, Option<Record>);

    fn remove(&mut self, key: &Key) -> Option<Record>;
}

impl Table for Records {
    fn get(&self, key: &Key) -> Option<&Record> {
        OrdMap::get(self, key)
    }

    fn put(&mut self, key: Key, value: Bytes, revision: Revision) -> (Record, Option<Record>) {
        let mut record = Record { key, value, created: revision, modified: revision };
        let previous = match self.get_mut(&record.key) {
            Some(current) => {
                record.created = current.created;
                Some(std::mem::replace(current, record.clone()))
            }
            None => self.insert(record.key.clone(), record.clone()),
        };
        (record, previous)
    }

    fn remove(&mut self, key: &Key) -> Option<Record> {
        OrdMap::remove(self, key)
    }
}

/// What transactions make of records that stay as they are: the records that changed, and the keys that are gone.
///
/// Changing a copy of the map instead would copy every node on the way to each key, and count all that they refer to.
#[derive(Debug, Default)]
pub(super) struct Changed(HashMap<Key, Option<Record>>);

impl Changed {
    /// The records as they will be.
    pub(super) fn over<'r>(&'r mut self, base: &'r Records) -> impl Table + 'r {
        Over { base, changed: &mut self.0 }
    }
}

struct Over<'r> {
    base: &'r Records,
    changed: &'r mut HashMap<Key, Option<Record>>,
}

impl Table for Over<'_> {
    fn get(&self, key: &Key) -> Option<&Record> {
        self.changed.get(key).map_or_else(|| self.base.get(key), Option::as_ref)
    }

    fn put(&mut self, key: Key, value: Bytes, revision: Revision) -> (Record, Option<Record>) {
        let previous = Table::get(self, &key).cloned();
        let created = previous.as_ref().map_or(revision, |previous| previous.created);
        let record = Record { key: key.clone(), value, created, modified: revision };
        self.changed.insert(key, Some(record.clone()));
        (record, previous)
    }

    fn remove(&mut self, key: &Key) -> Option<Record> {
        let previous = Table::get(self, key).cloned()?;
        self.changed.insert(key.clone(), None);
        Some(previous)
    }
}

/// Whether every guard of a transaction holds.
pub(super) fn check_guards(records: &impl Table, txn: &Txn) -> Result<(), StoreError> {
    for guard in &txn.guards {
        let current = records.get(&guard.key).map(|record| record.modified);
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

/// Does the writes of a transaction at a revision.
pub(super) fn apply(records: &mut impl Table, writes: Vec<Write>, revision: Revision) -> Batch {
    let changes = writes.into_iter().filter_map(|write| match write {
        Write::Put { key, value, .. } => {
            let (record, previous) = records.put(key, value, revision);
            Some(Change::Put { record, previous })
        }
        Write::Delete { key } => records.remove(&key).map(|previous| Change::Delete { previous }),
    });
    Batch { revision, changes: changes.collect() }
}

impl Ledger {
    /// A ledger that begins with these records at this revision.
    pub(super) fn new(records: Records, revision: Revision, keep: Keep) -> Self {
        Self { records, revision, oldest: revision, commits: VecDeque::new(), bytes: 0, keep }
    }

    pub(super) fn records(&self) -> &Records {
        &self.records
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn oldest(&self) -> Revision {
        self.oldest
    }

    /// Checks and does a transaction. One that changes nothing takes no revision.
    pub(super) fn commit(&mut self, txn: Txn) -> Result<Revision, StoreError> {
        check_guards(&self.records, &txn)?;
        let batch = apply(&mut self.records, txn.writes, self.revision.next());
        if !batch.changes.is_empty() {
            self.revision = batch.revision;
            self.remember(batch);
        }
        Ok(self.revision)
    }

    /// Goes on by commits that were made over this ledger's records.
    pub(super) fn advance(&mut self, batches: Vec<Batch>) {
        for batch in batches {
            for change in batch.changes.iter() {
                match change {
                    Change::Put { record, .. } => {
                        drop(self.records.insert(record.key.clone(), record.clone()))
                    }
                    Change::Delete { previous } => drop(OrdMap::remove(&mut self.records, &previous.key)),
                }
            }
            self.revision = batch.revision;
            self.remember(batch);
        }
    }

    /// Goes on to a revision without a change.
    pub(super) fn skip_to(&mut self, revision: Revision) {
        if revision > self.revision {
            self.revision = revision;
            self.remember(Batch { revision, changes: Arc::new([]) });
        }
    }

    /// Forgets the commits up to and with `before`.
    pub(super) fn forget_before(&mut self, before: Revision) {
        while self.commits.front().is_some_and(|batch| batch.revision <= before) {
            self.forget_first();
        }
        self.oldest = self.oldest.max(before.min(self.revision));
    }

    fn remember(&mut self, batch: Batch) {
        self.bytes += weight(&batch);
        self.commits.push_back(batch);
        while self.commits.len() > self.keep.commits || self.bytes > self.keep.bytes && self.commits.len() > 1
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some(batch) = self.commits.pop_front() {
            self.bytes -= weight(&batch);
            self.oldest = batch.revision;
        }
    }

    /// The commits after a revision.
    pub(super) fn since(&self, at: Revision) -> Result<impl DoubleEndedIterator<Item = &Batch>, StoreError> {
        if at > self.revision {
            return Err(StoreError::Future { requested: at, latest: self.revision });
        }
        if at < self.oldest {
            return Err(StoreError::Compacted { requested: at, oldest: self.oldest });
        }
        let first = self.commits.partition_point(|batch| batch.revision <= at);
        Ok(self.commits.range(first..))
    }

    /// What the keys of a range were at a revision, for those that were written since.
    fn undo(&self, range: &KeyRange, at: Revision) -> Result<BTreeMap<Key, Option<Record>>, StoreError> {
        let mut undo = BTreeMap::new();
        for batch in self.since(at)?.rev() {
            for change in batch.changes.iter().filter(|change| range.contains(change.key())) {
                let previous = match change {
                    Change::Put { previous, .. } => previous.clone(),
                    Change::Delete { previous } => Some(previous.clone()),
                };
                undo.insert(change.key().clone(), previous);
            }
        }
        Ok(undo)
    }
}

fn weight(batch: &Batch) -> usize {
    let previous = |change: &Change| match change {
        Change::Put { previous, .. } => previous.as_ref().map_or(0, |record| record.value.len()),
        Change::Delete { previous } => previous.value.len(),
    };
    batch.changes.iter().map(previous).sum()
}

/// A [`Ledger`] with one writer and many readers and watchers.
#[derive(Debug)]
pub(super) struct Shared {
    ledger: RwLock<Ledger>,
    head: Signal<Head>,
}

/// What watchers wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    revision: Revision,
    closed: bool,
}

/// Where a watcher finds the changes that the ledger has forgotten: those in a range after a revision, oldest first,
/// as many as are convenient but at least one batch.
pub(super) type Older =
    Arc<dyn Fn(KeyRange, Revision) -> BoxFuture<'static, Result<Vec<Batch>, StoreError>> + Send + Sync>;

impl Shared {
    pub(super) fn new(ledger: Ledger) -> Arc<Self> {
        let head = Signal::new(Head { revision: ledger.revision, closed: false });
        Arc::new(Self { ledger: RwLock::new(ledger), head })
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.ledger.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the ledger, then wakes the watchers if it has gone on.
    pub(super) fn write<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = self.ledger.write().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut ledger);
        let revision = ledger.revision;
        drop(ledger);
        self.head.change(|head| {
            let newer = revision > head.revision;
            head.revision = revision.max(head.revision);
            newer
        });
        outcome
    }

    /// Ends every watch.
    pub(super) fn close(&self) {
        self.head.change(|head| {
            head.closed = true;
            true
        });
    }

    pub(super) fn get(&self, key: &Key, at: Option<Revision>) -> Result<Option<Record>, StoreError> {
        self.read(|ledger| {
            let mut record = ledger.records.get(key);
            if let Some(at) = at.filter(|at| *at != ledger.revision) {
                for batch in ledger.since(at)?.rev() {
                    match batch.changes.iter().find(|change| change.key() == key) {
                        Some(Change::Put { previous, .. }) => record = previous.as_ref(),
                        Some(Change::Delete { previous }) => record = Some(previous),
                        None => {}
                    }
                }
            }
            Ok(record.cloned())
        })
    }

    pub(super) fn list(
        &self,
        range: &KeyRange,
        at: Option<Revision>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let range = rest_of(range, after);
        let (records, undo, revision) = self.read(|ledger| {
            let at = at.unwrap_or(ledger.revision);
            Ok::<_, StoreError>((ledger.records.clone(), ledger.undo(&range, at)?, at))
        })?;
        let bounds =
            (Bound::Included(&range.start), range.end.as_ref().map_or(Bound::Unbounded, Bound::Excluded));
        let present = records.range::<_, Key>(bounds).map(|(_, record)| record);
        if undo.is_empty() {
            return Ok(page(present.cloned(), limit, revision));
        }
        let untouched = present.filter(|record| !undo.contains_key(&record.key)).cloned();
        Ok(page(merge(untouched, undo.values().flatten().cloned()), limit, revision))
    }

    /// The changes in a range after a revision, first those of history, then each as it is committed.
    pub(super) fn follow(
        self: &Arc<Self>,
        range: &KeyRange,
        after: Revision,
        older: Option<Older>,
    ) -> Changes {
        let (shared, range) = (self.clone(), range.clone());
        let batches = stream::try_unfold(after, move |after| {
            let (shared, range, older) = (shared.clone(), range.clone(), older.clone());
            async move {
                loop {
                    let found = shared.read(|ledger| Ok(narrow(ledger.since(after)?.cloned(), &range)));
                    let batches = match (found, &older) {
                        (Err(StoreError::Compacted { .. }), Some(older)) => {
                            older(range.clone(), after).await?
                        }
                        (found, _) => found?,
                    };
                    if let Some(last) = batches.last() {
                        let after = last.revision;
                        return Ok(Some((stream::iter(batches.into_iter().map(Ok)), after)));
                    }
                    let head = shared.head.until(|head| head.closed || head.revision > after).await;
                    if head.closed && head.revision <= after {
                        return Err(StoreError::Closed);
                    }
                }
            }
        });
        batches.try_flatten().boxed()
    }
}

/// What is left of a range after a key.
pub(super) fn rest_of(range: &KeyRange, after: Option<&Key>) -> KeyRange {
    match after {
        // The next text after a text is that text and a NUL.
        Some(after) if *after >= range.start => {
            KeyRange { start: Key::new(format!("{after}\0")), end: range.end.clone() }
        }
        _ => range.clone(),
    }
}

/// The first `limit` of some records and how many follow.
pub(super) fn page(records: impl Iterator<Item = Record>, limit: usize, revision: Revision) -> Page {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut records = records;
    let page = records.by_ref().take(limit).collect();
    Page { records: page, revision, remaining: records.count() as u64 }
}

/// Two runs of records in key order as one.
pub(super) fn merge(
    left: impl Iterator<Item = Record>,
    right: impl Iterator<Item = Record>,
) -> impl Iterator<Item = Record> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(a), Some(b)) if b.key < a.key => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    })
}

/// What of some commits falls in a range. Of those of which nothing does, only a last one stays, as progress.
pub(super) fn narrow(batches: impl Iterator<Item = Batch>, range: &KeyRange) -> Vec<Batch> {
    let mut kept: Vec<Batch> = Vec::new();
    for batch in batches {
        let batch = within(batch, range);
        match kept.last_mut() {
            Some(last) if last.changes.is_empty() => *last = batch,
            _ => kept.push(batch),
        }
    }
    kept
}

fn within(batch: Batch, range: &KeyRange) -> Batch {
    if batch.changes.iter().all(|change| range.contains(change.key())) {
        return batch;
    }
    let changes = batch.changes.iter().filter(|change| range.contains(change.key())).cloned().collect();
    Batch { revision: batch.revision, changes }
}
