//! Labels as small integers.
//!
//! One table for the whole process gives every key and every pair of key and value that is in use a number, and
//! counts the users: label sets, compiled selectors and index entries. A number is given back when its last user is
//! dropped, so the table is never larger than what is alive, however many labels come and go. It is one table, and
//! not one for each cluster, so that label sets and selectors need no table passed along to be compared, and so
//! that a thousand simulated clusters share what they have in common. Nothing that anyone can observe depends on
//! which number a label was given.
//!
//! Looking up a label that is known takes a shared lock and one hash; a lock is exclusive only while a label that
//! nobody used is added, or the last user of one goes.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::requirement::number;

static TABLE: LazyLock<RwLock<Table>> = LazyLock::new(RwLock::default);

/// How many different labels are in use in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interned {
    /// Different keys.
    pub keys: usize,
    /// Different pairs of key and value.
    pub pairs: usize,
}

impl Interned {
    /// The numbers of this moment.
    pub fn now() -> Self {
        let table = read();
        Interned { keys: table.keys.index.len(), pairs: table.pairs.index.len() }
    }
}

/// A counted use of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key(u32);

/// A counted use of a pair, with the number of its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair {
    key: u32,
    pair: u32,
}

impl Key {
    pub(super) fn new(text: &str) -> Self {
        let known = read().find_key(text);
        Key(known.unwrap_or_else(|| write().add_key(text)))
    }

    pub(super) fn id(&self) -> u32 {
        self.0
    }
}

impl Pair {
    /// Calls for every pair in order, with one lock for all that are known.
    pub(super) fn all<'a>(pairs: impl ExactSizeIterator<Item = (&'a str, &'a str)>) -> Vec<Pair> {
        let mut found = Vec::with_capacity(pairs.len());
        let mut pairs = pairs.peekable();
        {
            let table = read();
            while let Some(pair) = pairs.peek().and_then(|(key, value)| table.find_pair(key, value)) {
                found.push(pair);
                pairs.next();
            }
        }
        if pairs.peek().is_some() {
            let mut table = write();
            found.extend(pairs.map(|(key, value)| table.add_pair(key, value)));
        }
        found
    }

    pub(super) fn new(key: &str, value: &str) -> Self {
        let known = read().find_pair(key, value);
        known.unwrap_or_else(|| write().add_pair(key, value))
    }

    pub(super) fn id(&self) -> u32 {
        self.pair
    }

    pub(super) fn key(&self) -> u32 {
        self.key
    }

    /// The value as a number, if it is one.
    pub(super) fn number(&self) -> Option<i64> {
        read().pairs.get(self.pair).and_then(|entry| entry.number)
    }

    /// Whether it is the pair of these texts.
    pub(super) fn is(&self, key: &str, value: &str) -> bool {
        let table = read();
        table.pairs.get(self.pair).is_some_and(|entry| *entry.value == *value)
            && table.keys.get(self.key).is_some_and(|entry| *entry.text == *key)
    }

    /// Whether it is a pair of this key.
    pub(super) fn has_key(&self, key: &str) -> bool {
        read().keys.get(self.key).is_some_and(|entry| *entry.text == *key)
    }

    /// The texts of key and value.
    pub(super) fn text(&self) -> (String, String) {
        let table = read();
        let value = table.pairs.get(self.pair).map_or("", |entry| &entry.value);
        let key = table.keys.get(self.key).map_or("", |entry| &entry.text);
        (key.to_owned(), value.to_owned())
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        read().keys.hold(self.0);
        Key(self.0)
    }
}

impl Clone for Pair {
    fn clone(&self) -> Self {
        read().pairs.hold(self.pair);
        Pair { key: self.key, pair: self.pair }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if read().keys.release(self.0) {
            write().sweep_key(self.0);
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if read().pairs.release(self.pair) {
            write().sweep_pair(self.pair);
        }
    }
}

fn read() -> RwLockReadGuard<'static, Table> {
    TABLE.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, Table> {
    TABLE.write().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Table {
    hasher: RandomState,
    keys: Slots<KeyEntry>,
    pairs: Slots<PairEntry>,
}

struct KeyEntry {
    text: Box<str>,
}

struct PairEntry {
    key: u32,
    value: Box<str>,
    number: Option<i64>,
}

impl Table {
    fn find_key(&self, text: &str) -> Option<u32> {
        let same = |entry: &KeyEntry| *entry.text == *text;
        self.keys.find(self.hasher.hash_one(text), same).map(|(id, _)| id)
    }

    fn find_pair(&self, key: &str, value: &str) -> Option<Pair> {
        let same = |entry: &PairEntry| {
            *entry.value == *value && self.keys.get(entry.key).is_some_and(|found| *found.text == *key)
        };
        let (pair, entry) = self.pairs.find(self.hasher.hash_one((key, value)), same)?;
        Some(Pair { key: entry.key, pair })
    }

    /// Another thread may have added it since it was not found, so this looks again.
    fn add_key(&mut self, text: &str) -> u32 {
        if let Some(id) = self.find_key(text) {
            return id;
        }
        self.keys.add(self.hasher.hash_one(text), KeyEntry { text: text.into() })
    }

    fn add_pair(&mut self, key: &str, value: &str) -> Pair {
        if let Some(pair) = self.find_pair(key, value) {
            return pair;
        }
        let hash = self.hasher.hash_one((key, value));
        let key = self.add_key(key);
        let pair = self.pairs.add(hash, PairEntry { key, value: value.into(), number: number(value) });
        Pair { key, pair }
    }

    fn sweep_key(&mut self, id: u32) {
        self.keys.sweep(id);
    }

    fn sweep_pair(&mut self, id: u32) {
        if let Some(entry) = self.pairs.sweep(id)
            && self.keys.release(entry.key)
        {
            self.keys.sweep(entry.key);
        }
    }
}

/// Numbered entries with counts of their users, found by hash.
struct Slots<T> {
    entries: Vec<Slot<T>>,
    index: HashTable<u32>,
    free: Vec<u32>,
}

struct Slot<T> {
    users: AtomicU32,
    hash: u64,
    entry: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { entries: Vec::new(), index: HashTable::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    fn get(&self, id: u32) -> Option<&T> {
        self.entries.get(id as usize)?.entry.as_ref()
    }

    /// Finds an entry and counts one more user of it.
    fn find(&self, hash: u64, same: impl Fn(&T) -> bool) -> Option<(u32, &T)> {
        let id = *self.index.find(hash, |&id| self.get(id).is_some_and(&same))?;
        self.hold(id);
        Some((id, self.get(id)?))
    }

    fn hold(&self, id: u32) {
        if let Some(slot) = self.entries.get(id as usize) {
            slot.users.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts one user less; true if it was the last.
    fn release(&self, id: u32) -> bool {
        self.entries.get(id as usize).is_some_and(|slot| slot.users.fetch_sub(1, Ordering::AcqRel) == 1)
    }

    /// Adds an entry with one user.
    fn add(&mut self, hash: u64, entry: T) -> u32 {
        let slot = Slot { users: AtomicU32::new(1), hash, entry: Some(entry) };
        let id = match self.free.pop() {
            Some(id) => id,
            None => u32::try_from(self.entries.len()).expect("fewer labels than fit the memory"),
        };
        match self.entries.get_mut(id as usize) {
            Some(place) => *place = slot,
            None => self.entries.push(slot),
        }
        let entries = &self.entries;
        self.index.insert_unique(hash, id, |&id| entries.get(id as usize).map_or(0, |slot| slot.hash));
        id
    }

    /// Takes an entry out if it still is without a user: it may have found one again, or be gone already, between
    /// the moment its last user left and the moment the table was locked.
    fn sweep(&mut self, id: u32) -> Option<T> {
        let slot = self.entries.get_mut(id as usize)?;
        if *slot.users.get_mut() != 0 {
            return None;
        }
        let entry = slot.entry.take()?;
        if let Ok(found) = self.index.find_entry(slot.hash, |&found| found == id) {
            found.remove();
        }
        self.free.push(id);
        Some(entry)
    }
}
