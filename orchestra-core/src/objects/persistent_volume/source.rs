//! Where a volume is: one of many systems of storage, of which most are asked for no more than that some fields be there.

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, FCVolumeSource, ISCSIPersistentVolumeSource, PersistentVolumeSpec,
    SecretReference,
};
use serde_json::Value;

use crate::api::field::{Errors, Path, Problem};
use crate::objects::check::{self, say, shown};
use crate::objects::{claim, names, pod};

/// A source of volumes: the field that holds it, what errors call it, and the fields that must be there.
pub(super) struct Source {
    field: &'static str,
    called: &'static str,
    required: &'static [&'static str],
}

const fn source(field: &'static str, required: &'static [&'static str]) -> Source {
    Source { field, called: field, required }
}

/// In the order in which they are looked for.
const SOURCES: &[Source] = &[
    source("hostPath", &[]),
    Source { called: "persistentDisk", ..source("gcePersistentDisk", &["pdName"]) },
    source("awsElasticBlockStore", &["volumeID"]),
    source("glusterfs", &["endpoints", "path"]),
    source("flocker", &[]),
    source("nfs", &["server", "path"]),
    source("rbd", &["monitors", "image"]),
    source("quobyte", &["registry", "volume"]),
    source("cephfs", &["monitors"]),
    source("iscsi", &["targetPortal", "iqn"]),
    source("cinder", &["volumeID"]),
    source("fc", &[]),
    source("flexVolume", &["driver"]),
    source("azureFile", &["secretName", "shareName"]),
    source("vsphereVolume", &["volumePath"]),
    source("photonPersistentDisk", &["pdID"]),
    source("portworxVolume", &["volumeID"]),
    source("azureDisk", &["diskName", "diskURI"]),
    source("scaleIO", &["gateway", "system", "volumeName"]),
    source("local", &["path"]),
    source("storageos", &["volumeName"]),
    source("csi", &["volumeHandle"]),
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
pub(super) fn takes_mount_options(source: &Source) -> bool {
    let never =
        ["hostPath", "flocker", "fc", "flexVolume", "portworxVolume", "scaleIO", "local", "storageos", "csi"];
    !never.contains(&source.field)
}

/// The fields of a specification that say where a volume is.
pub(super) fn given(spec: &PersistentVolumeSpec) -> Vec<(&'static Source, Value)> {
    let spec = shown(spec);
    let given = SOURCES.iter().filter_map(|source| {
        let held = spec.get(source.field).filter(|held| !held.is_null())?;
        Some((source, held.clone()))
    });
    given.collect()
}

/// What a user should know of where a volume is.
pub(super) fn warnings(spec: &PersistentVolumeSpec) -> Vec<String> {
    let given = given(spec);
    let gone = GONE.iter().filter(|(field, ..)| given.iter().any(|(source, _)| source.field == *field));
    gone.map(|(_, called, said)| format!("spec.{called}: {said}")).collect()
}

/// Says what is wrong with where a volume is, and finds it.
pub(super) fn validate(
    spec: &PersistentVolumeSpec,
    name: &str,
    path: &Path,
    errors: &mut Errors,
) -> Option<&'static Source> {
    let given = given(spec);
    let Some(((found, fields), others)) = given.split_first() else {
        errors.required(path, "must specify a volume type");
        return None;
    };
    for (other, _) in others.iter().filter(|(other, _)| other.field != "flexVolume") {
        errors.forbidden(&path.child(other.field), "may not specify more than 1 volume type");
    }
    let at = path.child(found.called);
    for field in found.required {
        let is_empty = match &fields[*field] {
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => true,
        };
        if is_empty {
            errors.required(&at.child(field), "");
        }
    }
    if let Some(partition) = fields["partition"].as_i64() {
        check::within(errors, &at.child("partition"), partition, 0, 255);
    }
    details(spec, found, name, path, errors);
    Some(found)
}

/// What some sources are asked for beside that.
fn details(spec: &PersistentVolumeSpec, found: &Source, name: &str, path: &Path, errors: &mut Errors) {
    let at = path.child(found.called);
    match found.field {
        "hostPath" => {
            for host in spec.host_path.iter() {
                pod::validate_host_path(&host.path, host.type_.as_deref(), &at, errors);
                let recycled = spec.persistent_volume_reclaim_policy.as_deref() == Some("Recycle");
                if recycled && !host.path.is_empty() && host.path.trim_matches('/').is_empty() {
                    let detail = "may not be 'recycle' for a hostPath mount of '/'";
                    errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), detail);
                }
            }
        }
        "nfs" => {
            for nfs in spec.nfs.iter().filter(|nfs| !nfs.path.starts_with('/')) {
                errors.invalid(&at.child("path"), &*nfs.path, "must be an absolute path");
            }
        }
        "iscsi" => spec.iscsi.iter().for_each(|iscsi| self::iscsi(iscsi, name, &at, errors)),
        "fc" => spec.fc.iter().for_each(|fc| fibre_channel(fc, &at, errors)),
        "local" => {
            for local in spec.local.iter().filter(|local| !local.path.is_empty()) {
                check::no_backsteps(errors, &at.child("path"), &local.path);
            }
            if spec.node_affinity.is_none() {
                errors.required(&path.child("nodeAffinity"), "Local volume requires node affinity");
            }
        }
        "csi" => spec.csi.iter().for_each(|csi| self::csi(csi, &at, errors)),
        _ => {}
    }
}

fn iscsi(iscsi: &ISCSIPersistentVolumeSource, name: &str, path: &Path, errors: &mut Errors) {
    if iscsi.initiator_name.is_some() && name.len() + 1 + iscsi.target_portal.len() > 64 {
        errors.invalid(
            &path.child("targetportal"),
            &*iscsi.target_portal,
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is \
             specified.",
        );
    }
    let named = [("iqn", Some(&iscsi.iqn)), ("initiatorname", iscsi.initiator_name.as_ref())];
    for (field, name) in named {
        if let Some(name) = name.filter(|name| !name.is_empty() && !is_iscsi_name(name)) {
            errors.invalid(&path.child(field), name.as_str(), "must be valid format");
        }
    }
    check::within(errors, &path.child("lun"), iscsi.lun, 0, 255);
    let secret = iscsi.secret_ref.as_ref();
    let authenticates = iscsi.chap_auth_discovery == Some(true) || iscsi.chap_auth_session == Some(true);
    if authenticates && secret.is_none() {
        errors.required(&path.child("secretRef"), "");
    }
    if secret.is_some_and(|secret| secret.name.as_deref().unwrap_or_default().is_empty()) {
        errors.required(&path.child("secretRef.name"), "");
    }
}

/// A name as `iqn.2001-04.com.example:disk`, `eui.` with 16 letters or `naa.` with 32.
fn is_iscsi_name(name: &str) -> bool {
    let letters =
        |text: &str, count| text.len() == count && text.bytes().all(|letter| letter.is_ascii_alphanumeric());
    let of = |prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.get(1..));
    if let Some(rest) = of("eui") {
        return letters(rest, 16);
    }
    if let Some(rest) = of("naa") {
        return letters(rest, 32);
    }
    let Some((date, rest)) = name.strip_prefix("iqn.").and_then(|rest| rest.split_once('.')) else {
        return false;
    };
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|digit| digit.is_ascii_digit());
    let is_date = date.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2));
    let (authority, label) = rest.split_once(':').map_or((rest, None), |(first, rest)| (first, Some(rest)));
    let in_authority = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.');
    let in_label = |letter: char| !letter.is_whitespace() && !",;*&$|".contains(letter);
    is_date
        && !authority.is_empty()
        && authority.chars().all(in_authority)
        && label.is_some_and(|label| !label.is_empty() && label.chars().all(in_label))
}

fn fibre_channel(fc: &FCVolumeSource, path: &Path, errors: &mut Errors) {
    let has = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let at = path.child("targetWWNs");
    match (has(&fc.target_wwns), has(&fc.wwids)) {
        (false, false) => errors.required(&at, "must specify either targetWWNs or wwids, but not both"),
        (true, true) => {
            let detail = "targetWWNs and wwids can not be specified simultaneously";
            errors.invalid(&at, shown(&fc.target_wwns), detail);
        }
        _ => {}
    }
    match fc.lun {
        _ if !has(&fc.target_wwns) => {}
        None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
        Some(lun) => check::within(errors, &path.child("lun"), lun, 0, 255),
    }
}

fn csi(csi: &CSIPersistentVolumeSource, path: &Path, errors: &mut Errors) {
    driver_name(&csi.driver, &path.child("driver"), errors);
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

/// Says what is wrong with the name of a driver of storage.
pub(in crate::objects) fn driver_name(name: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        return errors.required(path, "");
    }
    if name.len() > 63 {
        errors.push(path, Problem::TooLong(63));
    }
    say(errors, path, name, names::subdomain(&name.to_lowercase()));
}

/// Says what is wrong with a volume that stands in another object instead of by itself.
pub(in crate::objects) fn inline(spec: &PersistentVolumeSpec, path: &Path, errors: &mut Errors) {
    const WHERE: &str = "in the context of inline volumes";
    let unfit = [
        ("claimRef", spec.claim_ref.is_some()),
        ("capacity", spec.capacity.as_ref().is_some_and(|held| !held.is_empty())),
        ("nodeAffinity", spec.node_affinity.is_some()),
        ("storageClassName", spec.storage_class_name.as_deref().is_some_and(|class| !class.is_empty())),
    ];
    for (field, _) in unfit.into_iter().filter(|(_, is_given)| *is_given) {
        errors.forbidden(&path.child(field), format!("may not be specified {WHERE}"));
    }
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
    validate(spec, "", path, errors);
    if spec.volume_mode.as_deref().is_some_and(|mode| mode != "Filesystem") {
        let at = path.child("volumeMode");
        errors.forbidden(&at, format!("may not specify volumeMode other than Filesystem {WHERE}"));
    }
}

#[cfg(test)]
mod tests {
    use super::is_iscsi_name;

    #[test]
    fn names_of_iscsi_are_of_three_forms() {
        for name in [
            "iqn.2001-04.com.example:storage.kube.sys1.xyz",
            "eui.0123456789abcdef",
            &format!("naa.{}", "0".repeat(32)),
        ] {
            assert!(is_iscsi_name(name), "{name}");
        }
        for name in ["iqn.2001-04.com.example", "iqn.01-04.a:b", "eui.0", "naa.", "x", "iqn.2001-04.com:a b"]
        {
            assert!(!is_iscsi_name(name), "{name}");
        }
    }
}
