//! Those who look at what a container writes, and write what it reads.
//!
//! The shim has a socket in the container's folder. Whoever connects says with one byte what the connection is: the
//! container's input, its output, its errors, or the terminal, whose sizes are sent on it and on which the exit code
//! comes at last. Each is plain bytes, so that each ends for itself, and nobody copies but the kernel.
//!
//! Who takes nothing for [`PATIENCE`] is cut off: until then the container waits for them.

use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use orchestra_core::runtime::{
    AttachOptions, ContainerId, ContainerState, Result, RuntimeError, Session, TerminalSize,
};
use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::ProcessRuntime;
use super::record::{ContainerDir, failed};
use super::terminal::Terminal;
use crate::cri_log::Stream;

/// What a connection is.
const STDIN: u8 = b'i';
const STDOUT: u8 = b'o';
const STDERR: u8 = b'e';
const TERMINAL: u8 = b't';

/// How long the container waits for one of those who look.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long who connects may take to say what for.
const GREETING: Duration = Duration::from_secs(5);
/// The name of the socket.
const NAME: &str = "attach";

/// The path of the socket, through a handle of its folder: the name of a socket has room for 100 bytes only.
fn socket(dir: &ContainerDir) -> io::Result<(std::os::fd::OwnedFd, PathBuf)> {
    let folder = rustix::fs::open(&dir.0, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()));
    Ok((folder, path))
}

impl ProcessRuntime {
    pub(crate) async fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<Session> {
        let (dir, record, state) = self.state(id.as_str()).await?;
        if !matches!(state, ContainerState::Running { .. }) {
            return Err(RuntimeError::NotRunning { id: id.to_string() });
        }
        let connect = async |kind: u8| -> Result<UnixStream> {
            let (_folder, path) = socket(&dir).map_err(failed)?;
            let mut stream = UnixStream::connect(path).await.map_err(failed)?;
            stream.write_all(&[kind]).await.map_err(failed)?;
            Ok(stream)
        };
        let when = async |wanted: bool, kind: u8| match wanted {
            true => connect(kind).await.map(Some),
            false => Ok(None),
        };
        // First, so that the exit code is not missed.
        let mut terminal = connect(TERMINAL).await?;
        let stdout = when(options.stdout, STDOUT).await?;
        let stderr = when(options.stderr && !record.how.tty(), STDERR).await?;
        let stdin = when(options.stdin, STDIN).await?;
        let (sizes, mut changes) = mpsc::channel::<TerminalSize>(4);
        let exit = async move {
            let (mut code, mut told) = ([0; 4], terminal.split());
            let mut reading = std::pin::pin!(told.0.read_exact(&mut code));
            loop {
                tokio::select! {
                    read = reading.as_mut() => {
                        read.map_err(|_| ended_without())?;
                        break;
                    }
                    Some(size) = changes.recv() => {
                        let [[a, b], [c, d]] = [size.width.to_be_bytes(), size.height.to_be_bytes()];
                        let _ = told.1.write_all(&[a, b, c, d]).await;
                    }
                }
            }
            Ok(i32::from_be_bytes(code))
        };
        Ok(Session {
            stdin: stdin.map(|stream| Box::new(stream) as _),
            stdout: stdout.map(|stream| Box::new(stream) as _),
            stderr: stderr.map(|stream| Box::new(stream) as _),
            resize: record.how.tty().then_some(sizes),
            exit: exit.boxed(),
        })
    }
}

fn ended_without() -> RuntimeError {
    RuntimeError::Failed { message: "the container's shim ended without an exit code".into() }
}

/// Where those who look come in. Made before the shim goes where the folder may not be seen.
pub(super) struct Door(StdListener);

impl Door {
    pub(super) fn open(dir: &ContainerDir) -> io::Result<Self> {
        let (_folder, path) = socket(dir)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = StdListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }
}

/// A container's input.
pub(super) type Input = Box<dyn AsyncWrite + Unpin>;

/// Those who look, as the shim sees them.
pub(super) struct Audience {
    listener: UnixListener,
    /// None when the container reads nothing, or nothing any more.
    input: Mutex<Option<Input>>,
    /// Its input ends when the first who wrote leaves.
    once: bool,
    terminal: Option<Terminal>,
    outputs: Mutex<Vec<(Stream, UnixStream)>>,
    /// Those who wait for the exit code, by a number of their own.
    waiting: Mutex<Vec<(u64, OwnedWriteHalf)>>,
    numbers: Cell<u64>,
}

impl Audience {
    pub(super) fn open(
        door: Door,
        input: Option<Input>,
        once: bool,
        terminal: Option<Terminal>,
    ) -> io::Result<Self> {
        Ok(Self {
            listener: UnixListener::from_std(door.0)?,
            input: Mutex::new(input),
            once,
            terminal,
            outputs: Mutex::default(),
            waiting: Mutex::default(),
            numbers: Cell::default(),
        })
    }

    /// Lets people in for as long as it is polled.
    pub(super) async fn welcome(&self) {
        let mut guests = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => guests.push(self.greet(stream)),
                    // Out of descriptors: it passes when others leave.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                Some(()) = guests.next() => {}
            }
        }
    }

    /// Shows what the container has written.
    pub(super) async fn show(&self, stream: Stream, bytes: &[u8]) {
        let mut outputs = self.outputs.lock().await;
        let mut place = 0;
        while let Some((wanted, guest)) = outputs.get_mut(place) {
            let shown =
                *wanted != stream || matches!(timeout(PATIENCE, guest.write_all(bytes)).await, Ok(Ok(())));
            if shown {
                place += 1;
            } else {
                outputs.swap_remove(place);
            }
        }
    }

    /// Tells how it ended.
    pub(super) async fn end(&self, code: i32) {
        self.outputs.lock().await.clear();
        for (_, guest) in self.waiting.lock().await.iter_mut() {
            let _ = guest.write_all(&code.to_be_bytes()).await;
        }
    }

    async fn greet(&self, mut stream: UnixStream) {
        let Ok(Ok(kind)) = timeout(GREETING, stream.read_u8()).await else { return };
        match kind {
            STDIN => self.hear(stream).await,
            STDOUT => self.seat(Stream::Stdout, stream).await,
            STDERR => self.seat(Stream::Stderr, stream).await,
            TERMINAL => {
                let (mut sizes, end) = stream.into_split();
                let number = self.numbers.get();
                self.numbers.set(number + 1);
                self.waiting.lock().await.push((number, end));
                while let (Ok(width), Ok(height)) = (sizes.read_u16().await, sizes.read_u16().await) {
                    let size = TerminalSize { width, height };
                    let _ = self.terminal.as_ref().map(|terminal| terminal.resize(size));
                }
                self.waiting.lock().await.retain(|(held, _)| *held != number);
            }
            _ => {}
        }
    }

    async fn seat(&self, of: Stream, stream: UnixStream) {
        let mut outputs = self.outputs.lock().await;
        // Those who left without having been written to.
        outputs.retain(|(_, guest)| !matches!(guest.try_read(&mut [0]), Ok(0)));
        outputs.push((of, stream));
    }

    /// Passes on what a guest writes.
    async fn hear(&self, mut stream: UnixStream) {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            let mut input = self.input.lock().await;
            let Some(writer) = input.as_mut() else { return };
            if writer.write_all(&bytes[..read]).await.is_err() {
                *input = None;
                return;
            }
        }
        if self.once {
            *self.input.lock().await = None;
        }
    }
}
