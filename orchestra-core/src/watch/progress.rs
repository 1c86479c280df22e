use std::sync::Arc;

use tokio::sync::watch;

use crate::meta::Revision;

/// How far the caches that are fed from one source have come. Revisions are the cluster's, so one number does for all
/// kinds: a commit that changed no pod still moves the cache of pods on.
#[derive(Debug)]
pub struct Progress(watch::Sender<Applied>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Applied {
    filled: bool,
    revision: Revision,
}

impl Progress {
    /// Nothing has been fed yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Applied { filled: false, revision: Revision::ZERO })))
    }

    /// Every cache of the source now holds everything up to a revision.
    pub fn advance(&self, revision: Revision) {
        self.0.send_replace(Applied { filled: true, revision });
    }

    /// The revision up to which everything has been seen.
    pub fn revision(&self) -> Revision {
        self.0.borrow().revision
    }

    /// Waits until the caches have been filled for the first time.
    pub async fn filled(&self) {
        self.wait(|applied| applied.filled).await;
    }

    /// Waits until everything up to a revision has been seen.
    pub async fn reached(&self, revision: Revision) {
        self.wait(|applied| applied.filled && applied.revision >= revision).await;
    }

    async fn wait(&self, done: impl FnMut(&Applied) -> bool) {
        // Cannot fail: the sender is borrowed for as long as this waits.
        let _ = self.0.subscribe().wait_for(done).await;
    }
}
