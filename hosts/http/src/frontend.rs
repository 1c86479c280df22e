use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response};
use orchestra_core::api::discovery::{self, Aggregated, Discovery};
use orchestra_core::api::openapi::Documents;
use orchestra_core::api::represent::{Form, Format, IncludeObject, Writer};
use orchestra_core::api::{
    Reason, Reply, Resource, Response as Answer, Server, Service, Status, Target, User,
};
use orchestra_core::node::Directory;
use orchestra_core::store::backup;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::auth::{Tokens, authenticate};
use crate::call::{Call, accept, collect, host, operation, verb};
use crate::health;
use crate::join::Enrolment;
use crate::logs;
use crate::metrics::{Asked, Metrics};
use crate::openapi;
use crate::path::Route;
use crate::query::QueryString;
use crate::reply::{self, Body, JSON, Wanted};
use crate::watch::Writing;

/// How long a watch lasts when the caller does not say.
const WATCH_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The HTTP face of a [`Server`].
pub struct Frontend {
    server: Arc<Server>,
    directory: Directory,
    tokens: Tokens,
    closing: CancellationToken,
    enrolment: Option<Arc<Enrolment>>,
    documents: Documents,
    metrics: Metrics,
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend").finish_non_exhaustive()
    }
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
        let documents = Documents::new(server.kinds());
        let metrics = Metrics::new(Arc::clone(&server));
        Self { server, directory, tokens, closing, documents, metrics, enrolment: None }
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
        let (began, asked) = (Instant::now(), self.asked(&head));
        let wanted = Wanted::of(&head.headers);
        let answer = outcome.await.unwrap_or_else(|status| reply::failure(&status, wanted.format));
        let took = (asked.verb() != "WATCH").then(|| began.elapsed());
        self.metrics.answered(&asked, answer.status().as_u16(), took);
        answer
    }

    /// What a request is counted as.
    fn asked(&self, head: &http::request::Parts) -> Asked {
        let Route::Resource { target, watch, .. } = Route::parse(head.uri.path()) else {
            return Asked::of(verb(&head.method, true, false), None, None);
        };
        let watch = watch || QueryString::parse(head.uri.query()).is_ok_and(|query| query.is_set("watch"));
        let verb = verb(&head.method, target.name.is_some(), watch);
        let (group, version) = (&*target.group, &*target.version);
        let kinds = self.server.kinds();
        let row = kinds.served(group, version, &target.resource);
        Asked::of(verb, row.map(|row| (&**row, group, version)), target.subresource.as_deref())
    }

    async fn route(&self, route: Route, call: &Call<'_>) -> Result<Response<Body>, Status> {
        let none = || reply::text(404, "404 page not found\n");
        // Whether the server is up and which one it is may be known to all.
        match &route {
            Route::Health(endpoint, check) => {
                let answer =
                    health::answer(&self.server, &self.closing, endpoint, check.as_deref(), &call.query);
                return Ok(answer.await.unwrap_or_else(none));
            }
            Route::Version => return Ok(reply::json(200, &discovery::version())),
            _ => {}
        }
        if call.user == User::anonymous() {
            return Err(Status::new(Reason::Unauthorized, "Unauthorized"));
        }
        let answer = match route {
            Route::Resource { target, rest, watch } => self.resource(target, &rest, watch, call).await?,
            _ if !matches!(*call.method, Method::GET | Method::HEAD) => None,
            Route::Metrics => Some(self.metrics.answer()),
            Route::Backup => Some(self.backup(&call.user)?),
            route => self.document(&route, call).await?,
        };
        Ok(answer.unwrap_or_else(none))
    }

    /// All that the store holds, as it is now. An end that comes too early shows in the backup itself.
    fn backup(&self, user: &User) -> Result<Response<Body>, Status> {
        if !user.groups.iter().any(|group| group == "system:masters") {
            let why = "a backup holds every Secret: it is for the group system:masters only";
            return Err(Status::new(Reason::Forbidden, why));
        }
        let chunks = backup::stream(self.server.store()?).filter_map(async |chunk| {
            // The stream ends with its first error.
            chunk.inspect_err(|error| warn!(%error, "a backup was broken off")).ok()
        });
        let closing = self.closing.clone();
        Ok(reply::stream("application/octet-stream", chunks.take_until(closing.cancelled_owned())))
    }

    /// A document about the API; `None` if there is none of that path.
    async fn document(&self, route: &Route, call: &Call<'_>) -> Result<Option<Response<Body>>, Status> {
        let wanted = Wanted::of(call.headers);
        let kinds = self.server.kinds();
        let found = Discovery::new(&kinds);
        let value = match route {
            Route::Root => Some(found.paths(&[
                "/healthz",
                "/livez",
                "/metrics",
                "/openapi/v2",
                "/openapi/v3",
                "/readyz",
                "/version",
            ])),
            Route::CoreVersions | Route::Groups => {
                let core = *route == Route::CoreVersions;
                if let Some(form) = Aggregated::negotiate(accept(call.headers)) {
                    let body = found.aggregated(core, form).to_string();
                    return wanted.json_as(200, &form.content_type(), body).await.map(Some);
                }
                Some(if core { found.core(&host(call.headers)) } else { found.groups() })
            }
            Route::Group(group) => found.group(group),
            Route::Resources { group, version } => found.resources(group, version),
            _ => {
                let documents = self.documents.of(&kinds);
                return openapi::answer(&documents, route, call.headers, &call.query).await;
            }
        };
        match value {
            Some(value) => wanted.json(200, value.to_string()).await.map(Some),
            None => Ok(None),
        }
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
            let served = Discovery::new(&kinds).resources(&target.group, &target.version).is_some();
            return if served { Err(Status::no_such_resource()) } else { Ok(None) };
        };
        if !rest.is_empty() {
            return Err(Status::no_such_resource());
        }
        if logs::is_asked_for(call.method, &resource, &target) {
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
        self.write(&resource, &target, form, &answer, call).await.map(Some)
    }

    async fn write(
        &self,
        resource: &Resource,
        target: &Target,
        form: Form,
        answer: &Answer,
        call: &Call<'_>,
    ) -> Result<Response<Body>, Status> {
        let writer = self.writer(resource, target, form, &call.query)?;
        let mut out = Vec::new();
        match &answer.reply {
            Reply::Object(entry) => writer.object(entry, &mut out)?,
            Reply::List(list) => writer.list(list, &mut out)?,
            Reply::Value(value) => out = value.to_string().into_bytes(),
        }
        let code = if answer.created { 201 } else { 200 };
        let mut response = Wanted::of(call.headers).json(code, out).await?;
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
        let (form, format) = Form::negotiate(accept(call.headers))?;
        if format == Format::Yaml {
            // YAML cannot be told apart event by event.
            let message = "only the following media types are accepted: application/json;stream=watch";
            return Err(Status::new(Reason::NotAcceptable, message));
        }
        // Checked here, where an error still has a status code of its own.
        self.writer(resource, &target, form, &call.query)?;
        let timeout = call.query.timeout()?.unwrap_or(WATCH_TIMEOUT);
        let include = IncludeObject::parse(call.query.get("includeObject").unwrap_or_default())?;
        let events = self.server.watch(&call.user, target.clone(), call.query.watch()?).await?;
        let served = (&**resource, &*target.group, &*target.version);
        let counted = self.metrics.watching(&Asked::of("WATCH", Some(served), None));
        let writing = Writing {
            events,
            resource: Arc::clone(resource),
            target,
            form,
            include,
            first: true,
            server: Arc::clone(&self.server),
            _counted: counted,
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
