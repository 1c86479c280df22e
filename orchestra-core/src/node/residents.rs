//! The pods of the node that have a loop, for whoever has to tell one of them something.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::mailbox::Mailbox;

/// The mailboxes of the loops, by the uids of their pods.
#[derive(Default)]
pub(super) struct Residents(Mutex<BTreeMap<String, Arc<Mailbox>>>);

impl Residents {
    pub(super) fn add(&self, uid: &str, mailbox: &Arc<Mailbox>) {
        self.lock().insert(uid.to_owned(), Arc::clone(mailbox));
    }

    pub(super) fn remove(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// None of them is there any more.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn get(&self, uid: &str) -> Option<Arc<Mailbox>> {
        self.lock().get(uid).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Mailbox>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Mailbox>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
