//! What is wrong with the volumes of a pod. `files` looks into those that are made of objects of the API.

mod files;

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::{
    CSIVolumeSource, EphemeralVolumeSource, ImageVolumeSource, PersistentVolumeClaimTemplate, PodSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::place::Place;
use crate::api::field::{Errors, Path};
use crate::objects::check::{self, say, shown};
use crate::objects::volume_source::{self, Owner};
use crate::objects::{claim, meta, names};
use crate::quantity::Quantity;

/// The volumes of a pod, by name.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Volume>;

/// Says what is wrong with volumes, and answers with those that nothing is wrong with: to Kubernetes the others are not
/// there, and their names are free.
pub(super) fn validate<'a>(
    volumes: &'a [Volume],
    place: Place<'_>,
    spec: &Path,
    errors: &mut Errors,
) -> Volumes<'a> {
    let path = spec.child("volumes");
    let made = claims_of_pod(volumes, place);
    let mut by_name = BTreeMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let mut own = Errors::new();
        source(volume, place, &path, &mut own);
        check::required_label(&mut own, &path.child("name"), &volume.name);
        if by_name.contains_key(volume.name.as_str()) {
            own.duplicate(&path.child("name"), volume.name.as_str());
        }
        if own.is_empty() {
            by_name.insert(volume.name.as_str(), volume);
        }
        errors.extend(own);
        let claim = volume.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.as_str());
        if let Some(claim) = claim.filter(|claim| made.contains(*claim)) {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(&path.child("persistentVolumeClaim.claimName"), claim, detail);
        }
    }
    by_name
}

/// The names of the claims that are made for the volumes of a pod.
fn claims_of_pod(volumes: &[Volume], place: Place<'_>) -> HashSet<String> {
    let Some(pod) = place.name_of_pod() else { return HashSet::new() };
    let ephemeral = volumes.iter().filter(|volume| volume.ephemeral.is_some());
    ephemeral.map(|volume| format!("{pod}-{}", volume.name)).collect()
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
fn source(volume: &Volume, place: Place<'_>, path: &Path, errors: &mut Errors) {
    let given = shown(volume);
    let mut sources = SOURCES.iter().filter(|source| given.get(source).is_some_and(|held| !held.is_null()));
    let Some(first) = sources.next() else {
        errors.required(path, "must specify a volume type");
        return;
    };
    volume_source::validate(first, &given[first], Owner::Pod, path, errors);
    details(volume, first, place, path, errors);
    too_long_for_iscsi(volume, path, errors);
    for further in sources {
        volume_source::one_too_many(further, path, errors);
    }
}

/// What is asked of sources that PersistentVolumes have not, or have otherwise.
fn details(volume: &Volume, source: &str, place: Place<'_>, path: &Path, errors: &mut Errors) {
    let at = path.child(source);
    match source {
        "emptyDir" => {
            let limit = volume.empty_dir.as_ref().and_then(|directory| directory.size_limit.as_ref());
            if limit.is_some_and(|limit| Quantity::parse(&limit.0).is_ok_and(|limit| limit.is_negative())) {
                let detail = "SizeLimit field must be a valid resource quantity";
                errors.forbidden(&at.child("sizeLimit"), detail);
            }
        }
        "hostPath" => {
            volume
                .host_path
                .iter()
                .for_each(|host| host_path(&host.path, host.type_.as_deref(), &at, errors));
        }
        "gitRepo" => {
            for repository in volume.git_repo.iter() {
                if repository.repository.is_empty() {
                    errors.required(&at.child("repository"), "");
                }
                let directory = repository.directory.as_deref().unwrap_or_default();
                check::descending_path(errors, &at.child("directory"), directory);
            }
        }
        "persistentVolumeClaim" => {
            let unnamed = volume.persistent_volume_claim.iter().filter(|claim| claim.claim_name.is_empty());
            unnamed.for_each(|_| errors.required(&at.child("claimName"), ""));
        }
        "secret" => volume.secret.iter().for_each(|secret| files::secret(secret, &at, errors)),
        "configMap" => volume.config_map.iter().for_each(|map| files::config_map(map, &at, errors)),
        "downwardAPI" => volume.downward_api.iter().for_each(|held| files::downward(held, &at, errors)),
        "projected" => volume.projected.iter().for_each(|held| files::projected(held, &at, errors)),
        "csi" => volume.csi.iter().for_each(|csi| self::csi(csi, &at, errors)),
        "ephemeral" => {
            for own in volume.ephemeral.iter() {
                ephemeral(own, &at, errors);
                claim_name(&volume.name, place, path, errors);
            }
        }
        "image" => volume.image.iter().for_each(|image| self::image(image, place, &at, errors)),
        _ => {}
    }
}

/// Which is said of the volume, and whatever its first source is.
fn too_long_for_iscsi(volume: &Volume, path: &Path, errors: &mut Errors) {
    let Some(iscsi) = volume.iscsi.as_ref().filter(|iscsi| iscsi.initiator_name.is_some()) else { return };
    if volume_source::is_too_long_for_iscsi(&volume.name, &iscsi.target_portal) {
        errors.invalid(&path.child("name"), volume.name.as_str(), volume_source::TOO_LONG_FOR_ISCSI);
    }
}

/// What is wrong with the name of the secret is said of a name of the source, as Kubernetes does.
fn csi(csi: &CSIVolumeSource, path: &Path, errors: &mut Errors) {
    volume_source::driver_name(&csi.driver, &path.child("driver"), errors);
    match csi.node_publish_secret_ref.as_ref().map(|secret| secret.name.as_str()) {
        None => {}
        Some("") => errors.required(&path.child("nodePublishSecretRef.name"), ""),
        Some(name) => say(errors, &path.child("name"), name, names::subdomain(name)),
    }
}

/// A template need not name the image: what makes pods of it may.
fn image(image: &ImageVolumeSource, place: Place<'_>, path: &Path, errors: &mut Errors) {
    let reference = image.reference.as_deref().unwrap_or_default();
    if reference.is_empty() && matches!(place, Place::Pod(_)) {
        errors.required(&path.child("reference"), "");
    }
    let policy = image.pull_policy.as_deref().unwrap_or_default();
    check::one_of(errors, &path.child("pullPolicy"), policy, &["Always", "IfNotPresent", "Never"]);
}

fn ephemeral(ephemeral: &EphemeralVolumeSource, path: &Path, errors: &mut Errors) {
    let path = path.child("volumeClaimTemplate");
    match &ephemeral.volume_claim_template {
        None => errors.required(&path, ""),
        Some(template) => {
            claim_metadata(template, &path.child("metadata"), errors);
            claim::validate(&template.spec, &path.child("spec"), errors);
        }
    }
}

/// The claim is named after the pod and the volume, and has of its template's metadata labels and annotations only.
fn claim_metadata(template: &PersistentVolumeClaimTemplate, path: &Path, errors: &mut Errors) {
    let Some(held) = &template.metadata else { return };
    meta::annotations(held, &path.child("annotations"), errors);
    check::labels(errors, &path.child("labels"), held.labels.as_ref());
    let text = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let ObjectMeta { name, generate_name, namespace, self_link, uid, resource_version, .. } = held;
    let unfit = [
        ("name", text(name)),
        ("generateName", text(generate_name)),
        ("namespace", text(namespace)),
        ("selfLink", text(self_link)),
        ("uID", text(uid)),
        ("resourceVersion", text(resource_version)),
        ("generation", held.generation.is_some_and(|generation| generation != 0)),
        ("creationTimestamp", held.creation_timestamp.is_some()),
        ("deletionTimestamp", held.deletion_timestamp.is_some()),
        ("deletionGracePeriodSeconds", held.deletion_grace_period_seconds.is_some()),
        ("ownerReferences", held.owner_references.is_some()),
        ("finalizers", held.finalizers.is_some()),
        ("managedFields", held.managed_fields.is_some()),
    ];
    for (field, _) in unfit.into_iter().filter(|(_, is_given)| *is_given) {
        errors.forbidden(&path.child(field), "cannot be set");
    }
}

/// The name of the claim that is made for a volume, which says of the volume's that it does not fit.
fn claim_name(volume: &str, place: Place<'_>, path: &Path, errors: &mut Errors) {
    let Some(pod) = place.name_of_pod().filter(|_| !volume.is_empty()) else { return };
    let claim = format!("{pod}-{volume}");
    for fault in names::subdomain(&claim) {
        errors.invalid(&path.child("name"), volume, format!("PVC name {claim:?}: {fault}"));
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
