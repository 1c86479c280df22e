//! The order in which a request is looked at: who sends it, before its body is read; what is recorded of it; as whom it
//! is done; whether its sender may.

use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use orchestra_core::api::{Refusal, Service as _, Status, Stream, User, Verb};
use tokio_util::sync::CancellationToken;

use super::{Asking, Frontend, Sender, connect, not_found};
use crate::audit::{Recording, Sent};
use crate::auth::authenticate;
use crate::body::{Bounds, Payload};
use crate::call::{Call, header};
use crate::impersonation::impersonated;
use crate::join::Enrolment;
use crate::path::Route;
use crate::reply::{self, Body};
use crate::serve::Origin;

/// By which rules a request was let in, or not.
const SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
/// How many objects of a list take one seat, and how many seats a list takes at most, as in Kubernetes.
const OBJECTS_PER_SEAT: usize = 100;
const MOST_SEATS: u32 = 10;
/// How many addresses of proxies are written down.
const MOST_ADDRESSES: usize = 16;

impl Frontend {
    /// Answers one request of a connection.
    pub(crate) async fn answer<B>(&self, request: Request<B>, origin: &Origin) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.answer_to(Sender::Of(origin), request, &origin.closing).await
    }

    /// Answers one request. Watches and the like end when `closing` is cancelled.
    pub(crate) async fn answer_to<B>(
        &self,
        sender: Sender<'_>,
        request: Request<B>,
        closing: &CancellationToken,
    ) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let began = Instant::now();
        let (head, body) = request.into_parts();
        let mut payload = Payload::new(body);
        if let Some(dashboard) = self.dashboard.as_ref().filter(|own| own.serves(head.uri.path())) {
            // Nothing is done here: all that a page reads or writes is a request of its own.
            return self.page(dashboard, sender, head, &mut payload, closing).await;
        }
        let call = Call::resolve(&head, &self.server.kinds());
        let id = reply::audit_id(&head.headers);
        let outcome = self.known(sender, &head, &call, id.as_ref(), &mut payload, closing).await;
        let mut answer = outcome.unwrap_or_else(|status| reply::failure(&status, call.wanted()));
        payload.settle(head.version, &mut answer).await;
        let took = (!call.is_watch()).then(|| began.elapsed());
        self.metrics.answered(&call.counted(), answer.status().as_u16(), took);
        reply::finish(&mut answer, id);
        answer
    }

    /// Finds out who sends a request, and answers it. An error is one of requests whose senders are not known.
    async fn known<B>(
        &self,
        sender: Sender<'_>,
        head: &Parts,
        call: &Call<'_>,
        id: Option<&HeaderValue>,
        payload: &mut Payload<B>,
        closing: &CancellationToken,
    ) -> Result<Response<Body>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        check_host(&head.headers)?;
        if let Some(enrolment) = self.enrolment.as_ref().filter(|_| Enrolment::is_asked(&call.path)) {
            // Those who come here are not known yet.
            let body = payload.read(Bounds::STRANGER).await?;
            return enrolment.answer(&head.method, &call.path, &body);
        }
        let began = Instant::now();
        let known = self.user(sender, &head.headers, &call.path).await;
        let nobody = User::default();
        let record = Recording::begin(
            self.audit.as_ref(),
            self.server.clock(),
            known.as_ref().unwrap_or(&nobody),
            &call.access(),
            sent(head, id, sender),
        );
        let user = match known {
            Ok(user) => user,
            Err(status) => {
                record.unknown(&Status::new(status.reason(), "Authentication failed"));
                return Err(status);
            }
        };
        record.took("authentication", began.elapsed());
        record.received();
        let answer = match self.impersonated(head, call, user, &record, payload, closing).await {
            Ok(answer) => answer,
            Err(status) => {
                record.failed(&status);
                reply::failure(&status, call.wanted())
            }
        };
        Ok(record.answered(answer, call.goes_on()))
    }

    pub(super) async fn user(
        &self,
        sender: Sender<'_>,
        headers: &HeaderMap,
        path: &str,
    ) -> Result<User, Status> {
        match sender {
            Sender::Of(origin) => {
                let proxy = self.proxy.as_ref().zip(origin.proxied);
                if let Some(user) = proxy.and_then(|(proxy, proxied)| proxy.user(proxied, headers)) {
                    return Ok(user);
                }
                let known = authenticate(&self.authenticator, headers, origin.certificate.as_ref()).await?;
                known.map_or_else(|| self.anonymous.at(path), Ok)
            }
            Sender::Known(user) => Ok(user.clone()),
        }
    }

    /// Finds out as whom a request is done, and does it.
    async fn impersonated<B>(
        &self,
        head: &Parts,
        call: &Call<'_>,
        user: User,
        record: &Recording,
        payload: &mut Payload<B>,
        closing: &CancellationToken,
    ) -> Result<Response<Body>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let other = impersonated(&self.server, &head.headers, &user).await?;
        if let Some(other) = &other {
            record.impersonates(other);
        }
        let asking = Asking { head, call, user: other.as_ref().unwrap_or(&user), record, closing };
        self.let_in(&asking, payload).await
    }

    /// Waits until there is a seat for a request, and does it.
    async fn let_in<B>(&self, asking: &Asking<'_>, payload: &mut Payload<B>) -> Result<Response<Body>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Asking { call, user, record, .. } = *asking;
        // What connects to a part of an object goes on for as long as its sender likes, and a watch once it has begun.
        let flow_control = self.flow_control.as_ref().filter(|_| call.is_watch() || !call.goes_on());
        let Some(flow_control) = flow_control else { return self.authorized(asking, payload).await };
        let began = Instant::now();
        let admitted = flow_control.admit(user, &call.access(), self.seats(call)).await;
        record.took("apf-queue-wait", began.elapsed());
        let mut answer = match &admitted.pass {
            Ok(_) => match self.authorized(asking, payload).await {
                Ok(answer) => answer,
                Err(status) => {
                    record.failed(&status);
                    reply::failure(&status, call.wanted())
                }
            },
            Err(_) => too_many(),
        };
        for (name, uid) in [(SCHEMA, &admitted.schema), (LEVEL, &admitted.level)] {
            if let Ok(uid) = HeaderValue::from_str(uid) {
                answer.headers_mut().insert(name, uid);
            }
        }
        Ok(answer)
    }

    /// How many seats a request takes: a list of many objects takes the server longer.
    fn seats(&self, call: &Call<'_>) -> u32 {
        let Route::Resource { target, .. } = &call.route else { return 1 };
        if !matches!(call.verb, Some(Verb::List | Verb::Watch)) || target.name.is_some() {
            return 1;
        }
        let Some(row) = &call.row else { return 1 };
        let query = call.query.as_ref().ok();
        let begins_with_all = match query.and_then(|query| query.get("sendInitialEvents")) {
            Some(said) => said == "true",
            None => {
                query.and_then(|query| query.get("resourceVersion")).is_none_or(|at| matches!(at, "" | "0"))
            }
        };
        if call.is_watch() && !begins_with_all {
            return 1;
        }
        let count = self.server.caches().get(&row.id).map_or(0, |cache| cache.len());
        let limit = query.and_then(|query| query.get("limit")?.parse().ok()).filter(|limit| *limit > 0);
        let looked_at = limit.map_or(count, |limit: usize| count.min(limit));
        u32::try_from(looked_at.div_ceil(OBJECTS_PER_SEAT))
            .map_or(MOST_SEATS, |seats| seats.clamp(1, MOST_SEATS))
    }

    /// Asks whether a request may be done, and does it.
    async fn authorized<B>(
        &self,
        asking: &Asking<'_>,
        payload: &mut Payload<B>,
    ) -> Result<Response<Body>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Asking { call, user, record, .. } = *asking;
        let began = Instant::now();
        if call.deprecation().is_some() {
            record.annotate("k8s.io/deprecated", "true");
        }
        if let (Route::Resource { target, rest, .. }, Some(verb)) = (&call.route, call.verb) {
            let fields = call.selected(verb);
            let permit = self.server.permit(user, verb, target.clone(), fields.as_ref()).await;
            let permit = permit.inspect_err(|refusal| refused(record, refusal))?;
            record.decided(true, permit.reason());
            record.took("authorization", began.elapsed());
            let answer = record.noting(self.resource(asking, permit, rest, payload)).await;
            return Ok(self.told(asking, answer));
        }
        if call.route == Route::Explain {
            // Each of the reads is authorized by itself, as there is nothing to see beside what they see.
            record.decided(true, "");
            return self.explain(user, call).await;
        }
        if call.route == Route::WhatIf {
            // Each right that an answer needs is asked for by itself.
            record.decided(true, "");
            return self.what_if(user, call, payload).await;
        }
        let reason = self.server.authorize(user, call.access()).await;
        record.decided(true, &reason.inspect_err(|refusal| refused(record, refusal))?);
        record.took("authorization", began.elapsed());
        if let Route::Resource { target, rest, .. } = &call.route
            && call.row.as_ref().and_then(|row| connect::asked_for(row, target)) == Some(Stream::Proxy)
        {
            // A method that does nothing to an object, such as OPTIONS, is passed on as any other.
            let answer = record.noting(self.passed_behind(asking, target, rest, payload)).await;
            return Ok(self.told(asking, answer.map(Some)));
        }
        Ok(self.path(asking).await?.unwrap_or_else(|| self.nowhere(call)))
    }

    /// What is answered of a resource.
    fn told(&self, asking: &Asking<'_>, answer: Result<Option<Response<Body>>, Status>) -> Response<Body> {
        let Asking { call, record, .. } = *asking;
        match answer {
            Ok(answer) => answer.unwrap_or_else(|| self.nowhere(call)),
            Err(status) => {
                record.failed(&status);
                let mut failure = reply::failure(&status, call.wanted());
                let warnings = status.warnings().iter().map(String::as_str);
                reply::warn(&mut failure, call.deprecation().into_iter().chain(warnings));
                failure
            }
        }
    }

    /// The answer at a path that leads nowhere. Below what Kubernetes serves by itself it is a `Status`, as of a resource
    /// that there is not; elsewhere a text.
    fn nowhere(&self, call: &Call<'_>) -> Response<Body> {
        let mut words = call.path.split('/').skip(1);
        let ours = match (words.next(), words.next(), words.next()) {
            (Some("api" | "version"), Some(_), _) => true,
            (Some("apis"), Some(group), Some(_)) => {
                self.server.kinds().iter().any(|row| !row.custom && &*row.id.group == group)
            }
            _ => false,
        };
        if ours { reply::failure(&Status::no_such_resource(), call.wanted()) } else { not_found() }
    }
}

/// The answer to a request for which there is no room, in Kubernetes' words.
fn too_many() -> Response<Body> {
    let mut answer = reply::text(429, "Too many requests, please try again later.\n");
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

fn refused(record: &Recording, refusal: &Refusal) {
    record.decided(false, &refusal.reason);
}

/// By what a request was sent.
fn sent<'r>(head: &'r Parts, id: Option<&'r HeaderValue>, sender: Sender<'_>) -> Sent<'r> {
    let peer = match sender {
        Sender::Of(origin) => origin.peer,
        Sender::Known(_) => None,
    };
    Sent {
        id,
        uri: &head.uri,
        user_agent: header(&head.headers, USER_AGENT),
        source_ips: source_ips(&head.headers, peer),
    }
}

/// Where a request comes from: first whom proxies name, whom nobody need believe, and last who sent it here.
fn source_ips(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<String> {
    let address = |text: &str| text.trim().parse::<IpAddr>().ok();
    let forwarded = header(headers, HeaderName::from_static("x-forwarded-for"));
    let mut addresses: Vec<IpAddr> = forwarded.split(',').filter_map(address).take(MOST_ADDRESSES).collect();
    let real = address(header(headers, HeaderName::from_static("x-real-ip")));
    addresses.extend(real.filter(|real| !addresses.contains(real)));
    if let Some(peer) = peer.filter(|peer| addresses.last() != Some(peer)) {
        addresses.push(peer);
    }
    addresses.iter().map(IpAddr::to_string).collect()
}

/// A request with two hosts is read differently by whoever stands in between.
fn check_host(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get_all(HOST).iter().count() {
        0 | 1 => Ok(()),
        _ => Err(Status::bad_request("too many Host headers")),
    }
}
