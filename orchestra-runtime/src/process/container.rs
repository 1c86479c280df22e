//! The lives of containers.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use orchestra_core::runtime::{
    Container, ContainerId, ContainerSpec, ContainerState, ContainerStats, Device, EventKind, Exit, Filter,
    Propagation, Result, RuntimeError, RuntimeEvent, SandboxId, names,
};
use rustix::fs::OFlags;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::disk::id;
use super::launch::Launch;
use super::record::{ContainerDir, ContainerRecord, ExitRecord, How, SandboxRecord, failed};
use super::rootfs::MountRecord;
use super::supervise::Report;
use super::{ProcessRuntime, blocking, capabilities, home, watch};
use crate::cgroup::{self, Limits};
use crate::cri_log;

/// Where programs are looked for when the container does not say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What programs take their terminal for.
pub(super) const TERM: &str = "xterm";
/// Where programs look up how names are looked up.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long a process may take to die of SIGKILL.
const EXIT_TIMEOUT: Duration = Duration::from_secs(30);

impl ProcessRuntime {
    pub(super) async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId> {
        let (inner, sandbox_id, wanted) = (self.inner.clone(), sandbox.clone(), spec.clone());
        self.add_container(sandbox, spec, move |_, owner| {
            let resolv_conf = match inner.abilities.mounts {
                true => inner.disk.resolv_conf(sandbox_id.as_str(), owner)?,
                false => None,
            };
            Ok((How::Process(Box::new(launch(&wanted, owner, resolv_conf, inner.abilities)?)), ()))
        })
        .await
    }

    /// Makes a container. How it is to be started is said of its id and its sandbox, and what comes with that is kept until
    /// it is made.
    pub(crate) async fn add_container<G>(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
        how: impl FnOnce(&str, &SandboxRecord) -> Result<(How, G)> + Send + 'static,
    ) -> Result<ContainerId> {
        let (inner, sandbox, spec) = (self.inner.clone(), sandbox.clone(), spec.clone());
        blocking(move || {
            let owner = inner.disk.sandbox(sandbox.as_str())?;
            if !owner.is_ready(&inner.boot_id) {
                return Err(RuntimeError::NotRunning { id: sandbox.to_string() });
            }
            let attempt = spec.meta.attempt.to_string();
            let id = id(&spec.meta.name, &[sandbox.as_str(), &spec.meta.name, &attempt]);
            let (how, _kept) = how(&id, &owner)?;
            let record = ContainerRecord::new(sandbox.as_str(), &spec, how);
            match inner.disk.add_container(&id, &record)? {
                true => Ok(ContainerId::from(id)),
                false => Err(RuntimeError::AlreadyExists {
                    what: "container",
                    name: names::container(&owner.meta().pod, &spec.meta),
                }),
            }
        })
        .await
    }

    async fn find(&self, id: &str) -> Result<(ContainerDir, ContainerRecord)> {
        let (disk, id) = (self.inner.disk.clone(), id.to_owned());
        blocking(move || disk.container(&id)).await
    }

    /// A container's folder and state.
    pub(crate) async fn state(&self, id: &str) -> Result<(ContainerDir, ContainerRecord, ContainerState)> {
        let (dir, record) = self.find(id).await?;
        blocking(move || {
            let state = state(&dir).map_err(failed)?;
            Ok((dir, record, state))
        })
        .await
    }

    pub(crate) async fn start_container(&self, id: &ContainerId) -> Result<()> {
        let (dir, record, state) = self.state(id.as_str()).await?;
        match state {
            ContainerState::Running { .. } => return Ok(()),
            ContainerState::Created => {}
            _ => return Err(RuntimeError::Failed { message: format!("container {id} has run already") }),
        }
        let shim = self.inner.helper.command(&[OsStr::new("supervise"), dir.0.as_os_str()]);
        let mut shim = tokio::process::Command::from(shim);
        shim.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shim = shim.spawn().map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = shim.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).await.map_err(failed)?;
        }
        // Where nobody waits for it, tokio takes it in when it ends.
        match serde_json::from_str(&line) {
            Ok(Report::Started) => {
                let pod = self.inner.disk.sandbox(&record.sandbox).map(|sandbox| sandbox.meta().pod)?;
                let started = RuntimeEvent { pod: pod.clone(), kind: EventKind::Started(id.clone()) };
                let _ = self.inner.events.send(started);
                self.watch(id.clone(), dir, pod, Some(shim));
                Ok(())
            }
            Ok(Report::Failed { code, message }) => {
                Err(RuntimeError::StartFailed { message, exit_code: code })
            }
            Err(_) => Err(RuntimeError::Failed { message: "the container's shim died".into() }),
        }
    }

    pub(crate) async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let (dir, record) = self.find(id).await?;
        if !grace.is_zero() {
            send(&dir, stop_signal(record.stop_signal.as_deref()))?;
            if tokio::time::timeout(grace, watch::ended(&dir)).await.is_ok_and(|ended| ended.is_ok()) {
                return Ok(());
            }
        }
        let died = async {
            // Again and again: a shim that is just starting does not read its pipe yet.
            loop {
                send(&dir, Signal::KILL)?;
                if let Ok(ended) = tokio::time::timeout(Duration::from_millis(200), watch::ended(&dir)).await
                {
                    return ended;
                }
            }
        };
        tokio::time::timeout(EXIT_TIMEOUT, died)
            .await
            .unwrap_or(Err(RuntimeError::Timeout { after: EXIT_TIMEOUT }))
    }

    pub(crate) async fn remove_container(&self, id: &ContainerId) -> Result<()> {
        // A shim that was started by an agent that is gone may not hold its container yet. Then we do.
        let (record, lock) = loop {
            match self.stop_container(id.as_str(), Duration::ZERO).await {
                Err(error) if error.is_not_found() => return Ok(()),
                other => other?,
            }
            let (dir, record) = self.find(id.as_str()).await?;
            if let Some(lock) = blocking(move || dir.try_lock().map_err(failed)).await? {
                break (record, lock);
            }
        };
        let (disk, text) = (self.inner.disk.clone(), id.to_string());
        let sandbox = blocking(move || {
            let _lock = lock;
            for file in cri_log::files(record.how.log()).unwrap_or_default() {
                let _ = std::fs::remove_file(file);
            }
            // Which is there for this container alone, and stays while another life of it has logs.
            if let Some(folder) = record.how.log().parent() {
                let _ = std::fs::remove_dir(folder);
            }
            record.how.take_away(OsStr::new(&text)); // the shim has, unless it was killed
            disk.remove_container(&text)?;
            Ok(disk.sandbox(&record.sandbox).ok())
        })
        .await?;
        if let Some(sandbox) = sandbox {
            let removed = EventKind::Removed(id.clone());
            let _ = self.inner.events.send(RuntimeEvent { pod: sandbox.meta().pod, kind: removed });
        }
        Ok(())
    }

    pub(crate) async fn stats(&self, filter: &Filter) -> Result<Vec<ContainerStats>> {
        let sandboxes = self.list(filter).await?;
        let disk = self.inner.disk.clone();
        blocking(move || {
            let mut all = Vec::new();
            for sandbox in sandboxes {
                for container in sandbox.containers.into_iter().filter(|one| one.state.is_running()) {
                    let Ok((dir, record)) = disk.container(container.id.as_str()) else { continue };
                    let usage = cgroup::usage(&record.how.group(OsStr::new(container.id.as_str())));
                    let Some((cpu_nanos, memory_working_set_bytes)) = usage else { continue };
                    all.push(ContainerStats {
                        pod: sandbox.meta.pod.clone(),
                        container: container.meta.name,
                        at: Timestamp::now(),
                        cpu_nanos,
                        memory_working_set_bytes,
                        disk_bytes: match record.how {
                            How::Process(_) => 0,
                            How::Bundle(_) => crate::oci::rootfs::written(&dir.0),
                        },
                    });
                }
            }
            Ok(all)
        })
        .await
    }
}

/// A container as it is now.
pub(super) fn observed(id: ContainerId, dir: &ContainerDir, record: &ContainerRecord) -> Result<Container> {
    Ok(Container {
        id,
        meta: record.meta(),
        state: state(dir).map_err(failed)?,
        image: record.image.clone(),
        image_id: match &record.how {
            How::Process(_) => String::new(),
            How::Bundle(bundle) => bundle.image.clone(),
        },
        created_at: record.created_at,
    })
}

fn state(dir: &ContainerDir) -> io::Result<ContainerState> {
    if let Some(exit) = dir.exit()? {
        return Ok(ContainerState::Exited(ended(exit)));
    }
    if dir.has_shim()? {
        return Ok(match dir.state()? {
            Some(state) => ContainerState::Running { started_at: state.started_at },
            None => ContainerState::Created,
        });
    }
    // It may have ended between the two looks.
    if let Some(exit) = dir.exit()? {
        return Ok(ContainerState::Exited(ended(exit)));
    }
    let Some(state) = dir.state()? else { return Ok(ContainerState::Created) };
    let exit = ExitRecord {
        code: 137,
        oom_killed: false,
        started_at: Some(state.started_at),
        finished_at: Timestamp::now(),
        reason: "ContainerStatusUnknown".into(),
        message: "the process that held the container was killed, and the container with it".into(),
    };
    // In a namespace of the shim's nothing can be left; elsewhere the control group tells what is.
    let id = dir.0.file_name().unwrap_or(OsStr::new(""));
    if let Ok(ContainerRecord { how, .. }) = dir.record() {
        cgroup::kill(&how.group(id));
        if let How::Bundle(bundle) = how {
            bundle.runc().delete(id);
        }
    }
    dir.write_exit(&exit)?;
    Ok(ContainerState::Exited(ended(exit)))
}

fn ended(exit: ExitRecord) -> Exit {
    Exit {
        code: exit.code,
        oom_killed: exit.oom_killed,
        started_at: exit.started_at,
        finished_at: exit.finished_at,
        reason: exit.reason,
        message: exit.message,
    }
}

/// Has the shim send a signal. When there is no shim there is nobody to send it to.
fn send(dir: &ContainerDir, signal: Signal) -> Result<()> {
    let opened = File::options().write(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(dir.control());
    let number = u8::try_from(signal.as_raw()).unwrap_or(9);
    match opened.and_then(|mut control| control.write_all(&[number])) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// A signal by its number or its name, with or without `SIG`; SIGTERM for none and for one that is not known.
fn stop_signal(name: Option<&str>) -> Signal {
    if let Some(signal) = name.and_then(|name| name.parse().ok()).and_then(Signal::from_named_raw) {
        return signal;
    }
    match name.map(|name| name.strip_prefix("SIG").unwrap_or(name)) {
        Some("HUP") => Signal::HUP,
        Some("INT") => Signal::INT,
        Some("QUIT") => Signal::QUIT,
        Some("ABRT") => Signal::ABORT,
        Some("KILL") => Signal::KILL,
        Some("USR1") => Signal::USR1,
        Some("USR2") => Signal::USR2,
        Some("WINCH") => Signal::WINCH,
        _ => Signal::TERM,
    }
}

fn launch(
    spec: &ContainerSpec,
    sandbox: &SandboxRecord,
    resolv_conf: Option<PathBuf>,
    can: super::Abilities,
) -> Result<Launch> {
    let invalid = |message: String| Err(RuntimeError::InvalidSpec { message });
    let Some((program, own_args)) = spec.command.split_first() else {
        return invalid(format!(
            "container {:?} has no command. The process runtime runs programs of this machine and takes nothing from \
             an image ({:?} is not used): set `command` in the pod's spec, such as command: [\"python3\", \"-m\", \
             \"http.server\"], or run the node with Docker",
            spec.meta.name, spec.image
        ));
    };
    if let Some(mount) = spec.mounts.iter().find(|mount| mount.propagation == Propagation::Bidirectional) {
        return invalid(format!("mount {}: mounts cannot be passed on to the machine", mount.container_path));
    }
    let mut mounts: Vec<MountRecord> = spec
        .mounts
        .iter()
        .filter(|mount| mount.host_path.as_os_str() != mount.container_path.as_str() || mount.read_only)
        .map(MountRecord::new)
        .collect();
    let resolv_conf = resolv_conf.filter(|_| mounts.iter().all(|mount| mount.to != RESOLV_CONF));
    mounts.extend(resolv_conf.map(|from| MountRecord {
        from,
        to: RESOLV_CONF.into(),
        read_only: false,
        receives: false,
    }));
    if let Some(mount) = mounts.first().filter(|_| !can.mounts) {
        return invalid(format!(
            "mount {}: this machine gives no mounts to a program without root; only a hostPath volume mounted at its \
             own path can be had",
            mount.to
        ));
    }
    let elsewhere = |device: &&Device| device.host_path.as_os_str() != device.container_path.as_str();
    if let Some(Device { host_path, container_path, .. }) = spec.devices.iter().find(elsewhere) {
        return invalid(format!(
            "device {container_path}: a process sees the devices of the machine where they are, this one at {}",
            host_path.display()
        ));
    }
    let security = &spec.security;
    if security.read_only_root_filesystem && !can.mounts {
        return invalid(
            "readOnlyRootFilesystem: this machine gives no mounts to a program without root".to_owned(),
        );
    }
    if security.privileged && !can.users {
        return invalid("privileged: a program without root has nothing to give".to_owned());
    }
    let without_capabilities = capabilities::without(security, can.users)?;
    Ok(Launch {
        program: program.clone(),
        args: own_args.iter().chain(&spec.args).cloned().collect(),
        env: environment(spec, sandbox),
        working_dir: spec.working_dir.clone().filter(|dir| !dir.is_empty()).unwrap_or_else(|| "/".into()),
        hostname: if sandbox.host_network { String::new() } else { sandbox.hostname.clone() },
        netns: sandbox.netns.clone(),
        mounts,
        user: user(spec, can.users)?,
        groups: spec.security.supplemental_groups.iter().filter_map(|gid| u32::try_from(*gid).ok()).collect(),
        no_new_privileges: spec.security.no_new_privileges || (!can.users && without_capabilities != 0),
        oom_score_adj: spec.resources.oom_score_adj,
        limits: Limits::new(&spec.resources),
        pod_group: sandbox.group.clone(),
        log: sandbox.log_directory.join(&spec.log_path),
        rootless: !can.users,
        own_processes: can.processes && !sandbox.shared_processes,
        read_only_root: spec.security.read_only_root_filesystem,
        without_capabilities: if can.users { without_capabilities } else { 0 },
        stdin: spec.stdin,
        stdin_once: spec.stdin_once,
        tty: spec.tty,
    })
}

fn user(spec: &ContainerSpec, can_change: bool) -> Result<Option<(u32, u32)>> {
    let number = |id: i64| {
        u32::try_from(id)
            .map_err(|_| RuntimeError::InvalidSpec { message: format!("{id} is no user or group") })
    };
    let (own, own_group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if !can_change {
        own_groups_only(&spec.security.supplemental_groups)?;
    }
    match (spec.security.run_as_user, spec.security.run_as_group) {
        (None, None) if can_change && !spec.security.supplemental_groups.is_empty() => Ok(Some((0, 0))),
        (None, None) => Ok(None),
        (user, group) if can_change => {
            Ok(Some((number(user.unwrap_or_default())?, number(group.unwrap_or_default())?)))
        }
        (user, group) => {
            let refused = |field: &str, id: i64, own: u32| RuntimeError::InvalidSpec {
                message: format!("{field}: {id}: without root every container runs with its own, {own}"),
            };
            match (user, group) {
                (Some(user), _) if number(user)? != own => Err(refused("runAsUser", user, own)),
                (_, Some(group)) if number(group)? != own_group => {
                    Err(refused("runAsGroup", group, own_group))
                }
                _ => Ok(None),
            }
        }
    }
}

/// Without root a process has the groups that we have, and no others can be given to it.
fn own_groups_only(groups: &[i64]) -> Result<()> {
    let own = rustix::process::getgroups().map_err(|error| failed(error.into()))?;
    let mut own = own.into_iter().chain([rustix::process::getegid()]).map(|group| i64::from(group.as_raw()));
    let own: std::collections::BTreeSet<i64> = own.by_ref().collect();
    match groups.iter().find(|group| !own.contains(group)) {
        None => Ok(()),
        Some(group) => Err(RuntimeError::InvalidSpec {
            message: format!("supplementalGroups or fsGroup: {group}: without root no group can be given"),
        }),
    }
}

/// What the pod says, and what an image and a container engine would have added.
fn environment(spec: &ContainerSpec, sandbox: &SandboxRecord) -> Vec<(String, String)> {
    let mut added = vec![("PATH", PATH.to_owned()), ("HOME", home::of(spec))];
    if spec.tty {
        added.push(("TERM", TERM.to_owned()));
    }
    if !sandbox.hostname.is_empty() {
        added.push(("HOSTNAME", sandbox.hostname.clone()));
    }
    if let Some(ip) = sandbox.ip {
        added.push(("POD_IP", ip.to_string()));
        if sandbox.netns.is_none() {
            // Without a network of its own a process must be told where to listen; many look here.
            added.push(("HOST", ip.to_string()));
        }
    }
    added.retain(|(name, _)| spec.env.iter().all(|(given, _)| given != name));
    let added = added.into_iter().map(|(name, value)| (name.to_owned(), value));
    added.chain(spec.env.iter().cloned()).collect()
}
