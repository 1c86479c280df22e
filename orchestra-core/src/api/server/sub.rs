use std::sync::Arc;

use serde_json::{Value, json};

use super::Server;
use super::caches::Open;
use super::current::{Current, Write};
use super::draft::{self, Draft};
use super::read::{existing, object_name};
use super::write::Next;
use crate::api::admission::{Asked, Attributes, WriteVerb};
use crate::api::document::Decoded;
use crate::api::history;
use crate::api::request::{
    Body, DeleteOptions, FieldValidation, Operation, Reply, Response, Target, User, Verb, WriteOptions,
};
use crate::api::schema::fit::fit;
use crate::api::schema::{Place, canonical};
use crate::api::{Action, Answer, Resource, Status, Subresource, api_version, decode, split_api_version};
use crate::store;

impl Server {
    /// Subresources other than the status, which is the object itself with other rules.
    pub(super) async fn subresource(
        &self,
        user: &User,
        resource: &Open,
        part: &Subresource<Arc<str>>,
        target: &Target,
        operation: Operation,
    ) -> Result<Response, Status> {
        match (&part.action, operation) {
            (Action::Scale(paths), operation) => {
                self.scale(user, resource, part, target, paths, operation).await
            }
            (Action::Answer(Answer::History), Operation::Get { .. }) => self.history(resource, target).await,
            (Action::Answer(Answer::Eviction), Operation::Create { body, options }) => {
                self.evict(user, resource, part, target, body, options).await
            }
            (Action::Answer(Answer::Responder), Operation::Create { body, options }) => {
                self.respond_sub(user, resource, part, target, (body, &options)).await
            }
            (Action::Edit { .. }, Operation::Create { body, options }) => {
                let (mut body, mut warnings) = read_body(resource, part, body, options.field_validation)?;
                check_created_name(body_kind(resource, part), target, &body)?;
                resource.rules.check_body(&part.name, &body)?;
                let reviewed = self.review_body(user, resource, part, target, (&mut body, &options));
                warnings.extend(reviewed.await?);
                let (part, options, verb) = (Some(part), &options, Verb::Create);
                let write = Write { part, owned: false, ..Write::new(user, resource, target, verb, options) };
                self.edit(write, target, body).await?;
                Ok(Response { warnings, ..done() })
            }
            (Action::Edit { .. }, Operation::Update { body, options }) => {
                let mut body = body.read(body_kind(resource, part))?;
                if part.body.is_none() {
                    // What does not fit the kind is said before whose it is.
                    resource.rules.check(&mut body).map_err(|why| unfit(&resource.kind, &why))?;
                }
                check_replaced_name(target, &body)?;
                let (part, options, verb) = (Some(part), &options, Verb::Update);
                let write = Write { part, ..Write::new(user, resource, target, verb, options) };
                self.edit(write, target, body).await
            }
            // What is streamed is connected by the host.
            _ => Err(Status::method_not_allowed()),
        }
    }

    /// Deletes the object as its eviction asks, which is what a drain of a node sends.
    async fn evict(
        &self,
        user: &User,
        resource: &Open,
        part: &Subresource<Arc<str>>,
        target: &Target,
        body: Body,
        options: WriteOptions,
    ) -> Result<Response, Status> {
        let (mut body, mut warnings) = read_body(resource, part, body, options.field_validation)?;
        check_created_name(body_kind(resource, part), target, &body)?;
        warnings.extend(self.review_body(user, resource, part, target, (&mut body, &options)).await?);
        let mut deletion = match body["deleteOptions"].take() {
            Value::Null => DeleteOptions::default(),
            given => DeleteOptions::read(given)?,
        };
        deletion.dry_run |= options.dry_run;
        self.catch_up().await?;
        let name = object_name(target)?;
        self.delete_one(user, resource, target, &name, Some(part), &deletion).await?;
        Ok(Response { warnings, ..done() })
    }

    /// Has what a subresource is created with judged, and changed.
    pub(super) async fn review_body(
        &self,
        user: &User,
        resource: &Open,
        part: &Subresource<Arc<str>>,
        target: &Target,
        (body, options): (&mut Value, &WriteOptions),
    ) -> Result<Vec<String>, Status> {
        let name = object_name(target)?;
        let attributes = Attributes {
            user,
            resource,
            name: &name,
            subresource: Some(&part.name),
            verb: WriteVerb::Create,
            old: None,
            revision: None,
            dry_run: options.dry_run,
            again: false,
            spoken: (&target.group, &target.version),
            options: Asked::Write(Verb::Create, options),
            body: part.body.as_ref(),
            scale: None,
        };
        let mut warnings = Vec::new();
        for admission in &self.admission {
            warnings.extend(admission.review_body(&attributes, body).await?);
        }
        Ok(warnings)
    }

    /// What an object has been, as far as the store still knows.
    async fn history(&self, resource: &Resource, target: &Target) -> Result<Response, Status> {
        let name = object_name(target)?;
        let (store, key) = (self.store()?, resource.key(&name));
        let versions = store::history::versions(&*store, &*self.clock, &key).await?;
        if versions.is_empty() {
            return Err(Status::not_found(&resource.id, name.name()));
        }
        Ok(Response::new(Reply::Value(history::table(&versions)?)))
    }

    /// Changes the object as a subresource asks that is created, such as a `binding`, or replaced, such as `finalize`.
    /// What is created so is not the object: nobody owns what it changes.
    async fn edit(&self, write: Write<'_>, target: &Target, body: Value) -> Result<Response, Status> {
        let resource = write.kind;
        let name = object_name(target)?;
        let Some(part) = write.part else { return Err(Status::method_not_allowed()) };
        let kind = body_kind(resource, part);
        let now = self.clock.now();
        let mut make = |current: Option<&Current>| {
            let current = existing(target, &name, current)?;
            let given = body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            if !given.is_empty() && given != current.entry.revision().to_string() {
                return Err(Status::modified(&resource.id, name.name()));
            }
            let mut object = current.object.clone();
            resource.rules.edit(&part.name, &mut object, &body, now)?;
            // What the body brought in may be of any type.
            resource.rules.check(&mut object).map_err(|why| unfit(kind, &why))?;
            Ok(Next::Put(Draft::made(object)))
        };
        self.catch_up().await?;
        self.write(write, &name, &mut make).await
    }
}

/// The kind of what is sent to a subresource.
fn body_kind<'r>(resource: &'r Resource, part: &'r Subresource<Arc<str>>) -> &'r str {
    part.body.as_ref().map_or(&resource.kind, |body| &body.kind)
}

/// Reads what is sent to a subresource. What is of a kind of the table is to be of that kind, its fields of their types; what
/// the kind does not have is dropped, and told.
pub(super) fn read_body(
    resource: &Resource,
    part: &Subresource<Arc<str>>,
    body: Body,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Status> {
    let kind = body_kind(resource, part);
    let text = match &body {
        Body::Json(text) => Some(text.clone()),
        _ => None,
    };
    let Decoded { mut value, repeated } = decode::body(body, kind)?;
    let Some(wanted) = &part.body else { return Ok((value, Vec::new())) };
    let expected = api_version(&wanted.group, &wanted.version);
    let given = |field: &str| value[field].as_str().filter(|given| !given.is_empty());
    let (full, named) = (given("apiVersion").unwrap_or(&expected), given("kind").unwrap_or(kind));
    let (group, version) = split_api_version(full);
    if named != kind || group != &*wanted.group {
        return Err(Status::bad_request(format!(
            "{named} in version {version:?} cannot be handled as a {kind}: no kind {named:?} is registered for version \
             {full:?}"
        )));
    }
    let Some(place) = Place::of_kind(&expected, kind) else { return Ok((value, Vec::new())) };
    let refuse = |why: &str| unfit(kind, why);
    let fits = canonical::reduce(place, &mut value).map_err(|refusal| refuse(&refusal.to_string()))?;
    let unknown = if fits { Vec::new() } else { fit(place, &mut value).map_err(|why| refuse(&why))? };
    let faults = decode::faults(text.as_deref(), &unknown, &repeated);
    Ok((value, draft::validated(validation, faults, &refuse)?))
}

/// What is sent does not fit its kind.
fn unfit(kind: &str, why: &str) -> Status {
    Status::bad_request(format!("{kind} in version \"v1\" cannot be handled as a {kind}: {why}"))
}

fn name_in(body: &Value) -> &str {
    body["metadata"]["name"].as_str().unwrap_or_default()
}

/// What is created as a subresource says which object it is for.
fn check_created_name(kind: &str, target: &Target, body: &Value) -> Result<(), Status> {
    if target.name.as_deref() == Some(name_in(body)) {
        return Ok(());
    }
    Err(Status::bad_request(format!("name in URL does not match name in {kind} object")))
}

/// What a subresource is replaced with has the name of the object.
fn check_replaced_name(target: &Target, body: &Value) -> Result<(), Status> {
    draft::check_name(name_in(body), target.name.as_deref().unwrap_or_default())
}

/// What a subresource that is created answers.
fn done() -> Response {
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    let mut response = Response::new(Reply::Value(status));
    response.created = true;
    response
}
