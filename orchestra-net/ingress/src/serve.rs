//! Taking connections and answering requests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Routing;
use crate::certificates::Shown;
use crate::message::{self, Body, Client};
use crate::upstream::Failed;

/// How many connections there are at a time; more wait.
const CONNECTIONS: usize = 10_000;
/// How long a handshake, and the head of a request, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait when no connection can be taken.
const PAUSE: Duration = Duration::from_millis(50);

/// How TLS is spoken: with the certificates of the moment.
pub(crate) fn tls(routing: &Arc<Routing>) -> Result<TlsAcceptor, rustls::Error> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth();
    let mut config = config.with_cert_resolver(Arc::new(Shown(Arc::clone(routing))));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Answers whoever connects, for as long as it is polled. Connections end with it.
pub(crate) async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, routing: Arc<Routing>) {
    let port = listener.local_addr().map_or(0, |address| address.port());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let client = Client { address, is_tls: tls.is_some(), port };
                connections.spawn(connection(stream, tls.clone(), client, Arc::clone(&routing)));
            }
            Err(error) => {
                // Out of descriptors, mostly: it passes when connections end.
                tracing::warn!(%error, "a connection cannot be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, client: Client, routing: Arc<Routing>) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return http(stream, client, routing).await };
    match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
        Ok(Ok(stream)) => http(stream, client, routing).await,
        Ok(Err(error)) => tracing::debug!(client = %client.address, %error, "a handshake failed"),
        Err(_) => tracing::debug!(client = %client.address, "a handshake took too long"),
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: Client,
    routing: Arc<Routing>,
) {
    let answer = service_fn(move |request| {
        let routing = Arc::clone(&routing);
        async move { Ok::<_, Infallible>(answer(request, client, &routing).await) }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(PATIENCE);
    if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), answer).await {
        tracing::debug!(client = %client.address, %error, "a connection broke off");
    }
}

async fn answer(mut request: Request<Incoming>, client: Client, routing: &Routing) -> Response<Body> {
    let upgrade = message::upgrade(request.headers()).is_some().then(|| hyper::upgrade::on(&mut request));
    let (mut head, body) = request.into_parts();
    let host = message::host(&head);
    let found = routing.now.load().table.find(&host, head.uri.path()).cloned();
    let Some(backend) = found else {
        return message::own(StatusCode::NOT_FOUND, "no Ingress has a rule for this host and path");
    };
    if backend.endpoints.is_empty() {
        let text = format!("no endpoint of service {:?} is ready", backend.service);
        return message::own(StatusCode::SERVICE_UNAVAILABLE, &text);
    }
    message::forwarded(&mut head, &client);
    let passed = Request::from_parts(head, body);
    match routing.upstreams.send(&backend.endpoints, passed, upgrade.is_some()).await {
        Ok(answer) => passed_on(answer, upgrade, client.address),
        Err(Failed::Unreachable) => {
            let text = format!("no endpoint of service {:?} takes connections", backend.service);
            message::own(StatusCode::BAD_GATEWAY, &text)
        }
        Err(Failed::Broken(error)) => {
            tracing::debug!(service = backend.service, %error, "an endpoint broke a request off");
            message::own(StatusCode::BAD_GATEWAY, "the endpoint broke off")
        }
    }
}

/// The answer of an endpoint, as the client gets it; after a change of protocol both go on by themselves.
fn passed_on(
    mut answer: Response<Incoming>,
    client: Option<OnUpgrade>,
    address: SocketAddr,
) -> Response<Body> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client else {
            return message::own(
                StatusCode::BAD_GATEWAY,
                "the endpoint changes to a protocol that nobody asked for",
            );
        };
        let upstream = hyper::upgrade::on(&mut answer);
        tokio::spawn(async move {
            let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) else { return };
            let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
                tracing::debug!(client = %address, %error, "a stream broke off");
            }
        });
    } else {
        message::answered(answer.headers_mut());
    }
    answer.map(|body| body.boxed())
}
