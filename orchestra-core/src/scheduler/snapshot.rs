//! Nodes and what runs on them, kept up to date one object at a time.
//!
//! A [`Snapshot`] is a value: it can be built by hand in a test, cloned and changed to ask "what if", and is all
//! that a plan looks at. What a plan asks for is kept as sums, so that no plan walks over the pods of the cluster:
//! requests by node, classes of equal pods by node, and the place of each node by the label keys in use.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::meta::{ObjectName, Uid};
use crate::selector::{CompiledSelector, LabelSet, Labels, Selector};

use super::budget::{Budget, Budgets};
use super::class::{ClassId, Classes};
use super::devices::Devices;
use super::node::{NodeId, NodeInfo, NodeSpec, Room};
use super::pod::PodInfo;
use super::topology::Column;
use super::volumes::Volumes;

/// The label that tells every node from every other.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// The label of a node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";

#[derive(Clone, Debug)]
struct Placed {
    node: NodeId,
    class: ClassId,
}

/// Whose pods a service spreads.
#[derive(Clone, Debug)]
pub(crate) struct ServiceSelector {
    pub(crate) labels: Labels,
    pub(crate) selector: CompiledSelector,
}

/// The state of the cluster, as far as placing pods depends on it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    nodes: Vec<NodeInfo>,
    /// Of each of `nodes`, as it is.
    rooms: Vec<Room>,
    by_name: HashMap<Arc<str>, NodeId, FxBuildHasher>,
    /// The known nodes; their order means nothing.
    listed: Vec<NodeId>,
    free: Vec<NodeId>,
    placed: HashMap<Uid, Placed, FxBuildHasher>,
    pub(crate) classes: Classes,
    columns: HashMap<String, Column, FxBuildHasher>,
    nominated: HashMap<NodeId, Vec<Arc<PodInfo>>, FxBuildHasher>,
    namespaces: HashMap<String, Labels>,
    services: HashMap<String, BTreeMap<String, ServiceSelector>>,
    images: HashMap<String, u32>,
    budgets: Budgets,
    pub(crate) volumes: Volumes,
    pub(crate) devices: Devices,
    /// How many pods on nodes have a claim of a volume.
    users: HashMap<ObjectName, u32, FxBuildHasher>,
}

impl Default for Snapshot {
    fn default() -> Self {
        let columns = [HOSTNAME, ZONE].map(|key| (key.to_owned(), Column::default()));
        Self {
            nodes: Vec::new(),
            rooms: Vec::new(),
            by_name: HashMap::default(),
            listed: Vec::new(),
            free: Vec::new(),
            placed: HashMap::default(),
            classes: Classes::default(),
            columns: columns.into_iter().collect(),
            nominated: HashMap::default(),
            namespaces: HashMap::default(),
            services: HashMap::default(),
            images: HashMap::default(),
            budgets: Budgets::default(),
            volumes: Volumes::default(),
            devices: Devices::default(),
            users: HashMap::default(),
        }
    }
}

impl Snapshot {
    /// An empty cluster.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// All nodes, in no particular order.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.listed.iter().map(|id| self.node(*id))
    }

    /// A node by name.
    pub fn node_named(&self, name: &str) -> Option<&NodeInfo> {
        self.id_of(name).map(|id| self.node(id))
    }

    /// The node a pod takes up room on.
    pub fn node_of(&self, uid: &Uid) -> Option<&NodeInfo> {
        self.placed.get(uid).map(|placed| self.node(placed.node))
    }

    /// Adds a node or takes over what it says of itself now. Returns what it said before.
    pub fn set_node(&mut self, spec: NodeSpec) -> Option<NodeSpec> {
        let id = self.slot(&spec.name);
        for (key, column) in &mut self.columns {
            column.set(id, spec.labels.get(key).map(String::as_str));
        }
        self.count_images(&spec, 1);
        let node = &mut self.nodes[id.index()];
        node.labels = LabelSet::new(&spec.labels);
        let before = std::mem::replace(&mut node.spec, spec);
        let was_known = std::mem::replace(&mut node.known, true);
        self.measure(id);
        if !was_known {
            self.listed.push(id);
            return None;
        }
        self.count_images(&before, -1);
        Some(before)
    }

    /// Removes a node. Its pods stay counted until they are removed themselves.
    pub fn remove_node(&mut self, name: &str) {
        let Some(id) = self.id_of(name) else { return };
        for column in self.columns.values_mut() {
            column.set(id, None);
        }
        let node = &mut self.nodes[id.index()];
        node.known = false;
        node.labels = LabelSet::default();
        let spec = NodeSpec { name: node.spec.name.clone(), ..NodeSpec::default() };
        let before = std::mem::replace(&mut node.spec, spec);
        self.count_images(&before, -1);
        self.listed.retain(|other| *other != id);
        self.measure(id);
        self.release(id);
    }

    /// Counts a pod on a node: the one it is bound to, or the one it is about to be bound to.
    ///
    /// A pod that is already counted is counted anew, with what it says now. One that has finished, or that has
    /// no node, is not counted any more.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>, node: Option<&str>) {
        self.remove_pod(&pod.uid);
        self.withdraw_nomination(&pod.uid);
        let Some(name) = node.filter(|_| pod.is_active()) else { return };
        self.track(&pod);
        let id = self.slot(name);
        let class = self.classes.add(&pod, id);
        self.count_users(&pod, 1);
        self.placed.insert(pod.uid.clone(), Placed { node: id, class });
        self.nodes[id.index()].add(pod);
        self.measure(id);
    }

    /// Counts a pod no more. Returns it with the name of its node when it was counted.
    pub fn remove_pod(&mut self, uid: &Uid) -> Option<(Arc<PodInfo>, Arc<str>)> {
        let placed = self.placed.remove(uid)?;
        let node = &mut self.nodes[placed.node.index()];
        let name = node.spec.name.clone();
        let pod = node.remove(uid)?;
        self.measure(placed.node);
        self.classes.remove(placed.class, &pod, placed.node);
        self.count_users(&pod, -1);
        self.release(placed.node);
        Some((pod, name))
    }

    /// Keeps room on a node for a pod that waits for others to leave it.
    pub fn nominate(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.withdraw_nomination(&pod.uid);
        let id = self.slot(node);
        self.nominated.entry(id).or_default().push(pod);
    }

    /// Keeps no room for a pod any more. Returns it with the name of the node when room was kept.
    pub fn withdraw_nomination(&mut self, uid: &Uid) -> Option<(Arc<PodInfo>, Arc<str>)> {
        if self.nominated.is_empty() {
            return None;
        }
        let holds = |pods: &Vec<Arc<PodInfo>>| pods.iter().position(|p| p.uid == *uid);
        let (id, at) = self.nominated.iter().find_map(|(id, pods)| Some((*id, holds(pods)?)))?;
        let pods = self.nominated.get_mut(&id)?;
        let pod = pods.swap_remove(at);
        if pods.is_empty() {
            self.nominated.remove(&id);
        }
        let name = self.node(id).spec.name.clone();
        self.release(id);
        Some((pod, name))
    }

    /// Takes over the labels of a namespace, or that it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
    }

    /// Takes over the selector of a service, or that it is gone or selects nothing.
    pub fn set_service(&mut self, namespace: &str, name: &str, selector: Option<Labels>) {
        let services = self.services.entry(namespace.to_owned()).or_default();
        match selector.filter(|s| !s.is_empty()) {
            Some(labels) => {
                let selector = Selector::from_map(&labels).compile();
                services.insert(name.to_owned(), ServiceSelector { labels, selector })
            }
            None => services.remove(name),
        };
    }

    /// Takes over a disruption budget, or that it is gone or is of no pods.
    pub fn set_budget(&mut self, name: &ObjectName, budget: Option<Budget>) {
        self.budgets.set(name, budget);
    }

    pub(super) fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// Makes ready for a pod, so that planning it need not look at the labels of all nodes.
    pub fn track(&mut self, pod: &PodInfo) {
        self.track_keys(pod.rules.topology_keys());
    }

    /// The same for labels by which nodes are told apart.
    pub(crate) fn track_keys<'k>(&mut self, keys: impl Iterator<Item = &'k str>) {
        for key in keys {
            if !self.columns.contains_key(key) {
                let column = self.build_column(key);
                self.columns.insert(key.to_owned(), column);
            }
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> &NodeInfo {
        &self.nodes[id.index()]
    }

    pub(crate) fn room(&self, id: NodeId) -> &Room {
        &self.rooms[id.index()]
    }

    /// One more than the largest [`NodeId`] in use, for arrays by node.
    pub(crate) fn node_slots(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn listed(&self) -> &[NodeId] {
        &self.listed
    }

    pub(crate) fn id_of(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied().filter(|id| self.node(*id).known)
    }

    /// The places by a label key; computed on the spot for a key that is not tracked.
    pub(crate) fn column(&self, key: &str) -> Cow<'_, Column> {
        match self.columns.get(key) {
            Some(column) => Cow::Borrowed(column),
            None => Cow::Owned(self.build_column(key)),
        }
    }

    /// Whether room is kept for any pod.
    pub(crate) fn has_nominations(&self) -> bool {
        !self.nominated.is_empty()
    }

    /// The pods that room on a node is kept for.
    pub(crate) fn nominated_on(&self, id: NodeId) -> &[Arc<PodInfo>] {
        if self.nominated.is_empty() {
            return &[];
        }
        self.nominated.get(&id).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn namespace_labels(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    /// The selectors of the services of a namespace.
    pub(crate) fn services_in(&self, namespace: &str) -> impl Iterator<Item = &ServiceSelector> {
        self.services.get(namespace).into_iter().flat_map(BTreeMap::values)
    }

    /// How many nodes hold an image.
    pub(crate) fn holders_of(&self, image: &str) -> u32 {
        self.images.get(image).copied().unwrap_or_default()
    }

    fn slot(&mut self, name: &str) -> NodeId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(NodeInfo::default());
            self.rooms.push(Room::default());
            NodeId::at(self.nodes.len() - 1)
        });
        let name: Arc<str> = name.into();
        self.nodes[id.index()].spec.name = name.clone();
        self.by_name.insert(name, id);
        id
    }

    /// Gives the place of a node back once neither it nor a pod on it is known.
    fn release(&mut self, id: NodeId) {
        let node = &self.nodes[id.index()];
        if node.known || !node.pods.is_empty() || self.nominated.contains_key(&id) {
            return;
        }
        self.by_name.remove(&node.spec.name);
        self.nodes[id.index()] = NodeInfo::default();
        self.measure(id);
        self.free.push(id);
    }

    /// Takes over what a node's room is now. Whatever changes a node ends with this.
    fn measure(&mut self, id: NodeId) {
        self.rooms[id.index()] = Room::of(&self.nodes[id.index()]);
    }

    fn build_column(&self, key: &str) -> Column {
        let mut column = Column::default();
        for id in &self.listed {
            column.set(*id, self.node(*id).spec.labels.get(key).map(String::as_str));
        }
        column
    }

    /// How many pods on nodes have a claim.
    pub(crate) fn users_of(&self, claim: &ObjectName) -> u32 {
        self.users.get(claim).copied().unwrap_or_default()
    }

    fn count_users(&mut self, pod: &PodInfo, change: i32) {
        for (name, _) in &pod.claims {
            let claim = ObjectName::namespaced(pod.namespace(), &**name);
            let users = self.users.entry(claim.clone()).or_insert(0);
            *users = users.saturating_add_signed(change);
            if *users == 0 {
                self.users.remove(&claim);
            }
        }
    }

    fn count_images(&mut self, spec: &NodeSpec, change: i32) {
        for name in spec.images.keys() {
            let holders = self.images.entry_ref(name.as_str()).or_insert(0);
            *holders = holders.saturating_add_signed(change);
            if *holders == 0 {
                self.images.remove(name);
            }
        }
    }
}
