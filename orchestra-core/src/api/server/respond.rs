use std::sync::Arc;

use serde_json::Value;

use super::Server;
use super::caches::Open;
use super::current::Write;
use super::draft::Draft;
use super::meta::put_managed;
use super::owners;
use super::sub::read_body;
use crate::api::request::{Body, Operation, Reply, Response, Target, User, Verb, WriteOptions};
use crate::api::{Question, Relay, Status, Subresource};

/// The fields of metadata that only a server sets.
const OF_THE_SERVER: &[&str] =
    &["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"];

impl Server {
    /// Has an object answered that is of a kind whose objects are not kept.
    pub(super) async fn respond(
        &self,
        user: &User,
        kind: &Open,
        target: &Target,
        body: Body,
        options: &WriteOptions,
    ) -> Result<Response, Status> {
        let mut draft = Draft::read(kind, target, body, options.field_validation)?;
        draft.settle_namespace(kind, target)?;
        if let Some(relay) = &kind.relay {
            return self.relay(user, relay, draft, options).await;
        }
        // What only a server says of an object is not taken from whoever asks.
        for field in OF_THE_SERVER {
            draft.meta().remove(*field);
        }
        let responder = self.responders.find(&kind.id, None).ok_or_else(Status::method_not_allowed)?;
        // It is nobody's that is kept, and yet says who made it.
        let write = Write::new(user, kind, target, Verb::Create, options);
        let owners = owners::after(write, None, &mut draft, self.clock.now()).await?;
        let (managed, _) = owners::settle(owners, None);
        if let Some(text) = managed.put_into(&mut draft.object) {
            put_managed(&mut draft.object, serde_json::from_str(&text).ok());
        }
        let question = Question { user, resource: kind, target, dry_run: options.dry_run };
        let answer = responder.respond(&question, draft.object).await;
        let mut response = created(answer.map_err(|status| status.warned(&draft.warnings))?);
        response.warnings = draft.warnings;
        Ok(response)
    }

    /// Sends what is created of a kind on to the subresource that it is another way to.
    async fn relay(
        &self,
        user: &User,
        relay: &Relay<Arc<str>>,
        draft: Draft,
        options: &WriteOptions,
    ) -> Result<Response, Status> {
        let name = draft.name();
        let target = Target::collection((&relay.group, &relay.version, &relay.resource), name.namespace());
        let target = target.named(name.name()).sub(&*relay.subresource);
        let kind = self.kind(&target)?;
        kind.rules.check_body(&relay.subresource, &draft.object)?;
        if !draft.is_named() {
            return Err(Status::bad_request("Name parameter required."));
        }
        let part = kind.subresource(&relay.subresource).ok_or_else(Status::no_such_resource)?;
        let (warnings, body) = (draft.warnings, Body::Value(draft.object));
        let operation = Operation::Create { body, options: options.clone() };
        // The two call each other: a subresource of an answered kind may be one that is answered too.
        let mut response = Box::pin(self.subresource(user, &kind, part, &target, operation)).await?;
        response.warnings.extend(warnings);
        Ok(response)
    }

    /// Has what is sent to a subresource answered.
    pub(super) async fn respond_sub(
        &self,
        user: &User,
        kind: &Open,
        part: &Subresource<Arc<str>>,
        target: &Target,
        (body, options): (Body, &WriteOptions),
    ) -> Result<Response, Status> {
        let responder =
            self.responders.find(&kind.id, Some(&part.name)).ok_or_else(Status::method_not_allowed)?;
        let (mut body, mut warnings) = read_body(kind, part, body, options.field_validation)?;
        warnings.extend(self.review_body(user, kind, part, target, (&mut body, options)).await?);
        let question = Question { user, resource: kind, target, dry_run: options.dry_run };
        let answer = responder.respond(&question, body).await;
        let answer = answer.map_err(|status| status.warned(&warnings))?;
        Ok(Response { warnings, ..created(answer) })
    }
}

fn created(answer: Value) -> Response {
    Response { created: true, ..Response::new(Reply::Value(answer)) }
}
