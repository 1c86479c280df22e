//! How a container's process is started: the namespaces, mounts and rights it gets. Runs in the helper program, which
//! has one thread.
//!
//! Without mounts a process sees the machine's files as they are. With mounts it gets a root of its own made of the
//! machine's: see `rootfs.rs`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Gid, Uid, WaitOptions};
use rustix::thread::{CapabilitySet, LinkNameSpaceType, UnshareFlags};
use serde::{Deserialize, Serialize};

use super::fork::{Fork, fork};
use super::rootfs::{self, MountRecord};
use crate::cgroup::{self, Cgroups, Limits};
use crate::namespaces::unshare;

/// What a process gets. Written into the container's record when it is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(super) program: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) working_dir: String,
    pub(super) hostname: String,
    pub(super) netns: Option<PathBuf>,
    pub(super) mounts: Vec<MountRecord>,
    /// Numbers of user and group, when the helper may change them.
    pub(super) user: Option<(u32, u32)>,
    pub(super) groups: Vec<u32>,
    pub(super) no_new_privileges: bool,
    pub(super) oom_score_adj: i32,
    pub(super) limits: Limits,
    /// The control group of its pod, if that has one.
    #[serde(default)]
    pub(super) pod_group: Option<String>,
    pub(super) log: PathBuf,
    /// Whether namespaces are made with rights of our own, or in a user namespace first.
    pub(super) rootless: bool,
    /// It sees no processes but those of its container, and none of them outlives the container.
    #[serde(default)]
    pub(super) own_processes: bool,
    /// It can write only what is mounted for it, and devices.
    #[serde(default)]
    pub(super) read_only_root: bool,
    /// Linux capabilities that it may never have, by their bits.
    #[serde(default)]
    pub(super) without_capabilities: u64,
    /// It has an input.
    #[serde(default)]
    pub(super) stdin: bool,
    /// Which ends when the first who wrote leaves.
    #[serde(default)]
    pub(super) stdin_once: bool,
    /// It has a terminal.
    #[serde(default)]
    pub(super) tty: bool,
}

impl Launch {
    /// Whether the process has a root made for it.
    fn has_root(&self) -> bool {
        !self.mounts.is_empty() || self.own_processes || self.read_only_root
    }

    /// Takes this program where it may make namespaces, and its children from now on into one of processes.
    pub(super) fn separate(&self) -> io::Result<()> {
        if self.rootless && self.has_root() {
            enter_user_namespace()?;
        }
        match self.own_processes {
            true => unshare(UnshareFlags::NEWPID),
            false => Ok(()),
        }
    }

    /// Takes this program into the other new namespaces, and makes the root for its process.
    pub(super) fn enter(&self, dir: &Path) -> io::Result<()> {
        if let Some(netns) = &self.netns {
            let namespace = File::open(netns)?;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        if self.rootless && !self.has_root() {
            return Ok(());
        }
        let files = if self.has_root() { UnshareFlags::NEWNS } else { UnshareFlags::empty() };
        unshare(files | UnshareFlags::NEWUTS)?;
        if !self.hostname.is_empty() {
            rustix::system::sethostname(self.hostname.as_bytes())?;
        }
        if self.has_root() {
            rootfs::make(dir, &self.mounts, self.own_processes, self.read_only_root)?;
        }
        Ok(())
    }

    /// Takes this program into the namespaces of a shim that has entered them, and its children from now on into the
    /// one of processes.
    pub(super) fn join(&self, shim: i32) -> io::Result<()> {
        let root = self.has_root();
        let namespaces = [
            ("user", LinkNameSpaceType::User, self.rootless && root),
            ("net", LinkNameSpaceType::Network, self.netns.is_some()),
            ("uts", LinkNameSpaceType::HostNameAndNISDomainName, !self.rootless || root),
            ("pid", LinkNameSpaceType::ProcessID, self.own_processes),
            ("mnt", LinkNameSpaceType::Mount, root),
        ];
        // All are opened before any is entered: afterwards `/proc` may be another.
        let opened: Vec<(File, LinkNameSpaceType)> = namespaces
            .into_iter()
            .filter(|(_, _, used)| *used)
            .map(|(name, kind, _)| Ok((File::open(format!("/proc/{shim}/ns/{name}"))?, kind)))
            .collect::<io::Result<_>>()?;
        for (namespace, kind) in opened {
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?;
        }
        Ok(())
    }

    /// The control group of its container.
    pub(super) fn group(&self, container: &OsStr) -> PathBuf {
        cgroup::of(self.pod_group.as_deref(), container)
    }

    /// The command to run, in the root and with the rights that this says. It is killed when this program dies. Its
    /// standard input may be its `terminal`.
    pub(super) fn command(
        &self,
        program: &str,
        args: &[String],
        dir: &Path,
        terminal: bool,
    ) -> io::Result<Command> {
        let root = self.has_root().then(|| rootfs::path(dir));
        let cwd = Path::new(&self.working_dir).strip_prefix("/").unwrap_or(Path::new(&self.working_dir));
        if !root.as_deref().unwrap_or(Path::new("/")).join(cwd).is_dir() {
            let message = format!("the working directory {} is not there", self.working_dir);
            return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
        }
        let mut command = Command::new(program);
        command.args(args).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        let become_it = Become {
            cgroups: Cgroups::open(&self.group(dir.file_name().unwrap_or(OsStr::new(""))))?,
            root,
            cwd: PathBuf::from(&self.working_dir),
            user: self.user.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))),
            groups: self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect(),
            no_new_privileges: self.no_new_privileges,
            without_capabilities: CapabilitySet::from_bits_retain(self.without_capabilities),
            oom_score_adj: self.oom_score_adj,
            terminal,
        };
        before_exec(&mut command, become_it);
        Ok(command)
    }
}

/// A user namespace in which we are who we were, but may mount.
fn enter_user_namespace() -> io::Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    unshare(UnshareFlags::NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// What the new process does to itself before it becomes the command.
struct Become {
    cgroups: Cgroups,
    root: Option<PathBuf>,
    cwd: PathBuf,
    user: Option<(Uid, Gid)>,
    groups: Vec<Gid>,
    no_new_privileges: bool,
    without_capabilities: CapabilitySet,
    oom_score_adj: i32,
    terminal: bool,
}

impl Become {
    fn apply(&self) -> io::Result<()> {
        if self.terminal {
            let terminal = rustix::stdio::stdin();
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(terminal)?;
            if let Some((uid, _)) = self.user {
                // So that its user can open it again by its name.
                let _ = rustix::fs::fchown(terminal, Some(uid), None);
            }
        }
        self.cgroups.join()?;
        if self.oom_score_adj > 0 {
            fs::write("/proc/self/oom_score_adj", self.oom_score_adj.to_string())?;
        }
        if let Some(root) = &self.root {
            rustix::process::chroot(root)?;
        }
        rustix::process::chdir(&self.cwd)?;
        self.drop_capabilities()?;
        if let Some((uid, gid)) = self.user {
            rustix::thread::set_thread_groups(&self.groups)?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        }
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true)?;
        }
        // Last, because a change of user takes it back.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        Ok(())
    }

    /// Takes capabilities out of the set that bounds all programs started from here, and out of what they inherit. What
    /// we have ourselves is still needed to change the user, and is computed anew for the program.
    fn drop_capabilities(&self) -> io::Result<()> {
        if self.without_capabilities.is_empty() {
            return Ok(());
        }
        for capability in self.without_capabilities {
            if rustix::thread::capability_is_in_bounding_set(capability).unwrap_or_default() {
                rustix::thread::remove_capability_from_bounding_set(capability)?;
            }
        }
        let mut sets = rustix::thread::capabilities(None)?;
        sets.inheritable = sets.inheritable.difference(self.without_capabilities);
        rustix::thread::set_capabilities(None, sets)?;
        Ok(())
    }
}

/// Has a command begin a session, with its standard input as the terminal.
#[allow(unsafe_code, reason = "the only way to act between fork and exec")]
pub(super) fn in_own_session(command: &mut Command) {
    let begin = || {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        Ok(())
    };
    // SAFETY: the helper has one thread, so no lock can be held by another one at the time of the fork.
    unsafe {
        command.pre_exec(begin);
    }
}

#[allow(unsafe_code, reason = "the only way to act between fork and exec")]
fn before_exec(command: &mut Command, become_it: Become) {
    // SAFETY: the helper has one thread, so no lock can be held by another one at the time of the fork.
    unsafe {
        command.pre_exec(move || become_it.apply());
    }
}

/// Whether a root of our own can be made, by making one.
pub(super) fn can_mount(as_root: bool, scratch: &Path) -> io::Result<()> {
    let launch = Launch {
        program: String::new(),
        args: Vec::new(),
        env: Vec::new(),
        working_dir: String::new(),
        hostname: String::new(),
        netns: None,
        mounts: vec![MountRecord {
            from: "/".into(),
            to: "/orchestra-probe".into(),
            read_only: true,
            receives: false,
        }],
        user: None,
        groups: Vec::new(),
        no_new_privileges: false,
        oom_score_adj: 0,
        limits: Limits::default(),
        pod_group: None,
        log: PathBuf::new(),
        rootless: !as_root,
        own_processes: false,
        read_only_root: false,
        without_capabilities: 0,
        stdin: false,
        stdin_once: false,
        tty: false,
    };
    launch.separate()?;
    launch.enter(scratch)
}

/// Whether a namespace of processes can be made and its `/proc` shown, by doing it below the root of [`can_mount`].
pub(super) fn can_separate_processes(scratch: &Path) -> io::Result<bool> {
    unshare(UnshareFlags::NEWPID)?;
    match fork()? {
        Fork::Child => {
            let shown = rootfs::mount_processes(&rootfs::path(scratch).join("proc"));
            std::process::exit(i32::from(shown.is_err()));
        }
        Fork::Parent(child) => {
            let ended = rustix::process::waitpid(Some(child), WaitOptions::empty())?;
            Ok(ended.is_some_and(|(_, status)| status.exit_status() == Some(0)))
        }
    }
}
