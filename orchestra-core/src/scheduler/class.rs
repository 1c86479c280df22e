//! Pods that all rules about *other pods* see as one: same namespace, labels, controller and affinity.
//!
//! The replicas of a workload are one class. A rule is matched once against a class and then costs one addition
//! for each node the class is on, so that spreading over 150,000 pods looks at a few hundred label sets.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use rustc_hash::FxBuildHasher;

use crate::meta::Uid;
use crate::selector::LabelSet;

use super::node::NodeId;
use super::pod::PodInfo;
use super::rules::Rules;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClassId(u32);

#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) namespace: Arc<str>,
    pub(crate) labels: LabelSet,
    pub(crate) controller: Option<Uid>,
    pub(crate) rules: Arc<Rules>,
    /// Where its pods are.
    pub(crate) nodes: HashMap<NodeId, Present, FxBuildHasher>,
}

/// How many pods of a class are on a node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Present {
    pub(crate) all: u32,
    /// Those that are not on their way out; spreading counts only these.
    pub(crate) staying: u32,
}

impl Class {
    fn of(pod: &PodInfo) -> Self {
        Self {
            namespace: pod.namespace().into(),
            labels: pod.labels.clone(),
            controller: pod.controller.as_ref().map(|(_, uid)| uid.clone()),
            rules: pod.rules.clone(),
            nodes: HashMap::default(),
        }
    }

    fn holds(&self, pod: &PodInfo) -> bool {
        self.labels == pod.labels
            && *self.namespace == *pod.namespace()
            && self.controller.as_ref() == pod.controller.as_ref().map(|(_, uid)| uid)
            && affinity(&self.rules) == affinity(&pod.rules)
    }

    fn hash(&self) -> u64 {
        hash(&self.namespace, &self.labels, self.controller.as_ref(), &self.rules)
    }
}

fn affinity(rules: &Rules) -> Option<&str> {
    rules.source.as_deref().filter(|_| rules.concerns_others())
}

fn hash(namespace: &str, labels: &LabelSet, controller: Option<&Uid>, rules: &Rules) -> u64 {
    FxBuildHasher.hash_one((namespace, labels, controller, affinity(rules)))
}

/// All classes that have a pod on some node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    slots: Vec<Option<Class>>,
    free: Vec<ClassId>,
    table: HashTable<ClassId>,
    by_namespace: HashMap<Arc<str>, Vec<ClassId>>,
    /// Those whose own rules look at other pods.
    with_terms: Vec<ClassId>,
}

impl Classes {
    pub(crate) fn add(&mut self, pod: &PodInfo, node: NodeId) -> ClassId {
        let id = self.find_or_insert(pod);
        if let Some(class) = &mut self.slots[id.0 as usize] {
            let present = class.nodes.entry(node).or_default();
            present.all += 1;
            present.staying += u32::from(!pod.deleting);
        }
        id
    }

    pub(crate) fn remove(&mut self, id: ClassId, pod: &PodInfo, node: NodeId) {
        let Some(Some(class)) = self.slots.get_mut(id.0 as usize) else { return };
        if let Some(present) = class.nodes.get_mut(&node) {
            present.all -= 1;
            present.staying -= u32::from(!pod.deleting);
            if present.all == 0 {
                class.nodes.remove(&node);
            }
        }
        if class.nodes.is_empty() {
            self.forget(id);
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Class> {
        self.slots.iter().flatten()
    }

    pub(crate) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Class> {
        self.get(self.by_namespace.get(namespace).map_or(&[], Vec::as_slice))
    }

    pub(crate) fn with_terms(&self) -> impl Iterator<Item = &Class> {
        self.get(&self.with_terms)
    }

    fn get<'c>(&'c self, ids: &'c [ClassId]) -> impl Iterator<Item = &'c Class> {
        ids.iter().filter_map(|id| self.slots[id.0 as usize].as_ref())
    }

    fn find_or_insert(&mut self, pod: &PodInfo) -> ClassId {
        let controller = pod.controller.as_ref().map(|(_, uid)| uid);
        let hash = hash(pod.namespace(), &pod.labels, controller, &pod.rules);
        let slots = &self.slots;
        let same = |id: &ClassId| slots[id.0 as usize].as_ref().is_some_and(|c| c.holds(pod));
        if let Some(id) = self.table.find(hash, same) {
            return *id;
        }
        let class = Class::of(pod);
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            ClassId(self.slots.len() as u32 - 1)
        });
        self.by_namespace.entry(class.namespace.clone()).or_default().push(id);
        if class.rules.concerns_others() {
            self.with_terms.push(id);
        }
        self.slots[id.0 as usize] = Some(class);
        let slots = &self.slots;
        let rehash = |id: &ClassId| slots[id.0 as usize].as_ref().map_or(0, Class::hash);
        self.table.insert_unique(hash, id, rehash);
        id
    }

    fn forget(&mut self, id: ClassId) {
        let Some(class) = self.slots[id.0 as usize].take() else { return };
        if let Ok(entry) = self.table.find_entry(class.hash(), |other| *other == id) {
            entry.remove();
        }
        self.with_terms.retain(|other| *other != id);
        if let Some(ids) = self.by_namespace.get_mut(&class.namespace) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_namespace.remove(&class.namespace);
            }
        }
        self.free.push(id);
    }
}
