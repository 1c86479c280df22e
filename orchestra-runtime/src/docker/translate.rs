//! From the port's specs to the bodies of Docker's API. Pure.
//!
//! A pod is a *pause* container that owns the network and IPC namespaces, and containers that join it. What belongs to
//! the namespaces (hostname, DNS, host ports, sysctls) is therefore set on the pause container and may not be set on
//! the others: Docker refuses it there.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, DeviceMapping, HealthConfig, HostConfig, HostConfigLogConfig,
    Mount as DockerMount, MountBindOptions, MountBindOptionsPropagationEnum, MountType, PortBinding,
};
use orchestra_core::runtime::{
    APPARMOR_DEFAULT, ContainerSpec, Device, DnsConfig, HostPort, Mount, Propagation, Resources,
    RuntimeError, SandboxId, SandboxMeta, SandboxSpec, SeccompProfile, SecurityContext, labels,
};

/// What annotations are called among Docker's labels, which are all it has.
const ANNOTATION_PREFIX: &str = "annotation.";

/// Facts about the daemon's side that a translation needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Scores below the daemon's own cannot be given without `CAP_SYS_RESOURCE`; asking for one would fail every
    /// container. Scores are raised to this.
    pub(super) lowest_oom_score: i64,
    /// The text of a [`SeccompProfile::Localhost`] file: the API takes the profile, not its path.
    pub(super) seccomp_json: Option<String>,
}

/// The pause container of a sandbox.
pub(super) fn sandbox(spec: &SandboxSpec, pause_image: &str) -> ContainerCreateBody {
    let (exposed, bindings) = ports(&spec.host_ports);
    let own_network = !spec.namespaces.host_network;
    let mut config = HostConfig {
        network_mode: Some(if own_network { "bridge" } else { "host" }.into()),
        ipc_mode: Some(if spec.namespaces.host_ipc { "host" } else { "shareable" }.into()),
        pid_mode: spec.namespaces.host_pid.then(|| "host".into()),
        port_bindings: (own_network && !bindings.is_empty()).then_some(bindings),
        sysctls: non_empty_map(spec.sysctls.clone()),
        cgroup_parent: spec.cgroup_parent.clone(),
        log_config: Some(log_config()),
        runtime: handler(&spec.handler),
        cpu_shares: Some(2),
        ..HostConfig::default()
    };
    if let Some(dns) = &spec.dns {
        set_dns(&mut config, dns);
    }
    let mut all = spec.labels.clone();
    all.extend(annotation_labels(&spec.annotations));
    all.extend(labels::of_sandbox(&spec.meta));
    if !spec.handler.is_empty() {
        all.insert(HANDLER_LABEL.into(), spec.handler.clone());
    }
    if spec.namespaces.share_process_namespace {
        all.insert(SHARED_PROCESSES_LABEL.into(), "true".into());
    }
    ContainerCreateBody {
        image: Some(pause_image.to_owned()),
        hostname: (own_network && !spec.hostname.is_empty()).then(|| spec.hostname.clone()),
        exposed_ports: own_network.then_some(exposed).filter(|ports| !ports.is_empty()),
        labels: Some(all.into_iter().collect()),
        host_config: Some(config),
        ..ContainerCreateBody::default()
    }
}

/// On a sandbox: its containers see each other's processes.
pub(super) const SHARED_PROCESSES_LABEL: &str = "io.orchestra.sandbox.shared-processes";

/// On a sandbox: which of the daemon's runtimes runs it.
pub(super) const HANDLER_LABEL: &str = "io.orchestra.sandbox.handler";

fn handler(name: &str) -> Option<String> {
    (!name.is_empty()).then(|| name.to_owned())
}

/// How a container joins the namespaces of its sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joined {
    /// The sandbox.
    pub(super) id: SandboxId,
    /// Who it is.
    pub(super) meta: SandboxMeta,
    /// What processes it sees: `None` its own, else Docker's `PidMode` (`host` or `container:<id>`).
    pub(super) pid_mode: Option<String>,
    /// Which of the daemon's runtimes runs it; empty for the usual.
    pub(super) handler: String,
    /// The control group that holds the pod, if one does.
    pub(super) group: Option<String>,
}

/// A container of a sandbox. Fails for what Docker could not honour.
pub(super) fn container(
    spec: &ContainerSpec,
    sandbox: &Joined,
    facts: &Facts,
) -> Result<ContainerCreateBody, RuntimeError> {
    let namespace = format!("container:{}", sandbox.id);
    let mut config = HostConfig {
        network_mode: Some(namespace.clone()),
        ipc_mode: Some(namespace),
        pid_mode: sandbox.pid_mode.clone(),
        runtime: handler(&sandbox.handler),
        cgroup_parent: sandbox.group.clone(),
        mounts: non_empty(spec.mounts.iter().map(mount).collect()),
        devices: non_empty(spec.devices.iter().map(device).collect()),
        log_config: Some(log_config()),
        ..HostConfig::default()
    };
    set_resources(&mut config, &spec.resources, facts.lowest_oom_score);
    set_security(&mut config, &spec.security, facts)?;
    let mut all = spec.labels.clone();
    all.extend(annotation_labels(&spec.annotations));
    all.extend(labels::of_container(&sandbox.meta, &spec.meta));
    all.insert(labels::SANDBOX_ID.into(), sandbox.id.to_string());
    all.insert(labels::SANDBOX_ATTEMPT.into(), sandbox.meta.attempt.to_string());
    all.insert(IMAGE_LABEL.into(), spec.image.clone());
    Ok(ContainerCreateBody {
        image: Some(if spec.image_id.is_empty() { &spec.image } else { &spec.image_id }.clone()),
        entrypoint: non_empty(spec.command.clone()),
        cmd: non_empty(spec.args.clone()),
        env: non_empty(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        working_dir: spec.working_dir.clone(),
        user: user(&spec.security)?,
        open_stdin: Some(spec.stdin),
        stdin_once: Some(spec.stdin_once),
        tty: Some(spec.tty),
        stop_signal: spec.stop_signal.clone(),
        // A pod says itself how its containers are probed; what an image says would run beside that.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }),
        labels: Some(all.into_iter().collect()),
        host_config: Some(config),
        ..ContainerCreateBody::default()
    })
}

/// The image as the pod names it; Docker itself shows the id a container was made from.
pub(super) const IMAGE_LABEL: &str = "io.orchestra.image";

fn set_dns(config: &mut HostConfig, dns: &DnsConfig) {
    config.dns = non_empty(dns.servers.iter().map(ToString::to_string).collect());
    config.dns_search = non_empty(dns.searches.clone());
    config.dns_options = non_empty(dns.options.clone());
}

fn set_resources(config: &mut HostConfig, resources: &Resources, lowest_oom_score: i64) {
    config.cpu_shares = i64::try_from(resources.cpu_shares).ok().filter(|shares| *shares > 0);
    config.cpu_quota = resources.cpu_quota;
    config.cpu_period = i64::try_from(resources.cpu_period)
        .ok()
        .filter(|period| *period > 0 && resources.cpu_quota.is_some());
    config.memory = resources.memory_bytes;
    // The same figure for memory with swap: a limit means memory, not a licence to swap.
    config.memory_swap = resources.memory_bytes;
    config.oom_score_adj = Some(i64::from(resources.oom_score_adj).max(lowest_oom_score));
}

/// What changes of a container that runs. What is not said stays as it is.
pub(super) fn update(resources: &Resources) -> ContainerUpdateBody {
    let mut config = HostConfig::default();
    set_resources(&mut config, resources, i64::from(i32::MIN));
    ContainerUpdateBody {
        cpu_shares: config.cpu_shares,
        cpu_quota: config.cpu_quota,
        cpu_period: config.cpu_period,
        memory: config.memory,
        memory_swap: config.memory_swap,
        ..ContainerUpdateBody::default()
    }
}

fn set_security(
    config: &mut HostConfig,
    security: &SecurityContext,
    facts: &Facts,
) -> Result<(), RuntimeError> {
    let mut options = Vec::new();
    match (&security.seccomp, &facts.seccomp_json) {
        _ if security.privileged => {}
        (None | Some(SeccompProfile::RuntimeDefault), _) => {}
        (Some(SeccompProfile::Unconfined), _) => options.push("seccomp=unconfined".to_owned()),
        (Some(SeccompProfile::Localhost(_)), Some(json)) => options.push(format!("seccomp={json}")),
        (Some(SeccompProfile::Localhost(path)), None) => {
            return Err(RuntimeError::InvalidSpec {
                message: format!("cannot load seccomp profile {}", path.display()),
            });
        }
    }
    if security.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    if let Some(profile) = security.apparmor.as_ref().filter(|profile| *profile != APPARMOR_DEFAULT) {
        options.push(format!("apparmor={profile}"));
    }
    config.security_opt = non_empty(options);
    config.privileged = Some(security.privileged);
    if security.unmasked_proc {
        config.masked_paths = Some(Vec::new());
        config.readonly_paths = Some(Vec::new());
    }
    config.readonly_rootfs = Some(security.read_only_root_filesystem);
    config.cap_add = non_empty(security.add_capabilities.clone());
    config.cap_drop = non_empty(security.drop_capabilities.clone());
    config.group_add = non_empty(security.supplemental_groups.iter().map(i64::to_string).collect());
    Ok(())
}

fn user(security: &SecurityContext) -> Result<Option<String>, RuntimeError> {
    match (security.run_as_user, security.run_as_group) {
        (None, None) => Ok(None),
        (Some(user), None) => Ok(Some(user.to_string())),
        (Some(user), Some(group)) => Ok(Some(format!("{user}:{group}"))),
        (None, Some(_)) => Err(RuntimeError::InvalidSpec {
            message: "runAsGroup is set without runAsUser: Docker takes a group only with a user".into(),
        }),
    }
}

fn mount(mount: &Mount) -> DockerMount {
    let propagation = match mount.propagation {
        // What Docker takes by itself: private, but for what holds its own folder (such as `/`), where private would
        // keep it from ever removing a container, and it refuses that.
        Propagation::Private => None,
        Propagation::HostToContainer => Some(MountBindOptionsPropagationEnum::RSLAVE),
        Propagation::Bidirectional => Some(MountBindOptionsPropagationEnum::RSHARED),
    };
    DockerMount {
        typ: Some(MountType::BIND),
        source: Some(mount.host_path.to_string_lossy().into_owned()),
        target: Some(mount.container_path.clone()),
        read_only: Some(mount.read_only),
        bind_options: propagation
            .map(|propagation| MountBindOptions { propagation: Some(propagation), ..Default::default() }),
        ..DockerMount::default()
    }
}

fn device(device: &Device) -> DeviceMapping {
    let all = device.permissions.is_empty();
    DeviceMapping {
        path_on_host: Some(device.host_path.to_string_lossy().into_owned()),
        path_in_container: Some(device.container_path.clone()),
        cgroup_permissions: Some(if all { "mrw" } else { &device.permissions }.into()),
    }
}

type Bindings = HashMap<String, Option<Vec<PortBinding>>>;

fn ports(host_ports: &[HostPort]) -> (Vec<String>, Bindings) {
    let mut bindings: BTreeMap<String, Vec<PortBinding>> = BTreeMap::new();
    for port in host_ports {
        let inside = format!("{}/{}", port.container_port, port.protocol.as_str().to_ascii_lowercase());
        bindings.entry(inside).or_default().push(PortBinding {
            host_ip: Some(port.host_ip.map(|ip| ip.to_string()).unwrap_or_default()),
            host_port: Some(port.host_port.to_string()),
        });
    }
    let exposed = bindings.keys().cloned().collect();
    (exposed, bindings.into_iter().map(|(inside, outside)| (inside, Some(outside))).collect())
}

/// Five files of 10 MB, what a kubelet keeps; a file format whose logs can be read back, whatever the daemon's default.
fn log_config() -> HostConfigLogConfig {
    let options = [("max-size", "10m"), ("max-file", "5")];
    HostConfigLogConfig {
        typ: Some("json-file".into()),
        config: Some(options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
    }
}

fn annotation_labels(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = (String, String)> {
    annotations.iter().map(|(key, value)| (format!("{ANNOTATION_PREFIX}{key}"), value.clone()))
}

fn non_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn non_empty_map(map: BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!map.is_empty()).then(|| map.into_iter().collect())
}
