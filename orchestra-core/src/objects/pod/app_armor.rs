//! Profiles of AppArmor, which annotations named before there were fields.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use super::CONTAINERS;
use super::containers::annotation_about;
use crate::objects::json::Fields;

const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The longest name of a profile, in bytes.
const MAX_NAME: usize = 4095;

/// The annotation about a container.
pub(super) fn key(container: &str) -> String {
    format!("{ANNOTATION}{container}")
}

/// The profile that an annotation names, with its kind; `None` if it names none.
fn named(annotated: &str) -> Option<(&'static str, Option<&str>)> {
    match annotated {
        "unconfined" => Some(("Unconfined", None)),
        "runtime/default" => Some(("RuntimeDefault", None)),
        other => {
            let profile = other.strip_prefix("localhost/")?;
            let fits = !profile.is_empty() && profile.trim() == profile && profile.len() <= MAX_NAME;
            fits.then_some(("Localhost", Some(profile)))
        }
    }
}

fn is(profile: &AppArmorProfile, annotated: &str) -> bool {
    named(annotated)
        .is_some_and(|(kind, name)| profile.type_ == kind && profile.localhost_profile.as_deref() == name)
}

/// Gives the containers of a new pod the profiles that annotations name and no field does.
pub(super) fn take_over(pod: &mut Map<String, Value>) {
    let annotations = pod.get("metadata").and_then(|meta| meta["annotations"].as_object());
    let is_about = |(key, _): &(&String, &Value)| key.starts_with(ANNOTATION);
    let annotations: Map<String, Value> = annotations
        .into_iter()
        .flatten()
        .filter(is_about)
        .map(|(key, annotated)| (key.clone(), annotated.clone()))
        .collect();
    if annotations.is_empty() {
        return;
    }
    let Some(spec) = pod.object("spec") else { return };
    if spec.get("os").is_some_and(|os| os["name"] == "windows") {
        return;
    }
    let of_pod = spec.get("securityContext").map(|context| context["appArmorProfile"].clone());
    for list in CONTAINERS {
        for container in spec.each(list) {
            let annotated = annotations.get(&key(container.text("name"))).and_then(Value::as_str);
            let Some((kind, name)) = annotated.and_then(named) else { continue };
            let mut profile = json!({ "type": kind });
            if let Some(name) = name {
                profile["localhostProfile"] = name.into();
            }
            if of_pod.as_ref() != Some(&profile)
                && let Some(context) = container.object_or_new("securityContext")
            {
                context.or("appArmorProfile", profile);
            }
        }
    }
}

/// The annotation of a container that a field should stand for instead, if there is such a one.
pub(super) fn old_annotation<'m>(
    container: &Container,
    meta: &'m ObjectMeta,
    spec: &PodSpec,
    is_template: bool,
) -> Option<&'m str> {
    let key = annotation_about(container, ANNOTATION, meta)?;
    let annotated = meta.annotations.as_ref()?.get(key)?;
    let own = container.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
    let of_pod = spec.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
    let is_said = match own {
        // A pod has taken it over already.
        Some(own) => !is_template && is(own, annotated),
        None => !of_pod.is_some_and(|of_pod| is(of_pod, annotated)),
    };
    is_said.then_some(key)
}
