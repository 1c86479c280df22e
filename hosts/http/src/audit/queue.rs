//! What waits to be written.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

/// How many events wait at most, as in Kubernetes, and how many bytes they may be.
const MOST: usize = 10_000;
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Events on their way to a sink. Whoever brings one never waits.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// For a thread that takes.
    arrived: Condvar,
    /// For a task that takes.
    notify: Notify,
    dropped: AtomicU64,
    most: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Bytes>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self::bounded(MOST, MOST_BYTES)
    }

    pub(super) fn bounded(most: usize, most_bytes: usize) -> Self {
        let (waiting, arrived, notify, dropped) = Default::default();
        Self { waiting, arrived, notify, dropped, most, most_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event at the end, or drops it when there is no room.
    pub(super) fn offer(&self, event: &Bytes) {
        let mut waiting = self.lock();
        let is_full = waiting.events.len() >= self.most || waiting.bytes + event.len() > self.most_bytes;
        if is_full || waiting.closed {
            drop(waiting);
            self.lost(1);
            return;
        }
        waiting.bytes += event.len();
        waiting.events.push_back(event.clone());
        drop(waiting);
        self.arrived.notify_one();
        self.notify.notify_one();
    }

    /// Counts events that could not be kept.
    pub(super) fn lost(&self, events: usize) {
        if self.dropped.fetch_add(events as u64, Ordering::Relaxed) == 0 {
            tracing::warn!("audit events are dropped: their sink is too slow, or fails");
        }
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().events.len()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes nothing more; what waits can still be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
        self.notify.notify_one();
    }

    /// The first events, as they are now.
    pub(super) fn take(&self, most: usize) -> Vec<Bytes> {
        self.lock().take(most)
    }

    /// The first events, as soon as there are some; `None` at the end. For a thread.
    pub(super) fn wait(&self, most: usize) -> Option<Vec<Bytes>> {
        let mut waiting = self.lock();
        while waiting.events.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        Some(waiting.take(most))
    }

    /// Returns when there are `most` events, when there have been some for so long, or at the end. For a task.
    pub(super) async fn gathered(&self, most: usize, patience: Duration) {
        while self.len() == 0 && !self.is_closed() {
            self.notify.notified().await;
        }
        let enough = async {
            while self.len() < most && !self.is_closed() {
                self.notify.notified().await;
            }
        };
        let _ = tokio::time::timeout(patience, enough).await;
    }
}

impl Waiting {
    fn take(&mut self, most: usize) -> Vec<Bytes> {
        let count = self.events.len().min(most);
        let taken: Vec<Bytes> = self.events.drain(..count).collect();
        self.bytes -= taken.iter().map(Bytes::len).sum::<usize>();
        taken
    }
}
