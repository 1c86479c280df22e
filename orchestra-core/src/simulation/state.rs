//! The cluster as it was after one commit, for invariants to look at.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use imbl::OrdMap;
use rustc_hash::FxBuildHasher;

use super::machine::{Machine, Running};
use super::world::World;
use crate::api::{Caches, Kinds, entry_of};
use crate::meta::{GroupResource, Object, ObjectName, Revision};
use crate::store::{Batch, Change, Record};
use crate::watch::Entry;

/// Every object as it was at one revision, and what ran on the machines when that was looked at.
#[derive(Clone, Default)]
pub struct State {
    objects: HashMap<GroupResource, OrdMap<ObjectName, Arc<Entry>>, FxBuildHasher>,
    revision: Revision,
    elapsed: Duration,
    machines: Looked,
    removed: Vec<(GroupResource, Arc<Entry>)>,
}

/// The machines, while they are as at this commit, and what was seen to run on them: that is looked up when it is first asked
/// for, as most invariants are about objects.
#[derive(Clone, Default)]
struct Looked {
    world: Option<World>,
    running: OnceLock<Vec<Running>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cluster at revision {}", self.revision)
    }
}

impl State {
    /// What a store holds.
    pub(super) fn of(kinds: &Kinds, records: Vec<Record>, revision: Revision) -> Self {
        let mut state = Self { revision, ..Self::default() };
        for record in records {
            let Some((row, name)) = kinds.parse_key(&record.key) else { continue };
            if let Some(entry) = entry_of(row, record) {
                state.objects.entry(row.id.clone()).or_default().insert(name, entry);
            }
        }
        state
    }

    /// The revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How much time had passed.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The containers that run, on whichever machine and whatever the API says of it.
    pub fn running(&self) -> &[Running] {
        let look = |world: &World| world.machines().iter().flat_map(Machine::running).collect();
        self.machines.running.get_or_init(|| self.machines.world.as_ref().map(look).unwrap_or_default())
    }

    /// The objects of a kind, in order of namespace and name. One that does not fit the type is left out.
    pub fn objects<K: Object>(&self) -> impl Iterator<Item = Arc<K>> {
        let all = self.objects.get(&GroupResource::of::<K>());
        all.into_iter().flat_map(OrdMap::values).filter_map(|entry| entry.view::<K>().ok())
    }

    /// One object of a namespace.
    pub fn object<K: Object>(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let name = ObjectName::new((!namespace.is_empty()).then_some(namespace), name);
        self.objects.get(&GroupResource::of::<K>())?.get(&name)?.view::<K>().ok()
    }

    /// The objects of a kind that the last commit removed, as they were.
    pub fn removed<K: Object>(&self) -> impl Iterator<Item = Arc<K>> {
        let kind = GroupResource::of::<K>();
        let of_kind = self.removed.iter().filter(move |(id, _)| *id == kind);
        of_kind.filter_map(|(_, entry)| entry.view::<K>().ok())
    }

    /// The objects of a kind that is given as a value, as they are stored.
    pub fn entries(&self, kind: &GroupResource) -> impl Iterator<Item = &Arc<Entry>> {
        self.objects.get(kind).into_iter().flat_map(OrdMap::values)
    }

    /// Goes on by one commit. Whether it changed more than what changes all the time: leases, events and what nodes say of
    /// themselves.
    pub(super) fn apply(&mut self, kinds: &Kinds, caches: &Caches, batch: &Batch, elapsed: Duration) -> bool {
        (self.revision, self.elapsed) = (batch.revision, elapsed);
        let mut matters = false;
        self.removed.clear();
        for change in batch.changes.iter() {
            let Some((row, name)) = kinds.parse_key(change.key()) else { continue };
            let of_kind = self.objects.entry(row.id.clone()).or_default();
            match change {
                Change::Put { record, .. } => {
                    // Most often the server's caches hold it already, read.
                    let held = caches.get(&row.id).and_then(|cache| cache.get(&name));
                    let held = held.filter(|entry| entry.revision() == record.modified);
                    let Some(entry) = held.or_else(|| entry_of(row, record.clone())) else { continue };
                    drop(of_kind.insert(name, entry));
                }
                Change::Delete { .. } => {
                    self.removed.extend(of_kind.remove(&name).map(|entry| (row.id.clone(), entry)));
                }
            }
            matters |= !matches!(&*row.id.resource, "leases" | "events" | "nodes");
        }
        matters
    }

    /// Answers about the state, which sees the machines of a world for as long.
    pub(super) fn beside<T>(&mut self, world: &World, answer: impl FnOnce(&Self) -> T) -> T {
        self.machines = Looked { world: Some(world.clone()), running: OnceLock::new() };
        let answered = answer(self);
        self.machines = Looked::default();
        answered
    }
}
