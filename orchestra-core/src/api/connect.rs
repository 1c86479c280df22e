//! Connections to what runs behind an object: what is asked for, and what comes of it.

use std::fmt;

use super::Status;
use crate::stream::{AttachOptions, ByteStream, Duplex, ExecOptions, LogOptions, Session};

/// Which part of which container's logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// The container; `None` if the pod has but one.
    pub container: Option<String>,
    /// Of the life before the present one.
    pub previous: bool,
    /// Which part.
    pub options: LogOptions,
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connect {
    /// What a container wrote.
    Log(LogQuery),
    /// A command of its own.
    Exec {
        /// In which container; `None` if there is but one.
        container: Option<String>,
        /// What to run.
        options: ExecOptions,
    },
    /// What a container runs anyway.
    Attach {
        /// Which container; `None` if there is but one.
        container: Option<String>,
        /// Which of its streams.
        streams: AttachOptions,
    },
    /// A port.
    PortForward(u16),
}

/// A connection.
#[non_exhaustive]
pub enum Connection {
    /// Of a log.
    Log(ByteStream<Status>),
    /// Of a command, or a container attached to.
    Session(Session<Status>),
    /// Of a port.
    Port(Box<dyn Duplex>),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log(_) => "Log",
            Self::Session(_) => "Session",
            Self::Port(_) => "Port",
        })
    }
}
