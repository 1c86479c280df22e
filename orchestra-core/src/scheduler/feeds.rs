//! From the caches to the state.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;

use super::budget::Budget;
use super::node::NodeSpec;
use super::pod::PodInfo;
use super::profile::{Profile, Profiles};
use super::queue::BACKOFF;
use super::snapshot::Snapshot;
use super::state::State;
use super::view::ServiceView;
use super::volumes::{ClaimInfo, ClassInfo, VolumeInfo};
use crate::api::{Client, Status};
use crate::watch::{Cache, Cursor, Entry, Event, EventKind, Query, TooOld};

/// The state of a cluster as its caches show it now, to plan and [`explain`](super::explain) with.
///
/// # Errors
/// When one of the kinds cannot be read.
pub async fn observe(client: &Client) -> Result<Snapshot, Status> {
    let feeds = Feeds::open(client).await?;
    let mut state = State::new(Profiles::of(Profile::default()), BACKOFF);
    feeds.follow(&mut state);
    Ok(state.snapshot)
}

/// The caches that placing depends on.
#[derive(Debug)]
pub(super) struct Feeds {
    namespaces: Cache,
    services: Cache,
    budgets: Cache,
    classes: Cache,
    volumes: Cache,
    claims: Cache,
    nodes: Cache,
    pods: Cache,
}

/// What comes after the state that the caches were in.
#[derive(Debug)]
pub(super) struct Cursors {
    namespaces: Cursor,
    services: Cursor,
    budgets: Cursor,
    classes: Cursor,
    volumes: Cursor,
    claims: Cursor,
    nodes: Cursor,
    pods: Cursor,
}

/// One change in one of the caches.
#[derive(Debug)]
pub(super) enum Fed {
    Namespace(Event),
    Service(Event),
    Budget(Event),
    Class(Event),
    Volume(Event),
    Claim(Event),
    Node(Event),
    Pod(Event),
}

impl Feeds {
    pub(super) async fn open(client: &Client) -> Result<Self, Status> {
        Ok(Self {
            namespaces: client.cache::<Namespace>().await?,
            services: client.cache::<Service>().await?,
            budgets: client.cache::<PodDisruptionBudget>().await?,
            classes: client.cache::<StorageClass>().await?,
            volumes: client.cache::<PersistentVolume>().await?,
            claims: client.cache::<PersistentVolumeClaim>().await?,
            nodes: client.cache::<Node>().await?,
            pods: client.cache::<Pod>().await?,
        })
    }

    /// Fills the state, and gives what comes after.
    pub(super) fn follow(&self, state: &mut State) -> Cursors {
        state.reset();
        let all = Query::all();
        let (found, namespaces) = self.namespaces.list_and_watch(&all);
        found.iter().for_each(|entry| set_namespace(state, entry));
        let (found, services) = self.services.list_and_watch(&all);
        found.iter().for_each(|entry| set_service(state, entry));
        let (found, budgets) = self.budgets.list_and_watch(&all);
        found.iter().for_each(|entry| set_budget(state, entry));
        let (found, classes) = self.classes.list_and_watch(&all);
        found.iter().for_each(|entry| set_class(state, entry));
        let (found, volumes) = self.volumes.list_and_watch(&all);
        found.iter().for_each(|entry| set_volume(state, entry));
        let (found, claims) = self.claims.list_and_watch(&all);
        found.iter().for_each(|entry| set_claim(state, entry));
        let (found, nodes) = self.nodes.list_and_watch(&all);
        found.iter().for_each(|entry| set_node(state, entry));
        let (found, pods) = self.pods.list_and_watch(&all);
        found.iter().for_each(|entry| set_pod(state, entry));
        state.filled();
        Cursors { namespaces, services, budgets, classes, volumes, claims, nodes, pods }
    }
}

impl Cursors {
    /// Waits for the next change. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Fed, TooOld> {
        // What a pod depends on comes before the pod.
        tokio::select! {
            biased;
            event = self.namespaces.next() => event.map(Fed::Namespace),
            event = self.services.next() => event.map(Fed::Service),
            event = self.budgets.next() => event.map(Fed::Budget),
            event = self.classes.next() => event.map(Fed::Class),
            event = self.volumes.next() => event.map(Fed::Volume),
            event = self.claims.next() => event.map(Fed::Claim),
            event = self.nodes.next() => event.map(Fed::Node),
            event = self.pods.next() => event.map(Fed::Pod),
        }
    }

    /// Takes in everything that has happened up to now.
    pub(super) fn drain(&mut self, state: &mut State) -> Result<(), TooOld> {
        while let Some(event) = self.namespaces.try_next()? {
            Fed::Namespace(event).apply(state);
        }
        while let Some(event) = self.services.try_next()? {
            Fed::Service(event).apply(state);
        }
        while let Some(event) = self.budgets.try_next()? {
            Fed::Budget(event).apply(state);
        }
        while let Some(event) = self.classes.try_next()? {
            Fed::Class(event).apply(state);
        }
        while let Some(event) = self.volumes.try_next()? {
            Fed::Volume(event).apply(state);
        }
        while let Some(event) = self.claims.try_next()? {
            Fed::Claim(event).apply(state);
        }
        while let Some(event) = self.nodes.try_next()? {
            Fed::Node(event).apply(state);
        }
        while let Some(event) = self.pods.try_next()? {
            Fed::Pod(event).apply(state);
        }
        Ok(())
    }
}

impl Fed {
    pub(super) fn apply(self, state: &mut State) {
        let gone = |event: &Event| matches!(event.kind, EventKind::Deleted);
        match self {
            Self::Namespace(event) if gone(&event) => state.set_namespace(event.object.name().name(), None),
            Self::Namespace(event) => set_namespace(state, &event.object),
            Self::Service(event) if gone(&event) => {
                let name = event.object.name();
                state.snapshot.set_service(name.namespace().unwrap_or_default(), name.name(), None);
            }
            Self::Service(event) => set_service(state, &event.object),
            Self::Budget(event) if gone(&event) => state.snapshot.set_budget(event.object.name(), None),
            Self::Budget(event) => set_budget(state, &event.object),
            Self::Class(event) if gone(&event) => {
                state.set_volumes(|all| all.set_class(event.object.name().name(), None));
            }
            Self::Class(event) => set_class(state, &event.object),
            Self::Volume(event) if gone(&event) => {
                state.set_volumes(|all| all.set_volume(event.object.name().name(), None));
            }
            Self::Volume(event) => set_volume(state, &event.object),
            Self::Claim(event) if gone(&event) => {
                state.set_volumes(|all| all.set_claim(event.object.name(), None));
            }
            Self::Claim(event) => set_claim(state, &event.object),
            Self::Node(event) if gone(&event) => state.remove_node(event.object.name().name()),
            Self::Node(event) => set_node(state, &event.object),
            Self::Pod(event) if gone(&event) => state.remove_pod(event.object.uid()),
            Self::Pod(Event { kind: EventKind::Modified(before), object })
                if is_only_news(&before, &object) => {}
            Self::Pod(event) => set_pod(state, &event.object),
        }
    }
}

/// Whether a bound pod merely reports how it is doing, which is most of all that happens in a cluster.
fn is_only_news(before: &Entry, now: &Entry) -> bool {
    let same = |path: &str| before.field(path) == now.field(path);
    now.field("spec.nodeName").is_some_and(|node| !node.is_empty())
        && same("spec.nodeName")
        && same("status.phase")
        && before.generation() == now.generation()
        && before.is_deleting() == now.is_deleting()
        && before.labels() == now.labels()
        && before.uid() == now.uid()
}

fn set_namespace(state: &mut State, entry: &Entry) {
    state.set_namespace(entry.name().name(), Some(entry.labels().to_labels()));
}

fn set_service(state: &mut State, entry: &Entry) {
    let name = entry.name();
    match serde_json::from_slice::<ServiceView>(entry.bytes()) {
        Ok(view) => {
            let namespace = name.namespace().unwrap_or_default();
            state.snapshot.set_service(namespace, name.name(), Some(view.spec.selector));
        }
        Err(error) => tracing::warn!(service = %name, %error, "service ignored: it cannot be read"),
    }
}

fn set_budget(state: &mut State, entry: &Entry) {
    match Budget::from_json(entry.bytes()) {
        Ok(budget) => state.snapshot.set_budget(entry.name(), budget),
        Err(error) => {
            tracing::warn!(budget = %entry.name(), %error, "disruption budget ignored: it cannot be read")
        }
    }
}

fn set_class(state: &mut State, entry: &Entry) {
    match ClassInfo::read(entry) {
        Ok(class) => state.set_volumes(|all| all.set_class(entry.name().name(), Some(class))),
        Err(error) => tracing::warn!(class = %entry.name(), %error, "class ignored: it cannot be read"),
    }
}

fn set_volume(state: &mut State, entry: &Entry) {
    match VolumeInfo::read(entry) {
        Ok(volume) => state.set_volumes(|all| all.set_volume(entry.name().name(), Some(volume))),
        Err(error) => tracing::warn!(volume = %entry.name(), %error, "volume ignored: it cannot be read"),
    }
}

fn set_claim(state: &mut State, entry: &Entry) {
    match ClaimInfo::read(entry) {
        Ok(claim) => state.set_volumes(|all| all.set_claim(entry.name(), Some(claim))),
        Err(error) => tracing::warn!(claim = %entry.name(), %error, "claim ignored: it cannot be read"),
    }
}

fn set_node(state: &mut State, entry: &Entry) {
    match NodeSpec::from_json(entry.bytes()) {
        Ok(spec) => state.set_node(spec),
        Err(error) => tracing::warn!(node = %entry.name(), %error, "node ignored: it cannot be read"),
    }
}

fn set_pod(state: &mut State, entry: &Entry) {
    match PodInfo::from_entry(entry) {
        Ok(pod) => state.set_pod(Arc::new(pod)),
        Err(error) => tracing::warn!(pod = %entry.name(), %error, "pod ignored: it cannot be read"),
    }
}
