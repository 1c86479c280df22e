//! From the caches to the state.

use std::sync::Arc;

use futures::future::select_all;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};

use super::budget::Budget;
use super::devices::{DeviceClaim, DeviceClassInfo, SliceInfo};
use super::node::NodeSpec;
use super::pod::PodInfo;
use super::profile::{Profile, Profiles};
use super::queue::BACKOFF;
use super::snapshot::Snapshot;
use super::state::State;
use super::view::ServiceView;
use super::volumes::{
    AttachmentInfo, CapacityInfo, ClaimInfo, ClassInfo, DriversOfNode, VolumeInfo, keeps_account,
};
use crate::api::{Client, Status};
use crate::meta::Object;
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

/// How what happened to an object of a kind is taken in.
type Take = fn(&mut State, &Event);

/// The caches that placing depends on. What a pod depends on comes before the pod.
#[derive(Debug)]
pub(super) struct Feeds(Vec<(Take, Cache)>);

/// What comes after the state that the caches were in.
#[derive(Debug)]
pub(super) struct Cursors(Vec<(Take, Cursor)>);

/// One change in one of the caches.
#[derive(Debug)]
pub(super) struct Fed {
    take: Take,
    event: Event,
}

impl Feeds {
    pub(super) async fn open(client: &Client) -> Result<Self, Status> {
        let mut feeds = Self(Vec::new());
        feeds.add::<Namespace>(client, namespace).await?;
        feeds.add::<Service>(client, service).await?;
        feeds.add::<PodDisruptionBudget>(client, budget).await?;
        feeds.add::<StorageClass>(client, class).await?;
        feeds.add::<CSIDriver>(client, driver).await?;
        feeds.add::<CSIStorageCapacity>(client, capacity).await?;
        feeds.add::<CSINode>(client, drivers_of_node).await?;
        feeds.add::<VolumeAttachment>(client, attachment).await?;
        feeds.add::<PersistentVolume>(client, volume).await?;
        feeds.add::<PersistentVolumeClaim>(client, claim).await?;
        feeds.add_if_served::<DeviceClass>(client, device_class).await?;
        feeds.add_if_served::<ResourceSlice>(client, slice).await?;
        feeds.add_if_served::<ResourceClaim>(client, device_claim).await?;
        feeds.add::<Node>(client, node).await?;
        feeds.add::<Pod>(client, pod).await?;
        Ok(feeds)
    }

    async fn add<K: Object>(&mut self, client: &Client, take: Take) -> Result<(), Status> {
        self.0.push((take, client.cache::<K>().await?));
        Ok(())
    }

    /// The same of a kind that not every API server has.
    async fn add_if_served<K: Object>(&mut self, client: &Client, take: Take) -> Result<(), Status> {
        match self.add::<K>(client, take).await {
            Err(status) if status.is_not_found() => Ok(()),
            done => done,
        }
    }

    /// Fills the state, and gives what comes after.
    pub(super) fn follow(&self, state: &mut State) -> Cursors {
        state.reset();
        let all = Query::all();
        let follow = |(take, cache): &(Take, Cache)| {
            let (found, cursor) = cache.list_and_watch(&all);
            for object in found {
                take(state, &Event { kind: EventKind::Added, object });
            }
            (*take, cursor)
        };
        let cursors = Cursors(self.0.iter().map(follow).collect());
        state.filled();
        cursors
    }
}

impl Cursors {
    /// Waits for the next change. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Result<Fed, TooOld> {
        let waits = self.0.iter_mut().map(|(take, cursor)| {
            let take = *take;
            Box::pin(async move { cursor.next().await.map(|event| Fed { take, event }) })
        });
        select_all(waits).await.0
    }

    /// Takes in everything that has happened up to now.
    pub(super) fn drain(&mut self, state: &mut State) -> Result<(), TooOld> {
        for (take, cursor) in &mut self.0 {
            while let Some(event) = cursor.try_next()? {
                take(state, &event);
            }
        }
        Ok(())
    }
}

impl Fed {
    pub(super) fn apply(self, state: &mut State) {
        (self.take)(state, &self.event);
    }
}

/// The object that something happened to, unless it is gone.
fn held(event: &Event) -> Option<&Entry> {
    (!matches!(event.kind, EventKind::Deleted)).then_some(&*event.object)
}

/// What an object says; nothing, and a word to people, when that cannot be read.
fn read<T, E: std::fmt::Display>(
    kind: &str,
    entry: &Entry,
    read: impl Fn(&Entry) -> Result<T, E>,
) -> Option<T> {
    read(entry)
        .inspect_err(
            |error| tracing::warn!(kind, object = %entry.name(), %error, "ignored: it cannot be read"),
        )
        .ok()
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

fn namespace(state: &mut State, event: &Event) {
    let labels = held(event).map(|entry| entry.labels().to_labels());
    state.set_namespace(event.object.name().name(), labels);
}

fn service(state: &mut State, event: &Event) {
    let view = |entry: &Entry| entry.peek::<ServiceView>();
    let name = event.object.name();
    let selector = match held(event) {
        Some(entry) => match read("Service", entry, view) {
            Some(view) => Some(view.spec.selector),
            None => return,
        },
        None => None,
    };
    state.snapshot.set_service(name.namespace().unwrap_or_default(), name.name(), selector);
}

fn budget(state: &mut State, event: &Event) {
    let view = |entry: &Entry| entry.with_bare(Budget::from_json);
    let budget = held(event).and_then(|entry| read("PodDisruptionBudget", entry, view)).flatten();
    state.snapshot.set_budget(event.object.name(), budget);
}

fn class(state: &mut State, event: &Event) {
    let class = held(event).and_then(|entry| read("StorageClass", entry, ClassInfo::read));
    state.set_volumes(|all| all.set_class(event.object.name().name(), class));
}

fn driver(state: &mut State, event: &Event) {
    let accounts = held(event).and_then(|entry| read("CSIDriver", entry, keeps_account));
    state.set_volumes(|all| all.room.set_driver(event.object.name().name(), accounts == Some(true)));
}

fn capacity(state: &mut State, event: &Event) {
    let capacity = held(event).and_then(|entry| read("CSIStorageCapacity", entry, CapacityInfo::read));
    state.set_volumes(|all| all.room.set_capacity(event.object.name(), capacity));
}

fn drivers_of_node(state: &mut State, event: &Event) {
    let drivers = held(event).and_then(|entry| read("CSINode", entry, DriversOfNode::read));
    state.set_volumes(|all| all.attached.set_node(event.object.name().name(), drivers));
}

fn attachment(state: &mut State, event: &Event) {
    let attachment = held(event).and_then(|entry| read("VolumeAttachment", entry, AttachmentInfo::read));
    state.set_volumes(|all| all.attached.set_attachment(event.object.name().name(), attachment));
}

fn volume(state: &mut State, event: &Event) {
    let volume = held(event).and_then(|entry| read("PersistentVolume", entry, VolumeInfo::read));
    state.set_volumes(|all| all.set_volume(event.object.name().name(), volume));
}

fn claim(state: &mut State, event: &Event) {
    let claim = held(event).and_then(|entry| read("PersistentVolumeClaim", entry, ClaimInfo::read));
    state.set_volumes(|all| all.set_claim(event.object.name(), claim));
}

fn device_class(state: &mut State, event: &Event) {
    let class = held(event).and_then(|entry| read("DeviceClass", entry, DeviceClassInfo::read));
    state.set_devices(|all| all.set_class(event.object.name().name(), class));
}

fn slice(state: &mut State, event: &Event) {
    let slice = held(event).and_then(|entry| read("ResourceSlice", entry, SliceInfo::read));
    state.set_devices(|all| all.set_slice(event.object.name().name(), slice));
}

fn device_claim(state: &mut State, event: &Event) {
    let claim = held(event).and_then(|entry| read("ResourceClaim", entry, DeviceClaim::read));
    state.set_devices(|all| all.set_claim(event.object.name(), claim));
}

fn node(state: &mut State, event: &Event) {
    let view = |entry: &Entry| entry.with_bare(NodeSpec::from_json);
    match held(event) {
        Some(entry) => {
            if let Some(spec) = read("Node", entry, view) {
                state.set_node(spec);
            }
        }
        None => state.remove_node(event.object.name().name()),
    }
}

fn pod(state: &mut State, event: &Event) {
    match (&event.kind, held(event)) {
        (EventKind::Modified(before), Some(now)) if is_only_news(before, now) => {}
        (_, Some(entry)) => {
            if let Some(pod) = read("Pod", entry, PodInfo::from_entry) {
                state.set_pod(Arc::new(pod));
            }
        }
        (_, None) => state.remove_pod(event.object.uid()),
    }
}
