//! The table of kinds as it is now, with the cache of each kind: what requests and admissions read.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::{Equivalent, HashMap};
use rustc_hash::FxBuildHasher;
use tokio::sync::Notify;

use crate::api::{Kinds, Resource};
use crate::meta::{GroupResource, Object, Revision};
use crate::watch::{Cache, Progress};

/// A kind that is served: its row, and the cache of its objects.
#[derive(Clone, Debug)]
pub struct Open {
    pub(super) row: Arc<Resource>,
    pub(super) cache: Cache,
}

impl Open {
    /// The row of the table.
    pub fn row(&self) -> &Arc<Resource> {
        &self.row
    }

    /// The cache of its objects.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }
}

impl Deref for Open {
    type Target = Resource;

    fn deref(&self) -> &Resource {
        &self.row
    }
}

/// The cache of each kind. They are kinds of the table, which nobody from outside names as they please.
pub(super) type ByKind = HashMap<GroupResource, Cache, FxBuildHasher>;

/// The kind that a Rust type is an object of, as it is looked up.
#[derive(Hash)]
struct OfType {
    group: &'static str,
    resource: &'static str,
}

impl Equivalent<GroupResource> for OfType {
    fn equivalent(&self, id: &GroupResource) -> bool {
        (self.group, self.resource) == (&*id.group, &*id.resource)
    }
}

/// The kinds of one generation with their caches. A request takes one and sees no other, whatever comes and goes.
#[derive(Debug, Default)]
pub struct Table {
    pub(super) kinds: Arc<Kinds>,
    pub(super) caches: ByKind,
}

impl Table {
    /// The kinds.
    pub fn kinds(&self) -> &Arc<Kinds> {
        &self.kinds
    }

    /// The cache of each kind.
    pub fn caches(&self) -> impl Iterator<Item = (&GroupResource, &Cache)> {
        self.caches.iter()
    }

    /// The kind served under a group, version and plural.
    pub fn served(&self, group: &str, version: &str, plural: &str) -> Option<Open> {
        let row = Arc::clone(self.kinds.served(group, version, plural)?);
        let cache = self.caches.get(&row.id)?.clone();
        Some(Open { row, cache })
    }
}

/// The caches of all kinds of the table, which follow it when kinds come and go. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caches {
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) progress: Arc<Progress>,
    /// Told whenever another table is published.
    pub(super) published: Arc<Notify>,
}

impl Caches {
    /// The table as it is now.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// The cache of a kind; `None` if it is not in the table now. Who is asked again and again, as admissions are, looks
    /// it up each time: a kind may come later, or go and come again.
    pub fn get(&self, id: &GroupResource) -> Option<Cache> {
        self.table.load().caches.get(id).cloned()
    }

    /// The cache of the kind that a Rust type is an object of.
    pub fn of<K: Object>(&self) -> Option<Cache> {
        self.table.load().caches.get(&OfType { group: K::GROUP, resource: K::PLURAL }).cloned()
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
