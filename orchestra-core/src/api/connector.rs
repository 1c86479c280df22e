//! Who makes connections to what runs behind an object.

use std::fmt;

use async_trait::async_trait;

use super::connect::{Connect, Connection};
use super::request::Target;
use super::{Status, Stream};

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
