//! From the port's specs to the messages of the CRI. Pure.
//!
//! Who makes a container has to say again what its sandbox was made from, and nothing is kept here: so what the CRI itself
//! does not show of a sandbox is written into its annotations.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::proto::{
    Capability, ContainerConfig, ContainerMetadata, Device, DnsConfig, ImageSpec, Int64Value, KeyValue,
    LinuxContainerConfig, LinuxContainerResources, LinuxContainerSecurityContext, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, Mount as CriMount, MountPropagation, NamespaceMode, NamespaceOption,
    PodSandboxConfig, PodSandboxMetadata, PodSandboxStatus, PortMapping, ProfileType,
    Protocol as CriProtocol, SecurityProfile,
};
use orchestra_core::runtime::{
    APPARMOR_DEFAULT, ContainerSpec, HostPort, Mount, Namespaces, Propagation, Protocol, Resources,
    SandboxMeta, SandboxSpec, SeccompProfile, SecurityContext, labels,
};

/// On a sandbox: where its containers' logs go.
pub(super) const LOG_DIRECTORY: &str = "io.orchestra.sandbox.log-directory";
/// On a sandbox: the name that its containers see, which they are told in their environment too.
const HOSTNAME: &str = "io.orchestra.sandbox.hostname";
/// On a sandbox: its parent cgroup.
pub(super) const CGROUP_PARENT: &str = "io.orchestra.sandbox.cgroup-parent";
/// On a sandbox: its ports of the machine, as `8080/TCP` with blanks between.
const HOST_PORTS: &str = "io.orchestra.sandbox.host-ports";
/// On a sandbox: that a container of it may do all that the machine's root may.
const PRIVILEGED: &str = "io.orchestra.sandbox.privileged";
/// On a container: the file that is its log.
pub(super) const LOG: &str = "io.orchestra.log";
/// On a container: the image as the pod names it.
pub(super) const IMAGE: &str = "io.orchestra.image";

/// What of `/proc` and `/sys` containers do not see, as the kubelet has it.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
/// What of it they cannot write.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A sandbox.
pub(super) fn sandbox(spec: &SandboxSpec) -> PodSandboxConfig {
    let mut annotations: HashMap<_, _> = map(&spec.annotations);
    let log_directory = spec.log_directory.to_string_lossy().into_owned();
    annotations.insert(LOG_DIRECTORY.into(), log_directory.clone());
    if let Some(parent) = &spec.cgroup_parent {
        annotations.insert(CGROUP_PARENT.into(), parent.clone());
    }
    if !spec.namespaces.host_network && !spec.hostname.is_empty() {
        annotations.insert(HOSTNAME.into(), spec.hostname.clone());
    }
    if !spec.host_ports.is_empty() {
        let ports: Vec<String> = spec.host_ports.iter().map(named).collect();
        annotations.insert(HOST_PORTS.into(), ports.join(" "));
    }
    if spec.privileged {
        annotations.insert(PRIVILEGED.into(), "true".into());
    }
    let mut all = map(&spec.labels);
    all.extend(labels::of_sandbox(&spec.meta));
    let own_network = !spec.namespaces.host_network;
    PodSandboxConfig {
        metadata: Some(metadata(&spec.meta)),
        hostname: if own_network { spec.hostname.clone() } else { String::new() },
        log_directory,
        dns_config: spec.dns.as_ref().map(|dns| DnsConfig {
            servers: dns.servers.iter().map(ToString::to_string).collect(),
            searches: dns.searches.clone(),
            options: dns.options.clone(),
        }),
        port_mappings: if own_network { spec.host_ports.iter().map(port).collect() } else { Vec::new() },
        labels: all,
        annotations,
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: spec.cgroup_parent.clone().unwrap_or_default(),
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(&spec.namespaces)),
                seccomp: Some(profile(ProfileType::RuntimeDefault, "")),
                privileged: spec.privileged,
            }),
            sysctls: map(&spec.sysctls),
        }),
    }
}

/// What a sandbox was made from, as far as its containers need it.
pub(super) fn remembered(shown: &PodSandboxStatus) -> PodSandboxConfig {
    let noted = |key: &str| shown.annotations.get(key).cloned().unwrap_or_default();
    let namespaces = shown.linux.as_ref().and_then(|linux| linux.namespaces.as_ref()?.options.clone());
    PodSandboxConfig {
        metadata: shown.metadata.clone(),
        hostname: noted(HOSTNAME),
        log_directory: noted(LOG_DIRECTORY),
        labels: shown.labels.clone(),
        annotations: shown.annotations.clone(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: noted(CGROUP_PARENT),
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: namespaces,
                privileged: noted(PRIVILEGED) == "true",
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The first of these ports that a sandbox of these annotations has.
pub(super) fn taken(ports: &[HostPort], annotations: &HashMap<String, String>) -> Option<u16> {
    let held = annotations.get(HOST_PORTS)?;
    let is_held = |port: &&HostPort| held.split(' ').any(|name| name == named(port));
    ports.iter().find(is_held).map(|port| port.host_port)
}

fn named(port: &HostPort) -> String {
    match port.host_ip.filter(|ip| !ip.is_unspecified()) {
        Some(ip) => format!("{ip}:{}/{}", port.host_port, port.protocol),
        None => format!("{}/{}", port.host_port, port.protocol),
    }
}

fn metadata(meta: &SandboxMeta) -> PodSandboxMetadata {
    PodSandboxMetadata {
        name: meta.pod.name.clone(),
        uid: meta.pod.uid.clone(),
        namespace: meta.pod.namespace.clone(),
        attempt: meta.attempt,
    }
}

fn namespaces(wanted: &Namespaces) -> NamespaceOption {
    let node_or = |on_node, other: NamespaceMode| if on_node { NamespaceMode::Node } else { other } as i32;
    let own = if wanted.share_process_namespace { NamespaceMode::Pod } else { NamespaceMode::Container };
    NamespaceOption {
        network: node_or(wanted.host_network, NamespaceMode::Pod),
        pid: node_or(wanted.host_pid, own),
        ipc: node_or(wanted.host_ipc, NamespaceMode::Pod),
        ..Default::default()
    }
}

/// A container of a sandbox. `shown` is the sandbox.
pub(super) fn container(
    spec: &ContainerSpec,
    sandbox: &SandboxMeta,
    shown: &PodSandboxStatus,
) -> ContainerConfig {
    let mut all = map(&spec.labels);
    all.extend(labels::of_container(sandbox, &spec.meta));
    all.insert(labels::SANDBOX_ATTEMPT.into(), sandbox.attempt.to_string());
    let mut annotations = map(&spec.annotations);
    annotations.insert(IMAGE.into(), spec.image.clone());
    if let Some(folder) = shown.annotations.get(LOG_DIRECTORY) {
        let log = Path::new(folder).join(&spec.log_path);
        annotations.insert(LOG.into(), log.to_string_lossy().into_owned());
    }
    let mut joined = shown
        .linux
        .as_ref()
        .and_then(|linux| linux.namespaces.as_ref()?.options.clone())
        .unwrap_or_else(|| namespaces(&Namespaces::default()));
    if let Some(other) = &spec.processes_of
        && joined.pid == NamespaceMode::Container as i32
    {
        joined.pid = NamespaceMode::Target as i32;
        joined.target_id = other.to_string();
    }
    ContainerConfig {
        metadata: Some(ContainerMetadata { name: spec.meta.name.clone(), attempt: spec.meta.attempt }),
        image: Some(ImageSpec {
            image: if spec.image_id.is_empty() { &spec.image } else { &spec.image_id }.clone(),
            user_specified_image: spec.image.clone(),
        }),
        command: spec.command.clone(),
        args: spec.args.clone(),
        working_dir: spec.working_dir.clone().unwrap_or_default(),
        envs: spec
            .env
            .iter()
            .map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() })
            .collect(),
        mounts: spec.mounts.iter().map(mount).collect(),
        devices: spec.devices.iter().map(device).collect(),
        labels: all,
        annotations,
        log_path: spec.log_path.to_string_lossy().into_owned(),
        stdin: spec.stdin,
        stdin_once: spec.stdin_once,
        tty: spec.tty,
        linux: Some(LinuxContainerConfig {
            resources: Some(resources(&spec.resources)),
            security_context: Some(security(&spec.security, joined)),
        }),
    }
}

pub(super) fn resources(wanted: &Resources) -> LinuxContainerResources {
    LinuxContainerResources {
        cpu_period: if wanted.cpu_quota.is_some() { wanted.cpu_period as i64 } else { 0 },
        cpu_quota: wanted.cpu_quota.unwrap_or_default(),
        cpu_shares: i64::try_from(wanted.cpu_shares).unwrap_or(i64::MAX),
        memory_limit_in_bytes: wanted.memory_bytes.unwrap_or_default(),
        oom_score_adj: i64::from(wanted.oom_score_adj),
    }
}

fn security(wanted: &SecurityContext, namespaces: NamespaceOption) -> LinuxContainerSecurityContext {
    let number = |number: Option<i64>| number.map(|value| Int64Value { value });
    let paths = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    let hides = !wanted.unmasked_proc && !wanted.privileged;
    LinuxContainerSecurityContext {
        capabilities: Some(Capability {
            add_capabilities: wanted.add_capabilities.clone(),
            drop_capabilities: wanted.drop_capabilities.clone(),
        }),
        privileged: wanted.privileged,
        namespace_options: Some(namespaces),
        run_as_user: number(wanted.run_as_user),
        run_as_group: number(wanted.run_as_group),
        readonly_rootfs: wanted.read_only_root_filesystem,
        supplemental_groups: wanted.supplemental_groups.clone(),
        no_new_privs: wanted.no_new_privileges,
        masked_paths: if hides { paths(&MASKED) } else { Vec::new() },
        readonly_paths: if hides { paths(&READ_ONLY) } else { Vec::new() },
        seccomp: wanted.seccomp.as_ref().map(|seccomp| match seccomp {
            SeccompProfile::RuntimeDefault => profile(ProfileType::RuntimeDefault, ""),
            SeccompProfile::Unconfined => profile(ProfileType::Unconfined, ""),
            SeccompProfile::Localhost(path) => profile(ProfileType::Localhost, &path.to_string_lossy()),
        }),
        apparmor: wanted.apparmor.as_deref().map(|name| match name {
            "unconfined" => profile(ProfileType::Unconfined, ""),
            APPARMOR_DEFAULT => profile(ProfileType::RuntimeDefault, ""),
            name => profile(ProfileType::Localhost, name.strip_prefix("localhost/").unwrap_or(name)),
        }),
    }
}

fn profile(kind: ProfileType, reference: &str) -> SecurityProfile {
    SecurityProfile { profile_type: kind as i32, localhost_ref: reference.to_owned() }
}

fn mount(mount: &Mount) -> CriMount {
    let propagation = match mount.propagation {
        Propagation::Private => MountPropagation::Private,
        Propagation::HostToContainer => MountPropagation::HostToContainer,
        Propagation::Bidirectional => MountPropagation::Bidirectional,
    };
    CriMount {
        container_path: mount.container_path.clone(),
        host_path: mount.host_path.to_string_lossy().into_owned(),
        readonly: mount.read_only,
        propagation: propagation as i32,
    }
}

fn device(device: &orchestra_core::runtime::Device) -> Device {
    let all = device.permissions.is_empty();
    Device {
        container_path: device.container_path.clone(),
        host_path: device.host_path.to_string_lossy().into_owned(),
        permissions: if all { "mrw" } else { &device.permissions }.into(),
    }
}

fn port(port: &HostPort) -> PortMapping {
    let protocol = match port.protocol {
        Protocol::Tcp => CriProtocol::Tcp,
        Protocol::Udp => CriProtocol::Udp,
        Protocol::Sctp => CriProtocol::Sctp,
    };
    PortMapping {
        protocol: protocol as i32,
        container_port: i32::from(port.container_port),
        host_port: i32::from(port.host_port),
        host_ip: port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    }
}

fn map(map: &BTreeMap<String, String>) -> HashMap<String, String> {
    map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}
