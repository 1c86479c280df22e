//! Logs, exec and attach.

use std::pin::Pin;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use bollard::query_parameters::{
    AttachContainerOptions, LogsOptions, ResizeContainerTTYOptions, ResizeExecOptions,
};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use orchestra_core::runtime::{
    AttachOptions, ByteStream, ContainerId, ExecOptions, ExecOutput, LogOptions, Result, RuntimeError,
    Session, TerminalSize,
};
use rustix::process::Pid;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::DockerRuntime;
use super::error::{self, About};
use crate::{logs, tree};

/// How much of each stream [`ExecOutput`] keeps.
const OUTPUT_LIMIT: usize = 64 * 1024;
/// How much waits for a reader of a session.
const PIPE: usize = 64 * 1024;

type Output = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;

impl DockerRuntime {
    pub(super) async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<ByteStream> {
        self.inspect(id).await?;
        let mut options = options.clone();
        if options.tail_lines == Some(0) {
            // Docker takes 0 for all. None of what is there now is all from now on.
            if !options.follow {
                return Ok(stream::empty().boxed());
            }
            options.tail_lines = None;
            options.since = options.since.max(Some(Timestamp::now()));
        }
        // Docker takes whole seconds only. So the second is asked for, with times, and the rest is left out here.
        let with_times = options.timestamps || options.since.is_some();
        let asked = LogsOptions {
            follow: options.follow,
            stdout: true,
            stderr: true,
            since: options.since.map_or(0, |at| i32::try_from(at.as_second()).unwrap_or(i32::MAX)),
            timestamps: with_times,
            tail: options.tail_lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
            until: 0,
        };
        let container = id.clone();
        let raw = self
            .docker
            .logs(id.as_str(), Some(asked))
            .map(move |item| {
                item.map(LogOutput::into_bytes)
                    .map_err(|error| error::of(About::Container(container.as_str()), error))
            })
            .boxed();
        let lines = if with_times { logs::stamped(raw, options.clone()) } else { raw };
        Ok(logs::limit(lines, options.limit_bytes))
    }

    pub(super) async fn exec_sync(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput> {
        let started = std::sync::OnceLock::new();
        let work = async {
            let streams = AttachOptions { stdout: true, stderr: true, ..Default::default() };
            let (exec, mut output, _stdin) = self.start_exec(id, command, &streams).await?;
            let _ = started.set(exec.clone());
            let mut gathered = ExecOutput::default();
            while let Some(piece) = output.next().await {
                let piece = piece.map_err(|error| error::of(About::Container(id.as_str()), error))?;
                let target = match piece {
                    LogOutput::StdErr { .. } => &mut gathered.stderr,
                    _ => &mut gathered.stdout,
                };
                let room = OUTPUT_LIMIT.saturating_sub(target.len());
                let bytes = piece.into_bytes();
                target.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            gathered.exit_code = exit_code(&self.docker, &exec, id).await?;
            Ok(gathered)
        };
        let done = tokio::time::timeout(timeout, work).await;
        if let (Err(_), Some(exec)) = (&done, started.get()) {
            self.kill_exec(exec).await;
        }
        done.unwrap_or(Err(RuntimeError::Timeout { after: timeout }))
    }

    /// Ends a command that has outlived its time. Docker has no call for it, but says what its process is on this
    /// machine; killing that takes the daemon's rights.
    async fn kill_exec(&self, exec: &str) {
        let Ok(shown) = self.docker.inspect_exec(exec).await else { return };
        let pid = shown.pid.filter(|pid| *pid > 1 && shown.running == Some(true));
        let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) else { return };
        let _ = tokio::task::spawn_blocking(move || tree::kill(pid)).await;
    }

    async fn start_exec(
        &self,
        id: &ContainerId,
        command: &[String],
        streams: &AttachOptions,
    ) -> Result<(String, Output, Pin<Box<dyn AsyncWrite + Send>>)> {
        let config = ExecConfig {
            attach_stdin: Some(streams.stdin),
            attach_stdout: Some(streams.stdout),
            attach_stderr: Some(streams.stderr),
            tty: Some(streams.tty),
            cmd: Some(command.to_vec()),
            ..Default::default()
        };
        let failed = |error: Error| match error::status(&error) {
            Some(409) => RuntimeError::NotRunning { id: id.to_string() },
            _ => error::of(About::Container(id.as_str()), error),
        };
        let exec = self.docker.create_exec(id.as_str(), config).await.map_err(failed)?;
        let options = StartExecOptions { detach: false, tty: streams.tty, output_capacity: None };
        match self.docker.start_exec(&exec.id, Some(options)).await.map_err(failed)? {
            StartExecResults::Attached { output, input } => Ok((exec.id, output, input)),
            StartExecResults::Detached => {
                Err(RuntimeError::Failed { message: "Docker started the command detached".into() })
            }
        }
    }

    pub(super) async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        let (exec, output, input) = self.start_exec(id, &options.command, &options.streams).await?;
        let (docker, container) = (self.docker.clone(), id.clone());
        let code = {
            let exec = exec.clone();
            async move { exit_code(&docker, &exec, &container).await }
        };
        let ending = Ending { runtime: self.clone(), exec: Some(exec.clone()), task: None };
        let docker = self.docker.clone();
        let resize = move |size: TerminalSize| {
            let (docker, exec) = (docker.clone(), exec.clone());
            async move {
                let size = ResizeExecOptions { h: size.height.into(), w: size.width.into() };
                let _ = docker.resize_exec(&exec, size).await;
            }
        };
        Ok(session(&options.streams, (output, input, true), code, resize, ending))
    }

    pub(super) async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<Session> {
        let shown = self.inspect(id).await?;
        if !shown.state.and_then(|state| state.running).unwrap_or_default() {
            return Err(RuntimeError::NotRunning { id: id.to_string() });
        }
        // Docker takes the end of an input that it leaves open for the end of the session, output and all.
        let closes = shown.config.is_some_and(|config| config.stdin_once == Some(true)) && !options.tty;
        let asked = AttachContainerOptions {
            stream: true,
            stdin: options.stdin,
            stdout: options.stdout,
            stderr: options.stderr,
            ..Default::default()
        };
        let attached = self
            .docker
            .attach_container(id.as_str(), Some(asked))
            .await
            .map_err(|error| error::of(About::Container(id.as_str()), error))?;
        let (this, container) = (self.clone(), id.clone());
        let code = async move {
            let shown = this.inspect(&container).await?;
            Ok(shown.state.map_or(0, |state| super::status::code(&state)))
        };
        let (docker, id) = (self.docker.clone(), id.clone());
        let resize = move |size: TerminalSize| {
            let (docker, id) = (docker.clone(), id.clone());
            async move {
                let size = ResizeContainerTTYOptions { h: size.height.into(), w: size.width.into() };
                let _ = docker.resize_container_tty(id.as_str(), size).await;
            }
        };
        let ending = Ending { runtime: self.clone(), exec: None, task: None };
        Ok(session(options, (attached.output, attached.input, closes), code, resize, ending))
    }
}

async fn exit_code(docker: &Docker, exec: &str, id: &ContainerId) -> Result<i32> {
    let shown =
        docker.inspect_exec(exec).await.map_err(|error| error::of(About::Container(id.as_str()), error))?;
    Ok(shown.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1))
}

/// Ends what a session runs, if it is dropped before its end: Docker itself would let the command run on.
struct Ending {
    runtime: DockerRuntime,
    /// The command; none of a container that runs anyway.
    exec: Option<String>,
    task: Option<JoinHandle<()>>,
}

impl Ending {
    /// It has ended by itself.
    fn is_over(&mut self) {
        (self.exec, self.task) = (None, None);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if let Some(exec) = self.exec.take() {
            let runtime = self.runtime.clone();
            tokio::spawn(async move { runtime.kill_exec(&exec).await });
        }
    }
}

/// Connects Docker's multiplexed stream to the separate streams of a session. A task moves the bytes; it ends with the
/// command, or with the session. `closes` says whether the end of the input is passed on.
fn session<R: Future<Output = ()> + Send>(
    streams: &AttachOptions,
    (mut output, mut input, closes): (Output, Pin<Box<dyn AsyncWrite + Send>>, bool),
    code: impl Future<Output = Result<i32>> + Send + 'static,
    resize: impl Fn(TerminalSize) -> R + Send + 'static,
    mut ending: Ending,
) -> Session {
    let (stdout, mut to_stdout) = end(streams.stdout);
    let (stderr, mut to_stderr) = end(streams.stderr && !streams.tty);
    let (done, exit) = oneshot::channel();
    let (lasting, over) = oneshot::channel::<()>();
    ending.task = Some(tokio::spawn(async move {
        let _lasting = lasting;
        let copied: std::io::Result<()> = async {
            while let Some(piece) = output.try_next().await.map_err(std::io::Error::other)? {
                let target = match piece {
                    LogOutput::StdErr { .. } => &mut to_stderr,
                    _ => &mut to_stdout,
                };
                if let Some(target) = target {
                    target.write_all(&piece.into_bytes()).await?;
                }
            }
            Ok(())
        }
        .await;
        drop((to_stdout, to_stderr));
        let code = match copied {
            Ok(()) => code.await,
            Err(error) => Err(RuntimeError::Failed { message: format!("the stream broke off: {error}") }),
        };
        let _ = done.send(code);
    }));
    let stdin = streams.stdin.then(|| {
        let (ours, mut theirs) = tokio::io::duplex(PIPE);
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut theirs, &mut input).await;
            let _ = input.flush().await;
            if closes {
                let _ = input.shutdown().await;
            } else {
                let _ = over.await;
            }
        });
        Box::new(ours) as Box<dyn AsyncWrite + Send + Unpin>
    });
    let resize = streams.tty.then(|| {
        let (sender, mut sizes) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Some(size) = sizes.recv().await {
                resize(size).await;
            }
        });
        sender
    });
    let gone = || RuntimeError::Failed { message: "the session ended before its command".into() };
    let exit = async move {
        let code = exit.await;
        ending.is_over();
        code.unwrap_or_else(|_| Err(gone()))
    };
    let exit = exit.boxed();
    Session { stdin, stdout, stderr, resize, exit }
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;

fn end(wanted: bool) -> (Option<Reader>, Option<tokio::io::DuplexStream>) {
    match wanted {
        true => {
            let (ours, theirs) = tokio::io::duplex(PIPE);
            (Some(Box::new(ours) as Reader), Some(theirs))
        }
        false => (None, None),
    }
}
