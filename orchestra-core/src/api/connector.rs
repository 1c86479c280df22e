//! Who makes connections to what runs behind an object.

use std::fmt;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use super::connect::{Connect, Connection};
use super::request::Target;
use super::{Status, Stream};
use crate::stream::AttachOptions;

impl Connect {
    /// By which kind of subresource it is asked for.
    pub fn stream(&self) -> Stream {
        match self {
            Self::Log(_) => Stream::Log,
            Self::Exec { .. } => Stream::Exec,
            Self::Attach { .. } => Stream::Attach,
            Self::PortForward(_) => Stream::PortForward,
        }
    }

    /// The options of the connection, as those see them who judge it.
    pub(super) fn options(&self) -> Map<String, Value> {
        let (container, streams) = match self {
            Self::Log(_) => return Map::new(),
            Self::PortForward(port) => {
                return Map::from_iter([("ports".to_owned(), json!([port]))]);
            }
            Self::Exec { container, options } => (container, &options.streams),
            Self::Attach { container, streams } => (container, streams),
        };
        let mut fields = stream_options(container.as_deref(), streams);
        if let Self::Exec { options, .. } = self {
            fields.insert("command".to_owned(), json!(options.command));
        }
        fields
    }
}

/// The options of a connection to the streams of a container, as those see them who judge it.
pub fn stream_options(container: Option<&str>, streams: &AttachOptions) -> Map<String, Value> {
    let AttachOptions { stdin, stdout, stderr, tty } = *streams;
    let flags = [("stdin", stdin), ("stdout", stdout), ("stderr", stderr), ("tty", tty)];
    let flags = flags.into_iter().filter(|(_, set)| *set);
    let mut fields: Map<String, Value> = flags.map(|(name, set)| (name.to_owned(), set.into())).collect();
    if let Some(container) = container {
        fields.insert("container".to_owned(), container.into());
    }
    fields
}

/// Makes connections to what runs behind objects, for a server in this process.
#[async_trait]
pub trait Connector: Send + Sync + fmt::Debug + 'static {
    /// Connects to what runs behind an object. Whether the caller may was asked before.
    ///
    /// # Errors
    /// That there is no such thing, or it cannot be reached.
    async fn connect(&self, target: &Target, connect: Connect) -> Result<Connection, Status>;
}
