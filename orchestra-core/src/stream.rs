//! What flows between a caller and a container: logs, commands with their streams, connections to ports.
//!
//! The words for it are the same for whoever asks the API for it, and for a runtime that gives it; what differs is the
//! error that may end it, which is therefore a parameter.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// Bytes as they come. An error ends it.
pub type ByteStream<E> = BoxStream<'static, Result<bytes::Bytes, E>>;

/// A connection in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Which part of a log is wanted. The default is all there is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// Go on until the container ends.
    pub follow: bool,
    /// Only the last so many lines of what is there now.
    pub tail_lines: Option<u64>,
    /// Only what was written at or after this time.
    pub since: Option<Timestamp>,
    /// Each line begins with its time in RFC 3339 with nanoseconds, and a blank.
    pub timestamps: bool,
    /// End after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// A command to run with its streams connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecOptions {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Which streams.
    pub streams: AttachOptions,
}

/// Which streams to connect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttachOptions {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error; never together with `tty`, which has only one.
    pub stderr: bool,
    /// Through a terminal.
    pub tty: bool,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A running command, or a container attached to. Dropping it disconnects, and so does dropping [`exit`](Self::exit)
/// before it is there.
pub struct Session<E> {
    /// Write here what it shall read; shut it down and drop it to end its input.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// What it writes.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// What it writes to standard error.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Send the terminal's size here, with `tty`. It is passed on while somebody waits for the end.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// Its exit code, once it has ended.
    pub exit: BoxFuture<'static, Result<i32, E>>,
}
