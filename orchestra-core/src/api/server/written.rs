//! What this server encoded itself, on its way through the store to the caches: it is not read again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::{Key, Record};
use crate::watch::Entry;

/// Objects that are being committed. The revision is not known yet, so they are known by their key and their bytes.
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<HashMap<Key, Vec<Arc<Entry>>>>);

/// An object is being committed for as long as this is held.
pub(super) struct Commit<'w> {
    written: &'w Written,
    key: Key,
    entry: Arc<Entry>,
}

impl Written {
    /// Takes note of an object, which has no revision yet, that is about to be committed.
    pub(super) fn commit(&self, key: Key, entry: Arc<Entry>) -> Commit<'_> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.entry(key.clone()).or_default().push(Arc::clone(&entry));
        drop(held);
        Commit { written: self, key, entry }
    }

    /// The object of a record, if this server wrote it.
    pub(super) fn take(&self, record: &Record) -> Option<Arc<Entry>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = held.get(&record.key)?.iter().find(|entry| *entry.bytes() == record.value)?;
        Some(Arc::new(ours.at(record.modified)))
    }
}

impl Drop for Commit<'_> {
    fn drop(&mut self) {
        let mut held = self.written.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entries) = held.get_mut(&self.key) {
            entries.retain(|entry| !Arc::ptr_eq(entry, &self.entry));
            if entries.is_empty() {
                held.remove(&self.key);
            }
        }
    }
}
