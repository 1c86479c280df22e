//! Who holds a pod's namespace of processes, where its containers share one: its first process, which takes in those that lose
//! their parents and does nothing else. When it ends, all of them do.
//!
//! It is the helper, started for a sandbox's folder, in which it holds a lock for as long as it lives and says its number.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use super::fork::{Fork, fork};
use crate::namespaces::unshare;

/// What the helper is asked for.
pub(super) const MODE: &str = "pause";

fn lock_file(dir: &Path) -> PathBuf {
    dir.join("pause.lock")
}

fn number_file(dir: &Path) -> PathBuf {
    dir.join("pause")
}

/// Starts it by the helper, which is asked for [`MODE`] and the folder, and waits until it is there.
pub(super) fn start(mut helper: Command, dir: &Path) -> io::Result<()> {
    let output = helper.output()?;
    match output.status.success() && is_held(dir) {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(io::Error::other(format!("a namespace of processes cannot be made: {said}")))
        }
    }
}

/// Whether it lives.
pub(super) fn is_held(dir: &Path) -> bool {
    File::open(lock_file(dir)).is_ok_and(|file| {
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
    })
}

/// Its number, if it lives.
pub(crate) fn number(dir: &Path) -> Option<i32> {
    let number = fs::read_to_string(number_file(dir)).ok()?.trim().parse().ok()?;
    is_held(dir).then_some(number)
}

/// Ends it, and with it all that are in its namespace.
pub(super) fn end(dir: &Path) {
    for _ in 0..500 {
        let Some(pid) = number(dir).and_then(Pid::from_raw) else { return };
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// The helper.
pub(super) fn main(dir: &Path) -> i32 {
    match hold(dir) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

fn hold(dir: &Path) -> io::Result<i32> {
    rustix::process::setsid()?;
    let lock = File::options().create(true).truncate(false).write(true).open(lock_file(dir))?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    unshare(UnshareFlags::NEWPID)?;
    match fork()? {
        Fork::Parent(child) => {
            fs::write(number_file(dir), child.as_raw_nonzero().to_string())?;
            Ok(0)
        }
        Fork::Child => {
            rustix::thread::set_name(c"orchestra-pause")?;
            let null = File::options().read(true).write(true).open("/dev/null")?;
            rustix::stdio::dup2_stdin(&null)?;
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
            // The lock is ours too, and stays when our parent ends.
            loop {
                match rustix::process::wait(WaitOptions::empty()) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    // Nobody is there to take in. Those who come are not ours to be told of, so we look.
                    Err(_) => std::thread::sleep(std::time::Duration::from_secs(1)),
                }
            }
        }
    }
}
