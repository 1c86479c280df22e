//! What a pod's loop is told: the latest of everything, never a queue.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tokio::sync::Notify;

use crate::watch::Entry;

/// The letter box of one pod.
#[derive(Default)]
pub(super) struct Mailbox {
    latest: Mutex<Latest>,
    changed: Notify,
}

#[derive(Default)]
struct Latest {
    entry: Option<Arc<Entry>>,
    gone: bool,
    poked: bool,
}

/// What was in the box.
pub(super) struct Mail {
    pub(super) entry: Option<Arc<Entry>>,
    pub(super) gone: bool,
}

/// How much of an ending was asked for: none, a deletion with so much grace, or the pod is out of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    No,
    Within(i64),
    Gone,
}

impl Mailbox {
    /// The pod as the API has it now.
    pub(super) fn put(&self, entry: Arc<Entry>) {
        let mut latest = self.lock();
        if latest.entry.as_ref().is_none_or(|old| old.revision() <= entry.revision()) {
            latest.entry = Some(entry);
        }
        drop(latest);
        self.changed.notify_one();
    }

    /// The pod is out of the API. `last` is how it was.
    pub(super) fn put_gone(&self, last: Option<Arc<Entry>>) {
        let mut latest = self.lock();
        latest.gone = true;
        if last.is_some() {
            latest.entry = last;
        }
        drop(latest);
        self.changed.notify_one();
    }

    /// Something happened: look again.
    pub(super) fn poke(&self) {
        self.lock().poked = true;
        self.changed.notify_one();
    }

    /// Empties the box.
    pub(super) fn take(&self) -> Mail {
        let mut latest = self.lock();
        latest.poked = false;
        Mail { entry: latest.entry.take(), gone: latest.gone }
    }

    /// Waits until there is something in the box.
    pub(super) async fn filled(&self) {
        loop {
            let changed = self.changed.notified();
            {
                let latest = self.lock();
                if latest.poked || latest.entry.is_some() || latest.gone {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Waits until more of an ending is asked for than `now`.
    pub(super) async fn ending_other_than(&self, now: Ending) {
        loop {
            let changed = self.changed.notified();
            if self.ending().is_some_and(|ending| ending != now) {
                return;
            }
            changed.await;
        }
    }

    fn ending(&self) -> Option<Ending> {
        let latest = self.lock();
        if latest.gone {
            return Some(Ending::Gone);
        }
        latest.entry.as_ref().map(|entry| ending_of(entry))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of an ending a pod's object asks for.
pub(super) fn ending_of(entry: &Entry) -> Ending {
    #[derive(Deserialize)]
    struct View {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        #[serde(default)]
        deletion_grace_period_seconds: Option<i64>,
    }
    if !entry.is_deleting() {
        return Ending::No;
    }
    let grace = serde_json::from_slice::<View>(entry.bytes()).ok();
    Ending::Within(grace.and_then(|view| view.metadata.deletion_grace_period_seconds).unwrap_or(i64::MAX))
}
