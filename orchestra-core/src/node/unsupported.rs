//! Fields of a pod that the node's runtime does not carry out. Pure.
//!
//! A field that nobody acts on is worse than an error: its author believes that a container is confined when it is not.
//! So a pod that sets one is not started, and its containers wait with the name of the field in their status.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Capabilities as ApiCapabilities, Container as Wanted, Pod, PodSpec, SeccompProfile,
    SecurityContext, VolumeMount,
};

use super::model::containers;
use crate::runtime::SupportedFields;

/// The first field of a pod that is set and not supported, by its path, such as `spec.hostUsers`.
pub(super) fn field(pod: &Pod, supported: &SupportedFields) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let unsupported = |(path, set, supported): Field| (set && !supported).then(|| format!("spec.{path}"));
    let of_pod = fields_of_pod(spec, supported).into_iter().find_map(unsupported);
    let image = || {
        let mut volumes = spec.volumes.iter().flatten();
        let found = volumes.find(|volume| volume.image.is_some() && !supported.image_volumes)?;
        Some(format!("spec.volumes[{}].image", found.name))
    };
    let of_pod = of_pod.or_else(image);
    of_pod.or_else(|| containers(spec).find_map(|(_, wanted)| field_of_container(spec, wanted, supported)))
}

/// What is said of a field that is not supported.
pub(super) fn refusal(field: &str, runtime: &str) -> String {
    format!("{field} is not supported by the runtime {runtime:?} of this node")
}

/// The first field of a container that was added to a pod that is set and not supported.
pub(super) fn field_of_added(pod: &Pod, wanted: &Wanted, supported: &SupportedFields) -> Option<String> {
    field_of_container(pod.spec.as_ref()?, wanted, supported)
}

/// A field's path, whether it is set to something that needs support, and whether it is supported.
type Field = (&'static str, bool, bool);

fn fields_of_pod(spec: &PodSpec, supported: &SupportedFields) -> [Field; 17] {
    let none = Default::default();
    let security = spec.security_context.as_ref().unwrap_or(&none);
    let groups = security.supplemental_groups.as_ref().is_some_and(|groups| !groups.is_empty());
    [
        // Nobody prepares devices for claims.
        ("resourceClaims", spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()), false),
        (
            "resources",
            spec.resources.as_ref().is_some_and(|resources| resources.limits.is_some()),
            supported.pod_resources,
        ),
        ("hostPID", spec.host_pid == Some(true), supported.host_pid),
        ("hostIPC", spec.host_ipc == Some(true), supported.host_ipc),
        ("hostUsers", spec.host_users == Some(false), supported.user_namespaces),
        (
            "shareProcessNamespace",
            spec.share_process_namespace == Some(true),
            supported.share_process_namespace,
        ),
        (
            "shareProcessNamespace with hostUsers: false",
            spec.share_process_namespace == Some(true) && spec.host_users == Some(false),
            supported.own_users_share_processes,
        ),
        ("securityContext.runAsUser", security.run_as_user.is_some(), supported.run_as_user),
        ("securityContext.runAsGroup", security.run_as_group.is_some(), supported.run_as_group),
        ("securityContext.fsGroup", security.fs_group.is_some(), supported.supplemental_groups),
        ("securityContext.supplementalGroups", groups, supported.supplemental_groups),
        (
            "securityContext.supplementalGroupsPolicy",
            security.supplemental_groups_policy.as_deref() == Some("Strict"),
            supported.strict_groups,
        ),
        (
            "securityContext.sysctls",
            security.sysctls.as_ref().is_some_and(|s| !s.is_empty()),
            supported.sysctls,
        ),
        ("securityContext.seLinuxOptions", security.se_linux_options.is_some(), supported.selinux),
        ("securityContext.seccompProfile", filters(security.seccomp_profile.as_ref()), supported.seccomp),
        (
            "securityContext.appArmorProfile",
            confines(security.app_armor_profile.as_ref()),
            supported.apparmor,
        ),
        ("securityContext.windowsOptions", security.windows_options.is_some(), false),
    ]
}

fn field_of_container(spec: &PodSpec, wanted: &Wanted, supported: &SupportedFields) -> Option<String> {
    let none = SecurityContext::default();
    let security = wanted.security_context.as_ref().unwrap_or(&none);
    let unsupported =
        |(path, set, supported): Field| (set && !supported).then(|| format!("securityContext.{path}"));
    let found = fields_of_container(security, supported).into_iter().find_map(unsupported);
    let recursive = |mount: &&VolumeMount| mount.recursive_read_only.as_deref() == Some("Enabled");
    let mount = || {
        let mount = wanted.volume_mounts.iter().flatten().find(recursive)?;
        (!supported.recursive_read_only).then(|| format!("volumeMounts[{}].recursiveReadOnly", mount.name))
    };
    let init = spec.init_containers.iter().flatten();
    let added = spec.ephemeral_containers.iter().flatten();
    let list = match () {
        () if init.into_iter().any(|container| container.name == wanted.name) => "initContainers",
        () if added.into_iter().any(|container| container.name == wanted.name) => "ephemeralContainers",
        () => "containers",
    };
    found.or_else(mount).map(|path| format!("spec.{list}[{}].{path}", wanted.name))
}

fn fields_of_container(security: &SecurityContext, supported: &SupportedFields) -> [Field; 12] {
    let none = ApiCapabilities::default();
    let capabilities = security.capabilities.as_ref().unwrap_or(&none);
    let names = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|names| !names.is_empty());
    [
        ("runAsUser", security.run_as_user.is_some(), supported.run_as_user),
        ("runAsGroup", security.run_as_group.is_some(), supported.run_as_group),
        ("privileged", security.privileged == Some(true), supported.privileged),
        (
            "readOnlyRootFilesystem",
            security.read_only_root_filesystem == Some(true),
            supported.read_only_root_filesystem,
        ),
        (
            "allowPrivilegeEscalation",
            security.allow_privilege_escalation == Some(false),
            supported.no_new_privileges,
        ),
        ("capabilities.add", names(&capabilities.add), supported.add_capabilities),
        ("capabilities.drop", names(&capabilities.drop), supported.drop_capabilities),
        ("procMount", security.proc_mount.as_deref() == Some("Unmasked"), supported.unmasked_proc),
        ("seLinuxOptions", security.se_linux_options.is_some(), supported.selinux),
        ("seccompProfile", filters(security.seccomp_profile.as_ref()), supported.seccomp),
        ("appArmorProfile", confines(security.app_armor_profile.as_ref()), supported.apparmor),
        ("windowsOptions", security.windows_options.is_some(), false),
    ]
}

fn filters(profile: Option<&SeccompProfile>) -> bool {
    profile.is_some_and(|profile| profile.type_ != "Unconfined")
}

fn confines(profile: Option<&AppArmorProfile>) -> bool {
    profile.is_some_and(|profile| profile.type_ != "Unconfined")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn first(spec: serde_json::Value, supported: SupportedFields) -> Option<String> {
        field(&serde_json::from_value(json!({"spec": spec})).unwrap(), &supported)
    }

    #[test]
    fn each_field_is_refused_by_its_name() {
        let security = |context: serde_json::Value| json!({"containers": [], "securityContext": context});
        let own = |context: serde_json::Value| json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a", "securityContext": context}]});
        for (spec, path) in [
            (json!({"containers": [], "hostUsers": false}), "spec.hostUsers"),
            (json!({"containers": [], "hostPID": true}), "spec.hostPID"),
            (json!({"containers": [], "resources": {"limits": {"cpu": "1"}}}), "spec.resources"),
            (
                json!({"containers": [], "volumes": [{"name": "v", "image": {"reference": "a:1"}}]}),
                "spec.volumes[v].image",
            ),
            (security(json!({"fsGroup": 3000})), "spec.securityContext.fsGroup"),
            (
                security(json!({"seccompProfile": {"type": "RuntimeDefault"}})),
                "spec.securityContext.seccompProfile",
            ),
            (security(json!({"sysctls": [{"name": "a", "value": "1"}]})), "spec.securityContext.sysctls"),
            (
                own(json!({"readOnlyRootFilesystem": true})),
                "spec.containers[a].securityContext.readOnlyRootFilesystem",
            ),
            (
                own(json!({"capabilities": {"drop": ["ALL"]}})),
                "spec.containers[a].securityContext.capabilities.drop",
            ),
            (
                own(json!({"allowPrivilegeEscalation": false})),
                "spec.containers[a].securityContext.allowPrivilegeEscalation",
            ),
            (own(json!({"procMount": "Unmasked"})), "spec.containers[a].securityContext.procMount"),
            (
                json!({"containers": [], "initContainers": [{"name": "i", "securityContext": {"privileged": true}}]}),
                "spec.initContainers[i].securityContext.privileged",
            ),
            (
                json!({"containers": [{"name": "a", "volumeMounts": [
                    {"name": "v", "mountPath": "/v", "readOnly": true, "recursiveReadOnly": "Enabled"}]}]}),
                "spec.containers[a].volumeMounts[v].recursiveReadOnly",
            ),
        ] {
            assert_eq!(first(spec, SupportedFields::NONE).as_deref(), Some(path));
        }
    }

    #[test]
    fn what_is_supported_or_asks_for_nothing_is_let_through() {
        let everything = json!({"hostUsers": false, "hostPID": true, "securityContext": {"fsGroup": 1},
            "containers": [{"name": "a", "securityContext": {"readOnlyRootFilesystem": true, "privileged": true}}]});
        assert_eq!(first(everything, SupportedFields::ALL), None);
        let mut together = SupportedFields::ALL;
        together.own_users_share_processes = false;
        let shares = |host_users: bool| json!({"containers": [], "hostUsers": host_users, "shareProcessNamespace": true});
        assert_eq!(first(shares(true), together), None);
        let refused = first(shares(false), together);
        assert_eq!(refused.as_deref(), Some("spec.shareProcessNamespace with hostUsers: false"));
        let nothing = json!({"hostUsers": true, "hostPID": false, "securityContext": {
                "seccompProfile": {"type": "Unconfined"}, "supplementalGroups": []},
            "containers": [{"name": "a", "securityContext": {
                "readOnlyRootFilesystem": false, "privileged": false, "allowPrivilegeEscalation": true,
                "capabilities": {"drop": []}, "procMount": "Default", "runAsNonRoot": true}}]});
        assert_eq!(first(nothing, SupportedFields::NONE), None);
    }
}
