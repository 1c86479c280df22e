//! The fields of a pod and of a node that the scheduler reads, and no others.
//!
//! Decoding one of these costs a fifth of decoding the whole object; see the crate's notes on views.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NodeSelectorTerm, Taint, Toleration, TopologySpreadConstraint};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::quantity::Quantity;

/// Reads a JSON `null` as the default, as Kubernetes does.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    d: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

#[derive(Debug, Deserialize)]
pub(crate) struct PodView {
    pub(crate) metadata: MetaView,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) spec: PodSpecView,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) status: PodStatusView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MetaView {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) creation_timestamp: Option<Timestamp>,
    pub(crate) deletion_timestamp: Option<Timestamp>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) owner_references: Vec<OwnerView>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OwnerView {
    pub(crate) kind: String,
    pub(crate) uid: String,
    pub(crate) controller: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpecView {
    #[serde(deserialize_with = "or_default")]
    pub(crate) node_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) scheduler_name: String,
    pub(crate) priority: Option<i32>,
    pub(crate) preemption_policy: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) scheduling_gates: Vec<GateView>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) node_selector: BTreeMap<String, String>,
    /// Kept as text: pods of one template have the same, so it is compiled once for all of them.
    pub(crate) affinity: Option<Box<RawValue>>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) tolerations: Vec<Toleration>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) topology_spread_constraints: Vec<TopologySpreadConstraint>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) containers: Vec<ContainerView>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) init_containers: Vec<ContainerView>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) overhead: BTreeMap<String, Quantity>,
    pub(crate) resources: Option<ResourcesView>,
    pub(crate) host_network: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) volumes: Vec<VolumeView>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) resource_claims: Vec<DeviceClaimView>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeviceClaimView {
    pub(crate) name: String,
    pub(crate) resource_claim_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct VolumeView {
    pub(crate) name: String,
    pub(crate) persistent_volume_claim: Option<ClaimNameView>,
    pub(crate) ephemeral: Option<serde::de::IgnoredAny>,
    pub(crate) gce_persistent_disk: Option<DiskView>,
    pub(crate) aws_elastic_block_store: Option<DiskView>,
    pub(crate) iscsi: Option<DiskView>,
    pub(crate) rbd: Option<DiskView>,
}

/// A disk of one of the kinds that pods may name themselves; each kind has some of the fields.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DiskView {
    pub(crate) pd_name: String,
    #[serde(rename = "volumeID")]
    pub(crate) volume_id: String,
    pub(crate) iqn: String,
    pub(crate) monitors: Vec<String>,
    pub(crate) pool: String,
    pub(crate) image: String,
    pub(crate) read_only: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ClaimNameView {
    pub(crate) claim_name: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct GateView {
    pub(crate) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ContainerView {
    #[serde(deserialize_with = "or_default")]
    pub(crate) image: String,
    pub(crate) restart_policy: Option<String>,
    pub(crate) resources: Option<ResourcesView>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) ports: Vec<PortView>,
}

impl ContainerView {
    /// Whether an init container keeps running beside the others.
    pub(crate) fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ResourcesView {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) requests: BTreeMap<String, Quantity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PortView {
    pub(crate) host_port: Option<i32>,
    #[serde(rename = "hostIP")]
    pub(crate) host_ip: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) container_port: i32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodStatusView {
    #[serde(deserialize_with = "or_default")]
    pub(crate) phase: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) nominated_node_name: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) resource_claim_statuses: Vec<DeviceClaimView>,
    pub(crate) start_time: Option<Timestamp>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) conditions: Vec<ConditionView>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConditionView {
    pub(crate) r#type: String,
    pub(crate) status: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) reason: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) message: String,
}

impl ConditionView {
    /// Whether it says that something can never be.
    pub(crate) fn is_infeasible(&self) -> bool {
        self.reason == "Infeasible"
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct NodeView {
    pub(crate) metadata: MetaView,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) spec: NodeSpecView,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) status: NodeStatusView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeSpecView {
    pub(crate) unschedulable: Option<bool>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) taints: Vec<Taint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeStatusView {
    #[serde(deserialize_with = "or_default")]
    pub(crate) allocatable: BTreeMap<String, Quantity>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) images: Vec<ImageView>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ImageView {
    #[serde(deserialize_with = "or_default")]
    pub(crate) names: Vec<String>,
    pub(crate) size_bytes: Option<i64>,
}

/// `spec.affinity`, decoded when a pod's rules are compiled.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AffinityView {
    pub(crate) node_affinity: Option<NodeAffinityView>,
    pub(crate) pod_affinity: Option<PodTermsView>,
    pub(crate) pod_anti_affinity: Option<PodTermsView>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeAffinityView {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(crate) required: Option<k8s_openapi::api::core::v1::NodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "or_default")]
    pub(crate) preferred: Vec<PreferredNodeView>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PreferredNodeView {
    pub(crate) weight: i32,
    pub(crate) preference: NodeSelectorTerm,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodTermsView {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution", deserialize_with = "or_default")]
    pub(crate) required: Vec<k8s_openapi::api::core::v1::PodAffinityTerm>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution", deserialize_with = "or_default")]
    pub(crate) preferred: Vec<k8s_openapi::api::core::v1::WeightedPodAffinityTerm>,
}

/// A service, whose pods are spread when they say nothing about it themselves.
#[derive(Debug, Deserialize)]
pub(crate) struct ServiceView {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) spec: ServiceSpecView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServiceSpecView {
    #[serde(deserialize_with = "or_default")]
    pub(crate) selector: BTreeMap<String, String>,
}
