//! From a request to its answer: who asks, whether they may, and then what they ask for.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::{CONNECTION, HOST, HeaderValue};
use http::{HeaderMap, Method, Request, Response, Version};
use hyper::body::Incoming;
use orchestra_core::access::tokens::SigningKeys;
use orchestra_core::api::access::{Authenticator, Certificate};
use orchestra_core::api::discovery::{self, Aggregated, Discovery};
use orchestra_core::api::openapi::Documents;
use orchestra_core::api::represent::{Form, Format, IncludeObject, Writer};
use orchestra_core::api::{
    Permit, Reason, Reply, Resource, Response as Answer, Server, Service, Status, Target, User,
};
use orchestra_core::cluster::Cluster;
use orchestra_core::node::Directory;
use orchestra_core::store::backup;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::auth::{Anonymous, Certificates, authenticate};
use crate::body::{Bounds, Payload};
use crate::call::{Call, accept, host, operation};
use crate::health;
use crate::impersonation::impersonated;
use crate::issuer::Issuer;
use crate::join::Enrolment;
use crate::layout::Ordered;
use crate::logs;
use crate::metrics::{Asked, Metrics};
use crate::openapi;
use crate::path::Route;
use crate::reply::{self, Body, JSON};
use crate::serve::{self, Limits, Origin};
use crate::watch::Writing;

/// How long a watch lasts when the caller does not say.
const WATCH_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How the sender of a request is known.
#[derive(Clone, Copy)]
pub(crate) enum Sender<'r> {
    /// By what the request shows, and by the certificate of the connection if it has one.
    Of(Option<&'r Certificate>),
    /// Already.
    Known(&'r User),
}

/// The HTTP face of a [`Server`].
pub struct Frontend {
    server: Arc<Server>,
    directory: Directory,
    authenticator: Vec<Arc<dyn Authenticator>>,
    anonymous: Anonymous,
    enrolment: Option<Arc<Enrolment>>,
    issuer: Option<Issuer>,
    limits: Limits,
    documents: Documents,
    metrics: Metrics,
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend").finish_non_exhaustive()
    }
}

impl Frontend {
    /// The face of a cluster's API, for those who have a certificate of the authority that its TLS believes.
    pub fn new(cluster: &Cluster) -> Self {
        Self::of(Arc::clone(cluster.server()), cluster.directory().clone())
    }

    /// The face of a server, whose nodes are reached by `directory`.
    pub fn of(server: Arc<Server>, directory: Directory) -> Self {
        let documents = Documents::new(server.kinds());
        let metrics = Metrics::new(Arc::clone(&server));
        let authenticator: Vec<Arc<dyn Authenticator>> =
            vec![Arc::new(Certificates), Arc::new(server.authenticators().clone())];
        let (anonymous, limits) = (Anonymous::default(), Limits::default());
        let (enrolment, issuer) = (None, None);
        Self { server, directory, authenticator, anonymous, enrolment, issuer, limits, documents, metrics }
    }

    /// Also believes what another authenticator knows, such as [`Tokens`](crate::Tokens). The server knows it too, for
    /// those who ask it whose a token is.
    #[must_use]
    pub fn authenticator(self, other: impl Authenticator) -> Self {
        self.server.authenticators().add(other);
        self
    }

    /// Where a request is answered that does not say who sends it.
    #[must_use]
    pub fn anonymous(self, anonymous: Anonymous) -> Self {
        Self { anonymous, ..self }
    }

    /// Says who issues the tokens of service accounts, and by which keys they are known: for others than this server.
    /// `url` is where they reach it, such as `https://10.0.0.1:6443`.
    #[must_use]
    pub fn issuing(self, keys: impl SigningKeys, url: impl Into<String>) -> Self {
        Self { issuer: Some(Issuer::new(keys, url.into())), ..self }
    }

    /// Lets nodes join that show a token.
    #[must_use]
    pub fn enrolling(self, enrolment: Arc<Enrolment>) -> Self {
        Self { enrolment: Some(enrolment), ..self }
    }

    /// How long clients may take, and how many there may be.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    pub(crate) fn connection_limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Answers one request of a connection.
    pub(crate) async fn answer<B>(&self, request: Request<B>, origin: &Origin) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.answer_to(Sender::Of(origin.certificate.as_ref()), request, &origin.closing).await
    }

    /// Answers one request. Watches and the like end when `closing` is cancelled.
    pub(crate) async fn answer_to<B>(
        &self,
        sender: Sender<'_>,
        request: Request<B>,
        closing: &CancellationToken,
    ) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let began = Instant::now();
        let (head, body) = request.into_parts();
        let mut payload = Payload::new(body);
        let call = Call::resolve(&head, &self.server.kinds());
        let outcome = async {
            check_host(&head.headers)?;
            if let Some(enrolment) = self.enrolment.as_ref().filter(|_| Enrolment::is_asked(&call.path)) {
                // Those who come here are not known yet.
                let body = payload.read(Bounds::STRANGER).await?;
                return enrolment.answer(&head.method, &call.path, &body);
            }
            let user = self.user(sender, &head.headers, &call.path).await?;
            let user = impersonated(&self.server, &head.headers, user).await?;
            self.route(&call, &user, &mut payload, closing).await
        };
        let outcome = outcome.await;
        let mut answer = outcome.unwrap_or_else(|status| reply::failure(&status, call.wanted()));
        if payload.is_left() && head.version < Version::HTTP_2 {
            // What follows on this connection would be read as the next request.
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let took = (!call.is_watch()).then(|| began.elapsed());
        self.metrics.answered(&call.counted(), answer.status().as_u16(), took);
        reply::finish(&mut answer, &head.headers);
        answer
    }

    async fn user(&self, sender: Sender<'_>, headers: &HeaderMap, path: &str) -> Result<User, Status> {
        match sender {
            Sender::Of(certificate) => {
                let known = authenticate(&self.authenticator, headers, certificate).await?;
                known.map_or_else(|| self.anonymous.at(path), Ok)
            }
            Sender::Known(user) => Ok(user.clone()),
        }
    }

    async fn route<B>(
        &self,
        call: &Call<'_>,
        user: &User,
        payload: &mut Payload<B>,
        closing: &CancellationToken,
    ) -> Result<Response<Body>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let (Route::Resource { target, rest, .. }, Some(verb)) = (&call.route, call.verb) {
            let fields = call.selected(verb);
            let permit = self.server.permit(user, verb, target.clone(), fields.as_ref()).await?;
            let answer = self.resource(call, permit, rest, payload, closing).await;
            return Ok(match answer {
                Ok(answer) => answer.unwrap_or_else(not_found),
                Err(status) => {
                    let mut failure = reply::failure(&status, call.wanted());
                    let warnings = status.warnings().iter().map(String::as_str);
                    reply::warn(&mut failure, call.deprecation().into_iter().chain(warnings));
                    failure
                }
            });
        }
        self.server.authorize(user, call.access()).await?;
        Ok(self.path(call, closing).await?.unwrap_or_else(not_found))
    }

    /// What is no resource; `None` if there is nothing of that path.
    async fn path(
        &self,
        call: &Call<'_>,
        closing: &CancellationToken,
    ) -> Result<Option<Response<Body>>, Status> {
        let reads = match call.route {
            Route::Unknown => return Ok(None),
            Route::Resource { .. } => false,
            // As in Kubernetes, documents of the API are read by GET alone.
            Route::Version
            | Route::CoreVersions
            | Route::Groups
            | Route::Group(_)
            | Route::Resources { .. } => *call.method == Method::GET,
            _ => matches!(*call.method, Method::GET | Method::HEAD),
        };
        if !reads {
            return Err(Status::method_not_allowed());
        }
        match &call.route {
            Route::Health(endpoint, check) => {
                Ok(health::answer(&self.server, closing, endpoint, check.as_deref(), call.query()?).await)
            }
            Route::Version => Ok(Some(reply::pretty(&Ordered(&discovery::version())))),
            Route::Metrics => Ok(Some(self.metrics.answer())),
            Route::Slis => Ok(Some(health::figures(&self.server, closing).await)),
            Route::Backup => self.backup(closing).map(Some),
            Route::Issuer => Ok(self.issuer.as_ref().map(Issuer::configuration)),
            Route::IssuerKeys => Ok(self.issuer.as_ref().map(Issuer::keys)),
            _ => self.document(call).await,
        }
    }

    /// All that the store holds, as it is now. An end that comes too early shows in the backup itself.
    fn backup(&self, closing: &CancellationToken) -> Result<Response<Body>, Status> {
        let chunks = backup::stream(self.server.store()?).filter_map(async |chunk| {
            // The stream ends with its first error.
            chunk.inspect_err(|error| warn!(%error, "a backup was broken off")).ok()
        });
        let closing = closing.clone();
        Ok(reply::stream("application/octet-stream", chunks.take_until(closing.cancelled_owned())))
    }

    /// A document about the API; `None` if there is none of that path.
    async fn document(&self, call: &Call<'_>) -> Result<Option<Response<Body>>, Status> {
        let kinds = self.server.kinds();
        let found = Discovery::new(&kinds);
        let value = match &call.route {
            Route::Root => Some(found.paths(&[
                "/healthz",
                "/livez",
                "/metrics",
                "/metrics/slis",
                "/openapi/v2",
                "/openapi/v3",
                "/readyz",
                "/version",
            ])),
            Route::CoreVersions | Route::Groups => {
                let core = call.route == Route::CoreVersions;
                if let Some(form) = Aggregated::negotiate(accept(call.headers)) {
                    let body = found.aggregated(core, form).to_string();
                    return call.wanted().json_as(200, &form.content_type(), body).await.map(Some);
                }
                Some(if core { found.core(&host(call.headers)) } else { found.groups() })
            }
            Route::Group(group) => found.group(group),
            Route::Resources { group, version } => found.resources(group, version),
            route => {
                let documents = self.documents.of(&kinds);
                return openapi::answer(&documents, route, call.headers, call.query()?).await;
            }
        };
        match value {
            Some(value) => {
                let text = serde_json::to_vec(&Ordered(&value)).map_err(Status::internal)?;
                call.wanted().json(200, text).await.map(Some)
            }
            None => Ok(None),
        }
    }

    /// Does what is permitted with a resource; `None` if nothing is served under its group and version.
    async fn resource<B>(
        &self,
        call: &Call<'_>,
        permit: Permit<'_>,
        rest: &str,
        payload: &mut Payload<B>,
        closing: &CancellationToken,
    ) -> Result<Option<Response<Body>>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let target = permit.target().clone();
        let Some(resource) = &call.row else {
            let kinds = self.server.kinds();
            let discovery = Discovery::new(&kinds);
            let mut served = discovery.served(&target.group, &target.version);
            // What no built-in kind is served beside is no path at all, as in Kubernetes.
            return if served.any(|row| !row.custom) { Err(Status::no_such_resource()) } else { Ok(None) };
        };
        if resource.custom && target.namespace.is_some() && !resource.is_namespaced() {
            return Ok(None);
        }
        if !rest.is_empty() {
            return Err(Status::no_such_resource());
        }
        if *call.method == Method::HEAD {
            return Err(Status::method_not_allowed());
        }
        if logs::is_asked_for(call.method, resource, &target) {
            let client = self.server.client(permit.user().clone());
            let answer = logs::answer(&self.directory, &client, &target, call.query()?, closing);
            return answer.await.map(Some);
        }
        if call.is_watch() {
            return self.watch(call, resource, permit, closing).await.map(Some);
        }
        call.query()?.check_time_limit()?;
        let body = payload.read(Bounds::API).await?;
        let operation = operation(call, &target, body)?;
        let form = call.accepted()?.0;
        let answer = self.server.perform(permit, operation).await?;
        self.write(call, resource, &target, form, &answer).await.map(Some)
    }

    async fn write(
        &self,
        call: &Call<'_>,
        resource: &Resource,
        target: &Target,
        form: Form,
        answer: &Answer,
    ) -> Result<Response<Body>, Status> {
        let writer = self.writer(call, resource, target, form)?;
        let mut out = Vec::new();
        match &answer.reply {
            Reply::Object(entry) => writer.object(entry, &mut out)?,
            Reply::List(list) => writer.list(list, &mut out)?,
            Reply::Value(value) => out = value.to_string().into_bytes(),
        }
        let code = if answer.created { 201 } else { 200 };
        let mut response = call.wanted().json(code, out).await?;
        let warnings = answer.warnings.iter().map(String::as_str);
        reply::warn(&mut response, call.deprecation().into_iter().chain(warnings));
        Ok(response)
    }

    fn writer<'w>(
        &self,
        call: &Call<'_>,
        resource: &'w Resource,
        target: &'w Target,
        form: Form,
    ) -> Result<Writer<'w>, Status> {
        let include = IncludeObject::parse(call.query()?.get("includeObject").unwrap_or_default())?;
        let now = self.server.clock().now();
        Ok(Writer::new(resource, (&target.group, &target.version), form, now).including(include))
    }

    async fn watch(
        &self,
        call: &Call<'_>,
        resource: &Arc<Resource>,
        permit: Permit<'_>,
        closing: &CancellationToken,
    ) -> Result<Response<Body>, Status> {
        let (form, format) = call.accepted()?;
        if format == Format::Yaml {
            // YAML cannot be told apart event by event.
            let message = "only the following media types are accepted: application/json;stream=watch";
            return Err(Status::new(Reason::NotAcceptable, message));
        }
        let target = permit.target().clone();
        // Checked here, where an error still has a status code of its own.
        self.writer(call, resource, &target, form)?;
        let query = call.query()?;
        let timeout = query.timeout()?.unwrap_or(WATCH_TIMEOUT);
        let include = IncludeObject::parse(query.get("includeObject").unwrap_or_default())?;
        let events = self.server.open_watch(permit, query.watch()?).await?;
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
        let closing = closing.clone();
        let chunks = stream::unfold(Some(writing), Writing::step);
        let chunks = chunks.take_until(async move {
            tokio::select! {
                () = tokio::time::sleep(timeout) => {}
                () = closing.cancelled() => {}
            }
        });
        let mut response = reply::stream(JSON, chunks);
        reply::warn(&mut response, call.deprecation());
        Ok(response)
    }
}

#[async_trait]
impl serve::Answer for Frontend {
    async fn answer(&self, request: Request<Incoming>, origin: &Origin) -> Response<Body> {
        Self::answer(self, request, origin).await
    }
}

fn not_found() -> Response<Body> {
    reply::text(404, "404 page not found\n")
}

/// A request with two hosts is read differently by whoever stands in between.
fn check_host(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get_all(HOST).iter().count() {
        0 | 1 => Ok(()),
        _ => Err(Status::bad_request("too many Host headers")),
    }
}
