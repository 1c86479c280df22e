//! Garbage collection: what nobody owns any more goes, in the order that was asked for.
//!
//! It works on the references in `metadata.ownerReferences`, by uid, over every kind that is served; kinds
//! that come to be served later are found within half a minute, as are objects whose owners are of such a kind:
//!
//! - an object whose owners are all gone is deleted (*background*);
//! - an object that is deleted in the *foreground* carries the finalizer `foregroundDeletion` and stays until the
//!   dependents that block it are gone;
//! - one that is deleted with the finalizer `orphan` is first taken out of its dependents' references.
//!
//! The caches say who owns whom. Before anything is deleted because an owner is not there, the API itself is asked.
//! Every deletion names the uid and the revision that the decision was made on.

mod graph;
mod plan;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ObjectReference;
use rustc_hash::FxBuildHasher;
use serde_json::{Value, json};

use self::graph::{Graph, Place};
use self::plan::{FOREGROUND, ORPHAN, Owner, Verdict};
use super::Host;
use crate::api::{
    Client, DeleteOptions, Kind, Operation, Patch, Propagation, Reply, Status, Target, api_version,
};
use crate::control::events::Recorder;
use crate::control::write;
use crate::control::{Action, Context, Controller, Error, EveryKind, Key, Reconciler, Seen};
use crate::meta::{OwnerRef, Uid};
use crate::watch::{Entry, EventKind};

const NAME: &str = "garbage-collector-controller";
/// How many objects are looked at at a time.
const CONCURRENCY: usize = 20;
/// How many owners that are gone for good are remembered.
const REMEMBERED: usize = 10_000;
/// How soon an object is looked at again whose owner is of a kind that is not served.
const UNKNOWN_KIND: Duration = Duration::from_secs(30);

/// Uids of objects that are gone: a uid never comes back.
#[derive(Clone, Default)]
struct Absent(Arc<Mutex<HashSet<Uid, FxBuildHasher>>>);

impl Absent {
    fn insert(&self, uid: &Uid) {
        let mut absent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.len() >= REMEMBERED {
            absent.clear();
        }
        absent.insert(uid.clone());
    }

    fn contains(&self, uid: &Uid) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(uid)
    }
}

/// Runs the collector.
pub(super) async fn run(host: Host) -> Result<(), Status> {
    let recorder = host.recorder(NAME);
    let absent = Absent::default();
    let remembered = absent.clone();
    let leads_to = move |kinds: &EveryKind, kind: &Arc<Kind>, seen: Seen<'_>| {
        if let Seen::Event(event) = seen
            && matches!(event.kind, EventKind::Deleted)
        {
            remembered.insert(event.object.uid());
        }
        leads_to(Graph(kinds), kind, seen)
    };
    let controller = Controller::every_kind(host.client.clone(), may_be_owned, leads_to)
        .named(NAME)
        .metrics(&host.metrics)
        .concurrency(CONCURRENCY);
    host.run(controller, Collector { recorder, absent }).await
}

/// Of events there are many, and they own nothing and are owned by nothing.
fn may_be_owned(kind: &Kind) -> bool {
    &*kind.id.resource != "events"
}

/// What happens to an object leads to it, to its owners, or to its dependents.
fn leads_to(graph: Graph<'_>, kind: &Arc<Kind>, seen: Seen<'_>) -> Vec<Key> {
    let entry = seen.object();
    let itself = || {
        let key = graph.is_interesting(entry).then(|| Key::of(kind, entry.name().clone()));
        key.into_iter().collect::<Vec<_>>()
    };
    let Seen::Event(event) = seen else { return itself() };
    match &event.kind {
        EventKind::Added => itself(),
        EventKind::Modified(before) => {
            let mut keys = itself();
            if before.owners() != entry.owners() {
                keys.extend(waiting_owners(graph, before));
            }
            if entry.is_deleting() && !before.is_deleting() {
                keys.extend(dependents(graph, entry));
            }
            keys
        }
        EventKind::Deleted => {
            let mut keys = dependents(graph, entry);
            keys.extend(waiting_owners(graph, entry));
            keys
        }
    }
}

fn dependents(graph: Graph<'_>, owner: &Entry) -> Vec<Key> {
    graph.dependents(owner.uid()).into_iter().map(|(key, _)| key).collect()
}

/// Owners that wait for a dependent to go.
fn waiting_owners(graph: Graph<'_>, dependent: &Entry) -> Vec<Key> {
    let place = |owner| match graph.place(dependent.name(), owner) {
        Place::At(key) => graph.get(&key).is_some_and(|entry| entry.is_deleting()).then_some(key),
        Place::Nowhere | Place::NoSuchKind => None,
    };
    dependent.owners().iter().filter_map(place).collect()
}

struct Collector {
    recorder: Recorder,
    absent: Absent,
}

#[async_trait]
impl Reconciler for Collector {
    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let kinds = context.every_kind();
        let Some(kind) = context.kind() else { return Ok(Action::Done) };
        let key = Key::of(kind, context.name().clone());
        Run { collector: self, context: &context, graph: Graph(&kinds) }.look_at(&key).await
    }
}

/// One look at one object.
struct Run<'r> {
    collector: &'r Collector,
    context: &'r Context,
    graph: Graph<'r>,
}

impl Run<'_> {
    async fn look_at(&self, key: &Key) -> Result<Action, Error> {
        let Some(entry) = self.graph.get(key) else { return Ok(Action::Done) };
        let mut owners = Vec::with_capacity(entry.owners().len());
        if !entry.is_deleting() {
            for owner in entry.owners() {
                owners.push((owner.uid.clone(), self.owner(key, &entry, owner).await?));
            }
        }
        let is_unknown = owners.iter().any(|(_, owner)| *owner == Owner::Unknown);
        self.carry_out(plan::plan(&self.graph.item(&entry, owners)?), key, &entry).await?;
        Ok(if is_unknown { Action::Again(UNKNOWN_KIND) } else { Action::Done })
    }

    async fn carry_out(&self, verdict: Verdict, key: &Key, entry: &Entry) -> Result<(), Error> {
        match verdict {
            Verdict::Nothing => Ok(()),
            Verdict::Forget(owners) => self.set_owners(key, entry, &owners).await,
            Verdict::Delete { propagation, unblock } => {
                if unblock {
                    self.unblock(key, entry).await?;
                }
                self.delete(key, entry, propagation, unblock).await
            }
            Verdict::Orphan => {
                for (key, dependent) in self.graph.dependents(entry.uid()) {
                    self.set_owners(&key, &dependent, std::slice::from_ref(entry.uid())).await?;
                }
                self.drop_finalizer(key, entry, ORPHAN).await
            }
            Verdict::DeleteDependents => {
                dependents(self.graph, entry).into_iter().for_each(|key| self.context.run_for(key));
                Ok(())
            }
            Verdict::Release => self.drop_finalizer(key, entry, FOREGROUND).await,
        }
    }

    /// What became of an owner. If its cache does not have it, the API is asked.
    async fn owner(&self, key: &Key, dependent: &Entry, owner: &OwnerRef) -> Result<Owner, Status> {
        if let Some(known) = self.graph.known(dependent.name(), owner) {
            if known == Owner::OutOfReach {
                self.complain(key, dependent, owner);
            }
            return Ok(known);
        }
        let Place::At(place) = self.graph.place(dependent.name(), owner) else { return Ok(Owner::Unknown) };
        if self.collector.absent.contains(&owner.uid) {
            return Ok(Owner::Absent);
        }
        match self.client().call(self.target(&place)?, Operation::GET).await {
            Ok(response) => match response.reply {
                Reply::Object(entry) if *entry.uid() == owner.uid => return Ok(Owner::Solid),
                _ => {}
            },
            Err(status) if status.is_not_found() => {}
            Err(status) => return Err(status),
        }
        if self.graph.is_elsewhere(&place, &owner.uid) {
            self.complain(key, dependent, owner);
        } else {
            self.collector.absent.insert(&owner.uid);
        }
        Ok(Owner::Absent)
    }

    /// Tells people that a reference leads out of its namespace.
    fn complain(&self, key: &Key, dependent: &Entry, owner: &OwnerRef) {
        let Some(kind) = key.kind() else { return };
        let about = ObjectReference {
            api_version: Some(api_version(&kind.id.group, &kind.version)),
            kind: Some(kind.kind.to_string()),
            namespace: key.name().namespace().map(str::to_owned),
            name: Some(key.name().name().to_owned()),
            uid: Some(dependent.uid().to_string()),
            ..ObjectReference::default()
        };
        let OwnerRef { api_version, kind, name, uid, .. } = owner;
        let namespace = key.name().namespace().unwrap_or_default();
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace {namespace:?}"
        );
        self.collector.recorder.warning(&about, "OwnerRefInvalidNamespace", message);
    }

    fn client(&self) -> &Client {
        self.context.client()
    }

    fn target(&self, key: &Key) -> Result<Target, Status> {
        let kind = key.kind().ok_or_else(Status::no_such_resource)?;
        Ok(kind.target(key.name().namespace()).named(key.name().name()))
    }

    async fn delete(
        &self,
        key: &Key,
        entry: &Entry,
        propagation: Propagation,
        changed: bool,
    ) -> Result<(), Error> {
        let options = DeleteOptions {
            uid: Some(entry.uid().to_string()),
            revision: (!changed).then_some(entry.revision()),
            propagation: Some(propagation),
            ..DeleteOptions::default()
        };
        write::unless_gone(self.client().call(self.target(key)?, Operation::Delete(options)).await)
    }

    /// Lets no owner wait for an object any more.
    async fn unblock(&self, key: &Key, entry: &Entry) -> Result<(), Error> {
        let mut owners = graph::owners_without(entry, &[]);
        for owner in &mut owners {
            owner["blockOwnerDeletion"] = false.into();
        }
        self.patch(key, entry, json!({"metadata": {"ownerReferences": owners}})).await
    }

    async fn set_owners(&self, key: &Key, entry: &Entry, gone: &[Uid]) -> Result<(), Error> {
        let owners = graph::owners_without(entry, gone);
        self.patch(key, entry, json!({"metadata": {"ownerReferences": owners}})).await
    }

    async fn drop_finalizer(&self, key: &Key, entry: &Entry, finalizer: &str) -> Result<(), Error> {
        let mut finalizers = graph::finalizers(entry)?;
        finalizers.retain(|held| held != finalizer);
        self.patch(key, entry, json!({"metadata": {"finalizers": finalizers}})).await
    }

    async fn patch(&self, key: &Key, entry: &Entry, patch: Value) -> Result<(), Error> {
        let patch = Patch::Merge(write::guarded(entry, patch));
        write::unless_gone(self.client().call(self.target(key)?, patch.operation()).await)
    }
}
