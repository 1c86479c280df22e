//! What memory of the kernel this program has, told by a control group of its own.

use std::fs;
use std::path::PathBuf;

/// A control group of this program, left when it is dropped.
pub(crate) struct Group {
    folder: PathBuf,
    before: PathBuf,
}

impl Group {
    /// `None` where memory is not told by control groups, or they cannot be made.
    pub(crate) fn enter() -> Option<Self> {
        let here = fs::read_to_string("/proc/self/cgroup").ok()?;
        let of =
            |line: &str| line.split_once("memory:").map(|(_, path)| path.trim_start_matches('/').to_owned());
        let (top, before) = match here.lines().find_map(of) {
            Some(path) => (PathBuf::from("/sys/fs/cgroup/memory"), path),
            None => {
                let path = here.lines().find_map(|line| line.strip_prefix("0::/"))?;
                (PathBuf::from("/sys/fs/cgroup"), path.to_owned())
            }
        };
        let group = Self {
            folder: top.join(format!("orchestra-bench-{}", std::process::id())),
            before: top.join(before),
        };
        fs::create_dir(&group.folder).ok()?;
        fs::write(group.folder.join("cgroup.procs"), std::process::id().to_string()).ok()?;
        Some(group)
    }

    /// Bytes that the kernel has for this program, beside its pages.
    pub(crate) fn kernel(&self) -> Option<u64> {
        if let Ok(bytes) = fs::read_to_string(self.folder.join("memory.kmem.usage_in_bytes")) {
            return bytes.trim().parse().ok();
        }
        let figures = fs::read_to_string(self.folder.join("memory.stat")).ok()?;
        figures.lines().find_map(|line| line.strip_prefix("kernel "))?.parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.before.join("cgroup.procs"), std::process::id().to_string());
        let _ = fs::remove_dir(&self.folder);
    }
}
