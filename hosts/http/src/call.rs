//! A request, resolved once: what its path leads to, what is asked there, and how the answer is wanted.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method};
use orchestra_core::api::access::AccessRequest;
use orchestra_core::api::represent::{Form, Format, Offer};
use orchestra_core::api::{
    Body as Given, Kinds, Operation, PatchKind, Reason, Resource, Status, Target, Verb, WriteOptions,
};
use orchestra_core::selector::FieldSelector;
use serde_json::Value;

use crate::metrics::Asked;
use crate::path::Route;
use crate::query::{QueryString, Write};
use crate::reply::Wanted;

/// The user agent of [`Remote`](crate::Remote), without the version.
const OURS: &str = "orchestra";

/// One request.
pub(crate) struct Call<'r> {
    pub(crate) method: &'r Method,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) route: Route,
    /// The path as authorization has it.
    pub(crate) path: String,
    /// The row of the kind, if the route leads to one that is served.
    pub(crate) row: Option<Arc<Resource>>,
    pub(crate) query: Result<QueryString, Status>,
    /// The form and format that the client asks for, if there is such.
    pub(crate) accepted: Result<(Form, Format), Status>,
    /// What is done to the resource; `None` if the method does nothing to it, or the route leads to none.
    pub(crate) verb: Option<Verb>,
}

impl<'r> Call<'r> {
    /// What a request is.
    pub(crate) fn resolve(head: &'r Parts, kinds: &Kinds) -> Self {
        let (route, path) = Route::parse(head.uri.path(), kinds);
        let query = QueryString::parse(head.uri.query());
        let (mut row, mut verb) = (None, None);
        if let Route::Resource { target, watch, .. } = &route {
            row = kinds.served(&target.group, &target.version, &target.resource).cloned();
            let asks = || target.name.is_none() && query.as_ref().is_ok_and(|query| query.is_set("watch"));
            let watch = *watch || asks();
            verb = resource_verb(&head.method, target.name.is_some(), watch);
        }
        let tables = row.as_ref().is_none_or(|row| row.has_tables());
        let offer = Offer { tables, streams: verb == Some(Verb::List) };
        let accepted = Form::negotiate(accept(&head.headers), offer);
        Self { method: &head.method, headers: &head.headers, route, path, row, query, accepted, verb }
    }

    /// What authorization is asked.
    pub(crate) fn access(&self) -> AccessRequest<'_> {
        match &self.route {
            Route::Resource { target, .. } => {
                AccessRequest::resource(self.verb.map_or("", Verb::as_str), target)
            }
            _ => AccessRequest::path(path_verb(self.method), &self.path),
        }
    }

    /// Which objects of a collection are asked for, by their fields. What cannot be read is refused later.
    pub(crate) fn selected(&self, verb: Verb) -> Option<FieldSelector> {
        if !matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection) {
            return None;
        }
        FieldSelector::parse(self.query.as_ref().ok()?.get("fieldSelector")?).ok()
    }

    /// The query string.
    ///
    /// # Errors
    /// 400 when it is none.
    pub(crate) fn query(&self) -> Result<&QueryString, Status> {
        self.query.as_ref().map_err(Status::clone)
    }

    /// The form and format of the answer.
    ///
    /// # Errors
    /// 406 when the client asks for none that there is.
    pub(crate) fn accepted(&self) -> Result<(Form, Format), Status> {
        self.accepted.clone()
    }

    /// How the answer is written.
    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted_in(self.accepted.as_ref().map_or(Format::Json, |(_, format)| *format))
    }

    /// The same in a format.
    pub(crate) fn wanted_in(&self, format: Format) -> Wanted {
        Wanted::of(format, self.headers, self.query.as_ref().ok())
    }

    /// What its sender is told of the version that it speaks, if that is deprecated.
    pub(crate) fn deprecation(&self) -> Option<&str> {
        let (Route::Resource { target, .. }, Some(verb)) = (&self.route, self.verb) else { return None };
        let row = self.row.as_ref()?;
        let is_served = match &target.subresource {
            Some(name) => row.subresource(name)?.verbs.contains(&verb),
            None => row.serves(verb, target) && !(verb == Verb::Create && target.name.is_some()),
        };
        row.deprecation(&target.group, &target.version).filter(|_| is_served)
    }

    /// What it is counted as.
    pub(crate) fn counted(&self) -> Asked {
        let Route::Resource { target, .. } = &self.route else {
            return Asked::of(counted_verb(self.method, self.verb), None, None);
        };
        let row = self.row.as_ref().map(|row| (&**row, &*target.group, &*target.version));
        Asked::of(counted_verb(self.method, self.verb), row, target.subresource.as_deref())
    }

    /// Whether what is answered goes on: a watch, what connects to a part of an object, or a connection that is held.
    pub(crate) fn goes_on(&self) -> bool {
        let connects = |sub: &str| matches!(sub, "attach" | "exec" | "log" | "portforward" | "proxy");
        match &self.route {
            Route::Resource { target, .. } => {
                self.is_watch() || target.subresource.as_deref().is_some_and(connects)
            }
            Route::NodeConnection => true,
            _ => false,
        }
    }

    /// Whether what is answered may go on without end.
    pub(crate) fn is_watch(&self) -> bool {
        self.verb == Some(Verb::Watch)
    }
}

/// What a method does to a resource.
fn resource_verb(method: &Method, one: bool, watch: bool) -> Option<Verb> {
    Some(match (method, one) {
        (&Method::GET | &Method::HEAD, _) if watch => Verb::Watch,
        (&Method::GET | &Method::HEAD, true) => Verb::Get,
        (&Method::GET | &Method::HEAD, false) => Verb::List,
        (&Method::POST, _) => Verb::Create,
        (&Method::PUT, _) => Verb::Update,
        (&Method::PATCH, _) => Verb::Patch,
        (&Method::DELETE, true) => Verb::Delete,
        (&Method::DELETE, false) => Verb::DeleteCollection,
        _ => return None,
    })
}

/// The verb of a request for a path that is no resource: the method in small letters.
fn path_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

/// The verb that a request is counted under, as Kubernetes counts.
fn counted_verb(method: &Method, verb: Option<Verb>) -> &'static str {
    match (method, verb) {
        (_, Some(Verb::Watch)) => "WATCH",
        (_, Some(Verb::List)) => "LIST",
        (_, Some(Verb::DeleteCollection)) => "DELETECOLLECTION",
        (&Method::GET | &Method::HEAD, _) => "GET",
        (&Method::POST, _) => "POST",
        (&Method::PUT, _) => "PUT",
        (&Method::PATCH, _) => "PATCH",
        (&Method::DELETE, _) => "DELETE",
        _ => "other",
    }
}

/// What a request asks to do.
pub(crate) fn operation(call: &Call<'_>, target: &Target, body: Bytes) -> Result<Operation, Status> {
    let query = call.query()?;
    let one = target.name.is_some();
    Ok(match (call.method, one) {
        (&Method::GET, true) => {
            let (revision, revision_match) = query.get_options()?;
            Operation::Get { revision, revision_match }
        }
        (&Method::GET, false) => Operation::List(query.list()?),
        (&Method::POST, _) => {
            Operation::Create { body: given(call, body)?, options: write_options(call, Write::Create)? }
        }
        (&Method::PUT, true) => {
            Operation::Update { body: given(call, body)?, options: write_options(call, Write::Update)? }
        }
        (&Method::PATCH, true) => {
            let content_type = content_type(call.headers);
            let kind =
                PatchKind::from_content_type(content_type).ok_or_else(|| match call.row.as_deref() {
                    // Custom kinds have a route of their own, which says it in its own words.
                    Some(kind) if kind.custom => PatchKind::unsupported(kind),
                    _ => Status::unsupported_media_type(),
                })?;
            let options = write_options(call, Write::Patch(kind))?;
            let force = query.is_set("force");
            Operation::Patch { kind, patch: body, force, options }
        }
        (&Method::DELETE, true) => Operation::Delete(query.delete(options(call, body)?)?),
        (&Method::DELETE, false) => {
            Operation::DeleteCollection(query.list()?, query.delete(options(call, body)?)?)
        }
        _ => {
            return Err(Status::method_not_allowed());
        }
    })
}

/// The options of a write. A program that names no field manager is known by its user agent, as in Kubernetes; one of
/// ours by its user.
fn write_options(call: &Call<'_>, write: Write) -> Result<WriteOptions, Status> {
    let mut options = call.query()?.write(write)?;
    if options.field_manager.is_none() {
        options.field_manager = program(header(call.headers, USER_AGENT));
    }
    Ok(options)
}

/// The program of a user agent; `None` for one of ours.
fn program(agent: &str) -> Option<String> {
    let name = agent.split('/').next().unwrap_or_default();
    let shown: String = name.chars().filter(|character| !character.is_control()).collect();
    match &*shown {
        OURS => None,
        "" => Some("unknown".to_owned()),
        _ => Some(shown),
    }
}

pub(crate) fn given(call: &Call<'_>, body: Bytes) -> Result<Given, Status> {
    let content_type = content_type(call.headers);
    Given::of_content_type(content_type, body).ok_or_else(|| {
        Status::new(
            Reason::UnsupportedMediaType,
            "the body of the request was in an unknown format - accepted media types include: application/json, \
             application/yaml, application/vnd.kubernetes.protobuf",
        )
    })
}

/// The options in the body, if it has any.
fn options(call: &Call<'_>, body: Bytes) -> Result<Option<Value>, Status> {
    if body.is_empty() {
        return Ok(None);
    }
    let options = given(call, body)?.read_options()?;
    match options["kind"].as_str() {
        None | Some("" | "DeleteOptions") => Ok(Some(options)),
        Some(kind) => {
            let version = options["apiVersion"].as_str().unwrap_or("meta.k8s.io/v1");
            Err(Status::bad_request(format!("no kind {kind:?} is registered for version {version:?}")))
        }
    }
}

pub(crate) fn header(headers: &HeaderMap, name: http::HeaderName) -> &str {
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
