//! HTTP/1.1 over TLS on loopback, with as little around it as hyper allows: the client of every measurement, and the
//! server of the baselines.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orchestra_http::{Authority, Issued};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A client with the certificate of an administrator.
#[derive(Clone)]
pub(crate) struct Client {
    tls: Arc<ClientConfig>,
    address: SocketAddr,
}

/// One connection.
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

fn read(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
    (chain.collect::<Result<_, _>>().expect("a certificate"), key)
}

impl Client {
    pub(crate) fn new(authority: &Authority, address: SocketAddr) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.certificate().as_bytes()) {
            roots.add(certificate.expect("a certificate")).expect("an authority");
        }
        let identity = authority.issue_client("bench", &["system:masters"]).expect("a certificate");
        let (chain, key) = read(&identity);
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("TLS");
        Self { tls: Arc::new(tls), address }
    }

    pub(crate) async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let name = ServerName::from(self.address.ip());
        let stream =
            TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await.expect("a handshake");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        Connection(sender)
    }
}

impl Connection {
    async fn open(&mut self, method: Method, path: &str, body: Bytes) -> Response<Incoming> {
        let media = if method == Method::PATCH { "application/json-patch+json" } else { "application/json" };
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("content-type", media).body(Full::new(body));
        self.0.ready().await.expect("an open connection");
        let response = self.0.send_request(request.expect("a request")).await.expect("an answer");
        assert!(response.status().is_success(), "{} for {path}", response.status());
        response
    }

    /// Sends a request, and reads the whole answer.
    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Bytes {
        let response = self.open(method, path, body).await;
        response.into_body().collect().await.expect("a body").to_bytes()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Bytes {
        self.send(Method::GET, path, Bytes::new()).await
    }

    /// Begins a watch; the connection is for nothing else from then on.
    pub(crate) async fn watch(mut self, path: &str) -> Lines {
        Lines { body: self.open(Method::GET, path, Bytes::new()).await.into_body(), _connection: self }
    }
}

/// An answer of one line for each event.
pub(crate) struct Lines {
    body: Incoming,
    _connection: Connection,
}

impl Lines {
    /// Tells of each line as it comes, until the answer ends or nobody wants to know.
    pub(crate) async fn each(mut self, mut tell: impl FnMut() -> bool) {
        while let Some(Ok(frame)) = self.body.frame().await {
            let chunk = frame.into_data().unwrap_or_default();
            for _ in chunk.iter().filter(|byte| **byte == b'\n') {
                if !tell() {
                    return;
                }
            }
        }
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A server that answers every GET with the same bytes, and every request with a body with those. A path that ends
/// in `watch` is sent the bytes of every body, until the server is dropped.
#[derive(Clone)]
struct Bare {
    answer: Bytes,
    bodies: broadcast::Sender<Bytes>,
}

impl Bare {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        if request.uri().path().ends_with("watch") {
            let bodies = self.bodies.subscribe();
            let frames = futures::stream::unfold(bodies, async |mut bodies| {
                let body = bodies.recv().await.ok()?;
                Some((Ok(Frame::data(body)), bodies))
            });
            return Ok(Response::new(StreamBody::new(frames.boxed()).boxed_unsync()));
        }
        let read = request.into_body().collect().await.expect("a body").to_bytes();
        if !read.is_empty() {
            let _ = self.bodies.send(read);
        }
        Ok(Response::new(Full::new(self.answer).boxed_unsync()))
    }
}

/// Serves those bytes until the runtime ends, and returns a client of it.
pub(crate) async fn bare(authority: &Authority, answer: Bytes) -> Client {
    let identity = authority.issue_server(&[], &[[127, 0, 0, 1].into()]).expect("a certificate");
    let (chain, key) = read(&identity);
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("TLS");
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let bare = Bare { answer, bodies: broadcast::channel(64).0 };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, bare) = (acceptor.clone(), bare.clone());
            tokio::spawn(async move {
                stream.set_nodelay(true).expect("a socket");
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| bare.clone().answer(request));
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Client::new(authority, address)
}
