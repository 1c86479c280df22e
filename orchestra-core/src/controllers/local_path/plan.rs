//! Which volume a claim gets, and when a volume goes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::controllers::volume_binder::{PROVISIONED_BY, PROVISIONER as ASKED};
use crate::quantity::Quantity;
pub(super) use crate::scheduler::volumes::SELECTED_NODE;
use crate::scheduler::volumes::on_node;
use crate::watch::Entry;

const HOSTNAME: &str = "kubernetes.io/hostname";
/// The ways in which a directory of one node can be used.
const MODES: [&str; 2] = ["ReadWriteOnce", "ReadWriteOncePod"];

/// What is read of a claim.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClaimView {
    metadata: Metadata,
    spec: ClaimSpec,
    status: ClaimStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSpec {
    volume_name: String,
    storage_class_name: Option<String>,
    access_modes: Vec<String>,
    volume_mode: String,
    selector: Option<serde::de::IgnoredAny>,
    data_source: Option<serde::de::IgnoredAny>,
    resources: Resources,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, Quantity>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ClaimStatus {
    phase: String,
    capacity: BTreeMap<String, Quantity>,
}

impl ClaimView {
    pub(super) fn is_bound(&self) -> bool {
        self.status.phase == "Bound"
    }

    pub(super) fn volume(&self) -> &str {
        &self.spec.volume_name
    }

    /// Whether it waits for a volume of this provisioner.
    pub(super) fn asks(&self, provisioner: &str) -> bool {
        self.spec.volume_name.is_empty()
            && self.metadata.annotations.get(ASKED).is_some_and(|asked| asked == provisioner)
    }

    pub(super) fn class(&self) -> Option<&str> {
        self.spec.storage_class_name.as_deref()
    }

    /// The node of its first pod.
    pub(super) fn node(&self) -> Option<&str> {
        self.metadata.annotations.get(SELECTED_NODE).map(String::as_str)
    }

    fn request(&self) -> Quantity {
        self.spec.resources.requests.get("storage").copied().unwrap_or_default()
    }

    /// How much it asks for, if that is more than it has.
    pub(super) fn wants_more(&self) -> Option<Quantity> {
        let has = self.status.capacity.get("storage").copied().unwrap_or_default();
        Some(self.request()).filter(|request| *request > has)
    }
}

/// What is read of a class.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ClassView {
    parameters: BTreeMap<String, String>,
    reclaim_policy: String,
    mount_options: Vec<String>,
}

/// What becomes of a claim.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Made {
    Volume(Value),
    Refused(String),
    /// The node is not there any more.
    Reschedule,
}

/// The name of a claim's volume: of its uid, so that it is made once.
pub(super) fn name(claim: &Entry) -> String {
    format!("pvc-{}", claim.uid())
}

/// The name by which a node is known to the affinity of volumes.
pub(super) fn hostname(node: &Entry) -> String {
    node.labels().get(HOSTNAME).unwrap_or_else(|| node.name().name().to_owned())
}

/// The volume of a claim, on a node of that hostname.
pub(super) fn make(
    entry: &Entry,
    claim: &ClaimView,
    class: Option<&ClassView>,
    hostname: Option<&str>,
    root: &str,
) -> Made {
    let Some(class) = class else { return Made::Refused("the class is not there".to_owned()) };
    if let Some(why) = refused(claim, class) {
        return Made::Refused(why.to_owned());
    }
    let Some(hostname) = hostname else { return Made::Reschedule };
    let (name, own) = (name(entry), entry.name());
    let root = class.parameters.get("path").map_or(root, String::as_str).trim_end_matches('/');
    let path = format!("{root}/{name}_{}_{}", own.namespace().unwrap_or_default(), own.name());
    Made::Volume(json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: super::PROVISIONER}},
        "spec": {
            "capacity": {"storage": claim.request().to_string()},
            "accessModes": claim.spec.access_modes,
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": class.reclaim_policy,
            "storageClassName": claim.class(),
            "hostPath": {"path": path, "type": "DirectoryOrCreate"},
            "nodeAffinity": on_node(hostname),
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": own.namespace(),
                "name": own.name(), "uid": entry.uid(), "resourceVersion": entry.revision().to_string(),
            },
        },
    }))
}

fn refused(claim: &ClaimView, class: &ClassView) -> Option<&'static str> {
    let modes = &claim.spec.access_modes;
    if !modes.iter().all(|mode| MODES.contains(&mode.as_str())) {
        Some(
            "only the access modes ReadWriteOnce and ReadWriteOncePod are supported: the volume is on one node",
        )
    } else if claim.spec.volume_mode == "Block" {
        Some("only the volume mode Filesystem is supported: the volume is a directory")
    } else if claim.spec.selector.is_some() {
        Some("claims with a selector are not supported")
    } else if claim.spec.data_source.is_some() {
        Some("claims with a data source are not supported")
    } else if !class.mount_options.is_empty() {
        Some("mount options are not supported")
    } else if claim.node().is_none() {
        Some("no node was selected: the class must have the volumeBindingMode WaitForFirstConsumer")
    } else {
        None
    }
}

/// What is read of a volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VolumeView {
    metadata: Metadata,
    spec: VolumeSpec,
    status: VolumeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct VolumeSpec {
    capacity: BTreeMap<String, Quantity>,
    persistent_volume_reclaim_policy: String,
    host_path: Option<Directory>,
    node_affinity: Value,
}

#[derive(Clone, Debug, Deserialize)]
struct Directory {
    path: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct VolumeStatus {
    phase: String,
}

impl VolumeView {
    pub(super) fn is_made_by(&self, provisioner: &str) -> bool {
        self.metadata.annotations.get(PROVISIONED_BY).is_some_and(|by| by == provisioner)
    }

    pub(super) fn capacity(&self) -> Quantity {
        self.spec.capacity.get("storage").copied().unwrap_or_default()
    }

    /// Whether nobody uses it any more, and nobody wants it kept.
    pub(super) fn is_to_be_removed(&self, provisioner: &str) -> bool {
        self.is_made_by(provisioner)
            && self.status.phase == "Released"
            && self.spec.persistent_volume_reclaim_policy == "Delete"
    }

    /// The hostname of its node, and the directory there.
    pub(super) fn place(&self) -> Option<(&str, &str)> {
        let values = "/required/nodeSelectorTerms/0/matchExpressions/0/values/0";
        let node = self.spec.node_affinity.pointer(values)?.as_str()?;
        Some((node, &self.spec.host_path.as_ref()?.path))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::controllers::testing::{entry, over};

    fn claim(change: &Value) -> (Arc<Entry>, ClaimView) {
        let claim = json!({
            "metadata": {"name": "data", "namespace": "n", "uid": "u",
                "annotations": {ASKED: super::super::PROVISIONER, SELECTED_NODE: "n1"}},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "local-path",
                "resources": {"requests": {"storage": "1Gi"}}},
        });
        let entry = entry(&over(claim, change));
        let view = entry.view::<ClaimView>().unwrap();
        (entry, (*view).clone())
    }

    fn class(path: Option<&str>) -> ClassView {
        let parameters = path.map(|path| ("path".to_owned(), path.to_owned())).into_iter().collect();
        ClassView { parameters, reclaim_policy: "Delete".to_owned(), mount_options: Vec::new() }
    }

    #[test]
    fn a_claim_gets_a_directory_on_the_node_of_its_pod() {
        let (entry, view) = claim(&json!({}));
        let Made::Volume(volume) = make(&entry, &view, Some(&class(None)), Some("n1"), "/var/volumes/")
        else {
            panic!("no volume")
        };
        assert_eq!(volume["metadata"]["name"], "pvc-u");
        assert_eq!(volume["spec"]["hostPath"]["path"], "/var/volumes/pvc-u_n_data");
        assert_eq!(volume["spec"]["claimRef"]["uid"], "u");
        assert_eq!(volume["spec"]["capacity"]["storage"], "1Gi");
        let view: VolumeView = serde_json::from_value(volume).unwrap();
        assert_eq!(view.place(), Some(("n1", "/var/volumes/pvc-u_n_data")));
        assert!(
            view.is_made_by(super::super::PROVISIONER) && !view.is_to_be_removed(super::super::PROVISIONER)
        );
        let Made::Volume(elsewhere) =
            make(&entry, &claim(&json!({})).1, Some(&class(Some("/fast"))), Some("n1"), "/x")
        else {
            panic!("no volume")
        };
        assert_eq!(elsewhere["spec"]["hostPath"]["path"], "/fast/pvc-u_n_data");
    }

    #[test]
    fn what_a_directory_cannot_be_is_refused() {
        for (change, why) in [
            (json!({"spec": {"accessModes": ["ReadWriteMany"]}}), "access modes"),
            (json!({"spec": {"volumeMode": "Block"}}), "volume mode"),
            (json!({"spec": {"selector": {}}}), "selector"),
        ] {
            let (entry, view) = claim(&change);
            match make(&entry, &view, Some(&class(None)), Some("n1"), "/x") {
                Made::Refused(told) => assert!(told.contains(why), "{told}"),
                other => panic!("{change}: {other:?}"),
            }
        }
        let (entry, mut view) = claim(&json!({}));
        assert_eq!(make(&entry, &view, Some(&class(None)), None, "/x"), Made::Reschedule);
        view.metadata.annotations.remove(SELECTED_NODE);
        let early = make(&entry, &view, Some(&class(None)), Some("n1"), "/x");
        assert!(matches!(early, Made::Refused(why) if why.starts_with("no node was selected")));
    }

    #[test]
    fn claims_grow_and_do_not_shrink() {
        let status = |size: &str| json!({"status": {"phase": "Bound", "capacity": {"storage": size}}});
        let wants = |size: &str| claim(&status(size)).1.wants_more().map(|it| it.to_string());
        assert_eq!((wants("500Mi"), wants("1Gi"), wants("2Gi")), (Some("1Gi".to_owned()), None, None));
    }

    #[test]
    fn only_released_volumes_of_its_own_go() {
        let view = |phase: &str, policy: &str, by: &str| -> VolumeView {
            serde_json::from_value(json!({
                "metadata": {"annotations": {PROVISIONED_BY: by}},
                "spec": {"persistentVolumeReclaimPolicy": policy}, "status": {"phase": phase},
            }))
            .unwrap()
        };
        assert!(view("Released", "Delete", "x").is_to_be_removed("x"));
        for (phase, policy, by) in
            [("Bound", "Delete", "x"), ("Released", "Retain", "x"), ("Released", "Delete", "y")]
        {
            assert!(!view(phase, policy, by).is_to_be_removed("x"), "{phase} {policy} {by}");
        }
    }
}
