//! What the containers of a sandbox share besides the network, where they are separate from the machine: a namespace of names,
//! one of messages and shared memory, and the file system of the latter. Each is pinned at a file, as the network is, but in the
//! sandbox's own folder: there they are found by whoever finds the sandbox.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use orchestra_core::runtime::SandboxSpec;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::namespaces::unshare;
use crate::oci::own_users::Users;

/// How much shared memory a pod has.
const SHM: &std::ffi::CStr = c"mode=1777,size=64m";

/// Where they are; `None` is the machine's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pins {
    pub(crate) ipc: Option<PathBuf>,
    pub(crate) uts: Option<PathBuf>,
    pub(crate) shm: Option<PathBuf>,
    /// Whether its containers see the machine's processes.
    pub(crate) host_pid: bool,
    /// The folder that whoever holds the pod's namespace of processes has locked, if the pod has one.
    pub(crate) pause: Option<PathBuf>,
    /// The pod's own users, if it has any: the other namespaces are made with them.
    #[serde(default)]
    pub(crate) users: Option<Users>,
}

impl Pins {
    /// Those of a sandbox, which are not made yet.
    pub(super) fn new(spec: &SandboxSpec, dir: &Path) -> Self {
        let wanted = spec.namespaces;
        let own = |kind: &str, shared: bool| (!shared).then(|| dir.join(kind));
        Self {
            ipc: own("ipc", wanted.host_ipc),
            uts: own("uts", wanted.host_network),
            shm: own("shm", wanted.host_ipc),
            host_pid: wanted.host_pid,
            pause: (wanted.share_process_namespace && !wanted.host_pid).then(|| dir.to_owned()),
            users: None,
        }
    }

    /// Whether they are what they were made: a reboot leaves the files.
    pub(super) fn hold(&self) -> bool {
        self.pinned().all(|pin| is_namespace(pin)) && self.pause.as_deref().is_none_or(super::pause::is_held)
    }

    fn pinned(&self) -> impl Iterator<Item = &PathBuf> {
        let users = self.users.as_ref().map(|users| &users.namespace);
        self.ipc.iter().chain(&self.uts).chain(users)
    }

    /// Makes them, on a thread that is not used for anything else.
    pub(super) fn make(&self, hostname: &str, sysctls: &[(String, String)]) -> io::Result<()> {
        if self.users.is_none() {
            self.release()?;
        }
        if let Some(shm) = &self.shm {
            fs::create_dir_all(shm)?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            rustix::mount::mount("shm", shm, "tmpfs", flags, SHM)?;
        }
        if self.users.is_some() {
            return Ok(());
        }
        let (pins, hostname, sysctls) = (self.clone(), hostname.to_owned(), sysctls.to_vec());
        let thread = std::thread::Builder::new().name("namespaces".into()).spawn(move || {
            pins.pin("ipc", UnshareFlags::NEWIPC, &pins.ipc)?;
            pins.pin("uts", UnshareFlags::NEWUTS, &pins.uts)?;
            if pins.uts.is_some() {
                rustix::system::sethostname(hostname.as_bytes())?;
            }
            sysctls
                .iter()
                .filter(|(name, _)| !name.starts_with("net"))
                .try_for_each(|(name, value)| set(name, value))
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    }

    fn pin(&self, kind: &str, flag: UnshareFlags, pin: &Option<PathBuf>) -> io::Result<()> {
        let Some(pin) = pin else { return Ok(()) };
        File::create(pin)?;
        unshare(flag)?;
        Ok(rustix::mount::mount_bind(format!("/proc/thread-self/ns/{kind}"), pin)?)
    }

    /// Lets go of them. What is not there any more is no error.
    pub(super) fn release(&self) -> io::Result<()> {
        self.pause.as_deref().into_iter().for_each(super::pause::end);
        self.pinned().chain(&self.shm).try_for_each(|pin| release(pin))
    }
}

/// Takes away what is mounted at a file or folder, and it too.
pub(super) fn release(pin: &Path) -> io::Result<()> {
    loop {
        match rustix::mount::unmount(pin, UnmountFlags::DETACH) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let removed = if pin.is_dir() { fs::remove_dir(pin) } else { fs::remove_file(pin) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Sets a parameter of the kernel, of the namespaces that this thread is in.
pub(super) fn set(name: &str, value: &str) -> io::Result<()> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("sysctl {name}: {why}"));
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-/*".contains(letter);
    // With a slash in it the parts are those between slashes, as for devices with a dot in their names.
    let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    if !name.chars().all(plain) || path.split('/').any(|part| part.is_empty() || part == "..") {
        return Err(wrong("there is no such parameter"));
    }
    let written = fs::write(Path::new("/proc/sys").join(path), value);
    written.map_err(|error| wrong(&error.to_string()))
}

/// Whether a file is a namespace, and not what is left of one: the file it was pinned at.
pub(super) fn is_namespace(pin: &Path) -> bool {
    const NSFS: u64 = 0x6e73_6673;
    rustix::fs::statfs(pin).is_ok_and(|found| found.f_type as u64 == NSFS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_are_set() {
        for name in ["", "..", "kernel/../../../tmp/x", "a b", "net..x", "no.such.parameter"] {
            assert!(set(name, "1").is_err(), "{name}");
        }
    }
}
