//! Sessions with fake containers: commands with their streams, what runs there anyway, and ports.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{FutureExt, TryStreamExt};
use tokio::io::{AsyncRead, AsyncReadExt as _, DuplexStream, ReadBuf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::io::StreamReader;

use super::{Call, FakeRuntime, logs};
use crate::runtime::{
    AttachOptions, ContainerId, Duplex, ExecOptions, ExecOutput, LogOptions, Result, Runtime as _,
    RuntimeError, SandboxId, Session, TerminalSize,
};

/// How many bytes wait in a stream for their reader.
const PIPE: usize = 16 * 1024;
/// How long a session may take.
const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl FakeRuntime {
    /// What a script says is known when the session begins. What is written to one that does not echo is read by nobody.
    pub(super) async fn exec(&self, id: &ContainerId, options: &ExecOptions) -> Result<Session> {
        let ExecOutput { exit_code, mut stdout, stderr } =
            self.exec_sync(id, &options.command, UNLIMITED).await?;
        let streams = &options.streams;
        if streams.tty {
            stdout.extend_from_slice(&stderr);
        }
        if streams.stdin && streams.stdout && self.echoes(id)? {
            let (written, echo, ended) = echo();
            let (runtime, id) = (self.clone(), id.clone());
            let exit = async move {
                tokio::select! {
                    () = runtime.gone(&id) => {}
                    _ = ended => {}
                }
                Ok(exit_code)
            };
            return Ok(Session {
                stdin: Some(Box::new(written)),
                stdout: Some(Box::new(Cursor::new(stdout).chain(echo))),
                stderr: None,
                resize: terminal(streams),
                exit: exit.boxed(),
            });
        }
        let reader = |wanted: bool, bytes: Vec<u8>| wanted.then(|| Box::new(Cursor::new(bytes)) as _);
        Ok(Session {
            stdin: streams.stdin.then(|| Box::new(tokio::io::sink()) as _),
            stdout: reader(streams.stdout, stdout),
            stderr: reader(streams.stderr, stderr),
            resize: terminal(streams),
            exit: std::future::ready(Ok(exit_code)).boxed(),
        })
    }

    /// A container that echoes says what is written to it; any other what it logs from now on.
    pub(super) fn attach(&self, id: &ContainerId, streams: &AttachOptions) -> Result<Session> {
        let is_running = self.inner.enter(Call::Attach)?.container(id)?.state.is_running();
        if !is_running {
            return Err(RuntimeError::NotRunning { id: id.to_string() });
        }
        let (runtime, container) = (self.clone(), id.clone());
        let exit = async move {
            runtime.gone(&container).await;
            let mut state = runtime.inner.lock();
            let code =
                state.container(&container).ok().and_then(|held| held.state.exit().map(|exit| exit.code));
            code.ok_or_else(|| RuntimeError::no_container(&container))
        };
        if streams.stdin && streams.stdout && self.echoes(id)? {
            let (written, echo, _) = echo();
            return Ok(Session {
                stdin: Some(Box::new(written)),
                stdout: Some(Box::new(echo)),
                stderr: None,
                resize: terminal(streams),
                exit: exit.boxed(),
            });
        }
        let from_now_on = LogOptions { follow: true, tail_lines: Some(0), ..LogOptions::default() };
        let lines = logs::read(self.inner.clone(), id.clone(), from_now_on)?.map_err(io::Error::other);
        Ok(Session {
            stdin: streams.stdin.then(|| Box::new(tokio::io::sink()) as _),
            stdout: streams.stdout.then(|| Box::new(StreamReader::new(lines)) as _),
            stderr: streams.stderr.then(|| Box::new(tokio::io::empty()) as _),
            resize: terminal(streams),
            exit: exit.boxed(),
        })
    }

    pub(super) fn port_forward(&self, sandbox: &SandboxId, port: u16) -> Result<Box<dyn Duplex>> {
        let mut state = self.inner.enter(Call::PortForward)?;
        state.sandbox(sandbox)?;
        let Some(listen) = state.ports.get(&port).cloned() else {
            return Err(RuntimeError::Failed { message: format!("nothing listens at port {port}") });
        };
        drop(state);
        let (ours, theirs) = tokio::io::duplex(PIPE);
        listen(theirs);
        Ok(Box::new(ours))
    }

    fn echoes(&self, id: &ContainerId) -> Result<bool> {
        let mut state = self.inner.lock();
        Ok(state.container(id)?.behaviour.as_ref().is_some_and(|behaviour| behaviour.echoes))
    }
}

/// Where the sizes of a terminal are taken, which change nothing.
fn terminal(streams: &AttachOptions) -> Option<mpsc::Sender<TerminalSize>> {
    streams.tty.then(|| mpsc::channel(1).0)
}

/// A pipe that says what is written to it, and what tells when that has been read to its end or is read no more.
fn echo() -> (DuplexStream, Echo, oneshot::Receiver<()>) {
    let (written, echoed) = tokio::io::duplex(PIPE);
    let (reading, ended) = oneshot::channel();
    (written, Echo { echoed, reading: Some(reading) }, ended)
}

struct Echo {
    echoed: DuplexStream,
    /// Dropped at the end.
    reading: Option<oneshot::Sender<()>>,
}

impl AsyncRead for Echo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        ready!(Pin::new(&mut self.echoed).poll_read(context, buffer))?;
        if room > 0 && buffer.remaining() == room {
            self.reading = None;
        }
        Poll::Ready(Ok(()))
    }
}
