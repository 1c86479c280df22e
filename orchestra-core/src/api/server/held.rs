use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::store::Store;

/// The store of a server, until it is let go. Clients outlive servers, so they must not be what keeps a file open.
pub(super) struct Held {
    store: RwLock<Option<Arc<dyn Store>>>,
    borrowers: TaskTracker,
}

/// A server's store, for the length of one call: closing the server waits until this is dropped.
pub struct Borrowed {
    // Dropped in this order: whoever waits for the borrowers finds the store let go.
    store: Arc<dyn Store>,
    _borrower: TaskTrackerToken,
}

impl Deref for Borrowed {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

impl Held {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store: RwLock::new(Some(store)), borrowers: TaskTracker::new() }
    }

    /// The store; `None` once it has been let go.
    pub(super) fn borrow(&self) -> Option<Borrowed> {
        let held = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let store = Arc::clone(held.as_ref()?);
        Some(Borrowed { store, _borrower: self.borrowers.token() })
    }

    /// Lets go of the store, when nobody uses it any more.
    pub(super) async fn release(&self) {
        let store = self.store.write().unwrap_or_else(PoisonError::into_inner).take();
        self.borrowers.close();
        self.borrowers.wait().await;
        drop(store);
    }
}
