//! Showing the files of an image at a folder of the machine: its layers one over the other, and nothing of it can be written.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

#[cfg(any(feature = "cri", feature = "docker"))]
use orchestra_core::runtime::RuntimeError;
use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags};

use crate::mounts;

/// [Mounts](mount) layers for a runtime.
#[cfg(any(feature = "cri", feature = "docker"))]
pub(crate) async fn show(layers: Vec<PathBuf>, at: &Path) -> Result<(), RuntimeError> {
    let at = at.to_owned();
    let mounted = tokio::task::spawn_blocking(move || mount(&layers, &at)).await;
    mounted
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| RuntimeError::Failed { message: format!("the image was not mounted: {error}") })
}

/// Mounts layers, the uppermost first, at an empty folder. Where something is mounted already nothing is done.
pub(crate) fn mount(layers: &[PathBuf], at: &Path) -> io::Result<()> {
    if mounts::is_mounted(&at.canonicalize()?)? {
        return Ok(());
    }
    // An overlay that cannot be written has at least two layers: the folder itself is empty.
    let layers: Vec<&Path> = layers.iter().map(PathBuf::as_path).chain([at]).collect();
    by_parts(&layers, at).or_else(|_| at_once(&layers, at))
}

/// Layer by layer, of which there may be any number. Linux 6.8 and later.
fn by_parts(layers: &[&Path], at: &Path) -> io::Result<()> {
    let overlay = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in layers {
        rustix::mount::fsconfig_set_string(overlay.as_fd(), "lowerdir+", *layer)?;
    }
    rustix::mount::fsconfig_create(overlay.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mounted = rustix::mount::fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(mounted.as_fd(), "", CWD, at, flags)?)
}

/// All in one line, which is as long as a page at most.
fn at_once(layers: &[&Path], at: &Path) -> io::Result<()> {
    let layers: Vec<String> = layers.iter().map(|layer| layer.display().to_string()).collect();
    let options = CString::new(format!("lowerdir={}", layers.join(":")))?;
    let flags = MountFlags::RDONLY | MountFlags::NODEV;
    Ok(rustix::mount::mount("overlay", at, "overlay", flags, options.as_c_str())?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn layers_are_seen_one_over_the_other_and_not_written() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let (lower, upper, at) = (place.path().join("1"), place.path().join("2"), place.path().join("at"));
        for folder in [&lower, &upper, &at] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(lower.join("a"), "old").unwrap();
        fs::write(lower.join("b"), "b").unwrap();
        fs::write(upper.join("a"), "new").unwrap();
        for layers in [vec![upper.clone(), lower.clone()], vec![lower.clone()]] {
            for _ in 0..2 {
                mount(&layers, &at).unwrap();
            }
            let expected = if layers.len() == 2 { "new" } else { "old" };
            assert_eq!(fs::read_to_string(at.join("a")).unwrap(), expected);
            assert_eq!(fs::read_to_string(at.join("b")).unwrap(), "b");
            let refused = fs::write(at.join("c"), "").unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
            mounts::unmount(&at.canonicalize().unwrap()).unwrap();
        }
        let all: Vec<&Path> = vec![&upper, &lower];
        at_once(&all, &at).unwrap();
        assert_eq!(fs::read_to_string(at.join("a")).unwrap(), "new");
        mounts::unmount(&at.canonicalize().unwrap()).unwrap();
    }
}
