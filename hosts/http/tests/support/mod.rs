//! A master of no nodes on a port of this machine, and a client that sends whatever it is told to.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use orchestra_core::api::User;
use orchestra_core::cluster::{Builder, Cluster};
use orchestra_core::store::Store;
use orchestra_core::store::memory::MemoryStore;
use orchestra_http::{ApiHost, Authority, Frontend, Issued, ServerTls, Tokens};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

/// The token of an administrator.
pub const TOKEN: &str = "Bearer of-the-administrator";

/// The header of somebody who is in no group of those who may do everything.
pub const SOMEONE: (&str, &str) = ("authorization", "Bearer of-someone");

pub struct Served {
    pub cluster: Cluster,
    pub api: ApiHost,
    pub authority: Arc<Authority>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Served {
    pub async fn start() -> Self {
        Self::over(MemoryStore::new()).await
    }

    pub async fn over(store: impl Store) -> Self {
        Self::with(Cluster::builder().store(store), |frontend| frontend).await
    }

    /// The same of a cluster and a face of one's own.
    pub async fn with(builder: Builder, face: impl FnOnce(Frontend) -> Frontend) -> Self {
        Self::of(|_| builder, face).await
    }

    /// The same of a cluster that knows its authority.
    pub async fn of(
        builder: impl FnOnce(&Authority) -> Builder,
        face: impl FnOnce(Frontend) -> Frontend,
    ) -> Self {
        Self::sharing(|authority| builder(authority), face).await
    }

    /// The same of a cluster that keeps its authority.
    pub async fn sharing(
        builder: impl FnOnce(&Arc<Authority>) -> Builder,
        face: impl FnOnce(Frontend) -> Frontend,
    ) -> Self {
        let authority = Arc::new(Authority::new().unwrap());
        let address = IpAddr::from(Ipv4Addr::LOCALHOST);
        let identity = authority.issue_server(&[], &[address]).unwrap();
        let tls = ServerTls::new(&identity, authority.certificate()).unwrap();
        let cluster = builder(&authority).start().await.unwrap();
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let tokens = Tokens::new();
        let admin = User { uid: "1".to_owned(), ..User::named("admin").in_group("system:masters") };
        tokens.insert(TOKEN.trim_start_matches("Bearer "), admin);
        tokens.insert("of-someone", User::named("someone"));
        let api = ApiHost::new(listener, tls, face(Frontend::new(&cluster).authenticator(tokens))).unwrap();
        Self { cluster, api, authority }
    }

    /// Sends a request as the administrator. A header that is given replaces what would be sent, an empty one removes
    /// it.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        request.headers_mut().insert(HOST, "localhost".parse().unwrap());
        request.headers_mut().insert(AUTHORIZATION, TOKEN.parse().unwrap());
        request.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().remove(*name);
            if !value.is_empty() {
                request.headers_mut().insert(*name, value.parse().unwrap());
            }
        }
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(1_000)
            .handshake(TokioIo::new(self.connect().await))
            .await
            .unwrap();
        tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { code: head.status.as_u16(), headers: head.headers, body }
    }

    pub async fn get(&self, path: &str, headers: &[(&'static str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, "").await
    }

    /// A connection on which nothing has been said yet.
    pub async fn connect(&self) -> TlsStream {
        connect_as(self.api.address(), self.authority.certificate(), None).await
    }
}

pub type TlsStream = tokio_rustls::client::TlsStream<TcpStream>;

/// A connection to a server of an authority, by a certificate or none.
pub async fn connect_as(address: SocketAddr, authority: &str, identity: Option<&Issued>) -> TlsStream {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
            let chain = chain.map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::from(address.ip());
    let stream = TcpStream::connect(address).await.unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// Sends JSON on a connection of its own.
pub async fn post_on(stream: TlsStream, path: &str, headers: &[(&str, &str)], body: &'static str) -> Answer {
    let mut request = Request::builder().method(Method::POST).uri(path).header(HOST, "localhost");
    request = request.header(CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { code: head.status.as_u16(), headers: head.headers, body }
}
