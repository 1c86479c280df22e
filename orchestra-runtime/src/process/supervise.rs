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
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::FutureExt;
use futures::future::FusedFuture;
use jiff::Timestamp;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

use super::attach::{Audience, Door, Input};
use super::fork::{Fork, fork};
use super::launch::Launch;
use super::record::{ContainerDir, ContainerRecord, ExitRecord, How, StateRecord};
use super::terminal::Terminal;
use crate::cgroup;
use crate::cri_log::{self, Stream, Writer};
use crate::oci::bundle::Bundle;
use crate::oci::start;
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
        let How::Process(launch) = &record.how else { return Ok((Fork::Child, record)) };
        launch.separate()?;
        match launch.own_processes {
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
            record.how.take_away(id);
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
    let how = &record.how;
    let group = how.group(id);
    let mut log = Writer::open(how.log(), cri_log::MAX_SIZE)?;
    let door = Door::open(dir)?;
    match how {
        How::Process(launch) => {
            if !launch.rootless {
                // Where groups cannot be made there are no limits; the runtime's capabilities have said so.
                let _ = cgroup::make(&group, &launch.limits);
            }
            launch.enter(&dir.0)?;
        }
        How::Bundle(bundle) => start::prepare(&dir.0, bundle).map_err(NotStarted::from)?,
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::open(dir)?;
        let (pid, wires) = match how {
            How::Process(launch) => spawn(dir, launch)?,
            How::Bundle(bundle) => run(dir, bundle)?,
        };
        let started_at = Timestamp::now();
        let process = Process { pid, group: &group };
        let state = StateRecord {
            shim: own_number()?,
            // The only child so far.
            process: tree::children("self").first().copied().unwrap_or(pid.as_raw_nonzero().get()),
            started_at,
        };
        let Wires { stdout, stderr, input, terminal } = wires;
        let audience = Audience::open(door, input, how.stdin_once(), terminal)?;
        dir.write_state(&state)?;
        report(&Report::Started);
        let outputs = Outputs { stdout, stderr, log: &mut log, audience: &audience };
        let status = tokio::select! {
            status = hold(&mut signals, &process, outputs) => status,
            () = audience.welcome() => None,
        };
        let exit = ExitRecord {
            code: code(status),
            oom_killed: cgroup::killed_for_memory(&group),
            started_at: Some(started_at),
            finished_at: Timestamp::now(),
            reason: String::new(),
            message: String::new(),
        };
        dir.write_exit(&exit)?;
        audience.end(exit.code).await;
        Ok(())
    })
}

/// Starts a process of this machine.
fn spawn(dir: &ContainerDir, launch: &Launch) -> io::Result<(Pid, Wires)> {
    let mut command = launch.command(&launch.program, &launch.args, &dir.0, launch.tty)?;
    let wires = match launch.tty {
        true => {
            let (terminal, given) = Terminal::open()?;
            command.stdin(given.try_clone()?).stdout(given.try_clone()?).stderr(given);
            Wires::of_terminal(terminal, launch.stdin)
        }
        false => Wires::connect(&mut command, launch.stdin)?,
    };
    let child = command.spawn().map_err(|error| {
        let (code, message) = cannot_start(&launch.program, &error);
        io::Error::other(NotStarted { code, message })
    })?;
    Ok((Pid::from_child(&child), wires))
}

/// Has runc start a container, whose process then is our child.
fn run(dir: &ContainerDir, bundle: &Bundle) -> io::Result<(Pid, Wires)> {
    let mut wires = None;
    let connect = |command: &mut Command| {
        wires = Some(Wires::connect(command, bundle.stdin)?);
        Ok(())
    };
    let (pid, terminal) = start::start(&dir.0, bundle, connect).map_err(NotStarted::from)?;
    let wires = match (wires, terminal) {
        (Some(wires), _) => wires,
        (None, Some(terminal)) => Wires::of_terminal(Terminal::held(terminal)?, bundle.stdin),
        (None, None) => return Err(io::Error::other("the container has neither streams nor a terminal")),
    };
    Ok((pid, wires))
}

impl From<start::Refused> for NotStarted {
    fn from(refused: start::Refused) -> Self {
        Self { code: refused.code, message: refused.message }
    }
}

impl From<NotStarted> for io::Error {
    fn from(error: NotStarted) -> Self {
        Self::other(error)
    }
}

/// The streams of a process, on our side.
struct Wires {
    stdout: Source,
    stderr: Source,
    input: Option<Input>,
    terminal: Option<Terminal>,
}

impl Wires {
    /// All streams are one terminal.
    fn of_terminal(terminal: Terminal, stdin: bool) -> Self {
        let input = stdin.then(|| Box::new(terminal.clone()) as Input);
        let stdout = Some(Box::new(terminal.clone()) as _);
        Self { stdout, stderr: None, input, terminal: Some(terminal) }
    }

    /// Gives a command its streams.
    fn connect(command: &mut Command, stdin: bool) -> io::Result<Self> {
        let (stdout, to_stdout) = io::pipe()?;
        let (stderr, to_stderr) = io::pipe()?;
        command.stdout(to_stdout).stderr(to_stderr).process_group(0);
        let input = match stdin {
            true => {
                let (from_input, input) = io::pipe()?;
                command.stdin(from_input);
                Some(Box::new(pipe::Sender::from_owned_fd(input.into())?) as Input)
            }
            false => {
                command.stdin(Stdio::null());
                None
            }
        };
        Ok(Self { stdout: receiver(stdout)?, stderr: receiver(stderr)?, input, terminal: None })
    }
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
    group: &'a Path,
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

/// What a process writes; nothing, once it has ended.
type Source = Option<Box<dyn AsyncRead + Unpin>>;

fn receiver(pipe: PipeReader) -> io::Result<Source> {
    Ok(Some(Box::new(pipe::Receiver::from_owned_fd(pipe.into())?)))
}

/// What wakes the shim besides its process's output.
struct Signals {
    children: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    control: pipe::Receiver,
}

impl Signals {
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

    /// Passes signals on until the process has ended.
    async fn until_ended(&mut self, process: &Process<'_>) -> Option<WaitStatus> {
        let (mut signals, mut ended) = ([0; 16], None);
        // The children that ended before this loop began have made their signal already.
        reap(process.pid, &mut ended);
        while ended.is_none() {
            tokio::select! {
                read = self.control.read(&mut signals) => {
                    for number in &signals[..read.unwrap_or(0)] {
                        if let Some(signal) = Signal::from_named_raw(i32::from(*number)) {
                            process.signal(signal);
                        }
                    }
                }
                _ = self.terminate.recv() => process.signal(Signal::TERM),
                _ = self.children.recv() => reap(process.pid, &mut ended),
            }
        }
        ended.flatten()
    }
}

/// What a process writes, and where it goes.
struct Outputs<'a> {
    stdout: Source,
    stderr: Source,
    log: &'a mut Writer,
    audience: &'a Audience,
}

impl Outputs<'_> {
    /// Until nobody is left to write.
    async fn flow(&mut self) {
        let (mut from_stdout, mut from_stderr) = (vec![0; 32 * 1024], vec![0; 8 * 1024]);
        while self.stdout.is_some() || self.stderr.is_some() {
            tokio::select! {
                read = some(&mut self.stdout, &mut from_stdout) => {
                    self.take(Stream::Stdout, &from_stdout, read).await;
                }
                read = some(&mut self.stderr, &mut from_stderr) => {
                    self.take(Stream::Stderr, &from_stderr, read).await;
                }
            }
        }
    }

    /// Writes down what was read, and shows it. A log that cannot be written (a full disk) loses lines and costs no
    /// container.
    async fn take(&mut self, stream: Stream, buffer: &[u8], read: io::Result<usize>) {
        match read {
            Ok(read @ 1..) => {
                let _ = self.log.take(stream, &buffer[..read], Timestamp::now());
                self.audience.show(stream, &buffer[..read]).await;
            }
            Ok(0) | Err(_) if stream == Stream::Stdout => self.stdout = None,
            Ok(0) | Err(_) => self.stderr = None,
        }
    }
}

async fn some(source: &mut Source, buffer: &mut [u8]) -> io::Result<usize> {
    match source {
        Some(source) => source.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// Until the process has ended and everything it printed is written down.
async fn hold(signals: &mut Signals, process: &Process<'_>, mut outputs: Outputs<'_>) -> Option<WaitStatus> {
    let status = {
        // Not given up when the process ends: what has been read must be shown to all.
        let mut flowing = std::pin::pin!(outputs.flow().fuse());
        let mut ending = std::pin::pin!(signals.until_ended(process));
        let status = tokio::select! {
            status = ending.as_mut() => status,
            () = flowing.as_mut() => ending.await,
        };
        end_stragglers(process).await;
        // Nobody is left to write, but somebody outside may have been handed the other end.
        if !flowing.is_terminated() {
            let _ = tokio::time::timeout(Duration::from_secs(1), flowing).await;
        }
        status
    };
    let _ = outputs.log.finish(Timestamp::now());
    status
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
