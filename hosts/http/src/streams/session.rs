//! What is carried over one connection until it or the session ends.

use orchestra_core::node::PodPlace;
use orchestra_core::runtime::{AttachOptions, Duplex, Session};
use orchestra_spdy::Spdy;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::channels::{Channels, websocket};
use super::command::{self, Ends};
use super::port_forward;
use super::upgrade::Raw;
use super::version::Version;

/// Connects the streams of a connection to ports.
pub(crate) async fn forward_streams<S: AsyncRead + AsyncWrite + Send>(connection: S, place: PodPlace) {
    let finished = CancellationToken::new();
    let (spdy, streams) = Spdy::new(connection, finished.clone());
    let forwarding = async {
        let _finish = finished.drop_guard();
        port_forward::run(&place, streams).await;
    };
    report(both(spdy.run(), forwarding).await);
}

/// Connects the one pair of streams of a connection to a port that is open already.
pub(crate) async fn forward_one<S: AsyncRead + AsyncWrite + Send>(connection: S, port: Box<dyn Duplex>) {
    let finished = CancellationToken::new();
    let (spdy, streams) = Spdy::new(connection, finished.clone());
    let forwarding = async {
        let _finish = finished.drop_guard();
        port_forward::run_one(port, streams).await;
    };
    report(both(spdy.run(), forwarding).await);
}

/// Notes that a session broke off.
pub(crate) fn report(outcome: Result<(), impl std::fmt::Display>) {
    if let Err(error) = outcome {
        debug!(%error, "a session broke off");
    }
}

/// Carries a session that has begun over a WebSocket.
pub(crate) async fn websocket_session(
    connection: Raw,
    version: Version,
    streams: AttachOptions,
    session: Session,
) {
    let mut channels = Channels::new(version, command::COUNT);
    let ends = Ends::of(&mut channels, &streams);
    let serving = channels.run(websocket(connection, Role::Server).await, Role::Server);
    report(both(serving, command::run(ends, std::future::ready(Ok(session)))).await);
}

/// Works on a session for as long as its connection lasts, and on the connection until all of it is sent.
pub(crate) async fn both<E>(
    serving: impl Future<Output = Result<(), E>>,
    running: impl Future<Output = ()>,
) -> Result<(), E> {
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        served = serving.as_mut() => served,
        () = running => serving.await,
    }
}
