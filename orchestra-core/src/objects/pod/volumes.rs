//! What is wrong with the volumes of a pod.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, PodSpec, ProjectedVolumeSource, Volume};

use super::env;
use crate::api::field::{Errors, Path};
use crate::objects::check::{self, shown};
use crate::quantity::Quantity;

const FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The volumes of a pod, by name.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Volume>;

/// Says what is wrong with volumes, and answers with those that have a name.
pub(super) fn validate<'a>(volumes: &'a [Volume], spec: &Path, errors: &mut Errors) -> Volumes<'a> {
    let path = spec.child("volumes");
    let mut seen = HashSet::new();
    let mut by_name = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        source(volume, &path, errors);
        check::required_label(errors, &path.child("name"), &volume.name);
        check::unique(errors, &mut seen, &path.child("name"), &volume.name);
        by_name.entry(volume.name.as_str()).or_insert(volume);
    }
    by_name
}

/// The sources that a volume may have, in the order in which Kubernetes looks for them.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// A volume has one source, whose own rules these are.
fn source(volume: &Volume, path: &Path, errors: &mut Errors) {
    let given = shown(volume);
    let mut sources: Vec<&String> = given
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys())
        .filter(|field| *field != "name")
        .collect();
    if sources.is_empty() {
        errors.required(path, "must specify a volume type");
        return;
    }
    sources.sort_by_key(|source| SOURCES.iter().position(|known| known == source));
    for further in sources.drain(1..) {
        errors.forbidden(&path.child(further), "may not specify more than 1 volume type");
    }
    if let Some(directory) = &volume.empty_dir
        && let Some(limit) = &directory.size_limit
        && Quantity::parse(&limit.0).is_ok_and(|limit| limit.is_negative())
    {
        errors.forbidden(
            &path.child("emptyDir.sizeLimit"),
            "SizeLimit field must be a valid resource quantity",
        );
    }
    if let Some(host) = &volume.host_path {
        host_path(&host.path, host.type_.as_deref(), &path.child("hostPath"), errors);
    }
    if let Some(map) = &volume.config_map {
        let path = path.child("configMap");
        if map.name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        mode(map.default_mode, &path.child("defaultMode"), errors);
        items(map.items.as_deref().unwrap_or_default(), &path.child("items"), errors);
    }
    if let Some(secret) = &volume.secret {
        let path = path.child("secret");
        if secret.secret_name.as_deref().unwrap_or_default().is_empty() {
            errors.required(&path.child("secretName"), "");
        }
        mode(secret.default_mode, &path.child("defaultMode"), errors);
        items(secret.items.as_deref().unwrap_or_default(), &path.child("items"), errors);
    }
    if let Some(downward) = &volume.downward_api {
        let path = path.child("downwardAPI");
        mode(downward.default_mode, &path.child("defaultMode"), errors);
        for file in downward.items.iter().flatten() {
            downward_file(file, &path, errors);
        }
    }
    if let Some(projection) = &volume.projected {
        projected(projection, &path.child("projected"), errors);
    }
    required_texts(volume, path, errors);
}

/// Sources of which no more is asked than that some fields be there.
fn required_texts(volume: &Volume, path: &Path, errors: &mut Errors) {
    let mut texts = Vec::new();
    if let Some(claim) = &volume.persistent_volume_claim {
        texts.push(("persistentVolumeClaim.claimName", claim.claim_name.as_str()));
    }
    if let Some(nfs) = &volume.nfs {
        texts.extend([("nfs.server", nfs.server.as_str()), ("nfs.path", nfs.path.as_str())]);
        if !nfs.path.starts_with('/') {
            errors.invalid(&path.child("nfs.path"), nfs.path.as_str(), "must be an absolute path");
        }
    }
    if let Some(csi) = &volume.csi {
        texts.push(("csi.driver", csi.driver.as_str()));
    }
    if let Some(repository) = &volume.git_repo {
        texts.push(("gitRepo.repository", repository.repository.as_str()));
    }
    if let Some(image) = &volume.image {
        texts.push(("image.reference", image.reference.as_deref().unwrap_or_default()));
    }
    for (field, _) in texts.into_iter().filter(|(_, text)| text.is_empty()) {
        errors.required(&path.child(field), "");
    }
}

/// Says what is wrong with a path of the node.
pub(in crate::objects) fn host_path(host: &str, kind: Option<&str>, path: &Path, errors: &mut Errors) {
    if host.is_empty() {
        errors.required(&path.child("path"), "");
        return;
    }
    check::no_backsteps(errors, &path.child("path"), host);
    let supported =
        ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    if let Some(kind) = kind.filter(|kind| !supported.contains(kind)) {
        errors.not_supported(&path.child("type"), kind, &supported);
    }
}

fn mode(mode: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn items(items: &[KeyToPath], path: &Path, errors: &mut Errors) {
    for (index, item) in items.iter().enumerate() {
        let path = path.index(index);
        if item.key.is_empty() {
            errors.required(&path.child("key"), "");
        }
        if item.path.is_empty() {
            errors.required(&path.child("path"), "");
        }
        local_path(&item.path, &path.child("path"), errors);
        mode(item.mode, &path.child("mode"), errors);
    }
}

/// A path within a volume, of which no step begins with `..`: names like that are the volume's own.
fn local_path(text: &str, path: &Path, errors: &mut Errors) {
    check::descending_path(errors, path, text);
    if text.starts_with("..") && !text.split('/').any(|step| step == "..") {
        errors.invalid(path, text, "must not start with '..'");
    }
}

fn downward_file(file: &DownwardAPIVolumeFile, path: &Path, errors: &mut Errors) {
    if file.path.is_empty() {
        errors.required(&path.child("path"), "");
    }
    local_path(&file.path, &path.child("path"), errors);
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), None) => env::field_ref(field, FIELDS, &path.child("fieldRef"), errors),
        (None, Some(resource)) => env::resource_ref(resource, true, &path.child("resourceFieldRef"), errors),
        (Some(_), Some(_)) => {
            errors.invalid(
                path,
                "resource",
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            );
        }
        (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(file.mode, &path.child("mode"), errors);
}

fn projected(projection: &ProjectedVolumeSource, path: &Path, errors: &mut Errors) {
    mode(projection.default_mode, &path.child("defaultMode"), errors);
    conflicting_paths(projection, path, errors);
    for (index, source) in projection.sources.iter().flatten().enumerate() {
        let path = path.child("sources").index(index);
        let given = shown(source).as_object().map_or(0, serde_json::Map::len);
        if given != 1 {
            errors.forbidden(&path, "may not specify more than 1 volume type per source");
        }
        let maps = [
            ("secret", source.secret.as_ref().map(|held| (&held.name, &held.items))),
            ("configMap", source.config_map.as_ref().map(|held| (&held.name, &held.items))),
        ];
        for (field, held) in maps {
            let Some((name, held)) = held else { continue };
            if name.is_empty() {
                errors.required(&path.child(field).child("name"), "");
            }
            items(held.as_deref().unwrap_or_default(), &path.child(field).child("items"), errors);
        }
        for file in source.downward_api.iter().flat_map(|held| held.items.iter().flatten()) {
            downward_file(file, &path.child("downwardAPI"), errors);
        }
        if let Some(token) = &source.service_account_token {
            token_file(token.expiration_seconds, &token.path, &path.child("serviceAccountToken"), errors);
        }
    }
}

/// Says which files of a projected volume have the path of another one.
fn conflicting_paths(projection: &ProjectedVolumeSource, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    let mut add = |file: &str, shown: &str| {
        if !file.is_empty() && !seen.insert(file.to_owned()) {
            errors.invalid(path, shown, "conflicting duplicate paths");
        }
    };
    for source in projection.sources.iter().flatten() {
        let maps = [
            source.secret.as_ref().map(|held| (&held.name, &held.items)),
            source.config_map.as_ref().map(|held| (&held.name, &held.items)),
        ];
        for (name, items) in maps.into_iter().flatten() {
            items.iter().flatten().for_each(|item| add(&item.path, name));
        }
        let files = source.downward_api.iter().flat_map(|held| held.items.iter().flatten());
        files.for_each(|file| add(&file.path, &file.path));
        source.cluster_trust_bundle.iter().for_each(|bundle| add(&bundle.path, &bundle.path));
    }
}

fn token_file(seconds: Option<i64>, file: &str, path: &Path, errors: &mut Errors) {
    let at = path.child("expirationSeconds");
    match seconds {
        Some(seconds) if seconds < 600 => {
            errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
        }
        Some(seconds) if seconds > 1 << 32 => {
            errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
        }
        _ => {}
    }
    if file.is_empty() {
        errors.required(&path.child("path"), "");
    } else {
        local_path(file, &path.child("path"), errors);
    }
}

/// A token is of a service account, so a pod with one must have the other.
pub(super) fn tokens(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    if spec.service_account_name.as_deref().is_some_and(|name| !name.is_empty()) {
        return;
    }
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let sources = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
        for (at, source) in sources.into_iter().flatten().enumerate() {
            if source.service_account_token.is_some() {
                let sources = path.child("volumes").index(index).child("projected.sources");
                errors.forbidden(
                    &sources.index(at).child("serviceAccountToken"),
                    "must not be specified when serviceAccountName is not set",
                );
            }
        }
    }
}
