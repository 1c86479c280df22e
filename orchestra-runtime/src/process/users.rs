//! Users of a pod's own: numbers of the machine that nobody else has, and the namespace that makes them 0 to 65,535 for the pod.
//!
//! Whoever is root in such a pod is nobody outside. All that the pod shares is made within the namespace, so that its root has
//! rights over that and over nothing else. Which numbers a pod has is known to all runtimes of the machine, and for as long as
//! the sandbox is there.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use orchestra_core::runtime::{Result, RuntimeError};
use rustix::process::{Gid, Pid, Uid, WaitOptions};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use super::address::lock;
use super::fork::{Fork, fork};
use super::pins;
use super::record::failed;
use crate::namespaces::unshare;
use crate::oci::own_users::{self, COUNT, Users};

/// What the helper is asked for.
pub(super) const MODE: &str = "users";

/// The first number that is given out: systemd leaves those around it to whoever runs containers, and no distribution gives them
/// to users.
const FIRST: u32 = 0x4000_0000;
/// How many pods can have users of their own at a time.
const MOST: u32 = 4096;

/// Where it is noted who has which numbers.
fn folder(run: &Path) -> PathBuf {
    run.join("users")
}

/// Takes numbers for a sandbox, others each time as far as there are enough: files may be left of whoever had them before.
pub(super) fn take(run: &Path, sandbox: &Path) -> Result<u32> {
    let folder = folder(run);
    fs::create_dir_all(&folder).map_err(failed)?;
    let _lock = lock(&folder).map_err(failed)?;
    let last = folder.join("last");
    let begin: u32 = fs::read_to_string(&last).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    for offset in 0..MOST {
        let place = begin.wrapping_add(offset) % MOST;
        let first = FIRST + place * COUNT;
        let link = folder.join(first.to_string());
        if link.exists() {
            continue; // it exists if what it leads to does
        }
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(sandbox, &link).map_err(failed)?;
        fs::write(&last, (place + 1).to_string()).map_err(failed)?;
        return Ok(first);
    }
    Err(RuntimeError::Exhausted { message: format!("{MOST} pods have users of their own already") })
}

/// Gives numbers back, if they are this sandbox's.
pub(super) fn give_back(run: &Path, first: u32, sandbox: &Path) -> Result<()> {
    let folder = folder(run);
    let link = folder.join(first.to_string());
    if fs::read_link(&link).is_ok_and(|owner| owner == sandbox) {
        let _lock = lock(&folder).map_err(failed)?;
        fs::remove_file(link).map_err(failed)?;
    }
    Ok(())
}

/// The namespaces of a pod, and where each is to be pinned.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Wanted {
    pub(super) users: Users,
    pub(super) net: PathBuf,
    pub(super) ipc: PathBuf,
    pub(super) uts: PathBuf,
    pub(super) hostname: String,
    /// Parameters of the kernel, beside those of the network.
    pub(super) sysctls: Vec<(String, String)>,
}

impl Wanted {
    /// As the helper is told.
    pub(super) fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| failed(error.into()))
    }
}

/// Has the helper make them, which is asked for [`MODE`] and the text of what is wanted.
pub(super) fn make(mut helper: Command) -> Result<()> {
    let output = helper.output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    // What the pod asks for and is not to be had is said by the number of the end.
    Err(match output.status.code() == Some(REFUSED) {
        true => RuntimeError::InvalidSpec { message: said },
        false => RuntimeError::Failed { message: format!("users of the pod's own cannot be had: {said}") },
    })
}

const REFUSED: i32 = 3;

/// The helper.
pub(super) fn main(wanted: &str) -> i32 {
    let made = serde_json::from_str(wanted).map_err(io::Error::from).and_then(|wanted| have(&wanted));
    match made {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

fn have(wanted: &Wanted) -> io::Result<i32> {
    let within = || {
        unshare(UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS)?;
        rustix::system::sethostname(wanted.hostname.as_bytes())?;
        wanted.sysctls.iter().try_for_each(|(name, value)| pins::set(name, value))
    };
    let child = match begin(wanted.users.first, within)? {
        Begun::Made(child) => child,
        Begun::Ended(code) => return Ok(code),
    };
    let Users { namespace, .. } = &wanted.users;
    for (kind, pin) in [("user", namespace), ("net", &wanted.net), ("ipc", &wanted.ipc), ("uts", &wanted.uts)]
    {
        if let Some(folder) = pin.parent() {
            fs::create_dir_all(folder)?;
        }
        File::create(pin)?;
        rustix::mount::mount_bind(format!("/proc/{}/ns/{kind}", child.pid.as_raw_nonzero()), pin)?;
    }
    child.end()?;
    Ok(0)
}

/// A process that holds the namespaces it has made.
struct Held {
    pid: Pid,
    go_on: File,
}

enum Begun {
    Made(Held),
    /// It has ended before, with this code, and said why.
    Ended(i32),
}

impl Held {
    fn end(self) -> io::Result<()> {
        drop(self.go_on);
        rustix::process::waitpid(Some(self.pid), WaitOptions::empty())?;
        Ok(())
    }
}

/// Begins a process that is root of users of its own, and does something as that.
fn begin(first: u32, within: impl FnOnce() -> io::Result<()>) -> io::Result<Begun> {
    let (told, tells) = pipe()?;
    let (goes_on, go_on) = pipe()?;
    match fork()? {
        Fork::Child => {
            drop((told, go_on));
            std::process::exit(match live(tells, goes_on, within) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("{error}");
                    if error.kind() == io::ErrorKind::InvalidInput { REFUSED } else { 1 }
                }
            })
        }
        Fork::Parent(pid) => {
            drop((tells, goes_on));
            let (mut told, mut held) = (told, Held { pid, go_on });
            let mut says = || told.read_exact(&mut [0]).is_ok();
            let number = pid.as_raw_nonzero();
            let made = says() && {
                for map in ["uid_map", "gid_map"] {
                    fs::write(format!("/proc/{number}/{map}"), format!("0 {first} {COUNT}\n"))?;
                }
                held.go_on.write_all(b".")?;
                says()
            };
            if made {
                return Ok(Begun::Made(held));
            }
            drop(held);
            let ended = rustix::process::waitpid(Some(pid), WaitOptions::empty())?;
            Ok(Begun::Ended(ended.and_then(|(_, status)| status.exit_status()).unwrap_or(1)))
        }
    }
}

fn live(mut tells: File, mut goes_on: File, within: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    unshare(UnshareFlags::NEWUSER)?;
    tells.write_all(b".")?;
    goes_on.read_exact(&mut [0])?;
    rustix::thread::set_thread_groups(&[])?;
    let (gid, uid) = (Gid::ROOT, Uid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    within()?;
    tells.write_all(b".")?;
    // Until the other side has what it wants of us.
    let _ = goes_on.read(&mut [0])?;
    Ok(())
}

fn pipe() -> io::Result<(File, File)> {
    let (reader, writer): (OwnedFd, OwnedFd) = rustix::pipe::pipe()?;
    Ok((reader.into(), writer.into()))
}

/// Whether pods can have users of their own here, with files of the machine: by trying. It leaves no namespace that we are in.
pub(super) fn can_be_had(scratch: &Path) -> bool {
    let tried = || -> io::Result<bool> {
        let Begun::Made(held) = begin(FIRST, || Ok(()))? else { return Ok(false) };
        let namespace = File::open(format!("/proc/{}/ns/user", held.pid.as_raw_nonzero()))?;
        let mounted = match fork()? {
            Fork::Child => {
                std::process::exit(i32::from(own_users::try_mounts(namespace.as_fd(), scratch).is_err()))
            }
            Fork::Parent(child) => rustix::process::waitpid(Some(child), WaitOptions::empty())?,
        };
        held.end()?;
        Ok(mounted.is_some_and(|(_, status)| status.exit_status() == Some(0)))
    };
    tried().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pod_has_numbers_of_its_own_for_as_long_as_it_is_there() {
        let place = tempfile::tempdir().unwrap();
        let run = place.path().join("run");
        fs::create_dir(&run).unwrap();
        let sandbox = |name: &str| {
            let path = place.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (a, b) = (take(&run, &sandbox("a")).unwrap(), take(&run, &sandbox("b")).unwrap());
        assert_eq!((a, b), (FIRST, FIRST + COUNT));
        give_back(&run, b, &sandbox("a")).unwrap();
        assert!(folder(&run).join(b.to_string()).exists(), "only their owner gives them back");
        give_back(&run, b, &sandbox("b")).unwrap();
        fs::write(folder(&run).join("last"), "0").unwrap();
        assert_eq!(take(&run, &sandbox("c")).unwrap(), b, "those of the first are somebody's");
        fs::remove_dir(sandbox("a")).unwrap();
        fs::write(folder(&run).join("last"), MOST.to_string()).unwrap();
        assert_eq!(take(&run, &sandbox("d")).unwrap(), a, "of a sandbox that is gone");
    }
}
