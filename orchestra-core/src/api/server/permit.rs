//! From what was authorized to what is done.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::read::object_name;
use super::{Server, check_scope};
use crate::api::access::{AccessRequest, Verdict};
use crate::api::admission::{Asked, Attributes, WriteVerb};
use crate::api::connect::{Connect, Connection};
use crate::api::request::{Operation, Response, Target, User, Verb, WatchOptions, WatchStream};
use crate::api::{Status, Stream, api_version};
use crate::selector::FieldSelector;

/// That a user may do one thing with one target: what the authorizer was asked and allowed. A host gets it before it
/// reads the body of a request; nothing is done without one.
#[derive(Debug)]
pub struct Permit<'u> {
    user: &'u User,
    verb: Verb,
    target: Target,
    reason: Cow<'static, str>,
}

/// That a user may not do something: how they are told, and why, for whoever looks after the cluster.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What the user is told, in Kubernetes' words.
    pub status: Status,
    /// What the authorizer gave as its reason. May be empty.
    pub reason: Cow<'static, str>,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refusal.status
    }
}

impl<'u> Permit<'u> {
    /// Who.
    pub fn user(&self) -> &'u User {
        self.user
    }

    /// With what.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Why they may, if the authorizer said so.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl Server {
    /// Asks whether a user may do something, and returns why, if the authorizer says so.
    ///
    /// # Errors
    /// [Forbidden](crate::api::Reason::Forbidden), in Kubernetes' words.
    pub async fn authorize(
        &self,
        user: &User,
        request: AccessRequest<'_>,
    ) -> Result<Cow<'static, str>, Refusal> {
        let decision = self.authorizer.authorize(user, &request).await;
        match decision.verdict {
            Verdict::Allow => Ok(decision.reason),
            Verdict::Deny | Verdict::NoOpinion => {
                let status = request.forbidden(user, &decision.reason);
                Err(Refusal { status, reason: decision.reason })
            }
        }
    }

    /// Asks whether a user may do something with a resource, so that it can be done. Of a collection, `selected` says
    /// which of its objects are asked for: who may do it with one of a name may ask for the one of that name.
    ///
    /// # Errors
    /// As [`Server::authorize`].
    pub async fn permit<'u>(
        &self,
        user: &'u User,
        verb: Verb,
        target: Target,
        selected: Option<&FieldSelector>,
    ) -> Result<Permit<'u>, Refusal> {
        let asked = asked_for(&target, selected);
        let request = AccessRequest::resource(verb.as_str(), &asked).selecting(selected);
        let reason = self.authorize(user, request).await?;
        Ok(Permit { user, verb, target, reason })
    }

    /// Does what is permitted.
    ///
    /// # Errors
    /// As [`Service::call`](crate::api::Service::call).
    pub async fn perform(&self, permit: Permit<'_>, operation: Operation) -> Result<Response, Status> {
        let Permit { user, verb, target, .. } = permit;
        if operation.verb() != verb {
            return Err(Status::internal(format!("{} was asked for, {verb} permitted", operation.verb())));
        }
        self.check_serving()?;
        let kind = self.kind(&target)?;
        check_scope(&kind, &target)?;
        self.dispatch(user, &kind, &target, operation).await
    }

    /// Begins the watch that is permitted.
    ///
    /// # Errors
    /// As [`Service::watch`](crate::api::Service::watch).
    pub async fn open_watch(&self, permit: Permit<'_>, options: WatchOptions) -> Result<WatchStream, Status> {
        let Permit { verb, target, .. } = permit;
        if verb != Verb::Watch {
            return Err(Status::internal(format!("watch was asked for, {verb} permitted")));
        }
        self.check_serving()?;
        let kind = self.kind(&target)?;
        check_scope(&kind, &target)?;
        if target.subresource.is_some() || !kind.serves(Verb::Watch, &target) {
            return Err(Status::method_not_allowed());
        }
        self.start_watch(&kind, &target, options).await
    }
}

impl Server {
    /// Connects a user to what runs behind an object, if they may.
    pub(super) async fn connect_to(
        &self,
        user: &User,
        target: Target,
        connect: Connect,
    ) -> Result<Connection, Status> {
        let (kind, stream) = (self.kind(&target)?, connect.stream());
        let part = kind.connecting(stream).ok_or_else(Status::method_not_allowed)?;
        let sought = target.clone().sub(Arc::clone(&part.name));
        self.permit(user, Verb::Get, sought.clone(), None).await?;
        if stream.needs_create() {
            self.permit(user, Verb::Create, sought, None).await?;
        }
        self.check_serving()?;
        check_scope(&kind, &target)?;
        let connector = self.connector.get().ok_or_else(Status::method_not_allowed)?;
        self.admit_connection(user, &target, stream, connect.options()).await?;
        connector.connect(&target, connect).await
    }

    /// Has a connection judged that is about to be made to an object, and answers what to know of it. `fields` are those of
    /// its options, such as the command that is to run. What a container wrote is read and not connected to.
    ///
    /// # Errors
    /// What the caller is told when it may not be.
    pub async fn admit_connection(
        &self,
        user: &User,
        target: &Target,
        stream: Stream,
        mut fields: Map<String, Value>,
    ) -> Result<Vec<String>, Status> {
        let kind = self.kind(target)?;
        let part = kind.connecting(stream).ok_or_else(Status::method_not_allowed)?;
        let Some(body) = part.body.as_ref() else { return Ok(Vec::new()) };
        fields.insert("kind".to_owned(), (*body.kind).into());
        fields.insert("apiVersion".to_owned(), api_version(&body.group, &body.version).into());
        let (options, name) = (Value::Object(fields), object_name(target)?);
        let attributes = Attributes {
            user,
            resource: &kind,
            name: &name,
            subresource: Some(&part.name),
            verb: WriteVerb::Connect,
            old: None,
            revision: None,
            dry_run: false,
            again: false,
            spoken: (&target.group, &target.version),
            options: Asked::Connect,
            body: Some(body),
            scale: None,
        };
        let mut warnings = Vec::new();
        for admission in &self.admission {
            warnings.extend(admission.connect(&attributes, &options).await?);
        }
        Ok(warnings)
    }
}

/// What authorization is asked about: the one object of a collection that is selected by its name; and of an object that
/// others live in, such as a Namespace, as something in itself, so that who may do it within may do it with it.
fn asked_for<'t>(target: &'t Target, selected: Option<&FieldSelector>) -> Cow<'t, Target> {
    let name = selected.and_then(|fields| fields.required("metadata.name"));
    match (&target.name, name) {
        (None, Some(name)) => Cow::Owned(target.clone().named(name)),
        (Some(name), _) if target.is_scope() => {
            Cow::Owned(Target { namespace: Some(Arc::clone(name)), ..target.clone() })
        }
        _ => Cow::Borrowed(target),
    }
}
