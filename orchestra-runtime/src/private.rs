//! Folders and files with exactly the permissions they should have, whatever the umask of the program.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Makes a folder with these permissions, or gives them to the one that is there. Its parent must exist.
pub(crate) fn folder(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode & 0o777).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    permit(path, mode)
}

/// Makes a folder that is missing, and all that is missing above it, with these permissions. What exists above it stays
/// as it is.
pub(crate) fn folders(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
        folders(parent, mode)?;
    }
    folder(path, mode)
}

/// Makes a folder that only this user may enter, in a place where others may have been before us, such as `/tmp`.
pub(crate) fn own_folder(path: &Path) -> io::Result<()> {
    own_folder_for(path, 0o700)
}

/// The same with these permissions. Of one that is there already they are not taken away for a moment: others may be on their
/// way through it.
pub(crate) fn own_folder_for(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        let message = format!("{} belongs to somebody else; remove it", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    permit(path, mode)
}

/// Gives a file or folder these permissions unless it has them.
pub(crate) fn permit(path: &Path, mode: u32) -> io::Result<()> {
    match fs::metadata(path)?.permissions().mode() & 0o7777 == mode {
        true => Ok(()),
        false => fs::set_permissions(path, Permissions::from_mode(mode)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn permissions_do_not_depend_on_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("a/b/c");
        folders(&deep, 0o2750).unwrap();
        assert_eq!([mode(&deep), mode(&place.path().join("a"))], [0o2750; 2]);
        fs::set_permissions(&deep, Permissions::from_mode(0o777)).unwrap();
        folder(&deep, 0o700).unwrap();
        assert_eq!(mode(&deep), 0o700);
    }

    #[test]
    fn a_link_in_place_of_an_own_folder_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let (target, link) = (place.path().join("target"), place.path().join("link"));
        own_folder(&target).unwrap();
        assert_eq!(mode(&target), 0o700);
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(own_folder(&link).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
