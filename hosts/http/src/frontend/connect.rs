//! From a permitted request to the connection it asks for.

use futures::{FutureExt as _, TryFutureExt as _};
use http::Response;
use orchestra_core::api::{
    Action, Client, Permit, Resource, Status, Stream, Target, User, Verb, stream_options,
};
use orchestra_core::node::ContainerPlace;
use orchestra_core::runtime::{AttachOptions, ExecOptions, Session};
use orchestra_spdy::Spdy;
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Asking, Frontend};
use crate::query::QueryString;
use crate::reply::{self, Body};
use crate::streams::channels::{Channels, websocket};
use crate::streams::command::{self, Ends, Old};
use crate::streams::handshake::{Handshake, Named};
use crate::streams::session::{both, forward_streams, report};
use crate::streams::tunnel::Tunnel;
use crate::streams::upgrade::Upgrade;
use crate::streams::version::Version;
use crate::streams::{FORWARD, TUNNEL, options, port_forward};

/// What a request connects to, if anything.
pub(crate) fn asked_for(resource: &Resource, target: &Target) -> Option<Stream> {
    let part = target.subresource.as_deref().and_then(|name| resource.subresource(name))?;
    match part.action {
        Action::Connect(stream) if stream != Stream::Log => Some(stream),
        _ => None,
    }
}

/// How ports are forwarded in a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As by SPDY, which is spoken in it.
    Tunnel,
    /// By numbered streams.
    Channels(Version),
}

impl Way {
    const SERVED: [Named<Self>; 4] = [
        (TUNNEL, Self::Tunnel),
        ("v4.channel.k8s.io", Self::Channels(Version::V4)),
        ("v4.base64.channel.k8s.io", Self::Channels(Version::V4Text)),
        ("", Self::Channels(Version::Unnamed)),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Tunnel => TUNNEL,
            Self::Channels(version) => version.name(),
        }
    }
}

/// What runs in a container: a command of its own, or what runs there anyway.
enum Running {
    Exec(ExecOptions),
    Attach(AttachOptions),
}

impl Running {
    fn streams(&self) -> &AttachOptions {
        match self {
            Self::Exec(options) => &options.streams,
            Self::Attach(streams) => streams,
        }
    }

    /// What is connected to, as those see it who judge it.
    fn options(&self, query: &QueryString) -> Map<String, Value> {
        let mut fields = stream_options(query.get("container"), self.streams());
        if let Self::Exec(options) = self {
            fields.insert("command".to_owned(), json!(options.command));
        }
        fields
    }

    async fn begin(&self, place: &ContainerPlace) -> Result<Session, Status> {
        let ContainerPlace { pod, container, node } = place;
        match self {
            Self::Exec(options) => node.exec(pod, container, options).await,
            Self::Attach(streams) => {
                let mut session = node.attach(pod, container, streams).await?;
                // As in Kubernetes, how the container ended is in its pod's status; who attached did so successfully.
                session.exit = session.exit.map_ok(|_| 0).boxed();
                Ok(session)
            }
        }
    }
}

impl Frontend {
    /// Connects a client to what it asks for.
    ///
    /// # Errors
    /// What is wrong with the request, or that there is nothing of the kind.
    pub(crate) async fn connect(
        &self,
        asking: &Asking<'_>,
        permit: &Permit<'_>,
        stream: Stream,
    ) -> Result<Response<Body>, Status> {
        let (target, query) = (permit.target(), asking.call().query()?);
        if stream.needs_create() {
            // Who may only read must not run commands, and who upgrades by GET was asked for a right to read.
            self.server().permit(permit.user(), Verb::Create, target.clone(), None).await?;
        }
        let running = match stream {
            Stream::Exec => {
                let streams = options::streams(query)?;
                Running::Exec(ExecOptions { command: options::command(query)?, streams })
            }
            Stream::Attach => Running::Attach(options::streams(query)?),
            Stream::PortForward => {
                let ports = query.get("ports").map(|_| port_forward::ports(query)).transpose()?;
                let fields = ports.map(|ports| ("ports".to_owned(), json!(ports)));
                let warnings =
                    self.judged(permit.user(), permit.target(), stream, fields.into_iter().collect()).await?;
                return Ok(warned(self.forward(asking, target, query).await?, &warnings));
            }
            _ => return Err(Status::method_not_allowed()),
        };
        let warnings = self.judged(permit.user(), permit.target(), stream, running.options(query)).await?;
        Ok(warned(self.run(asking, target, query, running).await?, &warnings))
    }

    /// Has a connection judged that is about to be made, by those who judge writes.
    pub(crate) async fn judged(
        &self,
        user: &User,
        target: &Target,
        stream: Stream,
        fields: Map<String, Value>,
    ) -> Result<Vec<String>, Status> {
        self.server().admit_connection(user, target, stream, fields).await
    }

    /// As whom the server itself looks up where something is: the client was asked for its rights already.
    pub(crate) fn itself(&self) -> Client {
        self.server().client(User::named("system:apiserver").in_group("system:masters"))
    }

    async fn run(
        &self,
        asking: &Asking<'_>,
        target: &Target,
        query: &QueryString,
        running: Running,
    ) -> Result<Response<Body>, Status> {
        let handshake = Handshake::of(&asking.head().headers, &Version::SERVED, &Old::SERVED)?;
        let upgrade = Upgrade::of(&asking.head().extensions)?;
        let (namespace, name) = names(target);
        let wanted = query.get("container");
        let place = self.directory().container(&self.itself(), namespace, name, wanted).await?;
        match handshake {
            Handshake::WebSocket { protocol, .. } => upgrade.then(move |connection| async move {
                let mut channels = Channels::new(protocol, command::COUNT);
                let ends = Ends::of(&mut channels, running.streams());
                let serving = channels.run(websocket(connection, Role::Server).await, Role::Server);
                report(both(serving, command::run(ends, running.begin(&place))).await);
            }),
            Handshake::Spdy { protocol, .. } => upgrade.then(move |connection| async move {
                let finished = CancellationToken::new();
                let (spdy, streams) = Spdy::new(connection, finished.clone());
                let running = async {
                    let _finish = finished.drop_guard();
                    match Ends::begun(streams, running.streams(), protocol).await {
                        Ok(ends) => command::run(ends, running.begin(&place)).await,
                        Err(missing) => debug!(missing, "a client did not begin all streams in time"),
                    }
                };
                report(both(spdy.run(), running).await);
            }),
        }
        Ok(handshake.answer(|protocol| protocol.name(), |protocol| protocol.name()))
    }

    async fn forward(
        &self,
        asking: &Asking<'_>,
        target: &Target,
        query: &QueryString,
    ) -> Result<Response<Body>, Status> {
        let handshake = Handshake::of(&asking.head().headers, &Way::SERVED, &[(FORWARD, FORWARD)])?;
        let upgrade = Upgrade::of(&asking.head().extensions)?;
        let ports = match &handshake {
            Handshake::WebSocket { protocol: Way::Channels(_), .. } => port_forward::ports(query)?,
            // Streams name their ports.
            _ => Vec::new(),
        };
        let (namespace, name) = names(target);
        let place = self.directory().pod(&self.itself(), namespace, name).await?;
        match handshake {
            Handshake::WebSocket { protocol: Way::Tunnel, .. } => {
                upgrade.then(move |connection| async move {
                    forward_streams(Tunnel::new(websocket(connection, Role::Server).await), place).await;
                })
            }
            Handshake::WebSocket { protocol: Way::Channels(version), .. } => {
                upgrade.then(move |connection| async move {
                    let mut all =
                        Channels::new(version, 2 * u8::try_from(ports.len()).unwrap_or(u8::MAX / 2));
                    let open = port_forward::channels(&mut all, &ports);
                    let serving = all.run(websocket(connection, Role::Server).await, Role::Server);
                    report(both(serving, port_forward::run_channels(&place, open)).await);
                })
            }
            Handshake::Spdy { .. } => {
                upgrade.then(move |connection| forward_streams(connection, place));
            }
        }
        Ok(handshake.answer(Way::name, |protocol| protocol))
    }
}

fn warned(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    reply::warn(&mut response, warnings.iter().map(String::as_str));
    response
}

fn names(target: &Target) -> (&str, &str) {
    (target.namespace.as_deref().unwrap_or_default(), target.name.as_deref().unwrap_or_default())
}
