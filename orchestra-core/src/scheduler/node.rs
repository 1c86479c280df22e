//! A node as the scheduler sees it: what it offers, and what runs on it in sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Taint;

use crate::meta::Uid;
use crate::quantity::Quantity;
use crate::selector::{LabelSet, Labels};

use super::pod::{HostPort, InvalidInput, PodInfo};
use super::resources::{Common, Resources};
use super::view::NodeView;

/// A node of one [`Snapshot`](super::Snapshot); used again after the node is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(u32);

impl NodeId {
    /// The node that stands at an index.
    pub(crate) fn at(index: usize) -> Self {
        Self(index as u32)
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeSpec {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// What keeps pods away from it.
    pub taints: Vec<Taint>,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// What its pods may ask for in all.
    pub allocatable: Resources,
    /// How many pods it takes.
    pub max_pods: i64,
    /// The images it holds, by name, with their size in bytes.
    pub images: BTreeMap<String, i64>,
}

impl NodeSpec {
    /// Reads a node from its JSON.
    ///
    /// # Errors
    /// The JSON is not a node's, or holds a quantity that validation would have refused.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidInput> {
        Ok(Self::from_view(&serde_json::from_slice(json)?))
    }

    pub(crate) fn from_view(view: &NodeView) -> Self {
        let NodeView { metadata, spec, status } = view;
        let images = status.images.iter().flat_map(|image| {
            let size = image.size_bytes.unwrap_or_default();
            image.names.iter().map(move |name| (name.clone(), size))
        });
        Self {
            name: metadata.name.as_str().into(),
            labels: metadata.labels.clone(),
            taints: spec.taints.clone(),
            unschedulable: spec.unschedulable == Some(true),
            allocatable: Resources::of(&status.allocatable),
            max_pods: status.allocatable.get("pods").map_or(0, Quantity::value),
            images: images.collect(),
        }
    }
}

/// A node, and the sums over the pods that are on it or on their way to it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// What the node says of itself.
    pub spec: NodeSpec,
    /// Its labels, ready to be matched.
    pub(crate) labels: LabelSet,
    /// False for a node of which only pods are known: it was deleted, or is not seen yet.
    pub(crate) known: bool,
    /// What its pods ask for in all.
    pub requested: Resources,
    /// Milli-CPUs asked for, with a default for containers that name none.
    pub(crate) assumed_milli_cpu: i64,
    /// Bytes of memory, likewise.
    pub(crate) assumed_memory: i64,
    /// The ports its pods take.
    pub(crate) ports: Vec<HostPort>,
    /// Its pods that hold resources.
    pub pods: Vec<Arc<PodInfo>>,
}

/// What every plan asks of every node, as far as it is a few numbers. A snapshot holds it of all nodes side by side, as the
/// nodes themselves are so large that a plan would spend most of its time waiting for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) capacity: Common,
    /// What the node's pods ask for in all.
    pub(crate) requested: Common,
    /// As in [`NodeInfo`].
    pub(crate) assumed_milli_cpu: i64,
    pub(crate) assumed_memory: i64,
    /// How many pods more it takes.
    pub(crate) pods_left: i64,
    pub(crate) unschedulable: bool,
    /// Whether it has taints at all.
    pub(crate) tainted: bool,
}

impl Room {
    pub(crate) fn of(node: &NodeInfo) -> Self {
        Self {
            capacity: node.spec.allocatable.common(),
            requested: node.requested.common(),
            assumed_milli_cpu: node.assumed_milli_cpu,
            assumed_memory: node.assumed_memory,
            pods_left: node.spec.max_pods.saturating_sub(node.pods.len() as i64),
            unschedulable: node.spec.unschedulable,
            tainted: !node.spec.taints.is_empty(),
        }
    }
}

impl NodeInfo {
    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests.needed);
        self.assumed_milli_cpu += pod.requests.assumed_milli_cpu;
        self.assumed_memory += pod.requests.assumed_memory;
        self.ports.extend(pod.ports.iter().cloned());
        self.pods.push(pod);
    }

    pub(crate) fn remove(&mut self, uid: &Uid) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|p| p.uid == *uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.subtract(&pod.requests.needed);
        self.assumed_milli_cpu -= pod.requests.assumed_milli_cpu;
        self.assumed_memory -= pod.requests.assumed_memory;
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(at);
            }
        }
        Some(pod)
    }
}
