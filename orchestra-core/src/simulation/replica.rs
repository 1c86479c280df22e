//! What one client sees of the cluster: a copy of the caches that may lag behind, stand still or begin in the past.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use foldhash::quality::FixedState;
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
    /// As of when it shows everything.
    revision: Revision,
    /// As of when it shows the kinds of which nothing is held back.
    newest: Revision,
    writers: HashMap<GroupResource, (Arc<Resource>, CacheWriter), FxBuildHasher>,
    /// What is held back, until when, in the order in which it is shown.
    held: VecDeque<Held>,
}

/// A change that comes late because of its kind.
struct Held {
    until: Duration,
    revision: Revision,
    kind: GroupResource,
    change: Change,
}

impl State {
    /// As of when a kind is shown.
    fn as_of(&self, kind: &GroupResource) -> Revision {
        if self.holds(kind) { self.revision } else { self.newest }
    }

    fn holds(&self, kind: &GroupResource) -> bool {
        self.held.iter().any(|held| held.kind == *kind)
    }
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
            state: Mutex::new(State {
                revision,
                newest: revision,
                writers: HashMap::default(),
                held: VecDeque::new(),
            }),
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
        loop {
            let batch = tokio::select! {
                biased;
                () = self.until_due() => {
                    self.release();
                    continue;
                }
                batch = batches.next() => batch,
            };
            let Some(batch) = batch else { return Err(StoreError::Closed) };
            let batch = batch?;
            self.wire.clock.sleep(self.wire.lag(&self.actor)).await;
            if self.until_it_sees().await {
                return self.skip().await;
            }
            self.apply(&batch);
        }
    }

    /// Ends when the first of what is held back is to be shown; never, if there is none.
    async fn until_due(&self) {
        let Some(until) = self.lock().held.front().map(|held| held.until) else {
            return std::future::pending().await;
        };
        self.wire.clock.sleep(until.saturating_sub(self.wire.clock.elapsed())).await;
    }

    /// Shows what was held back until now.
    fn release(&self) {
        let (kinds, now) = (self.server.kinds(), self.wire.clock.elapsed());
        let mut state = self.lock();
        while let Some(held) = state.held.pop_front_if(|held| held.until <= now) {
            apply_one(&kinds, &mut state, held.revision, &held.change);
        }
        drop(state);
        self.tell_progress();
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
        let shuffled = self.wire.shuffled(&self.actor);
        let until = self.wire.clock.elapsed() + Duration::from_millis(shuffled.unwrap_or(0).into());
        {
            let mut state = self.lock();
            for change in batch.changes.iter() {
                let Some((row, _)) = kinds.parse_key(change.key()) else { continue };
                // Of one kind nothing overtakes anything.
                if state.holds(&row.id) || shuffled.is_some_and(|amount| is_late(&row.id, amount)) {
                    let until = state.held.back().map_or(until, |last| last.until.max(until));
                    let (kind, change) = (row.id.clone(), change.clone());
                    state.held.push_back(Held { until, revision: batch.revision, kind, change });
                } else {
                    apply_one(&kinds, &mut state, batch.revision, change);
                }
            }
            state.newest = batch.revision;
        }
        self.tell_progress();
    }

    /// Says as of when everything is shown, now that something more is.
    fn tell_progress(&self) {
        let revision = {
            let mut state = self.lock();
            let before = state.held.front().map(|first| Revision(first.revision.0.saturating_sub(1)));
            state.revision = before.unwrap_or(state.newest);
            state.revision
        };
        self.progress.advance(revision);
    }

    /// Shows everything as of a revision.
    fn advance(&self, revision: Revision) {
        {
            let mut state = self.lock();
            (state.revision, state.newest) = (revision, revision);
            state.held.clear();
        }
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
            let revision = self.lock().as_of(&id);
            let mut writer = CacheWriter::new(&row.fields, Arc::clone(&self.progress));
            let entries = self.objects(&row, revision).await.map_err(Status::internal)?;
            writer.fill(entries, revision);
            let mut state = self.lock();
            // What came meanwhile would be missing.
            if state.as_of(&id) == revision {
                state.writers.insert(id.clone(), (row, writer));
            }
        }
    }
}

/// Whether a kind is of the half that comes late.
fn is_late(kind: &GroupResource, amount: u32) -> bool {
    FixedState::with_seed(amount.into()).hash_one(kind) % 2 == 1
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
