//! Giving a volume to the group of its pod.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid};

use crate::private;

/// What the group may of a file and of a folder, and that what is made in a folder belongs to it too.
const FILE: u32 = 0o660;
const FOLDER: u32 = 0o2770;

/// Gives a folder with all below it to a group.
pub(in crate::host) fn give(folder: &Path, group: u32, unless_root_is: bool) -> io::Result<()> {
    let root = fs::metadata(folder)?;
    if unless_root_is && root.gid() == group && root.mode() & FOLDER == FOLDER {
        return Ok(());
    }
    // The root last: while it is as it was, not all below it may be.
    below(folder, group)?;
    one(folder, &root, group)
}

fn below(folder: &Path, group: u32) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = match fs::symlink_metadata(&path) {
            // Whoever has the volume too may take something away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        if found.is_dir() {
            below(&path, group)?;
        }
        one(&path, &found, group)?;
    }
    Ok(())
}

fn one(path: &Path, found: &fs::Metadata, group: u32) -> io::Result<()> {
    rustix::fs::chownat(CWD, path, None, Some(Gid::from_raw(group)), AtFlags::SYMLINK_NOFOLLOW)?;
    if found.is_symlink() {
        return Ok(());
    }
    let more = if found.is_dir() { FOLDER } else { FILE };
    private::permit(path, (found.permissions().mode() | more) & 0o7777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_a_volume_is_the_groups() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let (root, outside) = (place.path().join("volume"), place.path().join("outside"));
        fs::create_dir_all(root.join("deep")).unwrap();
        fs::write(&outside, "").unwrap();
        fs::write(root.join("deep/file"), "").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        private::permit(&root.join("deep/file"), 0o400).unwrap();
        let kept = fs::metadata(&outside).unwrap();
        let group = |path: &Path| fs::symlink_metadata(path).unwrap().gid();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        give(&root, 4711, true).unwrap();
        for path in [&root, &root.join("deep"), &root.join("deep/file"), &root.join("link")] {
            assert_eq!(group(path), 4711, "{path:?}");
        }
        assert_eq!((mode(&root.join("deep/file")), mode(&root.join("deep"))), (0o660, 0o2775));
        assert_eq!((group(&outside), mode(&outside)), (kept.gid(), kept.mode() & 0o7777));
        // Who says that the root is enough is believed.
        fs::write(root.join("late"), "").unwrap();
        let late = root.join("late");
        rustix::fs::chownat(CWD, &late, None, Some(Gid::from_raw(0)), AtFlags::SYMLINK_NOFOLLOW).unwrap();
        give(&root, 4711, true).unwrap();
        assert_eq!(group(&late), 0);
        give(&root, 4711, false).unwrap();
        assert_eq!(group(&late), 4711);
    }
}
