//! What runc is told of a container: the `config.json` of the OCI runtime specification, made of what the pod says and, where
//! it says nothing, of what the image does. Pure.
//!
//! What is known only when the container starts (which number its user has, by the image's own list of users) is filled in
//! then, by [`Bundle::finish`].

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use orchestra_core::runtime::{
    APPARMOR_DEFAULT, ContainerSpec, Mount, Propagation, Resources, Result, SecurityContext,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::own_users::{self, Own, Users};
use super::rootfs::SHARED;
use super::runc::Runc;
use super::user::{Found, Wanted};
use super::{capabilities, invalid, machine::Machine};
use crate::cgroup;
use crate::images::Defaults;

/// Where programs are looked for when neither pod nor image says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What other runtimes of this machine load as their default, the first before the others.
const USUAL_PROFILES: [&str; 3] = ["cri-containerd.apparmor.d", "containers-default", "docker-default"];

/// What of `/proc` and `/sys` containers do not see, as the kubelet has it.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// What of it they cannot write.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A container, as it is kept until it is removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Bundle {
    /// The image's id.
    pub(crate) image: String,
    /// The folders of its layers, the uppermost first.
    pub(crate) layers: Vec<PathBuf>,
    /// The folders of the machine that it shares with it, mounts and all.
    #[serde(default)]
    pub(crate) shared: Vec<PathBuf>,
    /// The program that runs it, and where that keeps what it knows.
    pub(crate) runc: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) tty: bool,
    /// The control group of its pod, if that has one.
    #[serde(default)]
    pub(crate) pod_group: Option<String>,
    /// What it is made with where its pod has users of its own.
    #[serde(default)]
    pub(crate) own: Option<Own>,
    /// Whom it runs as.
    pub(crate) user: Wanted,
    /// All else that runc is told.
    pub(crate) config: Value,
}

/// What a container shares with its pod, and with the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shared {
    /// Files that name namespaces; `None` is the machine's own.
    pub(crate) network: Option<PathBuf>,
    pub(crate) ipc: Option<PathBuf>,
    pub(crate) uts: Option<PathBuf>,
    pub(crate) processes: Processes,
    /// The pod's shared memory.
    pub(crate) shm: Option<PathBuf>,
    pub(crate) resolv_conf: Option<PathBuf>,
    /// The file that holds the pod's name.
    pub(crate) hostname_file: Option<PathBuf>,
    pub(crate) hostname: String,
    /// The pod's control group, if it has one.
    pub(crate) group: Option<String>,
    /// The pod's own users, if it has any, and where roots of its containers are mounted.
    pub(crate) users: Option<(Users, PathBuf)>,
}

/// Which processes a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Processes {
    /// Its own.
    #[default]
    Own,
    /// The machine's.
    Machine,
    /// Those of a namespace that a file names.
    Of(PathBuf),
}

impl Bundle {
    /// The program that runs it.
    pub(crate) fn runc(&self) -> Runc<'_> {
        Runc { program: &self.runc, state: &self.state }
    }

    /// What runc is told, with the user of the image's own list.
    pub(crate) fn finish(&self, user: &Found) -> Value {
        let mut config = self.config.clone();
        let process = &mut config["process"];
        process["user"] = json!({"uid": user.uid, "gid": user.gid, "additionalGids": user.groups});
        if let Value::Array(env) = &mut process["env"]
            && !env.iter().any(|one| one.as_str().is_some_and(|one| one.starts_with("HOME=")))
        {
            env.push(format!("HOME={}", user.home).into());
        }
        config
    }
}

/// The folders that a container shares with the machine, in the order of its mounts.
pub(crate) fn shared(spec: &ContainerSpec) -> Vec<PathBuf> {
    let passed_on = spec.mounts.iter().filter(|mount| mount.propagation == Propagation::Bidirectional);
    passed_on.map(|mount| mount.host_path.clone()).collect()
}

/// What a container is made with where its pod has users of its own.
pub(crate) fn own(spec: &ContainerSpec, shared: &Shared) -> Result<Option<Own>> {
    let users = shared.users.clone();
    users.map(|(users, root)| Own::of(users, root, spec)).transpose()
}

/// All that runc is told but the user.
pub(crate) fn config(
    id: &str,
    spec: &ContainerSpec,
    image: &Defaults,
    shared: &Shared,
    machine: &Machine,
) -> Result<Value> {
    let security = &spec.security;
    let hides = !security.unmasked_proc && !security.privileged;
    let paths = |paths: &[&str]| if hides { json!(paths) } else { json!([]) };
    let process = process(spec, image, shared, machine)?;
    let any = |wanted: Propagation| spec.mounts.iter().any(|mount| mount.propagation == wanted);
    let propagation = match () {
        () if any(Propagation::Bidirectional) => "rshared",
        () if any(Propagation::HostToContainer) => "rslave",
        () => "rprivate",
    };
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": "rootfs", "readonly": security.read_only_root_filesystem},
        "mounts": mounts(spec, shared, machine)?,
        "linux": {
            "namespaces": namespaces(shared, machine),
            "resources": resources(spec, machine)?,
            "cgroupsPath": cgroup::path(&cgroup::of(shared.group.as_deref(), OsStr::new(id))),
            "devices": devices(spec, machine)?,
            "maskedPaths": paths(&MASKED),
            "readonlyPaths": paths(&READ_ONLY),
            "rootfsPropagation": propagation,
        },
    });
    if let Some(filter) = super::seccomp::filter(security, &capabilities::of(security, machine)?)? {
        config["linux"]["seccomp"] = filter;
    }
    if let Some(own) = own(spec, shared)? {
        own.tell(&mut config);
    }
    Ok(config)
}

fn process(spec: &ContainerSpec, image: &Defaults, shared: &Shared, machine: &Machine) -> Result<Value> {
    let capabilities = capabilities::of(&spec.security, machine)?;
    let mut process = json!({
        "terminal": spec.tty,
        "args": arguments(spec, image)?,
        "env": environment(spec, image, shared),
        "cwd": working_dir(spec, image),
        "noNewPrivileges": spec.security.no_new_privileges,
        "oomScoreAdj": machine.oom_score_adj(spec.resources.oom_score_adj),
        "capabilities": {
            "bounding": &capabilities,
            "effective": &capabilities,
            "permitted": &capabilities,
        },
    });
    if let Some(profile) = apparmor(&spec.security, machine)? {
        process["apparmorProfile"] = profile.into();
    }
    Ok(process)
}

/// The AppArmor profile of a container, where the kernel has AppArmor: one that is loaded, since there is none of our own.
fn apparmor(security: &SecurityContext, machine: &Machine) -> Result<Option<String>> {
    let Some(loaded) = machine.apparmor.as_ref().filter(|_| !security.privileged) else { return Ok(None) };
    let usual = || USUAL_PROFILES.into_iter().find(|name| loaded.iter().any(|one| one == name));
    match security.apparmor.as_deref() {
        None => Ok(usual().map(str::to_owned)),
        Some("unconfined") => Ok(None),
        Some(APPARMOR_DEFAULT) => usual().map(str::to_owned).map(Some).ok_or_else(|| {
            invalid(format!("no default AppArmor profile is loaded: none of {}", USUAL_PROFILES.join(", ")))
        }),
        Some(name) if loaded.iter().any(|one| one == name) => Ok(Some(name.to_owned())),
        Some(name) => Err(invalid(format!("the AppArmor profile {name} is not loaded on this machine"))),
    }
}

/// What runs: a command of the pod's takes the place of all that the image says, arguments only that of the image's own.
fn arguments(spec: &ContainerSpec, image: &Defaults) -> Result<Vec<String>> {
    let listed = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (mut words, rest) = match spec.command.is_empty() {
        false => (spec.command.clone(), spec.args.clone()),
        true if spec.args.is_empty() => (listed(&image.entrypoint), listed(&image.cmd)),
        true => (listed(&image.entrypoint), spec.args.clone()),
    };
    words.extend(rest);
    match words.is_empty() {
        false => Ok(words),
        true => Err(invalid(format!(
            "container {:?} has no command, and neither has its image {:?}",
            spec.meta.name, spec.image
        ))),
    }
}

/// The image's environment, and over it the pod's.
fn environment(spec: &ContainerSpec, image: &Defaults, shared: &Shared) -> Vec<String> {
    let mut all: Vec<(String, String)> = vec![("PATH".into(), PATH.into())];
    if spec.tty {
        all.push(("TERM".into(), "xterm".into()));
    }
    if !shared.hostname.is_empty() {
        all.push(("HOSTNAME".into(), shared.hostname.clone()));
    }
    let of_image = image.env.iter().flatten().filter_map(|one| one.split_once('='));
    let of_image = of_image.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in of_image.chain(spec.env.iter().cloned()) {
        match all.iter_mut().find(|(held, _)| *held == name) {
            Some((_, held)) => *held = value,
            None => all.push((name, value)),
        }
    }
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn working_dir<'a>(spec: &'a ContainerSpec, image: &'a Defaults) -> &'a str {
    let given = spec.working_dir.as_deref().filter(|dir| !dir.is_empty());
    let dir = given.unwrap_or(&image.working_dir);
    if dir.starts_with('/') { dir } else { "/" }
}

fn namespaces(shared: &Shared, machine: &Machine) -> Value {
    let mut all = vec![json!({"type": "mount"})];
    let joined = [("network", &shared.network), ("ipc", &shared.ipc), ("uts", &shared.uts)];
    all.extend(
        joined.into_iter().filter_map(|(kind, path)| Some(json!({"type": kind, "path": path.as_ref()?}))),
    );
    match &shared.processes {
        Processes::Own => all.push(json!({"type": "pid"})),
        Processes::Of(path) => all.push(json!({"type": "pid", "path": path})),
        Processes::Machine => {}
    }
    if machine.unified {
        all.push(json!({"type": "cgroup"}));
    }
    all.into()
}

fn mounts(spec: &ContainerSpec, shared: &Shared, machine: &Machine) -> Result<Value> {
    let privileged = spec.security.privileged;
    let plain = |kind: &str, to: &str, options: &[&str]| json!({"destination": to, "type": kind, "source": kind, "options": options});
    let writable = if privileged { "rw" } else { "ro" };
    let mut all = vec![
        plain("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        plain("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        plain(
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        plain("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        plain("sysfs", "/sys", &["nosuid", "noexec", "nodev", writable]),
    ];
    if machine.cgroups {
        all.push(plain("cgroup", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "relatime", writable]));
    }
    let mounted = |to: &str| spec.mounts.iter().any(|mount| mount.container_path == to);
    let own = [
        ("/dev/shm", &shared.shm),
        ("/etc/resolv.conf", &shared.resolv_conf),
        ("/etc/hostname", &shared.hostname_file),
    ];
    for (to, from) in own {
        if let Some(from) = from.as_ref().filter(|_| !mounted(to)) {
            all.push(json!({"destination": to, "type": "bind", "source": from, "options": ["rbind", "rprivate", "rw"]}));
        }
    }
    let mut passed_on = 0;
    for (number, mount) in spec.mounts.iter().enumerate() {
        let mut bound = bind(mount)?;
        if shared.users.is_some() {
            bound["source"] = own_users::source(number).into();
            if let Value::Array(options) = &mut bound["options"] {
                options.extend(own_users::locked(&mount.host_path).map(Value::from));
            }
        }
        if mount.propagation == Propagation::Bidirectional {
            // From where it stays together with the machine's.
            bound["source"] = format!("{SHARED}/{passed_on}").into();
            passed_on += 1;
        }
        all.push(bound);
    }
    Ok(all.into())
}

fn bind(mount: &Mount) -> Result<Value> {
    let Mount { host_path, container_path, read_only, recursive_read_only, propagation } = mount;
    let plain = Path::new(container_path);
    if !plain.is_absolute() || plain.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(invalid(format!("mount {container_path}: it must be an absolute path without '..'")));
    }
    let propagation = match propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    };
    let write = match (*read_only, *recursive_read_only) {
        (true, true) => "rro",
        (true, false) => "ro",
        (false, _) => "rw",
    };
    Ok(json!({
        "destination": container_path,
        "type": "bind",
        "source": host_path,
        "options": ["rbind", propagation, write],
    }))
}

fn devices(spec: &ContainerSpec, machine: &Machine) -> Result<Value> {
    let mut all = Vec::new();
    let every = if spec.security.privileged { machine.devices.as_slice() } else { &[] };
    for device in every {
        all.push(device.at(&device.path));
    }
    for given in &spec.devices {
        let found = super::machine::given(&given.host_path, &given.container_path)?;
        all.extend(found.into_iter().map(|(device, inside)| device.at(&inside)));
    }
    Ok(all.into())
}

fn resources(spec: &ContainerSpec, machine: &Machine) -> Result<Value> {
    let Resources { cpu_shares, cpu_quota, cpu_period, memory_bytes, .. } = spec.resources;
    let mut cpu = json!({});
    if cpu_shares > 0 && machine.cpu_shares {
        cpu["shares"] = cpu_shares.max(2).into();
    }
    if let Some(quota) = cpu_quota.filter(|_| machine.cpu_quota) {
        cpu["quota"] = quota.into();
        cpu["period"] = if cpu_period == 0 { 100_000 } else { cpu_period }.into();
    }
    let mut memory = json!({});
    if let Some(bytes) = memory_bytes.filter(|_| machine.memory) {
        memory["limit"] = bytes.into();
        if machine.swap {
            memory["swap"] = bytes.into();
        }
    }
    let allowed = match spec.security.privileged {
        true => vec![json!({"allow": true, "access": "rwm"})],
        false => {
            let mut all = vec![json!({"allow": false, "access": "rwm"})];
            for given in &spec.devices {
                let found = super::machine::given(&given.host_path, &given.container_path)?;
                all.extend(found.into_iter().map(|(device, _)| device.allowed(&given.permissions)));
            }
            all
        }
    };
    Ok(json!({"cpu": cpu, "memory": memory, "devices": allowed}))
}

/// Whom a container runs as, as far as it is known before its image's list of users is read.
pub(crate) fn user(security: &SecurityContext, image: &Defaults) -> Result<Wanted> {
    let number = |id: i64| u32::try_from(id).map_err(|_| invalid(format!("{id} is no user or group")));
    Ok(Wanted {
        image: image.user.clone(),
        uid: security.run_as_user.map(number).transpose()?,
        gid: security.run_as_group.map(number).transpose()?,
        groups: security.supplemental_groups.iter().map(|group| number(*group)).collect::<Result<_>>()?,
        strict: security.strict_groups,
    })
}

#[cfg(test)]
mod tests;
