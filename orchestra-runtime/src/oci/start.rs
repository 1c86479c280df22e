//! Starting a container of a bundle, in the shim that holds it; and commands in one that runs.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::Pid;
use serde_json::Value;

use super::bundle::Bundle;
use super::{own_users, rootfs, runc};

/// What runc wrote down of a start.
const LOG: &str = "runc.log";
/// What it is told.
const CONFIG: &str = "config.json";
/// How long a terminal may take to come once the container runs.
const TERMINAL: std::time::Duration = std::time::Duration::from_secs(10);

/// Why a container did not start.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) code: i32,
    pub(crate) message: String,
}

/// Makes the root and says what runc is to do, in the container's folder.
pub(crate) fn prepare(dir: &Path, bundle: &Bundle) -> Result<(), Refused> {
    let failed = |what: &str, error: &dyn std::fmt::Display| Refused {
        code: 128,
        message: format!("{what}: {error}"),
    };
    // What a shim before us has left, which was killed before the container ran.
    bundle.runc().delete(dir.file_name().unwrap_or(OsStr::new("")));
    let root = rootfs::make(dir, &bundle.layers, &bundle.shared, bundle.own.as_ref())
        .map_err(|error| failed("making the root", &error))?;
    let list = |path: &str| rootfs::read(&root, path).map_err(|error| failed(path, &error));
    let user = bundle.user.find(&list("/etc/passwd")?, &list("/etc/group")?);
    let user = user.map_err(|message| Refused { code: 128, message })?;
    let mut ids = [user.uid, user.gid].into_iter().chain(user.groups.iter().copied());
    if let Some(id) = ids.find(|id| bundle.own.is_some() && !own_users::has(*id)) {
        let message = format!("a pod with hostUsers: false has no user or group {id}: it has those to 65535");
        return Err(Refused { code: 128, message });
    }
    let config = serde_json::to_vec(&bundle.finish(&user)).map_err(|error| failed(CONFIG, &error))?;
    fs::write(dir.join(CONFIG), config).map_err(|error| failed(CONFIG, &error))
}

/// Where runc hands over the terminal of a container.
pub(crate) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    fn open(dir: &Path) -> io::Result<(Self, OwnedFd)> {
        use rustix::fs::{Mode, OFlags};
        let folder = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let path = dir.join("console");
        let _ = fs::remove_file(&path);
        // By a handle of the folder, as the name of a socket has room for 100 bytes only; and as runc finds it.
        let short = |name: &str| format!("/proc/{}/fd/{}/{name}", std::process::id(), folder.as_raw_fd());
        let listener = UnixListener::bind(short("console"))?;
        Ok((Self { listener, path: short("console").into() }, folder))
    }

    /// The terminal that runc has sent.
    fn terminal(self) -> io::Result<OwnedFd> {
        self.listener.set_nonblocking(true)?;
        let began = std::time::Instant::now();
        let stream = loop {
            match self.listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && began.elapsed() < TERMINAL => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Err(error) => return Err(error),
            }
        };
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(TERMINAL))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let (mut control, mut name) = (RecvAncillaryBuffer::new(&mut space), [0_u8; 256]);
        let mut text = [IoSliceMut::new(&mut name)];
        rustix::net::recvmsg(&stream, &mut text, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let sent = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        sent.ok_or_else(|| io::Error::other("no terminal was handed over"))
    }
}

/// Starts a container whose folder is prepared. `connect` gives runc, and so the container, its streams, unless it has a
/// terminal, which is handed back.
pub(crate) fn start(
    dir: &Path,
    bundle: &Bundle,
    connect: impl FnOnce(&mut Command) -> io::Result<()>,
) -> Result<(Pid, Option<OwnedFd>), Refused> {
    let failed = |error: io::Error| Refused { code: 128, message: format!("starting runc: {error}") };
    let (log, number) = (dir.join(LOG), dir.join("pid"));
    let _ = fs::remove_file(&log);
    let mut command = bundle.runc().command(&log);
    command.args(["run", "--detach", "--bundle"]).arg(dir).arg("--pid-file").arg(&number);
    let console = match bundle.tty {
        true => Some(Console::open(dir).map_err(failed)?),
        false => None,
    };
    match &console {
        Some((console, _)) => {
            command.arg("--console-socket").arg(&console.path);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        None => connect(&mut command).map_err(failed)?,
    }
    command.arg(dir.file_name().unwrap_or(OsStr::new("")));
    let ended = command.spawn().and_then(|mut runc| runc.wait()).map_err(failed)?;
    drop(command); // and with it our ends of its pipes
    if !ended.success() {
        let message =
            runc::failure(&log).unwrap_or_else(|| format!("runc ended with {ended} and said nothing"));
        return Err(Refused { code: runc::code(&message), message });
    }
    let pid = fs::read_to_string(&number).ok().and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
    let pid =
        pid.ok_or_else(|| failed(io::Error::other("it does not say the number of the container's process")))?;
    let terminal = console.map(|(console, _folder)| console.terminal()).transpose().map_err(failed)?;
    let _ = fs::remove_file(dir.join("console"));
    Ok((pid, terminal))
}

/// A command in a running container, that is not started yet: with the rights and the environment that the container has.
pub(crate) struct Exec {
    pub(crate) command: Command,
    log: PathBuf,
    process: PathBuf,
}

impl Exec {
    pub(crate) fn new(dir: &Path, bundle: &Bundle, words: &[String], terminal: bool) -> io::Result<Self> {
        let config: Value = serde_json::from_slice(&fs::read(dir.join(CONFIG))?)?;
        let mut process = config["process"].clone();
        process["args"] = words.into();
        process["terminal"] = terminal.into();
        if let Value::Array(env) = &mut process["env"]
            && terminal
            && !env.iter().any(|one| one.as_str().is_some_and(|one| one.starts_with("TERM=")))
        {
            env.push("TERM=xterm".into());
        }
        let draft = |what: &str| dir.join(format!("exec-{}.{what}", std::process::id()));
        let (path, log) = (draft("json"), draft("log"));
        fs::write(&path, serde_json::to_vec(&process)?)?;
        let mut command = bundle.runc().command(&log);
        command.arg("exec").arg("--process").arg(&path).arg(dir.file_name().unwrap_or(OsStr::new("")));
        Ok(Self { command, log, process: path })
    }

    /// The code of a command that has ended, or that could not be started.
    pub(crate) fn code(&self, code: i32) -> i32 {
        match runc::failure(&self.log) {
            Some(message) if code == 255 || code == 1 => runc::code(&message),
            _ => code,
        }
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.process);
        let _ = fs::remove_file(&self.log);
    }
}
