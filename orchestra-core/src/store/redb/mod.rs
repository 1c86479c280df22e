//! The store of one machine: a file that survives a pulled plug.
//!
//! All records are also in memory, where they are read; the file is for the next start, and for the past beyond the
//! last few thousand commits. One thread writes: it takes all commits that wait and makes them durable together, so
//! that a hundred writers cost one fsync, and acknowledges none before that.
//!
//! What is written as [`Volatile`](super::Durability::Volatile) is only in memory, so that a cluster in which
//! nothing happens but heartbeats writes nothing; it is written when the store is closed in good order. Revisions for it are set aside in the file a million at a time,
//! and go on from there after a crash. A watch or a read of the past of such keys does not reach beyond what memory
//! remembers: it is [`Compacted`](super::StoreError::Compacted).
//!
//! ```no_run
//! # fn main() -> Result<(), orchestra_core::store::redb::OpenError> {
//! let store = orchestra_core::store::redb::RedbStore::open("/var/lib/orchestra")?;
//! # drop(store); Ok(())
//! # }
//! ```

mod disk;
mod error;
mod format;
mod group;
mod past;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::ledger::{Keep, Ledger, Older, Shared, rest_of};
use super::{Changes, Committed, Key, KeyRange, Page, Record, Store, StoreError, Txn};
use crate::clock::{SharedClock, TokioClock};
use crate::meta::Revision;
pub use disk::Medium;
use disk::{Directory, Disk};
pub use error::OpenError;
use past::Past;
use writer::{Job, Writer};

/// How much of the past stays in memory, where reading it costs nothing.
const MEMORY: Keep = Keep { commits: 4096, bytes: 8 << 20 };

/// How long the past is kept. What is over either limit is dropped with the commits that follow; while none do,
/// it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The age from which a commit may be forgotten.
    pub age: Duration,
    /// The bytes that the past may take in the file, about.
    pub bytes: u64,
}

impl Default for Retention {
    /// Three days, and 256 MiB.
    fn default() -> Self {
        Self { age: Duration::from_secs(3 * 24 * 60 * 60), bytes: 256 << 20 }
    }
}

/// How a [`RedbStore`] is to be opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the past is kept.
    pub retention: Retention,
    /// What tells the age of the past.
    pub clock: SharedClock,
}

impl Default for Options {
    fn default() -> Self {
        Self { retention: Retention::default(), clock: TokioClock::system() }
    }
}

/// A [`Store`] in a file. See the [module](self). A clone is another handle of the same store; when the last is
/// dropped, all that was begun is finished and the file is closed.
#[derive(Clone)]
pub struct RedbStore {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    past: Arc<Past>,
    clock: SharedClock,
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.inner.past.disk.path()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl RedbStore {
    /// Opens the store in a data directory, making both if there are none.
    ///
    /// # Errors
    /// See [`OpenError`]: the directory is in use, is of another version, is damaged, or cannot be read or written.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(directory, Options::default())
    }

    /// As [`RedbStore::open`], with options.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub fn open_with(directory: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        Self::open_on(Directory::lock(directory.as_ref())?, options)
    }

    /// Opens the store on something other than a directory, as a test of failing disks does.
    ///
    /// # Errors
    /// As [`RedbStore::open`].
    pub fn open_on(medium: impl Medium, options: Options) -> Result<Self, OpenError> {
        let path = medium.path();
        let (disk, loaded) = Disk::open(Box::new(medium))?;
        let state = loaded.state;
        let revision = state.revision.max(state.reserved);
        let shared = Shared::new(Ledger::new(loaded.records, revision, MEMORY));
        let past = Arc::new(Past::new(Arc::new(disk), shared.clone(), loaded.volatile));
        let (jobs, queue) = mpsc::channel();
        let writer = Writer::new(past.clone(), queue, options.retention, state);
        let writer = thread::Builder::new().name("orchestra-store".into()).spawn(move || writer.run());
        let writer = Some(writer.map_err(|source| OpenError::Io { path, source })?);
        let inner = Inner { shared, past, clock: options.clock, jobs: Some(jobs), writer };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Asks the writer for something and waits for its answer.
    async fn send<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.inner.jobs.as_ref().ok_or(StoreError::Closed)?;
        jobs.send(job(answer)).map_err(|_| StoreError::Closed)?;
        answered.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Answers from the file what memory has forgotten.
    async fn recall<T: Send + 'static>(
        &self,
        remembered: Result<T, StoreError>,
        look: impl FnOnce(&Past) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        match remembered {
            Err(StoreError::Compacted { .. }) => look_up(self.inner.past.clone(), look).await,
            remembered => remembered,
        }
    }
}

/// Reads the file without holding up other tasks.
async fn look_up<T: Send + 'static>(
    past: Arc<Past>,
    look: impl FnOnce(&Past) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let looked = tokio::task::spawn_blocking(move || look(&past)).await;
    looked.unwrap_or_else(|error| Err(StoreError::Damaged(error.to_string())))
}

#[async_trait]
impl Store for RedbStore {
    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.inner.shared.read(Ledger::revision))
    }

    async fn get(&self, key: &Key, at: Option<Revision>) -> Result<Option<Record>, StoreError> {
        let remembered = self.inner.shared.get(key, at);
        let (key, at) = (key.clone(), at.unwrap_or_default());
        self.recall(remembered, move |past| past.get(&key, at)).await
    }

    async fn list(
        &self,
        range: &KeyRange,
        at: Option<Revision>,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let remembered = self.inner.shared.list(range, at, after, limit);
        let (range, at) = (rest_of(range, after), at.unwrap_or_default());
        self.recall(remembered, move |past| past.list(&range, at, limit)).await
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, StoreError> {
        let now = format::millis(self.inner.clock.now());
        self.send(|answer| Job::Commit(txn, now, answer)).await
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<Changes, StoreError> {
        // A watch does not keep the file open.
        let past = Arc::downgrade(&self.inner.past);
        let older: Older = Arc::new(move |range: KeyRange, after| {
            let past = past.upgrade().ok_or(StoreError::Closed);
            Box::pin(async move { look_up(past?, move |past| past.changes(&range, after)).await })
        });
        let remembered = self.inner.shared.read(|ledger| ledger.since(after).map(drop));
        let range_wanted = range.clone();
        self.recall(remembered, move |past| past.changes(&range_wanted, after).map(drop)).await?;
        Ok(self.inner.shared.follow(range, after, Some(older)))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.send(|answer| Job::Compact(before, answer)).await
    }

    async fn skip_to(&self, revision: Revision) -> Result<(), StoreError> {
        self.send(|answer| Job::Skip(revision, answer)).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.inner.past.disk.check()
    }

    async fn time_of(&self, revision: Revision) -> Result<Option<Timestamp>, StoreError> {
        look_up(self.inner.past.clone(), move |past| past.time_of(revision)).await
    }
}
