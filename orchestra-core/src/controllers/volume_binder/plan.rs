//! What becomes of a claim and of a volume: which are bound to each other, which are lost, released and made.

use std::sync::Arc;

use serde::Deserialize;

use crate::control::events::EventType;
use crate::meta::ObjectName;
use crate::scheduler::volumes::{ClaimInfo, ClassInfo, HeldBy, VolumeInfo, best};

/// Something to tell people.
pub(super) type Told = (EventType, &'static str, String);

/// What is read of a claim beside what binding goes by.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct PhaseView {
    pub(super) status: Phase,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub(super) struct Phase {
    pub(super) phase: String,
}

/// What to do about a claim.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ClaimStep {
    /// It waits.
    Wait(Option<Told>),
    /// It is to be of the default class.
    Classify(String),
    /// It is to be bound to the volume, or what is bound is to be made whole.
    Bind(String),
    /// It waits for a volume that somebody makes, who is told.
    Provision { provisioner: String },
    /// What it was bound to is not there any more.
    Lose { reason: &'static str, message: &'static str },
}

/// What is seen of a claim.
#[derive(Clone, Debug)]
pub(super) struct Observed<'o> {
    pub(super) claim: &'o ClaimInfo,
    pub(super) phase: &'o str,
    /// All volumes.
    pub(super) volumes: &'o [Arc<VolumeInfo>],
    /// Its class, if it names one that there is.
    pub(super) class: Option<&'o ClassInfo>,
    /// The class of claims that name none.
    pub(super) default_class: Option<&'o str>,
    /// Its pods that are on no node yet, if it waits for them.
    pub(super) pods: Vec<String>,
}

/// Decides about a claim.
pub(super) fn claim(seen: &Observed<'_>) -> ClaimStep {
    match seen.claim.completed {
        true => bound(seen),
        false => match &seen.claim.volume {
            Some(name) => asked_for(seen, name),
            None => unbound(seen),
        },
    }
}

fn unbound(seen: &Observed<'_>) -> ClaimStep {
    let claim = seen.claim;
    let waits = seen.class.is_some_and(|class| class.waits);
    if let Some(volume) = best(claim, seen.volumes.iter().map(|it| &**it), waits, None, |_| false) {
        return ClaimStep::Bind(volume.name.to_string());
    }
    let Some(class) = claim.class.as_deref() else {
        return match seen.default_class {
            Some(class) => ClaimStep::Classify(class.to_owned()),
            None => ClaimStep::Wait(Some(none_available())),
        };
    };
    if waits && claim.selected_node.is_none() {
        return ClaimStep::Wait(Some(waiting(&seen.pods)));
    }
    match (class, seen.class) {
        ("", _) => ClaimStep::Wait(Some(none_available())),
        (name, None) => {
            let why = format!("storageclass.storage.k8s.io \"{name}\" not found");
            ClaimStep::Wait(Some((EventType::Warning, "ProvisioningFailed", why)))
        }
        (_, Some(class)) if class.provisioner == "kubernetes.io/no-provisioner" => {
            let why = "no volume plugin matched name: kubernetes.io/no-provisioner".to_owned();
            ClaimStep::Wait(Some((EventType::Warning, "ProvisioningFailed", why)))
        }
        (_, Some(class)) => ClaimStep::Provision { provisioner: class.provisioner.clone() },
    }
}

fn none_available() -> Told {
    let why = "no persistent volumes available for this claim and no storage class is set".to_owned();
    (EventType::Normal, "FailedBinding", why)
}

fn waiting(pods: &[String]) -> Told {
    let (reason, message) = match pods {
        [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
        [one] => ("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
        many => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", many.join(","))),
    };
    (EventType::Normal, reason, message)
}

/// A claim that asks for a volume by name.
fn asked_for(seen: &Observed<'_>, name: &str) -> ClaimStep {
    let claim = seen.claim;
    let Some(volume) = seen.volumes.iter().find(|volume| *volume.name == *name) else {
        return ClaimStep::Wait(None);
    };
    match volume.held_by(claim) {
        HeldBy::Nobody => match volume.mismatch(claim) {
            Some(why) => {
                let why = format!("Cannot bind to requested volume \"{name}\": {why}");
                ClaimStep::Wait(Some((EventType::Warning, "VolumeMismatch", why)))
            }
            None => ClaimStep::Bind(name.to_owned()),
        },
        HeldBy::This => ClaimStep::Bind(name.to_owned()),
        HeldBy::Another => {
            let why = format!("volume \"{name}\" already bound to a different claim.");
            ClaimStep::Wait(Some((EventType::Warning, "FailedBinding", why)))
        }
    }
}

fn bound(seen: &Observed<'_>) -> ClaimStep {
    let (claim, lose) = (seen.claim, |reason, message| match seen.phase {
        "Lost" => ClaimStep::Wait(None),
        _ => ClaimStep::Lose { reason, message },
    });
    let Some(name) = claim.volume.as_deref() else {
        let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lose("ClaimLost", message);
    };
    let Some(volume) = seen.volumes.iter().find(|volume| *volume.name == *name) else {
        return lose("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    match &volume.claim {
        Some(held) if held.uid != claim.uid.as_str() => {
            lose("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
        }
        _ => ClaimStep::Bind(name.to_owned()),
    }
}

/// What to do about a volume.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum VolumeStep {
    /// It is to be in a phase.
    Phase(&'static str),
    /// Its claim is gone: it is released, and what its policy says follows.
    Reclaim,
    /// Its claim has another volume: it is given up.
    Unbind,
    /// It waits for its claim, which is to be looked at.
    Nudge(ObjectName),
}

/// Decides about a volume, whose claim is as it stands there under its name, if it does.
pub(super) fn volume(
    volume: &VolumeInfo,
    provisioned: bool,
    deletes: bool,
    claim: Option<&ClaimInfo>,
) -> VolumeStep {
    let Some(held) = &volume.claim else { return VolumeStep::Phase("Available") };
    if held.uid.is_empty() {
        return VolumeStep::Phase("Available");
    }
    let Some(claim) = claim.filter(|claim| held.uid == claim.uid.as_str()) else {
        return VolumeStep::Reclaim;
    };
    match claim.volume.as_deref() {
        None => VolumeStep::Nudge(claim.name.clone()),
        Some(name) if *name == *volume.name => VolumeStep::Phase("Bound"),
        Some(_) if provisioned && deletes => VolumeStep::Reclaim,
        Some(_) => VolumeStep::Unbind,
    }
}

/// What follows when a volume is released.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reclaim {
    /// It stays as it is, or somebody else deletes it.
    Leave,
    /// It cannot be reclaimed.
    Fail { reason: &'static str, message: String },
}

/// What follows from a policy, for a volume that somebody made or nobody knows who.
pub(super) fn reclaim(name: &str, policy: &str, provisioner: Option<&str>) -> Reclaim {
    match (policy, provisioner) {
        ("Retain", _) | ("Delete", Some(_)) => Reclaim::Leave,
        ("Delete", None) => Reclaim::Fail {
            reason: "VolumeFailedDelete",
            message: format!(
                "error getting deleter volume plugin for volume \"{name}\": no deletable volume plugin matched"
            ),
        },
        ("Recycle", _) => Reclaim::Fail {
            reason: "VolumeFailedRecycle",
            message: "No recycler plugin found for the volume!".to_owned(),
        },
        _ => Reclaim::Fail {
            reason: "VolumeUnknownReclaimPolicy",
            message: "Volume has unrecognized PersistentVolumeReclaimPolicy".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controllers::testing::{entry, over};

    fn claim_of(change: &Value) -> ClaimInfo {
        let claim = json!({
            "metadata": {"name": "c", "namespace": "n", "uid": "u"},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                "resources": {"requests": {"storage": "5Gi"}}},
        });
        ClaimInfo::read(&entry(&over(claim, change))).unwrap()
    }

    fn volume_of(name: &str, change: &Value) -> Arc<VolumeInfo> {
        let volume = json!({
            "metadata": {"name": name, "uid": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "capacity": {"storage": "10Gi"}},
            "status": {"phase": "Available"},
        });
        Arc::new(VolumeInfo::read(&entry(&over(volume, change))).unwrap())
    }

    fn class(provisioner: &str, waits: bool) -> ClassInfo {
        let mode = if waits { "WaitForFirstConsumer" } else { "Immediate" };
        let class = json!({"metadata": {"name": "fast", "uid": "f"}, "provisioner": provisioner, "volumeBindingMode": mode});
        ClassInfo::read(&entry(&class)).unwrap()
    }

    fn step(claim: &ClaimInfo, volumes: &[Arc<VolumeInfo>], class: Option<&ClassInfo>) -> ClaimStep {
        let phase = "Pending";
        super::claim(&Observed {
            claim,
            phase,
            volumes,
            class,
            default_class: Some("fast"),
            pods: Vec::new(),
        })
    }

    /// The name of the volume, or the reason of the event.
    fn shown(step: ClaimStep) -> String {
        match step {
            ClaimStep::Bind(name) => name,
            ClaimStep::Wait(told) => told.map_or("wait".to_owned(), |told| told.1.to_owned()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_claim_gets_the_smallest_volume_that_does() {
        let (claim, none) = (claim_of(&json!({})), json!({}));
        let size = |size: &str| json!({"spec": {"capacity": {"storage": size}}});
        let fast = class("made.example/x", false);
        let find = |volumes: &[(&str, Value)]| {
            let volumes: Vec<_> = volumes.iter().map(|(name, change)| volume_of(name, change)).collect();
            shown(step(&claim, &volumes, Some(&fast)))
        };
        assert_eq!(find(&[("a", size("9Gi")), ("b", size("6Gi")), ("c", size("1Gi"))]), "b");
        let more = json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": "5Gi"}}});
        assert_eq!(find(&[("many", more), ("a", none.clone())]), "a");
        let kept = json!({"spec": {"claimRef": {"namespace": "n", "name": "c"}}});
        assert_eq!(find(&[("a", size("6Gi")), ("kept", kept)]), "kept");
        let made = "Provision { provisioner: \"made.example/x\" }";
        for change in [
            json!({"status": {"phase": "Released"}}),
            json!({"spec": {"storageClassName": "slow"}}),
            json!({"spec": {"volumeMode": "Block"}}),
            json!({"spec": {"accessModes": ["ReadOnlyMany"]}}),
            json!({"spec": {"volumeAttributesClassName": "gold"}}),
            json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "other"}}}),
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        ] {
            assert_eq!(find(&[("a", change.clone())]), made, "{change}");
        }
    }

    #[test]
    fn a_selector_chooses_among_volumes() {
        let claim = claim_of(&json!({"spec": {"selector": {"matchLabels": {"disk": "ssd"}}}}));
        let ssd = json!({"metadata": {"labels": {"disk": "ssd"}}, "spec": {"capacity": {"storage": "50Gi"}}});
        let volumes = [volume_of("hdd", &json!({})), volume_of("ssd", &ssd)];
        assert_eq!(shown(step(&claim, &volumes, Some(&class("x.example/y", false)))), "ssd");
    }

    #[test]
    fn claims_that_wait_are_left_to_the_scheduler() {
        let (waits, claim) = (class("made.example/x", true), claim_of(&json!({})));
        let volumes = [volume_of("a", &json!({}))];
        assert_eq!(shown(step(&claim, &volumes, Some(&waits))), "WaitForFirstConsumer");
        let kept = json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "u"}}});
        assert_eq!(shown(step(&claim, &[volume_of("a", &kept)], Some(&waits))), "a");
        let placed = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": "n1"}}});
        assert_eq!(
            shown(step(&claim_of(&placed), &[], Some(&waits))),
            "Provision { provisioner: \"made.example/x\" }"
        );
    }

    #[test]
    fn without_a_volume_a_class_decides() {
        let named = |class: Value| claim_of(&json!({"spec": {"storageClassName": class}}));
        assert_eq!(shown(step(&named(Value::Null), &[], None)), "Classify(\"fast\")");
        assert_eq!(shown(step(&named("".into()), &[], None)), "FailedBinding");
        assert_eq!(shown(step(&named("absent".into()), &[], None)), "ProvisioningFailed");
        let by_hand = class("kubernetes.io/no-provisioner", false);
        assert_eq!(shown(step(&claim_of(&json!({})), &[], Some(&by_hand))), "ProvisioningFailed");
    }

    #[test]
    fn a_volume_that_is_asked_for_by_name_must_do() {
        let claim = claim_of(&json!({"spec": {"volumeName": "a"}}));
        let find = |change: Value| shown(step(&claim, &[volume_of("a", &change)], None));
        assert_eq!(find(json!({})), "a");
        assert_eq!(find(json!({"spec": {"capacity": {"storage": "1Gi"}}})), "VolumeMismatch");
        assert_eq!(find(json!({"spec": {"claimRef": {"namespace": "n", "name": "c"}}})), "a");
        assert_eq!(find(json!({"spec": {"claimRef": {"namespace": "n", "name": "d"}}})), "FailedBinding");
        assert_eq!(shown(step(&claim, &[], None)), "wait");
    }

    #[test]
    fn bound_claims_are_kept_whole_or_lost() {
        let completed = json!({"pv.kubernetes.io/bind-completed": "yes"});
        let claim = claim_of(&json!({"metadata": {"annotations": completed}, "spec": {"volumeName": "a"}}));
        let find = |volumes: &[Arc<VolumeInfo>]| step(&claim, volumes, None);
        let held = |uid: &str| {
            volume_of("a", &json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": uid}}}))
        };
        assert_eq!(find(&[held("u")]), ClaimStep::Bind("a".into()));
        assert_eq!(find(&[volume_of("a", &json!({}))]), ClaimStep::Bind("a".into()));
        assert!(matches!(find(&[held("v")]), ClaimStep::Lose { reason: "ClaimMisbound", .. }));
        assert!(matches!(find(&[]), ClaimStep::Lose { reason: "ClaimLost", .. }));
    }

    #[test]
    fn volumes_follow_their_claims() {
        let held = |uid: &str| {
            volume_of("a", &json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": uid}}}))
        };
        let with =
            |volume: Option<&str>| claim_of(&json!({"spec": {"volumeName": volume.unwrap_or_default()}}));
        let find = |of: &VolumeInfo, claim: Option<&ClaimInfo>| volume(of, false, false, claim);
        assert_eq!(find(&volume_of("a", &json!({})), None), VolumeStep::Phase("Available"));
        assert_eq!(find(&held(""), None), VolumeStep::Phase("Available"));
        assert_eq!(find(&held("u"), None), VolumeStep::Reclaim);
        assert_eq!(find(&held("old"), Some(&with(Some("a")))), VolumeStep::Reclaim);
        assert_eq!(find(&held("u"), Some(&with(Some("a")))), VolumeStep::Phase("Bound"));
        assert_eq!(find(&held("u"), Some(&with(Some("b")))), VolumeStep::Unbind);
        assert_eq!(volume(&held("u"), true, true, Some(&with(Some("b")))), VolumeStep::Reclaim);
        assert!(matches!(find(&held("u"), Some(&with(None))), VolumeStep::Nudge(_)));
    }

    #[test]
    fn policies_are_followed() {
        let fails = |policy, provisioner| match reclaim("a", policy, provisioner) {
            Reclaim::Leave => "",
            Reclaim::Fail { reason, .. } => reason,
        };
        assert_eq!((fails("Retain", None), fails("Delete", Some("x.example/y"))), ("", ""));
        assert_eq!(fails("Delete", None), "VolumeFailedDelete");
        assert_eq!(fails("Recycle", None), "VolumeFailedRecycle");
    }
}
