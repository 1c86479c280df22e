//! How a container's process is started: the namespaces, mounts and rights it gets. Runs in the helper program, which
//! has one thread.
//!
//! Without mounts a process sees the machine's files as they are. With mounts it gets a *root of its own made of the
//! machine's*: a temporary file system whose top folders are the machine's, bound; what is mounted goes over that, and
//! mount points that the machine does not have are made there. Below a folder of the machine that would mean to make
//! folders on the machine, so an overlay is laid over that folder first. Nothing of it is seen outside.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use orchestra_core::runtime::{Propagation, Resources};
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Gid, Uid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use serde::{Deserialize, Serialize};

use super::cgroup::Cgroups;

/// What a process gets. Written into the container's record when it is made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Launch {
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
    pub(super) log: PathBuf,
    /// Whether namespaces are made with rights of our own, or in a user namespace first.
    pub(super) rootless: bool,
}

/// A mount, as the port has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MountRecord {
    pub(super) from: PathBuf,
    pub(super) to: String,
    pub(super) read_only: bool,
    pub(super) receives: bool,
}

impl MountRecord {
    pub(super) fn new(mount: &orchestra_core::runtime::Mount) -> Self {
        Self {
            from: mount.host_path.clone(),
            to: mount.container_path.clone(),
            read_only: mount.read_only,
            receives: mount.propagation != Propagation::Private,
        }
    }
}

/// What a process may use; absent where nothing is limited or nothing can be.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Limits {
    pub(super) cpu_shares: u64,
    pub(super) cpu_quota: Option<i64>,
    pub(super) cpu_period: u64,
    pub(super) memory_bytes: Option<i64>,
}

impl Limits {
    pub(super) fn new(resources: &Resources) -> Self {
        Self {
            cpu_shares: resources.cpu_shares,
            cpu_quota: resources.cpu_quota,
            cpu_period: resources.cpu_period,
            memory_bytes: resources.memory_bytes,
        }
    }
}

impl Launch {
    /// Takes this program into new namespaces, and makes the root for its process.
    pub(super) fn enter(&self, dir: &Path) -> io::Result<()> {
        if let Some(netns) = &self.netns {
            let namespace = File::open(netns)?;
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        if self.rootless && self.mounts.is_empty() {
            return Ok(());
        }
        if self.rootless {
            enter_user_namespace()?;
        }
        let files = if self.mounts.is_empty() { UnshareFlags::empty() } else { UnshareFlags::NEWNS };
        unshare(files | UnshareFlags::NEWUTS)?;
        if !self.hostname.is_empty() {
            rustix::system::sethostname(self.hostname.as_bytes())?;
        }
        if !self.mounts.is_empty() {
            self.make_root(dir)?;
        }
        Ok(())
    }

    /// Takes this program into the namespaces of a process that was started with this.
    pub(super) fn join(&self, process: i32) -> io::Result<()> {
        let mounts = !self.mounts.is_empty();
        let namespaces = [
            ("user", LinkNameSpaceType::User, self.rootless && mounts),
            ("net", LinkNameSpaceType::Network, self.netns.is_some()),
            ("uts", LinkNameSpaceType::HostNameAndNISDomainName, !self.rootless || mounts),
            ("mnt", LinkNameSpaceType::Mount, mounts),
        ];
        // All are opened before any is entered: afterwards `/proc` may be another.
        let opened: Vec<(File, LinkNameSpaceType)> = namespaces
            .into_iter()
            .filter(|(_, _, used)| *used)
            .map(|(name, kind, _)| Ok((File::open(format!("/proc/{process}/ns/{name}"))?, kind)))
            .collect::<io::Result<_>>()?;
        for (namespace, kind) in opened {
            rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?;
        }
        Ok(())
    }

    /// The command to run, in the root and with the rights that this says. A `held` one is killed when this program
    /// dies.
    pub(super) fn command(
        &self,
        program: &str,
        args: &[String],
        dir: &Path,
        held: bool,
    ) -> io::Result<Command> {
        let root = (!self.mounts.is_empty()).then(|| root(dir));
        let cwd = Path::new(&self.working_dir).strip_prefix("/").unwrap_or(Path::new(&self.working_dir));
        if !root.as_deref().unwrap_or(Path::new("/")).join(cwd).is_dir() {
            let message = format!("the working directory {} is not there", self.working_dir);
            return Err(io::Error::new(io::ErrorKind::NotADirectory, message));
        }
        let mut command = Command::new(program);
        command.args(args).env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        let become_it = Become {
            cgroups: Cgroups::open(dir.file_name().unwrap_or(OsStr::new("")))?,
            root,
            cwd: PathBuf::from(&self.working_dir),
            user: self.user.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))),
            groups: self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect(),
            no_new_privileges: self.no_new_privileges,
            oom_score_adj: self.oom_score_adj,
            held,
        };
        before_exec(&mut command, become_it);
        Ok(command)
    }

    fn make_root(&self, dir: &Path) -> io::Result<()> {
        // What is mounted here stays here; what the machine mounts later is still seen.
        rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)?;
        let root = root(dir);
        fs::create_dir_all(&root)?;
        rustix::mount::mount("tmpfs", &root, "tmpfs", MountFlags::empty(), c"mode=755")?;
        // One of the folders bound below holds this one: it shall not appear in itself.
        rustix::mount::mount_change(&root, MountPropagationFlags::UNBINDABLE)?;
        let scratch = root.join(SCRATCH);
        fs::create_dir(&scratch)?;
        // A mount of its own, as overlays refuse a layer that cannot be bound.
        rustix::mount::mount("tmpfs", &scratch, "tmpfs", MountFlags::empty(), c"mode=700")?;
        for entry in fs::read_dir("/")? {
            let path = entry?.path();
            match path == Path::new("/dev") {
                true => mirror_devices(&path, &root.join("dev"))?,
                false => mirror(&path, &root)?,
            }
        }
        let mut root = Root { path: root, scratch, placed: Vec::new(), overlaid: Vec::new() };
        for mount in &self.mounts {
            root.place(mount).map_err(|error| {
                let path = mount.from.display();
                io::Error::new(error.kind(), format!("mounting {path} at {}: {error}", mount.to))
            })?;
        }
        Ok(())
    }
}

/// Where overlays keep what is made in them.
const SCRATCH: &str = ".orchestra";

fn root(dir: &Path) -> PathBuf {
    dir.join("rootfs")
}

/// Shows the machine's devices one by one: every container has something mounted in that folder, and an overlay over it
/// would hide what is mounted there and, in a user namespace, make no device usable.
fn mirror_devices(devices: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(devices)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let numbered = |kind: &str| name.strip_prefix(kind).is_some_and(|rest| !rest.is_empty());
        // Terminals and memory disks by the hundred are of no use to a container.
        if !["tty", "vcs", "loop", "ram"].into_iter().any(numbered) {
            mirror(&path, to)?;
        }
    }
    Ok(())
}

/// Shows one entry of the machine's root in the new one.
fn mirror(path: &Path, root: &Path) -> io::Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let (kind, to) = (fs::symlink_metadata(path)?.file_type(), root.join(name));
    if kind.is_symlink() {
        std::os::unix::fs::symlink(fs::read_link(path)?, to)
    } else if kind.is_dir() {
        fs::create_dir(&to)?;
        rustix::mount::mount_bind_recursive(path, &to).map_err(io::Error::from)
    } else {
        File::create(&to)?;
        rustix::mount::mount_bind(path, &to).map_err(io::Error::from)
    }
}

/// A root that is being made.
struct Root {
    path: PathBuf,
    scratch: PathBuf,
    /// What is mounted already. There, what is missing is made in the volume itself, as container engines do.
    placed: Vec<PathBuf>,
    /// Folders of the machine that an overlay is over.
    overlaid: Vec<PathBuf>,
}

impl Root {
    fn place(&mut self, mount: &MountRecord) -> io::Result<()> {
        let to = self.mount_point(&mount.to, mount.from.is_dir())?;
        rustix::mount::mount_bind_recursive(&mount.from, &to)?;
        if !mount.receives {
            rustix::mount::mount_change(&to, MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
        }
        if mount.read_only {
            make_read_only(&to)?;
        }
        self.placed.push(to);
        Ok(())
    }

    /// Finds where a mount goes, and makes what is missing of the way there.
    fn mount_point(&mut self, path: &str, is_dir: bool) -> io::Result<PathBuf> {
        let mut here = self.path.clone();
        let mut parts = plain_components(path)?.into_iter().peekable();
        while let Some(part) = parts.next() {
            let mut next = here.join(&part);
            if fs::symlink_metadata(&next).is_ok_and(|meta| meta.is_symlink()) {
                next = follow(&self.path, &next)?;
            }
            if !next.exists() {
                if !self.is_ours(&here) {
                    lay_over(&here, &self.scratch.join(self.overlaid.len().to_string()))?;
                    self.overlaid.push(here.clone());
                }
                match parts.peek().is_some() || is_dir {
                    true => fs::create_dir(&next)?,
                    false => drop(File::create(&next)?),
                }
            }
            here = next;
        }
        match here == self.path {
            true => Err(io::Error::new(io::ErrorKind::InvalidInput, "nothing can be mounted at /")),
            false => Ok(here),
        }
    }

    /// Whether something can be made in a folder without it being made on the machine: in our own temporary file
    /// system, in a volume, or under an overlay.
    fn is_ours(&self, folder: &Path) -> bool {
        let device = |path: &Path| rustix::fs::stat(path).map(|found| found.st_dev).ok();
        device(folder) == device(&self.path)
            || self.placed.iter().chain(&self.overlaid).any(|known| folder.starts_with(known))
    }
}

fn make_read_only(mount: &Path) -> io::Result<()> {
    // Flags that are set already are locked in a user namespace and have to be repeated.
    let flags = rustix::fs::statvfs(mount)?.f_flag;
    let mut keep = MountFlags::BIND | MountFlags::RDONLY;
    for (is, flag) in [
        (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ] {
        keep.set(flag, flags.contains(is));
    }
    rustix::mount::mount_remount(mount, keep, c"")?;
    Ok(())
}

/// Where a symbolic link within the new root leads, as somebody sees it for whom that is the root.
fn follow(root: &Path, link: &Path) -> io::Result<PathBuf> {
    let target = fs::read_link(link)?;
    let full = match target.is_absolute() {
        true => target,
        false => {
            let parent = link.parent().unwrap_or(root);
            Path::new("/").join(parent.strip_prefix(root).unwrap_or(parent)).join(target)
        }
    };
    let mut resolved = root.to_owned();
    for component in full.components() {
        match component {
            Component::Normal(part) => resolved.push(part),
            Component::ParentDir if resolved != root => {
                resolved.pop();
            }
            _ => {}
        }
    }
    // A link to a link is not followed further: its name is then made into what is missing, or found to be there.
    Ok(resolved)
}

fn plain_components(path: &str) -> io::Result<Vec<PathBuf>> {
    Path::new(path)
        .components()
        .filter(|component| !matches!(component, Component::RootDir | Component::CurDir))
        .map(|component| match component {
            Component::Normal(part) => Ok(PathBuf::from(part)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a mount path must not contain '..'")),
        })
        .collect()
}

fn lay_over(folder: &Path, scratch: &Path) -> io::Result<()> {
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let options =
        format!("lowerdir={},upperdir={},workdir={}", escaped(folder)?, escaped(&upper)?, escaped(&work)?);
    let options = std::ffi::CString::new(options)?;
    rustix::mount::mount("overlay", folder, "overlay", MountFlags::empty(), options.as_c_str())?;
    Ok(())
}

/// A path as an option of an overlay, where commas and colons mean something.
fn escaped(path: &Path) -> io::Result<String> {
    let text = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(text.replace('\\', "\\\\").replace(',', "\\,").replace(':', "\\:"))
}

/// A user namespace in which we are who we were, but may mount.
fn enter_user_namespace() -> io::Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    unshare(UnshareFlags::NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// Leaves namespaces for new ones. Never called with `FILES`.
#[allow(
    unsafe_code,
    reason = "unshare(2) has no safe wrapper, for the sake of CLONE_FILES, which is not used here"
)]
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    let flags = flags.difference(UnshareFlags::FILES);
    // SAFETY: without FILES no descriptor changes its meaning for any thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// What the new process does to itself before it becomes the command.
struct Become {
    cgroups: Cgroups,
    root: Option<PathBuf>,
    cwd: PathBuf,
    user: Option<(Uid, Gid)>,
    groups: Vec<Gid>,
    no_new_privileges: bool,
    oom_score_adj: i32,
    held: bool,
}

impl Become {
    fn apply(&self) -> io::Result<()> {
        self.cgroups.join()?;
        if self.oom_score_adj > 0 {
            fs::write("/proc/self/oom_score_adj", self.oom_score_adj.to_string())?;
        }
        if let Some(root) = &self.root {
            rustix::process::chroot(root)?;
        }
        rustix::process::chdir(&self.cwd)?;
        if let Some((uid, gid)) = self.user {
            rustix::thread::set_thread_groups(&self.groups)?;
            rustix::thread::set_thread_res_gid(gid, gid, gid)?;
            rustix::thread::set_thread_res_uid(uid, uid, uid)?;
        }
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true)?;
        }
        if self.held {
            // Last, because a change of user takes it back.
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        }
        Ok(())
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
        log: PathBuf::new(),
        rootless: !as_root,
    };
    launch.enter(scratch)
}
