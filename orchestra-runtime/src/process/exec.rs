//! Commands in running containers.
//!
//! Three processes of ours and the command:
//!
//! ```text
//! agent ── the helper, which has joined the container's namespaces but that of its processes, and sees the machine's
//!            └─ a reaper, born into that namespace, to which whatever the command leaves behind belongs
//!                 └─ the command
//! ```
//!
//! In a container that runc has made, runc stands for the reaper, and does what it takes to get there.
//!
//! When the agent has waited long enough, has dropped the command, or is gone itself, the helper kills the reaper and
//! all that descends from it: so nothing is left of a probe that timed out.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures::FutureExt;
use orchestra_core::runtime::{
    AttachOptions, ContainerId, ContainerState, ExecOptions, ExecOutput, Result, RuntimeError, Session,
};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::ProcessRuntime;
use super::container::TERM;
use super::fork::{Fork, fork};
use super::launch::{self, Launch};
use super::record::{ContainerDir, How, failed};
use super::supervise::cannot_start;
use super::terminal::Terminal;
use super::watch::readable;
use crate::oci::start::Exec;
use crate::tree;

/// What the helper is asked for: a command, or one that has a terminal.
pub(super) const PLAIN: &str = "exec";
pub(super) const TERMINAL: &str = "exec-terminal";
/// How much of each stream [`ExecOutput`] keeps.
const OUTPUT_LIMIT: usize = 64 * 1024;
/// How long the helper may take to kill what it started.
const KILL_TIME: Duration = Duration::from_secs(10);

impl ProcessRuntime {
    async fn exec_command(&self, id: &ContainerId, command: &[String], tty: bool) -> Result<Command> {
        let (dir, _, state) = self.state(id.as_str()).await?;
        if !matches!(state, ContainerState::Running { .. }) {
            return Err(RuntimeError::NotRunning { id: id.to_string() });
        }
        let mut arguments = vec![OsStr::new(if tty { TERMINAL } else { PLAIN }), dir.0.as_os_str()];
        arguments.extend(command.iter().map(OsStr::new));
        let mut command = Command::from(self.inner.helper.command(&arguments));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    pub(crate) async fn exec_sync(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput> {
        let mut running = Running(self.exec_command(id, command, false).await?.spawn().map_err(failed)?);
        let (stdout, stderr) = (running.0.stdout.take(), running.0.stderr.take());
        let work = async {
            let (stdout, stderr) = tokio::try_join!(gather(stdout), gather(stderr))?;
            Ok(ExecOutput { exit_code: code(running.0.wait().await?), stdout, stderr })
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(output) => output.map_err(failed),
            Err(_) => {
                running.end();
                let _ = tokio::time::timeout(KILL_TIME, running.0.wait()).await;
                Err(RuntimeError::Timeout { after: timeout })
            }
        }
    }

    pub(crate) async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        let streams = &options.streams;
        let mut command = self.exec_command(id, &options.command, streams.tty).await?;
        if streams.tty {
            return in_terminal(command, streams);
        }
        let end = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
        command.stdin(end(streams.stdin)).stdout(end(streams.stdout)).stderr(end(streams.stderr));
        let mut running = Running(command.spawn().map_err(failed)?);
        Ok(Session {
            stdin: running.0.stdin.take().map(|stdin| Box::new(stdin) as _),
            stdout: running.0.stdout.take().map(|stdout| Box::new(stdout) as _),
            stderr: running.0.stderr.take().map(|stderr| Box::new(stderr) as _),
            resize: None,
            exit: async move { running.0.wait().await.map(code).map_err(failed) }.boxed(),
        })
    }
}

/// Starts a command in a terminal of its own.
fn in_terminal(mut command: Command, streams: &AttachOptions) -> Result<Session> {
    let (terminal, given) = Terminal::open().map_err(failed)?;
    let again = || given.try_clone().map_err(failed);
    command.stdin(again()?).stdout(again()?).stderr(again()?);
    let mut running = Running(command.spawn().map_err(failed)?);
    // With our copies of its end: a terminal that nobody else has hangs up.
    drop((command, given));
    let (sizes, mut changes) = mpsc::channel(4);
    let (held, stdin, stdout) = (terminal.clone(), terminal.clone(), terminal);
    let exit = async move {
        loop {
            tokio::select! {
                ended = running.0.wait() => return ended.map(code).map_err(failed),
                Some(size) = changes.recv() => {
                    let _ = held.resize(size);
                }
            }
        }
    };
    Ok(Session {
        stdin: streams.stdin.then(|| Box::new(stdin) as _),
        stdout: streams.stdout.then(|| Box::new(stdout) as _),
        stderr: None,
        resize: Some(sizes),
        exit: exit.boxed(),
    })
}

/// The helper of a command. Dropped before its end, it kills the command.
struct Running(Child);

impl Running {
    fn end(&self) {
        let helper = self.0.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(helper) = helper {
            let _ = rustix::process::kill_process(helper, Signal::TERM);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads to the end and keeps the beginning, so that a command that says too much does not wait for us for ever.
async fn gather(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return Ok(kept) };
    (&mut stream).take(OUTPUT_LIMIT as u64).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(kept)
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// The helper: runs a command in a running container, and answers its exit code.
pub(super) fn main(dir: &ContainerDir, command: &[&OsStr], terminal: bool) -> i32 {
    let words: Vec<String> = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let result = hold(dir, &words, terminal);
    result.unwrap_or_else(|error| {
        let (code, message) = cannot_start(words.first().map_or("", String::as_str), &error);
        eprintln!("{message}");
        code
    })
}

fn hold(dir: &ContainerDir, words: &[String], terminal: bool) -> io::Result<i32> {
    // Before anything else, so that no request to end is lost.
    let agent = rustix::process::getppid().ok_or(io::ErrorKind::NotFound)?;
    let agent = rustix::process::pidfd_open(agent, PidfdFlags::empty())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut asked = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate())?
    };
    let record = dir.record()?;
    let mut by_runc = None;
    let reaper = match &record.how {
        How::Process(launch) => {
            let state = dir.state()?.ok_or(io::ErrorKind::NotFound)?;
            launch.join(state.shim)?;
            match fork()? {
                Fork::Child => std::process::exit(reap(dir, launch, words, terminal)),
                Fork::Parent(reaper) => reaper,
            }
        }
        // What it leaves behind belongs to the container.
        How::Bundle(bundle) => {
            let exec = by_runc.insert(Exec::new(&dir.0, bundle, words, terminal)?);
            if terminal {
                launch::in_own_session(&mut exec.command);
            }
            Pid::from_child(&exec.command.spawn()?)
        }
    };
    runtime.block_on(async {
        let ended = readable(rustix::process::pidfd_open(reaper, PidfdFlags::empty())?)?;
        let agent = readable(agent)?;
        tokio::select! {
            biased;
            ended = ended.readable() => drop(ended?),
            _ = asked.recv() => tree::kill(reaper),
            gone = agent.readable() => {
                drop(gone?);
                tree::kill(reaper);
            }
        }
        drop(ended.readable().await?);
        io::Result::Ok(())
    })?;
    let status = rustix::process::waitpid(Some(reaper), WaitOptions::empty())?;
    let status = status.map(|(_, status)| status.as_raw()).unwrap_or_default();
    let code = code(ExitStatus::from_raw(status));
    Ok(by_runc.map_or(code, |exec| exec.code(code)))
}

/// The reaper: starts the command, takes in whatever it leaves behind until it ends, and has its exit code.
fn reap(dir: &ContainerDir, launch: &Launch, words: &[String], terminal: bool) -> i32 {
    let run = || -> io::Result<i32> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = launch.command(program, arguments, &dir.0, terminal)?;
        if terminal && launch.env.iter().all(|(name, _)| name != "TERM") {
            command.env("TERM", TERM);
        }
        let child = command.spawn()?;
        let command = Pid::from_child(&child);
        let status = loop {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, status))) if pid == command => break status.as_raw(),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if !launch.own_processes {
            // What is left would belong to nobody; with a namespace of its own it is the container's.
            for child in tree::children("self").into_iter().filter_map(Pid::from_raw) {
                tree::kill(child);
            }
        }
        Ok(code(ExitStatus::from_raw(status)))
    };
    run().unwrap_or_else(|error| {
        let (code, message) = cannot_start(words.first().map_or("", String::as_str), &error);
        eprintln!("{message}");
        code
    })
}
