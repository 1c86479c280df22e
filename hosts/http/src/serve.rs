use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use orchestra_core::api::User;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::auth::certified;
use crate::frontend::Frontend;
use crate::pki::ServerTls;
use crate::reply::Body;

/// How long a client may take over the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests that are under way may still take once the server is to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves the API on a listener until `shutdown`, then lets the requests under way finish.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    tls: ServerTls,
    frontend: Arc<Frontend>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    accept(listener, tls, frontend, shutdown).await
}

/// Something that answers requests, given the user of the connection's certificate.
#[async_trait]
pub(crate) trait Answer: Send + Sync + 'static {
    async fn answer(&self, request: Request<Incoming>, certificate: Option<&User>) -> Response<Body>;
}

#[async_trait]
impl Answer for Frontend {
    async fn answer(&self, request: Request<Incoming>, certificate: Option<&User>) -> Response<Body> {
        Self::answer(self, request, certificate).await
    }
}

/// Answers whoever connects to a listener, until `shutdown`; then lets the requests under way finish.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: ServerTls,
    frontend: Arc<impl Answer>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(tls.0);
    let draining = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
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
        let (acceptor, frontend) = (acceptor.clone(), Arc::clone(&frontend));
        let watcher = draining.watcher();
        tokio::spawn(async move {
            if let Err(error) = connection(stream, acceptor, frontend, watcher).await {
                debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, draining.shutdown()).await.is_err() {
        debug!("requests under way were cut off");
    }
    Ok(())
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    frontend: Arc<impl Answer>,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let certificates = stream.get_ref().1.peer_certificates();
    let user: Option<User> = certificates.and_then(|chain| certified(chain.first()?));
    let user = Arc::new(user);
    let service = service_fn(move |request: Request<Incoming>| {
        let (frontend, user) = (Arc::clone(&frontend), Arc::clone(&user));
        async move { Ok::<_, std::convert::Infallible>(frontend.answer(request, user.as_ref().as_ref()).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    watcher.watch(connection.into_owned()).await
}
