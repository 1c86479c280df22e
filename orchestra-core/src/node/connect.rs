//! The way of a client to what runs in pods: [`Api<Pod>`](Api) has methods for it, embedded and remote alike.

use std::fmt;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, TryFutureExt};
use k8s_openapi::api::core::v1::Pod;

use super::directory::Directory;
use super::service::refused;
use crate::api::{Api, Client, Connect, Connection, Connector, LogQuery, Server, Status, Target, User};
use crate::runtime;
use crate::stream::{AttachOptions, ByteStream, Duplex, ExecOptions, Session};

/// Connects the clients of a server to the pods of its nodes.
pub struct Connections {
    directory: Directory,
    /// Not the server itself, which has this.
    server: Weak<Server>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.directory.fmt(f)
    }
}

impl Connections {
    /// Connections of the clients of a server to the nodes of a directory.
    pub fn new(server: &Arc<Server>, directory: Directory) -> Self {
        Self { directory, server: Arc::downgrade(server) }
    }

    fn itself(&self) -> Result<Client, Status> {
        let server = self.server.upgrade().ok_or_else(|| Status::internal("the server has ended"))?;
        Ok(server.client(User::named("system:apiserver").in_group("system:masters")))
    }
}

#[async_trait]
impl Connector for Connections {
    async fn connect(&self, target: &Target, connect: Connect) -> Result<Connection, Status> {
        let client = self.itself()?;
        let (namespace, name) = (target.namespace.as_deref(), target.name.as_deref());
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        let container =
            async |wanted: Option<&str>| self.directory.container(&client, namespace, name, wanted).await;
        Ok(match connect {
            Connect::Log(query) => {
                let bytes = self.directory.logs(&client, namespace, name, query).await?;
                Connection::Log(bytes.map(|piece| piece.map_err(|error| refused(&error))).boxed())
            }
            Connect::Exec { container: wanted, options } => {
                let place = container(wanted.as_deref()).await?;
                let session = place.node.exec(&place.pod, &place.container, &options).await?;
                Connection::Session(told(session))
            }
            Connect::Attach { container: wanted, streams } => {
                let place = container(wanted.as_deref()).await?;
                let session = place.node.attach(&place.pod, &place.container, &streams).await?;
                Connection::Session(told(session))
            }
            Connect::PortForward(port) => {
                let place = self.directory.pod(&client, namespace, name).await?;
                Connection::Port(place.node.port_forward(&place.pod, port).await?)
            }
        })
    }
}

/// A session of the API, out of one of a runtime.
fn told(session: runtime::Session) -> Session<Status> {
    let runtime::Session { stdin, stdout, stderr, resize, exit } = session;
    Session { stdin, stdout, stderr, resize, exit: exit.map_err(|error| refused(&error)).boxed() }
}

impl Api<Pod> {
    /// Runs a command in a container; `None` is the only one.
    ///
    /// # Errors
    /// What the API says, such as that the container does not run.
    pub async fn exec(
        &self,
        name: &str,
        container: Option<&str>,
        options: ExecOptions,
    ) -> Result<Session<Status>, Status> {
        let container = container.map(str::to_owned);
        self.session(name, Connect::Exec { container, options }).await
    }

    /// Connects to what a container runs; `None` is the only one.
    ///
    /// # Errors
    /// As [`exec`](Self::exec).
    pub async fn attach(
        &self,
        name: &str,
        container: Option<&str>,
        streams: AttachOptions,
    ) -> Result<Session<Status>, Status> {
        let container = container.map(str::to_owned);
        self.session(name, Connect::Attach { container, streams }).await
    }

    /// Connects to a port of a pod.
    ///
    /// # Errors
    /// What the API says. That nobody listens on the port may show only when the connection is used.
    pub async fn port_forward(&self, name: &str, port: u16) -> Result<Box<dyn Duplex>, Status> {
        match self.objects().connect(name, Connect::PortForward(port)).await? {
            Connection::Port(port) => Ok(port),
            other => Err(unexpected(&other)),
        }
    }

    /// What a container wrote.
    ///
    /// # Errors
    /// What the API says, now or in the stream.
    pub async fn logs(&self, name: &str, query: LogQuery) -> Result<ByteStream<Status>, Status> {
        match self.objects().connect(name, Connect::Log(query)).await? {
            Connection::Log(bytes) => Ok(bytes),
            other => Err(unexpected(&other)),
        }
    }

    async fn session(&self, name: &str, connect: Connect) -> Result<Session<Status>, Status> {
        match self.objects().connect(name, connect).await? {
            Connection::Session(session) => Ok(session),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(connection: &Connection) -> Status {
    Status::internal(format!("the server connected something else: {connection:?}"))
}
