//! What the tables of several kinds show.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::selector::Selector;

/// A text, or that there is none.
pub(super) fn or_none(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("<none>").to_owned()
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
