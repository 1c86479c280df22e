use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use orchestra_core::api::represent::Format;
use orchestra_core::api::{Reason, Status, User};
use orchestra_core::node::NodeService;
use orchestra_core::runtime::{AttachOptions, Session};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::sessions::{self, SessionRequest};
use super::submitted::Submitted;
use super::{MASTER, MASTERS, read};
use crate::body::{Bounds, Payload};
use crate::pki::ServerTls;
use crate::reply::{self, Body, Wanted};
use crate::serve::{Answer, Limits, Origin, accept};
use crate::streams::FORWARD;
use crate::streams::handshake::{Handshake, Named};
use crate::streams::session::{forward_one, websocket_session};
use crate::streams::upgrade::Upgrade;
use crate::streams::version::Version;

/// Commands are begun by masters alone, which do not speak it.
const NO_SPDY: [Named<Version>; 0] = [];

/// Serves what a node answers of its pods on a listener, to the master and to who is in the group `system:masters`, until
/// `shutdown`. To that group it serves the manifests that are `submitted`, too.
pub async fn serve_node(
    listener: TcpListener,
    tls: ServerTls,
    (service, submitted): (Arc<dyn NodeService>, Arc<Submitted>),
    shutdown: CancellationToken,
) {
    let door = Door::new(service, submitted, shutdown.clone());
    accept(listener, tls, Arc::new(door), Limits::default(), shutdown).await;
}

/// What answers at a node's port.
pub(super) struct Door {
    service: Arc<dyn NodeService>,
    submitted: Arc<Submitted>,
    closing: CancellationToken,
}

impl Door {
    /// One that is to close at `closing`.
    pub(super) fn new(
        service: Arc<dyn NodeService>,
        submitted: Arc<Submitted>,
        closing: CancellationToken,
    ) -> Self {
        Self { service, submitted, closing }
    }
}

#[async_trait]
impl Answer for Door {
    async fn answer(&self, request: Request<Incoming>, origin: &Origin) -> Response<Body> {
        let user = origin.certificate.as_ref().map(|certificate| &certificate.user);
        let plain = Wanted::of(Format::Json, request.headers(), None);
        if !Submitted::serves(request.uri().path()) {
            return self
                .respond(&request, user)
                .await
                .unwrap_or_else(|status| reply::failure(&status, plain));
        }
        let (head, body) = request.into_parts();
        let mut payload = Payload::new(body);
        let outcome = self.manifests(&head, &mut payload, user).await;
        let mut answer = outcome.unwrap_or_else(|status| reply::failure(&status, plain));
        payload.settle(head.version, &mut answer).await;
        answer
    }
}

impl Door {
    async fn respond(
        &self,
        request: &Request<Incoming>,
        user: Option<&User>,
    ) -> Result<Response<Body>, Status> {
        let uri = request.uri();
        if (request.method(), uri.path()) == (&Method::GET, "/healthz") {
            return Ok(reply::text(200, "ok"));
        }
        match user {
            None => return Err(Status::new(Reason::Unauthorized, "Unauthorized")),
            Some(user) if user.name != MASTER && !is_master(user) => {
                let message = format!(
                    "the user {} may not ask the agent of a node; the master may, and who is in {MASTERS}",
                    user.name
                );
                return Err(Status::new(Reason::Forbidden, message));
            }
            Some(_) => {}
        }
        match sessions::read(uri.path(), uri.query()).filter(|_| request.method() == Method::GET) {
            Some(wanted) => self.connect(request, wanted?).await,
            None => read(&*self.service, (request.method(), uri.query()), uri.path(), &self.closing).await,
        }
    }

    async fn manifests(
        &self,
        head: &Parts,
        payload: &mut Payload<Incoming>,
        user: Option<&User>,
    ) -> Result<Response<Body>, Status> {
        let user = user.ok_or_else(|| Status::new(Reason::Unauthorized, "Unauthorized"))?;
        if !is_master(user) {
            let message = format!("the user {} may not submit manifests; who is in {MASTERS} may", user.name);
            return Err(Status::new(Reason::Forbidden, message));
        }
        let body = payload.read(Bounds::API).await?;
        self.submitted.answer(&head.method, head.uri.path(), &body).await
    }

    /// Begins a session before it agrees to another protocol, so that what stands against it is said in HTTP.
    async fn connect(
        &self,
        request: &Request<Incoming>,
        wanted: SessionRequest,
    ) -> Result<Response<Body>, Status> {
        let upgrade = Upgrade::of(request.extensions())?;
        if let SessionRequest::Port { pod, port } = wanted {
            let handshake = Handshake::<(), ()>::of(request.headers(), &[], &[(FORWARD, ())])?;
            let to = self.service.port_forward(&pod, port).await?;
            upgrade.then(move |connection| forward_one(connection, to));
            return Ok(handshake.answer(|()| "", |()| FORWARD));
        }
        let handshake = Handshake::of(request.headers(), &Version::SERVED, &NO_SPDY)?;
        let Handshake::WebSocket { protocol, .. } = handshake else {
            return Err(Status::bad_request("the agent of a node runs commands by WebSocket alone"));
        };
        let (streams, session) = self.begin(wanted).await?;
        upgrade.then(move |connection| websocket_session(connection, protocol, streams, session));
        Ok(handshake.answer(Version::name, Version::name))
    }

    async fn begin(&self, wanted: SessionRequest) -> Result<(AttachOptions, Session), Status> {
        match wanted {
            SessionRequest::Exec { pod, container, options } => {
                let session = self.service.exec(&pod, &container, &options).await?;
                Ok((options.streams, session))
            }
            SessionRequest::Attach { pod, container, streams } => {
                let session = self.service.attach(&pod, &container, &streams).await?;
                Ok((streams, session))
            }
            SessionRequest::Port { .. } => Err(Status::internal("a port is no session")),
        }
    }
}

/// Whether somebody may do everything.
fn is_master(user: &User) -> bool {
    user.groups.iter().any(|group| group == MASTERS)
}
