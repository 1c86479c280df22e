//! What is wrong with the privileges that a pod and its containers ask for.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{AppArmorProfile, PodSpec, SeccompProfile, SecurityContext};

use serde_json::Value;

use crate::api::field::{Errors, Path, Problem, Shown};
use crate::objects::check;

const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
/// The longest path of a file.
const MAX_PROFILE: usize = 4095;
const MAX_ID: i64 = i32::MAX as i64;

/// Says what is wrong with the security context of a pod.
pub(super) fn of_pod(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    host_users(spec, path, errors);
    let Some(context) = &spec.security_context else { return };
    let path = path.child("securityContext");
    for (field, id) in [
        ("fsGroup", context.fs_group),
        ("runAsUser", context.run_as_user),
        ("runAsGroup", context.run_as_group),
    ] {
        identity(id, &path.child(field), errors);
    }
    for (index, group) in context.supplemental_groups.iter().flatten().enumerate() {
        identity(Some(*group), &path.child("supplementalGroups").index(index), errors);
    }
    if spec.share_process_namespace == Some(true) && spec.host_pid == Some(true) {
        errors.invalid(
            &path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    sysctls(spec, &path.child("sysctls"), errors);
    for (field, value, supported) in [
        ("fsGroupChangePolicy", &context.fs_group_change_policy, &["Always", "OnRootMismatch"][..]),
        ("supplementalGroupsPolicy", &context.supplemental_groups_policy, &["Merge", "Strict"]),
        ("seLinuxChangePolicy", &context.se_linux_change_policy, &["MountOption", "Recursive"]),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !supported.contains(value)) {
            errors.not_supported(&path.child(field), value, supported);
        }
    }
    seccomp(context.seccomp_profile.as_ref(), &path.child("seccompProfile"), errors);
    app_armor(context.app_armor_profile.as_ref(), &path.child("appArmorProfile"), errors);
}

/// Says what is wrong with the security context of a container.
pub(super) fn of_container(context: &SecurityContext, spec: &PodSpec, path: &Path, errors: &mut Errors) {
    identity(context.run_as_user, &path.child("runAsUser"), errors);
    identity(context.run_as_group, &path.child("runAsGroup"), errors);
    match context.proc_mount.as_deref() {
        None | Some("Default") => {}
        Some("Unmasked") if spec.host_users == Some(false) => {}
        Some("Unmasked") => errors.invalid(
            &path.child("procMount"),
            "Unmasked",
            "`hostUsers` must be false to use `Unmasked`",
        ),
        Some(other) => errors.not_supported(&path.child("procMount"), other, &["Default", "Unmasked"]),
    }
    seccomp(context.seccomp_profile.as_ref(), &path.child("seccompProfile"), errors);
    app_armor(context.app_armor_profile.as_ref(), &path.child("appArmorProfile"), errors);
    if context.allow_privilege_escalation == Some(false) {
        if context.privileged == Some(true) {
            errors.invalid(
                path,
                check::shown(context),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        let added = context.capabilities.iter().flat_map(|capabilities| capabilities.add.iter().flatten());
        if added.into_iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            errors.invalid(
                path,
                check::shown(context),
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
}

fn identity(id: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(id) = id {
        check::within(errors, path, id, 0, MAX_ID);
    }
}

fn host_users(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    if spec.host_users != Some(false) {
        return;
    }
    for (field, shared) in
        [("hostNetwork", spec.host_network), ("HostPID", spec.host_pid), ("HostIPC", spec.host_ipc)]
    {
        if shared == Some(true) {
            errors.forbidden(&path.child(field), "when `pod.Spec.HostUsers` is false");
        }
    }
}

fn sysctls(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let sysctls = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    let mut seen = HashSet::new();
    for (index, sysctl) in sysctls.into_iter().flatten().enumerate() {
        let (path, name) = (path.index(index).child("name"), sysctl.name.as_str());
        if name.is_empty() {
            errors.required(&path, "");
        } else if !is_sysctl(name) {
            errors.invalid(
                &path,
                name,
                "must have at most 253 characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            );
        } else {
            check::unique(errors, &mut seen, &path, name);
        }
        let inner = name.replace('/', ".");
        if spec.host_network == Some(true) && inner.starts_with("net.") {
            errors.invalid(&path, name, "may not be specified when 'hostNetwork' is true");
        }
        if spec.host_ipc == Some(true)
            && ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."]
                .iter()
                .any(|own| inner.starts_with(own))
        {
            errors.invalid(&path, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|l| l.is_ascii_lowercase() || l.is_ascii_digit());
    let is_step = |step: &str| {
        edge(step.chars().next())
            && edge(step.chars().last())
            && step.chars().all(|letter| edge(Some(letter)) || matches!(letter, '-' | '_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(is_step)
}

fn seccomp(profile: Option<&SeccompProfile>, path: &Path, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    let at = path.child("localhostProfile");
    match profile.type_.as_str() {
        "" => errors.required(&path.child("type"), "type is required when seccompProfile is set"),
        kind if !PROFILES.contains(&kind) => errors.not_supported(&path.child("type"), kind, PROFILES),
        _ => {}
    }
    match (profile.type_ == "Localhost", profile.localhost_profile.as_deref()) {
        (true, None) => errors.required(&at, "must be set when seccomp type is Localhost"),
        (true, Some(file)) => check::descending_path(errors, &at, file),
        (false, Some(_)) => {
            let shown = Shown::object([
                ("Type", Value::from(profile.type_.as_str()).into()),
                ("LocalhostProfile", check::shown(&profile.localhost_profile).into()),
            ]);
            errors.invalid_object(&at, shown, "can only be set when seccomp type is Localhost");
        }
        (false, None) => {}
    }
}

fn app_armor(profile: Option<&AppArmorProfile>, path: &Path, errors: &mut Errors) {
    let Some(profile) = profile else { return };
    let at = path.child("localhostProfile");
    match (profile.type_.as_str(), profile.localhost_profile.as_deref()) {
        ("Localhost", None | Some("")) => {
            errors.required(&at, "must be set when AppArmor type is Localhost");
        }
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                errors.invalid(&at, name, "must not be padded with whitespace");
            }
            if name.len() > MAX_PROFILE {
                errors.push(&at, Problem::TooLong(MAX_PROFILE));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.invalid(&at, name, "can only be set when AppArmor type is Localhost");
        }
        ("", _) => errors.required(&path.child("type"), "type is required when appArmorProfile is set"),
        (kind, _) if !PROFILES.contains(&kind) => errors.not_supported(&path.child("type"), kind, PROFILES),
        _ => {}
    }
}
