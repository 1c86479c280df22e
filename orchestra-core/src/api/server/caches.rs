use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::api::{Kinds, Resource};
use crate::clock::SharedClock;
use crate::meta::{GroupResource, ObjectName, Revision};
use crate::store::{Batch, Change, KeyRange, Record, Store, StoreError};
use crate::watch::{Cache, CacheWriter, Entry, Progress, Update};

/// How many records are read from the store at a time when the caches are filled.
const FILL_PAGE: usize = 10_000;

/// The caches of all kinds of the table, fed from one store by one task.
#[derive(Clone, Debug)]
pub struct Caches {
    by_id: Arc<HashMap<GroupResource, Cache>>,
    progress: Arc<Progress>,
}

impl Caches {
    /// Fills the caches, and follows the store until `shutdown`, by the task that is returned.
    pub(super) async fn start(
        store: Arc<dyn Store>,
        kinds: &Arc<Kinds>,
        clock: SharedClock,
        shutdown: CancellationToken,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let progress = Progress::new();
        let writers = kinds
            .iter()
            .map(|row| (row.id.clone(), CacheWriter::new(&row.fields, Arc::clone(&progress))))
            .collect::<HashMap<_, _>>();
        let by_id = writers.iter().map(|(id, writer)| (id.clone(), writer.cache().clone())).collect();
        let caches = Self { by_id: Arc::new(by_id), progress: Arc::clone(&progress) };
        let mut feeder = Feeder { store, kinds: Arc::clone(kinds), writers, progress };
        let revision = feeder.fill().await?;
        let task = tokio::spawn(async move {
            tokio::select! {
                () = feeder.run(revision, clock) => {}
                () = shutdown.cancelled() => {}
            }
        });
        Ok((caches, task))
    }

    /// The cache of a kind; `None` if it is not in the table.
    pub fn get(&self, id: &GroupResource) -> Option<&Cache> {
        self.by_id.get(id)
    }

    /// The revision up to which all caches have seen everything.
    pub fn revision(&self) -> Revision {
        self.progress.revision()
    }

    /// Waits until all caches have seen everything up to a revision.
    pub async fn reached(&self, revision: Revision) {
        self.progress.reached(revision).await;
    }
}

/// The one writer of the caches.
struct Feeder {
    store: Arc<dyn Store>,
    kinds: Arc<Kinds>,
    writers: HashMap<GroupResource, CacheWriter>,
    progress: Arc<Progress>,
}

impl Feeder {
    /// Loads everything there is, as it is at one revision.
    async fn fill(&mut self) -> Result<Revision, StoreError> {
        let revision = self.store.revision().await?;
        for row in self.kinds.iter() {
            let mut entries = Vec::new();
            let mut after = None;
            loop {
                let page = self.store.list(&row.range(), Some(revision), after.as_ref(), FILL_PAGE).await?;
                after = page.records.last().map(|record| record.key.clone());
                entries.extend(page.records.into_iter().filter_map(|record| read(row, record)));
                if page.remaining == 0 {
                    break;
                }
            }
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
            clock.sleep(Duration::from_millis(100)).await;
        }
    }

    async fn follow(&mut self, revision: &mut Revision) -> Result<(), StoreError> {
        let mut changes = self.store.watch(&KeyRange::all(), *revision).await?;
        while let Some(batch) = changes.next().await {
            let batch = batch?;
            *revision = batch.revision;
            self.apply(&batch);
        }
        Ok(())
    }

    fn apply(&mut self, batch: &Batch) {
        // Nearly every commit changes one object; a map of kinds would cost more than it saves.
        for change in batch.changes.iter() {
            let Some((row, name)) = self.kinds.parse_key(change.key()) else { continue };
            let update = match update(row, name, change) {
                Some(update) => update,
                None => continue,
            };
            if let Some(writer) = self.writers.get_mut(&row.id) {
                writer.apply(batch.revision, [update]);
            }
        }
        self.progress.advance(batch.revision);
    }
}

fn update(row: &Resource, name: ObjectName, change: &Change) -> Option<Update> {
    match change {
        Change::Put { record, .. } => Some(Update::Put(read(row, record.clone())?)),
        Change::Delete { .. } => Some(Update::Delete(name)),
    }
}

/// One unreadable record must not take the cluster down; it is reported and left out.
fn read(row: &Resource, record: Record) -> Option<Arc<Entry>> {
    match Entry::read(record.value, record.modified, &row.fields) {
        Ok(entry) => Some(Arc::new(entry)),
        Err(error) => {
            error!(key = %record.key, %error, "a record is not an object and is left out");
            None
        }
    }
}
