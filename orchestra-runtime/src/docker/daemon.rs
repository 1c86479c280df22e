//! The daemon itself and the machine it runs on.

use std::os::fd::AsFd;
use std::path::Path;

use bollard::models::{SystemInfo, SystemInfoCgroupDriverEnum};
use orchestra_core::runtime::{MachineInfo, MachineStats, Result, RuntimeError, RuntimeInfo};

use super::DockerRuntime;
use super::error::{self, About};
use crate::{machine, pod_group};

/// The bit of `CAP_SYS_RESOURCE` in a capability set.
const SYS_RESOURCE: u64 = 1 << 24;

/// What the daemon's machine enforces. What it does not, Docker drops without a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Security {
    /// AppArmor profiles.
    pub(super) apparmor: bool,
    /// Every container is in a user namespace of its own.
    pub(super) user_namespaces: bool,
    /// Containers can be put into control groups that were made here.
    pub(super) pod_groups: bool,
}

impl Security {
    /// From the daemon's words, such as `name=seccomp,profile=default`.
    fn read(options: &[String]) -> Self {
        let has = |name: &str| options.iter().any(|option| option.split(',').next() == Some(name));
        Self { apparmor: has("name=apparmor"), user_namespaces: has("name=userns"), pod_groups: false }
    }
}

impl DockerRuntime {
    /// What the daemon's machine enforces, and whether its images are in layers that can be mounted from here.
    pub(super) async fn daemon_security(&self) -> Result<(Security, bool)> {
        let info = self.docker.info().await.map_err(|error| error::of(About::Daemon, error))?;
        let layers = info.driver.as_deref() == Some("overlay2")
            && info.docker_root_dir.is_some_and(|root| Path::new(&root).join("overlay2").is_dir());
        let mut security = Security::read(&info.security_options.unwrap_or_default());
        // Those of systemd are systemd's to make.
        let by_files = info.cgroup_driver == Some(SystemInfoCgroupDriverEnum::CGROUPFS);
        security.pod_groups = by_files && pod_group::are_possible();
        Ok((security, layers))
    }

    pub(super) async fn info(&self) -> Result<RuntimeInfo> {
        let version = self.docker.version().await.map_err(|error| error::of(About::Daemon, error))?.version;
        Ok(RuntimeInfo { name: "docker".into(), version: version.unwrap_or_default() })
    }

    pub(super) async fn machine(&self) -> Result<MachineInfo> {
        let info = self.docker.info().await.map_err(|error| error::of(About::Daemon, error))?;
        let root = info.docker_root_dir.clone().unwrap_or_else(|| "/".into());
        let here =
            tokio::task::spawn_blocking(move || machine::read(Path::new(&root))).await.unwrap_or_default();
        Ok(as_the_daemon_sees_it(here, info))
    }

    pub(super) async fn machine_stats(&self) -> Result<MachineStats> {
        let info = self.docker.info().await.map_err(|error| error::of(About::Daemon, error))?;
        // A daemon in a container says where its own files are: then it is our disk that counts.
        let root = info.docker_root_dir.filter(|root| Path::new(root).exists()).unwrap_or_else(|| "/".into());
        match tokio::task::spawn_blocking(move || machine::stats(Path::new(&root))).await {
            Ok(stats) => stats,
            Err(error) => Err(RuntimeError::Failed { message: error.to_string() }),
        }
    }

    /// The lowest score the daemon can give a process: −1000 if it may lower one at all, else its own.
    ///
    /// Asked of the process behind the socket. What cannot be found out is assumed to be possible.
    pub(super) async fn lowest_oom_score(&self) -> i64 {
        const ANY: i64 = -1000;
        let socket = self.socket.clone();
        let asked = tokio::task::spawn_blocking(move || daemon_oom_floor(&socket));
        asked.await.ok().flatten().unwrap_or(ANY)
    }
}

fn daemon_oom_floor(socket: &Path) -> Option<i64> {
    let stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    let pid = rustix::net::sockopt::socket_peercred(stream.as_fd()).ok()?.pid.as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    if u64::from_str_radix(effective.trim(), 16).ok()? & SYS_RESOURCE != 0 {
        return None;
    }
    std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?.trim().parse().ok()
}

/// The daemon's word counts where it has one: it may be confined to less than the machine.
fn as_the_daemon_sees_it(here: MachineInfo, info: SystemInfo) -> MachineInfo {
    let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).filter(|v| *v > 0);
    MachineInfo {
        cpu_millis: positive(info.ncpu).map_or(here.cpu_millis, |cores| cores * 1000),
        memory_bytes: positive(info.mem_total).unwrap_or(here.memory_bytes),
        kernel_version: info.kernel_version.unwrap_or(here.kernel_version),
        os_image: info.operating_system.unwrap_or(here.os_image),
        ..here
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_enforces() {
        for (options, apparmor, user_namespaces) in [
            (&["name=seccomp,profile=default"][..], false, false),
            (&["name=apparmor", "name=seccomp,profile=default"], true, false),
            (&["name=seccomp,profile=name=apparmor", "name=userns"], false, true),
        ] {
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            assert_eq!(
                Security::read(&options),
                Security { apparmor, user_namespaces, pod_groups: false },
                "{options:?}"
            );
        }
    }
}
