//! The volumes that pods have by claims, as far as this node can have them: directories of the machine, and those that it
//! mounts from others by NFS or has its drivers show.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};

use super::attached::until_attached;
use super::context::Context;
use super::csi::{Driver, For, of_volume};
use super::model::HeldTokens;
use super::volumes::{Content, Nfs};

/// The name of the claim that a volume of a pod is by, if it is by one.
fn claim(pod: &Pod, volume: &Volume) -> Option<String> {
    match &volume.persistent_volume_claim {
        Some(claim) => Some(claim.claim_name.clone()),
        None => {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            volume.ephemeral.is_some().then(|| format!("{pod}-{}", volume.name))
        }
    }
}

/// What a volume by a claim is made of.
pub(super) struct Claimed {
    pub(super) content: Content,
    /// Its driver wants to be asked again and again.
    pub(super) again: bool,
}

/// What such a volume is made of; `None` if it is by no claim. One that has to be attached first is waited for, unless it is
/// shown already.
pub(super) async fn content(
    ctx: &Context,
    pod: &Pod,
    volume: &Volume,
    is_shown: bool,
    held: &mut HeldTokens,
) -> Result<Option<Claimed>, String> {
    let Some((claim, bound)) = bound(ctx, pod, volume).await? else { return Ok(None) };
    let ours = claim.metadata.uid.as_deref();
    let mut made = Claimed { content: made_of(&bound, ours)?, again: false };
    if let Content::Csi(csi) = &mut made.content
        && let Some(source) = bound.spec.as_ref().and_then(|spec| spec.csi.as_ref())
    {
        let driver = Driver::find(ctx, &source.driver).await?;
        *csi = For { ctx, pod, volume }.claimed(&bound, source, &driver, held).await?;
        if driver.attaches() {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            csi.attached = Some(until_attached(ctx, uid, csi, is_shown).await?);
        }
        made.again = driver.republishes();
    }
    Ok(Some(made))
}

/// The claim that a volume of a pod is by, and what it is bound to; `None` if it is by none.
pub(super) async fn bound(
    ctx: &Context,
    pod: &Pod,
    volume: &Volume,
) -> Result<Option<(PersistentVolumeClaim, PersistentVolume)>, String> {
    let Some(name) = claim(pod, volume) else { return Ok(None) };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let fetched = ctx.client.api::<PersistentVolumeClaim>(namespace).get(&name).await;
    let claim = fetched.map_err(|status| format!("failed to fetch PVC from API server: {status}"))?;
    if volume.ephemeral.is_some() && !is_controlled(&claim, pod) {
        return Err(format!("PVC {namespace}/{name} was not created for the pod"));
    }
    let bound = bound_to(&claim).ok_or_else(|| format!("PersistentVolumeClaim is not bound: \"{name}\""))?;
    let fetched = ctx.client.cluster::<PersistentVolume>().get(bound).await;
    let held = fetched.map_err(|status| format!("failed to fetch PV {bound}: {status}"))?;
    Ok(Some((claim, held)))
}

/// Whether a claim was made for a pod and not for one of its name, or by somebody.
fn is_controlled(claim: &PersistentVolumeClaim, pod: &Pod) -> bool {
    let mut owners = claim.metadata.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == pod.metadata.uid.as_ref())
}

fn bound_to(claim: &PersistentVolumeClaim) -> Option<&str> {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    volume.filter(|name| phase == Some("Bound") && !name.is_empty())
}

fn made_of(volume: &PersistentVolume, claim: Option<&str>) -> Result<Content, String> {
    let spec = volume.spec.clone().unwrap_or_default();
    let held = spec.claim_ref.and_then(|held| held.uid);
    if held.as_deref() != claim {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        return Err(format!("the volume {name} is bound to another claim"));
    }
    if let Some(source) = &spec.csi {
        return Ok(Content::Csi(of_volume(volume, source)));
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return match spec.local {
            Some(device) => Ok(Content::Device { path: device.path }),
            None => Err("a volume of its kind is no device".to_owned()),
        };
    }
    if let Some(directory) = spec.host_path {
        return Ok(Content::HostPath { path: directory.path, kind: directory.type_.unwrap_or_default() });
    }
    if let Some(nfs) = spec.nfs {
        return Ok(Content::Nfs(Nfs {
            server: nfs.server,
            path: nfs.path,
            read_only: nfs.read_only == Some(true),
            options: spec.mount_options.unwrap_or_default(),
        }));
    }
    match spec.local {
        Some(directory) => Ok(Content::Local { path: directory.path }),
        None => Err("no volume plugin matched".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn made(change: Value) -> Result<Content, String> {
        let mut spec = json!({"claimRef": {"name": "c", "namespace": "n", "uid": "u"}});
        for (key, value) in change.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let volume = json!({"metadata": {"name": "v"}, "spec": spec});
        made_of(&serde_json::from_value(volume).unwrap(), Some("u"))
    }

    #[test]
    fn directories_are_mounted_and_nothing_else() {
        let path = |path: &str, kind: &str| Ok(Content::HostPath { path: path.into(), kind: kind.into() });
        assert_eq!(
            made(json!({"hostPath": {"path": "/a", "type": "DirectoryOrCreate"}})),
            path("/a", "DirectoryOrCreate")
        );
        assert_eq!(made(json!({"local": {"path": "/b"}})), Ok(Content::Local { path: "/b".into() }));
        let options = vec!["nfsvers=4.1".to_owned()];
        assert_eq!(
            made(json!({"nfs": {"server": "s", "path": "/"}, "mountOptions": options})),
            Ok(Content::Nfs(Nfs { server: "s".into(), path: "/".into(), read_only: false, options }))
        );
        let csi = json!({"csi": {"driver": "d", "volumeHandle": "h", "volumeAttributes": {"a": "b"}},
            "accessModes": ["ReadWriteMany"]});
        let Ok(Content::Csi(csi)) = made(csi) else { panic!("it is a driver's") };
        let found = (csi.driver.as_str(), csi.handle.as_str(), csi.access_mode.as_str());
        assert_eq!(found, ("d", "h", "ReadWriteMany"));
        let disk = json!({"iscsi": {"targetPortal": "t", "iqn": "i", "lun": 0}});
        assert_eq!(made(disk), Err("no volume plugin matched".into()));
        let other =
            json!({"hostPath": {"path": "/a"}, "claimRef": {"name": "c", "namespace": "n", "uid": "x"}});
        assert!(made(other).unwrap_err().contains("another claim"));
        assert!(made(json!({"hostPath": {"path": "/a"}, "volumeMode": "Block"})).is_err());
        let device = made(json!({"local": {"path": "/dev/a"}, "volumeMode": "Block"}));
        assert_eq!(device, Ok(Content::Device { path: "/dev/a".into() }));
        let Ok(Content::Csi(csi)) =
            made(json!({"csi": {"driver": "d", "volumeHandle": "h"}, "volumeMode": "Block"}))
        else {
            panic!("it is a driver's")
        };
        assert!(csi.block);
    }

    #[test]
    fn a_volume_is_by_a_claim_of_that_name_or_of_the_pods_own() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
        let of = |volume: Value| claim(&pod, &serde_json::from_value(volume).unwrap());
        assert_eq!(
            of(json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}})),
            Some("c".to_owned())
        );
        assert_eq!(of(json!({"name": "v", "ephemeral": {}})), Some("p-v".to_owned()));
        assert_eq!(of(json!({"name": "v", "emptyDir": {}})), None);
    }

    #[test]
    fn only_a_bound_claim_has_a_volume() {
        let of = |phase: &str, volume: &str| {
            let claim = json!({"spec": {"volumeName": volume}, "status": {"phase": phase}});
            bound_to(&serde_json::from_value(claim).unwrap()).map(str::to_owned)
        };
        assert_eq!(of("Bound", "v"), Some("v".to_owned()));
        assert_eq!((of("Pending", "v"), of("Bound", ""), of("Lost", "v")), (None, None, None));
    }
}
