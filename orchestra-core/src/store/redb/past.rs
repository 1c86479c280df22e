//! Reading the past from the file: what memory has forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use redb::{ReadOnlyTable, ReadTransaction};

use super::disk::{Disk, read_state};
use super::error::{storage, translate};
use super::format::{CHANGES, HISTORY, Op, RECORDS, Row, decode_record, directory};
use crate::meta::Revision;
use crate::store::ledger::{Ledger, Records, Shared, merge, narrow, page};
use crate::store::{Batch, Change, Key, KeyRange, Page, Record, StoreError};

/// How many commits are read from the file at once.
const CHUNK: usize = 512;

/// The past on disk, of the durable records.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) disk: Arc<Disk>,
    pub(super) shared: Arc<Shared>,
    /// The beginnings of keys that have been written without being stored. Below what memory remembers, the file
    /// does not know all that happened to them.
    volatile: RwLock<BTreeSet<String>>,
}

impl Past {
    pub(super) fn new(disk: Arc<Disk>, shared: Arc<Shared>, volatile: Vec<String>) -> Self {
        Self { disk, shared, volatile: RwLock::new(volatile.into_iter().collect()) }
    }

    /// Whether keys that begin so are known to be volatile.
    pub(super) fn is_volatile(&self, prefix: &str) -> bool {
        self.volatile.read().unwrap_or_else(PoisonError::into_inner).contains(prefix)
    }

    /// The records under keys that are known to be volatile.
    pub(super) fn fleeting(&self, records: &Records) -> Vec<Record> {
        let prefixes = self.volatile.read().unwrap_or_else(PoisonError::into_inner);
        let below = |prefix: &String| {
            let all = records.range(Key::new(prefix.as_str())..).map(|(_, record)| record);
            let prefix = prefix.clone();
            all.take_while(move |record| record.key.as_str().starts_with(&prefix))
        };
        // A directory may hold another: each record once, as of its own.
        let own = |prefix: &String, record: &&Record| directory(&record.key) == prefix;
        prefixes
            .iter()
            .flat_map(|prefix| below(prefix).filter(move |record| own(prefix, record)).cloned())
            .collect()
    }

    pub(super) fn add_volatile(&self, prefixes: BTreeSet<String>) {
        self.volatile.write().unwrap_or_else(PoisonError::into_inner).extend(prefixes);
    }

    /// Refuses to answer for keys of which the file does not know all.
    fn check_range(&self, range: &KeyRange, at: Revision) -> Result<(), StoreError> {
        let meets = |prefix: &String| {
            let keys = KeyRange::prefix(prefix);
            let begins = range.end.as_ref().is_none_or(|end| keys.start < *end);
            begins && keys.end.is_none_or(|end| range.start < end)
        };
        if self.volatile.read().unwrap_or_else(PoisonError::into_inner).iter().any(meets) {
            let oldest = self.shared.read(Ledger::oldest);
            return Err(StoreError::Compacted { requested: at, oldest });
        }
        Ok(())
    }

    pub(super) fn get(&self, key: &Key, at: Revision) -> Result<Option<Record>, StoreError> {
        if self.is_volatile(directory(key)) {
            let oldest = self.shared.read(Ledger::oldest);
            return Err(StoreError::Compacted { requested: at, oldest });
        }
        let tables = Tables::open(&self.disk, at)?;
        let record = match tables.replaced_after(key, at)? {
            Some((_, replaced)) => Some(replaced),
            None => tables.current(key)?,
        };
        Ok(record.filter(|record| record.created <= at))
    }

    pub(super) fn list(&self, range: &KeyRange, at: Revision, limit: usize) -> Result<Page, StoreError> {
        self.check_range(range, at)?;
        let tables = Tables::open(&self.disk, at)?;
        let replaced = tables.all_replaced_after(range, at)?;
        let bounds = (
            Bound::Included(range.start.as_str()),
            range.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_str())),
        );
        let mut current = Vec::new();
        for entry in tables.records.range::<&str>(bounds).map_err(storage)? {
            let (key, value) = entry.map_err(storage)?;
            if !replaced.contains_key(key.value()) {
                current.push(decode_record(key.value(), value.value())?);
            }
        }
        let records = merge(current.into_iter(), replaced.into_values());
        Ok(page(records.filter(|record| record.created <= at), limit, at))
    }

    /// The changes in a range after a revision: some from the file, or word that there are none up to where memory
    /// begins.
    pub(super) fn changes(&self, range: &KeyRange, after: Revision) -> Result<Vec<Batch>, StoreError> {
        let memory = self.shared.read(Ledger::oldest);
        if after >= memory {
            return Ok(Vec::new());
        }
        self.check_range(range, after)?;
        let tables = Tables::open(&self.disk, after)?;
        let mut batches = Vec::new();
        for row in tables.changes.range(after.next().0..=memory.0).map_err(storage)?.take(CHUNK) {
            let (revision, row) = row.map_err(storage)?;
            let revision = Revision(revision.value());
            batches.push(tables.batch(revision, Row::decode(revision, row.value())?, range)?);
        }
        if batches.len() < CHUNK && batches.last().is_none_or(|last| last.revision < memory) {
            batches.push(Batch { revision: memory, changes: Arc::new([]) });
        }
        Ok(narrow(batches.into_iter(), range))
    }

    /// When a durable commit was made.
    pub(super) fn time_of(&self, revision: Revision) -> Result<Option<Timestamp>, StoreError> {
        let txn = self.disk.begin_read()?;
        let row = txn.open_table(CHANGES).map_err(translate)?.get(revision.0).map_err(storage)?;
        let row = row.map(|row| Row::decode(revision, row.value())).transpose()?;
        Ok(row.and_then(|row| Timestamp::from_millisecond(row.time).ok()))
    }
}

struct Tables {
    records: ReadOnlyTable<&'static str, &'static [u8]>,
    history: ReadOnlyTable<(&'static str, u64), &'static [u8]>,
    changes: ReadOnlyTable<u64, &'static [u8]>,
}

impl Tables {
    /// The tables as they are now, if the past is kept back to a revision.
    fn open(disk: &Disk, at: Revision) -> Result<Self, StoreError> {
        let txn: ReadTransaction = disk.begin_read()?;
        let oldest = read_state(&txn)?.oldest;
        if at < oldest {
            return Err(StoreError::Compacted { requested: at, oldest });
        }
        Ok(Self {
            records: txn.open_table(RECORDS).map_err(translate)?,
            history: txn.open_table(HISTORY).map_err(translate)?,
            changes: txn.open_table(CHANGES).map_err(translate)?,
        })
    }

    fn current(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        let value = self.records.get(key.as_str()).map_err(storage)?;
        value.map(|value| decode_record(key.as_str(), value.value())).transpose()
    }

    /// The first record of a key that was replaced or deleted after a revision, and when that was.
    fn replaced_after(&self, key: &Key, at: Revision) -> Result<Option<(Revision, Record)>, StoreError> {
        let later = (key.as_str(), at.next().0)..=(key.as_str(), u64::MAX);
        let Some(entry) = self.history.range(later).map_err(storage)?.next() else {
            return Ok(None);
        };
        let (id, value) = entry.map_err(storage)?;
        Ok(Some((Revision(id.value().1), decode_record(key.as_str(), value.value())?)))
    }

    fn all_replaced_after(
        &self,
        range: &KeyRange,
        at: Revision,
    ) -> Result<BTreeMap<String, Record>, StoreError> {
        let end = range.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded((end.as_str(), 0)));
        let bounds = (Bound::Included((range.start.as_str(), 0)), end);
        let mut replaced = BTreeMap::new();
        for entry in self.history.range::<(&str, u64)>(bounds).map_err(storage)? {
            let (id, value) = entry.map_err(storage)?;
            let (key, revision) = id.value();
            if revision > at.0 && !replaced.contains_key(key) {
                replaced.insert(key.to_owned(), decode_record(key, value.value())?);
            }
        }
        Ok(replaced)
    }

    /// What a commit did to the keys of a range.
    fn batch(&self, revision: Revision, row: Row, range: &KeyRange) -> Result<Batch, StoreError> {
        let mut changes = Vec::new();
        for (op, key) in row.changes.into_iter().filter(|(_, key)| range.contains(key)) {
            let lost =
                || StoreError::Damaged(format!("{key} at revision {revision} is missing from its history"));
            let value = self.history.get((key.as_str(), revision.0)).map_err(storage)?;
            let previous = value.map(|value| decode_record(key.as_str(), value.value())).transpose()?;
            changes.push(match op {
                Op::Delete => Change::Delete { previous: previous.ok_or_else(lost)? },
                Op::Put => {
                    let later = self.replaced_after(&key, revision)?.map(|(_, record)| record);
                    let record = match later {
                        Some(record) => record,
                        None => self.current(&key)?.ok_or_else(lost)?,
                    };
                    Change::Put { record, previous }
                }
            });
        }
        Ok(Batch { revision, changes: changes.into() })
    }
}
