//! The machine we are on, read from `/proc`, `/sys` and `/etc`.

use std::path::Path;

use orchestra_core::runtime::MachineInfo;

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
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let figure = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = figure.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
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
    fn this_machine_has_something_to_give() {
        let machine = read(Path::new("/"));
        assert!(machine.cpu_millis >= 1000 && machine.memory_bytes > 64 << 20, "{machine:?}");
        assert!(machine.ephemeral_storage_bytes > 0 && !machine.kernel_version.is_empty(), "{machine:?}");
        assert!(!machine.hostname.is_empty() && !machine.boot_id.is_empty(), "{machine:?}");
    }
}
