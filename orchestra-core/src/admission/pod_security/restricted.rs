//! The rules of the level `restricted` beside those of `baseline`, in Kubernetes' order.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{PodSpec, Volume};
use serde_json::Value;

use super::baseline::{added_beyond, has_own_users, wrong_seccomp};
use super::finding::{Finding, named, plural, quoted, setters, those};

/// The sorts of volumes that a pod may have.
const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

pub(super) fn all(spec: &PodSpec, minor: u32) -> Vec<Finding> {
    let found = [
        privilege_escalation(spec, minor),
        capabilities(spec, minor),
        volumes(spec),
        non_root(spec, minor),
        user(spec, minor),
        seccomp(spec, minor),
    ];
    found.into_iter().flatten().collect()
}

/// Whether a pod runs on Windows, which knows nothing of some rules.
fn is_windows(spec: &PodSpec, minor: u32) -> bool {
    minor >= 25 && spec.os.as_ref().is_some_and(|os| os.name == "windows")
}

fn privilege_escalation(spec: &PodSpec, minor: u32) -> Option<Finding> {
    if minor < 8 || is_windows(spec, minor) {
        return None;
    }
    let names = those(spec, |container| {
        container.security.and_then(|security| security.allow_privilege_escalation) != Some(false)
    });
    (!names.is_empty()).then(|| {
        let who = named("container", &names);
        let detail = format!("{who} must set securityContext.allowPrivilegeEscalation=false");
        Finding::new("allowPrivilegeEscalation != false", detail)
    })
}

fn capabilities(spec: &PodSpec, minor: u32) -> Option<Finding> {
    if minor < 22 || is_windows(spec, minor) {
        return None;
    }
    let keeping = those(spec, |container| {
        let capabilities = container.security.and_then(|security| security.capabilities.as_ref());
        let mut dropped =
            capabilities.and_then(|capabilities| capabilities.drop.as_ref()).into_iter().flatten();
        !dropped.any(|name| name == "ALL")
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = named("container", &keeping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    let (adding, wrong) = added_beyond(spec, &["NET_BIND_SERVICE"]);
    if !adding.is_empty() {
        let (who, which) = (named("container", &adding), quoted(wrong));
        details.push(format!("{who} must not include {which} in securityContext.capabilities.add"));
    }
    (!details.is_empty()).then(|| Finding::new("unrestricted capabilities", details.join("; ")))
}

fn volumes(spec: &PodSpec) -> Option<Finding> {
    let wrong = spec.volumes.iter().flatten().filter_map(|volume| {
        let sort = sort_of(volume);
        (!VOLUMES.contains(&sort.as_str())).then_some((volume.name.as_str(), sort))
    });
    let (names, sorts): (Vec<_>, BTreeSet<_>) = wrong.unzip();
    let use_ = if names.len() == 1 { "uses" } else { "use" };
    (!names.is_empty()).then(|| {
        let who = named("volume", &names);
        let which = quoted(sorts.iter().map(String::as_str));
        let word = plural("restricted volume type", sorts.len());
        Finding::new("restricted volume types", format!("{who} {use_} {word} {which}"))
    })
}

/// The name of the field that says what a volume is.
fn sort_of(volume: &Volume) -> String {
    let Ok(Value::Object(fields)) = serde_json::to_value(volume) else { return "unknown".to_owned() };
    fields.into_iter().map(|(key, _)| key).find(|key| key != "name").unwrap_or_else(|| "unknown".to_owned())
}

fn non_root(spec: &PodSpec, minor: u32) -> Option<Finding> {
    if has_own_users(spec, minor) {
        return None;
    }
    let of_pod = spec.security_context.as_ref().and_then(|security| security.run_as_non_root);
    let refusing = those(spec, |container| {
        container.security.and_then(|security| security.run_as_non_root) == Some(false)
    });
    if let Some(who) = setters(of_pod == Some(false), &refusing) {
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return Some(Finding::new("runAsNonRoot != true", detail));
    }
    let silent = those(spec, |container| {
        of_pod != Some(true) && container.security.and_then(|security| security.run_as_non_root).is_none()
    });
    (!silent.is_empty()).then(|| {
        let who = named("container", &silent);
        Finding::new(
            "runAsNonRoot != true",
            format!("pod or {who} must set securityContext.runAsNonRoot=true"),
        )
    })
}

fn user(spec: &PodSpec, minor: u32) -> Option<Finding> {
    if minor < 23 || has_own_users(spec, minor) {
        return None;
    }
    let of_pod = spec.security_context.as_ref().and_then(|security| security.run_as_user);
    let names =
        those(spec, |container| container.security.and_then(|security| security.run_as_user) == Some(0));
    let who = setters(of_pod == Some(0), &names)?;
    Some(Finding::new("runAsUser=0", format!("{who} must not set runAsUser=0")))
}

fn seccomp(spec: &PodSpec, minor: u32) -> Option<Finding> {
    if minor < 19 || is_windows(spec, minor) {
        return None;
    }
    if let Some((who, values)) = wrong_seccomp(spec) {
        let values = quoted(values);
        let detail = format!("{who} must not set securityContext.seccompProfile.type to {values}");
        return Some(Finding::new("seccompProfile", detail));
    }
    let of_pod = spec.security_context.as_ref().is_some_and(|security| security.seccomp_profile.is_some());
    let silent = those(spec, |container| {
        !of_pod && container.security.is_none_or(|security| security.seccomp_profile.is_none())
    });
    (!silent.is_empty()).then(|| {
        let who = named("container", &silent);
        let allowed = r#""RuntimeDefault" or "Localhost""#;
        Finding::new(
            "seccompProfile",
            format!("pod or {who} must set securityContext.seccompProfile.type to {allowed}"),
        )
    })
}
