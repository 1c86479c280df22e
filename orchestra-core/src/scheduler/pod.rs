//! A pod as the scheduler sees it: what it asks for, and its rules compiled.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Toleration;

use crate::meta::{ObjectName, Revision, Uid};
use crate::selector::LabelSet;
use crate::watch::Entry;

use super::disk::Disk;
use super::resizing;
use super::resources::Requests;
use super::rules::{InvalidRule, Rules};
use super::view::{ContainerView, PodView, VolumeView};

/// The scheduler that pods name when they name none.
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// A pod, as much of it as placing it and placing others beside it takes.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// Namespace and name.
    pub name: ObjectName,
    /// Which pod of that name.
    pub uid: Uid,
    /// Its labels.
    pub labels: LabelSet,
    /// The controller that owns it, when one does: its kind and uid.
    pub controller: Option<(Arc<str>, Uid)>,
    /// The node it is bound to.
    pub node: Option<Arc<str>>,
    /// The node on which room is being made for it.
    pub nominated_node: Option<Arc<str>>,
    /// The scheduler that is to place it.
    pub scheduler: Arc<str>,
    /// Pods of higher priority are placed first and may push others out.
    pub priority: i32,
    /// Whether lower pods may be pushed out for it.
    pub may_preempt: bool,
    /// What must be lifted before it may be placed.
    pub gates: Vec<String>,
    /// The version of it that was read.
    pub revision: Revision,
    /// How often what it asks for was changed.
    pub generation: i64,
    /// What its condition says of why it waits.
    pub reported: Option<String>,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When its node took it in.
    pub started: Option<Timestamp>,
    /// Whether it is on its way out.
    pub deleting: bool,
    /// Whether it has run to its end and holds no resources any more.
    pub finished: bool,
    /// Whether it is on its way out because a scheduler made room for another.
    pub preempted: bool,
    /// What it asks for.
    pub requests: Requests,
    /// The ports it takes on its node.
    pub ports: Vec<HostPort>,
    /// The images of its containers, with a tag.
    pub images: Vec<String>,
    /// The claims of its volumes, and which of them are made of its own templates.
    pub claims: Vec<(Arc<str>, bool)>,
    /// The disks that it names itself.
    pub(crate) disks: Vec<Disk>,
    /// The claims of devices that it has.
    pub(crate) devices: Vec<Asked>,
    /// The taints it puts up with.
    pub tolerations: Vec<Toleration>,
    /// Where it may and would like to run.
    pub rules: Arc<Rules>,
}

/// A claim of devices that a pod has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// What the pod calls it.
    pub(crate) name: Arc<str>,
    /// The claim's name. `None`: it is still to be made, or need not be, as `settled` says.
    pub(crate) claim: Option<Arc<str>>,
    /// Whether it is made for this pod, by a template.
    pub(crate) own: bool,
    /// Whether it is known which claim it is, or that there is none.
    pub(crate) settled: bool,
}

/// A port taken on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The address, `0.0.0.0` for all.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        const ANY: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ANY || other.ip == ANY)
    }
}

/// Why the bytes of a pod or node cannot be scheduled with. The API lets none of these through.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidInput {
    /// It is not the JSON of a pod or node, or holds an amount that is none.
    #[error("cannot be decoded")]
    Decode(#[from] serde_json::Error),
    /// One of its selectors is invalid.
    #[error("holds an invalid selector")]
    Rule(#[from] InvalidRule),
}

impl PodInfo {
    /// Reads a pod from its JSON.
    ///
    /// # Errors
    /// The JSON is not a pod's, or holds a quantity or a selector that validation would have refused.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidInput> {
        let mut view: PodView = serde_json::from_slice(json)?;
        resizing::count(&mut view, json)?;
        Self::from_view(&view)
    }

    /// Reads a pod as it is stored.
    ///
    /// # Errors
    /// As [`PodInfo::from_json`].
    pub fn from_entry(entry: &Entry) -> Result<Self, InvalidInput> {
        Ok(Self { revision: entry.revision(), ..entry.with_bare(Self::from_json)? })
    }

    pub(crate) fn from_view(view: &PodView) -> Result<Self, InvalidInput> {
        let PodView { metadata, spec, status } = view;
        let some = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
        let owner = metadata.owner_references.iter().find(|o| o.controller == Some(true));
        Ok(Self {
            name: ObjectName::namespaced(metadata.namespace.as_str(), metadata.name.as_str()),
            uid: Uid::from(metadata.uid.as_str()),
            labels: LabelSet::new(&metadata.labels),
            controller: owner.map(|o| (Arc::from(o.kind.as_str()), Uid::from(o.uid.as_str()))),
            node: some(&spec.node_name),
            nominated_node: some(&status.nominated_node_name),
            scheduler: some(&spec.scheduler_name).unwrap_or_else(|| DEFAULT_SCHEDULER.into()),
            priority: spec.priority.unwrap_or_default(),
            may_preempt: spec.preemption_policy.as_deref() != Some("Never"),
            gates: spec.scheduling_gates.iter().map(|g| g.name.clone()).collect(),
            revision: Revision::ZERO,
            generation: metadata.generation,
            reported: reported(view),
            created: metadata.creation_timestamp,
            started: status.start_time,
            deleting: metadata.deletion_timestamp.is_some(),
            finished: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
            preempted: metadata.deletion_timestamp.is_some() && was_preempted(view),
            requests: Requests::of(spec),
            ports: host_ports(view),
            images: spec.init_containers.iter().chain(&spec.containers).map(image_name).collect(),
            claims: claims(view),
            devices: devices(view),
            disks: spec.volumes.iter().filter_map(Disk::of).collect(),
            tolerations: spec.tolerations.clone(),
            rules: Arc::new(Rules::compile(metadata, spec)?),
        })
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.name.namespace().unwrap_or_default()
    }

    /// Whether the other asks for something else, so that it may fit where this one did not.
    pub(crate) fn asks_differently(&self, other: &Self) -> bool {
        self.labels != other.labels
            || self.requests != other.requests
            || self.tolerations != other.tolerations
            || self.gates != other.gates
            || self.devices != other.devices
            || self.priority != other.priority
    }

    /// Whether one of its volumes is a claim of this name.
    pub(crate) fn claims_volume(&self, name: &str) -> bool {
        self.claims.iter().any(|(claim, _)| **claim == *name)
    }

    /// Whether it is all the same to other pods which of the two is on a node.
    pub(crate) fn counts_like(&self, other: &Self) -> bool {
        self.labels == other.labels && self.requests == other.requests && self.deleting == other.deleting
    }

    /// Whether it takes up room on its node.
    pub fn is_active(&self) -> bool {
        !self.finished
    }
}

fn reported(view: &PodView) -> Option<String> {
    let mut conditions = view.status.conditions.iter();
    let waiting = conditions.find(|c| c.r#type == "PodScheduled" && c.status == "False");
    waiting.filter(|c| c.reason == "Unschedulable").map(|c| c.message.clone())
}

fn was_preempted(view: &PodView) -> bool {
    let mut conditions = view.status.conditions.iter();
    conditions
        .any(|c| c.r#type == "DisruptionTarget" && c.status == "True" && c.reason == "PreemptionByScheduler")
}

fn claims(view: &PodView) -> Vec<(Arc<str>, bool)> {
    let PodView { metadata, spec, .. } = view;
    let claim = |volume: &VolumeView| match &volume.persistent_volume_claim {
        Some(claim) => Some((claim.claim_name.as_str().into(), false)),
        None => {
            let own = || format!("{}-{}", metadata.name, volume.name).into();
            volume.ephemeral.is_some().then(|| (own(), true))
        }
    };
    spec.volumes.iter().filter_map(claim).collect()
}

/// A claim that is made by a template is called as the pod's status says, once that says so.
fn devices(view: &PodView) -> Vec<Asked> {
    let PodView { spec, status, .. } = view;
    let asked = spec.resource_claims.iter().map(|asked| {
        let named = asked.resource_claim_name.as_deref().map(Arc::from);
        let own = named.is_none();
        let made = status.resource_claim_statuses.iter().find(|made| own && made.name == asked.name);
        let settled = !own || made.is_some();
        let claim = named.or_else(|| made?.resource_claim_name.as_deref().map(Arc::from));
        Asked { name: asked.name.as_str().into(), claim, own, settled }
    });
    asked.collect()
}

fn host_ports(view: &PodView) -> Vec<HostPort> {
    let spec = &view.spec;
    let on_host = spec.host_network == Some(true);
    let sidecars = spec.init_containers.iter().filter(|c| c.is_sidecar());
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| &c.ports);
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|n| *n > 0).or(on_host.then_some(port.container_port))?;
            Some(HostPort {
                ip: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned()),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: number,
            })
        })
        .collect()
}

/// The name under which a node lists the image: with a tag, even when the pod gives none.
fn image_name(container: &ContainerView) -> String {
    let image = &container.image;
    let last = image.rfind('/').map_or(0, |at| at + 1);
    let named = image.get(last..).unwrap_or_default();
    if named.contains([':', '@']) { image.clone() } else { format!("{image}:latest") }
}
