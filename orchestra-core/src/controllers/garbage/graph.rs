//! Who owns whom, over the caches of all kinds.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::Value;

use super::plan::{FOREGROUND, Item, Owner};
use crate::api::{Client, Kind, Status, split_api_version};
use crate::control::Error;
use crate::meta::{GroupResource, ObjectName, OwnerRef, Scope, Uid};
use crate::watch::{Cache, Entry};

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) kind: GroupResource,
    pub(super) name: ObjectName,
}

/// The kinds with their caches, as they were when they were last looked at.
#[derive(Default)]
pub(super) struct Graph {
    kinds: ArcSwap<HashMap<GroupResource, (Kind, Cache)>>,
}

/// Where an owner may be that a reference names.
pub(super) enum Place {
    /// Here.
    At(Key),
    /// Nowhere that a reference from there can reach.
    Nowhere,
}

impl Graph {
    /// Looks at the kinds that are served: takes in those that are not known yet, but events, of which there are many and
    /// which own nothing and are owned by nothing, and forgets those that have gone. Returns the new ones, a kind that
    /// went and came again among them. Called by one task.
    pub(super) async fn learn(&self, client: &Client) -> Result<Vec<GroupResource>, Status> {
        let (before, mut after, mut new) = (self.kinds.load_full(), HashMap::new(), Vec::new());
        for kind in client.service().kinds().await?.into_iter().filter(|kind| &*kind.id.resource != "events")
        {
            let id = kind.id.clone();
            let held = before.get(&id).filter(|(_, cache)| !cache.is_closed()).cloned();
            let known = match held {
                Some(known) => known,
                None => {
                    new.push(id.clone());
                    let cache = client.service().cache(&kind.target(None)).await?;
                    (kind, cache)
                }
            };
            after.insert(id, known);
        }
        self.kinds.store(Arc::new(after));
        Ok(new)
    }

    /// A kind and its cache.
    pub(super) fn kind(&self, id: &GroupResource) -> Option<(Kind, Cache)> {
        self.kinds.load().get(id).cloned()
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.kinds.load().get(&key.kind)?.1.get(&key.name)
    }

    /// The objects that name an owner.
    pub(super) fn dependents(&self, owner: &Uid) -> Vec<(Key, Arc<Entry>)> {
        let kinds = self.kinds.load();
        let of = |(kind, cache): &(Kind, Cache)| {
            let owned = cache.owned_by(owner).into_iter();
            let key = |entry: &Entry| Key { kind: kind.id.clone(), name: entry.name().clone() };
            owned.map(|entry| (key(&entry), entry)).collect::<Vec<_>>()
        };
        kinds.values().flat_map(of).collect()
    }

    /// Where the owner is that an object's reference names.
    pub(super) fn place(&self, dependent: &ObjectName, owner: &OwnerRef) -> Place {
        let (group, _) = split_api_version(&owner.api_version);
        let kinds = self.kinds.load();
        let mut held = kinds.values().map(|(kind, _)| kind);
        let named = held.find(|kind| &*kind.id.group == group && *kind.kind == *owner.kind);
        let Some(row) = named else { return Place::Nowhere };
        let kind = row.id.clone();
        match (row.scope, dependent.namespace()) {
            (Scope::Cluster, _) => Place::At(Key { kind, name: ObjectName::cluster(&*owner.name) }),
            (Scope::Namespaced, Some(namespace)) => {
                Place::At(Key { kind, name: ObjectName::namespaced(namespace, &*owner.name) })
            }
            (Scope::Namespaced, None) => Place::Nowhere,
        }
    }

    /// What is known of an owner without asking: `None` if it is not in its cache, which may be behind.
    pub(super) fn known(&self, dependent: &ObjectName, owner: &OwnerRef) -> Option<Owner> {
        match self.place(dependent, owner) {
            Place::Nowhere => Some(Owner::Unknown),
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

    /// Where an object of a uid is that a reference looks for elsewhere.
    pub(super) fn elsewhere(&self, key: &Key, uid: &Uid) -> bool {
        let Some((_, cache)) = self.kind(&key.kind) else { return false };
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
    kept.map(crate::controllers::claim::owner).collect()
}
