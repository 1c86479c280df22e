use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, future};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use orchestra_core::api::represent::Format;
use orchestra_core::api::{Reason, Status, User};
use orchestra_core::node::NodeService;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{MASTER, logs};
use crate::pki::ServerTls;
use crate::reply::{self, Body, Wanted};
use crate::serve::{Answer, Limits, Origin, accept};

/// Serves what a node answers of its pods on a listener, to the master only, until `shutdown`.
pub async fn serve_node(
    listener: TcpListener,
    tls: ServerTls,
    service: Arc<dyn NodeService>,
    shutdown: CancellationToken,
) {
    let door = Door { service, closing: shutdown.clone() };
    accept(listener, tls, Arc::new(door), Limits::default(), shutdown).await;
}

struct Door {
    service: Arc<dyn NodeService>,
    closing: CancellationToken,
}

#[async_trait]
impl Answer for Door {
    async fn answer(&self, request: Request<Incoming>, origin: &Origin) -> Response<Body> {
        let user = origin.certificate.as_ref().map(|certificate| &certificate.user);
        let outcome = self.respond(&request, user).await;
        let plain = Wanted::of(Format::Json, request.headers(), None);
        outcome.unwrap_or_else(|status| reply::failure(&status, plain))
    }
}

impl Door {
    async fn respond(
        &self,
        request: &Request<Incoming>,
        user: Option<&User>,
    ) -> Result<Response<Body>, Status> {
        let (method, uri) = (request.method(), request.uri());
        if (method, uri.path()) == (&Method::GET, "/healthz") {
            return Ok(reply::text(200, "ok"));
        }
        match user {
            None => return Err(Status::new(Reason::Unauthorized, "Unauthorized")),
            Some(user) if user.name != MASTER => {
                let message =
                    format!("the user {} may not ask the agent of a node; the master may", user.name);
                return Err(Status::new(Reason::Forbidden, message));
            }
            Some(_) => {}
        }
        match logs::read(uri.path(), uri.query()) {
            Some(wanted) if *method == Method::GET => self.logs(wanted?).await,
            _ => Err(Status::new(Reason::NotFound, "the agent of a node does not serve this path")),
        }
    }

    async fn logs(&self, wanted: orchestra_core::node::LogRequest) -> Result<Response<Body>, Status> {
        let chunks = self.service.logs(&wanted).await?.filter_map(|chunk| {
            // The head has been sent: all that is left to say of an error is the end.
            future::ready(chunk.inspect_err(|error| debug!(%error, "logs ended early")).ok())
        });
        Ok(reply::stream("text/plain", chunks.take_until(self.closing.clone().cancelled_owned())))
    }
}
