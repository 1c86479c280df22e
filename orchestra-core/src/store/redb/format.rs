//! What the file holds, byte by byte. All numbers are little-endian.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | `format` | the version of this layout, a `u64` |
//! | `meta` | `state` | [`State`] |
//! | `records` | key | the durable record |
//! | `history` | key, revision | the durable record that the commit of this revision replaced or deleted |
//! | `changes` | revision | when it was committed, and the keys that it wrote and deleted |
//! | `volatile` | prefix | nothing: keys that begin so have been written without being stored |
//!
//! A record carries a checksum over its key and content, since redb does not verify a page that it reads.

use bytes::Bytes;
use jiff::Timestamp;
use redb::TableDefinition;

use crate::meta::Revision;
use crate::store::{Key, Record, StoreError};

/// The version of this layout.
pub(super) const FORMAT: u64 = 1;

pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const RECORDS: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("records");
pub(super) const HISTORY: TableDefinition<'static, (&str, u64), &[u8]> = TableDefinition::new("history");
pub(super) const CHANGES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("changes");
pub(super) const VOLATILE: TableDefinition<'static, &str, ()> = TableDefinition::new("volatile");

/// The counters, written with every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The last durable commit.
    pub(super) revision: Revision,
    /// Revisions up to this one may have been given to volatile commits, which are not in the file.
    pub(super) reserved: Revision,
    /// The oldest revision that can be read.
    pub(super) oldest: Revision,
    /// The bytes of `history` and `changes`, about.
    pub(super) history_bytes: u64,
    /// When the last commit was made, in milliseconds since 1970.
    pub(super) time: i64,
    /// How many times the file was written, which tells one write from the next.
    pub(super) writes: u64,
}

impl State {
    pub(super) fn encode(&self) -> Vec<u8> {
        let time = u64::from_le_bytes(self.time.to_le_bytes());
        let fields = [self.revision.0, self.reserved.0, self.oldest.0, self.history_bytes, time, self.writes];
        fields.iter().flat_map(|field| field.to_le_bytes()).collect()
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut next = || take_u64(&mut bytes);
        let state = Self {
            revision: Revision(next()?),
            reserved: Revision(next()?),
            oldest: Revision(next()?),
            history_bytes: next()?,
            time: i64::from_le_bytes(next()?.to_le_bytes()),
            writes: next()?,
        };
        bytes.is_empty().then_some(state)
    }
}

/// Writes a record without its key.
pub(super) fn encode_record(record: &Record, into: &mut Vec<u8>) {
    into.clear();
    into.extend(checksum(&record.key, record.created, record.modified, &record.value).to_le_bytes());
    into.extend(record.created.0.to_le_bytes());
    into.extend(record.modified.0.to_le_bytes());
    into.extend(&record.value);
}

/// Reads a record back.
pub(super) fn decode_record(key: &str, mut bytes: &[u8]) -> Result<Record, StoreError> {
    let damaged = || StoreError::Damaged(format!("the record {key} does not match its checksum"));
    let (sum, rest) = bytes.split_first_chunk().ok_or_else(damaged)?;
    bytes = rest;
    let created = Revision(take_u64(&mut bytes).ok_or_else(damaged)?);
    let modified = Revision(take_u64(&mut bytes).ok_or_else(damaged)?);
    let key = Key::new(key);
    if checksum(&key, created, modified, bytes) != u32::from_le_bytes(*sum) {
        return Err(damaged());
    }
    Ok(Record { key, value: Bytes::copy_from_slice(bytes), created, modified })
}

fn checksum(key: &Key, created: Revision, modified: Revision, value: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(key.as_str().as_bytes());
    sum.update(&created.0.to_le_bytes());
    sum.update(&modified.0.to_le_bytes());
    sum.update(value);
    sum.finalize()
}

/// One commit as `changes` has it: its time, and each key with whether it was put or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) time: i64,
    pub(super) changes: Vec<(Op, Key)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Put,
    Delete,
}

impl Row {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.time.to_le_bytes().to_vec();
        for (op, key) in &self.changes {
            bytes.push(match op {
                Op::Put => b'+',
                Op::Delete => b'-',
            });
            let key = key.as_str().as_bytes();
            bytes.extend(u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend(key);
        }
        bytes
    }

    pub(super) fn decode(revision: Revision, bytes: &[u8]) -> Result<Self, StoreError> {
        Self::parse(bytes)
            .ok_or_else(|| StoreError::Damaged(format!("the changes of revision {revision} cannot be read")))
    }

    fn parse(mut bytes: &[u8]) -> Option<Self> {
        let time = i64::from_le_bytes(take_u64(&mut bytes)?.to_le_bytes());
        let mut changes = Vec::new();
        while let Some((op, rest)) = bytes.split_first() {
            let op = match op {
                b'+' => Op::Put,
                b'-' => Op::Delete,
                _ => return None,
            };
            let (length, rest) = rest.split_first_chunk()?;
            let (key, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            changes.push((op, Key::new(std::str::from_utf8(key).ok()?)));
            bytes = rest;
        }
        Some(Self { time, changes })
    }
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}

/// A moment as the file has it.
pub(super) fn millis(time: Timestamp) -> i64 {
    time.as_millisecond()
}

/// The part of a key that is remembered when its record is not stored: all up to its last slash.
pub(super) fn directory(key: &Key) -> &str {
    let text = key.as_str();
    text.rfind('/').map_or("", |slash| &text[..=slash])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_row_is_read_as_it_was_written(time: i64, keys in prop::collection::vec((any::<bool>(), ".*"), 0..5)) {
            let op = |put| if put { Op::Put } else { Op::Delete };
            let changes = keys.into_iter().map(|(put, key)| (op(put), Key::new(key))).collect();
            let row = Row { time, changes };
            prop_assert_eq!(Row::decode(Revision(1), &row.encode()).unwrap(), row);
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes: Vec<u8>) {
            let _ = (Row::parse(&bytes), State::decode(&bytes), decode_record("/k", &bytes));
        }

        #[test]
        fn a_flipped_bit_in_a_record_is_found(value: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
            let record = Record {
                key: Key::new("/pods/a"),
                value: value.into(),
                created: Revision(3),
                modified: Revision(9),
            };
            let mut bytes = Vec::new();
            encode_record(&record, &mut bytes);
            prop_assert_eq!(decode_record("/pods/a", &bytes).unwrap(), record);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert!(decode_record("/pods/a", &bytes).is_err());
        }
    }

    #[test]
    fn the_counters_are_read_as_they_were_written() {
        let state = State {
            revision: Revision(1),
            reserved: Revision(2),
            oldest: Revision(3),
            history_bytes: 4,
            time: -5,
            writes: 6,
        };
        assert_eq!(State::decode(&state.encode()), Some(state));
    }
}
