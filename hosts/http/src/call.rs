//! What a request asks for: its method, headers and body in the terms of the core.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use orchestra_core::api::{
    Body as Given, Operation, PatchKind, Reason, Resource, Status, Target, User, WriteOptions,
};
use serde_json::Value;

use crate::query::{QueryString, Write};

/// The most bytes that a request may carry, as in Kubernetes.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// The user agent of [`Remote`](crate::Remote), without the version.
const OURS: &str = "orchestra";

/// One request, read.
pub(crate) struct Call<'r> {
    pub(crate) user: User,
    pub(crate) method: &'r Method,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) query: QueryString,
    pub(crate) body: Bytes,
}

/// The verb that a request is counted under.
pub(crate) fn verb(method: &Method, one: bool, watch: bool) -> &'static str {
    match (method, one) {
        (&Method::GET | &Method::HEAD, _) if watch => "WATCH",
        (&Method::GET | &Method::HEAD, true) => "GET",
        (&Method::GET | &Method::HEAD, false) => "LIST",
        (&Method::POST, _) => "POST",
        (&Method::PUT, _) => "PUT",
        (&Method::PATCH, _) => "PATCH",
        (&Method::DELETE, true) => "DELETE",
        (&Method::DELETE, false) => "DELETECOLLECTION",
        _ => "other",
    }
}

/// What a request asks to do.
pub(crate) fn operation(call: &Call<'_>, resource: &Resource, target: &Target) -> Result<Operation, Status> {
    let query = &call.query;
    let one = target.name.is_some();
    Ok(match (call.method, one) {
        (&Method::GET | &Method::HEAD, true) => {
            let (revision, revision_match) = query.get_options()?;
            Operation::Get { revision, revision_match }
        }
        (&Method::GET | &Method::HEAD, false) => Operation::List(query.list()?),
        (&Method::POST, _) => {
            Operation::Create { body: given(call)?, options: write_options(call, Write::Create)? }
        }
        (&Method::PUT, true) => {
            Operation::Update { body: given(call)?, options: write_options(call, Write::Update)? }
        }
        (&Method::PATCH, true) => {
            let content_type = content_type(call.headers);
            let kind =
                PatchKind::from_content_type(content_type).ok_or_else(|| PatchKind::unsupported(resource))?;
            let (patch, force) = (call.body.clone(), query.is_set("force"));
            Operation::Patch { kind, patch, force, options: write_options(call, Write::Patch(kind))? }
        }
        (&Method::DELETE, true) => Operation::Delete(query.delete(options(call)?)?),
        (&Method::DELETE, false) => Operation::DeleteCollection(query.list()?, query.delete(options(call)?)?),
        _ => {
            return Err(Status::method_not_allowed());
        }
    })
}

/// The options of a write. A program that names no field manager is known by its user agent, as in Kubernetes; one of
/// ours by its user.
fn write_options(call: &Call<'_>, write: Write) -> Result<WriteOptions, Status> {
    let mut options = call.query.write(write)?;
    if options.field_manager.is_none() {
        let agent = header(call.headers, USER_AGENT).split('/').next().unwrap_or_default();
        options.field_manager =
            Some(agent).filter(|agent| !agent.is_empty() && *agent != OURS).map(str::to_owned);
    }
    Ok(options)
}

fn given(call: &Call<'_>) -> Result<Given, Status> {
    let content_type = content_type(call.headers);
    Given::of_content_type(content_type, call.body.clone()).ok_or_else(|| {
        Status::new(
            Reason::UnsupportedMediaType,
            "the body of the request was in an unknown format - accepted media types include: application/json, \
             application/yaml, application/vnd.kubernetes.protobuf",
        )
    })
}

/// The options in the body, if it has any.
fn options(call: &Call<'_>) -> Result<Option<Value>, Status> {
    if call.body.is_empty() { Ok(None) } else { given(call)?.read("DeleteOptions").map(Some) }
}

pub(crate) async fn collect<B>(body: B) -> Result<Bytes, Status>
where
    B: hyper::body::Body<Data = Bytes> + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::new(
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {MAX_BODY}"),
        )),
        Err(error) => Err(Status::bad_request(format!("the body of the request cannot be read: {error}"))),
    }
}

fn header(headers: &HeaderMap, name: http::HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

pub(crate) fn accept(headers: &HeaderMap) -> &str {
    header(headers, ACCEPT)
}

/// The media type of the body, without parameters.
fn content_type(headers: &HeaderMap) -> &str {
    header(headers, CONTENT_TYPE).split(';').next().unwrap_or_default().trim()
}

pub(crate) fn host(headers: &HeaderMap) -> String {
    header(headers, http::header::HOST).to_owned()
}
