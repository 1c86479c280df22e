//! Files of the machine for pods with users of their own: what belongs to user 0 there is shown as of the pod's user 0, and what
//! the pod's users write is written as theirs is there. The kernel does that for a mount (*idmapped*), where the file system
//! has learned it; whatever it cannot be done for is refused.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use orchestra_core::runtime::{ContainerSpec, Propagation, Result};
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::invalid;
use crate::namespaces::unshare;

/// How many users a pod has.
pub(crate) const COUNT: u32 = 65_536;

/// Where in a container's folder the machine's files are as its users see them, by number.
const MAPPED: &str = "mapped";

/// Users of a pod's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Users {
    /// The file that names their namespace.
    pub(crate) namespace: PathBuf,
    /// Which number of the machine's the pod's user 0 is.
    pub(crate) first: u32,
}

/// What a container of such a pod is made with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Own {
    pub(crate) users: Users,
    /// Where its root is mounted, for itself alone: a folder that others than root get to.
    pub(crate) root: PathBuf,
    /// The machine's files that are mounted in it, in the order of its mounts.
    pub(crate) files: Vec<PathBuf>,
}

impl Own {
    /// What a container of a pod with these users is made with.
    pub(crate) fn of(users: Users, root: PathBuf, spec: &ContainerSpec) -> Result<Self> {
        if let Some(mount) = spec.mounts.iter().find(|one| one.propagation == Propagation::Bidirectional) {
            return Err(invalid(format!(
                "mount {}: mountPropagation Bidirectional is not to be had with hostUsers: false",
                mount.container_path
            )));
        }
        Ok(Self { users, root, files: spec.mounts.iter().map(|mount| mount.host_path.clone()).collect() })
    }

    /// Says so to runc.
    pub(crate) fn tell(&self, config: &mut Value) {
        let map = json!([{ "containerID": 0, "hostID": self.users.first, "size": COUNT }]);
        let linux = &mut config["linux"];
        linux["uidMappings"] = map.clone();
        linux["gidMappings"] = map;
        if let Value::Array(namespaces) = &mut linux["namespaces"] {
            namespaces.insert(0, json!({ "type": "user", "path": self.users.namespace }));
        }
        config["root"]["path"] = json!(self.root);
    }

    /// Mounts the machine's files below a container's folder, where only this process sees them.
    pub(super) fn mount(&self, dir: &Path) -> io::Result<()> {
        let namespace = File::open(&self.users.namespace)?;
        for (number, path) in self.files.iter().enumerate() {
            let named = |error: io::Error| {
                let why = "its file system cannot show it to the users of a pod with hostUsers: false";
                io::Error::new(error.kind(), format!("{}: {why}: {error}", path.display()))
            };
            let tree = mapped(path, namespace.as_fd()).map_err(named)?;
            let place = dir.join(source(number));
            match fs::metadata(path)?.is_dir() {
                true => fs::create_dir_all(&place)?,
                false => {
                    fs::create_dir_all(dir.join(MAPPED))?;
                    File::create(&place)?;
                }
            }
            put(&tree, &place)?;
        }
        Ok(())
    }

    /// Puts layers of an image where they are shown as of the pod's users.
    pub(super) fn layer(&self, layer: &Path, place: &Path) -> io::Result<()> {
        let namespace = File::open(&self.users.namespace)?;
        fs::create_dir_all(place)?;
        put(&mapped(layer, namespace.as_fd())?, place)
    }
}

/// Where a mount comes from, seen from a container's folder.
pub(super) fn source(number: usize) -> String {
    format!("{MAPPED}/{number}")
}

/// The restrictions of the mount that a path is on. A mount of it that is made among a pod's own users must repeat them: the kernel
/// lets nobody but the machine's root lift them.
pub(super) fn locked(path: &Path) -> impl Iterator<Item = &'static str> + use<> {
    let held = rustix::fs::statvfs(path).map_or(StatVfsMountFlags::empty(), |found| found.f_flag);
    let all = [
        (StatVfsMountFlags::RDONLY, "ro"),
        (StatVfsMountFlags::NOSUID, "nosuid"),
        (StatVfsMountFlags::NODEV, "nodev"),
        (StatVfsMountFlags::NOEXEC, "noexec"),
    ];
    all.into_iter().filter(move |(flag, _)| held.contains(*flag)).map(|(_, option)| option)
}

/// Whether a container can run as this user or with this group.
pub(super) fn has(id: u32) -> bool {
    id < COUNT
}

fn put(tree: &OwnedFd, place: &Path) -> io::Result<()> {
    Ok(rustix::mount::move_mount(tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// A file or folder of the machine with what is mounted in it, as users of this namespace see it, to be put elsewhere.
fn mapped(path: &Path, users: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, path, flags)?;
    let change = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(users.as_raw_fd()).map_err(io::Error::other)?,
    };
    set_attributes(&tree, &change)?;
    Ok(tree)
}

#[allow(unsafe_code, reason = "mount_setattr(2) has no safe wrapper yet")]
fn set_attributes(tree: &OwnedFd, change: &libc::mount_attr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is empty and ends with a zero, and the structure is of the length that is said.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(change),
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes a root of a layer in a folder, and shows a file, as users of this namespace see them. This process, which has one
/// thread, is nowhere else afterwards.
pub(crate) fn try_mounts(users: BorrowedFd<'_>, scratch: &Path) -> io::Result<()> {
    unshare(UnshareFlags::NEWNS)?;
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
    let dir = scratch.join("users");
    for folder in ["layer", "lower", "upper", "work", "root"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    put(&mapped(&dir.join("layer"), users)?, &dir.join("lower"))?;
    rustix::process::chdir(&dir)?;
    let options = c"lowerdir=lower,upperdir=upper,workdir=work";
    Ok(rustix::mount::mount("overlay", "root", "overlay", MountFlags::empty(), options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runc_is_told_of_the_users() {
        let users = Users { namespace: "/s/user".into(), first: 1 << 30 };
        let own = Own { users, root: "/run/r".into(), files: Vec::new() };
        let mut config =
            json!({ "root": { "path": "rootfs" }, "linux": { "namespaces": [{ "type": "mount" }] } });
        own.tell(&mut config);
        assert_eq!(config["root"]["path"], "/run/r");
        let map = json!([{ "containerID": 0, "hostID": 1 << 30, "size": 65_536 }]);
        assert_eq!((&config["linux"]["uidMappings"], &config["linux"]["gidMappings"]), (&map, &map));
        assert_eq!(config["linux"]["namespaces"][0], json!({ "type": "user", "path": "/s/user" }));
        assert!(has(65_535) && !has(65_536));
    }
}
