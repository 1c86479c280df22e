//! A request, passed on to whoever serves it.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use orchestra_core::api::{Status, User};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Aggregator, Api};
use crate::reply::{self, Body};
use crate::streams::relay::relay;

/// How long the head of an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// All of a header's name but what it may hold as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What is of one connection, and not passed on.
pub(crate) const OF_CONNECTION: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// A request that is passed on.
pub(crate) struct Passing<'r> {
    pub(crate) head: &'r Parts,
    pub(crate) user: &'r User,
    pub(crate) body: Bytes,
    pub(crate) closing: &'r CancellationToken,
}

impl Aggregator {
    /// Passes a request on, and answers as it is answered.
    pub(crate) async fn forward(&self, api: &Api, passing: Passing<'_>) -> Response<Body> {
        if api.available != Some(true) {
            return unavailable();
        }
        match timeout(PATIENCE, self.send(api, &passing)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                debug!(api = api.name, %error, "an aggregated API does not answer");
                reply::text(503, &format!("error trying to reach service: {error}\n"))
            }
            Err(_) => reply::text(504, "the aggregated API did not answer in time\n"),
        }
    }

    async fn send(&self, api: &Api, passing: &Passing<'_>) -> io::Result<Response<Body>> {
        let upgrade = passing.head.extensions.get::<OnUpgrade>().cloned();
        let upgrade = upgrade.filter(|_| passing.head.headers.contains_key(UPGRADE));
        let request = request(api, passing, upgrade.is_some())?;
        let mut sender = self.0.connect(api).await?;
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        match upgrade {
            Some(upgrade) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                Ok(switched(answer, upgrade, passing.closing))
            }
            _ => Ok(passed(answer, passing.closing)),
        }
    }
}

pub(super) fn unavailable() -> Response<Body> {
    reply::text(503, "service unavailable\n")
}

/// The request as the service gets it.
fn request(api: &Api, passing: &Passing<'_>, upgrades: bool) -> io::Result<Request<Body>> {
    let Passing { head, user, body, .. } = passing;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(reply::whole(body.clone()));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = path.parse().map_err(io::Error::other)?;
    *request.headers_mut() = headers(&head.headers, user, upgrades);
    let host = HeaderValue::from_str(&api.service.host()).map_err(io::Error::other)?;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

/// The headers of a request, without what says who this server's client is, and with who that was found to be.
fn headers(given: &HeaderMap, user: &User, upgrades: bool) -> HeaderMap {
    let is_passed = |name: &HeaderName| {
        let is_told = |begin| name.as_str().starts_with(begin);
        !OF_CONNECTION.contains(name)
            && !matches!(*name, AUTHORIZATION | CONTENT_LENGTH | HOST)
            && !is_told("impersonate-")
            && !is_told("x-remote-")
    };
    let passed = given.iter().filter(|(name, _)| is_passed(name));
    let mut headers: HeaderMap = passed.map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    };
    add("x-remote-user", &user.name);
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid);
    }
    for group in &user.groups {
        add("x-remote-group", group);
    }
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", utf8_percent_encode(key, ESCAPED)).to_lowercase();
        values.iter().for_each(|value| add(&name, value));
    }
    if upgrades && let Some(protocol) = given.get(UPGRADE) {
        headers.insert(UPGRADE, protocol.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    headers
}

/// The answer of a service, as it comes.
pub(crate) fn passed(answer: Response<Incoming>, closing: &CancellationToken) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    for name in OF_CONNECTION {
        head.headers.remove(name);
    }
    // The head has been sent: an answer that breaks off there breaks off here.
    let chunks = body.into_data_stream().map_err(|error| {
        debug!(%error, "an aggregated answer ended early");
        Status::internal(error)
    });
    let frames = chunks.map_ok(Frame::data);
    let body = StreamBody::new(frames.take_until(closing.clone().cancelled_owned())).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// The answer to an upgrade: from here on both sides send what they like.
fn switched(answer: Response<Incoming>, client: OnUpgrade, closing: &CancellationToken) -> Response<Body> {
    let headers = answer.headers().clone();
    let closing = closing.clone();
    tokio::spawn(async move {
        let both = futures::future::try_join(client, hyper::upgrade::on(answer)).await;
        let (client, service) = match both {
            Ok((client, service)) => (client, service),
            Err(error) => return debug!(%error, "a connection was not upgraded"),
        };
        let relaying = relay(TokioIo::new(client), TokioIo::new(service));
        if let Some(Err(error)) = closing.run_until_cancelled(relaying).await {
            debug!(%error, "an upgraded connection ended");
        }
    });
    let mut response = reply::text(101, "");
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn a_service_is_told_who_asks_and_nothing_that_would_let_it_ask_as_them() {
        let given = [
            ("authorization", "Bearer secret"),
            ("impersonate-user", "bob"),
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
            ("connection", "upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("accept", "application/json"),
        ];
        let given: HeaderMap = given
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let mut user = User { uid: "7".into(), ..User::named("ann").in_group("devs") };
        user.extra.insert("acme.com/Project".into(), vec!["p".into()]);
        let all = |upgrades| {
            let headers = headers(&given, &user, upgrades);
            let mut lines: Vec<String> =
                headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            lines.sort();
            lines
        };
        let usual = [
            "accept: application/json",
            "x-remote-extra-acme.com%2fproject: p",
            "x-remote-group: devs",
            "x-remote-group: system:authenticated",
            "x-remote-uid: 7",
            "x-remote-user: ann",
        ];
        assert_eq!(all(false), usual);
        let upgrading = all(true);
        assert!(upgrading.contains(&"upgrade: SPDY/3.1".to_owned()) && upgrading.len() == usual.len() + 2);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_not_taken_for_a_whole_one() {
        for (sent, is_whole) in [("3\r\nabc\r\n0\r\n\r\n", true), ("3\r\nabc\r\n", false)] {
            let (here, mut there) = tokio::io::duplex(1024);
            let serving = async move {
                // Whoever is answered has asked.
                assert_ne!(there.read(&mut [0; 512]).await.unwrap(), 0);
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                there.write_all(format!("{head}{sent}").as_bytes()).await.unwrap();
            };
            let asking = async move {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(here)).await.unwrap();
                tokio::spawn(connection);
                let answer = sender.send_request(Request::new(reply::whole(Bytes::new()))).await.unwrap();
                passed(answer, &CancellationToken::new()).into_body().collect().await
            };
            let ((), body) = tokio::join!(serving, asking);
            assert_eq!(body.map(|body| body.to_bytes()).ok(), is_whole.then_some(Bytes::from("abc")));
        }
    }
}
