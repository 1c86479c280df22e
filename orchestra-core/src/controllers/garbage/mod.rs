//! Garbage collection: what nobody owns any more goes, in the order that was asked for.
//!
//! It works on the references in `metadata.ownerReferences`, by uid, over every kind that is served; kinds
//! that come to be served later are found within half a minute, and one that is served no more is let go:
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

use k8s_openapi::api::core::v1::ObjectReference;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::graph::{Graph, Key, Place};
use self::plan::{FOREGROUND, ORPHAN, Owner, Verdict};
use super::apply;
use crate::api::{Client, DeleteOptions, Operation, Patch, Propagation, Reply, Status, Target, api_version};
use crate::control::Error;
use crate::control::events::Recorder;
use crate::control::queue::{Cause, Queue};
use crate::meta::{GroupResource, OwnerRef, Uid};
use crate::watch::{Entry, Event, EventKind, Query};

const NAME: &str = "garbage-collector-controller";
/// How many objects are looked at at a time.
const CONCURRENCY: usize = 20;
/// How many owners that are gone for good are remembered.
const REMEMBERED: usize = 10_000;
/// How soon kinds that could not be read are read again.
const RETRY: Duration = Duration::from_secs(2);
/// How often new kinds are looked for, as in Kubernetes.
const LEARN: Duration = Duration::from_secs(30);

struct Collector {
    client: Client,
    graph: Graph,
    queue: Queue<Key>,
    recorder: Recorder,
    /// Uids of objects that are gone: a uid never comes back.
    absent: Mutex<HashSet<Uid>>,
}

/// Runs the collector.
pub(super) async fn run(client: Client, shutdown: impl Future<Output = ()>) {
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let recorder = Recorder::new(client.clone(), NAME, "");
    let (graph, queue, absent) = (Graph::default(), Queue::new(), Mutex::default());
    let collector = Arc::new(Collector { client, graph, queue, recorder, absent });
    tokio::select! {
        () = Arc::clone(&collector).learn(stop) => {}
        () = collector.work() => {}
        () = shutdown => {}
    }
}

impl Collector {
    /// Finds the kinds, and new ones from time to time; follows each.
    async fn learn(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let again = match self.graph.learn(&self.client).await {
                Ok(new) => {
                    for kind in new {
                        let follow = Arc::clone(&self).follow(kind);
                        tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
                    }
                    LEARN
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read all kinds, trying again");
                    RETRY
                }
            };
            self.client.clock().sleep(again).await;
        }
    }

    /// Follows one kind: what happens to its objects leads to them, to their owners, or to their dependents.
    async fn follow(self: Arc<Self>, kind: GroupResource) {
        let Some((row, cache)) = self.graph.kind(&kind) else { return };
        // Which kind it is is known for as long as the program runs.
        let cause: (Cause, Cause) = (Cause::Listed("owned object"), Cause::Changed("owned object"));
        tracing::trace!(resource = %row.id, "following");
        loop {
            let (objects, mut cursor) = cache.list_and_watch(&Query::all());
            for entry in &objects {
                self.seen(&kind, entry, cause.0);
            }
            drop(objects);
            loop {
                tokio::select! {
                    biased;
                    event = cursor.next() => match event {
                        Ok(event) => self.happened(&kind, &event, cause.1),
                        Err(_) => break,
                    },
                    () = cache.closed() => return,
                }
            }
        }
    }

    fn seen(&self, kind: &GroupResource, entry: &Entry, cause: Cause) {
        if self.graph.is_interesting(entry) {
            self.queue.add(Key { kind: kind.clone(), name: entry.name().clone() }, cause);
        }
    }

    fn happened(&self, kind: &GroupResource, event: &Event, cause: Cause) {
        let entry = &event.object;
        match &event.kind {
            EventKind::Added => self.seen(kind, entry, cause),
            EventKind::Modified(before) => {
                self.seen(kind, entry, cause);
                if before.owners() != entry.owners() {
                    self.tell_owners(before, cause);
                }
                if entry.is_deleting() && !before.is_deleting() {
                    self.tell_dependents(entry, cause);
                }
            }
            EventKind::Deleted => {
                self.remember_absent(entry.uid());
                self.tell_dependents(entry, cause);
                self.tell_owners(entry, cause);
            }
        }
    }

    fn tell_dependents(&self, owner: &Entry, cause: Cause) {
        for (key, _) in self.graph.dependents(owner.uid()) {
            self.queue.add(key, cause);
        }
    }

    /// Owners that wait for a dependent to go.
    fn tell_owners(&self, dependent: &Entry, cause: Cause) {
        for owner in dependent.owners() {
            if let Place::At(key) = self.graph.place(dependent.name(), owner)
                && self.graph.get(&key).is_some_and(|entry| entry.is_deleting())
            {
                self.queue.add(key, cause);
            }
        }
    }

    async fn work(self: Arc<Self>) {
        let permits = Arc::new(Semaphore::new(CONCURRENCY));
        // When this is dropped, what is under way ends where it is.
        let mut runs = JoinSet::new();
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            let Some(taken) = self.queue.next().await else { return };
            let collector = Arc::clone(&self);
            let span = tracing::info_span!("collect", object = %taken.key.name, attempt = taken.failures);
            let run = async move {
                let outcome = collector.look_at(&taken.key).await;
                drop(permit);
                match outcome {
                    Ok(()) => collector.queue.forget(&taken.key),
                    Err(error) => {
                        let after = collector.queue.retry(taken.key.clone());
                        tracing::debug!(error, ?after, "could not collect, trying again");
                    }
                }
                collector.queue.done(&taken.key);
            };
            runs.spawn(run.instrument(span));
            while runs.try_join_next().is_some() {}
        }
    }

    async fn look_at(&self, key: &Key) -> Result<(), Error> {
        let Some(entry) = self.graph.get(key) else { return Ok(()) };
        let mut owners = Vec::with_capacity(entry.owners().len());
        if !entry.is_deleting() {
            for owner in entry.owners() {
                owners.push((owner.uid.clone(), self.owner(key, &entry, owner).await?));
            }
        }
        match plan::plan(&self.graph.item(&entry, owners)?) {
            Verdict::Nothing => Ok(()),
            Verdict::Forget(owners) => self.set_owners(key, &entry, &owners).await,
            Verdict::Delete { propagation, unblock } => {
                if unblock {
                    self.unblock(key, &entry).await?;
                }
                self.delete(key, &entry, propagation, unblock).await
            }
            Verdict::Orphan => {
                for (key, dependent) in self.graph.dependents(entry.uid()) {
                    self.set_owners(&key, &dependent, std::slice::from_ref(entry.uid())).await?;
                }
                self.drop_finalizer(key, &entry, ORPHAN).await
            }
            Verdict::DeleteDependents => {
                for (key, _) in self.graph.dependents(entry.uid()) {
                    self.queue.add(key, Cause::Asked);
                }
                Ok(())
            }
            Verdict::Release => self.drop_finalizer(key, &entry, FOREGROUND).await,
        }
    }

    /// What became of an owner. If its cache does not have it, the API is asked.
    async fn owner(&self, key: &Key, dependent: &Entry, owner: &OwnerRef) -> Result<Owner, Status> {
        if let Some(known) = self.graph.known(dependent.name(), owner) {
            if known == Owner::Unknown && key.name.namespace().is_none() {
                self.complain(key, dependent, owner);
            }
            return Ok(known);
        }
        let Place::At(place) = self.graph.place(dependent.name(), owner) else { return Ok(Owner::Unknown) };
        if self.absent.lock().unwrap_or_else(PoisonError::into_inner).contains(&owner.uid) {
            return Ok(Owner::Absent);
        }
        match self.client.call(self.target(&place)?, Operation::GET).await {
            Ok(response) => match response.reply {
                Reply::Object(entry) if *entry.uid() == owner.uid => return Ok(Owner::Solid),
                _ => {}
            },
            Err(status) if status.is_not_found() => {}
            Err(status) => return Err(status),
        }
        if self.graph.elsewhere(&place, &owner.uid) {
            self.complain(key, dependent, owner);
        } else {
            self.remember_absent(&owner.uid);
        }
        Ok(Owner::Absent)
    }

    fn remember_absent(&self, uid: &Uid) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.len() >= REMEMBERED {
            absent.clear();
        }
        absent.insert(uid.clone());
    }

    /// Tells people that a reference leads out of its namespace.
    fn complain(&self, key: &Key, dependent: &Entry, owner: &OwnerRef) {
        let Some((kind, _)) = self.graph.kind(&key.kind) else { return };
        let about = ObjectReference {
            api_version: Some(api_version(&kind.id.group, &kind.version)),
            kind: Some(kind.kind.to_string()),
            namespace: key.name.namespace().map(str::to_owned),
            name: Some(key.name.name().to_owned()),
            uid: Some(dependent.uid().to_string()),
            ..ObjectReference::default()
        };
        let OwnerRef { api_version, kind, name, uid, .. } = owner;
        let namespace = key.name.namespace().unwrap_or_default();
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace {namespace:?}"
        );
        self.recorder.warning(&about, "OwnerRefInvalidNamespace", message);
    }

    fn target(&self, key: &Key) -> Result<Target, Status> {
        let (kind, _) = self.graph.kind(&key.kind).ok_or_else(Status::no_such_resource)?;
        Ok(kind.target(key.name.namespace()).named(key.name.name()))
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
        apply::unless_gone(self.client.call(self.target(key)?, Operation::Delete(options)).await)
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
        let patch = Patch::Merge(apply::guarded(entry, patch));
        apply::unless_gone(self.client.call(self.target(key)?, patch.operation()).await)
    }
}
