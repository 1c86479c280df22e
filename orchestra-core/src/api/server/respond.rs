use std::sync::Arc;

use serde_json::Value;

use super::Server;
use super::caches::Open;
use super::draft::Draft;
use crate::api::request::{Body, Reply, Response, Target, User, WriteOptions};
use crate::api::{Question, Status, Subresource};

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
        let responder = self.responders.find(&kind.id, None).ok_or_else(Status::method_not_allowed)?;
        let question = Question { user, resource: kind, target, dry_run: options.dry_run };
        let mut response = created(responder.respond(&question, draft.object).await?);
        response.warnings = draft.warnings;
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
        let mut body = body.read(part.body.as_ref().map_or(&kind.kind, |body| &body.kind))?;
        let warnings = self.review_body(user, kind, part, target, (&mut body, options)).await?;
        let question = Question { user, resource: kind, target, dry_run: options.dry_run };
        Ok(Response { warnings, ..created(responder.respond(&question, body).await?) })
    }
}

fn created(answer: Value) -> Response {
    Response { created: true, ..Response::new(Reply::Value(answer)) }
}
