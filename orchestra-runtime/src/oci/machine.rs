//! What of this machine matters to containers.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use orchestra_core::runtime::Result;
use rustix::thread::CapabilitySet;
use serde_json::{Value, json};

use super::invalid;

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    /// Control groups are in one tree.
    pub(crate) unified: bool,
    /// There are control groups at all.
    pub(crate) cgroups: bool,
    /// What they limit.
    pub(crate) memory: bool,
    pub(crate) swap: bool,
    pub(crate) cpu_shares: bool,
    pub(crate) cpu_quota: bool,
    /// The capabilities that this program may have, as bits.
    pub(crate) capabilities: u64,
    /// How willingly the kernel ends this program.
    pub(crate) own_oom_score_adj: i32,
    /// The AppArmor profiles that are loaded, where the kernel has AppArmor.
    pub(crate) apparmor: Option<Vec<String>>,
    /// Its devices, for those who get all of them.
    pub(crate) devices: Vec<Device>,
}

/// A device of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) path: String,
    block: bool,
    major: u32,
    minor: u32,
    mode: u32,
    uid: u32,
    gid: u32,
}

const CGROUPS: &str = "/sys/fs/cgroup";
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";

/// The profiles in a list, such as `docker-default (enforce)`.
fn profiles(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| Some(line.rsplit_once(" (")?.0.to_owned())).collect()
}

impl Machine {
    pub(crate) fn look() -> Self {
        let there = |path: &str| Path::new(CGROUPS).join(path).exists();
        let controllers = fs::read_to_string(Path::new(CGROUPS).join("cgroup.controllers"));
        let unified = controllers.is_ok();
        let controllers = controllers.unwrap_or_default();
        let has = |name: &str| controllers.split_whitespace().any(|one| one == name);
        let memory = has("memory") || there("memory/memory.limit_in_bytes");
        let held =
            |one: &CapabilitySet| rustix::thread::capability_is_in_bounding_set(*one).unwrap_or_default();
        let capabilities: CapabilitySet =
            CapabilitySet::all().iter_names().map(|(_, one)| one).filter(held).collect();
        let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
        Self {
            unified,
            cgroups: unified || memory,
            memory,
            swap: unified || there("memory/memory.memsw.limit_in_bytes"),
            cpu_shares: has("cpu") || there("cpu/cpu.shares"),
            cpu_quota: has("cpu") || there("cpu/cpu.cfs_quota_us"),
            capabilities: capabilities.bits(),
            own_oom_score_adj: own.trim().parse().unwrap_or_default(),
            apparmor: crate::machine::has_apparmor().then(|| profiles(PROFILES)),
            devices: devices(Path::new("/dev")),
        }
    }

    /// How willingly the kernel is to end a container: less so than this program only if this program may say so.
    pub(crate) fn oom_score_adj(&self, wanted: i32) -> i32 {
        let may = CapabilitySet::from_bits_retain(self.capabilities).contains(CapabilitySet::SYS_RESOURCE);
        if may { wanted } else { wanted.max(self.own_oom_score_adj) }
    }
}

impl Device {
    /// The device at a path of a container.
    pub(crate) fn at(&self, path: &str) -> Value {
        let (kind, mode) = (self.kind(), self.mode & 0o777);
        json!({
            "path": path, "type": kind, "major": self.major, "minor": self.minor,
            "fileMode": mode, "uid": self.uid, "gid": self.gid,
        })
    }

    /// That a container may do with it what these letters say; everything, if none do.
    pub(crate) fn allowed(&self, permissions: &str) -> Value {
        let access = if permissions.is_empty() { "rwm" } else { permissions };
        json!({"allow": true, "type": self.kind(), "major": self.major, "minor": self.minor, "access": access})
    }

    fn kind(&self) -> &'static str {
        if self.block { "b" } else { "c" }
    }
}

/// A device of the machine by its path.
pub(crate) fn device(path: &Path) -> Result<Device> {
    let found = fs::metadata(path).map_err(|error| invalid(format!("device {}: {error}", path.display())))?;
    let kind = found.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return Err(invalid(format!("{} is no device", path.display())));
    }
    Ok(Device {
        path: path.to_string_lossy().into_owned(),
        block: kind.is_block_device(),
        major: rustix::fs::major(found.rdev()),
        minor: rustix::fs::minor(found.rdev()),
        mode: found.mode(),
        uid: found.uid(),
        gid: found.gid(),
    })
}

/// A device of the machine, or all in a folder, with where they are in a container.
pub(crate) fn given(path: &Path, inside: &str) -> Result<Vec<(Device, String)>> {
    if !path.is_dir() {
        return Ok(vec![(device(path)?, inside.to_owned())]);
    }
    let place = |device: Device| {
        let below = Path::new(&device.path).strip_prefix(path).ok()?.to_str()?.to_owned();
        Some((device, format!("{}/{below}", inside.trim_end_matches('/'))))
    };
    Ok(devices(path).into_iter().filter_map(place).collect())
}

/// The devices in a folder, but those that each container has of its own.
fn devices(folder: &Path) -> Vec<Device> {
    const OWN: [&str; 6] = ["pts", "shm", "mqueue", "console", "ptmx", "fd"];
    let mut found = Vec::new();
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let own = path.file_name().and_then(|name| name.to_str()).is_none_or(|name| OWN.contains(&name));
        match fs::symlink_metadata(&path) {
            Ok(_) if own => {}
            Ok(meta) if meta.is_dir() => found.extend(devices(&path)),
            Ok(meta) if !meta.is_symlink() => found.extend(device(&path)),
            _ => {}
        }
    }
    found.sort_by(|one: &Device, other| one.path.cmp(&other.path));
    found
}

/// The program of a name in the usual folders.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    std::env::split_paths(&given).chain(usual).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_devices() {
        let null = device(Path::new("/dev/null")).unwrap();
        assert_eq!((null.major, null.minor, null.kind()), (1, 3, "c"));
        assert!(device(Path::new("/etc")).is_err() && device(Path::new("/no/such")).is_err());
        assert!(devices(Path::new("/dev")).contains(&null));
        let all = given(Path::new("/dev"), "/of/machine/").unwrap();
        assert!(all.contains(&(null, "/of/machine/null".to_owned())), "{all:?}");
    }

    #[test]
    fn nobody_is_kept_longer_than_this_program_may_say() {
        let without = Machine { own_oom_score_adj: 10, ..Machine::default() };
        let with = Machine { capabilities: CapabilitySet::SYS_RESOURCE.bits(), ..without.clone() };
        assert_eq!(
            (without.oom_score_adj(-900), without.oom_score_adj(500), with.oom_score_adj(-900)),
            (10, 500, -900)
        );
    }
}
