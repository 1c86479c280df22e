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
use hyper_util::rt::{TokioExecutor, TokioTimer};
use orchestra_core::api::{Reason, Status};
use orchestra_core::runtime::Duplex;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer;
use super::bearer::Bearer;
use super::masters::{AddressError, Masters};
use super::request::Call;
use crate::body::Bounds;
use crate::line::Line;
use crate::tls::{ClientTls, TlsPipe};

/// How long a connection may take to be made over a line.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(60);
/// How often a connection that carries a watch is tried, and how long the other side may take to answer.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// A server, or several that are as one, and what this program proves itself to it with. Cheap to clone; clones share
/// connections.
#[derive(Clone)]
pub(crate) struct Channel {
    client: Client<Connector, Full<Bytes>>,
    /// For connections of their own, which HTTP/2 cannot give up.
    pub(super) upgrading: Connector,
    /// Scheme, host and port.
    base: String,
    bearer: Option<Bearer>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.upgrading.way {
            Way::Masters(masters, _) => fmt::Debug::fmt(masters, f),
            Way::Line(..) => f.write_str(&self.base),
        }
    }
}

impl Channel {
    /// A server at a URL such as `https://10.0.0.1:6443`, whose certificate must be for `name`, or for the URL's host.
    pub(crate) fn new(
        url: &str,
        tls: &ClientTls,
        name: Option<ServerName<'static>>,
        bearer: Option<Bearer>,
    ) -> Result<Self, AddressError> {
        Ok(Self::to(Masters::new([url])?, tls, name, bearer))
    }

    /// Whichever of these can be reached.
    pub(crate) fn to(
        masters: Masters,
        tls: &ClientTls,
        name: Option<ServerName<'static>>,
        bearer: Option<Bearer>,
    ) -> Self {
        let base = masters.base();
        Self::by(Way::Masters(masters, name), base, tls, bearer)
    }

    /// Whoever is at the other end of a line, whose certificate must be for `host`.
    pub(crate) fn over(line: Line, tls: &ClientTls, host: String) -> Result<Self, AddressError> {
        let base = format!("https://{host}");
        let name = ServerName::try_from(host).map_err(|_| AddressError::Url(base.clone()))?;
        Ok(Self::by(Way::Line(line, name), base, tls, None))
    }

    fn by(way: Way, base: String, tls: &ClientTls, bearer: Option<Bearer>) -> Self {
        let upgrading = Connector { tls: TlsConnector::from(tls.of_http1()), way: way.clone() };
        let connector = Connector { tls: TlsConnector::from(tls.0.clone()), way };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(PING.0)
            .http2_keep_alive_timeout(PING.1)
            .build(connector);
        Self { client, upgrading, base, bearer }
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
        head.headers.extend(self.bearer.as_ref().map(|bearer| (AUTHORIZATION, bearer.header())));
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
                let time = bounds.time;
                Err(Status::new(
                    Reason::Timeout,
                    format!("the server at {self:?} did not answer within {time:?}"),
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
            headers.extend(self.bearer.as_ref().map(|bearer| (AUTHORIZATION, bearer.header())));
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
        Status::new(Reason::ServiceUnavailable, format!("the server at {self:?} cannot be reached: {cause}"))
    }

    pub(super) fn silent(&self) -> Status {
        let seconds = ANSWER.as_secs();
        Status::new(Reason::Timeout, format!("the server at {self:?} did not answer within {seconds} s"))
    }
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    way: Way,
}

/// What connections are made over.
#[derive(Clone)]
enum Way {
    /// TCP, to one of these; and whom its certificate must name, if not the host that is connected to.
    Masters(Masters, Option<ServerName<'static>>),
    /// A connection that whoever is asked holds itself; and whom its certificate must name.
    Line(Line, ServerName<'static>),
}

impl Connector {
    async fn connect(&self) -> io::Result<TlsPipe> {
        match &self.way {
            Way::Masters(masters, name) => {
                let stream = masters.connect(&self.tls, name.as_ref()).await?;
                Ok(TlsPipe::new(stream))
            }
            Way::Line(line, name) => {
                let connecting = async {
                    let stream: Box<dyn Duplex> = Box::new(line.open().await?);
                    self.tls.connect(name.clone(), stream).await
                };
                match timeout(CONNECT, connecting).await {
                    Ok(connected) => Ok(TlsPipe::new(connected?)),
                    Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no connection was made in time")),
                }
            }
        }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TlsPipe;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TlsPipe>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await })
    }
}
