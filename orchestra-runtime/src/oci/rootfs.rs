//! The root of a container: the layers of its image, one over the other, with a layer of its own on top.
//!
//! It is mounted where only the shim that holds the container sees it, and so goes with the container, however that ends. Where
//! overlays cannot be mounted (over another overlay, for one) the files are copied.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};
use rustix::thread::UnshareFlags;

use super::own_users::Own;
use crate::namespaces::unshare;

/// How much of an image's list of users is read.
const LIST: u64 = 4 << 20;

/// Where in a container's folder the folders are that it shares with the machine, by number.
pub(crate) const SHARED: &str = "shared";

/// Makes the root in a container's folder, and takes this process, which has one thread, where it alone sees it. What is
/// mounted in `shared` folders later, by the container too, is seen on both sides.
pub(crate) fn make(
    dir: &Path,
    layers: &[PathBuf],
    shared: &[PathBuf],
    own: Option<&Own>,
) -> io::Result<PathBuf> {
    // Whatever becomes of the mounts of this place, these stay together with the machine's.
    let shared = shared.iter().map(|path| together(path)).collect::<io::Result<Vec<_>>>()?;
    unshare(UnshareFlags::NEWNS)?;
    // What the machine mounts later is still seen here; what is mounted here is not seen there.
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
    for (number, tree) in shared.iter().enumerate() {
        let place = dir.join(SHARED).join(number.to_string());
        fs::create_dir_all(&place)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(tree, "", CWD, &place, flags)?;
    }
    for folder in ["rootfs", "upper", "work", "lower"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    for (place, layer) in layers.iter().enumerate() {
        let place = dir.join("lower").join(place.to_string());
        if let Some(own) = own {
            own.layer(layer, &place)?;
            continue;
        }
        // Where a link leads that a killed shim has left, this one leads too.
        match symlink(layer, place) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    fs::create_dir_all(dir.join("lower/none"))?;
    if let Some(uppermost) = layers.first() {
        as_is(uppermost, &dir.join("upper"), own.map_or(0, |own| own.users.first))?;
    }
    if let Some(own) = own {
        own.mount(dir)?;
    }
    rustix::process::chdir(dir)?;
    let root = own.map_or_else(|| dir.join("rootfs"), |own| own.root.clone());
    match overlay(layers.len(), &root) {
        Ok(()) => {}
        Err(error) if own.is_some() => return Err(error),
        Err(_) => {
            for layer in layers.iter().rev() {
                copy(layer, &root)?;
            }
        }
    }
    Ok(root)
}

/// A folder of the machine with what is mounted in it, to be put elsewhere.
fn together(path: &Path) -> io::Result<OwnedFd> {
    if !path.is_dir() {
        let message = format!("{} is shared with the machine, and no folder", path.display());
        return Err(io::Error::other(message));
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}

/// The layers by short names relative to the folder we are in: the kernel takes a page of options and no more.
fn overlay(layers: usize, root: &Path) -> io::Result<()> {
    let mut lower: Vec<String> = (0..layers).map(|place| format!("lower/{place}")).collect();
    if lower.is_empty() {
        lower.push("lower/none".into());
    }
    let options = format!("lowerdir={},upperdir=upper,workdir=work", lower.join(":"));
    let options = std::ffi::CString::new(options)?;
    Ok(rustix::mount::mount("overlay", root, "overlay", MountFlags::empty(), options.as_c_str())?)
}

/// What the root itself is like is said by the layer on top, which is the container's own. `first`: who its user 0 is.
fn as_is(layer: &Path, upper: &Path, first: u32) -> io::Result<()> {
    let found = fs::metadata(layer)?;
    let shown = |id: u32| Some(first.saturating_add(id));
    std::os::unix::fs::chown(upper, shown(found.uid()), shown(found.gid()))?;
    fs::set_permissions(upper, found.permissions())
}

/// Copies a layer over those below it, which are in `to` already: what it takes away goes.
fn copy(layer: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(layer)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let found = fs::symlink_metadata(&from)?;
        let there = fs::symlink_metadata(&to).ok();
        let kind = found.file_type();
        let stays = kind.is_dir() && there.as_ref().is_some_and(fs::Metadata::is_dir) && !begins_anew(&from);
        match there {
            Some(there) if there.is_dir() && !stays => fs::remove_dir_all(&to)?,
            Some(_) if !stays => fs::remove_file(&to)?,
            _ => {}
        }
        if kind.is_char_device() {
            continue;
        }
        if kind.is_dir() {
            fs::create_dir_all(&to)?;
            copy(&from, &to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if kind.is_fifo() {
            rustix::fs::mknodat(CWD, &to, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        } else {
            fs::copy(&from, &to)?;
        }
        like(&found, &from, &to)?;
    }
    Ok(())
}

fn begins_anew(folder: &Path) -> bool {
    rustix::fs::lgetxattr(folder, "trusted.overlay.opaque", &mut [0_u8; 4][..]) == Ok(1)
}

/// Gives a copy the owner, the mode, the time and the capabilities of what it is of.
fn like(found: &fs::Metadata, from: &Path, to: &Path) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
    rustix::fs::chownat(CWD, to, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !found.file_type().is_symlink() {
        fs::set_permissions(to, found.permissions())?;
    }
    let mut value = [0_u8; 64];
    if let Ok(read) = rustix::fs::lgetxattr(from, "security.capability", &mut value[..]) {
        rustix::fs::lsetxattr(to, "security.capability", &value[..read], XattrFlags::empty())?;
    }
    let time = Timespec { tv_sec: found.mtime(), tv_nsec: found.mtime_nsec() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// A file of the image's, as somebody sees it for whom the folder is the root; nothing where there is none.
pub(crate) fn read(root: &Path, path: &str) -> io::Result<String> {
    let folder = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Whatever an image calls so is not waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file: File = match rustix::fs::openat2(&folder, path, flags, Mode::empty(), resolve) {
        Ok(file) => file.into(),
        Err(_) => return Ok(String::new()),
    };
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let mut text = Vec::new();
    file.take(LIST).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What a container has written into its own layer, in bytes.
pub(crate) fn written(dir: &Path) -> u64 {
    fn of(folder: &Path) -> u64 {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.metadata() {
                Ok(found) if found.is_dir() => found.blocks() * 512 + of(&entry.path()),
                Ok(found) => found.blocks() * 512,
                Err(_) => 0,
            })
            .sum()
    }
    of(&dir.join("upper"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_copied_one_over_the_other() {
        let place = tempfile::tempdir().unwrap();
        let (lower, upper, to) = (place.path().join("1"), place.path().join("2"), place.path().join("root"));
        for folder in [&lower.join("etc"), &lower.join("old"), &upper.join("etc"), &to] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(lower.join("etc/a"), "a").unwrap();
        fs::write(lower.join("etc/b"), "b").unwrap();
        fs::write(lower.join("old/x"), "x").unwrap();
        symlink("etc/a", lower.join("link")).unwrap();
        fs::write(upper.join("etc/a"), "new").unwrap();
        fs::write(upper.join("link"), "a file").unwrap();
        fs::set_permissions(upper.join("etc/a"), std::os::unix::fs::PermissionsExt::from_mode(0o4711))
            .unwrap();
        let device = FileType::CharacterDevice;
        for taken in ["etc/b", "old"] {
            rustix::fs::mknodat(CWD, upper.join(taken), device, Mode::empty(), 0).unwrap();
        }
        copy(&lower, &to).unwrap();
        copy(&upper, &to).unwrap();
        let read = |path: &str| fs::read_to_string(to.join(path)).unwrap();
        assert_eq!((read("etc/a").as_str(), read("link").as_str()), ("new", "a file"));
        assert_eq!(fs::metadata(to.join("etc/a")).unwrap().mode() & 0o7777, 0o4711);
        assert!(!to.join("etc/b").exists() && !to.join("old").exists());
    }

    #[test]
    fn an_images_files_are_read_within_its_root() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(place.path().join("outside"), "secret").unwrap();
        fs::write(root.join("etc/real"), "users").unwrap();
        symlink("../../outside", root.join("etc/up")).unwrap();
        symlink("/etc/real", root.join("etc/absolute")).unwrap();
        rustix::fs::mknodat(CWD, root.join("etc/fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        for (path, text) in [
            ("/etc/real", "users"),
            ("/etc/up", ""),
            ("/etc/absolute", "users"),
            ("/etc/fifo", ""),
            ("/etc", ""),
            ("/no", ""),
        ] {
            assert_eq!(read(&root, path).unwrap(), text, "{path}");
        }
    }
}
