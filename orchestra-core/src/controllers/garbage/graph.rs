//! Who owns whom, over the caches of all kinds.

use std::sync::Arc;

use serde_json::Value;

use super::plan::{FOREGROUND, Item, Owner};
use crate::api::split_api_version;
use crate::control::{Error, EveryKind, Key};
use crate::meta::{ObjectName, OwnerRef, Scope, Uid};
use crate::watch::Entry;

/// Where an owner may be that a reference names.
pub(super) enum Place {
    /// Here.
    At(Key),
    /// Nowhere that a reference from there can reach.
    Nowhere,
    /// The kind is not served, or not yet.
    NoSuchKind,
}

/// The kinds with their caches, as references lead through them.
#[derive(Clone, Copy)]
pub(super) struct Graph<'k>(pub(super) &'k EveryKind);

impl Graph<'_> {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.0.get(&key.kind()?.id)?.1.get(key.name())
    }

    /// The objects that name an owner.
    pub(super) fn dependents(&self, owner: &Uid) -> Vec<(Key, Arc<Entry>)> {
        let mut dependents = Vec::new();
        for (kind, cache) in self.0.iter() {
            let owned = cache.owned_by(owner).into_iter();
            dependents.extend(owned.map(|entry| (Key::of(kind, entry.name().clone()), entry)));
        }
        dependents
    }

    /// Where the owner is that an object's reference names.
    pub(super) fn place(&self, dependent: &ObjectName, owner: &OwnerRef) -> Place {
        let (group, _) = split_api_version(&owner.api_version);
        let Some((kind, _)) = self.0.named(group, &owner.kind) else { return Place::NoSuchKind };
        match (kind.scope, dependent.namespace()) {
            (Scope::Cluster, _) => Place::At(Key::of(kind, ObjectName::cluster(&*owner.name))),
            (Scope::Namespaced, Some(namespace)) => {
                Place::At(Key::of(kind, ObjectName::namespaced(namespace, &*owner.name)))
            }
            (Scope::Namespaced, None) => Place::Nowhere,
        }
    }

    /// What is known of an owner without asking: `None` if it is not in its cache, which may be behind.
    pub(super) fn known(&self, dependent: &ObjectName, owner: &OwnerRef) -> Option<Owner> {
        match self.place(dependent, owner) {
            Place::Nowhere => Some(Owner::OutOfReach),
            Place::NoSuchKind => Some(Owner::Unknown),
            Place::At(key) => {
                let entry = self.get(&key).filter(|entry| *entry.uid() == owner.uid)?;
                Some(if waits(&entry) { Owner::Waiting } else { Owner::Solid })
            }
        }
    }

    /// Whether there is anything to think about: an owner that is gone or going, or an end that waits for others.
    pub(super) fn is_interesting(&self, entry: &Entry) -> bool {
        let unsettled = |owner: &OwnerRef| !matches!(self.known(entry.name(), owner), Some(Owner::Solid));
        entry.is_deleting() || entry.owners().iter().any(unsettled)
    }

    /// An object as the plan sees it, with what became of its owners.
    pub(super) fn item(&self, entry: &Entry, owners: Vec<(Uid, Owner)>) -> Result<Item, Error> {
        let blocks = |dependent: &Entry| {
            let mut owners = dependent.owners().iter();
            owners.any(|owner| owner.uid == *entry.uid() && owner.block_owner_deletion)
        };
        let dependents: Vec<_> =
            self.dependents(entry.uid()).into_iter().map(|(_, dependent)| dependent).collect();
        Ok(Item {
            deleting: entry.is_deleting(),
            finalizers: finalizers(entry)?,
            owners,
            dependents: dependents.len(),
            blocking: dependents.iter().filter(|dependent| blocks(dependent)).count(),
            dependent_waits: dependents.iter().any(|dependent| waits(dependent)),
        })
    }

    /// Whether an object of the kind has this uid under another name than a reference says.
    pub(super) fn is_elsewhere(&self, key: &Key, uid: &Uid) -> bool {
        let Some((_, cache)) = key.kind().and_then(|kind| self.0.get(&kind.id)) else { return false };
        let snapshot = cache.snapshot();
        snapshot.range(None, None).any(|entry| entry.uid() == uid)
    }
}

/// Whether an object is being deleted and waits for its dependents to go first.
fn waits(entry: &Entry) -> bool {
    entry.is_deleting() && finalizers(entry).is_ok_and(|held| held.iter().any(|name| name == FOREGROUND))
}

#[derive(serde::Deserialize)]
struct View {
    metadata: Metadata,
}

#[derive(serde::Deserialize)]
struct Metadata {
    #[serde(default)]
    finalizers: Option<Vec<String>>,
}

pub(super) fn finalizers(entry: &Entry) -> Result<Vec<String>, Error> {
    Ok(entry.view::<View>()?.metadata.finalizers.clone().unwrap_or_default())
}

/// The references of an object without some owners.
pub(super) fn owners_without(entry: &Entry, gone: &[Uid]) -> Vec<Value> {
    let kept = entry.owners().iter().filter(|owner| !gone.contains(&owner.uid));
    kept.map(crate::control::owner_reference::stored).collect()
}
