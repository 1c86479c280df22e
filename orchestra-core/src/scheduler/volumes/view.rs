//! What is read of claims, volumes and classes.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelector as Affinity, TopologySelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use crate::meta::{ObjectName, Revision, Uid};
use crate::quantity::Quantity;
use crate::selector::{CompiledNodeSelector, CompiledSelector, LabelSet, NodeSelector, Selector};
use crate::watch::{Entry, EntryError};

/// The annotation that says that a claim and its volume are bound on both sides.
pub(crate) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The annotation with the node of a claim's first pod.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The annotation by which classes were named before there was a field.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// The label that nodes have their name in, by which volumes on one of them say where they are.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// The labels by which volumes and nodes say where they are: each with that which has come to be used in its place.
pub(crate) const ZONES: [(&str, &str); 4] = [
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
];

/// A volume as its driver knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    pub(crate) driver: Arc<str>,
    pub(crate) handle: String,
}

/// A claim.
#[derive(Clone, Debug)]
pub(crate) struct ClaimInfo {
    pub(crate) name: ObjectName,
    pub(crate) uid: Uid,
    pub(crate) revision: Revision,
    /// The volume that it is bound to, or asks for.
    pub(crate) volume: Option<Arc<str>>,
    pub(crate) completed: bool,
    pub(crate) lost: bool,
    pub(crate) deleting: bool,
    /// `None`: nothing is said; empty: none is wanted.
    pub(crate) class: Option<Arc<str>>,
    pub(crate) attributes: String,
    pub(crate) request: Quantity,
    pub(crate) modes: Vec<String>,
    pub(crate) block: bool,
    pub(crate) selector: Option<CompiledSelector>,
    pub(crate) selected_node: Option<Arc<str>>,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// Whose a volume is, as seen by a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldBy {
    Nobody,
    This,
    Another,
}

/// A volume.
#[derive(Clone, Debug)]
pub(crate) struct VolumeInfo {
    pub(crate) name: Arc<str>,
    pub(crate) revision: Revision,
    /// The claim that it is bound to, or kept for.
    pub(crate) claim: Option<ClaimRef>,
    pub(crate) capacity: Quantity,
    pub(crate) modes: Vec<String>,
    pub(crate) block: bool,
    pub(crate) class: String,
    pub(crate) attributes: String,
    /// What the driver that attaches it calls it, if one does.
    pub(crate) source: Option<Source>,
    /// Where it is, by its labels.
    pub(crate) zones: Vec<(&'static str, Vec<String>)>,
    labels: LabelSet,
    affinity: Option<CompiledNodeSelector>,
    available: bool,
    deleting: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ClaimRef {
    #[serde(default)]
    pub(crate) namespace: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) uid: String,
}

/// A class of storage.
#[derive(Clone, Debug)]
pub(crate) struct ClassInfo {
    pub(crate) provisioner: String,
    /// Whether its claims wait for their first pod.
    pub(crate) waits: bool,
    topologies: Vec<TopologySelectorTerm>,
}

/// Why one of them cannot be read. The API lets none of these through.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("cannot be decoded")]
    Decode(#[from] EntryError),
    #[error("holds an invalid selector")]
    Selector(#[from] crate::selector::InvalidSelector),
}

#[derive(Deserialize)]
struct Object<S, T> {
    metadata: Metadata,
    spec: S,
    #[serde(default)]
    status: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSpec {
    volume_name: String,
    storage_class_name: Option<String>,
    volume_attributes_class_name: Option<String>,
    resources: Resources,
    access_modes: Vec<String>,
    volume_mode: String,
    selector: Option<LabelSelector>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, Quantity>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeSpec {
    claim_ref: Option<ClaimRef>,
    capacity: BTreeMap<String, Quantity>,
    access_modes: Vec<String>,
    volume_mode: String,
    storage_class_name: String,
    volume_attributes_class_name: Option<String>,
    node_affinity: Option<Required>,
    csi: Option<CsiSource>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CsiSource {
    driver: String,
    volume_handle: String,
}

#[derive(Deserialize)]
struct Required {
    required: Option<Affinity>,
}

/// Several places of one volume are parted by two underscores.
fn zones(labels: &LabelSet) -> Vec<(&'static str, Vec<String>)> {
    let values = |value: &str| value.split("__").map(str::to_owned).collect();
    ZONES.iter().filter_map(|(key, _)| Some((*key, values(&labels.get(key)?)))).collect()
}

fn storage(amounts: &BTreeMap<String, Quantity>) -> Quantity {
    amounts.get("storage").copied().unwrap_or_default()
}

impl ClaimInfo {
    pub(crate) fn read(entry: &Entry) -> Result<Self, Unreadable> {
        let Object { metadata, spec, status } = entry.peek::<Object<ClaimSpec, Status>>()?;
        let annotation = |key: &str| metadata.annotations.get(key).map(|value| Arc::from(value.as_str()));
        Ok(Self {
            name: entry.name().clone(),
            uid: entry.uid().clone(),
            revision: entry.revision(),
            volume: Some(spec.volume_name.as_str()).filter(|name| !name.is_empty()).map(Into::into),
            completed: metadata.annotations.contains_key(BIND_COMPLETED),
            lost: status.phase == "Lost",
            deleting: metadata.deletion_timestamp.is_some(),
            class: annotation(CLASS).or(spec.storage_class_name.map(Into::into)),
            attributes: spec.volume_attributes_class_name.unwrap_or_default(),
            request: storage(&spec.resources.requests),
            modes: spec.access_modes,
            block: spec.volume_mode == "Block",
            selector: spec.selector.as_ref().map(Selector::try_from).transpose()?.map(|it| it.compile()),
            selected_node: annotation(SELECTED_NODE),
            annotations: metadata.annotations,
        })
    }

    /// Whether it is bound for good.
    pub(crate) fn is_bound(&self) -> bool {
        self.volume.is_some() && self.completed
    }
}

impl VolumeInfo {
    pub(crate) fn read(entry: &Entry) -> Result<Self, Unreadable> {
        let Object { metadata, spec, status } = entry.peek::<Object<VolumeSpec, Status>>()?;
        let affinity = spec.node_affinity.and_then(|affinity| affinity.required);
        let affinity = affinity.as_ref().map(NodeSelector::try_from).transpose()?;
        Ok(Self {
            name: entry.name().name().into(),
            revision: entry.revision(),
            claim: spec.claim_ref,
            capacity: storage(&spec.capacity),
            modes: spec.access_modes,
            block: spec.volume_mode == "Block",
            class: metadata.annotations.get(CLASS).cloned().unwrap_or(spec.storage_class_name),
            attributes: spec.volume_attributes_class_name.unwrap_or_default(),
            source: spec
                .csi
                .map(|csi| Source { driver: csi.driver.as_str().into(), handle: csi.volume_handle }),
            zones: zones(entry.labels()),
            labels: entry.labels().clone(),
            affinity: affinity.map(|affinity| affinity.compile()),
            available: status.phase == "Available",
            deleting: metadata.deletion_timestamp.is_some(),
        })
    }

    /// Whose it is.
    pub(crate) fn held_by(&self, claim: &ClaimInfo) -> HeldBy {
        let Some(held) = &self.claim else { return HeldBy::Nobody };
        let same = claim.name.namespace() == Some(&held.namespace)
            && claim.name.name() == held.name
            && (held.uid.is_empty() || held.uid == claim.uid.as_str());
        if same { HeldBy::This } else { HeldBy::Another }
    }

    /// Whether it has all that a claim cannot do without, be it kept for it or not.
    pub(super) fn could_serve(&self, claim: &ClaimInfo) -> bool {
        self.capacity >= claim.request
            && self.block == claim.block
            && self.attributes == claim.attributes
            && !self.deleting
    }

    /// Whether it may be chosen for a claim that it is not kept for.
    pub(super) fn may_be_chosen_for(&self, claim: &ClaimInfo) -> bool {
        self.available
            && claim.selector.as_ref().is_none_or(|selector| selector.matches(&self.labels))
            && *self.class == *claim.class.as_deref().unwrap_or_default()
            && self.offers(claim)
    }

    /// Whether it can be used in all the ways that a claim asks for.
    fn offers(&self, claim: &ClaimInfo) -> bool {
        claim.modes.iter().all(|mode| self.modes.contains(mode))
    }

    /// What keeps it from being bound to a claim that asks for it by name.
    pub(crate) fn mismatch(&self, claim: &ClaimInfo) -> Option<String> {
        Some(if self.deleting {
            format!("the volume is marked for deletion \"{}\"", self.name)
        } else if self.capacity < claim.request {
            "requested PV is too small".to_owned()
        } else if *self.class != *claim.class.as_deref().unwrap_or_default() {
            "storageClassName does not match".to_owned()
        } else if self.attributes != claim.attributes {
            "volumeAttributesClassName does not match".to_owned()
        } else if self.block != claim.block {
            "incompatible volumeMode".to_owned()
        } else if !self.offers(claim) {
            "incompatible accessMode".to_owned()
        } else {
            return None;
        })
    }

    /// Whether pods on a node can have it.
    pub(crate) fn is_reached_from(&self, node: &str, labels: &LabelSet) -> bool {
        let field = |path: &str| (path == "metadata.name").then_some(node);
        self.affinity.as_ref().is_none_or(|affinity| affinity.matches(labels, field))
    }
}

impl ClassInfo {
    pub(crate) fn read(entry: &Entry) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Class {
            provisioner: String,
            #[serde(default)]
            volume_binding_mode: String,
            #[serde(default)]
            allowed_topologies: Vec<TopologySelectorTerm>,
        }
        let class: Class = entry.peek()?;
        Ok(Self {
            provisioner: class.provisioner,
            waits: class.volume_binding_mode == "WaitForFirstConsumer",
            topologies: class.allowed_topologies,
        })
    }

    /// Whether somebody makes volumes of it, for pods on a node of these labels.
    pub(crate) fn provisions_on(&self, labels: &LabelSet) -> bool {
        let fits = |term: &TopologySelectorTerm| {
            term.match_label_expressions
                .iter()
                .flatten()
                .all(|it| labels.get(&it.key).is_some_and(|value| it.values.contains(&value)))
        };
        self.provisioner != "kubernetes.io/no-provisioner"
            && (self.topologies.is_empty() || self.topologies.iter().any(fits))
    }
}

/// The node affinity of a volume that is on one node.
pub(crate) fn on_node(hostname: &str) -> serde_json::Value {
    serde_json::json!({"required": {"nodeSelectorTerms": [{
        "matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [hostname]}],
    }]}})
}
