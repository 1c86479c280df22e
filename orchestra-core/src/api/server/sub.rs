use std::sync::Arc;

use serde_json::{Value, json};

use super::Server;
use super::caches::Open;
use super::draft::{self, Draft};
use super::read::{existing, object_name};
use super::write::{Next, Write};
use crate::api::history;
use crate::api::request::{
    Body, DeleteOptions, Operation, PatchKind, Reply, Response, Target, User, WriteOptions,
};
use crate::api::{Action, Answer, Resource, ScalePaths, Status, Subresource, patch};
use crate::selector::{Labels, Selector};
use crate::store;
use crate::watch::Entry;

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
            (Action::Scale(paths), operation) => self.scale(user, resource, target, paths, operation).await,
            (Action::Answer(Answer::History), Operation::Get { .. }) => self.history(resource, target).await,
            (Action::Answer(Answer::Eviction), Operation::Create { body, options }) => {
                self.evict(user, resource, part, target, body, options).await
            }
            (Action::Answer(Answer::Responder), Operation::Create { body, options }) => {
                self.respond_sub(user, resource, part, target, (body, &options)).await
            }
            (Action::Edit { .. }, Operation::Create { body, options }) => {
                let body = body.read(body_kind(resource, part))?;
                check_created_name(body_kind(resource, part), target, &body)?;
                self.edit(user, resource, part, target, body, options).await?;
                Ok(done())
            }
            (Action::Edit { .. }, Operation::Update { body, options }) => {
                let body = body.read(body_kind(resource, part))?;
                check_replaced_name(target, &body)?;
                self.edit(user, resource, part, target, body, options).await
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
        let kind = body_kind(resource, part);
        let mut body = body.read(kind)?;
        check_created_name(kind, target, &body)?;
        let mut deletion = match body["deleteOptions"].take() {
            Value::Null => DeleteOptions::default(),
            given => DeleteOptions::read(given)?,
        };
        deletion.dry_run |= options.dry_run;
        let object = Target { subresource: None, ..target.clone() };
        self.delete(user, resource, &object, deletion).await?;
        Ok(done())
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
    async fn edit(
        &self,
        user: &User,
        resource: &Open,
        part: &Subresource<Arc<str>>,
        target: &Target,
        body: Value,
        options: WriteOptions,
    ) -> Result<Response, Status> {
        let name = object_name(target)?;
        let kind = body_kind(resource, part);
        let now = self.clock.now();
        let mut make = |current: Option<&Entry>| {
            let current = existing(resource, &name, current)?;
            let given = body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            if !given.is_empty() && given != current.revision().to_string() {
                return Err(Status::modified(&resource.id, name.name()));
            }
            let mut object = current.to_value().map_err(Status::internal)?;
            resource.rules.edit(&part.name, &mut object, &body, now)?;
            // What the body brought in may be of any type.
            resource.rules.check(&object).map_err(|why| {
                Status::bad_request(format!("{kind} in version \"v1\" cannot be handled as a {kind}: {why}"))
            })?;
            Ok(Next::Put(Draft::made(object)))
        };
        self.catch_up().await?;
        let write = Write { user, kind: resource, part: Some(part), options: &options };
        self.write(write, &name, &mut make).await
    }

    async fn scale(
        &self,
        user: &User,
        resource: &Open,
        target: &Target,
        paths: &ScalePaths<Arc<str>>,
        operation: Operation,
    ) -> Result<Response, Status> {
        let name = object_name(target)?;
        let (wanted, options): (Wanted, WriteOptions) = match operation {
            Operation::Get { revision, .. } => {
                self.at_least(revision).await?;
                let scale = scale_of(&*self.current(resource, &name)?, paths)?;
                return Ok(Response::new(Reply::Value(scale)));
            }
            Operation::Update { body, options } => (Wanted::Scale(body.read("Scale")?), options),
            Operation::Patch { kind, patch, options, .. } => {
                // A scale has no lists, so the two kinds of merge are one.
                let kind = if kind == PatchKind::Strategic { PatchKind::Merge } else { kind };
                (Wanted::Patch(kind, patch), options)
            }
            _ => {
                return Err(Status::method_not_allowed());
            }
        };
        let mut make = |current: Option<&Entry>| {
            let current = existing(resource, &name, current)?;
            let scale = match &wanted {
                Wanted::Scale(scale) => {
                    check_replaced_name(target, scale)?;
                    scale.clone()
                }
                Wanted::Patch(kind, text) => patch::apply(resource, *kind, &scale_of(current, paths)?, text)?,
            };
            scaled(current, paths, &scale).map(Next::Put)
        };
        // The object is changed, not its subresource: its own rules see to the rest.
        self.catch_up().await?;
        let write = Write { user, kind: resource, part: None, options: &options };
        let response = self.write(write, &name, &mut make).await?;
        match response.reply {
            Reply::Object(entry) => Ok(Response::new(Reply::Value(scale_of(&entry, paths)?))),
            other => Ok(Response::new(other)),
        }
    }
}

/// The kind of what is sent to a subresource.
fn body_kind<'r>(resource: &'r Resource, part: &'r Subresource<Arc<str>>) -> &'r str {
    part.body.as_ref().map_or(&resource.kind, |body| &body.kind)
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

enum Wanted {
    Scale(Value),
    Patch(PatchKind, bytes::Bytes),
}

fn at<'v>(object: &'v Value, path: &str) -> &'v Value {
    path.split('.').fold(object, |value, step| &value[step])
}

/// An object as the `Scale` that its kind's paths say it is.
fn scale_of(entry: &Entry, paths: &ScalePaths<Arc<str>>) -> Result<Value, Status> {
    let object = entry.to_value().map_err(Status::internal)?;
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let number = |path: &str| at(&object, path).as_i64().unwrap_or(0);
    let mut status = json!({"replicas": number(&paths.status_replicas)});
    if let Some(selector) = selector_of(at(&object, &paths.selector)) {
        status["selector"] = selector.to_string().into();
    }
    Ok(json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": number(&paths.spec_replicas)},
        "status": status,
    }))
}

fn selector_of(value: &Value) -> Option<Selector> {
    if value.get("matchLabels").is_some() || value.get("matchExpressions").is_some() {
        let selector = serde_json::from_value(value.clone()).ok()?;
        return Selector::from_label_selector(Some(&selector)).ok();
    }
    let labels: Labels = serde_json::from_value(value.clone()).ok()?;
    Some(Selector::from_map(&labels))
}

/// The object with as many replicas as a scale asks for.
fn scaled(current: &Entry, paths: &ScalePaths<Arc<str>>, scale: &Value) -> Result<Draft, Status> {
    let mut object = current.to_value().map_err(Status::internal)?;
    let name = current.name().name();
    for (field, ours) in
        [("resourceVersion", current.revision().to_string()), ("uid", current.uid().to_string())]
    {
        let given = scale["metadata"][field].as_str().unwrap_or_default();
        if !given.is_empty() && given != ours {
            let id = crate::meta::GroupResource::new("autoscaling", "scales");
            return Err(Status::modified(&id, name));
        }
    }
    let replicas = match &scale["spec"]["replicas"] {
        Value::Null => 0,
        value => value.as_i64().and_then(|count| i32::try_from(count).ok()).ok_or_else(|| {
            Status::bad_request(
                "Scale in version \"v1\" cannot be handled as a Scale: spec.replicas is not a number of type int32",
            )
        })?,
    };
    if replicas < 0 {
        let mut errors = crate::api::field::Errors::new();
        let path = crate::api::field::Path::new("spec.replicas");
        errors.invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", name, &errors));
    }
    let mut value = &mut object;
    for step in paths.spec_replicas.split('.') {
        value = &mut value[step];
    }
    *value = replicas.into();
    Ok(Draft::made(object))
}
