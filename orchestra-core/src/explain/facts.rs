//! What is known: the objects that somebody may see, and how they are found again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize as _;
use serde_json::Value;

use super::About;
use super::seen::Seen;
use crate::scheduler::{NodeSpec, PodInfo, Snapshot};
use crate::watch::{Entry, EntryError};

/// A kind that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Source {
    /// The group; empty for the core group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The plural.
    pub resource: &'static str,
    /// Whether its objects are in namespaces.
    pub is_namespaced: bool,
}

const fn source(
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    is_namespaced: bool,
) -> Source {
    Source { group, version, resource, is_namespaced }
}

const SOURCES: [Source; 13] = [
    source("", "v1", "nodes", false),
    source("", "v1", "namespaces", false),
    source("storage.k8s.io", "v1", "storageclasses", false),
    source("", "v1", "pods", true),
    source("", "v1", "services", true),
    source("", "v1", "persistentvolumeclaims", true),
    source("", "v1", "events", true),
    source("apps", "v1", "deployments", true),
    source("apps", "v1", "replicasets", true),
    source("apps", "v1", "statefulsets", true),
    source("apps", "v1", "daemonsets", true),
    source("batch", "v1", "jobs", true),
    source("autoscaling", "v2", "horizontalpodautoscalers", true),
];

/// The kinds whose objects are to be [added](Facts::add), as far as they may be read.
pub fn sources() -> impl ExactSizeIterator<Item = Source> {
    SOURCES.into_iter()
}

/// An object as it was given.
#[derive(Debug)]
enum Given {
    Value(Value),
    Entry(Arc<Entry>),
}

/// What is known of a cluster, or of a part of it.
#[derive(Debug)]
pub struct Facts {
    pub(super) now: Timestamp,
    by_kind: BTreeMap<&'static str, BTreeMap<(String, String), Arc<Seen>>>,
    /// By the uid of the controller.
    owned: HashMap<String, Vec<(&'static str, Arc<Seen>)>>,
    /// By the uid of what they are about; the latest last.
    events: HashMap<String, Vec<Arc<Seen>>>,
    /// What the scheduler's rules are asked with: nodes and pods, whole.
    whole: Vec<(&'static str, Given)>,
}

impl Facts {
    /// Nothing is known, at a time.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            by_kind: BTreeMap::new(),
            owned: HashMap::new(),
            events: HashMap::new(),
            whole: Vec::new(),
        }
    }

    /// Adds an object of one of the [`sources`]; one of another kind is none of the facts.
    ///
    /// # Errors
    /// When it is no object of its kind.
    pub fn add(&mut self, resource: &str, object: Value) -> Result<(), serde_json::Error> {
        if let Some(source) = found(resource) {
            let seen = Seen::deserialize(&object)?;
            self.insert(source.resource, Arc::new(seen), Given::Value(object));
        }
        Ok(())
    }

    /// The same of an object of a cache, whose fields are read once.
    ///
    /// # Errors
    /// When it is no object of its kind.
    pub fn add_entry(&mut self, resource: &str, entry: &Arc<Entry>) -> Result<(), EntryError> {
        if let Some(source) = found(resource) {
            self.insert(source.resource, entry.view::<Seen>()?, Given::Entry(Arc::clone(entry)));
        }
        Ok(())
    }

    fn insert(&mut self, resource: &'static str, seen: Arc<Seen>, given: Given) {
        if resource == "events" {
            if seen.sort == "Warning" {
                let about = self.events.entry(seen.involved_object.uid.clone()).or_default();
                let at = about.partition_point(|other| other.seen_at() <= seen.seen_at());
                about.insert(at, seen);
            }
            return;
        }
        if let Some(owner) = seen.controller() {
            self.owned.entry(owner.uid.clone()).or_default().push((resource, Arc::clone(&seen)));
        }
        if matches!(resource, "pods" | "nodes") {
            self.whole.push((resource, given));
        }
        let name = (seen.metadata.namespace.clone(), seen.metadata.name.clone());
        self.by_kind.entry(resource).or_default().insert(name, seen);
    }

    pub(super) fn all(&self, resource: &str) -> impl Iterator<Item = &Arc<Seen>> {
        self.by_kind.get(resource).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Seen>> {
        self.by_kind.get(resource)?.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether an object is among them.
    pub fn has(&self, about: &About) -> bool {
        self.get(&about.resource, &about.namespace, &about.name).is_some()
    }

    pub(super) fn has_any(&self, resource: &str) -> bool {
        self.by_kind.get(resource).is_some_and(|held| !held.is_empty())
    }

    /// The objects of a kind that an object controls.
    pub(super) fn owned<'f>(
        &'f self,
        owner: &Seen,
        resource: &'f str,
    ) -> impl Iterator<Item = &'f Arc<Seen>> {
        let owned = self.owned.get(&owner.metadata.uid).into_iter().flatten();
        owned.filter(move |(held, _)| *held == resource).map(|(_, seen)| seen)
    }

    /// Whether the controller of an object is among the facts.
    pub(super) fn knows_owner(&self, object: &Seen) -> bool {
        let Some(owner) = object.controller() else { return false };
        let plural = match &*owner.kind {
            "ReplicaSet" => "replicasets",
            "StatefulSet" => "statefulsets",
            "DaemonSet" => "daemonsets",
            "Deployment" => "deployments",
            "Job" => "jobs",
            _ => return false,
        };
        self.get(plural, &object.metadata.namespace, &owner.name).is_some()
    }

    /// The last warning about an object, of some reasons or of any.
    pub(super) fn warning(&self, object: &Seen, reasons: &[&str]) -> Option<&Arc<Seen>> {
        let about = self.events.get(&object.metadata.uid)?.iter().rev();
        about.into_iter().find(|event| reasons.is_empty() || reasons.contains(&&*event.reason))
    }

    /// The state of the cluster as the scheduler sees it, of nodes and pods.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new();
        for (resource, given) in &self.whole {
            if *resource == "nodes"
                && let Ok(node) = NodeSpec::from_json(&given.bytes())
            {
                snapshot.set_node(node);
            }
        }
        for pod in self.whole.iter().filter(|(resource, _)| *resource == "pods") {
            let Some(info) = pod.1.pod().filter(|info| info.is_active()) else { continue };
            if let Some(node) = info.node.clone() {
                snapshot.set_pod(Arc::new(info), Some(&node));
            }
        }
        snapshot
    }

    /// A pod as the scheduler sees it.
    pub(super) fn pod_info(&self, pod: &Seen) -> Option<PodInfo> {
        let name = |given: &Given| match given {
            Given::Entry(entry) => {
                entry.name().name() == pod.metadata.name
                    && entry.name().namespace() == Some(&*pod.metadata.namespace)
            }
            Given::Value(value) => {
                value["metadata"]["name"] == pod.metadata.name
                    && value["metadata"]["namespace"] == pod.metadata.namespace
            }
        };
        let mut pods = self.whole.iter().filter(|(resource, _)| *resource == "pods");
        pods.find(|(_, given)| name(given))?.1.pod()
    }
}

impl Given {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Value(value) => value.to_string().into_bytes(),
            Self::Entry(entry) => entry.bytes().to_vec(),
        }
    }

    fn pod(&self) -> Option<PodInfo> {
        match self {
            Self::Value(value) => PodInfo::from_json(value.to_string().as_bytes()).ok(),
            Self::Entry(entry) => PodInfo::from_entry(entry).ok(),
        }
    }
}

fn found(resource: &str) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.resource == resource)
}

/// Which object of a kind that is.
pub(super) fn about(resource: &str, object: &Seen) -> About {
    let group = found(resource).map_or("", |source| source.group);
    About::new(group, resource, &object.metadata.namespace, &object.metadata.name)
}
