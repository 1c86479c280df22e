//! What is read of the objects that have to do with attaching.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{AttachedVolume, ContainerState, NodeCondition, Taint};
use serde::Deserialize;

use super::plan::NodeState;
use crate::controllers::pod_volume::PodVolume;

/// By which a node says that it leaves attaching to the cluster.
pub(super) const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";
/// What somebody says of a node that is down and will not come back by itself.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// What an attachment of a volume to a node is called.
pub(super) fn attachment_name(source: &Source, node: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [&*source.handle, &*source.driver, node] {
        hash.update(part.as_bytes());
    }
    let hash: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("csi-{hash}")
}

/// Whether an attachment is called as those are that this controller makes. Whoever makes others sees to them.
pub(super) fn may_be_ours(name: &str) -> bool {
    let is_hash = |hash: &str| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.strip_prefix("csi-").is_some_and(is_hash)
}

/// A volume as its driver knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Source {
    #[serde(default)]
    pub(super) driver: String,
    #[serde(default, rename = "volumeHandle")]
    pub(super) handle: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VolumeView {
    pub(super) spec: VolumeSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct VolumeSpec {
    pub(super) csi: Option<Source>,
    access_modes: Vec<String>,
    pub(super) claim_ref: Option<ClaimRef>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClaimRef {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl VolumeView {
    /// Whether several nodes may have it at a time.
    pub(super) fn is_shared(&self) -> bool {
        let modes = &self.spec.access_modes;
        modes.is_empty() || modes.iter().any(|mode| matches!(&**mode, "ReadOnlyMany" | "ReadWriteMany"))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClaimView {
    spec: ClaimSpec,
    status: Phase,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSpec {
    volume_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Phase {
    phase: String,
}

impl ClaimView {
    /// The volume that it is bound to, or asks for.
    pub(super) fn volume(&self) -> Option<&str> {
        Some(self.spec.volume_name.as_str()).filter(|name| !name.is_empty())
    }

    pub(super) fn is_bound_to(&self, volume: &str) -> bool {
        self.status.phase == "Bound" && self.spec.volume_name == volume
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodView {
    metadata: PodMetadata,
    spec: PodSpec,
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodMetadata {
    name: String,
    creation_timestamp: Option<Timestamp>,
    deletion_timestamp: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
    volumes: Vec<PodVolume>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodStatus {
    phase: String,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    state: ContainerState,
}

impl PodView {
    /// The node that it is on, as long as it is not over.
    pub(super) fn node(&self) -> Option<&str> {
        Some(self.spec.node_name.as_str()).filter(|node| !node.is_empty() && !self.is_over())
    }

    /// Whether it has a claim of its namespace. `owned` says whether the claim was made for it.
    pub(super) fn has(&self, claim: &str, owned: bool) -> bool {
        let claims = self.spec.volumes.iter().filter_map(|volume| volume.claim(&self.metadata.name));
        claims.into_iter().any(|held| held.name == claim && (owned || !held.is_made))
    }

    pub(super) fn made(&self) -> Timestamp {
        self.metadata.creation_timestamp.unwrap_or(Timestamp::MIN)
    }

    /// Whether nothing of it runs, nor will.
    fn is_over(&self) -> bool {
        let runs = |held: &ContainerStatus| held.state.terminated.is_none() && held.state.waiting.is_none();
        matches!(&*self.status.phase, "Succeeded" | "Failed")
            || (self.metadata.deletion_timestamp.is_some()
                && !self.status.container_statuses.iter().any(runs))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AttachmentView {
    spec: AttachmentSpec,
    status: AttachmentStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AttachmentSpec {
    node_name: String,
    source: AttachmentSource,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AttachmentSource {
    persistent_volume_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AttachmentStatus {
    attached: bool,
    attach_error: Option<AttachError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AttachError {
    message: String,
}

impl AttachmentView {
    pub(super) fn node(&self) -> &str {
        &self.spec.node_name
    }

    pub(super) fn volume(&self) -> Option<&str> {
        self.spec.source.persistent_volume_name.as_deref()
    }

    pub(super) fn is_attached(&self) -> bool {
        self.status.attached
    }

    /// Why its driver could not attach it.
    pub(super) fn error(&self) -> Option<String> {
        self.status.attach_error.as_ref().map(|error| error.message.clone())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DriverView {
    spec: DriverSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DriverSpec {
    attach_required: Option<bool>,
}

impl DriverView {
    pub(super) fn attaches(&self) -> bool {
        self.spec.attach_required != Some(false)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeView {
    metadata: NodeMetadata,
    spec: NodeSpec,
    pub(super) status: NodeStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeMetadata {
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    taints: Vec<Taint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NodeStatus {
    conditions: Vec<NodeCondition>,
    pub(super) volumes_attached: Vec<AttachedVolume>,
    volumes_in_use: Vec<String>,
}

impl NodeView {
    /// What it says of a volume: by its name on nodes, or by an attachment of it if that is not known any more.
    pub(super) fn state(&self, volume: Option<&str>, attachments: &[&str]) -> NodeState {
        let is_it = |held: &&AttachedVolume| match volume {
            Some(volume) => held.name == volume,
            None => attachments.contains(&&*held.device_path),
        };
        let reported = self.status.volumes_attached.iter().find(is_it);
        let name = volume.or(reported.map(|held| held.name.as_str()));
        let condition = |held: &NodeCondition| held.type_ == "Ready" && held.status == "True";
        NodeState {
            managed: self.metadata.annotations.get(MANAGED).is_some_and(|said| said == "true"),
            ready: self.status.conditions.iter().any(condition),
            out_of_service: self.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE),
            in_use: name.is_some_and(|name| self.status.volumes_in_use.iter().any(|held| held == name)),
            reports: reported.map(|held| held.device_path.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_attachment_has_the_name_that_its_driver_looks_for() {
        let source = Source { driver: "d".into(), handle: "h".into() };
        // printf hdn | sha256sum
        let name = "csi-9072ed11cc1acb5fa433a877ff339b6311d013f33bddd1d0092711a8ace5b16d";
        assert_eq!(attachment_name(&source, "n"), name);
        assert!(may_be_ours(name));
        for others in ["x", "csi-1", &name[1..], &format!("{name}0"), &name.replace("9072", "907g")] {
            assert!(!may_be_ours(others), "{others}");
        }
    }

    #[test]
    fn a_pod_needs_its_claims_until_it_is_over() {
        let running = json!([{"state": {"running": {}}}]);
        let ended = json!([{"state": {"terminated": {"exitCode": 0}}}]);
        let leaving = "2026-01-01T00:00:00Z";
        for (what, metadata, status, needs) in [
            ("bound", json!({}), json!({}), true),
            ("running", json!({}), json!({"phase": "Running", "containerStatuses": running}), true),
            ("over", json!({}), json!({"phase": "Succeeded"}), false),
            ("leaving", json!({"deletionTimestamp": leaving}), json!({"containerStatuses": running}), true),
            ("left", json!({"deletionTimestamp": leaving}), json!({"containerStatuses": ended}), false),
        ] {
            let pod: PodView =
                read(json!({"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}));
            assert_eq!(pod.node(), needs.then_some("n"), "{what}");
        }
    }

    #[test]
    fn a_claim_is_a_pods_by_name_or_because_it_was_made_for_it() {
        let pod: PodView = read(json!({"metadata": {"name": "p"}, "spec": {"volumes": [
            {"name": "a", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "b", "ephemeral": {}},
        ]}}));
        let found = [("c", false), ("p-b", true), ("p-b", false), ("p-a", true)];
        assert_eq!(found.map(|(claim, owned)| pod.has(claim, owned)), [true, true, false, false]);
    }

    #[test]
    fn what_a_node_says_of_a_volume() {
        let node: NodeView = read(json!({
            "metadata": {"annotations": {MANAGED: "true"}},
            "spec": {"taints": [{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]},
            "status": {
                "conditions": [{"type": "Ready", "status": "Unknown"}],
                "volumesAttached": [{"name": "v", "devicePath": "csi-1"}], "volumesInUse": ["v", "w"],
            },
        }));
        let said = |volume, attachments: &[&str]| {
            let state = node.state(volume, attachments);
            assert!(state.managed && state.out_of_service && !state.ready);
            (state.in_use, state.reports)
        };
        assert_eq!(said(Some("v"), &[]), (true, Some("csi-1".into())));
        assert_eq!(said(Some("w"), &["csi-1"]), (true, None));
        assert_eq!(said(Some("x"), &[]), (false, None));
        assert_eq!(said(None, &["csi-1"]), (true, Some("csi-1".into())));
        assert_eq!(said(None, &["csi-2"]), (false, None));
    }

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }
}
