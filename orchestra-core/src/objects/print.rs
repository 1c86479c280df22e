//! What the tables of several kinds show.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use serde_json::Value;

use super::check::shown;
use super::names;
use crate::selector::Selector;

/// What to know of the name of a controller of pods, which are named after it.
pub(super) fn name_warning(meta: &ObjectMeta) -> Vec<String> {
    hostname_warning(meta, "Pod names and hostnames")
}

/// What to know of a name that is used in a hostname, and is no label of DNS.
pub(super) fn hostname_warning(meta: &ObjectMeta, used_in: &str) -> Vec<String> {
    let faults = names::label(meta.name.as_deref().unwrap_or_default());
    if faults.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: this is used in {used_in}, which can result in surprising behavior; a DNS label is \
         recommended: [{}]",
        faults.join(" ")
    )]
}

/// A text, or that there is none.
pub(super) fn or_none(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("<none>").to_owned()
}

/// A text of at most so many letters, with dots where it was cut off.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(most.saturating_sub(3))])
}

/// The names of a template's containers, and their images.
pub(super) fn containers(template: Option<&PodTemplateSpec>) -> (String, String) {
    let containers = template.and_then(|template| template.spec.as_ref()).map(|spec| &spec.containers);
    let list = |part: fn(&k8s_openapi::api::core::v1::Container) -> &str| {
        containers.into_iter().flatten().map(part).collect::<Vec<_>>().join(",")
    };
    (list(|container| &container.name), list(|container| container.image.as_deref().unwrap_or_default()))
}

/// Labels, or a selector that is a plain map.
pub(super) fn labels(labels: Option<&BTreeMap<String, String>>) -> String {
    let pairs: Vec<String> =
        labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    or_none(Some(&pairs.join(",")))
}

/// A selector with expressions.
pub(super) fn selector(selector: Option<&LabelSelector>) -> String {
    match Selector::from_label_selector(selector) {
        Ok(selector) if selector.is_nothing() || selector.is_everything() => "<none>".to_owned(),
        Ok(selector) => selector.to_string(),
        Err(_) => "<error>".to_owned(),
    }
}

/// Whether something is so, as tables have it.
pub(super) fn truth(flag: Option<bool>) -> &'static str {
    match flag {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    }
}

/// When an object was created.
pub(super) fn created_at(meta: &ObjectMeta) -> Value {
    meta.creation_timestamp.as_ref().map_or(Value::Null, shown)
}

/// Access modes by their initials.
pub(super) fn access_modes(modes: Option<&Vec<String>>) -> String {
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let held = |mode: &str| modes.into_iter().flatten().any(|held| held == mode);
    let initials = known.iter().filter(|(mode, _)| held(mode)).map(|(_, initials)| *initials);
    initials.collect::<Vec<_>>().join(",")
}

/// The storage class of a volume or claim, for which there was an annotation before there was a field.
pub(super) fn storage_class(meta: &ObjectMeta, class: Option<&String>) -> String {
    let annotation = meta.annotations.as_ref().and_then(|annotations| annotations.get(STORAGE_CLASS));
    annotation.or(class).cloned().unwrap_or_default()
}

/// The annotation of old that names a storage class.
pub(crate) const STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
