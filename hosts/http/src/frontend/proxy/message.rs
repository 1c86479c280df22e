//! What of a request is passed on to a service: without what says who sent it, and with its body as it comes.

use std::pin::Pin;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt as _, StreamExt as _, stream};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    EXPECT, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Frame;
use tracing::debug;

use super::links::Page;
use crate::aggregate::OF_CONNECTION;
use crate::reply::Body;

/// The body of a request that is passed on.
pub(super) type Passed = UnsyncBoxBody<Bytes, BrokenOff>;

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body of the request broke off")]
pub(super) struct BrokenOff;

/// The type of a page.
const HTML: &str = "text/html";

/// Where the body of a request is put, frame by frame: one waits for the service to take it.
pub(super) struct Sending(mpsc::Sender<Result<Frame<Bytes>, BrokenOff>>);

impl Sending {
    /// Passes all of it on. Whether that was all.
    pub(super) async fn all<B>(mut self, body: Option<B>) -> bool
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Some(body) = body else { return true };
        let mut body = std::pin::pin!(body);
        while let Some(frame) = next(body.as_mut()).await {
            let ends = frame.is_err();
            if self.0.send(frame).await.is_err() || ends {
                return false;
            }
        }
        true
    }
}

async fn next<B>(mut body: Pin<&mut B>) -> Option<Result<Frame<Bytes>, BrokenOff>>
where
    B: hyper::body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Some(body.frame().await?.map_err(|error| {
        debug!(error = %error.into(), "the body of a request broke off");
        BrokenOff
    }))
}

/// A request as the service gets it, and the way for its body, if it has one. `path` is what leads to the proxy and what
/// is below it.
pub(super) fn request(
    head: &Parts,
    path: (&str, &str),
    host: &str,
    has_body: bool,
) -> Result<(Request<Passed>, Sending), http::Error> {
    let (base, below) = path;
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let slash = if below.is_empty() { "/" } else { "" };
    let (sender, frames) = mpsc::channel(0);
    let body = if has_body {
        StreamBody::new(frames).boxed_unsync()
    } else {
        Empty::new().map_err(|never| match never {}).boxed_unsync()
    };
    let mut request =
        Request::builder().method(head.method.clone()).uri(format!("{below}{slash}{query}")).body(body)?;
    let mut headers = headers(head, host, &format!("{base}{below}"))?;
    if has_body && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    *request.headers_mut() = headers;
    Ok((request, Sending(sender)))
}

fn headers(head: &Parts, host: &str, path: &str) -> Result<HeaderMap, http::Error> {
    let is_told = |name: &HeaderName, begin| name.as_str().starts_with(begin);
    let is_passed = |name: &HeaderName| {
        !OF_CONNECTION.contains(name)
            // The client was told to go on when its body was first read.
            && !matches!(*name, AUTHORIZATION | HOST | EXPECT)
            && !is_told(name, "impersonate-")
            && !is_told(name, "x-remote-")
    };
    let given = head.headers.iter().filter(|(name, _)| is_passed(name));
    let mut headers: HeaderMap = given.map(|(name, value)| (name.clone(), value.clone())).collect();
    let own = head.headers.get(HOST).cloned();
    headers.insert(HOST, HeaderValue::from_str(host)?);
    headers.insert(HeaderName::from_static("x-forwarded-uri"), HeaderValue::from_str(path)?);
    if headers.get_all(ACCEPT).iter().any(|wanted| wanted.to_str().is_ok_and(|wanted| wanted.contains(HTML)))
    {
        // The links of a page are looked at.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    if let Some(own) = own {
        headers.insert(HeaderName::from_static("x-forwarded-host"), own);
    }
    if let Some(protocol) = head.headers.get(UPGRADE) {
        headers.insert(UPGRADE, protocol.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    Ok(headers)
}

/// A page, with its links leading where `moved` says; what is no page, or is compressed, as it is.
pub(super) fn page(
    answer: Response<Body>,
    moved: impl Fn(&str) -> Option<String> + Send + 'static,
) -> Response<Body> {
    let said = |name| answer.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_page = said(CONTENT_TYPE).is_some_and(|kind| kind.starts_with(HTML));
    if !is_page || said(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    // As far as its links are longer, it is.
    head.headers.remove(CONTENT_LENGTH);
    let state = (body.into_data_stream(), Some(Page::new(moved)));
    let frames = stream::unfold(state, |(mut body, page)| async move {
        let mut page = page?;
        Some(match body.next().await {
            Some(Ok(piece)) => (Ok(Frame::data(page.take(&piece))), (body, Some(page))),
            Some(Err(error)) => (Err(error), (body, None)),
            None => (Ok(Frame::data(page.end())), (body, None)),
        })
    });
    Response::from_parts(head, StreamBody::new(frames).boxed_unsync())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_not_told_what_would_let_it_ask_as_its_client() {
        let (head, ()) = Request::get("/api/v1/namespaces/a/pods/b/proxy/c?d=e")
            .header("authorization", "Bearer secret")
            .header("impersonate-user", "bob")
            .header("x-remote-user", "root")
            .header("cookie", "its own")
            .header("host", "cluster:6443")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(())
            .unwrap()
            .into_parts();
        let base = "/api/v1/namespaces/a/pods/b/proxy";
        let (request, _) = request(&head, (base, "/c"), "b:80", false).unwrap();
        assert_eq!(request.uri(), "/c?d=e");
        let mut lines: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "connection: Upgrade",
                "cookie: its own",
                "host: b:80",
                "upgrade: websocket",
                "x-forwarded-host: cluster:6443",
                &format!("x-forwarded-uri: {base}/c"),
            ]
        );
        let (rooted, _) = super::request(&head, (base, ""), "b:80", true).unwrap();
        assert_eq!(
            (rooted.uri().to_string(), &rooted.headers()[TRANSFER_ENCODING]),
            ("/?d=e".to_owned(), &HeaderValue::from_static("chunked"))
        );
    }
}
