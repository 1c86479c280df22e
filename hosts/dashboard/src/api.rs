//! The port to the API, and what is asked through it.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use orchestra_core::api::Status;
use serde_json::Value;

use crate::route::Query;
use crate::wanted::Wanted;

/// The body of an answer. One that fails breaks off.
pub type Body = UnsyncBoxBody<Bytes, Status>;

const JSON: &str = "application/json";
const TABLE: &str = "application/json;as=Table;g=meta.k8s.io;v=v1";
const METADATA: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// By which name the API writes down who changed an object.
const AGENT: &str = concat!("orchestra-dashboard/", env!("CARGO_PKG_VERSION"));

/// The HTTP API of a cluster, in this process or elsewhere.
///
/// The requests carry what the browser's request said of its sender. A host that knows the sender by other means, as by
/// the certificate of a connection, sends them as that sender, and must send nothing with rights that the sender has not.
#[async_trait]
pub trait Api: Send + Sync {
    /// Answers one request. Its path is the API's, such as `/api/v1/pods?limit=1`. One that is to become a WebSocket has
    /// the extensions of the browser's request, by which the host takes over its connection.
    async fn send(&self, request: Request<Bytes>) -> Response<Body>;
}

/// Why something could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn of(code: u16, body: &[u8]) -> Self {
        let status = serde_json::from_slice::<Value>(body).ok();
        let said = status.as_ref().and_then(|status| status["message"].as_str()).map(str::to_owned);
        let message = said.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned());
        Self { code, message }
    }

    /// Whether who looks may not see it, which a page need not complain of.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.code, 401 | 403)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// A write.
pub(crate) struct Write {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

impl Write {
    pub(crate) fn json(method: Method, path: impl Into<String>, body: &Value) -> Self {
        Self { method, path: path.into(), content_type: JSON, body: body.to_string().into() }
    }

    /// A JSON patch.
    pub(crate) fn json_patch(path: impl Into<String>, patch: &Value) -> Self {
        let content_type = "application/json-patch+json";
        Self { method: Method::PATCH, path: path.into(), content_type, body: patch.to_string().into() }
    }

    /// A JSON merge patch.
    pub(crate) fn merge(path: impl Into<String>, patch: &Value) -> Self {
        let content_type = "application/merge-patch+json";
        Self { method: Method::PATCH, path: path.into(), content_type, body: patch.to_string().into() }
    }
}

/// The API, as whoever looks.
#[derive(Clone)]
pub(crate) struct Asker<'a> {
    api: &'a dyn Api,
    /// What the browser's request says of its sender.
    credentials: HeaderMap,
}

impl<'a> Asker<'a> {
    pub(crate) fn new(api: &'a dyn Api, credentials: HeaderMap) -> Self {
        Self { api, credentials }
    }

    /// The same API, as whoever a token belongs to.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        let mut credentials = self.credentials.clone();
        if let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) {
            credentials.insert(AUTHORIZATION, value);
        }
        Self { api: self.api, credentials }
    }

    /// An object, or another document.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.read(path, JSON).await
    }

    /// A collection as a table.
    pub(crate) async fn table(&self, path: &str) -> Result<Value, Failure> {
        self.read(path, TABLE).await
    }

    /// The metadata of a collection.
    pub(crate) async fn metadata(&self, path: &str) -> Result<Value, Failure> {
        self.read(path, METADATA).await
    }

    pub(crate) async fn discovery(&self, path: &str) -> Result<Value, Failure> {
        self.read(path, DISCOVERY).await
    }

    /// The objects of several collections at once, of each these fields; `None` of those that may not be read.
    pub(crate) async fn lists<const N: usize>(&self, asked: [(&str, &[&[&str]]); N]) -> [Option<Value>; N] {
        let answers = join_all(asked.map(|(path, fields)| self.list(path, Wanted::of_items(fields)))).await;
        let mut answers = answers.into_iter().map(Result::ok);
        std::array::from_fn(|_| answers.next().flatten())
    }

    async fn list(&self, path: &str, wanted: Wanted) -> Result<Value, Failure> {
        let body = self.collect(self.request(Method::GET, path, JSON)?).await?;
        wanted.read(&body).map_err(|error| Failure::new(502, format!("{path}: {error}")))
    }

    async fn read(&self, path: &str, accept: &'static str) -> Result<Value, Failure> {
        let body = self.collect(self.request(Method::GET, path, accept)?).await?;
        serde_json::from_slice(&body).map_err(|error| Failure::new(502, format!("{path}: {error}")))
    }

    /// Text, such as a log.
    pub(crate) async fn text(&self, path: &str) -> Result<String, Failure> {
        let body = self.collect(self.request(Method::GET, path, "*/*")?).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Changes something.
    pub(crate) async fn write(&self, write: Write) -> Result<Value, Failure> {
        let mut request = self.request(write.method, &write.path, JSON)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(write.content_type));
        *request.body_mut() = write.body;
        let body = self.collect(request).await?;
        Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// What goes on: a watch, or a log that is followed.
    pub(crate) async fn open(&self, path: &str, metadata: bool) -> Result<Body, Failure> {
        let accept = if metadata { METADATA } else { "*/*" };
        let answer = self.api.send(self.request(Method::GET, path, accept)?).await;
        if answer.status().is_success() {
            return Ok(answer.into_body());
        }
        let code = answer.status().as_u16();
        Err(Failure::of(code, &whole(answer.into_body()).await?))
    }

    fn request(&self, method: Method, path: &str, accept: &'static str) -> Result<Request<Bytes>, Failure> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|_| Failure::new(400, format!("{path:?} is no path")))?;
        let headers = request.headers_mut();
        headers.extend(self.credentials.clone());
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        Ok(request)
    }

    async fn collect(&self, request: Request<Bytes>) -> Result<Bytes, Failure> {
        let answer = self.api.send(request).await;
        let code = answer.status();
        let body = whole(answer.into_body()).await?;
        if code.is_success() { Ok(body) } else { Err(Failure::of(code.as_u16(), &body)) }
    }
}

async fn whole(body: Body) -> Result<Bytes, Failure> {
    let whole =
        body.collect().await.map_err(|error| Failure::new(502, format!("the answer broke off: {error}")))?;
    Ok(whole.to_bytes())
}

/// Whose headers say who sends a request: they are sent on as they are.
pub(crate) fn credentials(headers: &HeaderMap) -> HeaderMap {
    let says = |name: &HeaderName| {
        let name = name.as_str();
        name == "authorization"
            || name == "x-forwarded-for"
            || name == "x-real-ip"
            || name.starts_with("impersonate-")
            || name.starts_with("x-remote-")
    };
    let held = headers.iter().filter(|(name, _)| says(name));
    held.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The items of a list.
pub(crate) fn items(list: Option<&Value>) -> &[Value] {
    list.and_then(|list| list["items"].as_array()).map_or(&[], Vec::as_slice)
}

/// The revision at which a list was read.
pub(crate) fn revision(list: &Value) -> &str {
    list["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

/// A path with a query.
pub(crate) fn with(path: &str, query: &Query) -> String {
    match query.to_string() {
        none if none.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}
