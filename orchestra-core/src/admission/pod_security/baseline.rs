//! The rules of the level `baseline`, in Kubernetes' order.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{LifecycleHandler, PodSpec, SELinuxOptions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::finding::{Finding, containers, forbidden_values, named, plural, quoted, setters, those};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// The capabilities that a container has without asking.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Settings of the kernel that are a pod's own, and since which version each is allowed.
const SYSCTLS: &[(&str, u32)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

/// The types that SELinux may be told, and since which version.
const SELINUX_TYPES: &[(&str, u32)] = &[
    ("", 0),
    ("container_t", 0),
    ("container_init_t", 0),
    ("container_kvm_t", 0),
    ("container_engine_t", 31),
];

/// The rules that hold at `restricted` too.
pub(super) fn common(metadata: &ObjectMeta, spec: &PodSpec, minor: u32) -> Vec<Finding> {
    let found = [
        app_armor(metadata, spec, minor),
        host_namespaces(spec),
        host_ports(spec),
        hosts_of_probes(spec, minor),
        privileged(spec),
        proc_mount(spec, minor),
        selinux(spec, minor),
        sysctls(spec, minor),
        windows_host_process(spec),
    ];
    found.into_iter().flatten().collect()
}

/// The rules that a stricter one of `restricted` stands for.
pub(super) fn overridden(metadata: &ObjectMeta, spec: &PodSpec, minor: u32) -> Vec<Finding> {
    [capabilities(spec), host_paths(spec), seccomp(metadata, spec, minor)].into_iter().flatten().collect()
}

/// Whether the users of a pod are none of its node, which makes some rules needless.
pub(super) fn has_own_users(spec: &PodSpec, minor: u32) -> bool {
    minor >= 35 && spec.host_users == Some(false)
}

fn app_armor(metadata: &ObjectMeta, spec: &PodSpec, minor: u32) -> Option<Finding> {
    let annotated = metadata.annotations.iter().flatten().filter(|(key, _)| key.starts_with(APP_ARMOR));
    let is_allowed =
        |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let wrong: Vec<_> = annotated.filter(|(_, value)| !is_allowed(value)).collect();
    let shown: Vec<_> = wrong.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
    if minor < 30 {
        let reason = plural("forbidden AppArmor profile", shown.len());
        return (!shown.is_empty()).then(|| Finding::new(reason, shown.join(", ")));
    }
    let of_pod = spec.security_context.as_ref().and_then(|security| security.app_armor_profile.as_ref());
    let of_pod = of_pod.map(|profile| profile.type_.as_str());
    let set = forbidden_values(
        spec,
        of_pod,
        |security| security.app_armor_profile.as_ref().map(|profile| profile.type_.as_str()),
        |value| matches!(value, "RuntimeDefault" | "Localhost"),
    );
    let (mut setters, mut values) = (Vec::new(), BTreeSet::new());
    if let Some((who, which)) = set {
        setters.push(who);
        values.extend(which);
    }
    if !shown.is_empty() {
        setters.push(format!("{} {}", plural("annotation", shown.len()), shown.join(", ")));
        values.extend(wrong.iter().map(|(_, value)| value.as_str()));
    }
    (!setters.is_empty()).then(|| {
        Finding::new(
            plural("forbidden AppArmor profile", values.len()),
            format!("{} must not set AppArmor profile type to {}", setters.join(" and "), quoted(values)),
        )
    })
}

fn host_namespaces(spec: &PodSpec) -> Option<Finding> {
    let shared = [
        ("hostNetwork=true", spec.host_network),
        ("hostPID=true", spec.host_pid),
        ("hostIPC=true", spec.host_ipc),
    ];
    let shared: Vec<_> = shared.iter().filter(|(_, is)| *is == Some(true)).map(|(what, _)| *what).collect();
    (!shared.is_empty()).then(|| Finding::new("host namespaces", shared.join(", ")))
}

fn host_ports(spec: &PodSpec) -> Option<Finding> {
    let taken = |port: &&k8s_openapi::api::core::v1::ContainerPort| port.host_port.unwrap_or(0) != 0;
    let names = those(spec, |container| container.ports.iter().any(|port| taken(&port)));
    let all = containers(spec);
    let ports = all.iter().flat_map(|container| container.ports).filter(taken);
    let ports: BTreeSet<_> = ports.map(|port| port.host_port.unwrap_or(0).to_string()).collect();
    let use_ = if names.len() == 1 { "uses" } else { "use" };
    (!names.is_empty()).then(|| {
        let ports = format!("{} {}", plural("hostPort", ports.len()), Vec::from_iter(ports).join(", "));
        Finding::new("hostPort", format!("{} {use_} {ports}", named("container", &names)))
    })
}

fn hosts_of_probes(spec: &PodSpec, minor: u32) -> Option<Finding> {
    if minor < 34 {
        return None;
    }
    let of_handler = |handler: Option<&LifecycleHandler>| {
        let http = handler.and_then(|handler| handler.http_get.as_ref()?.host.clone());
        let tcp = handler.and_then(|handler| handler.tcp_socket.as_ref()?.host.clone());
        [http, tcp]
    };
    let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in containers(spec) {
        let probes = container.probes.into_iter().flatten().flat_map(|probe| {
            let http = probe.http_get.as_ref().and_then(|http| http.host.clone());
            let tcp = probe.tcp_socket.as_ref().and_then(|tcp| tcp.host.clone());
            [http, tcp]
        });
        let hooks = container.lifecycle.into_iter();
        let hooks = hooks.flat_map(|lifecycle| [lifecycle.post_start.as_ref(), lifecycle.pre_stop.as_ref()]);
        let found = probes.chain(hooks.flat_map(of_handler)).flatten().filter(|host| !host.is_empty());
        let found: Vec<_> = found.collect();
        if !found.is_empty() {
            names.insert(container.name);
            hosts.extend(found);
        }
    }
    let names = Vec::from_iter(names);
    let use_ = if names.len() == 1 { "uses" } else { "use" };
    (!names.is_empty()).then(|| {
        let hosts = format!(
            "{} {}",
            plural("probe or lifecycle host", hosts.len()),
            quoted(hosts.iter().map(String::as_str))
        );
        Finding::new("probe or lifecycle host", format!("{} {use_} {hosts}", named("container", &names)))
    })
}

fn privileged(spec: &PodSpec) -> Option<Finding> {
    let names =
        those(spec, |container| container.security.is_some_and(|security| security.privileged == Some(true)));
    (!names.is_empty()).then(|| {
        let who = named("container", &names);
        Finding::new("privileged", format!("{who} must not set securityContext.privileged=true"))
    })
}

fn proc_mount(spec: &PodSpec, minor: u32) -> Option<Finding> {
    if has_own_users(spec, minor) {
        return None;
    }
    let set =
        forbidden_values(spec, None, |security| security.proc_mount.as_deref(), |value| value == "Default");
    let (who, values) = set?;
    let values = quoted(values);
    Some(Finding::new("procMount", format!("{who} must not set securityContext.procMount to {values}")))
}

fn selinux(spec: &PodSpec, minor: u32) -> Option<Finding> {
    let known = |text: &str| SELINUX_TYPES.iter().any(|(name, since)| *name == text && minor >= *since);
    let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let is_wrong = |options: &&SELinuxOptions| {
        !known(options.type_.as_deref().unwrap_or_default()) || is_set(&options.user) || is_set(&options.role)
    };
    let of_pod = spec.security_context.as_ref().and_then(|security| security.se_linux_options.as_ref());
    let of_pod = of_pod.filter(is_wrong);
    let all = containers(spec);
    let of_containers = all.iter().filter_map(|container| {
        let options = container.security?.se_linux_options.as_ref().filter(is_wrong)?;
        Some((container.name, options))
    });
    let (names, mut wrong): (Vec<_>, Vec<_>) = of_containers.unzip();
    let who = setters(of_pod.is_some(), &names)?;
    wrong.extend(of_pod);
    let types = wrong.iter().filter_map(|options| options.type_.as_deref()).filter(|text| !known(text));
    let types: BTreeSet<_> = types.collect();
    let mut what = Vec::new();
    if !types.is_empty() {
        what.push(format!("{} {}", plural("type", types.len()), quoted(types)));
    }
    if wrong.iter().any(|options| is_set(&options.user)) {
        what.push("user may not be set".to_owned());
    }
    if wrong.iter().any(|options| is_set(&options.role)) {
        what.push("role may not be set".to_owned());
    }
    let what = what.join("; ");
    Some(Finding::new(
        "seLinuxOptions",
        format!("{who} set forbidden securityContext.seLinuxOptions: {what}"),
    ))
}

fn sysctls(spec: &PodSpec, minor: u32) -> Option<Finding> {
    let set = spec.security_context.iter().flat_map(|security| security.sysctls.iter().flatten());
    let known = |text: &str| SYSCTLS.iter().any(|(name, since)| *name == text && minor >= *since);
    let wrong: Vec<_> = set.map(|sysctl| sysctl.name.as_str()).filter(|name| !known(name)).collect();
    (!wrong.is_empty()).then(|| Finding::new("forbidden sysctls", wrong.join(", ")))
}

fn windows_host_process(spec: &PodSpec) -> Option<Finding> {
    let of_pod = spec.security_context.as_ref().and_then(|security| security.windows_options.as_ref());
    let of_pod = of_pod.is_some_and(|windows| windows.host_process == Some(true));
    let names = those(spec, |container| {
        let windows = container.security.and_then(|security| security.windows_options.as_ref());
        windows.is_some_and(|windows| windows.host_process == Some(true))
    });
    let who = setters(of_pod, &names)?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Some(Finding::new("hostProcess", detail))
}

fn capabilities(spec: &PodSpec) -> Option<Finding> {
    let (names, wrong) = added_beyond(spec, CAPABILITIES);
    (!names.is_empty()).then(|| {
        let (who, which) = (named("container", &names), quoted(wrong));
        let detail = format!("{who} must not include {which} in securityContext.capabilities.add");
        Finding::new("non-default capabilities", detail)
    })
}

/// The containers that ask for capabilities which are not in a list, and which.
pub(super) fn added_beyond<'p>(spec: &'p PodSpec, allowed: &[&str]) -> (Vec<&'p str>, BTreeSet<&'p str>) {
    let (mut names, mut wrong) = (Vec::new(), BTreeSet::new());
    for container in containers(spec) {
        let capabilities = container.security.and_then(|security| security.capabilities.as_ref());
        let added = capabilities.and_then(|capabilities| capabilities.add.as_ref()).into_iter().flatten();
        let beyond: Vec<_> = added.map(String::as_str).filter(|name| !allowed.contains(name)).collect();
        if !beyond.is_empty() {
            names.push(container.name);
            wrong.extend(beyond);
        }
    }
    (names, wrong)
}

fn host_paths(spec: &PodSpec) -> Option<Finding> {
    let volumes = spec.volumes.iter().flatten().filter(|volume| volume.host_path.is_some());
    let names: Vec<_> = volumes.map(|volume| volume.name.as_str()).collect();
    (!names.is_empty()).then(|| Finding::new("hostPath volumes", named("volume", &names)))
}

fn seccomp(metadata: &ObjectMeta, spec: &PodSpec, minor: u32) -> Option<Finding> {
    if minor < 19 {
        return seccomp_annotations(metadata, spec);
    }
    let (who, values) = wrong_seccomp(spec)?;
    let values = quoted(values);
    Some(Finding::new(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {values}"),
    ))
}

/// Who sets a seccomp profile that turns the filter off, and to what.
pub(super) fn wrong_seccomp(spec: &PodSpec) -> Option<(String, BTreeSet<&str>)> {
    let of_pod = spec.security_context.as_ref().and_then(|security| security.seccomp_profile.as_ref());
    forbidden_values(
        spec,
        of_pod.map(|profile| profile.type_.as_str()),
        |security| security.seccomp_profile.as_ref().map(|profile| profile.type_.as_str()),
        |value| matches!(value, "RuntimeDefault" | "Localhost"),
    )
}

fn seccomp_annotations(metadata: &ObjectMeta, spec: &PodSpec) -> Option<Finding> {
    let is_allowed = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let of_containers = containers(spec);
    let keys = of_containers.iter().map(|container| format!("{SECCOMP_OF_CONTAINER}{}", container.name));
    let keys = std::iter::once(SECCOMP_OF_POD.to_owned()).chain(keys);
    let wrong: BTreeSet<_> = keys
        .filter_map(|key| {
            let value = metadata.annotations.as_ref()?.get(&key)?;
            (!is_allowed(value)).then(|| format!("{key}={value:?}"))
        })
        .collect();
    (!wrong.is_empty()).then(|| {
        let word = plural("annotation", wrong.len());
        Finding::new("seccompProfile", format!("forbidden {word} {}", Vec::from_iter(wrong).join(", ")))
    })
}
