//! Answers as HTTP has them.

use std::collections::HashSet;
use std::io::Write as _;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    USER_AGENT, VARY, WARNING,
};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use orchestra_core::api::represent::Format;
use orchestra_core::api::{Status, yaml};
use serde_json::Value;

use crate::layout;
use crate::query::QueryString;

/// The body of an answer. One that fails breaks off, and its connection or its stream with it: who reads it knows that this
/// was not all.
pub type Body = UnsyncBoxBody<Bytes, Status>;

/// Bytes that are at hand.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";

pub(crate) fn bytes(code: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(whole(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

pub(crate) fn text(code: u16, body: &str) -> Response<Body> {
    bytes(code, "text/plain; charset=utf-8", body.to_owned())
}

/// The format and the encoding of an answer, as its headers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    format: Format,
    /// Whether JSON is laid out for people.
    pretty: bool,
    gzip: bool,
}

/// How many bytes of warnings an answer has.
const ALL_WARNINGS: usize = 4 * 1024;
/// How many bytes each has when they are more.
const ONE_OF_MANY: usize = 256;
/// By which a log knows a request.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// The longest that a caller may give.
const LONGEST_ID: usize = 64;

/// Answers longer than this are compressed for those who accept it, as in Kubernetes.
const WORTH_COMPRESSING: usize = 128 * 1024;
/// Answers longer than this are compressed by a thread of its own: it takes milliseconds.
const LONG: usize = 1024 * 1024;

impl Wanted {
    /// What a request asks for, given the format that its `Accept` header names.
    pub(crate) fn of(format: Format, headers: &HeaderMap, query: Option<&QueryString>) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let pretty = match query.and_then(|query| query.get("pretty")) {
            Some(value) => matches!(value, "1" | "t" | "T" | "true" | "True" | "TRUE"),
            // Browsers and the like have people before them, as Kubernetes sees it.
            None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| text(USER_AGENT).starts_with(name)),
        };
        Self { format, pretty, gzip: accepts_gzip(text(ACCEPT_ENCODING)) }
    }

    /// An answer with this JSON in it.
    pub(crate) async fn json(self, code: u16, json: impl Into<Bytes>) -> Result<Response<Body>, Status> {
        self.json_as(code, JSON, json).await
    }

    /// The same, under a media type of its own if it stays JSON.
    pub(crate) async fn json_as(
        self,
        code: u16,
        content_type: &str,
        json: impl Into<Bytes>,
    ) -> Result<Response<Body>, Status> {
        let json = json.into();
        let (content_type, body) = match self.format {
            Format::Json => (content_type, self.laid_out(json)),
            Format::Yaml => {
                let value: Value = serde_json::from_slice(&json).map_err(Status::internal)?;
                (YAML, yaml::write(&value).map_err(Status::internal)?.into())
            }
        };
        self.encoded(code, content_type, body).await
    }

    /// JSON as Kubernetes ends it: with a new line, or indented and without.
    fn laid_out(self, json: Bytes) -> Bytes {
        if self.pretty {
            return layout::indent(&json).into();
        }
        if json.ends_with(b"\n") {
            return json;
        }
        let mut line = BytesMut::from(json);
        line.extend_from_slice(b"\n");
        line.freeze()
    }

    /// Whether JSON can be sent as it comes to be: it is not laid out, nor made YAML of, which takes all of it.
    pub(crate) fn takes_parts(self) -> bool {
        self.format == Format::Json && !self.pretty
    }

    /// An answer with this JSON in it, which is long, part by part as it comes to be. It breaks off with the first error.
    pub(crate) fn parts(
        self,
        code: u16,
        parts: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    ) -> Response<Body> {
        let mut response = bytes(code, JSON, Bytes::new());
        let mut parts = parts.boxed();
        if self.gzip {
            is_compressed(&mut response);
            parts = compressed(parts).boxed();
        }
        *response.body_mut() = StreamBody::new(parts.map_ok(Frame::data)).boxed_unsync();
        response
    }

    /// An answer with these bytes in it, compressed if it is worth it and the caller can read it.
    pub(crate) async fn encoded(
        self,
        code: u16,
        content_type: &str,
        body: Bytes,
    ) -> Result<Response<Body>, Status> {
        if !self.gzip || body.len() <= WORTH_COMPRESSING {
            return Ok(bytes(code, content_type, body));
        }
        let compressed = match body.len() > LONG {
            true => {
                let task = tokio::task::spawn_blocking(move || compress(&body));
                task.await.map_err(Status::internal)?
            }
            false => compress(&body),
        };
        let mut response = bytes(code, content_type, compressed.map_err(Status::internal)?);
        is_compressed(&mut response);
        Ok(response)
    }
}

/// Whether `gzip` is among the encodings, and not only to say that it is not wanted.
fn accepts_gzip(header: &str) -> bool {
    header.split(',').any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.trim().parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

fn is_compressed(response: &mut Response<Body>) {
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
}

fn encoder() -> GzEncoder<Vec<u8>> {
    // The network is rarely so slow that better would pay.
    GzEncoder::new(Vec::new(), Compression::fast())
}

fn compress(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = encoder();
    encoder.write_all(body)?;
    encoder.finish()
}

/// The same bytes, compressed as they come.
fn compressed(
    parts: BoxStream<'static, Result<Bytes, Status>>,
) -> impl Stream<Item = Result<Bytes, Status>> + Send {
    stream::try_unfold(Some((parts, encoder())), |state| async move {
        let Some((mut parts, mut encoder)) = state else { return Ok(None) };
        while let Some(part) = parts.try_next().await? {
            // It takes a millisecond, and little comes of it: others have their turn between two.
            tokio::task::yield_now().await;
            encoder.write_all(&part).map_err(Status::internal)?;
            let ready = std::mem::take(encoder.get_mut());
            if !ready.is_empty() {
                return Ok(Some((ready.into(), Some((parts, encoder)))));
            }
        }
        Ok(Some((encoder.finish().map_err(Status::internal)?.into(), None)))
    })
}

/// A short document that is indented for everyone.
pub(crate) fn pretty(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec_pretty(value) {
        Ok(text) => bytes(200, JSON, text),
        Err(error) => text(500, &format!("{error}\n")),
    }
}

/// A failure, as the `Status` object that clients read.
pub(crate) fn failure(status: &Status, wanted: Wanted) -> Response<Body> {
    let json = Bytes::from(status.to_json());
    let yaml = match wanted.format {
        Format::Yaml => serde_json::from_slice(&json).ok().and_then(|value: Value| yaml::write(&value).ok()),
        Format::Json => None,
    };
    let mut response = match yaml {
        Some(text) => bytes(status.code(), YAML, text),
        None => bytes(status.code(), JSON, wanted.laid_out(json)),
    };
    let retry = status.details().and_then(|details| details.retry_after_seconds);
    if let Some(value) = retry.and_then(|seconds| HeaderValue::from_str(&seconds.to_string()).ok()) {
        response.headers_mut().insert(RETRY_AFTER, value);
    }
    response
}

/// A failure for a program, as JSON.
pub(crate) fn failed(status: &Status) -> Response<Body> {
    bytes(status.code(), JSON, status.to_json())
}

/// The number by which a log knows a request: the caller's if it gave one.
pub(crate) fn audit_id(request: &HeaderMap) -> Option<HeaderValue> {
    let given = request.get(AUDIT_ID).filter(|value| value.len() <= LONGEST_ID).cloned();
    given.or_else(random_id)
}

/// Adds what every answer has: that nobody may keep it, unless it says otherwise, and the number by which a log knows
/// the request.
pub(crate) fn finish(response: &mut Response<Body>, id: Option<HeaderValue>) {
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    if let Some(id) = id {
        headers.insert(AUDIT_ID, id);
    }
}

/// A random UUID.
fn random_id() -> Option<HeaderValue> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    // Version 4, variant 1.
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let number = u128::from_be_bytes(random);
    let digits = format!("{number:032x}");
    let [a, b, c, d, e] = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    HeaderValue::from_str(&format!("{a}-{b}-{c}-{d}-{e}")).ok()
}

/// An answer that is sent as it comes to be.
pub(crate) fn streamed(
    content_type: &'static str,
    chunks: impl Stream<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    let frames = chunks.map(|chunk| Ok(Frame::data(chunk)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Adds what the caller should know: warning code 299, as `kubectl` prints it. All together are cut at the length at
/// which Kubernetes cuts them: first each of them, and when that is not enough, those at the end are left out.
pub(crate) fn warn<'w>(response: &mut Response<Body>, warnings: impl IntoIterator<Item = &'w str>) {
    let mut told = HashSet::new();
    let warnings = warnings.into_iter().filter(|warning| told.insert(*warning)).map(header);
    let warnings: Vec<String> = warnings.collect();
    let too_long = warnings.iter().map(String::len).sum::<usize>() > ALL_WARNINGS;
    let mut room = ALL_WARNINGS;
    for warning in &warnings {
        let cut = if too_long { warning.floor_char_boundary(ONE_OF_MANY) } else { warning.len() };
        let Some(left) = room.checked_sub(cut) else { break };
        room = left;
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{}\"", escape(&warning[..cut]))) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// A warning on one line.
fn header(warning: &str) -> String {
    warning.replace(['\n', '\r'], " ")
}

fn escape(warning: &str) -> String {
    warning.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_used_where_it_is_welcome() {
        for (header, welcome) in
            [("gzip", true), ("deflate, gzip;q=1.0", true), ("gzip;q=0", false), ("br", false), ("", false)]
        {
            assert_eq!(accepts_gzip(header), welcome, "{header}");
        }
    }
}
