//! Whether something protects an object from going, and what uses it. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::controllers::pod_volume::{PodVolume, VolumeClaim};
use crate::watch::Entry;

/// What is read of an object that is protected.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct View {
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    finalizers: Vec<String>,
}

/// What is to be done about the finalizer that protects an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: it is there while the object stays, or is gone from one that goes.
    None,
    /// The object has not got it: it is from a time when none was given.
    Add,
    /// The object waits to go, and may if nothing uses it.
    RemoveIfUnused,
}

pub(super) fn step(view: &View, is_deleting: bool, finalizer: &str) -> Step {
    let has = view.metadata.finalizers.iter().any(|held| held == finalizer);
    match (is_deleting, has) {
        (false, false) => Step::Add,
        (true, true) => Step::RemoveIfUnused,
        _ => Step::None,
    }
}

/// The merge patch that adds a finalizer.
pub(super) fn with(view: &View, finalizer: &str) -> Value {
    let held = view.metadata.finalizers.iter().map(String::as_str);
    json!({"metadata": {"finalizers": held.chain([finalizer]).collect::<Vec<_>>()}})
}

/// The merge patch that takes a finalizer away.
pub(super) fn without(view: &View, finalizer: &str) -> Value {
    let left: Vec<_> = view.metadata.finalizers.iter().filter(|held| *held != finalizer).collect();
    json!({"metadata": {"finalizers": left}})
}

/// What is read of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodView {
    metadata: PodMetadata,
    spec: PodSpec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodMetadata {
    name: String,
    deletion_timestamp: Option<String>,
    deletion_grace_period_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: Option<String>,
    volumes: Vec<PodVolume>,
}

impl PodView {
    /// The names of the claims of the pod's volumes.
    pub(super) fn claims(&self) -> impl Iterator<Item = String> {
        self.volume_claims().map(|claim| claim.name.into_owned())
    }

    fn volume_claims(&self) -> impl Iterator<Item = VolumeClaim<'_>> {
        self.spec.volumes.iter().filter_map(|volume| volume.claim(&self.metadata.name))
    }

    /// Whether its node is done with the pod, or nobody waits for it: only other finalizers hold it.
    fn is_shut_down(&self) -> bool {
        self.metadata.deletion_timestamp.is_some() && self.metadata.deletion_grace_period_seconds == Some(0)
    }

    /// Whether a pod keeps a claim of its namespace from going. A pod that is on no node keeps none: no node starts a pod
    /// whose claim is on its way out. `is_owner` says whether the pod controls the claim.
    pub(super) fn keeps(&self, claim: &str, is_owner: bool) -> bool {
        let is_placed = self.spec.node_name.as_ref().is_some_and(|node| !node.is_empty());
        let holds =
            |held: VolumeClaim<'_>| held.name == claim && (!held.is_made || is_owner && !self.is_shut_down());
        is_placed && self.volume_claims().any(holds)
    }
}

/// Whether a pod keeps a claim from going.
pub(super) fn keeps(pod: &PodView, pod_entry: &Entry, claim: &Entry) -> bool {
    let is_owner = claim.controller().is_some_and(|owner| owner.uid == *pod_entry.uid());
    pod.keeps(claim.name().name(), is_owner)
}

/// What is read of a volume: whether it is bound, and the class of its attributes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct VolumeView {
    spec: ClassOfSpec,
    status: Phase,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClassOfSpec {
    volume_attributes_class_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Phase {
    phase: String,
}

impl VolumeView {
    /// Whether a claim has the volume.
    pub(super) fn is_bound(&self) -> bool {
        self.status.phase == "Bound"
    }

    /// The class of its attributes.
    pub(super) fn class(&self) -> Option<&str> {
        self.spec.volume_attributes_class_name.as_deref().filter(|class| !class.is_empty())
    }
}

/// What is read of a claim: the classes of attributes that it has, is to have, or is on its way to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClaimView {
    spec: ClassOfSpec,
    status: ClaimStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimStatus {
    current_volume_attributes_class_name: Option<String>,
    modify_volume_status: Option<Modification>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Modification {
    target_volume_attributes_class_name: Option<String>,
}

impl ClaimView {
    /// The classes that the claim uses.
    pub(super) fn classes(&self) -> impl Iterator<Item = &str> {
        let target = self.status.modify_volume_status.as_ref();
        let all = [
            self.spec.volume_attributes_class_name.as_deref(),
            self.status.current_volume_attributes_class_name.as_deref(),
            target.and_then(|target| target.target_volume_attributes_class_name.as_deref()),
        ];
        all.into_iter().flatten().filter(|class| !class.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_stays_has_the_finalizer_and_what_goes_loses_it_when_unused() {
        for (finalizers, is_deleting, expected) in [
            (json!([]), false, Step::Add),
            (json!(["other"]), false, Step::Add),
            (json!(["other", "ours"]), false, Step::None),
            (json!(["other", "ours"]), true, Step::RemoveIfUnused),
            (json!(["other"]), true, Step::None),
        ] {
            let view: View = read(json!({"metadata": {"finalizers": finalizers}}));
            assert_eq!(step(&view, is_deleting, "ours"), expected, "{view:?} {is_deleting}");
        }
    }

    #[test]
    fn finalizers_of_others_stay_as_they_are() {
        let view: View = read(json!({"metadata": {"finalizers": ["a", "b"]}}));
        assert_eq!(with(&view, "c"), json!({"metadata": {"finalizers": ["a", "b", "c"]}}));
        assert_eq!(without(&view, "a"), json!({"metadata": {"finalizers": ["b"]}}));
    }

    #[test]
    fn a_pod_on_a_node_keeps_the_claims_it_names_and_those_made_for_it() {
        let claim = json!({"name": "v", "persistentVolumeClaim": {"claimName": "p-data"}});
        let ephemeral = json!({"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}});
        let ended = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0});
        let going = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30});
        for (what, volume, node, metadata, is_owner, expected) in [
            ("named", &claim, "n", json!({}), false, true),
            ("on no node", &claim, "", json!({}), false, false),
            ("named by one that is over", &claim, "n", ended.clone(), false, true),
            ("made for it", &ephemeral, "n", json!({}), true, true),
            ("made for another of its name", &ephemeral, "n", json!({}), false, false),
            ("made for one on its way out", &ephemeral, "n", going, true, true),
            ("made for one that is over", &ephemeral, "n", ended, true, false),
            ("of another name", &json!({"name": "other", "emptyDir": {}}), "n", json!({}), true, false),
        ] {
            let mut pod = json!({"metadata": metadata, "spec": {"nodeName": node, "volumes": [volume]}});
            pod["metadata"]["name"] = "p".into();
            assert_eq!(read::<PodView>(pod).keeps("p-data", is_owner), expected, "{what}");
        }
        let pod: PodView =
            read(json!({"metadata": {"name": "p"}, "spec": {"volumes": [claim, ephemeral, {"name": "x"}]}}));
        assert_eq!(pod.claims().collect::<Vec<_>>(), ["p-data", "p-data"]);
    }

    #[test]
    fn a_claim_uses_the_classes_it_has_is_to_have_and_moves_to() {
        let claim: ClaimView = read(json!({
            "spec": {"volumeAttributesClassName": "wanted"},
            "status": {
                "currentVolumeAttributesClassName": "held",
                "modifyVolumeStatus": {"status": "Pending", "targetVolumeAttributesClassName": "target"},
            },
        }));
        assert_eq!(claim.classes().collect::<Vec<_>>(), ["wanted", "held", "target"]);
        let none: ClaimView = read(json!({"spec": {"volumeAttributesClassName": ""}}));
        assert_eq!(none.classes().count(), 0);
    }

    #[test]
    fn a_volume_is_used_while_it_is_bound() {
        for (phase, expected) in [("Bound", true), ("Available", false), ("Released", false)] {
            let volume: VolumeView = read(json!({"status": {"phase": phase}}));
            assert_eq!(volume.is_bound(), expected, "{phase}");
        }
        let volume: VolumeView = read(json!({"spec": {"volumeAttributesClassName": "fast"}}));
        assert_eq!(volume.class(), Some("fast"));
    }
}
