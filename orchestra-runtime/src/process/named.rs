//! Whose folders are, remembered by their names, so that to look for what one pod has reads the records of no other.
//!
//! The name of a folder is made of who it belongs to (see [`id`](super::disk::id)): one name never comes to be
//! somebody else's, and what was read once stays true, whoever writes the records.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Whose the folders of one kind are.
#[derive(Debug)]
pub(super) struct Named<T>(Mutex<HashMap<String, T>>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Named<T> {
    /// Whether a folder is among those that are asked for, if it is known whose it is.
    pub(super) fn is(&self, name: &str, wanted: impl FnOnce(&T) -> bool) -> Option<bool> {
        self.lock().get(name).map(wanted)
    }

    /// It is known whose a folder is.
    pub(super) fn note(&self, name: &str, owner: T) {
        self.lock().insert(name.to_owned(), owner);
    }

    /// A folder is no more.
    pub(super) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
