//! The shim: the process that holds a container while agents come and go.
//!
//! It starts the process in its namespaces, writes what it prints to the log, passes signals on to it, and when it has
//! ended kills whatever it left behind, writes the exit code, and ends itself. All that anybody needs to know it writes
//! to the container's folder; see [`record`](super::record).
//!
//! Where the machine allows it the container has a namespace of processes, and the shim is its first process. So the
//! kernel itself lets nothing outlive it: not a child in a session of its own, and not when the shim is killed. The
//! shim still sees the machine's `/proc`, in which processes have the machine's numbers, while its system calls take
//! those of the namespace. Elsewhere (and where a pod wants to see the machine's processes, or its containers each
//! other's) whatever loses its parent becomes the shim's child, and with root the control group tells what is in it.

use std::ffi::OsStr;
use std::io::{self, PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use super::cgroup;
use super::fork::{Fork, fork};
use super::logfile::{self, Stream, Writer};
use super::record::{ContainerDir, ContainerRecord, ExitRecord, StateRecord};
use crate::tree;

/// What the shim says to the agent that started it, as one line on its standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    Started,
    Failed { code: i32, message: String },
}

/// Holds a container from start to end.
pub(super) fn main(dir: ContainerDir) -> i32 {
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"orchestra-shim");
    let Ok(Some(_lock)) = dir.try_lock() else {
        report(&Report::Failed { code: 128, message: "another shim holds the container".into() });
        return 1;
    };
    let separated = dir.record().and_then(|record| {
        record.launch.separate()?;
        match record.launch.own_processes {
            true => Ok((fork()?, record)),
            false => Ok((Fork::Child, record)),
        }
    });
    let supervised = match separated {
        // The lock is the child's too, and stays.
        Ok((Fork::Parent(_), _)) => return 0,
        Ok((Fork::Child, record)) => {
            let id = dir.0.file_name().unwrap_or(OsStr::new(""));
            let done = supervise(&dir, &record, id);
            cgroup::remove(id);
            done
        }
        Err(error) => Err(error),
    };
    let failure = match supervised {
        Ok(()) => return 0,
        Err(error) => error,
    };
    let (code, message) = match failure.downcast::<NotStarted>() {
        Ok(NotStarted { code, message }) => (code, message),
        Err(error) => (128, error.to_string()),
    };
    let exit = ExitRecord {
        code,
        oom_killed: false,
        started_at: None,
        finished_at: Timestamp::now(),
        reason: "StartError".into(),
        message: message.clone(),
    };
    let _ = dir.write_exit(&exit);
    report(&Report::Failed { code, message });
    1
}

/// The command could not be executed.
#[derive(Debug)]
struct NotStarted {
    code: i32,
    message: String,
}

impl std::fmt::Display for NotStarted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NotStarted {}

/// The code a shell would give a command that cannot be executed, and the words for it.
pub(super) fn cannot_start(program: &str, error: &io::Error) -> (i32, String) {
    match error.kind() {
        io::ErrorKind::NotFound if program.contains('/') => {
            (127, format!("exec: {program:?}: no such file on this machine"))
        }
        io::ErrorKind::NotFound => (127, format!("exec: {program:?}: executable file not found in $PATH")),
        io::ErrorKind::PermissionDenied => (126, format!("exec: {program:?}: permission denied")),
        _ => (128, format!("exec: {program:?}: {error}")),
    }
}

fn report(report: &Report) {
    let mut line = serde_json::to_vec(report).unwrap_or_default();
    line.push(b'\n');
    let _ = io::stdout().write_all(&line).and_then(|()| io::stdout().flush());
}

fn supervise(dir: &ContainerDir, record: &ContainerRecord, id: &OsStr) -> io::Result<()> {
    let launch = &record.launch;
    let mut log = Writer::open(&launch.log, logfile::MAX_SIZE)?;
    if !launch.rootless {
        // Where groups cannot be made there are no limits; the runtime's capabilities have said so.
        let _ = cgroup::make(id, &launch.limits);
    }
    launch.enter(&dir.0)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut streams = Streams::open(dir)?;
        let mut command = launch.command(&launch.program, &launch.args, &dir.0, true)?;
        let (stdout, to_stdout) = io::pipe()?;
        let (stderr, to_stderr) = io::pipe()?;
        command.stdin(Stdio::null()).stdout(to_stdout).stderr(to_stderr).process_group(0);
        let child = command.spawn().map_err(|error| {
            let (code, message) = cannot_start(&launch.program, &error);
            io::Error::other(NotStarted { code, message })
        })?;
        drop(command); // and with it our ends of its pipes
        let started_at = Timestamp::now();
        let process = Process { pid: Pid::from_child(&child), group: id };
        let state = StateRecord {
            shim: own_number()?,
            // The only child so far.
            process: tree::children("self").first().copied().unwrap_or(child.id() as i32),
            started_at,
        };
        dir.write_state(&state)?;
        report(&Report::Started);
        let (stdout, stderr) = (receiver(stdout)?, receiver(stderr)?);
        let status = streams.serve(&process, stdout, stderr, &mut log).await;
        let exit = ExitRecord {
            code: code(status),
            oom_killed: cgroup::killed_for_memory(id),
            started_at: Some(started_at),
            finished_at: Timestamp::now(),
            reason: String::new(),
            message: String::new(),
        };
        dir.write_exit(&exit)
    })
}

/// Our number on the machine, which is another than the one in our own namespace.
fn own_number() -> io::Result<i32> {
    let own = std::fs::read_link("/proc/self")?;
    let number = own.to_str().and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::other("/proc/self is no process"))
}

/// The container's main process, and what else is in the container.
struct Process<'a> {
    pid: Pid,
    group: &'a OsStr,
}

impl Process<'_> {
    /// Sends a signal to the main process, which passes it on as it sees fit; but SIGKILL to all.
    fn signal(&self, signal: Signal) {
        match signal == Signal::KILL {
            true => self.kill_all(),
            false => drop(rustix::process::kill_process(self.pid, signal)),
        }
    }

    fn kill_all(&self) {
        let own = rustix::process::getpid();
        if own.is_init() {
            // As -1 it means everybody in our namespace but us.
            let _ = rustix::process::kill_process_group(own, Signal::KILL);
            return;
        }
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        for child in tree::children("self").into_iter().filter_map(Pid::from_raw) {
            tree::kill(child);
        }
        cgroup::kill(self.group);
    }
}

fn receiver(pipe: PipeReader) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(pipe.into())
}

/// What wakes the shim besides its process's output.
struct Streams {
    children: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    control: pipe::Receiver,
}

impl Streams {
    fn open(dir: &ContainerDir) -> io::Result<Self> {
        let control = dir.control();
        match rustix::fs::mkfifoat(rustix::fs::CWD, &control, rustix::fs::Mode::from_raw_mode(0o600)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            children: signal(SignalKind::child())?,
            terminate: signal(SignalKind::terminate())?,
            // For writing too, so that it does not end when a writer leaves.
            control: pipe::OpenOptions::new().read_write(true).open_receiver(control)?,
        })
    }

    /// Until the process has ended and everything it printed is written down.
    async fn serve(
        &mut self,
        process: &Process<'_>,
        mut stdout: pipe::Receiver,
        mut stderr: pipe::Receiver,
        log: &mut Writer,
    ) -> Option<WaitStatus> {
        let (mut from_stdout, mut from_stderr, mut signals) =
            (vec![0; 32 * 1024], vec![0; 8 * 1024], [0; 16]);
        let (mut stdout_open, mut stderr_open, mut ended) = (true, true, None);
        // The children that ended before this loop began have made their signal already.
        reap(process.pid, &mut ended);
        while ended.is_none() {
            tokio::select! {
                read = stdout.read(&mut from_stdout), if stdout_open => {
                    stdout_open = written(log, Stream::Stdout, &from_stdout, read);
                }
                read = stderr.read(&mut from_stderr), if stderr_open => {
                    stderr_open = written(log, Stream::Stderr, &from_stderr, read);
                }
                read = self.control.read(&mut signals) => {
                    for number in &signals[..read.unwrap_or(0)] {
                        if let Some(signal) = Signal::from_named_raw(i32::from(*number)) {
                            process.signal(signal);
                        }
                    }
                }
                _ = self.terminate.recv() => {
                    process.signal(Signal::TERM);
                }
                _ = self.children.recv() => reap(process.pid, &mut ended),
            }
        }
        end_stragglers(process).await;
        let drained = async {
            while stdout_open || stderr_open {
                tokio::select! {
                    read = stdout.read(&mut from_stdout), if stdout_open => {
                        stdout_open = written(log, Stream::Stdout, &from_stdout, read);
                    }
                    read = stderr.read(&mut from_stderr), if stderr_open => {
                        stderr_open = written(log, Stream::Stderr, &from_stderr, read);
                    }
                }
            }
        };
        // Nobody is left to write, but somebody outside may have been handed the other end.
        let _ = tokio::time::timeout(Duration::from_secs(1), drained).await;
        let _ = log.finish(Timestamp::now());
        ended.flatten()
    }
}

/// Writes what was read. `false` at the end of the stream. A log that cannot be written (a full disk) loses lines and
/// costs no container.
fn written(log: &mut Writer, stream: Stream, buffer: &[u8], read: io::Result<usize>) -> bool {
    match read {
        Ok(0) | Err(_) => false,
        Ok(read) => {
            let _ = log.take(stream, &buffer[..read], Timestamp::now());
            true
        }
    }
}

/// Takes in all children that have ended, the process's and those it left to us.
fn reap(process: Pid, ended: &mut Option<Option<WaitStatus>>) {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == process => *ended = Some(Some(status)),
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => {
                // There are no children any more, so it is not there either.
                ended.get_or_insert(None);
                return;
            }
        }
    }
}

/// Kills what a process has left behind.
async fn end_stragglers(process: &Process<'_>) {
    for _ in 0..1000 {
        process.kill_all();
        let mut none_left = None;
        reap(process.pid, &mut none_left);
        if none_left.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn code(status: Option<WaitStatus>) -> i32 {
    let Some(status) = status else { return 137 };
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(137)
}
