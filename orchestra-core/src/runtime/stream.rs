//! Logs, exec, attach and events, as a runtime gives them.

use futures::stream::BoxStream;

use super::{Result, RuntimeError, RuntimeEvent};
use crate::stream;
pub use crate::stream::{AttachOptions, Duplex, ExecOptions, LogOptions, TerminalSize};

/// Bytes as they come. An error ends it.
pub type ByteStream = stream::ByteStream<RuntimeError>;

/// A running command, or a container attached to. Dropping it disconnects.
pub type Session = stream::Session<RuntimeError>;

/// Events as they come. An error ends it.
pub type EventStream = BoxStream<'static, Result<RuntimeEvent>>;

/// What a command in a container gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecOutput {
    /// Its exit code.
    pub exit_code: i32,
    /// Its standard output. A runtime may cut it at 16 KiB or more.
    pub stdout: Vec<u8>,
    /// Its standard error, likewise.
    pub stderr: Vec<u8>,
}
