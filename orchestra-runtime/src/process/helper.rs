//! The helper: this same program, started again under another name to hold a container.
//!
//! A container must outlive the agent, and namespaces can only be prepared by a program with one thread. Both need a
//! process of our own between agent and container. Instead of a second file to install, a program that embeds the
//! process runtime calls [`init`] first thing in `main`, and is its own helper.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use orchestra_core::runtime::{Result, RuntimeError};
use serde::{Deserialize, Serialize};

use crate::cgroup;
use crate::namespaces::unshare;

use super::record::ContainerDir;
use super::{exec, launch, pause, supervise, users};

/// What the helper is called as; nobody would call a program that by accident.
const NAME: &str = "orchestra-container-helper";

static READY: AtomicBool = AtomicBool::new(false);

/// Makes this program its own helper. Call it first in `main`, before threads are started and arguments are read:
///
/// ```no_run
/// # fn serve() {}
/// orchestra_runtime::process::init();
/// serve(); // The program.
/// ```
///
/// In a program that was started as a helper this does not return. A program that cannot call it names another one that
/// does, by [`Config::helper`](super::Config::helper).
pub fn init() {
    let mut arguments = std::env::args_os();
    if arguments.next().as_deref() == Some(OsStr::new(NAME)) {
        let arguments: Vec<OsString> = arguments.collect();
        std::process::exit(serve(&arguments));
    }
    READY.store(true, Ordering::Relaxed);
}

/// The program to start as a helper.
#[derive(Debug, Clone)]
pub(super) struct Helper {
    path: PathBuf,
}

impl Helper {
    /// The named program, or this one if it has called [`init`]. One that has not would begin all over again.
    pub(super) fn find(named: Option<&Path>) -> Result<Self> {
        match named {
            Some(path) if path.is_file() => Ok(Self { path: path.to_owned() }),
            Some(path) => Err(RuntimeError::InvalidSpec {
                message: format!("the helper program {} is not there", path.display()),
            }),
            // Not the path of the program, which may have been replaced meanwhile.
            None if READY.load(Ordering::Relaxed) => Ok(Self { path: "/proc/self/exe".into() }),
            None => Err(RuntimeError::InvalidSpec {
                message:
                    "the process runtime needs a helper: call orchestra_runtime::process::init() first in \
                          main, or name a program that does in Config::helper"
                        .into(),
            }),
        }
    }

    pub(super) fn command(&self, arguments: &[&OsStr]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg0(NAME).args(arguments).env_clear();
        command
    }
}

/// What can be done on this machine, as the helper found it by trying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Abilities {
    /// Network namespaces with addresses of their own.
    pub(crate) networks: bool,
    /// Mounts at another path.
    pub(super) mounts: bool,
    /// Limits on memory and processor time.
    pub(crate) limits: bool,
    /// Other users.
    pub(super) users: bool,
    /// Namespaces of processes.
    pub(super) processes: bool,
    /// Users of a pod's own, with files of the machine.
    pub(crate) own_users: bool,
}

impl Abilities {
    pub(super) fn probe(helper: &Helper, scratch: &Path) -> Result<Self> {
        let failed =
            |message: String| RuntimeError::Failed { message: format!("probing the machine: {message}") };
        let output = helper
            .command(&[OsStr::new("probe"), scratch.as_os_str()])
            .output()
            .map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&output.stdout)
            .map_err(|_| failed(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

fn serve(arguments: &[OsString]) -> i32 {
    super::fork::close_inherited();
    let words: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    match words.as_slice() {
        [mode, scratch] if *mode == "probe" => probe(Path::new(scratch)),
        [mode, dir] if *mode == pause::MODE => pause::main(Path::new(dir)),
        [mode, wanted] if *mode == users::MODE => users::main(&wanted.to_string_lossy()),
        [mode, dir] if *mode == "supervise" => supervise::main(ContainerDir(PathBuf::from(dir))),
        [mode, dir, command @ ..] if *mode == exec::PLAIN || *mode == exec::TERMINAL => {
            exec::main(&ContainerDir(PathBuf::from(dir)), command, *mode == exec::TERMINAL)
        }
        _ => {
            eprintln!("{NAME}: not meant to be called by hand");
            2
        }
    }
}

fn probe(scratch: &Path) -> i32 {
    use rustix::thread::UnshareFlags;
    let root = rustix::process::geteuid().is_root();
    let mut found = Abilities { users: root, limits: root && cgroup::usable(), ..Abilities::default() };
    found.own_users = root && users::can_be_had(scratch);
    // A namespace entered is not left again, so what comes last is what nothing depends on.
    found.networks = root && unshare(UnshareFlags::NEWNET).is_ok();
    found.mounts = launch::can_mount(root, scratch).is_ok();
    found.processes = found.mounts && launch::can_separate_processes(scratch).unwrap_or_default();
    match serde_json::to_string(&found) {
        Ok(text) => {
            print!("{text}");
            0
        }
        Err(_) => 1,
    }
}
