//! Limits by control groups, of both versions, where we may make them.
//!
//! A container's group is `orchestra/<container id>` under each hierarchy, or below that of its pod, where the pod has one. A
//! machine that gives us none limits nothing, and the runtime's capabilities say so.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use orchestra_core::runtime::Resources;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

const MOUNT: &str = "/sys/fs/cgroup";
const PARENT: &str = "orchestra";

/// What a process may use; absent where nothing is limited or nothing can be.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) cpu_shares: u64,
    pub(crate) cpu_quota: Option<i64>,
    pub(crate) cpu_period: u64,
    pub(crate) memory_bytes: Option<i64>,
}

impl Limits {
    pub(crate) fn new(resources: &Resources) -> Self {
        Self {
            cpu_shares: resources.cpu_shares,
            cpu_quota: resources.cpu_quota,
            cpu_period: resources.cpu_period,
            memory_bytes: resources.memory_bytes,
        }
    }
}

/// How control groups are mounted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

fn version() -> Option<Version> {
    if Path::new(MOUNT).join("cgroup.controllers").exists() {
        return Some(Version::Two);
    }
    Path::new(MOUNT).join("memory/cgroup.procs").exists().then_some(Version::One)
}

/// The folders of a container's groups.
fn folders(group: &Path) -> Vec<PathBuf> {
    match version() {
        Some(Version::Two) => vec![Path::new(MOUNT).join(PARENT).join(group)],
        Some(Version::One) => ["memory", "cpu", "cpuacct"]
            .map(|name| Path::new(MOUNT).join(name).join(PARENT).join(group))
            .into(),
        None => Vec::new(),
    }
}

/// Whether groups can be made here.
pub(crate) fn usable() -> bool {
    let probe = format!("probe-{}", std::process::id());
    let made = make(Path::new(&probe), &Limits { memory_bytes: Some(64 << 20), ..Limits::default() });
    remove(Path::new(&probe));
    made.is_ok()
}

/// The group of a container, below that of its pod if that has one.
pub(crate) fn of(pod: Option<&str>, container: &OsStr) -> PathBuf {
    pod.map(Path::new).unwrap_or(Path::new("")).join(container)
}

/// Makes groups with their limits.
pub(crate) fn make(group: &Path, limits: &Limits) -> io::Result<()> {
    if version() == Some(Version::Two) {
        let below = Path::new(MOUNT).join(PARENT).join(group);
        let above: Vec<&Path> =
            below.ancestors().skip(1).take_while(|path| path.starts_with(MOUNT)).collect();
        for folder in above.into_iter().rev() {
            fs::create_dir_all(folder)?;
            fs::write(folder.join("cgroup.subtree_control"), "+cpu +memory")?;
        }
    }
    let folders = folders(group);
    if folders.is_empty() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "no control groups"));
    }
    for folder in &folders {
        fs::create_dir_all(folder)?;
    }
    write(&folders, limits)
}

/// Sets the limits of a container that runs.
pub(crate) fn update(group: &Path, limits: &Limits) -> io::Result<()> {
    let folders = folders(group);
    if !folders.first().is_some_and(|folder| folder.exists()) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "no control groups"));
    }
    // In version one memory with swap is never less than memory: which goes first depends on which way they go.
    write(&folders, limits).or_else(|_| {
        let mut all = settings(&folders, limits);
        all.reverse();
        all.into_iter().try_for_each(set)
    })
}

fn write(folders: &[PathBuf], limits: &Limits) -> io::Result<()> {
    settings(folders, limits).into_iter().try_for_each(set)
}

fn set((folder, file, value): (&Path, &'static str, String)) -> io::Result<()> {
    let path = folder.join(file);
    if path.exists() { fs::write(path, value) } else { Ok(()) }
}

fn settings<'a>(folders: &'a [PathBuf], limits: &Limits) -> Vec<(&'a Path, &'static str, String)> {
    let mut all = Vec::new();
    let period = if limits.cpu_period == 0 { 100_000 } else { limits.cpu_period };
    match folders {
        [one] => {
            if limits.cpu_shares > 0 {
                // From shares of 2..=262144 to a weight of 1..=10000, as runtimes do.
                let weight = 1 + (limits.cpu_shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
                all.push((one.as_path(), "cpu.weight", weight.to_string()));
            }
            if let Some(quota) = limits.cpu_quota {
                all.push((one, "cpu.max", format!("{quota} {period}")));
            }
            if let Some(bytes) = limits.memory_bytes {
                all.push((one, "memory.max", bytes.to_string()));
                all.push((one, "memory.swap.max", "0".into()));
                all.push((one, "memory.oom.group", "1".into()));
            }
        }
        [memory, cpu, ..] => {
            if let Some(bytes) = limits.memory_bytes {
                all.push((memory.as_path(), "memory.limit_in_bytes", bytes.to_string()));
                all.push((memory, "memory.memsw.limit_in_bytes", bytes.to_string()));
            }
            if limits.cpu_shares > 0 {
                all.push((cpu, "cpu.shares", limits.cpu_shares.max(2).to_string()));
            }
            if let Some(quota) = limits.cpu_quota {
                all.push((cpu, "cpu.cfs_period_us", period.to_string()));
                all.push((cpu, "cpu.cfs_quota_us", quota.to_string()));
            }
        }
        _ => {}
    }
    all
}

/// Removes the groups of a container, once what was killed in them is gone.
pub(crate) fn remove(group: &Path) {
    folders(group).iter().for_each(|folder| remove_folder(folder));
}

/// Removes groups in whichever hierarchies whoever ran containers below them has made them.
pub(crate) fn remove_everywhere(group: &Path) {
    let own = Path::new(PARENT).join(group);
    remove_folder(&Path::new(MOUNT).join(&own));
    for hierarchy in fs::read_dir(MOUNT).into_iter().flatten().flatten() {
        remove_folder(&hierarchy.path().join(&own));
    }
}

fn remove_folder(folder: &Path) {
    for _ in 0..200 {
        match fs::remove_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            _ => break,
        }
    }
}

/// Kills everything in a container, however often it starts another process meanwhile.
pub(crate) fn kill(group: &Path) {
    let Some(folder) = folders(group).into_iter().next() else { return };
    if fs::write(folder.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    for _ in 0..100 {
        let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        let members: Vec<Pid> =
            members.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
        if members.is_empty() {
            return;
        }
        for member in members {
            let _ = rustix::process::kill_process(member, Signal::KILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Whether the kernel has killed something in the container because it used more memory than it may.
pub(crate) fn killed_for_memory(group: &Path) -> bool {
    folders(group).first().is_some_and(|folder| {
        ["memory.events", "memory.oom_control"]
            .iter()
            .filter_map(|file| fs::read_to_string(folder.join(file)).ok())
            .any(|text| {
                text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count != "0")
            })
    })
}

/// Processor time in nanoseconds and memory in use, of all that is in the container.
pub(crate) fn usage(group: &Path) -> Option<(u64, u64)> {
    let figure = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let named = |path: PathBuf, name: &str| {
        let text = fs::read_to_string(path).ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    match version()? {
        Version::Two => {
            let folder = Path::new(MOUNT).join(PARENT).join(group);
            let idle = named(folder.join("memory.stat"), "inactive_file ").unwrap_or_default();
            let cpu = named(folder.join("cpu.stat"), "usage_usec ")? * 1000;
            Some((cpu, figure(folder.join("memory.current"))?.saturating_sub(idle)))
        }
        Version::One => {
            let memory = Path::new(MOUNT).join("memory").join(PARENT).join(group);
            let idle = named(memory.join("memory.stat"), "total_inactive_file ").unwrap_or_default();
            let used = figure(memory.join("memory.usage_in_bytes"))?.saturating_sub(idle);
            let cpu =
                figure(Path::new(MOUNT).join("cpuacct").join(PARENT).join(group).join("cpuacct.usage"))?;
            Some((cpu, used))
        }
    }
}

/// Where a group is, as runtimes are told.
pub(crate) fn path(group: &Path) -> String {
    format!("/{PARENT}/{}", group.display())
}

/// The groups of a container, open to be joined.
#[derive(Debug)]
pub(crate) struct Cgroups {
    members: Vec<File>,
}

impl Cgroups {
    /// Opens what groups there are.
    pub(crate) fn open(group: &Path) -> io::Result<Self> {
        let members = folders(group)
            .into_iter()
            .filter_map(|folder| File::options().write(true).open(folder.join("cgroup.procs")).ok())
            .collect();
        Ok(Self { members })
    }

    /// Moves the calling process into them.
    pub(crate) fn join(&self) -> io::Result<()> {
        self.members.iter().try_for_each(|mut file| file.write_all(b"0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_in_both_versions() {
        let limits = Limits {
            cpu_shares: 512,
            cpu_quota: Some(50_000),
            cpu_period: 100_000,
            memory_bytes: Some(1 << 20),
        };
        let shown = |folders: &[PathBuf]| {
            settings(folders, &limits)
                .into_iter()
                .map(|(folder, file, value)| format!("{}/{file}={value}", folder.display()))
                .collect::<Vec<_>>()
                .join("\n")
        };
        insta::assert_snapshot!(shown(&["two".into()]), @r"
        two/cpu.weight=20
        two/cpu.max=50000 100000
        two/memory.max=1048576
        two/memory.swap.max=0
        two/memory.oom.group=1
        ");
        insta::assert_snapshot!(shown(&["memory".into(), "cpu".into(), "cpuacct".into()]), @r"
        memory/memory.limit_in_bytes=1048576
        memory/memory.memsw.limit_in_bytes=1048576
        cpu/cpu.shares=512
        cpu/cpu.cfs_period_us=100000
        cpu/cpu.cfs_quota_us=50000
        ");
        assert_eq!(settings(&["two".into()], &Limits::default()).len(), 0);
    }
}
