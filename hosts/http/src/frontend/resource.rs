//! What is a resource.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Method, Response};
use orchestra_core::api::discovery::Discovery;
use orchestra_core::api::represent::{Form, Format, IncludeObject, Writer};
use orchestra_core::api::{
    Permit, Reason, Reply, Resource, Response as Answer, Service as _, Status, Stream, Target, Verb,
};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::connect;
use super::{Asking, Frontend};
use crate::aggregate::{Aggregator, Api, Passing};
use crate::body::{Bounds, Payload};
use crate::call::{Call, given, operation};
use crate::listing::Listing;
use crate::logs;
use crate::metrics::Asked;
use crate::reply::{self, Body, JSON};
use crate::streams::channels::websocket;
use crate::streams::handshake::Handshake;
use crate::streams::messages::{self, Messages};
use crate::streams::upgrade::Upgrade;
use crate::watch::Writing;

/// How long a watch lasts when the caller does not say.
const WATCH_TIMEOUT: Duration = Duration::from_secs(30 * 60);

impl Frontend {
    /// Does what is permitted with a resource; `None` if nothing is served under its group and version.
    pub(super) async fn resource<B>(
        &self,
        asking: &Asking<'_>,
        permit: Permit<'_>,
        rest: &str,
        payload: &mut Payload<B>,
    ) -> Result<Option<Response<Body>>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Asking { call, closing, .. } = *asking;
        let target = permit.target().clone();
        let Some(resource) = &call.row else {
            if let Some((aggregator, api)) = self.aggregated(&target.group, &target.version) {
                let (head, body) = (asking.head, payload.read(Bounds::API).await?);
                let passing = Passing { head, user: permit.user(), body, closing };
                return Ok(Some(aggregator.forward(&api, passing).await));
            }
            let kinds = self.server.kinds();
            let discovery = Discovery::new(&kinds);
            let mut served = discovery.served(&target.group, &target.version);
            // What no built-in kind is served beside is no path at all, as in Kubernetes.
            return if served.any(|row| !row.custom) { Err(Status::no_such_resource()) } else { Ok(None) };
        };
        if resource.custom && target.namespace.is_some() && !resource.is_namespaced() {
            return Ok(None);
        }
        if connect::asked_for(resource, &target) == Some(Stream::Proxy) && !call.is_watch() {
            return self.passed_behind(asking, &target, rest, payload).await.map(Some);
        }
        if !rest.is_empty() {
            return Err(Status::no_such_resource());
        }
        if *call.method == Method::HEAD {
            return Err(Status::method_not_allowed());
        }
        if logs::is_asked_for(call.method, resource, &target) {
            let client = self.itself();
            return logs::answer(
                &self.directory,
                &client,
                &target,
                (asking.head, asking.call.query()?),
                asking.closing,
            )
            .await
            .map(Some);
        }
        if let Some(stream) = connect::asked_for(resource, &target) {
            return self.connect(asking, &permit, stream).await.map(Some);
        }
        if call.is_watch() {
            return self.watch(asking, resource, permit).await.map(Some);
        }
        call.query()?.check_time_limit()?;
        let body = payload.read(Bounds::API).await?;
        note(asking, resource, &body);
        let operation = operation(call, &target, body)?;
        let form = call.accepted()?.0;
        let answer = self.server.perform(permit, operation).await?;
        self.write(asking, resource, target, form, answer).await.map(Some)
    }

    /// Passes on what is permitted to what is behind an object. What is below it, and with which methods, is for whom it is
    /// passed on to.
    pub(super) async fn passed_behind<B>(
        &self,
        asking: &Asking<'_>,
        target: &Target,
        rest: &str,
        payload: &mut Payload<B>,
    ) -> Result<Response<Body>, Status>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = Some(rest).filter(|rest| !rest.is_empty());
        let path = path.map(|rest| ("path".to_owned(), rest.into()));
        self.judged(asking.user, target, Stream::Proxy, path.into_iter().collect()).await?;
        self.proxy(asking, target, payload).await
    }

    async fn write(
        &self,
        asking: &Asking<'_>,
        resource: &Arc<Resource>,
        target: Target,
        form: Form,
        answer: Answer,
    ) -> Result<Response<Body>, Status> {
        let Asking { call, record, .. } = *asking;
        let (include, now) = (included(call)?, self.server.clock().now());
        let writer = Writer::new(resource, (&target.group, &target.version), form, now).including(include);
        let (mut out, mut rest) = (Vec::new(), None);
        match answer.reply {
            Reply::Object(entry) => writer.object(&entry, &mut out)?,
            Reply::List(list) if call.wanted().takes_parts() && !record.takes_answer() => {
                let resource = Arc::clone(resource);
                let listing = Listing { list, resource, target, form, include, now, written: 0 };
                (out, rest) = listing.begin()?;
            }
            Reply::List(list) => writer.list(&list, &mut out)?,
            Reply::Value(value) => writer.value(&value, &mut out),
        }
        record.answers(&out);
        let code = if answer.created { 201 } else { 200 };
        let mut response = match rest {
            Some(rest) => call.wanted().parts(code, rest.parts(out)),
            None => call.wanted().json(code, out).await?,
        };
        let warnings = answer.warnings.iter().map(String::as_str);
        reply::warn(&mut response, call.deprecation().into_iter().chain(warnings));
        Ok(response)
    }

    async fn watch(
        &self,
        asking: &Asking<'_>,
        resource: &Arc<Resource>,
        permit: Permit<'_>,
    ) -> Result<Response<Body>, Status> {
        let Asking { call, closing, .. } = *asking;
        let (form, format) = call.accepted()?;
        if format == Format::Yaml {
            // YAML cannot be told apart event by event.
            let message = "only the following media types are accepted: application/json;stream=watch";
            return Err(Status::new(Reason::NotAcceptable, message));
        }
        let target = permit.target().clone();
        // Read here, where an error still has a status code of its own.
        let include = included(call)?;
        let socket = Handshake::<Messages, ()>::of_socket(call.headers, &Messages::SERVED)?;
        let upgrade = socket.is_some().then(|| Upgrade::of(&asking.head.extensions)).transpose()?;
        let query = call.query()?;
        let timeout = query.timeout()?.unwrap_or(WATCH_TIMEOUT);
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
        let mut response = match (socket, upgrade) {
            (Some(handshake), Some(upgrade)) => {
                upgrade.then(|connection| async move {
                    messages::send_lines(websocket(connection, Role::Server).await, chunks.boxed()).await;
                });
                handshake.answer(Messages::name, |()| "")
            }
            _ => reply::streamed(JSON, chunks),
        };
        reply::warn(&mut response, call.deprecation());
        Ok(response)
    }
}

impl Frontend {
    /// The API of a group and version, if another serves it.
    pub(super) fn aggregated(&self, group: &str, version: &str) -> Option<(&Aggregator, Api)> {
        let aggregator = self.aggregator.as_ref()?;
        Some((aggregator, aggregator.find(group, version)?))
    }
}

/// What of the objects the rows of a table are to carry.
fn included(call: &Call<'_>) -> Result<IncludeObject, Status> {
    IncludeObject::parse(call.query()?.get("includeObject").unwrap_or_default())
}

/// Writes down what was sent.
fn note(asking: &Asking<'_>, resource: &Resource, body: &Bytes) {
    let Asking { call, record, .. } = *asking;
    match call.verb {
        _ if body.is_empty() => {}
        Some(Verb::Patch) => record.sent_patch(body),
        Some(Verb::Delete | Verb::DeleteCollection) => {
            record.sent("DeleteOptions", || given(call, body.clone()).ok());
        }
        _ => record.sent(&resource.kind, || given(call, body.clone()).ok()),
    }
}
