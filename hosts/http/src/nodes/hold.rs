//! The node's side of [held connections](super::held).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::OptionFuture;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use orchestra_core::node::NodeService;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::door::Door;
use super::held::{PATH, PROTOCOL};
use super::submitted::Submitted;
use crate::join::Identity;
use crate::line::{MOST_STREAMS, STREAM_WINDOW, WHY, WINDOW, Wire, silent};
use crate::pki::ServerTls;
use crate::remote::{Call, Channel, ConnectError, Masters};
use crate::serve::{Limits, connection};
use crate::streams::relay::relay;
use crate::streams::upgrade::Raw;
use crate::tls::ClientTls;

/// How soon a connection that ended is made again: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Holds a connection to each of the masters, by which they ask for the same as at the node's port
/// ([`serve_node`](super::serve_node)), until `shutdown`. Masters that are away are tried again, and those that come are too.
///
/// # Errors
/// When the identity is none.
pub async fn hold_node(
    masters: Masters,
    identity: &Identity,
    (service, submitted): (Arc<dyn NodeService>, Arc<Submitted>),
    shutdown: CancellationToken,
) -> Result<(), ConnectError> {
    let as_client = ClientTls::new(&identity.authority, Some(&identity.issued))?;
    let as_server = ServerTls::new(&identity.issued, &identity.authority)?;
    let node = Node {
        tls: TlsAcceptor::from(as_server.0),
        door: Arc::new(Door::new(service, submitted, shutdown.clone())),
        closing: shutdown.clone(),
    };
    let mut changes = masters.changes();
    let mut held: HashMap<String, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        changes.mark_unchanged();
        let now = masters.urls();
        held.retain(|url, _| now.contains(url));
        for url in now {
            if let Entry::Vacant(place) = held.entry(url) {
                let channel = Channel::new(place.key(), &as_client, None, None)?;
                let holding = tokio::spawn(node.clone().hold(channel));
                place.insert(AbortOnDropHandle::new(holding));
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            // The masters are held here: there is always somebody who might tell.
            _ = changes.changed() => {}
        }
    }
}

/// What answers over the connections.
#[derive(Clone)]
struct Node {
    tls: TlsAcceptor,
    door: Arc<Door>,
    closing: CancellationToken,
}

impl Node {
    /// Holds a connection to one master, and makes it again whenever it ends.
    async fn hold(self, master: Channel) {
        let mut pause = PAUSE.0;
        // Whether what was said last was that the master is away.
        let mut told = None;
        loop {
            match master.upgrade(Call::get(PATH.to_owned()), PROTOCOL, HeaderMap::new()).await {
                Ok((_, connection)) => {
                    (pause, told) = (PAUSE.0, None);
                    info!(?master, "a connection is held");
                    if let Err(error) = self.serve(connection).await {
                        debug!(%error, "a held connection broke off");
                    }
                }
                // Also of a master that may be away because this machine's clock is wrong: nobody else says so.
                Err(status) if told != Some(status.is_transient()) => {
                    told = Some(status.is_transient());
                    match status.is_transient() {
                        true => warn!(?master, %status, "a master is not reached; trying again"),
                        false => warn!(
                            ?master, %status,
                            "no connection is held: the master has to reach this node's port"
                        ),
                    }
                }
                Err(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Answers over a connection until it ends. What came over it ends with it.
    async fn serve(&self, connection: Raw) -> Result<(), h2::Error> {
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(MOST_STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(WINDOW);
        let mut held = builder.handshake::<_, Bytes>(connection).await?;
        let mut silence = pin!(OptionFuture::from(held.ping_pong().map(silent)));
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                begun = held.accept() => match begun {
                    Some(begun) => {
                        let (request, answer) = begun?;
                        if let Err(error) = self.begin(request, answer, &mut sessions) {
                            debug!(%error, "a connection was given up before it was made");
                        }
                    }
                    None => return Ok(()),
                },
                Some(_) = sessions.join_next() => {}
                Some(()) = &mut silence => {
                    debug!("a master does not answer on the connection that is held");
                    return Ok(());
                }
            }
        }
    }

    /// Takes one stream for what a connection to the node's port would be, or to an address if it names one.
    fn begin(
        &self,
        request: Request<RecvStream>,
        mut answer: SendResponse<Bytes>,
        sessions: &mut JoinSet<()>,
    ) -> Result<(), h2::Error> {
        let address = request.uri().authority().and_then(|whom| whom.as_str().parse::<SocketAddr>().ok());
        if let Some(address) = address.filter(|_| request.method() == Method::CONNECT) {
            sessions.spawn(async move {
                if let Err(error) = lead(address, request.into_body(), answer).await {
                    debug!(%address, %error, "a connection to a port ended");
                }
            });
            return Ok(());
        }
        let mut head = Response::new(());
        let connects = request.method() == Method::CONNECT;
        if !connects {
            *head.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        }
        let outgoing = answer.send_response(head, !connects)?;
        if connects {
            let Self { tls, door, closing } = self.clone();
            let stream = Wire::new(outgoing, request.into_body());
            sessions.spawn(async move {
                let served = connection((stream, None), tls, door, Limits::default(), closing).await;
                if let Err(error) = served {
                    debug!(%error, "a connection ended");
                }
            });
        }
        Ok(())
    }
}

/// Leads a stream to a port of this machine, or says why it cannot.
async fn lead(address: SocketAddr, incoming: RecvStream, mut answer: SendResponse<Bytes>) -> io::Result<()> {
    let mut head = Response::new(());
    let port = match own_port(address).await {
        Ok(port) => port,
        Err(error) => {
            *head.status_mut() = StatusCode::BAD_GATEWAY;
            let why = HeaderValue::from_str(&format!("connecting to {address}: {error}"));
            head.headers_mut().extend(why.ok().map(|why| (HeaderName::from_static(WHY), why)));
            return answer.send_response(head, true).map(drop).map_err(io::Error::other);
        }
    };
    let outgoing = answer.send_response(head, false).map_err(io::Error::other)?;
    relay(Wire::new(outgoing, incoming), port).await.map(drop)
}

/// Connects from an address to itself: so it is one of this machine, whatever a master asks for.
async fn own_port(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(address.ip(), 0))?;
    socket.connect(address).await
}
