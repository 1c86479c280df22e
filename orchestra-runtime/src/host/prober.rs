//! Probes over the network of this machine.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue, LOCATION};
use hyper::{Request, Response, Uri, body::Incoming};
use hyper_util::rt::TokioIo;
use orchestra_core::node::{HttpAnswer, HttpProbe, ProbeError, Prober};
use tokio::net::TcpStream;

use super::failure::protocol;
use super::{grpc, tls};

/// How much of a body is kept.
const BODY: usize = 10 * 1024;
/// How many redirects are followed.
const REDIRECTS: usize = 10;

/// Asks pods over the network of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct NetProber;

#[async_trait]
impl Prober for NetProber {
    async fn http(&self, request: &HttpProbe) -> Result<HttpAnswer, ProbeError> {
        in_time(request.timeout, get(request)).await
    }

    async fn tcp(&self, address: SocketAddr, timeout: Duration) -> Result<(), ProbeError> {
        in_time(timeout, async { connect(address).await.map(drop) }).await
    }

    async fn grpc(&self, address: SocketAddr, service: &str, timeout: Duration) -> Result<bool, ProbeError> {
        in_time(timeout, async { grpc::check(connect(address).await?, address, service).await }).await
    }
}

async fn in_time<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, ProbeError>>,
) -> Result<T, ProbeError> {
    tokio::time::timeout(timeout, work).await.unwrap_or(Err(ProbeError::Timeout))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, ProbeError> {
    TcpStream::connect(address).await.map_err(|error| dial_error(&address.to_string(), &error))
}

/// What went wrong, in the words that people know from Kubernetes' events.
fn dial_error(address: &str, error: &io::Error) -> ProbeError {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    };
    ProbeError::Connect { message: format!("dial tcp {address}: {words}") }
}

async fn get(probe: &HttpProbe) -> Result<HttpAnswer, ProbeError> {
    let mut target = probe.clone();
    for _ in 0..=REDIRECTS {
        let answer = send_request(&target).await?;
        let status = answer.status();
        let next = redirected(&target, &answer);
        match next.filter(|_| status.is_redirection()) {
            Some(next) => target = next,
            None => return Ok(HttpAnswer { status: status.as_u16(), body: body(answer).await }),
        }
    }
    Err(protocol(format!("stopped after {REDIRECTS} redirects")))
}

/// Where a redirect leads, if it stays with this host; one that leads away is an answer like any other.
fn redirected(probe: &HttpProbe, answer: &Response<Incoming>) -> Option<HttpProbe> {
    let uri: Uri = answer.headers().get(LOCATION)?.to_str().ok()?.parse().ok()?;
    let mut next = probe.clone();
    if let Some(host) = uri.host() {
        if host.trim_matches(['[', ']']) != probe.host {
            return None;
        }
        next.tls = uri.scheme_str()? == "https";
        next.port = uri.port_u16().unwrap_or(if next.tls { 443 } else { 80 });
    }
    next.path = uri.path_and_query()?.as_str().to_owned();
    next.path.starts_with('/').then_some(next)
}

async fn send_request(probe: &HttpProbe) -> Result<Response<Incoming>, ProbeError> {
    let address = format_address(&probe.host, probe.port);
    let stream = TcpStream::connect((probe.host.as_str(), probe.port))
        .await
        .map_err(|error| dial_error(&address, &error))?;
    let request = request(probe, &address)?;
    if !probe.tls {
        return send(TokioIo::new(stream), request).await;
    }
    let name = rustls::pki_types::ServerName::try_from(probe.host.clone()).map_err(protocol)?;
    let connector = tls::connector().ok_or_else(|| protocol("TLS is not available"))?;
    let stream = connector.connect(name, stream).await.map_err(protocol)?;
    send(TokioIo::new(stream), request).await
}

fn format_address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn request(probe: &HttpProbe, address: &str) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let mut request = Request::get(&probe.path).body(Empty::new()).map_err(protocol)?;
    let headers = request.headers_mut();
    for (name, value) in &probe.headers {
        let name: HeaderName = name.parse().map_err(protocol)?;
        let value = HeaderValue::from_str(value).map_err(protocol)?;
        match name == HOST {
            true => drop(headers.insert(name, value)),
            false => drop(headers.append(name, value)),
        }
    }
    if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::from_str(address).map_err(protocol)?);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

async fn send<S>(stream: TokioIo<S>, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, ProbeError>
where
    TokioIo<S>: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(protocol)?;
    // It ends with the answer, as both sides were told that there is but one.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(protocol)
}

async fn body(answer: Response<Incoming>) -> String {
    let (mut body, mut kept) = (answer.into_body(), Vec::new());
    while kept.len() < BODY {
        let Some(Ok(frame)) = body.frame().await else { break };
        if let Some(data) = frame.data_ref() {
            kept.extend_from_slice(data);
        }
    }
    kept.truncate(BODY);
    String::from_utf8_lossy(&kept).into_owned()
}
