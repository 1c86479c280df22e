//! The accept loop: connections, TLS, deadlines, draining.
//!
//! Each connection is a task of the loop and ends with it. One that brings no request in time is closed, and no more
//! than a fixed number are open: the others wait until one ends.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orchestra_core::api::Status;
use orchestra_core::api::access::Certificate;
use orchestra_core::runtime::Duplex;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::auth;
use crate::authn::Proxied;
use crate::descriptors::descriptor_limit;
use crate::pki::ServerTls;
use crate::reply::Body;
use crate::streams::upgrade::After;

/// How many connections there are at most, however many descriptors there are.
const MOST: usize = 10_000;

/// How long clients may take, and how many there may be.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// How many connections are open at a time.
    pub connections: usize,
    /// How long the TLS handshake may take.
    pub handshake: Duration,
    /// How soon the head of the first request must be there, as in Kubernetes.
    pub first: Duration,
    /// How soon after a request has ended the head of the next must be there, as in Kubernetes.
    pub idle: Duration,
    /// How long requests under way may take once the server is to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The other half of the descriptors is for everything else that the process does.
            connections: (descriptor_limit() / 2).min(MOST),
            handshake: Duration::from_secs(10),
            first: Duration::from_secs(32),
            idle: Duration::from_secs(90),
            drain: Duration::from_secs(5),
        }
    }
}

/// What is known of the connection that a request came by.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The client's certificate, verified.
    pub(crate) certificate: Option<Certificate>,
    /// That it is one of a proxy that is believed when it says for whom it asks.
    pub(crate) proxied: Option<Proxied>,
    /// Where it comes from.
    pub(crate) peer: Option<IpAddr>,
    /// Cancelled when the server is to stop: answers that go on end then.
    pub(crate) closing: CancellationToken,
}

/// Something that answers requests.
#[async_trait]
pub(crate) trait Answer: Send + Sync + 'static {
    async fn answer(&self, request: Request<Incoming>, origin: &Origin) -> Response<Body>;

    /// Whose the certificates of a connection are, which the server has verified.
    fn whose(&self, chain: &[CertificateDer<'_>]) -> (Option<Certificate>, Option<Proxied>) {
        (chain.first().and_then(|leaf| auth::certificate(leaf)), None)
    }
}

/// Answers whoever connects to a listener, until `shutdown`; then lets the requests under way finish.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: ServerTls,
    answerer: Arc<impl Answer>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls.0);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < limits.connections => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: it passes when connections end.
                warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (acceptor, answerer, shutdown) = (acceptor.clone(), Arc::clone(&answerer), shutdown.clone());
        connections.spawn(async move {
            let peer = stream.peer_addr().ok().map(|address| address.ip());
            let served = match stream.set_nodelay(true) {
                Ok(()) => connection((stream, peer), acceptor, answerer, limits, shutdown).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = served {
                debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, ended).await.is_err() {
        debug!("requests under way were cut off");
    }
}

/// Answers what comes by one connection, of which it is said from where it is.
pub(crate) async fn connection(
    (stream, peer): (impl Duplex + 'static, Option<IpAddr>),
    acceptor: TlsAcceptor,
    answerer: Arc<impl Answer>,
    limits: Limits,
    shutdown: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let handshake = tokio::time::timeout(limits.handshake, acceptor.accept(stream));
    let stream = tokio::select! {
        stream = handshake => stream??,
        () = shutdown.cancelled() => return Ok(()),
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let (certificate, proxied) = answerer.whose(chain);
    let origin = Arc::new(Origin { certificate, proxied, peer, closing: shutdown.clone() });
    let activity = Activity::new();
    let under_way = activity.clone();
    let after = After::default();
    let then = after.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(then.clone());
        let (answerer, origin, guard) = (Arc::clone(&answerer), Arc::clone(&origin), under_way.begin());
        async move {
            let response = answerer.answer(request, &origin).await;
            Ok::<_, Infallible>(response.map(|body| Counted { body, _guard: guard }))
        }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let mut connection =
        std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => {
            ended?;
            if let Some(work) = after.take() {
                shutdown.run_until_cancelled(work).await;
            }
            return Ok(());
        }
        () = activity.idle(limits) => {}
        () = shutdown.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    // Who does not take the end of it in time is cut off.
    tokio::time::timeout(limits.drain, connection).await?
}

/// How many requests of a connection are under way.
#[derive(Clone)]
struct Activity(watch::Sender<State>);

#[derive(Clone, Copy)]
struct State {
    under_way: usize,
    had_any: bool,
}

impl Activity {
    fn new() -> Self {
        Self(watch::Sender::new(State { under_way: 0, had_any: false }))
    }

    /// A request is under way for as long as this is held.
    fn begin(&self) -> UnderWay {
        self.0.send_modify(|state| *state = State { under_way: state.under_way + 1, had_any: true });
        UnderWay(self.0.clone())
    }

    /// Returns when no request has been under way for too long.
    async fn idle(&self, limits: Limits) {
        let mut changes = self.0.subscribe();
        loop {
            let state = *changes.borrow_and_update();
            let patience = match state {
                State { under_way: 0, had_any: false } => Some(limits.first),
                State { under_way: 0, .. } => Some(limits.idle),
                _ => None,
            };
            let until = patience.map(|patience| Instant::now() + patience);
            tokio::select! {
                // The sender is held by `self`: it does not end.
                _ = changes.changed() => {}
                () = async { tokio::time::sleep_until(until.unwrap_or_else(Instant::now)).await }, if until.is_some() => return,
            }
        }
    }
}

struct UnderWay(watch::Sender<State>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|state| state.under_way -= 1);
    }
}

/// The body of an answer; its request is under way until it has been sent or given up.
struct Counted {
    body: Body,
    _guard: UnderWay,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_its_start_or_the_end_of_its_last_request() {
        let limits = Limits::default();
        let activity = Activity::new();
        let began = Instant::now();
        activity.idle(limits).await;
        assert_eq!(began.elapsed(), limits.first);

        let (first, second) = (activity.begin(), activity.begin());
        let ending = async {
            tokio::time::sleep(Duration::from_secs(1000)).await;
            drop(first);
            tokio::time::sleep(Duration::from_secs(1000)).await;
            drop(second);
        };
        let began = Instant::now();
        tokio::join!(activity.idle(limits), ending);
        assert_eq!(began.elapsed(), Duration::from_secs(2000) + limits.idle);
    }
}
