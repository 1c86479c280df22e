//! What is wrong with the files of which a volume is made: entries of objects, fields of the pod, tokens.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, KeyToPath, ProjectedVolumeSource,
    SecretVolumeSource, ServiceAccountTokenProjection,
};

use crate::api::field::{Errors, Path};
use crate::objects::check::{self, shown};
use crate::objects::pod::env;

const FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

pub(super) fn config_map(map: &ConfigMapVolumeSource, path: &Path, errors: &mut Errors) {
    if map.name.is_empty() {
        errors.required(&path.child("name"), "");
    }
    mode(map.default_mode, &path.child("defaultMode"), errors);
    items(map.items.as_deref(), &path.child("items"), errors, |_, _| ());
}

pub(super) fn secret(secret: &SecretVolumeSource, path: &Path, errors: &mut Errors) {
    if secret.secret_name.as_deref().unwrap_or_default().is_empty() {
        errors.required(&path.child("secretName"), "");
    }
    mode(secret.default_mode, &path.child("defaultMode"), errors);
    items(secret.items.as_deref(), &path.child("items"), errors, |_, _| ());
}

pub(super) fn downward(downward: &DownwardAPIVolumeSource, path: &Path, errors: &mut Errors) {
    mode(downward.default_mode, &path.child("defaultMode"), errors);
    for file in downward.items.iter().flatten() {
        downward_file(file, path, errors);
    }
}

fn mode(mode: Option<i32>, path: &Path, errors: &mut Errors) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// `then`: what is done with each entry that was looked into.
fn items(
    items: Option<&[KeyToPath]>,
    path: &Path,
    errors: &mut Errors,
    mut then: impl FnMut(&KeyToPath, &mut Errors),
) {
    for (index, item) in items.unwrap_or_default().iter().enumerate() {
        let path = path.index(index);
        if item.key.is_empty() {
            errors.required(&path.child("key"), "");
        }
        if item.path.is_empty() {
            errors.required(&path.child("path"), "");
        }
        local_path(&item.path, &path.child("path"), errors);
        mode(item.mode, &path.child("mode"), errors);
        then(item, errors);
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
        (Some(field), Some(_)) => {
            env::field_ref(field, FIELDS, &path.child("fieldRef"), errors);
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid(path, "resource", detail);
        }
        (None, None) => errors.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(file.mode, &path.child("mode"), errors);
}

/// The files of a volume by their paths, of which no two may be the same.
struct Files<'p> {
    seen: HashSet<String>,
    volume: &'p Path,
}

impl Files<'_> {
    /// `called`: what the error calls the file.
    fn add(&mut self, file: &str, called: &str, errors: &mut Errors) {
        if !file.is_empty() && !self.seen.insert(file.to_owned()) {
            errors.invalid(self.volume, called, "conflicting duplicate paths");
        }
    }
}

pub(super) fn projected(projection: &ProjectedVolumeSource, path: &Path, errors: &mut Errors) {
    mode(projection.default_mode, &path.child("defaultMode"), errors);
    let mut files = Files { seen: HashSet::new(), volume: path };
    for (index, source) in projection.sources.iter().flatten().enumerate() {
        let at = path.child("sources").index(index);
        let maps = [
            ("secret", source.secret.as_ref().map(|held| (&held.name, &held.items))),
            ("configMap", source.config_map.as_ref().map(|held| (&held.name, &held.items))),
        ];
        for (field, held) in maps {
            let Some((name, held)) = held else { continue };
            let at = at.child(field);
            if name.is_empty() {
                errors.required(&at.child("name"), "");
            }
            items(held.as_deref(), &at.child("items"), errors, |item, errors| {
                files.add(&item.path, name, errors);
            });
        }
        for file in source.downward_api.iter().flat_map(|held| held.items.iter().flatten()) {
            downward_file(file, &at.child("downwardAPI"), errors);
            files.add(&file.path, &file.path, errors);
        }
        if let Some(token) = &source.service_account_token {
            token_file(token, &at.child("serviceAccountToken"), path, errors);
        }
        source.cluster_trust_bundle.iter().for_each(|bundle| files.add(&bundle.path, &bundle.path, errors));
        if shown(source).as_object().is_some_and(|given| given.len() > 1) {
            errors.forbidden(&at, "may not specify more than 1 volume type per source");
        }
    }
}

/// What is wrong with where the token is put is said of the volume, as Kubernetes does.
fn token_file(token: &ServiceAccountTokenProjection, path: &Path, volume: &Path, errors: &mut Errors) {
    let at = path.child("expirationSeconds");
    match token.expiration_seconds {
        Some(seconds) if seconds < 600 => {
            errors.invalid(&at, seconds, "may not specify a duration less than 10 minutes");
        }
        Some(seconds) if seconds > 1 << 32 => {
            errors.invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds");
        }
        _ => {}
    }
    if token.path.is_empty() {
        errors.required(&volume.child("path"), "");
    } else {
        local_path(&token.path, &volume.child("path"), errors);
    }
}
