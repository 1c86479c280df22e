//! What is mounted, from `/proc/self/mountinfo`.
//!
//! A bind mount has the device of what it shows, so comparing devices does not find it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;

/// Mount points below a folder, in the order they were mounted.
///
/// # Errors
/// When the table cannot be read.
pub fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read("/proc/self/mountinfo")?;
    let points = table.split(|byte| *byte == b'\n').filter_map(mount_point);
    Ok(points.filter(|point| point != folder && point.starts_with(folder)).collect())
}

/// Whether something is mounted at a path, which has no symbolic link in it.
///
/// # Errors
/// When the table cannot be read.
pub fn is_mounted(path: &Path) -> io::Result<bool> {
    let table = fs::read("/proc/self/mountinfo")?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(mount_point).any(|point| point == path))
}

/// Takes away everything that is mounted at a path, one over the other.
///
/// # Errors
/// When something cannot be taken away.
pub fn unmount(path: &Path) -> io::Result<()> {
    while is_mounted(path)? {
        rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    Ok(())
}

/// Takes away everything that is mounted below a folder. Fails while something is left, so that whoever removes the
/// folder then removes nothing of what was mounted in it.
///
/// # Errors
/// When a mount cannot be taken away, or one is left.
pub fn unmount_below(folder: &Path) -> io::Result<()> {
    for point in below(folder)?.iter().rev() {
        rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
    }
    match below(folder)?.first() {
        None => Ok(()),
        Some(left) => Err(io::Error::other(format!("{} is still mounted", left.display()))),
    }
}

/// The fifth field of a line of the table, in which blanks and the like are written as `\040`.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let mut rest = line.split(|byte| *byte == b' ').nth(4)?;
    let mut plain = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        let number = (*first == b'\\').then(|| after.get(..3)).flatten();
        let number = number.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        plain.push(number.unwrap_or(*first));
        rest = if number.is_some() { &after[3..] } else { after };
    }
    Some(OsString::from_vec(plain).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        for (line, point) in [
            (
                "36 35 98:0 /mnt1 /run/user/1000 rw,noatime master:1 - ext3 /dev/root rw",
                Some("/run/user/1000"),
            ),
            (r"36 35 98:0 / /media/a\040disk\134x rw - ext3 /dev/root rw", Some(r"/media/a disk\x")),
            ("36 35 98:0 /", None),
            (r"1 2 3 / /end\04", Some(r"/end\04")),
        ] {
            assert_eq!(mount_point(line.as_bytes()), point.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn this_machine_has_mounts() {
        assert!(is_mounted(Path::new("/proc")).unwrap());
        assert!(!is_mounted(Path::new("/proc/self")).unwrap());
        assert!(below(Path::new("/")).unwrap().contains(&PathBuf::from("/proc")));
        assert!(unmount_below(Path::new("/no/such/folder")).is_ok());
    }
}
