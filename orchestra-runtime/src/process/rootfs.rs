//! A root of a container's own, made of the machine's.
//!
//! It is a temporary file system whose top folders are the machine's, bound; what is mounted goes over that, and mount
//! points that the machine does not have are made there. Below a folder of the machine that would mean to make folders
//! on the machine, so something that is ours is laid over that folder first: an overlay, or, where the machine has
//! mounted things below it, which an overlay would hide, a temporary folder with each of its entries bound. Nothing of
//! it is seen outside.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use orchestra_core::runtime::{Mount, Propagation};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};

use serde::{Deserialize, Serialize};

use crate::mounts;

/// A mount, as the port has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MountRecord {
    pub(super) from: PathBuf,
    pub(super) to: String,
    pub(super) read_only: bool,
    pub(super) receives: bool,
}

impl MountRecord {
    pub(super) fn new(mount: &Mount) -> Self {
        Self {
            from: mount.host_path.clone(),
            to: mount.container_path.clone(),
            read_only: mount.read_only,
            receives: mount.propagation != Propagation::Private,
        }
    }
}

/// Makes the root in a folder of the container's, in a mount namespace that is this process's own. With
/// `own_processes` its `/proc` shows the namespace of processes that this one is in; when it is `read_only`, only what is
/// mounted for the container, and devices, can be written.
pub(super) fn make(
    dir: &Path,
    mounts: &[MountRecord],
    own_processes: bool,
    read_only: bool,
) -> io::Result<()> {
    // What is mounted here stays here; what the machine mounts later is still seen.
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
    let root = path(dir);
    fs::create_dir_all(&root)?;
    rustix::mount::mount("tmpfs", &root, "tmpfs", MountFlags::empty(), c"mode=755")?;
    // One of the folders bound below holds this one: it shall not appear in itself.
    rustix::mount::mount_change(&root, MountPropagationFlags::UNBINDABLE)?;
    let scratch = root.join(SCRATCH);
    fs::create_dir(&scratch)?;
    // A mount of its own, as overlays refuse a layer that cannot be bound.
    rustix::mount::mount("tmpfs", &scratch, "tmpfs", MountFlags::empty(), c"mode=700")?;
    for entry in fs::read_dir("/")? {
        let path = entry?.path();
        match path.to_str() {
            Some("/dev") => mirror_devices(&path, &root.join("dev"))?,
            Some("/proc") if own_processes => {
                fs::create_dir(root.join("proc"))?;
                mount_processes(&root.join("proc"))?;
            }
            _ => mirror(&path, &root)?,
        }
    }
    if read_only {
        make_machine_read_only(&root, &scratch)?;
    }
    let mut root = Root { path: root, scratch, placed: Vec::new(), covered: Vec::new() };
    for mount in mounts {
        root.place(mount).map_err(|error| {
            let path = mount.from.display();
            io::Error::new(error.kind(), format!("mounting {path} at {}: {error}", mount.to))
        })?;
    }
    if read_only {
        // Last, as mount points are made in them.
        root.covered.iter().chain([&root.path]).try_for_each(|ours| make_read_only(ours))?;
    }
    Ok(())
}

/// Shows the processes of this process's namespace.
pub(super) fn mount_processes(at: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", at, "proc", flags, c"").map_err(io::Error::from)
}

/// Makes what is shown of the machine read-only, with all that is mounted in it, but for devices and processes.
fn make_machine_read_only(root: &Path, scratch: &Path) -> io::Result<()> {
    let kept = [scratch.to_owned(), root.join("dev"), root.join("proc")];
    for point in mounts::below(root)? {
        if kept.iter().any(|kept| point.starts_with(kept)) {
            continue;
        }
        match rustix::fs::stat(&point) {
            // In a folder that we may not enter, and so no process of ours without root either.
            Err(Errno::ACCESS) => {}
            _ => match make_read_only(&point) {
                // The machine took it away meanwhile, as it does with the volumes of other pods that end.
                Err(_) if !mounts::below(root)?.contains(&point) => {}
                made => made?,
            },
        }
    }
    Ok(())
}

/// Where the root of the container of a folder is.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("rootfs")
}

/// Where overlays keep what is made in them.
const SCRATCH: &str = ".orchestra";

/// Shows the machine's devices one by one: every container has something mounted in that folder, and an overlay over it
/// would hide what is mounted there and, in a user namespace, make no device usable.
fn mirror_devices(devices: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(devices)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let numbered = |kind: &str| name.strip_prefix(kind).is_some_and(|rest| !rest.is_empty());
        // Terminals and memory disks by the hundred are of no use to a container.
        if !["tty", "vcs", "loop", "ram"].into_iter().any(numbered) {
            mirror(&path, to)?;
        }
    }
    Ok(())
}

/// Shows one entry of the machine's root in the new one.
fn mirror(path: &Path, root: &Path) -> io::Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let kind = match fs::symlink_metadata(path) {
        // It has gone since the folder was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?.file_type(),
    };
    let to = root.join(name);
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(path)?, to)
    } else if kind.is_dir() {
        fs::create_dir(&to)?;
        rustix::mount::mount_bind_recursive(path, &to).map_err(io::Error::from)
    } else {
        File::create(&to)?;
        rustix::mount::mount_bind(path, &to).map_err(io::Error::from)
    }
}

/// A root that is being made.
struct Root {
    path: PathBuf,
    scratch: PathBuf,
    /// What is mounted already. There, what is missing is made in the volume itself, as container engines do.
    placed: Vec<PathBuf>,
    /// Folders of the machine that something of ours is over.
    covered: Vec<PathBuf>,
}

impl Root {
    /// Mounts something. It is made ready in a place of ours and then moved, as a volume is written by other containers
    /// all the while: what is a folder now may be a link a moment later.
    fn place(&mut self, mount: &MountRecord) -> io::Result<()> {
        let is_dir = mount.from.is_dir();
        let staging = self.scratch.join(format!("mount-{}", self.placed.len()));
        match is_dir {
            true => fs::create_dir(&staging)?,
            false => drop(File::create(&staging)?),
        }
        rustix::mount::mount_bind_recursive(&mount.from, &staging)?;
        if !mount.receives {
            let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
            rustix::mount::mount_change(&staging, private)?;
        }
        if mount.read_only {
            make_read_only(&staging)?;
        }
        let to = self.mount_point(&mount.to, is_dir)?;
        let path = path_of(&to)?;
        rustix::mount::mount_move(&staging, by_descriptor(&to))?;
        self.placed.push(path);
        Ok(())
    }

    /// Opens where a mount goes, and makes what is missing of the way there.
    fn mount_point(&mut self, path: &str, is_dir: bool) -> io::Result<OwnedFd> {
        let mut path = plain_components(path)?;
        if path.as_os_str().is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing can be mounted at /"));
        }
        for _ in 0..LINKS {
            match self.open_or_make(&path, is_dir)? {
                Found::Opened(opened) => return Ok(opened),
                Found::Elsewhere(target) => path = target,
            }
        }
        Err(rustix::io::Errno::LOOP.into())
    }

    /// The way is walked from the root each time, by the kernel, for which our root is the root: no link in a volume
    /// leads out of it.
    fn open_or_make(&mut self, path: &Path, is_dir: bool) -> io::Result<Found> {
        let (mut walked, mut parts) = (PathBuf::new(), path.components().peekable());
        while let Some(part) = parts.next() {
            let parent = walked.clone();
            walked.push(part);
            match self.open(&walked) {
                Err(Errno::NOENT) => {}
                other => {
                    other?;
                    continue;
                }
            }
            let mut here = self.open(&parent)?;
            if let Ok(target) = rustix::fs::readlinkat(&here, part.as_os_str(), Vec::new()) {
                // A link to nothing: what it leads to is made instead.
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                return Ok(Found::Elsewhere(inside(&parent, &target).join(parts.collect::<PathBuf>())));
            }
            let folder = path_of(&here)?;
            if !self.is_ours(&folder) {
                self.cover(&folder)?;
                here = self.open(&parent)?;
            }
            match parts.peek().is_some() || is_dir {
                true => rustix::fs::mkdirat(&here, part.as_os_str(), Mode::from_raw_mode(0o755))?,
                false => {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                    drop(rustix::fs::openat(&here, part.as_os_str(), flags, Mode::from_raw_mode(0o644))?);
                }
            }
        }
        Ok(Found::Opened(self.open(&walked)?))
    }

    fn open(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = rustix::fs::open(&self.path, flags | OFlags::DIRECTORY, Mode::empty())?;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
                // Something was renamed while the kernel walked.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
    }

    /// Makes a folder of the machine one in which things can be made that are not made on the machine.
    fn cover(&mut self, folder: &Path) -> io::Result<()> {
        match !mounts::below(folder)?.is_empty() {
            // An overlay shows nothing of what is mounted below, and in a user namespace it is refused for that reason.
            true => mirror_entries(&self.path, folder)?,
            false => lay_over(folder, &self.scratch.join(self.covered.len().to_string()))?,
        }
        self.covered.push(folder.to_owned());
        Ok(())
    }

    /// Whether something can be made in a folder without it being made on the machine: in our own temporary file
    /// system, in a volume, or in what is covered.
    fn is_ours(&self, folder: &Path) -> bool {
        let device = |path: &Path| rustix::fs::stat(path).map(|found| found.st_dev).ok();
        device(folder) == device(&self.path)
            || self.placed.iter().chain(&self.covered).any(|known| folder.starts_with(known))
    }
}

fn make_read_only(mount: &Path) -> io::Result<()> {
    // Flags that are set already are locked in a user namespace and have to be repeated.
    let flags = rustix::fs::statvfs(mount)?.f_flag;
    let mut keep = MountFlags::BIND | MountFlags::RDONLY;
    for (is, flag) in [
        (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        keep.set(flag, flags.contains(is));
    }
    rustix::mount::mount_remount(mount, keep, c"")?;
    Ok(())
}

/// What became of a way to a mount point.
enum Found {
    Opened(OwnedFd),
    /// A link on the way leads to something that is not there yet, which is at this path in the root.
    Elsewhere(PathBuf),
}

/// How many links to nothing are followed.
const LINKS: usize = 16;

/// Where a link in a folder leads, both as paths below the root, as somebody sees it for whom that is the root.
fn inside(folder: &Path, target: &Path) -> PathBuf {
    let mut resolved = if target.is_absolute() { PathBuf::new() } else { folder.to_owned() };
    for component in target.components() {
        match component {
            Component::Normal(part) => resolved.push(part),
            Component::ParentDir => drop(resolved.pop()),
            _ => {}
        }
    }
    resolved
}

fn path_of(opened: &OwnedFd) -> io::Result<PathBuf> {
    fs::read_link(by_descriptor(opened))
}

/// A path that leads to what was opened and to nothing else.
fn by_descriptor(opened: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", opened.as_raw_fd()).into()
}

/// A path without a root and without steps up.
fn plain_components(path: &str) -> io::Result<PathBuf> {
    Path::new(path)
        .components()
        .filter(|component| !matches!(component, Component::RootDir | Component::CurDir))
        .map(|component| match component {
            Component::Normal(part) => Ok(PathBuf::from(part)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a mount path must not contain '..'")),
        })
        .collect()
}

fn lay_over(folder: &Path, scratch: &Path) -> io::Result<()> {
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options =
        format!("lowerdir={},upperdir={},workdir={}", escaped(folder)?, escaped(&upper)?, escaped(&work)?);
    let options = std::ffi::CString::new(options)?;
    rustix::mount::mount("overlay", folder, "overlay", MountFlags::empty(), options.as_c_str())?;
    Ok(())
}

/// Lays a temporary folder over one that shows the machine's, with each entry of the machine's bound in it.
fn mirror_entries(root: &Path, folder: &Path) -> io::Result<()> {
    let machine = Path::new("/").join(folder.strip_prefix(root).unwrap_or(folder));
    rustix::mount::mount("tmpfs", folder, "tmpfs", MountFlags::empty(), c"mode=755")?;
    for entry in fs::read_dir(machine)? {
        mirror(&entry?.path(), folder)?;
    }
    Ok(())
}

/// A path as an option of an overlay, where commas and colons mean something.
fn escaped(path: &Path) -> io::Result<String> {
    let text = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(text.replace('\\', "\\\\").replace(',', "\\,").replace(':', "\\:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_root() {
        for (folder, target, expected) in [
            ("etc", "../run/resolv.conf", "run/resolv.conf"),
            ("etc", "/run/x", "run/x"),
            ("a/b", "../../../../c", "c"),
            ("", "x/./y", "x/y"),
        ] {
            assert_eq!(
                inside(Path::new(folder), Path::new(target)),
                Path::new(expected),
                "{folder} {target}"
            );
        }
        assert_eq!(plain_components("/a//./b/").unwrap(), Path::new("a/b"));
        assert!(plain_components("/a/../b").is_err());
    }
}
