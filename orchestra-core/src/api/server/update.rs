use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Server;
use super::create::ATTEMPTS;
use super::draft::{Draft, metadata};
use super::managers::Author;
use super::read::object_name;
use crate::api::admission::{Attributes, Change};
use crate::api::decode::Decoded;
use crate::api::field::{Errors, Path};
use crate::api::request::{Body, FieldValidation, PatchKind, Reply, Response, Target, User, WriteOptions};
use crate::api::{Action, Resource, Status, Subresource, patch};
use crate::meta::{ObjectName, Revision};
use crate::store::{Expect, StoreError, Txn};
use crate::watch::Entry;

/// A time as objects have it: RFC 3339, in UTC, whole seconds.
pub(crate) fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The subresource that a write goes to; `None` for the object itself.
pub(super) type Part<'r> = Option<&'r Subresource<Arc<str>>>;

/// What an update makes of the object as it is.
pub(super) type Make<'m> = &'m (dyn Fn(&Entry) -> Result<Draft, Status> + Send + Sync);

impl Server {
    pub(super) async fn update(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        target: &Target,
        body: Body,
        part: Part<'_>,
        options: WriteOptions,
    ) -> Result<Response, Status> {
        let mut read = Draft::read(resource, target, body, options.field_validation)?;
        let name = object_name(target)?;
        self.settle_namespace(resource, target, &mut read)?;
        check_name(&mut read, name.name())?;
        let (object, warnings) = (read.object, read.warnings);
        let make = move |_: &Entry| Ok(Draft { object: object.clone(), warnings: warnings.clone() });
        self.change(user, resource, part, &name, &make, &options).await
    }

    pub(super) async fn patch(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        target: &Target,
        kind: PatchKind,
        patch: &[u8],
        part: Part<'_>,
        options: WriteOptions,
    ) -> Result<Response, Status> {
        let name = object_name(target)?;
        let make =
            |current: &Entry| patched(resource, target, current, kind, patch, options.field_validation);
        self.change(user, resource, part, &name, &make, &options).await
    }

    /// Changes an object, or its status. When the object changes meanwhile, what is to be made of it is made anew,
    /// unless the caller said of which version it speaks.
    pub(super) async fn change(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        part: Part<'_>,
        name: &ObjectName,
        make: Make<'_>,
        options: &WriteOptions,
    ) -> Result<Response, Status> {
        self.catch_up().await?;
        for _ in 0..ATTEMPTS {
            let current = self.current(resource, name)?;
            let draft = make(&current)?;
            if let Some(response) = self.try_change(user, resource, part, &current, draft, options).await? {
                return Ok(response);
            }
            self.catch_up().await?;
        }
        Err(Status::modified(&resource.id, name.name()))
    }

    /// One attempt; `None` if the object changed meanwhile and the change may be made anew.
    async fn try_change(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        part: Part<'_>,
        current: &Entry,
        mut draft: Draft,
        options: &WriteOptions,
    ) -> Result<Option<Response>, Status> {
        let name = current.name();
        check_preconditions(resource, current, &mut draft)?;
        let old = current.to_value().map_err(Status::internal)?;
        carry_over(resource, part, &mut draft.object, &old);
        let attributes = Attributes {
            user,
            resource,
            name,
            subresource: part.map(|part| &*part.name),
            change: Change::Update,
            old: Some(&old),
            dry_run: options.dry_run,
        };
        let mut txn = Txn::new();
        self.admit(&attributes, &mut draft, &mut txn).await?;
        draft.validate(resource, name, Some(&old), part)?;
        if part.is_none_or(|part| part.action != Action::Edit { generation: false }) {
            count_generation(resource, &mut draft.object, &old);
        }
        let bytes = Entry::encode(&draft.object).map_err(Status::internal)?;
        let answer = |bytes, revision, warnings| {
            let entry = Entry::read(bytes, revision, &resource.fields).map_err(Status::internal)?;
            let mut response = Response::new(Reply::Object(Arc::new(entry)));
            response.warnings = warnings;
            Ok(Some(response))
        };
        if options.dry_run || (bytes == current.bytes() && txn.writes.is_empty()) {
            return answer(bytes, current.revision(), draft.warnings);
        }
        Author::of(user, part, Some(options)).sign(resource, &mut draft.object, self.clock.now());
        let bytes = Entry::encode(&draft.object).map_err(Status::internal)?;
        let finished = is_finished(resource, &draft.object);
        match self.store_change(user, resource, current, &draft.object, bytes.clone(), txn, finished).await {
            Ok(revision) => answer(bytes, revision, draft.warnings),
            Err(Failed::Changed) => Ok(None),
            Err(Failed::Status(status)) => Err(status),
        }
    }

    /// Commits a new state of an object; its removal, when it was only waiting for this change to go.
    #[expect(clippy::too_many_arguments, reason = "the parts of one commit; a struct would be used once")]
    async fn store_change(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        current: &Entry,
        object: &Value,
        bytes: bytes::Bytes,
        txn: Txn,
        finished: bool,
    ) -> Result<Revision, Failed> {
        if finished {
            return self.remove(user, resource, current, object, txn).await;
        }
        let key = resource.key(current.name());
        let txn =
            txn.expect(key.clone(), Expect::At(current.revision())).put_with(key, bytes, resource.durability);
        self.commit_change(txn).await
    }

    pub(super) async fn commit_change(&self, txn: Txn) -> Result<Revision, Failed> {
        self.commit(txn).await.map_err(|error| match error {
            StoreError::Conflict { .. } => Failed::Changed,
            error => Failed::Status(error.into()),
        })
    }
}

/// Why a commit that builds on a version of an object was not made.
pub(super) enum Failed {
    /// The object, or something in the same transaction, is no longer as it was.
    Changed,
    /// Anything else.
    Status(Status),
}

impl From<Status> for Failed {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

fn patched(
    resource: &Resource,
    target: &Target,
    current: &Entry,
    kind: PatchKind,
    patch: &[u8],
    validation: FieldValidation,
) -> Result<Draft, Status> {
    let mut object = current.to_value().map_err(Status::internal)?;
    if let Some(conversion) = resource.conversion(&target.group, &target.version) {
        (conversion.from_stored)(&mut object);
        object["apiVersion"] = crate::api::api_version(&target.group, &target.version).into();
    }
    let value = patch::apply(resource, kind, &object, patch)?;
    // Which of the patch's fields are to blame is not known: what was to become of the object is shown as a whole, or
    // of a strategic patch, which Kubernetes does not write as JSON again, the patch.
    let shown = match kind {
        PatchKind::Strategic => {
            serde_json::from_slice(patch).map_or_else(|_| String::new(), |patch| go(&patch))
        }
        _ => value.to_string(),
    };
    let refuse = |why: &str| {
        let mut errors = Errors::new();
        errors.invalid(&Path::new("patch"), shown.as_str(), why);
        Status::invalid("", "", "", &errors)
    };
    let decoded = Decoded { value, repeated: Vec::new() };
    let mut draft = Draft::of(resource, target, decoded, validation, &refuse)?;
    let meta = draft.meta();
    let namespace = meta.get("namespace").and_then(Value::as_str).unwrap_or_default();
    match current.name().namespace() {
        Some(ours) if namespace.is_empty() => {
            meta.insert("namespace".to_owned(), ours.into());
        }
        ours if namespace == ours.unwrap_or_default() => {}
        _ => {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
    }
    check_name(&mut draft, current.name().name())?;
    Ok(draft)
}

/// A value as Go prints it.
fn go(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut fields: Vec<_> =
                fields.iter().map(|(key, value)| format!("{key}:{}", go(value))).collect();
            fields.sort_unstable();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

fn check_name(draft: &mut Draft, name: &str) -> Result<(), Status> {
    let given = draft.meta().get("name").and_then(Value::as_str).unwrap_or_default();
    if given != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

/// The version and the identity that the caller speaks of, if it says, are those that are there.
fn check_preconditions(resource: &Resource, current: &Entry, draft: &mut Draft) -> Result<(), Status> {
    let name = current.name().name();
    let meta = draft.meta();
    let given = |field: &str| meta.get(field).and_then(Value::as_str).filter(|given| !given.is_empty());
    if let Some(uid) = given("uid").filter(|uid| *uid != current.uid().as_str()) {
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", current.uid());
        return Err(Status::conflict(&resource.id, name, why));
    }
    match given("resourceVersion") {
        None => Ok(()),
        Some(version) => match version.parse::<Revision>() {
            Ok(revision) if revision == current.revision() => Ok(()),
            Ok(_) => Err(Status::modified(&resource.id, name)),
            Err(_) => {
                let mut errors = Errors::new();
                let path = Path::new("metadata.resourceVersion");
                errors.invalid(&path, version, "must be a number from a read of the object");
                Err(Status::invalid(&resource.id.group, &resource.kind, name, &errors))
            }
        },
    }
}

/// Takes over from the old state what this write may not change.
fn carry_over(resource: &Resource, part: Part<'_>, new: &mut Value, old: &Value) {
    if part.is_some_and(Subresource::is_status) {
        let status = new.get("status").cloned();
        let given = std::mem::replace(new, old.clone());
        if let (Value::Object(fields), Some(status)) = (&mut *new, status) {
            fields.insert("status".to_owned(), status);
        }
        resource.rules.prepare_status(new, &given);
        metadata(new).remove("resourceVersion");
        return;
    }
    if part.is_some() {
        // Made from the object that is stored, with the status it is to have.
        return;
    }
    let empty = Map::new();
    let kept = old["metadata"].as_object().unwrap_or(&empty);
    let meta = metadata(new);
    for field in [
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
        "managedFields",
    ] {
        match kept.get(field) {
            Some(value) => meta.insert(field.to_owned(), value.clone()),
            None => meta.remove(field),
        };
    }
    for field in ["resourceVersion", "selfLink"] {
        meta.remove(field);
    }
    if let (true, Value::Object(fields)) = (resource.has_status(), &mut *new) {
        match old.get("status") {
            Some(status) => fields.insert("status".to_owned(), status.clone()),
            None => fields.remove("status"),
        };
    }
    resource.rules.prepare_update(new, old);
}

/// The desired state is what is neither metadata nor status.
fn count_generation(resource: &Resource, new: &mut Value, old: &Value) {
    if !resource.generation {
        return;
    }
    let desired = |object: &Value| {
        let fields = object.as_object().into_iter().flatten();
        let fields = fields.filter(|(key, _)| !matches!(key.as_str(), "metadata" | "status"));
        fields.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>()
    };
    if desired(new) != desired(old) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        metadata(new).insert("generation".to_owned(), generation.into());
    }
}

/// Whether an object is being deleted and nothing keeps it any more.
pub(super) fn is_finished(resource: &Resource, object: &Value) -> bool {
    let meta = &object["metadata"];
    let finalizers = meta["finalizers"].as_array().map_or(0, Vec::len);
    let grace = meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    meta["deletionTimestamp"].is_string() && finalizers == 0 && grace == 0 && !resource.rules.holds(object)
}
