use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::meta::Revision;

/// How far the caches that are fed from one source have come. Revisions are the cluster's, so one number does for all
/// kinds: a commit that changed no pod still moves the cache of pods on.
///
/// Those who wait are kept by the revision that they wait for. Every write waits here for its own; waking all of them
/// at each commit would make a thousand writers cost a thousand times as much as one.
#[derive(Debug, Default)]
pub struct Progress {
    filled: AtomicBool,
    revision: AtomicU64,
    waiting: Mutex<BTreeMap<Revision, Vec<oneshot::Sender<()>>>>,
}

impl Progress {
    /// Nothing has been fed yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Every cache of the source now holds everything up to a revision.
    pub fn advance(&self, revision: Revision) {
        self.revision.store(revision.0, Ordering::Release);
        self.filled.store(true, Ordering::Release);
        // Whoever comes to wait after this lock finds the revision; whoever came before is found here.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.is_empty() {
            return;
        }
        let later = waiting.split_off(&revision.next());
        let reached = mem::replace(&mut *waiting, later);
        drop(waiting);
        for waiter in reached.into_values().flatten() {
            // Nobody waits any more if that call was cancelled.
            let _ = waiter.send(());
        }
    }

    /// The revision up to which everything has been seen.
    pub fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    /// Waits until the caches have been filled for the first time.
    pub async fn filled(&self) {
        self.reached(Revision::ZERO).await;
    }

    /// Waits until everything up to a revision has been seen.
    pub async fn reached(&self, revision: Revision) {
        while !self.has_reached(revision) {
            let Some(reached) = self.wait_for(revision) else { return };
            // Cannot fail: the sender is kept until it is used, for as long as this is borrowed.
            let _ = reached.await;
        }
    }

    fn has_reached(&self, revision: Revision) -> bool {
        self.filled.load(Ordering::Acquire) && self.revision() >= revision
    }

    /// What is told when a revision is reached; `None` if it has been meanwhile.
    fn wait_for(&self, revision: Revision) -> Option<oneshot::Receiver<()>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_reached(revision) {
            return None;
        }
        let (sender, reached) = oneshot::channel();
        let same = waiting.entry(revision).or_default();
        if same.len() == same.capacity() {
            // Before it grows, those go that gave up.
            same.retain(|waiter| !waiter.is_closed());
        }
        same.push(sender);
        Some(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiters(progress: &Progress) -> usize {
        progress.waiting.lock().unwrap().values().map(Vec::len).sum()
    }

    #[tokio::test]
    async fn those_are_woken_whose_revision_is_reached() {
        let progress = Progress::new();
        let wait = |revision| {
            let progress = Arc::clone(&progress);
            tokio::spawn(async move { progress.reached(Revision(revision)).await })
        };
        let (filled, three, nine) = (wait(0), wait(3), wait(9));
        tokio::task::yield_now().await;
        assert_eq!(waiters(&progress), 3);
        progress.advance(Revision(2));
        filled.await.unwrap();
        assert_eq!(waiters(&progress), 2);
        progress.advance(Revision(5));
        three.await.unwrap();
        assert!(!nine.is_finished());
        progress.advance(Revision(9));
        nine.await.unwrap();
        progress.reached(Revision(9)).await;
        assert_eq!(waiters(&progress), 0);
    }

    #[tokio::test]
    async fn those_who_give_up_do_not_pile_up() {
        let progress = Progress::new();
        for _ in 0..1000 {
            let waiting = progress.reached(Revision(1));
            assert!(futures::FutureExt::now_or_never(waiting).is_none());
        }
        assert!(waiters(&progress) < 10, "{} are kept", waiters(&progress));
    }
}
