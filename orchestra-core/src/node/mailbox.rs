//! What a pod's loop is told: the latest of everything, never a queue.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tokio::sync::Notify;

use super::model::Failure;
use crate::watch::Entry;

/// The mailbox of one pod's loop.
pub(super) struct Mailbox {
    latest: Mutex<Latest>,
    changed: Notify,
}

struct Latest {
    entry: Arc<Entry>,
    gone: bool,
    sources_changed: bool,
    evicted: Option<Failure>,
    room_is_needed: bool,
    /// Whether anything was said since the box was emptied.
    news: bool,
}

/// What is known of the pod now.
pub(super) struct Mail {
    /// The pod as the API has it, or had it last.
    pub(super) entry: Arc<Entry>,
    /// It is out of the API.
    pub(super) gone: bool,
    /// Something that it refers to has changed since the box was emptied before.
    pub(super) sources_changed: bool,
    /// The node has no room for it any more, and why.
    pub(super) evicted: Option<Failure>,
    /// The disk of the node is full.
    pub(super) room_is_needed: bool,
}

/// How much of an ending was asked for: none, a deletion with so much grace, or the pod is out of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    No,
    Within(i64),
    Removed,
}

impl Mailbox {
    /// A box for a pod that the API has.
    pub(super) fn new(entry: Arc<Entry>) -> Self {
        Self::with(entry, false)
    }

    /// A box for a pod of which the API knows nothing; `entry` says as much of it as is known.
    pub(super) fn orphan(entry: Arc<Entry>) -> Self {
        Self::with(entry, true)
    }

    fn with(entry: Arc<Entry>, gone: bool) -> Self {
        let latest =
            Latest { entry, gone, sources_changed: false, evicted: None, room_is_needed: false, news: true };
        Self { latest: Mutex::new(latest), changed: Notify::new() }
    }

    /// The API has the pod, and like this.
    pub(super) fn put(&self, entry: Arc<Entry>) {
        self.tell(|latest| {
            latest.gone = false;
            latest.take_newer(entry);
        });
    }

    /// The loop has written the pod, which came to be like this. Whether the API still has it, the watch says.
    pub(super) fn put_written(&self, entry: Arc<Entry>) {
        self.tell(|latest| latest.take_newer(entry));
    }

    /// The pod is out of the API. `last` is how it was.
    pub(super) fn put_gone(&self, last: Option<Arc<Entry>>) {
        self.tell(|latest| {
            latest.gone = true;
            if let Some(last) = last {
                latest.entry = last;
            }
        });
    }

    /// Something that the pod refers to has changed.
    pub(super) fn put_sources_changed(&self) {
        self.tell(|latest| latest.sources_changed = true);
    }

    /// The node has no room for the pod any more.
    pub(super) fn put_evicted(&self, why: Failure) {
        self.tell(|latest| latest.evicted = Some(why));
    }

    /// The disk of the node is full: what nobody needs goes.
    pub(super) fn put_room_is_needed(&self) {
        self.tell(|latest| latest.room_is_needed = true);
    }

    /// Something happened: look again.
    pub(super) fn poke(&self) {
        self.tell(|_| {});
    }

    fn tell(&self, change: impl FnOnce(&mut Latest)) {
        let mut latest = self.lock();
        change(&mut latest);
        latest.news = true;
        drop(latest);
        self.changed.notify_one();
    }

    /// Empties the box.
    pub(super) fn take(&self) -> Mail {
        let mut latest = self.lock();
        latest.news = false;
        let sources_changed = std::mem::take(&mut latest.sources_changed);
        let evicted = latest.evicted.take();
        let room_is_needed = std::mem::take(&mut latest.room_is_needed);
        Mail { entry: latest.entry.clone(), gone: latest.gone, sources_changed, evicted, room_is_needed }
    }

    /// The pod as it is known now.
    pub(super) fn entry(&self) -> Arc<Entry> {
        self.lock().entry.clone()
    }

    /// Whether the API has a pod whose loop has not been told so yet.
    pub(super) fn is_wanted(&self) -> bool {
        let latest = self.lock();
        latest.news && !latest.gone
    }

    /// Waits until there is something in the box.
    pub(super) async fn filled(&self) {
        loop {
            let changed = self.changed.notified();
            if self.lock().news {
                return;
            }
            changed.await;
        }
    }

    /// Waits until another ending is asked for than `now`.
    pub(super) async fn ending_other_than(&self, now: Ending) {
        loop {
            let changed = self.changed.notified();
            if self.ending() != now {
                return;
            }
            changed.await;
        }
    }

    /// How much of an ending is asked for now.
    pub(super) fn ending(&self) -> Ending {
        let latest = self.lock();
        if latest.gone { Ending::Removed } else { Ending::of(&latest.entry) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    fn take_newer(&mut self, entry: Arc<Entry>) {
        if self.entry.revision() <= entry.revision() {
            self.entry = entry;
        }
    }
}

impl Ending {
    /// How much of an ending a pod's object asks for.
    pub(super) fn of(entry: &Entry) -> Self {
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
            return Self::No;
        }
        let grace = entry.peek::<View>().ok();
        Self::Within(grace.and_then(|view| view.metadata.deletion_grace_period_seconds).unwrap_or(i64::MAX))
    }
}
