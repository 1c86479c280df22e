//! How much of a disk folders take.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use orchestra_core::node::VolumeUsage;

use crate::mounts;

/// What a folder takes, with all below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) bytes: u64,
    pub(super) inodes: u64,
}

/// The unit in which the kernel counts what a file takes.
const BLOCK: u64 = 512;

/// What a folder takes; nothing if it is not there. Links are not followed, other file systems are not entered, and a file
/// with several names counts once. What goes away meanwhile is not counted.
pub(super) fn of(folder: &Path) -> io::Result<Size> {
    let top = match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Size::default()),
        other => other?,
    };
    let mut size = Size { bytes: top.blocks() * BLOCK, inodes: 1 };
    let (mut folders, mut seen) = (vec![folder.to_owned()], HashSet::new());
    while let Some(folder) = folders.pop() {
        for entry in present(fs::read_dir(&folder))?.into_iter().flatten() {
            let Some(entry) = present(entry)? else { continue };
            let Some(found) = present(entry.metadata())? else { continue };
            let counted = found.nlink() > 1 && !found.is_dir() && !seen.insert(found.ino());
            if found.dev() != top.dev() || counted {
                continue;
            }
            size.bytes += found.blocks() * BLOCK;
            size.inodes += 1;
            if found.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(size)
}

/// What there is, if it still is.
fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// How the kernel calls a file system that is in memory.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// What each volume of a pod takes, whose folders are in this one. What is on another disk or machine takes nothing of this one.
pub(super) fn of_volumes(folder: &Path) -> io::Result<Vec<VolumeUsage>> {
    let mut volumes = Vec::new();
    for entry in present(fs::read_dir(folder))?.into_iter().flatten() {
        let path: PathBuf = entry?.path();
        let Some(volume) = path.file_name().and_then(|name| name.to_str()) else { continue };
        // Volumes are called as Kubernetes lets them be; what begins otherwise is being made.
        if volume.starts_with('.') || !path.is_dir() {
            continue;
        }
        let memory = match mounts::is_mounted(&fs::canonicalize(&path)?)? {
            true if !path.is_symlink() && rustix::fs::statfs(&path)?.f_type != TMPFS => continue,
            mounted => mounted,
        };
        let Size { bytes, inodes } = of(&path)?;
        volumes.push(VolumeUsage { volume: volume.to_owned(), bytes, inodes, memory });
    }
    volumes.sort_by(|a, b| a.volume.cmp(&b.volume));
    Ok(volumes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_takes_what_is_in_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let empty = of(path).unwrap();
        fs::create_dir(path.join("a")).unwrap();
        fs::write(path.join("a/data"), vec![1; 100_000]).unwrap();
        let one = of(path).unwrap();
        assert!((100_000..200_000).contains(&(one.bytes - empty.bytes)), "{one:?} {empty:?}");
        assert_eq!(one.inodes, empty.inodes + 2);
        fs::hard_link(path.join("a/data"), path.join("again")).unwrap();
        std::os::unix::fs::symlink("/", path.join("out")).unwrap();
        let linked = of(path).unwrap();
        assert!(linked.bytes - one.bytes < 10_000, "{linked:?} {one:?}");
        assert_eq!(of(&path.join("none")).unwrap(), Size::default());
        let volumes = of_volumes(path).unwrap();
        assert_eq!(volumes.iter().map(|one| one.volume.as_str()).collect::<Vec<_>>(), ["a", "out"]);
        assert!(volumes.iter().all(|one| !one.memory || one.volume == "out"));
    }
}
