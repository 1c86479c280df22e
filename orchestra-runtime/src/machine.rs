//! The machine we are on, read from `/proc`, `/sys` and `/etc`.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use orchestra_core::runtime::{DiskStats, MachineInfo, MachineStats, Result, RuntimeError};

/// Reads what there is to know; what cannot be read is left as [`MachineInfo::default`] has it. `storage` is a folder on
/// the disk whose size counts.
pub(crate) fn read(storage: &Path) -> MachineInfo {
    let fallback = MachineInfo::default();
    let machine_id = line("/etc/machine-id");
    MachineInfo {
        cpu_millis: std::thread::available_parallelism()
            .map_or(fallback.cpu_millis, |cores| cores.get() as u64 * 1000),
        memory_bytes: memory().unwrap_or(fallback.memory_bytes),
        ephemeral_storage_bytes: disk(storage).unwrap_or(fallback.ephemeral_storage_bytes),
        pods: fallback.pods,
        os: std::env::consts::OS.into(),
        arch: architecture().into(),
        kernel_version: line("/proc/sys/kernel/osrelease"),
        os_image: os_image().unwrap_or_else(|| "Linux".into()),
        system_uuid: Some(line("/sys/class/dmi/id/product_uuid"))
            .filter(|uuid| !uuid.is_empty())
            .unwrap_or_else(|| machine_id.clone()),
        machine_id,
        boot_id: line("/proc/sys/kernel/random/boot_id"),
        hostname: line("/proc/sys/kernel/hostname"),
    }
}

/// Whether this machine labels nothing by SELinux. What a pod asks for of that then makes no difference, and is no reason to
/// refuse it: so it is with every runtime of Kubernetes.
pub(crate) fn has_no_selinux() -> bool {
    !Path::new("/sys/fs/selinux/enforce").exists()
}

/// The architecture as Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn line(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

fn memory() -> Option<u64> {
    memory_of(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")
}

/// A figure of `/proc/meminfo`, in bytes.
fn memory_of(text: &str, name: &str) -> Option<u64> {
    let figure = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: u64 = figure.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// What of the machine is in use. `storage` is a folder on the disk that counts.
pub(crate) fn stats(storage: &Path) -> Result<MachineStats> {
    let unread = |path: &str, error: std::io::Error| RuntimeError::Failed {
        message: format!("the figures of this machine cannot be read: {path}: {error}"),
    };
    let text = |path: &str| std::fs::read_to_string(path).map_err(|error| unread(path, error));
    let at = Timestamp::now();
    let (cpu, uptime) = (text("/proc/stat")?, text("/proc/uptime")?);
    let loads = text("/proc/loadavg")?;
    let disk =
        rustix::fs::statvfs(storage).map_err(|error| unread(&storage.display().to_string(), error.into()))?;
    let memory = memory_in_use(&text("/proc/meminfo")?);
    Ok(MachineStats {
        at,
        started_at: uptime
            .split('.')
            .next()
            .and_then(|seconds| at.checked_sub(SignedDuration::from_secs(seconds.parse().ok()?)).ok()),
        cpu_nanos: cpu_nanos(&cpu),
        memory_working_set_bytes: memory.total.saturating_sub(memory.available),
        memory_usage_bytes: memory.total.saturating_sub(memory.free),
        memory_available_bytes: memory.available,
        disk: DiskStats {
            capacity_bytes: disk.f_blocks.saturating_mul(disk.f_frsize),
            available_bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
            inodes: disk.f_files,
            inodes_free: disk.f_favail,
        },
        processes: processes(&loads),
        most_processes: line("/proc/sys/kernel/pid_max").parse().unwrap_or(0),
    })
}

/// What of the memory is in use.
struct Memory {
    total: u64,
    free: u64,
    available: u64,
}

fn memory_in_use(text: &str) -> Memory {
    let figure = |name| memory_of(text, name).unwrap_or(0);
    Memory { total: figure("MemTotal"), free: figure("MemFree"), available: figure("MemAvailable") }
}

/// Processor time that was not idle, of all cores: the first line of `/proc/stat`, in hundredths of a second. The time of
/// guests is counted as that of users already.
fn cpu_nanos(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let figures: Vec<u64> = line.split_whitespace().map_while(|figure| figure.parse().ok()).collect();
    let busy = |index: &usize| ![3, 4].contains(index) && *index < 8;
    let ticks: u64 =
        figures.iter().enumerate().filter(|(index, _)| busy(index)).map(|(_, ticks)| ticks).sum();
    ticks.saturating_mul(10_000_000)
}

/// How many processes and threads there are: what follows the slash in `/proc/loadavg`.
fn processes(text: &str) -> u64 {
    let figure = text.split_whitespace().nth(3).and_then(|both| both.split_once('/')?.1.parse().ok());
    figure.unwrap_or(0)
}

/// Whether the kernel confines processes by AppArmor.
pub(crate) fn has_apparmor() -> bool {
    line("/sys/module/apparmor/parameters/enabled") == "Y"
}

fn disk(path: &Path) -> Option<u64> {
    let shown = rustix::fs::statvfs(path).ok()?;
    shown.f_blocks.checked_mul(shown.f_frsize)
}

fn os_image() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_taken_from_the_kernels_words() {
        let stat = "cpu  100 5 20 9000 70 1 2 3 50 4\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(cpu_nanos(stat), 131 * 10_000_000, "neither idle nor waiting nor guests");
        assert_eq!(cpu_nanos(""), 0);
        assert_eq!((processes("0.1 0.2 0.3 2/345 9999"), processes("odd")), (345, 0));
        let memory = memory_in_use("MemTotal: 100 kB\nMemFree:  10 kB\nMemAvailable: 60 kB\n");
        assert_eq!((memory.total, memory.free, memory.available), (102_400, 10_240, 61_440));
    }

    #[test]
    fn this_machine_is_in_use() {
        let stats = stats(Path::new("/")).unwrap();
        assert!(stats.cpu_nanos > 0 && stats.processes > 0 && stats.most_processes > stats.processes);
        assert!(stats.memory_available_bytes > 0 && stats.memory_working_set_bytes > 0);
        assert!(stats.disk.capacity_bytes >= stats.disk.available_bytes && stats.disk.capacity_bytes > 0);
        assert!(super::stats(Path::new("/no/such/folder")).is_err());
    }

    #[test]
    fn this_machine_has_something_to_give() {
        let machine = read(Path::new("/"));
        assert!(machine.cpu_millis >= 1000 && machine.memory_bytes > 64 << 20, "{machine:?}");
        assert!(machine.ephemeral_storage_bytes > 0 && !machine.kernel_version.is_empty(), "{machine:?}");
        assert!(!machine.hostname.is_empty() && !machine.boot_id.is_empty(), "{machine:?}");
    }
}
