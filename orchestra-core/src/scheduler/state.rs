//! What the scheduler knows: the cluster as its caches show it, the pods that wait, and the placements under way.
//!
//! Synchronous and without a clock; the driver feeds it what the caches say and does what it decides.

use std::sync::Arc;

use hashbrown::HashMap;
use jiff::Timestamp;

use super::devices::{self, Allocation, Devices, Wanted};
use super::node::NodeSpec;
use super::plan::{Plan, plan};
use super::plugin::Filter;
use super::pod::PodInfo;
use super::preempt::{Preemption, preempt};
use super::profile::Profiles;
use super::queue::Queue;
use super::relevance::ClusterEvent;
use super::snapshot::Snapshot;
use super::volumes::{At, Binding, Claims, OnNode, Volumes};
use crate::meta::{ObjectName, Uid};
use crate::supervise::Backoff;

/// What to do for a pod.
#[derive(Clone, Debug)]
pub(crate) enum Decision {
    /// Bind it to the node, its volumes first. It is counted there already.
    Bind { pod: Arc<PodInfo>, node: Arc<str>, volumes: Vec<Binding>, devices: Vec<Allocation> },
    /// Tell people why it waits, and remove the victims to make room on the nominated node.
    Wait {
        pod: Arc<PodInfo>,
        message: String,
        nominated: Option<Arc<str>>,
        victims: Vec<Arc<PodInfo>>,
        /// A claim of devices that may give them back, since the pod cannot use them.
        giving_back: Option<ObjectName>,
    },
}

/// What is set aside for a pod that is being bound: claims of volumes, and of devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct SetAside {
    pub(crate) volumes: Vec<ObjectName>,
    pub(crate) devices: Vec<Uid>,
}

impl SetAside {
    pub(crate) fn of(volumes: &[Binding], devices: &[Allocation]) -> Self {
        Self {
            volumes: volumes.iter().map(|binding| binding.claim().name.clone()).collect(),
            devices: devices.iter().map(|allocation| allocation.claim.uid.clone()).collect(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct State {
    /// By the names by which pods ask for them.
    profiles: Profiles,
    pub(crate) snapshot: Snapshot,
    queue: Queue,
    /// Pods being bound, counted on their node before the cache shows them there.
    assumed: HashMap<Uid, Arc<str>>,
    /// What has happened since pods were last woken.
    changes: Vec<ClusterEvent>,
}

impl State {
    pub(crate) fn new(profiles: Profiles, backoff: Backoff) -> Self {
        let mut snapshot = Snapshot::new();
        for profile in profiles.all() {
            snapshot.track_keys(profile.topology_keys().iter().map(String::as_str));
        }
        Self { profiles, snapshot, queue: Queue::new(backoff), assumed: HashMap::new(), changes: Vec::new() }
    }

    pub(crate) fn set_node(&mut self, spec: NodeSpec) {
        let name = spec.name.clone();
        let before = self.snapshot.set_node(spec);
        let now = self.snapshot.node_named(&name).map(|node| &node.spec);
        // Heartbeats change nothing that matters here.
        if before.as_ref() != now {
            self.changes.push(ClusterEvent::Node { name });
        }
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        self.snapshot.remove_node(name);
        self.changes.push(ClusterEvent::NodeGone);
    }

    pub(crate) fn set_namespace(&mut self, name: &str, labels: Option<crate::selector::Labels>) {
        self.snapshot.set_namespace(name, labels);
        self.changes.push(ClusterEvent::Namespace);
    }

    /// Takes in a pod as the cache shows it now.
    pub(crate) fn set_pod(&mut self, pod: Arc<PodInfo>) {
        if let Some(node) = pod.node.clone() {
            self.assumed.remove(&pod.uid);
            self.queue.remove(&pod.uid);
            return self.count(pod, &node);
        }
        if let Some(node) = self.assumed.get(&pod.uid).cloned() {
            return self.count(pod, &node);
        }
        if pod.finished || pod.deleting {
            return self.remove_pod(&pod.uid);
        }
        if self.profiles.of_pod(&pod).is_none() {
            return;
        }
        match &pod.nominated_node {
            Some(node) => self.snapshot.nominate(pod.clone(), node),
            None => self.withdraw(&pod.uid),
        }
        self.snapshot.track(&pod);
        self.queue.set(pod);
    }

    pub(crate) fn remove_pod(&mut self, uid: &Uid) {
        self.assumed.remove(uid);
        self.queue.remove(uid);
        self.withdraw(uid);
        if let Some((pod, node)) = self.snapshot.remove_pod(uid) {
            self.changes.push(ClusterEvent::PodGone { pod, node });
        }
    }

    /// Counts a pod on its node and notes what that changes for others.
    fn count(&mut self, pod: Arc<PodInfo>, node: &str) {
        let before = self.snapshot.remove_pod(&pod.uid);
        self.withdraw(&pod.uid);
        self.snapshot.set_pod(pod.clone(), Some(node));
        match before {
            Some((before, _)) if !pod.finished && before.counts_like(&pod) => {}
            Some((before, node)) if pod.finished || pod.deleting => {
                self.changes.push(ClusterEvent::PodGone { pod: before, node });
            }
            _ => self.changes.push(ClusterEvent::PodThere { pod }),
        }
    }

    fn withdraw(&mut self, uid: &Uid) {
        if let Some((pod, node)) = self.snapshot.withdraw_nomination(uid) {
            self.changes.push(ClusterEvent::PodGone { pod, node });
        }
    }

    /// Decides about the next pod that is due; `None` when there is none.
    pub(crate) fn decide(&mut self, now: Timestamp, seed: u64) -> Option<Decision> {
        self.wake(now);
        let pod = self.queue.pop(now)?;
        let profile = Arc::clone(self.profiles.of_pod(&pod)?);
        let mut diagnosis = match plan(&self.snapshot, &pod, &profile, seed) {
            Plan::Place { node, .. } => {
                let volumes = self.volumes_for(&pod, &node);
                let devices = self.devices_for(&pod, &node);
                self.snapshot.volumes.assume(&volumes);
                self.snapshot.devices.assume(&devices);
                self.snapshot.set_pod(pod.clone(), Some(&node));
                self.assumed.insert(pod.uid.clone(), node.clone());
                self.changes.push(ClusterEvent::PodThere { pod: pod.clone() });
                return Some(Decision::Bind { pod, node, volumes, devices });
            }
            Plan::Unschedulable(diagnosis) => diagnosis,
        };
        let (nominated, victims) = match preempt(&self.snapshot, &pod, &profile, &diagnosis, seed) {
            Preemption::Evict { node, victims } => (Some(node), victims),
            Preemption::NotTried(why) => {
                diagnosis.preemption = why;
                (pod.nominated_node.clone(), Vec::new())
            }
            Preemption::Impossible(why) => {
                diagnosis.preemption = why;
                (None, Vec::new())
            }
        };
        match &nominated {
            Some(node) => self.snapshot.nominate(pod.clone(), node),
            None => self.withdraw(&pod.uid),
        }
        let filters = diagnosis.filters();
        let giving_back = filters
            .contains(&Filter::DynamicResources)
            .then(|| Wanted::of(&self.snapshot.devices, &pod).to_give_back(&pod));
        self.queue.park(&pod.uid, filters, now);
        let (message, giving_back) = (diagnosis.to_string(), giving_back.flatten());
        Some(Decision::Wait { message, pod, nominated, victims, giving_back })
    }

    /// What is to be allocated for a pod on a node.
    fn devices_for(&self, pod: &PodInfo, node: &str) -> Vec<Allocation> {
        let Some(node) = self.snapshot.node_named(node).filter(|_| !pod.devices.is_empty()) else {
            return Vec::new();
        };
        let at = At { name: &node.spec.name, labels: &node.labels };
        let devices = &self.snapshot.devices;
        match Wanted::of(devices, pod).allocate(devices, at) {
            devices::OnNode::Fits(allocations) => allocations,
            _ => Vec::new(),
        }
    }

    /// A claim, a class or a slice of devices came, went or changed.
    pub(crate) fn set_devices(&mut self, change: impl FnOnce(&mut Devices)) {
        change(&mut self.snapshot.devices);
        self.changes.push(ClusterEvent::Devices);
    }

    /// What is to be bound for a pod on a node.
    fn volumes_for(&self, pod: &PodInfo, node: &str) -> Vec<Binding> {
        let Some(node) = self.snapshot.node_named(node).filter(|_| !pod.claims.is_empty()) else {
            return Vec::new();
        };
        let at = At { name: &node.spec.name, labels: &node.labels };
        let volumes = &self.snapshot.volumes;
        match Claims::of(volumes, pod.namespace(), &pod.claims).on(volumes, at) {
            OnNode::Fits(bindings) => bindings,
            _ => Vec::new(),
        }
    }

    /// A claim, a volume or a class of them came, went or changed.
    pub(crate) fn set_volumes(&mut self, change: impl FnOnce(&mut Volumes)) {
        change(&mut self.snapshot.volumes);
        self.changes.push(ClusterEvent::Volume);
    }

    fn wake(&mut self, now: Timestamp) {
        let changes = std::mem::take(&mut self.changes);
        if changes.is_empty() || !self.queue.has_parked() {
            return;
        }
        let (snapshot, profiles) = (&self.snapshot, &self.profiles);
        self.queue.wake(now, |pod, failed| {
            let Some(profile) = profiles.of_pod(pod) else { return false };
            changes.iter().any(|change| change.helps(snapshot, pod, profile, failed))
        });
    }

    /// A binding was refused: the pod waits again, unless the cache has told otherwise.
    pub(crate) fn binding_failed(&mut self, uid: &Uid, held: &SetAside, now: Timestamp) {
        self.snapshot.volumes.release(&held.volumes);
        self.snapshot.devices.release(&held.devices);
        if self.assumed.remove(uid).is_none() {
            return;
        }
        if let Some((pod, node)) = self.snapshot.remove_pod(uid) {
            self.queue.set(pod.clone());
            self.changes.push(ClusterEvent::PodGone { pod, node });
        }
        self.queue.back_off(uid, now);
    }

    /// Forgets everything but the bindings under way, to be filled again from the caches.
    pub(crate) fn reset(&mut self) {
        let assumed = std::mem::take(&mut self.assumed);
        *self = Self { assumed, ..Self::new(self.profiles.clone(), self.queue.backoff()) };
    }

    /// After a reset and a fill: bindings of pods that are gone need not be waited for.
    pub(crate) fn filled(&mut self) {
        self.assumed.retain(|uid, _| self.snapshot.node_of(uid).is_some());
    }

    /// What was to be written about a waiting pod was refused: it is looked at anew soon.
    pub(crate) fn report_failed(&mut self, uid: &Uid) {
        self.queue.retry(uid);
    }

    /// When something is due by itself.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.queue.deadline()
    }
}
