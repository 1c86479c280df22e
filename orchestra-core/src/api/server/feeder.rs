//! The one writer of the caches: it follows the store, and opens and closes the cache of a kind that comes or goes.
//!
//! One task, which takes in the store's watch and the changes of the table, and gives out the caches and the table that
//! requests read. Because it alone does both, a kind's cache is opened between two commits: filled as the store was at
//! the revision that all caches are at, it misses none of what follows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::caches::{ByKind, Caches, Table};
use super::written::Written;
use crate::api::{Kinds, Resource};
use crate::clock::SharedClock;
use crate::meta::{GroupResource, ObjectName, Revision};
use crate::store::{Batch, Change, KeyRange, Record, Store, StoreError};
use crate::supervise::Task;
use crate::watch::{CacheWriter, Entry, Progress, Update};

/// How many records are read from the store at a time when a cache is filled.
const FILL_PAGE: usize = 10_000;

/// How long the feeder rests before it reads a store that failed again.
const REST: Duration = Duration::from_millis(100);

/// A change of the table, and where to say that it is made.
pub(super) enum TableChange {
    /// Kinds are added, or their rows replaced.
    Put(Vec<Resource>, oneshot::Sender<Result<(), StoreError>>),
    /// A kind is taken out. The answer is whether it was there.
    Remove(GroupResource, oneshot::Sender<bool>),
}

/// What a server has of its feeder.
pub(super) struct Fed {
    pub(super) caches: Caches,
    pub(super) changes: mpsc::Sender<TableChange>,
    pub(super) task: Task,
}

/// Fills the caches of these kinds, and follows the store until `shutdown`.
pub(super) async fn start(
    store: Arc<dyn Store>,
    kinds: Arc<Kinds>,
    clock: SharedClock,
    written: Arc<Written>,
    shutdown: CancellationToken,
) -> Result<Fed, StoreError> {
    let progress = Progress::new();
    let table = Table { kinds, caches: ByKind::default() };
    let caches = Caches {
        table: Arc::new(ArcSwap::from_pointee(table)),
        progress: Arc::clone(&progress),
        published: Arc::default(),
    };
    let (changes, taken) = mpsc::channel(1);
    let mut feeder =
        Feeder { store, caches: caches.clone(), writers: HashMap::new(), progress, written, changes: taken };
    feeder.open_all();
    let revision = feeder.fill().await?;
    let task = Task::once(async move {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = feeder.run(revision, clock) => {}
        }
    });
    Ok(Fed { caches, changes, task })
}

struct Feeder {
    store: Arc<dyn Store>,
    caches: Caches,
    writers: HashMap<GroupResource, CacheWriter>,
    progress: Arc<Progress>,
    written: Arc<Written>,
    changes: mpsc::Receiver<TableChange>,
}

impl Feeder {
    /// Makes an empty cache for each kind of the table.
    fn open_all(&mut self) {
        let kinds = Arc::clone(&self.caches.table().kinds);
        for row in kinds.iter() {
            let writer = CacheWriter::new(&row.fields, Arc::clone(&self.progress));
            self.writers.insert(row.id.clone(), writer);
        }
        self.publish(kinds);
    }

    /// Lets requests see this table.
    fn publish(&self, kinds: Arc<Kinds>) {
        let caches = self.writers.iter().map(|(id, writer)| (id.clone(), writer.cache().clone())).collect();
        self.caches.table.store(Arc::new(Table { kinds, caches }));
        self.caches.published.notify_waiters();
    }

    /// Loads everything there is, as it is at one revision.
    async fn fill(&mut self) -> Result<Revision, StoreError> {
        let revision = self.store.revision().await?;
        for row in self.caches.table().kinds.iter() {
            let entries = objects(&*self.store, row, revision).await?;
            if let Some(writer) = self.writers.get_mut(&row.id) {
                writer.fill(entries, revision);
            }
        }
        self.progress.advance(revision);
        Ok(revision)
    }

    /// Follows the store. What is lost with a broken watch is made good by filling again.
    async fn run(mut self, mut revision: Revision, clock: SharedClock) {
        loop {
            let error = match self.follow(&mut revision).await {
                Err(StoreError::Closed) => return debug!("the store is closed"),
                Err(error) => error,
                Ok(()) => continue,
            };
            warn!(%error, %revision, "the store's watch ended; reading it again");
            if matches!(error, StoreError::Compacted { .. } | StoreError::Future { .. }) {
                match self.fill().await {
                    Ok(filled) => revision = filled,
                    Err(error) => warn!(%error, "the store cannot be read"),
                }
            }
            clock.sleep(REST).await;
        }
    }

    async fn follow(&mut self, revision: &mut Revision) -> Result<(), StoreError> {
        let mut batches = self.store.watch(&KeyRange::all(), *revision).await?;
        loop {
            tokio::select! {
                biased;
                // Changes are few; commits may come without end.
                Some(change) = self.changes.recv() => self.change_table(change, *revision).await,
                batch = batches.next() => {
                    let Some(batch) = batch.transpose()? else { return Ok(()) };
                    *revision = batch.revision;
                    self.apply(&batch);
                }
            }
        }
    }

    fn apply(&mut self, batch: &Batch) {
        // Nearly every commit changes one object; a map of kinds would cost more than it saves.
        for change in batch.changes.iter() {
            let table = self.caches.table.load();
            let Some((row, name)) = table.kinds.parse_key(change.key()) else { continue };
            let Some(update) = self.update(row, name, change) else { continue };
            if let Some(writer) = self.writers.get_mut(&row.id) {
                writer.apply(batch.revision, [update]);
            }
        }
        self.progress.advance(batch.revision);
    }

    fn update(&self, row: &Resource, name: ObjectName, change: &Change) -> Option<Update> {
        match change {
            Change::Put { record, .. } => {
                // What this server wrote itself it need not read.
                let ours = self.written.take(record);
                Some(Update::Put(ours.or_else(|| read(row, record.clone()))?))
            }
            Change::Delete { .. } => Some(Update::Delete(name)),
        }
    }

    /// Changes the table between two commits. Whoever asked may have gone away meanwhile.
    async fn change_table(&mut self, change: TableChange, revision: Revision) {
        match change {
            TableChange::Put(rows, done) => {
                let outcome = self.open(rows, revision).await;
                let _ = done.send(outcome);
            }
            TableChange::Remove(id, done) => {
                let _ = done.send(self.close(&id));
            }
        }
    }

    /// Puts kinds into the table. The cache of one stays, if there is one that holds what the new row wants; watches then
    /// go on.
    async fn open(&mut self, rows: Vec<Resource>, revision: Revision) -> Result<(), StoreError> {
        let table = self.caches.table();
        for row in &rows {
            self.open_cache(&table, row, revision).await?;
        }
        let mut kinds = Kinds::clone(&table.kinds);
        kinds.add_all(rows);
        self.publish(Arc::new(kinds));
        Ok(())
    }

    async fn open_cache(
        &mut self,
        table: &Table,
        row: &Resource,
        revision: Revision,
    ) -> Result<(), StoreError> {
        let alike = |held: &&Arc<Resource>| held.fields == row.fields && held.reading == row.reading;
        let held = table.kinds.get(&row.id).filter(alike);
        if held.is_none() {
            let mut writer = CacheWriter::new(&row.fields, Arc::clone(&self.progress));
            writer.fill(objects(&*self.store, row, revision).await?, revision);
            self.writers.insert(row.id.clone(), writer);
        }
        Ok(())
    }

    /// Takes a kind out of the table. Its cache is closed with its writer, and whoever watches it sees the end.
    fn close(&mut self, id: &GroupResource) -> bool {
        let mut kinds = Kinds::clone(&self.caches.table().kinds);
        if kinds.remove(id).is_none() {
            return false;
        }
        let writer = self.writers.remove(id);
        // First the table, so that who finds the watch ended does not find the kind.
        self.publish(Arc::new(kinds));
        drop(writer);
        true
    }
}

/// The objects of a kind as they are at a revision.
async fn objects(
    store: &dyn Store,
    row: &Resource,
    revision: Revision,
) -> Result<Vec<Arc<Entry>>, StoreError> {
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let page = store.list(&row.range(), Some(revision), after.as_ref(), FILL_PAGE).await?;
        after = page.records.last().map(|record| record.key.clone());
        entries.extend(page.records.into_iter().filter_map(|record| read(row, record)));
        if page.remaining == 0 {
            return Ok(entries);
        }
    }
}

/// One unreadable record must not take the cluster down; it is reported and left out.
pub(crate) fn read(row: &Resource, record: Record) -> Option<Arc<Entry>> {
    let restored = row.rules.restore(&record.value).map(|object| Entry::encode(&object));
    let bytes = restored.transpose().map(|restored| restored.unwrap_or_else(|| record.value.clone()));
    match bytes.and_then(|bytes| Entry::read(bytes, record.modified, &row.fields)) {
        Ok(entry) => Some(Arc::new(entry)),
        Err(error) => {
            error!(key = %record.key, %error, "a record is not an object and is left out");
            None
        }
    }
}
