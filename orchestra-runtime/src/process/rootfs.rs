//! A root of a container's own, made of the machine's.
//!
//! It is a temporary file system whose top folders are the machine's, bound; what is mounted goes over that, and mount
//! points that the machine does not have are made there. Below a folder of the machine that would mean to make folders
//! on the machine, so something that is ours is laid over that folder first: an overlay, or, where the machine has
//! mounted things below it, which an overlay would hide, a temporary folder with each of its entries bound. Nothing of
//! it is seen outside.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags};

use super::launch::MountRecord;
use crate::mounts;

/// Makes the root in a folder of the container's, in a mount namespace that is this process's own.
pub(super) fn make(dir: &Path, mounts: &[MountRecord]) -> io::Result<()> {
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
        match path == Path::new("/dev") {
            true => mirror_devices(&path, &root.join("dev"))?,
            false => mirror(&path, &root)?,
        }
    }
    let mut root = Root { path: root, scratch, placed: Vec::new(), covered: Vec::new() };
    for mount in mounts {
        root.place(mount).map_err(|error| {
            let path = mount.from.display();
            io::Error::new(error.kind(), format!("mounting {path} at {}: {error}", mount.to))
        })?;
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
    let (kind, to) = (fs::symlink_metadata(path)?.file_type(), root.join(name));
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
    fn place(&mut self, mount: &MountRecord) -> io::Result<()> {
        let to = self.mount_point(&mount.to, mount.from.is_dir())?;
        rustix::mount::mount_bind_recursive(&mount.from, &to)?;
        if !mount.receives {
            rustix::mount::mount_change(&to, MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        }
        if mount.read_only {
            make_read_only(&to)?;
        }
        self.placed.push(to);
        Ok(())
    }

    /// Finds where a mount goes, and makes what is missing of the way there.
    fn mount_point(&mut self, path: &str, is_dir: bool) -> io::Result<PathBuf> {
        let mut here = self.path.clone();
        let mut parts = plain_components(path)?.into_iter().peekable();
        while let Some(part) = parts.next() {
            let mut next = here.join(&part);
            if fs::symlink_metadata(&next).is_ok_and(|meta| meta.is_symlink()) {
                next = follow(&self.path, &next)?;
            }
            if !next.exists() {
                if !self.is_ours(&here) {
                    self.cover(&here)?;
                }
                match parts.peek().is_some() || is_dir {
                    true => fs::create_dir(&next)?,
                    false => drop(File::create(&next)?),
                }
            }
            here = next;
        }
        match here == self.path {
            true => Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing can be mounted at /")),
            false => Ok(here),
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

/// Where a symbolic link within the new root leads, as somebody sees it for whom that is the root.
fn follow(root: &Path, link: &Path) -> io::Result<PathBuf> {
    let target = fs::read_link(link)?;
    let full = match target.is_absolute() {
        true => target,
        false => {
            let parent = link.parent().unwrap_or(root);
            Path::new("/").join(parent.strip_prefix(root).unwrap_or(parent)).join(target)
        }
    };
    let mut resolved = root.to_owned();
    for component in full.components() {
        match component {
            Component::Normal(part) => resolved.push(part),
            Component::ParentDir if resolved != root => {
                resolved.pop();
            }
            _ => {}
        }
    }
    // A link to a link is not followed further: its name is then made into what is missing, or found to be there.
    Ok(resolved)
}

fn plain_components(path: &str) -> io::Result<Vec<PathBuf>> {
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
