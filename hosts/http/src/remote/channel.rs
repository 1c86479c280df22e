//! One server to send requests to: a pool of TLS connections, HTTP/2 where the server speaks it.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use orchestra_core::api::{Reason, Status};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer;
use super::request::Call;
use crate::body::Bounds;
use crate::tls::{ClientTls, TlsPipe};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(60);
/// How often a connection that carries a watch is tried, and how long the other side may take to answer.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// A server that is not one to send requests to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The URL is none, or not one of HTTPS.
    #[error("{0:?} is not the address of a server; it should be as https://10.0.0.1:6443")]
    Url(String),
    /// The token cannot be sent.
    #[error("the token has letters that no token has")]
    Token,
}

/// A server, and what this program proves itself to it with. Cheap to clone; clones share connections.
#[derive(Clone)]
pub(crate) struct Channel {
    client: Client<Connector, Full<Bytes>>,
    /// For connections of their own, which HTTP/2 cannot give up.
    pub(super) upgrading: Connector,
    /// Scheme, host and port.
    base: String,
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl Channel {
    /// A server at a URL such as `https://10.0.0.1:6443`, whose certificate must be for `name`, or for the URL's host.
    pub(crate) fn new(
        url: &str,
        tls: &ClientTls,
        name: Option<ServerName<'static>>,
        token: Option<&str>,
    ) -> Result<Self, AddressError> {
        let wrong = || AddressError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        let authorization = token.map(|token| {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| AddressError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        });
        let upgrading = Connector { tls: TlsConnector::from(tls.of_http1()), name: name.clone() };
        let connector = Connector { tls: TlsConnector::from(tls.0.clone()), name };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(PING.0)
            .http2_keep_alive_timeout(PING.1)
            .build(connector);
        let base = format!("https://{authority}");
        Ok(Self { client, upgrading, base, authorization: authorization.transpose()? })
    }

    /// Sends a request, and waits for the head of the answer. A failure that was answered is an error too.
    pub(crate) async fn open(&self, call: Call, accept: &'static str) -> Result<Response<Incoming>, Status> {
        let request = self.request(call, accept)?;
        let response = match timeout(ANSWER, self.client.request(request)).await {
            Ok(answered) => answered.map_err(|error| self.unreachable(&error))?,
            Err(_) => return Err(self.silent()),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = self.collect(response.into_body()).await?;
        Err(answer::failure(status, &body))
    }

    /// Sends a request, and waits for the whole answer.
    pub(crate) async fn call(
        &self,
        call: Call,
        accept: &'static str,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Status> {
        let (head, body) = self.open(call, accept).await?.into_parts();
        Ok((head.status, head.headers, self.collect(body).await?))
    }

    /// Passes a request on that another program made, as this one.
    pub(super) async fn pass(&self, request: Request<Bytes>) -> Result<Response<Incoming>, Status> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = format!("{}{path}", self.base).parse();
        head.uri = uri.map_err(|_| Status::bad_request(format!("{path:?} is no path")))?;
        head.headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let request = Request::from_parts(head, Full::new(body));
        match timeout(ANSWER, self.client.request(request)).await {
            Ok(answered) => answered.map_err(|error| self.unreachable(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    /// Sends a request, and waits for the whole answer, whatever its code, within bounds.
    pub(crate) async fn exchange(
        &self,
        call: Call,
        accept: &'static str,
        bounds: Bounds,
    ) -> Result<(StatusCode, Bytes), Status> {
        let request = self.request(call, accept)?;
        let answered = async {
            let response = self.client.request(request).await.map_err(|error| self.unreachable(&error))?;
            let code = response.status();
            Ok((code, bounds.read(response.into_body()).await?))
        };
        match timeout(bounds.time, answered).await {
            Ok(answered) => answered,
            Err(_) => {
                let (base, time) = (&self.base, bounds.time);
                Err(Status::new(
                    Reason::Timeout,
                    format!("the server at {base} did not answer within {time:?}"),
                ))
            }
        }
    }

    pub(super) fn request(&self, call: Call, accept: &'static str) -> Result<Request<Full<Bytes>>, Status> {
        let mut request = Request::builder().method(call.method).uri(format!("{}{}", self.base, call.path));
        if let Some(headers) = request.headers_mut() {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            headers.insert(
                USER_AGENT,
                HeaderValue::from_static(concat!("orchestra/", env!("CARGO_PKG_VERSION"))),
            );
            if !call.content_type.is_empty() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(call.content_type));
            }
            headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        }
        request.body(Full::new(call.body)).map_err(|error| Status::bad_request(error.to_string()))
    }

    pub(super) async fn collect(&self, body: Incoming) -> Result<Bytes, Status> {
        match timeout(ANSWER, body.collect()).await {
            Ok(collected) => Ok(collected.map_err(|error| self.unreachable(&error))?.to_bytes()),
            Err(_) => Err(self.silent()),
        }
    }

    /// The connection failed: the same request may succeed later.
    pub(crate) fn unreachable(&self, error: &(dyn StdError + 'static)) -> Status {
        let mut cause = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Status::new(
            Reason::ServiceUnavailable,
            format!("the server at {} cannot be reached: {cause}", self.base),
        )
    }

    pub(super) fn silent(&self) -> Status {
        let seconds = ANSWER.as_secs();
        Status::new(Reason::Timeout, format!("the server at {} did not answer within {seconds} s", self.base))
    }
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    /// Whom the certificate must name, if not the host that is connected to.
    name: Option<ServerName<'static>>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = TlsPipe;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TlsPipe>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { tls, name } = self.clone();
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let named = |_| io::Error::new(io::ErrorKind::InvalidInput, "the host is no name and no address");
            let name = match name {
                Some(name) => name,
                None => ServerName::try_from(host.clone()).map_err(named)?,
            };
            let connecting = async {
                let stream = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(443))).await?;
                stream.set_nodelay(true)?;
                tls.connect(name, stream).await
            };
            match timeout(CONNECT, connecting).await {
                Ok(connected) => Ok(TlsPipe(TokioIo::new(connected?))),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no connection was made in time")),
            }
        })
    }
}
