//! Answers as HTTP has them.

use std::convert::Infallible;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY, WARNING};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use orchestra_core::api::represent::{Form, Format};
use orchestra_core::api::{Status, yaml};
use serde_json::Value;

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";

pub(crate) fn bytes(code: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
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
    pub(crate) format: Format,
    pub(crate) gzip: bool,
}

/// Answers longer than this are compressed for those who accept it, as in Kubernetes.
const WORTH_COMPRESSING: usize = 128 * 1024;
/// Answers longer than this are compressed by a thread of its own: it takes milliseconds.
const LONG: usize = 1024 * 1024;

impl Wanted {
    /// What a request asks for; JSON, if it asks for nothing that there is.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let format = Form::negotiate(text(ACCEPT)).map_or(Format::Json, |(_, format)| format);
        Self { format, gzip: accepts_gzip(text(ACCEPT_ENCODING)) }
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
            Format::Json => (content_type, json),
            Format::Yaml => {
                let value: Value = serde_json::from_slice(&json).map_err(Status::internal)?;
                (YAML, yaml::write(&value).map_err(Status::internal)?.into())
            }
        };
        self.encoded(code, content_type, body).await
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
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
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

fn compress(body: &[u8]) -> std::io::Result<Vec<u8>> {
    // The network is rarely so slow that better would pay.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

pub(crate) fn json(code: u16, value: &Value) -> Response<Body> {
    bytes(code, JSON, value.to_string())
}

/// A failure, as the `Status` object that clients read.
pub(crate) fn failure(status: &Status, format: Format) -> Response<Body> {
    let object = status.to_object();
    let mut value = serde_json::to_value(&object).unwrap_or_default();
    value["metadata"] = serde_json::json!({});
    let text = match format {
        Format::Yaml => yaml::write(&value).ok(),
        Format::Json => None,
    };
    let mut response = match text {
        Some(text) => bytes(status.code(), YAML, text),
        None => json(status.code(), &value),
    };
    let retry = status.details().and_then(|details| details.retry_after_seconds);
    if let Some(value) = retry.and_then(|seconds| HeaderValue::from_str(&seconds.to_string()).ok()) {
        response.headers_mut().insert("retry-after", value);
    }
    response
}

/// An answer that is sent as it comes to be.
pub(crate) fn stream(
    content_type: &'static str,
    chunks: impl Stream<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    let frames = chunks.map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Adds what the caller should know: warning code 299, as `kubectl` prints it.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
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
