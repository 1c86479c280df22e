//! One group of transactions: what they come to, and writing it to the file under a single fsync.

use std::collections::BTreeSet;

use imbl::OrdSet;
use redb::{ReadableTable, Table, WriteTransaction};

use super::disk::Disk;
use super::error::{storage, translate};
use super::format::{CHANGES, HISTORY, META, Op, RECORDS, Row, State, VOLATILE, directory, encode_record};
use super::past::Past;
use crate::meta::Revision;
use crate::store::ledger::{Changed, Records, apply, check_guards};
use crate::store::{Batch, Change, Durability, Key, Record, StoreError, Txn, Write};

/// How many revisions are set aside at once for commits that are not in the file.
const BLOCK: u64 = 1_000_000;

/// How many commits of the past are dropped with each group, over those that it adds.
const TRIM: usize = 256;

/// How far back the past is kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Commits made before this are dropped, in milliseconds since 1970.
    pub(super) since: i64,
    /// Above this many bytes of past the oldest is dropped.
    pub(super) bytes: u64,
}

/// What some transactions make of the store, before anybody sees it.
pub(super) struct Group {
    changed: Changed,
    pub(super) revision: Revision,
    pub(super) batches: Vec<Batch>,
    /// The keys whose records are in memory only.
    pub(super) unsaved: OrdSet<Key>,
    /// Prefixes of keys that are written without being stored for the first time.
    pub(super) volatile: BTreeSet<String>,
    rows: Vec<(Revision, Row)>,
    writes: Vec<DiskWrite>,
}

struct DiskWrite {
    key: Key,
    revision: Revision,
    put: Option<Record>,
}

impl Group {
    pub(super) fn new(revision: Revision, unsaved: OrdSet<Key>) -> Self {
        Self {
            changed: Changed::default(),
            revision,
            batches: Vec::new(),
            unsaved,
            volatile: BTreeSet::new(),
            rows: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// Checks and does a transaction over the records that readers see.
    pub(super) fn add(
        &mut self,
        txn: Txn,
        time: i64,
        base: &Records,
        past: &Past,
    ) -> Result<Revision, StoreError> {
        let mut records = self.changed.over(base);
        check_guards(&records, &txn)?;
        let fleeting: BTreeSet<Key> = txn.writes.iter().filter_map(volatile_key).cloned().collect();
        let batch = apply(&mut records, txn.writes, self.revision.next());
        drop(records);
        if batch.changes.is_empty() {
            return Ok(self.revision);
        }
        self.revision = batch.revision;
        let changes: Vec<_> =
            batch.changes.iter().filter_map(|change| self.keep(change, &fleeting, past)).collect();
        if !changes.is_empty() {
            self.rows.push((self.revision, Row { time, changes }));
        }
        self.batches.push(batch);
        Ok(self.revision)
    }

    /// Leaves out the revisions up to one.
    pub(super) fn skip_to(&mut self, revision: Revision) {
        if revision > self.revision {
            self.revision = revision;
            self.batches.push(Batch { revision, changes: [].into() });
        }
    }

    /// Notes what of a change the file must have.
    fn keep(&mut self, change: &Change, fleeting: &BTreeSet<Key>, past: &Past) -> Option<(Op, Key)> {
        let key = change.key().clone();
        let (op, put) = match change {
            Change::Put { previous, .. } if fleeting.contains(&key) => {
                let prefix = directory(&key);
                if !past.is_volatile(prefix) {
                    self.volatile.insert(prefix.to_owned());
                }
                if previous.is_none() {
                    self.unsaved.insert(key);
                }
                return None;
            }
            Change::Put { record, .. } => {
                self.unsaved.remove(&key);
                (Op::Put, Some(record.clone()))
            }
            Change::Delete { .. } if self.unsaved.remove(&key).is_some() => return None,
            Change::Delete { .. } => (Op::Delete, None),
        };
        self.writes.push(DiskWrite { key: key.clone(), revision: self.revision, put });
        Some((op, key))
    }

    /// Whether the file must be written before anybody may see the group.
    pub(super) fn needs_disk(&self, state: &State) -> bool {
        !self.rows.is_empty()
            || !self.volatile.is_empty()
            || self.revision > state.reserved && self.revision > state.revision
    }

    /// The counters after this group is written to a file that has `state`.
    fn state_after(&self, state: &State) -> State {
        let mut after = State { writes: state.writes + 1, ..*state };
        if let Some((revision, row)) = self.rows.last() {
            after.revision = *revision;
            after.time = row.time;
        }
        if self.revision > after.revision && self.revision > after.reserved {
            after.reserved = Revision(self.revision.0 + BLOCK);
        }
        after
    }

    /// Writes the group, and drops some of the past that is over its limits.
    ///
    /// Returns the counters as the file has them if that went well, and whether it did, and then whether more of
    /// the past is over its limits. After an error the database must be opened again to see where it stands.
    pub(super) fn write(
        &mut self,
        disk: &Disk,
        state: &State,
        limits: Limits,
    ) -> (State, Result<bool, StoreError>) {
        let mut after = self.state_after(state);
        let written = disk.begin_write().and_then(|txn| {
            let more = self.fill(&txn, &mut after, limits)?;
            txn.commit().map_err(translate)?;
            Ok(more)
        });
        (after, written)
    }

    fn fill(
        &mut self,
        txn: &WriteTransaction,
        state: &mut State,
        limits: Limits,
    ) -> Result<bool, StoreError> {
        let mut records = txn.open_table(RECORDS).map_err(translate)?;
        let mut past = PastTables {
            history: txn.open_table(HISTORY).map_err(translate)?,
            changes: txn.open_table(CHANGES).map_err(translate)?,
        };
        // In order of key neighbours share pages; a key written twice must keep its order.
        self.writes.sort_by(|a, b| a.key.cmp(&b.key).then(a.revision.cmp(&b.revision)));
        let mut buffer = Vec::new();
        for write in &self.writes {
            let key = write.key.as_str();
            let replaced = match &write.put {
                Some(record) => {
                    encode_record(record, &mut buffer);
                    records.insert(key, &buffer[..])
                }
                None => records.remove(key),
            };
            if let Some(replaced) = replaced.map_err(storage)? {
                state.history_bytes += past.put(key, write.revision, replaced.value())?;
            }
        }
        for (revision, row) in &self.rows {
            let row = row.encode();
            state.history_bytes += row.len() as u64;
            past.changes.insert(revision.0, &row[..]).map_err(storage)?;
        }
        let more = past.trim(state, limits, 2 * self.rows.len() + TRIM)?;
        let mut volatile = txn.open_table(VOLATILE).map_err(translate)?;
        for prefix in &self.volatile {
            volatile.insert(prefix.as_str(), ()).map_err(storage)?;
        }
        let mut meta = txn.open_table(META).map_err(translate)?;
        meta.insert("state", &state.encode()[..]).map_err(storage)?;
        Ok(more)
    }
}

/// Writes what was in memory only, as the file is about to be closed.
pub(super) fn write_last(disk: &Disk, state: &State, fleeting: &[Record]) -> Result<(), StoreError> {
    let txn = disk.begin_write()?;
    {
        let mut records = txn.open_table(RECORDS).map_err(translate)?;
        let mut buffer = Vec::new();
        for record in fleeting {
            encode_record(record, &mut buffer);
            records.insert(record.key.as_str(), &buffer[..]).map_err(storage)?;
        }
        let mut meta = txn.open_table(META).map_err(translate)?;
        meta.insert("state", &state.encode()[..]).map_err(storage)?;
    }
    txn.commit().map_err(translate)
}

fn volatile_key(write: &Write) -> Option<&Key> {
    match write {
        Write::Put { key, durability: Durability::Volatile, .. } => Some(key),
        _ => None,
    }
}

struct PastTables<'txn> {
    history: Table<'txn, (&'static str, u64), &'static [u8]>,
    changes: Table<'txn, u64, &'static [u8]>,
}

impl PastTables<'_> {
    fn put(&mut self, key: &str, revision: Revision, replaced: &[u8]) -> Result<u64, StoreError> {
        self.history.insert((key, revision.0), replaced).map_err(storage)?;
        Ok((key.len() + replaced.len()) as u64)
    }

    /// Drops at most `most` commits that are compacted, too old, or too many. True if that left some.
    fn trim(&mut self, state: &mut State, limits: Limits, most: usize) -> Result<bool, StoreError> {
        for _ in 0..most {
            let Some(first) = self.changes.first().map_err(storage)? else { return Ok(false) };
            let revision = Revision(first.0.value());
            let (length, row) = (first.1.value().len() as u64, Row::decode(revision, first.1.value())?);
            drop(first);
            let surplus = row.time < limits.since || state.history_bytes > limits.bytes;
            if revision > state.oldest && !surplus {
                return Ok(false);
            }
            let mut freed = length;
            for (_, key) in &row.changes {
                let removed = self.history.remove((key.as_str(), revision.0)).map_err(storage)?;
                freed += removed.map_or(0, |removed| (key.as_str().len() + removed.value().len()) as u64);
            }
            self.changes.remove(revision.0).map_err(storage)?;
            state.history_bytes = state.history_bytes.saturating_sub(freed);
            state.oldest = state.oldest.max(revision);
        }
        Ok(true)
    }
}
