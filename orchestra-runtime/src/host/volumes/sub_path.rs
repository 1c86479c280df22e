//! Paths within volumes that stay what they were when they were checked.
//!
//! A container can write its volume, so whatever is found out about a path in there may be untrue a moment later: a
//! directory is swapped for a link to `/`, and a container engine that is handed the path follows it with the machine's
//! rights. So a path is opened once, by the kernel's own rule that nothing on the way leads out of the volume, and what
//! was opened is bound to a place below the pod's folder, where only we can write. That place is what is handed out.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use crate::{mounts, private};

/// How often a path is opened again that changed while the kernel walked it.
const ATTEMPTS: usize = 64;

/// Opens a path within a volume and makes what is missing of it, following links only as far as they stay inside.
/// [`Errno::XDEV`] when it leads out.
pub(super) fn open(volume: &Path, wanted: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let root = rustix::fs::openat(CWD, volume, flags, Mode::empty())?;
    let (mut here, mut walked) = (root.try_clone()?, PathBuf::new());
    for part in wanted.components() {
        walked.push(part);
        here = match open_beneath(&root, &walked) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&here, part.as_os_str(), Mode::from_raw_mode(0o750)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                open_beneath(&root, &walked)?
            }
            other => other?,
        };
    }
    Ok(here)
}

fn open_beneath(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..ATTEMPTS {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// The path of something that was opened, as it is now.
pub(super) fn path_of(opened: &OwnedFd) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))
}

/// Binds what was opened to a place, in place of whatever is bound there. The place's folder must be ours alone.
pub(super) fn bind(opened: &OwnedFd, place: &Path) -> io::Result<()> {
    let wanted = rustix::fs::fstat(opened)?;
    if mounts::is_mounted(place)? {
        let present = rustix::fs::lstat(place)?;
        if (present.st_dev, present.st_ino) == (wanted.st_dev, wanted.st_ino) {
            return Ok(());
        }
        mounts::unmount(place)?;
    }
    let is_dir = rustix::fs::FileType::from_raw_mode(wanted.st_mode).is_dir();
    have_mount_point(place, is_dir)?;
    let clone =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(opened, c"", clone)?;
    let from_itself = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree.as_fd(), c"", CWD, place, from_itself)?;
    Ok(())
}

/// Makes an empty folder or file to mount on.
fn have_mount_point(place: &Path, is_dir: bool) -> io::Result<()> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() == is_dir => return Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir(place)?,
        Ok(_) => fs::remove_file(place)?,
        Err(_) => {}
    }
    match is_dir {
        true => private::folder(place, 0o750),
        false => File::create(place).map(drop),
    }
}
