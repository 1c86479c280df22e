//! The volumes that have to be attached, as far as pods of the node use them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The volumes that pods use or are about to use, by the uids of the pods.
#[derive(Default)]
pub(super) struct InUse {
    held: Mutex<BTreeMap<String, BTreeSet<String>>>,
    changed: Notify,
}

impl InUse {
    /// A pod uses a volume, or is about to.
    pub(super) fn add(&self, pod: &str, volume: String) {
        if self.lock().entry(pod.to_owned()).or_default().insert(volume) {
            self.changed.notify_one();
        }
    }

    /// Nothing is shown to a pod any more.
    pub(super) fn free(&self, pod: &str) {
        if self.lock().remove(pod).is_some() {
            self.changed.notify_one();
        }
    }

    /// All of them.
    pub(super) fn volumes(&self) -> Vec<String> {
        let all: BTreeSet<String> = self.lock().values().flatten().cloned().collect();
        all.into_iter().collect()
    }

    /// Resolves when they have changed since it resolved last.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<String>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
