//! What one client sees of the cluster: a copy of the caches that may lag behind, stand still or begin in the past.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::StreamExt;
use rustc_hash::FxBuildHasher;

use super::fault::FaultKind;
use super::wire::{Sight, Wire};
use crate::api::{Kinds, Resource, Server, Status, Target, entry_of};
use crate::meta::{GroupResource, Revision};
use crate::store::memory::MemoryStore;
use crate::store::{Batch, Change, KeyRange, Store, StoreError};
use crate::watch::{Cache, CacheWriter, Progress, Update};

/// The caches of one client, fed from the store by themselves.
pub(super) struct Replica {
    actor: String,
    server: Arc<Server>,
    store: MemoryStore,
    wire: Arc<Wire>,
    progress: Arc<Progress>,
    state: Mutex<State>,
}

struct State {
    revision: Revision,
    writers: HashMap<GroupResource, (Arc<Resource>, CacheWriter), FxBuildHasher>,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what {} sees, as of {}", self.actor, self.revision())
    }
}

impl Replica {
    /// What a client sees that begins with the cluster as it was at a revision.
    pub(super) fn new(
        actor: &str,
        server: &Arc<Server>,
        store: &MemoryStore,
        wire: &Arc<Wire>,
        revision: Revision,
    ) -> Arc<Self> {
        let progress = Progress::new();
        progress.advance(revision);
        Arc::new(Self {
            actor: actor.to_owned(),
            server: Arc::clone(server),
            store: store.clone(),
            wire: Arc::clone(wire),
            progress,
            state: Mutex::new(State { revision, writers: HashMap::default() }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As of when it shows the cluster.
    pub(super) fn revision(&self) -> Revision {
        self.lock().revision
    }

    async fn objects(
        &self,
        row: &Resource,
        at: Revision,
    ) -> Result<impl Iterator<Item = Arc<crate::watch::Entry>>, StoreError> {
        let page = self.store.list(&row.range(), Some(at), None, 0).await?;
        Ok(page
            .records
            .into_iter()
            .filter_map(|record| entry_of(row, record))
            .collect::<Vec<_>>()
            .into_iter())
    }

    /// Shows the client what happens, as its faults allow, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            if let Err(error) = self.follow().await {
                return tracing::warn!(%error, actor = self.actor, "a copy of the caches ends");
            }
        }
    }

    async fn follow(&self) -> Result<(), StoreError> {
        let mut batches = self.store.watch(&KeyRange::all(), self.revision()).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            self.wire.clock.sleep(self.wire.lag(&self.actor)).await;
            if self.until_it_sees().await {
                return self.skip().await;
            }
            self.apply(&batch);
        }
        Err(StoreError::Closed)
    }

    /// Waits until nothing keeps the client from seeing changes. Whether it is to miss those that there were.
    async fn until_it_sees(&self) -> bool {
        let mut skips = false;
        loop {
            let changed = self.wire.other_troubles();
            match self.wire.blinded(&self.actor) {
                None => return skips,
                Some(kind) => skips = kind == FaultKind::SkipEvents,
            }
            changed.await;
        }
    }

    /// Goes on with the present, as a client does whose watch is too old and that lists anew.
    async fn skip(&self) -> Result<(), StoreError> {
        let revision = self.store.revision().await?;
        let rows: Vec<Arc<Resource>> = self.lock().writers.values().map(|(row, _)| Arc::clone(row)).collect();
        for row in rows {
            let entries = self.objects(&row, revision).await?;
            if let Some((_, writer)) = self.lock().writers.get_mut(&row.id) {
                writer.fill(entries, revision);
            }
        }
        self.advance(revision);
        Ok(())
    }

    fn apply(&self, batch: &Batch) {
        let kinds = self.server.kinds();
        {
            let mut state = self.lock();
            for change in batch.changes.iter() {
                apply_one(&kinds, &mut state, batch.revision, change);
            }
        }
        self.advance(batch.revision);
    }

    fn advance(&self, revision: Revision) {
        self.lock().revision = revision;
        self.progress.advance(revision);
    }
}

#[async_trait]
impl Sight for Replica {
    async fn cache(&self, target: &Target) -> Result<Cache, Status> {
        let id = target.id();
        loop {
            if let Some((_, writer)) = self.lock().writers.get(&id) {
                return Ok(writer.cache().clone());
            }
            let row = self.server.kinds().get(&id).cloned().ok_or_else(Status::no_such_resource)?;
            let revision = self.revision();
            let mut writer = CacheWriter::new(&row.fields, Arc::clone(&self.progress));
            let entries = self.objects(&row, revision).await.map_err(Status::internal)?;
            writer.fill(entries, revision);
            let mut state = self.lock();
            // What came meanwhile would be missing.
            if state.revision == revision {
                state.writers.insert(id.clone(), (row, writer));
            }
        }
    }
}

fn apply_one(kinds: &Kinds, state: &mut State, revision: Revision, change: &Change) {
    let Some((row, name)) = kinds.parse_key(change.key()) else { return };
    let Some((_, writer)) = state.writers.get_mut(&row.id) else { return };
    let update = match change {
        Change::Put { record, .. } => entry_of(row, record.clone()).map(Update::Put),
        Change::Delete { .. } => Some(Update::Delete(name)),
    };
    if let Some(update) = update {
        writer.apply(revision, [update]);
    }
}
