use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use orchestra_core::api::discovery::{self, Aggregated, Discovery};
use orchestra_core::api::openapi::OpenApi;
use orchestra_core::api::represent::{Form, IncludeObject, Writer};
use orchestra_core::api::{
    Body as Given, Operation, PatchKind, Reason, Reply, Resource, Response as Answer, Server, Service,
    Status, Target, User, WatchStream,
};
use orchestra_core::node::Directory;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::auth::{Tokens, authenticate};
use crate::join::Enrolment;
use crate::logs;
use crate::openapi;
use crate::path::Route;
use crate::query::{QueryString, Write};
use crate::reply::{self, Body, JSON};

/// The most bytes that a request may carry, as in Kubernetes.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// How long a watch lasts when the caller does not say.
const WATCH_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The HTTP face of a [`Server`].
pub struct Frontend {
    server: Arc<Server>,
    directory: Directory,
    tokens: Tokens,
    closing: CancellationToken,
    enrolment: Option<Arc<Enrolment>>,
    documents: OpenApi,
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend").finish_non_exhaustive()
    }
}

/// One request, read.
struct Call<'r> {
    user: User,
    method: &'r Method,
    headers: &'r HeaderMap,
    query: QueryString,
    body: Bytes,
}

impl Frontend {
    /// The face of a server, for those who bear one of these tokens or a certificate of the server's authority. Nodes
    /// are reached by `directory`. Watches end when `closing` is cancelled, so that connections can be drained.
    pub fn new(
        server: Arc<Server>,
        directory: Directory,
        tokens: Tokens,
        closing: CancellationToken,
    ) -> Self {
        let documents = OpenApi::new(server.kinds().clone());
        Self { server, directory, tokens, closing, documents, enrolment: None }
    }

    /// Lets nodes join that show a token.
    #[must_use]
    pub fn enrolling(self, enrolment: Option<Arc<Enrolment>>) -> Self {
        Self { enrolment, ..self }
    }

    /// Answers one request.
    pub(crate) async fn answer<B>(&self, request: Request<B>, certificate: Option<&User>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let outcome = async {
            if let Some(enrolment) = self.enrolment.as_ref().filter(|_| Enrolment::is_asked(head.uri.path()))
            {
                // Those who come here are not known yet.
                return enrolment.answer(&head.method, head.uri.path(), &collect(body).await?);
            }
            let user = authenticate(&head.headers, certificate, &self.tokens)?;
            let query = QueryString::parse(head.uri.query())?;
            let body = collect(body).await?;
            let call = Call { user, method: &head.method, headers: &head.headers, query, body };
            self.route(Route::parse(head.uri.path()), &call).await
        };
        outcome.await.unwrap_or_else(|status| reply::failure(&status))
    }

    async fn route(&self, route: Route, call: &Call<'_>) -> Result<Response<Body>, Status> {
        // Whether the server is up and which one it is may be known to all.
        match &route {
            Route::Health => return Ok(reply::text(200, "ok")),
            Route::Version => return Ok(reply::json(200, &discovery::version())),
            _ => {}
        }
        if call.user == User::anonymous() {
            return Err(Status::new(Reason::Unauthorized, "Unauthorized"));
        }
        let answer = match route {
            Route::Resource { target, rest, watch } => self.resource(target, &rest, watch, call).await?,
            _ if !matches!(*call.method, Method::GET | Method::HEAD) => None,
            route => self.document(&route, call),
        };
        Ok(answer.unwrap_or_else(|| reply::text(404, "404 page not found\n")))
    }

    /// A document about the API; `None` if there is none of that path.
    fn document(&self, route: &Route, call: &Call<'_>) -> Option<Response<Body>> {
        let found = Discovery::new(self.server.kinds());
        let aggregated = Aggregated::negotiate(accept(call.headers));
        let value = match route {
            Route::Root => found.paths(&[
                "/healthz",
                "/livez",
                "/metrics",
                "/openapi/v2",
                "/openapi/v3",
                "/readyz",
                "/version",
            ]),
            Route::CoreVersions | Route::Groups => {
                let core = *route == Route::CoreVersions;
                if let Some(form) = aggregated {
                    let body = found.aggregated(core, form).to_string();
                    return Some(reply::bytes(200, &form.content_type(), body));
                }
                if core { found.core(&host(call.headers)) } else { found.groups() }
            }
            Route::Group(group) => found.group(group)?,
            Route::Resources { group, version } => found.resources(group, version)?,
            _ => return openapi::answer(&self.documents, route, call.headers, &call.query),
        };
        Some(reply::json(200, &value))
    }

    /// Does what is asked of a resource; `None` if nothing is served under its group and version.
    async fn resource(
        &self,
        target: Target,
        rest: &str,
        watch: bool,
        call: &Call<'_>,
    ) -> Result<Option<Response<Body>>, Status> {
        let kinds = self.server.kinds();
        let resource = kinds.served(&target.group, &target.version, &target.resource);
        let Some(resource) = resource.cloned() else {
            let served = Discovery::new(kinds).resources(&target.group, &target.version).is_some();
            return if served { Err(Status::no_such_resource()) } else { Ok(None) };
        };
        if !rest.is_empty() {
            return Err(Status::no_such_resource());
        }
        if logs::is_asked_for(call.method, &target) {
            let client = self.server.client(call.user.clone());
            return logs::answer(&self.directory, &client, &target, &call.query, &self.closing)
                .await
                .map(Some);
        }
        if *call.method == Method::GET && (watch || call.query.is_set("watch")) {
            return self.watch(&resource, target, call).await.map(Some);
        }
        let operation = operation(call, &resource, &target)?;
        let form = Form::negotiate(accept(call.headers))?.0;
        let answer = self.server.call(&call.user, target.clone(), operation).await?;
        self.write(&resource, &target, form, &answer, &call.query).map(Some)
    }

    fn write(
        &self,
        resource: &Resource,
        target: &Target,
        form: Form,
        answer: &Answer,
        query: &QueryString,
    ) -> Result<Response<Body>, Status> {
        let writer = self.writer(resource, target, form, query)?;
        let mut out = Vec::new();
        match &answer.reply {
            Reply::Object(entry) => writer.object(entry, &mut out)?,
            Reply::List(list) => writer.list(list, &mut out)?,
            Reply::Value(value) => out = value.to_string().into_bytes(),
        }
        let code = if answer.created { 201 } else { 200 };
        let mut response = reply::bytes(code, JSON, out);
        reply::warn(&mut response, &answer.warnings);
        Ok(response)
    }

    fn writer<'r>(
        &self,
        resource: &'r Resource,
        target: &'r Target,
        form: Form,
        query: &QueryString,
    ) -> Result<Writer<'r>, Status> {
        let include = IncludeObject::parse(query.get("includeObject").unwrap_or_default())?;
        let now = self.server.clock().now();
        Ok(Writer::new(resource, (&target.group, &target.version), form, now).including(include))
    }

    async fn watch(
        &self,
        resource: &Arc<Resource>,
        target: Target,
        call: &Call<'_>,
    ) -> Result<Response<Body>, Status> {
        let form = Form::negotiate(accept(call.headers))?.0;
        // Checked here, where an error still has a status code of its own.
        self.writer(resource, &target, form, &call.query)?;
        let timeout = call.query.timeout()?.unwrap_or(WATCH_TIMEOUT);
        let include = IncludeObject::parse(call.query.get("includeObject").unwrap_or_default())?;
        let events = self.server.watch(&call.user, target.clone(), call.query.watch()?).await?;
        let writing = Writing {
            events,
            resource: Arc::clone(resource),
            target,
            form,
            include,
            first: true,
            server: Arc::clone(&self.server),
        };
        let closing = self.closing.clone();
        let chunks = stream::unfold(Some(writing), Writing::step);
        let chunks = chunks.take_until(async move {
            tokio::select! {
                () = tokio::time::sleep(timeout) => {}
                () = closing.cancelled() => {}
            }
        });
        Ok(reply::stream(JSON, chunks))
    }
}

/// A watch on its way out.
struct Writing {
    events: WatchStream,
    resource: Arc<Resource>,
    target: Target,
    form: Form,
    include: IncludeObject,
    first: bool,
    server: Arc<Server>,
}

impl Writing {
    /// As many events as there are now, as lines. An error is the last of them.
    async fn step(writing: Option<Self>) -> Option<(Bytes, Option<Self>)> {
        const MOST: usize = 128;
        let mut writing = writing?;
        let events: Vec<_> = (&mut writing.events).ready_chunks(MOST).next().await?;
        let mut out = Vec::new();
        let now = writing.server.clock().now();
        let version = (&*writing.target.group, &*writing.target.version);
        let writer = Writer::new(&writing.resource, version, writing.form, now).including(writing.include);
        for event in events {
            let written = event.and_then(|event| writer.event(&event, writing.first, &mut out));
            writing.first = false;
            if let Err(status) = written {
                Writer::error(&status, &mut out);
                return Some((out.into(), None));
            }
        }
        Some((out.into(), Some(writing)))
    }
}

/// What a request asks to do.
fn operation(call: &Call<'_>, resource: &Resource, target: &Target) -> Result<Operation, Status> {
    let query = &call.query;
    let one = target.name.is_some();
    Ok(match (call.method, one) {
        (&Method::GET | &Method::HEAD, true) => {
            let (revision, revision_match) = query.get_options()?;
            Operation::Get { revision, revision_match }
        }
        (&Method::GET | &Method::HEAD, false) => Operation::List(query.list()?),
        (&Method::POST, _) => Operation::Create { body: given(call)?, options: query.write(Write::Create)? },
        (&Method::PUT, true) => {
            Operation::Update { body: given(call)?, options: query.write(Write::Update)? }
        }
        (&Method::PATCH, true) => {
            let content_type = content_type(call.headers);
            let kind =
                PatchKind::from_content_type(content_type).ok_or_else(|| PatchKind::unsupported(resource))?;
            let (patch, force) = (call.body.clone(), query.is_set("force"));
            Operation::Patch { kind, patch, force, options: query.write(Write::Patch(kind))? }
        }
        (&Method::DELETE, true) => Operation::Delete(query.delete(options(call)?)?),
        (&Method::DELETE, false) => Operation::DeleteCollection(query.list()?, query.delete(options(call)?)?),
        _ => {
            return Err(Status::method_not_allowed());
        }
    })
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

async fn collect<B>(body: B) -> Result<Bytes, Status>
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

fn header<'h>(headers: &'h HeaderMap, name: http::HeaderName) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn accept(headers: &HeaderMap) -> &str {
    header(headers, ACCEPT)
}

/// The media type of the body, without parameters.
fn content_type(headers: &HeaderMap) -> &str {
    header(headers, CONTENT_TYPE).split(';').next().unwrap_or_default().trim()
}

fn host(headers: &HeaderMap) -> String {
    header(headers, http::header::HOST).to_owned()
}
