//! The subresource `proxy`: HTTP requests, passed on to a port of a pod, of an endpoint of a service, or of a node.
//!
//! Pods are reached by the way that their ports are forwarded: so it leads to nodes elsewhere too, and to pods whose
//! addresses only their node reaches.
//!
//! | file | what |
//! | --- | --- |
//! | [`named`] | what the path says; pure |
//! | [`place`] | where it leads |
//! | [`message`] | what of a request is passed on, and of its answer |
//! | [`links`] | the links of a page, which lead through the proxy too; pure |

mod links;
mod message;
mod named;
mod place;

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderValue, LOCATION};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use orchestra_core::api::{Reason, Service as _, Status, Target};
use orchestra_core::runtime::Duplex;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use self::message::{Passed, Sending};
use self::named::Named;
use self::place::{Finder, Place};
use super::{Asking, Frontend};
use crate::aggregate::passed;
use crate::body::Payload;
use crate::nodes;
use crate::reply::{self, Body};
use crate::streams::relay::relay;
use crate::streams::upgrade::Upgrade;
use crate::tls::ClientTls;

/// How long a connection may take. As in Kubernetes, an answer may take as long as its client waits.
const PATIENCE: Duration = Duration::from_secs(30);

impl Frontend {
    /// Passes a request on.
    ///
    /// # Errors
    /// What is wrong with it, or that nobody answers.
    pub(super) async fn proxy<B>(
        &self,
        asking: &Asking<'_>,
        target: &Target,
        payload: &mut Payload<B>,
    ) -> Result<Response<Body>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Asking { head, closing, .. } = *asking;
        let kind = target.resource.trim_end_matches('s');
        let named = Named::parse(kind, target.name.as_deref().unwrap_or_default())?;
        let (base, path) = named::split(head.uri.path());
        let chance = self.server.clock().random();
        let finder =
            Finder { client: self.itself(), directory: &self.directory, held: self.held.as_ref(), chance };
        let place = finder.find(target, &named).await?;
        if path.is_empty() && matches!(head.method, Method::GET | Method::HEAD) {
            return Ok(slash_added(head));
        }
        if let Place::Agent(node) = &place {
            return nodes::read(&**node, (&head.method, head.uri.query()), path, closing).await;
        }
        let host = place.host();
        let mut sender = match timeout(PATIENCE, connect(&place, &named)).await {
            Ok(sender) => sender?,
            Err(_) => return Err(Status::new(Reason::Timeout, "the service could not be reached in time")),
        };
        let made = message::request(head, (base, path), &host, payload.is_left());
        let (request, sending) = made.map_err(Status::internal)?;
        let answer = send(&mut sender, request, sending, payload).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return switched(head, answer);
        }
        let mut answer = passed(answer, closing);
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        if let Some(location) = location.and_then(|location| named::moved(location, base, &host)) {
            answer
                .headers_mut()
                .insert(LOCATION, HeaderValue::from_str(&location).map_err(Status::internal)?);
        }
        if head.method == Method::HEAD {
            return Ok(answer);
        }
        let base = base.to_owned();
        Ok(message::page(answer, move |link| named::moved(link, &base, &host)))
    }
}

fn unreachable(why: &dyn fmt::Display) -> Status {
    Status::new(Reason::ServiceUnavailable, format!("error trying to reach service: {why}"))
}

async fn connect(place: &Place, named: &Named<'_>) -> Result<SendRequest<Passed>, Status> {
    let stream = secured(place.connect().await?, named).await.map_err(|error| unreachable(&error))?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    // It ends with the answer, or with the connection that was upgraded.
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

async fn secured(stream: Box<dyn Duplex>, named: &Named<'_>) -> io::Result<Box<dyn Duplex>> {
    if !named.tls {
        return Ok(stream);
    }
    // As in Kubernetes, nobody knows whose certificates containers have.
    let config = ClientTls::credulous().map_err(io::Error::other)?.of_http1();
    let name = ServerName::try_from(named.name.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}

/// Sends a request with its body as it comes. Who is answered before it has sent all goes on to send.
async fn send<B>(
    sender: &mut SendRequest<Passed>,
    request: Request<Passed>,
    sending: Sending,
    payload: &mut Payload<B>,
) -> Result<Response<Incoming>, Status>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut answer = std::pin::pin!(sender.send_request(request));
    let mut body = Box::pin(sending.all(payload.take()));
    tokio::select! {
        answer = &mut answer => {
            tokio::spawn(body);
            return answer.map_err(|error| unreachable(&error));
        }
        whole = &mut body => if whole { payload.ended() },
    }
    answer.await.map_err(|error| unreachable(&error))
}

/// Sends clients to the same path with a slash at its end, so that what they find there leads on from it.
fn slash_added(head: &Parts) -> Response<Body> {
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = reply::text(301, "");
    if let Ok(location) = HeaderValue::from_str(&format!("{}/{query}", head.uri.path())) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// The answer to an upgrade: from here on both sides send what they like.
fn switched(head: &Parts, answer: Response<Incoming>) -> Result<Response<Body>, Status> {
    let upgrade = Upgrade::of(&head.extensions)?;
    let headers = answer.headers().clone();
    upgrade.then(move |connection| async move {
        if let Ok(service) = hyper::upgrade::on(answer).await {
            // Whichever breaks off, both have ended.
            let _ = relay(connection, TokioIo::new(service)).await;
        }
    });
    let mut response = reply::text(101, "");
    *response.headers_mut() = headers;
    Ok(response)
}
