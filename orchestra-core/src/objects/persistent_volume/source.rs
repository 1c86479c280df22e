//! Where a volume is: one of many systems of storage, of which most are asked for no more than that some fields be there.

use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolumeSpec, SecretReference};
use serde_json::Value;

use crate::api::field::{Errors, Path};
use crate::objects::check::{self, say, shown};
use crate::objects::volume_source::{self, Owner, driver_name};
use crate::objects::{claim, names, pod};

/// The fields that say where a volume is, in the order in which they are looked for.
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// Sources that Kubernetes no longer reaches, and since when.
const GONE: &[(&str, &str, &str)] = &[
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Whether options for mounting may stand in an annotation.
pub(super) fn takes_mount_options(source: &str) -> bool {
    let never =
        ["hostPath", "flocker", "fc", "flexVolume", "portworxVolume", "scaleIO", "local", "storageos", "csi"];
    !never.contains(&source)
}

/// The fields of a specification that say where a volume is.
pub(super) fn given(spec: &PersistentVolumeSpec) -> Vec<(&'static str, Value)> {
    let spec = shown(spec);
    let given = SOURCES.iter().filter_map(|source| {
        let held = spec.get(source).filter(|held| !held.is_null())?;
        Some((*source, held.clone()))
    });
    given.collect()
}

/// What a user should know of where a volume is.
pub(super) fn warnings(spec: &PersistentVolumeSpec) -> Vec<String> {
    let given = given(spec);
    let gone = GONE.iter().filter(|(field, ..)| given.iter().any(|(source, _)| source == field));
    gone.map(|(_, called, said)| format!("spec.{called}: {said}")).collect()
}

/// Says what is wrong with where a volume is, and finds it.
pub(super) fn validate(
    spec: &PersistentVolumeSpec,
    name: &str,
    path: &Path,
    errors: &mut Errors,
) -> Option<&'static str> {
    let given = given(spec);
    let Some(((found, fields), others)) = given.split_first() else {
        errors.required(path, "must specify a volume type");
        return None;
    };
    let owner = Owner::PersistentVolume(name);
    volume_source::validate(found, fields, owner, path, errors);
    details(spec, found, path, errors);
    for (other, fields) in others {
        // A driver of the node may stand beside others, as it always could.
        match *other {
            "flexVolume" => volume_source::validate(other, fields, owner, path, errors),
            _ => volume_source::one_too_many(other, path, errors),
        }
    }
    let root = |path: &str| !path.is_empty() && path.trim_matches('/').is_empty();
    let recycled = spec.persistent_volume_reclaim_policy.as_deref() == Some("Recycle");
    if recycled && spec.host_path.as_ref().is_some_and(|host| root(&host.path)) {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), detail);
    }
    Some(found)
}

/// What is asked of sources that pods have not, or have otherwise.
fn details(spec: &PersistentVolumeSpec, found: &str, path: &Path, errors: &mut Errors) {
    let at = path.child(found);
    match found {
        "hostPath" => {
            for host in spec.host_path.iter() {
                pod::validate_host_path(&host.path, host.type_.as_deref(), &at, errors);
            }
        }
        "local" => {
            for local in spec.local.iter() {
                match local.path.as_str() {
                    "" => errors.required(&at.child("path"), ""),
                    local => check::no_backsteps(errors, &at.child("path"), local),
                }
            }
            if spec.node_affinity.is_none() {
                errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
            }
        }
        "csi" => spec.csi.iter().for_each(|csi| self::csi(csi, &at, errors)),
        _ => {}
    }
}

fn csi(csi: &CSIPersistentVolumeSource, path: &Path, errors: &mut Errors) {
    driver_name(&csi.driver, &path.child("driver"), errors);
    if csi.volume_handle.is_empty() {
        errors.required(&path.child("volumeHandle"), "");
    }
    let secrets = [
        ("controllerPublishSecretRef", &csi.controller_publish_secret_ref),
        ("controllerExpandSecretRef", &csi.controller_expand_secret_ref),
        ("nodePublishSecretRef", &csi.node_publish_secret_ref),
        ("nodeExpandSecretRef", &csi.node_expand_secret_ref),
    ];
    for (field, secret) in secrets {
        if let Some(secret) = secret {
            self::secret(secret, &path.child(field), errors);
        }
    }
}

fn secret(secret: &SecretReference, path: &Path, errors: &mut Errors) {
    type Rule = fn(&str) -> Vec<String>;
    let parts: [(&str, &Option<String>, Rule); 2] =
        [("name", &secret.name, names::subdomain), ("namespace", &secret.namespace, names::label)];
    for (field, text, rule) in parts {
        let path = path.child(field);
        match text.as_deref().unwrap_or_default() {
            "" => errors.required(&path, ""),
            text => say(errors, &path, text, rule(text)),
        }
    }
}

/// Says what is wrong with a volume that stands in another object instead of by itself.
pub(in crate::objects) fn inline(spec: &PersistentVolumeSpec, path: &Path, errors: &mut Errors) {
    const WHERE: &str = "in the context of inline volumes";
    let unfit = |field: &str, is_given: bool, errors: &mut Errors| {
        if is_given {
            errors.forbidden(&path.child(field), format!("may not be specified {WHERE}"));
        }
    };
    unfit("claimRef", spec.claim_ref.is_some(), errors);
    unfit("capacity", spec.capacity.as_ref().is_some_and(|held| !held.is_empty()), errors);
    if spec.csi.is_none() {
        errors.required(&path.child("csi"), format!("has to be specified {WHERE}"));
    }
    match spec.access_modes.as_deref().unwrap_or_default() {
        [] => errors.required(&path.child("accessModes"), ""),
        modes => claim::access_modes(modes, &path.child("accessModes"), errors),
    }
    if spec.persistent_volume_reclaim_policy.as_deref().is_some_and(|policy| !matches!(policy, "" | "Retain"))
    {
        let at = path.child("persistentVolumeReclaimPolicy");
        errors.forbidden(&at, format!("may only be Retain {WHERE}"));
    }
    unfit("nodeAffinity", spec.node_affinity.is_some(), errors);
    validate(spec, "", path, errors);
    let class = spec.storage_class_name.as_deref().unwrap_or_default();
    unfit("storageClassName", !class.is_empty(), errors);
    if spec.volume_mode.as_deref().is_some_and(|mode| mode != "Filesystem") {
        let at = path.child("volumeMode");
        errors.forbidden(&at, format!("may not specify volumeMode other than Filesystem {WHERE}"));
    }
}
