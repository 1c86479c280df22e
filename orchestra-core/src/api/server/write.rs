//! The one way of a write, whatever the verb: from the object as it is, if there is one, to the next.
//!
//! ```text
//! current ─► make ─► own ─► prepare ─► mutate ─► validate ─► judge ─► check ─► encode ─► commit ─► caches
//! ```
//!
//! A verb says what it makes of the current object (a [`Next`]); all else is here. A creation has no current object, an
//! update must have one, and a patch that may create takes either. What is marked as deleted and has nothing left that
//! keeps it goes in the same transaction that a change of it would be stored in, with what its admissions free.
//!
//! Whose fields are which is settled of what the verb makes, before anyone else has a say. From then on the object is
//! without `managedFields`, and gets them when it is encoded: they are long, and nobody on the way reads them.

use std::sync::Arc;

use serde_json::{Value, json};
use smallvec::SmallVec;

use super::Server;
use super::caches::Open;
use super::conversions::settled;
use super::convert;
use super::current::{Current, Write};
use super::draft::Draft;
use super::meta::metadata;
use super::owners;
use super::prepare::{self, Birth};
use crate::api::admission::{Admission, Asked, Attributes, WriteVerb};
use crate::api::field::{Errors, Path};
use crate::api::ownership::Owners;
use crate::api::request::{DeleteOptions, Reply, Response};
use crate::api::{Deletion, Reason, Resource, Status};
use crate::clock::{random_suffix, random_uid};
use crate::meta::{GroupResource, ObjectName, Revision};
use crate::store::{Durability, Expect, StoreError, Txn};
use crate::watch::Entry;

/// How often a write is tried anew when another came between. Each time that other was made, so of many who write to
/// one object, or are counted by one quota, at a time, one comes to its end.
pub(super) const ATTEMPTS: usize = 256;

/// What is to become of an object.
pub(super) enum Next<'n> {
    /// This state of it.
    Put(Draft),
    /// Its end, now or after a while.
    Delete(&'n DeleteOptions),
}

/// The admissions that a write concerns.
type Concerned<'a> = SmallVec<[&'a Arc<dyn Admission>; 8]>;

/// What a verb makes of the object as it is, or of none. Called anew for each attempt.
pub(super) type Make<'m, 'n> = &'m mut (dyn FnMut(Option<&Current>) -> Result<Next<'n>, Status> + Send);

/// Why an attempt did not succeed.
pub(super) enum Failed {
    /// There is an object of that name already.
    Taken(ObjectName),
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

impl Server {
    /// Writes what `make` makes of an object, anew when another write comes between. What it builds on is what the
    /// caches hold: who must see what others have written [catches up](Server::catch_up) before.
    pub(super) async fn write(
        &self,
        write: Write<'_>,
        name: &ObjectName,
        make: Make<'_, '_>,
    ) -> Result<Response, Status> {
        for _ in 0..ATTEMPTS {
            let current = match write.kind.cache().get(name) {
                Some(entry) => Some(convert::current(write.kind, entry).await?),
                None => None,
            };
            let conversions = current.as_ref().map(|current| &current.conversions);
            let next = settled(write.kind, conversions, || make(current.as_ref())).await??;
            match self.attempt(write, current.as_ref(), next).await {
                Ok(response) => return Ok(response),
                Err(Failed::Status(status)) => return Err(status),
                Err(Failed::Changed | Failed::Taken(_)) => self.catch_up().await?,
            }
        }
        Err(Status::modified(&spoken(write), name.name()))
    }

    /// One attempt at a write.
    pub(super) async fn attempt(
        &self,
        write: Write<'_>,
        current: Option<&Current>,
        mut next: Next<'_>,
    ) -> Result<Response, Failed> {
        let old = current.map(|current| &current.object);
        let verb = WriteVerb::of(&next, old.is_some());
        let deletion = match &next {
            Next::Delete(options) => Some(*options),
            Next::Put(_) => None,
        };
        let owners = match &mut next {
            Next::Put(draft) => owners::after(write, current, draft, self.clock.now()).await?,
            Next::Delete(_) => Owners::Kept,
        };
        let Some(draft) = self.prepare(write, current, next)? else {
            let entry = current.map(|current| &current.entry);
            // There is nothing to do; a deletion of what has gone meanwhile is seen to in the next attempt.
            return entry.map(|entry| answer(Arc::clone(entry), Vec::new(), false)).ok_or(Failed::Changed);
        };
        let told = draft.warnings.clone();
        let outcome = self.carry_out(write, current, (verb, deletion), (draft, owners)).await;
        outcome.map_err(|failed| match failed {
            // What was wrong with the body is told also when something else is worse.
            Failed::Status(status) => Failed::Status(status.warned(&told)),
            failed => failed,
        })
    }

    /// Brings a state that was prepared into the store.
    async fn carry_out(
        &self,
        write: Write<'_>,
        current: Option<&Current>,
        (verb, deletion): (WriteVerb, Option<&DeleteOptions>),
        (mut draft, owners): (Draft, Owners),
    ) -> Result<Response, Failed> {
        let kind = write.kind;
        let (old, entry) = (current.map(|current| &current.object), current.map(|current| &current.entry));
        let name = draft.name();
        let concerned: Concerned<'_> =
            self.admission.iter().filter(|admission| admission.concerns(kind)).collect();
        let mut attributes = Attributes {
            user: write.user,
            resource: kind,
            name: &name,
            subresource: write.part.map(|part| &*part.name),
            verb,
            old,
            revision: entry.map(|entry| entry.revision()),
            dry_run: write.options.dry_run,
            again: false,
            spoken: (&write.target.group, &write.target.version),
            options: deletion.map_or(Asked::Write(write.verb, write.options), Asked::Delete),
            body: write.part.and_then(|part| part.body.as_ref()),
            scale: write.scale,
        };
        if verb != WriteVerb::Delete {
            mutate(&concerned, &mut attributes, &mut draft).await?;
            draft.validate(kind, &name, old, write.part)?;
            if let Some(old) = old {
                prepare::count_generation(kind, write.part, &mut draft.object, old);
            }
        }
        let asked = (verb != WriteVerb::Delete).then_some(&draft.object);
        for admission in &concerned {
            draft.warnings.extend(admission.validate(&attributes, asked).await?);
        }
        let ends = old.is_some() && prepare::is_finished(kind, &draft.object);
        let mut txn = Txn::new();
        check(&concerned, &attributes, ends, &mut draft, &mut txn).await?;
        let (owners, changed) = owners::settle(owners, current);
        let same = !ends && !changed && txn.writes.is_empty() && old == Some(&draft.object);
        if let (Some(entry), true) = (entry, same) {
            return Ok(answer(Arc::clone(entry), draft.warnings, false));
        }
        let managed = owners.put_into(&mut draft.object);
        if let (WriteVerb::Delete, true, Some(entry)) = (verb, ends, entry) {
            let revision = self.remove(write, entry, txn).await?;
            return gone(kind, entry, &draft.object, revision).map_err(Failed::Status);
        }
        let stored = convert::at_rest(kind, &draft.object).await?;
        let new = Entry::of_owned(&stored, managed.as_deref(), &kind.fields).map_err(Status::internal)?;
        let given = if entry.is_none() { prepare::version_of_new(&draft.object) } else { None };
        let new = Arc::new(match given {
            None => new,
            // It is looked at as the object is stored, and so by no rehearsal, which tells it as it is.
            Some(version) if write.options.dry_run => new.at(version),
            Some(_) => {
                let why = "resourceVersion should not be set on objects to be created";
                return Err(Status::new(Reason::Unknown, why).into());
            }
        });
        let new = match entry {
            Some(entry) if ends => {
                let revision = self.remove(write, entry, txn).await?;
                Arc::new(new.at(revision))
            }
            _ => self.keep(write, entry, new, txn).await?,
        };
        Ok(answer(new, draft.warnings, old.is_none()))
    }

    /// The next state as it would be without anyone else's say; `None` when there is nothing to do.
    fn prepare(
        &self,
        write: Write<'_>,
        current: Option<&Current>,
        next: Next<'_>,
    ) -> Result<Option<Draft>, Status> {
        let kind = write.kind;
        match (next, current) {
            (Next::Put(mut draft), Some(current)) => {
                check_version(write, &current.entry, &mut draft)?;
                prepare::update(kind, write.part, &mut draft.object, &current.object);
                Ok(Some(draft))
            }
            (Next::Put(mut draft), None) => {
                let clock = &*self.clock;
                let birth = Birth {
                    uid: random_uid(clock).as_str().to_owned(),
                    suffix: random_suffix(clock, 5),
                    now: clock.now(),
                };
                prepare::create(kind, &mut draft.object, birth);
                Ok(Some(draft))
            }
            (Next::Delete(options), Some(current)) => {
                if let Some(why) = kind.rules.keeps(&current.object) {
                    return Err(Status::forbidden(&kind.id, current.entry.name().name(), why));
                }
                check_preconditions(kind, &current.entry, options)?;
                let mut object = current.object.clone();
                let now = self.clock.now();
                let marked = prepare::mark_deleted(kind, &mut object, options, now);
                if let Some(part) = write.part.filter(|_| marked) {
                    kind.rules.edit(&part.name, &mut object, &Value::Null, now)?;
                }
                Ok(marked.then(|| Draft::made(object)))
            }
            (Next::Delete(_), None) => Ok(None),
        }
    }

    /// Stores a new state of an object, and answers it with its revision.
    async fn keep(
        &self,
        write: Write<'_>,
        current: Option<&Arc<Entry>>,
        entry: Arc<Entry>,
        txn: Txn,
    ) -> Result<Arc<Entry>, Failed> {
        let kind = write.kind;
        if write.options.dry_run {
            return self.rehearse(kind, current, entry).await;
        }
        let key = kind.key(entry.name());
        let expect = current.map_or(Expect::Absent, |current| Expect::At(current.revision()));
        let txn =
            txn.expect(key.clone(), expect).put_with(key.clone(), entry.bytes().clone(), kind.durability);
        let under_way = self.written.commit(key.clone(), Arc::clone(&entry));
        let outcome = self.commit(txn).await;
        drop(under_way);
        match outcome {
            // The caches hold it, if nobody else has written it since.
            Ok(revision) => Ok(kind
                .cache()
                .get(entry.name())
                .filter(|held| held.revision() == revision)
                .unwrap_or_else(|| Arc::new(entry.at(revision)))),
            Err(StoreError::Conflict { key: taken, .. }) if taken == key && current.is_none() => {
                Err(Failed::Taken(entry.name().clone()))
            }
            Err(StoreError::Conflict { .. }) => Err(Failed::Changed),
            Err(error) => Err(Failed::Status(error.into())),
        }
    }

    /// What storing would answer.
    async fn rehearse(
        &self,
        kind: &Open,
        current: Option<&Arc<Entry>>,
        entry: Arc<Entry>,
    ) -> Result<Arc<Entry>, Failed> {
        if let Some(current) = current {
            return Ok(Arc::new(entry.at(current.revision())));
        }
        self.catch_up().await?;
        match kind.cache().get(entry.name()) {
            Some(_) => Err(Failed::Taken(entry.name().clone())),
            None => Ok(entry),
        }
    }

    /// Removes an object, with all that the transaction frees.
    async fn remove(&self, write: Write<'_>, current: &Arc<Entry>, txn: Txn) -> Result<Revision, Failed> {
        if write.options.dry_run {
            return Ok(current.revision());
        }
        let key = write.kind.key(current.name());
        let txn = txn.expect(key.clone(), Expect::At(current.revision())).delete(key);
        self.commit(txn).await.map_err(|error| match error {
            StoreError::Conflict { .. } => Failed::Changed,
            error => Failed::Status(error.into()),
        })
    }
}

/// Lets every admission change the object. When somebody from outside has, all are asked again, once: those from outside
/// if the object has changed since they saw it.
async fn mutate(
    concerned: &Concerned<'_>,
    attributes: &mut Attributes<'_>,
    draft: &mut Draft,
) -> Result<(), Status> {
    if !concerned.iter().any(|admission| admission.is_foreign()) {
        for admission in concerned {
            draft.warnings.extend(admission.mutate(attributes, &mut draft.object).await?);
        }
        return Ok(());
    }
    let mut left = Vec::new();
    let mut changed = false;
    for admission in concerned {
        let before = admission.is_foreign().then(|| draft.object.clone());
        draft.warnings.extend(admission.mutate(attributes, &mut draft.object).await?);
        changed |= before.as_ref().is_some_and(|before| *before != draft.object);
        left.push(before.is_some().then(|| draft.object.clone()));
    }
    if !changed {
        return Ok(());
    }
    attributes.again = true;
    for (admission, left) in concerned.iter().zip(left) {
        if left.is_none_or(|left| left != draft.object) {
            draft.warnings.extend(admission.mutate(attributes, &mut draft.object).await?);
        }
    }
    attributes.again = false;
    Ok(())
}

/// Shows every admission what will be stored, or that the object ends.
async fn check(
    concerned: &Concerned<'_>,
    attributes: &Attributes<'_>,
    ends: bool,
    draft: &mut Draft,
    txn: &mut Txn,
) -> Result<(), Status> {
    for admission in concerned {
        let new = (!ends).then_some(&draft.object);
        draft.warnings.extend(admission.check(attributes, new, txn).await?);
    }
    debug_assert!(attributes.resource.durability == Durability::Durable || txn.writes.is_empty());
    Ok(())
}

impl WriteVerb {
    fn of(next: &Next<'_>, exists: bool) -> Self {
        match (next, exists) {
            (Next::Delete(_), _) => Self::Delete,
            (Next::Put(_), true) => Self::Update,
            (Next::Put(_), false) => Self::Create,
        }
    }
}

fn answer(entry: Arc<Entry>, warnings: Vec<String>, created: bool) -> Response {
    Response { warnings, created, ..Response::new(Reply::Object(entry)) }
}

/// The kind as the request calls it: Events are of two groups.
fn spoken(write: Write<'_>) -> GroupResource {
    GroupResource::new(&*write.target.group, &*write.kind.id.resource)
}

/// The version that an update speaks of, if it says, is the one that is there.
fn check_version(write: Write<'_>, current: &Entry, draft: &mut Draft) -> Result<(), Status> {
    let (resource, name) = (write.kind, current.name().name());
    let meta = metadata(&mut draft.object);
    let given = meta.get("resourceVersion").and_then(Value::as_str).filter(|given| !given.is_empty());
    match given {
        None => Ok(()),
        Some(version) => match version.parse::<Revision>() {
            // Zero is any.
            Ok(Revision::ZERO) => Ok(()),
            Ok(revision) if revision == current.revision() => Ok(()),
            Ok(_) => Err(Status::modified(&spoken(write), name)),
            Err(_) => {
                let mut errors = Errors::new();
                let path = Path::new("metadata.resourceVersion");
                errors.invalid(&path, version, "must be a number from a read of the object");
                Err(Status::invalid(&resource.id.group, &resource.kind, name, &errors))
            }
        },
    }
}

/// The version and the identity that a deletion speaks of are those that are there.
fn check_preconditions(resource: &Resource, current: &Entry, options: &DeleteOptions) -> Result<(), Status> {
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != current.uid().as_str()) {
        let record = current.uid().as_str();
        return Err(unmet(resource, current, ("UID", "deleted and then recreated"), uid, record));
    }
    if let Some(revision) = options.revision.filter(|revision| *revision != current.revision()) {
        let (given, record) = (revision.to_string(), current.revision().to_string());
        return Err(unmet(resource, current, ("ResourceVersion", "modified"), &given, &record));
    }
    Ok(())
}

/// What a deletion asks for, and what is there instead. Kinds that only mark their objects say it otherwise.
fn unmet(
    resource: &Resource,
    current: &Entry,
    (what, why): (&str, &str),
    given: &str,
    record: &str,
) -> Status {
    let name = current.name().name();
    if resource.deletion == Deletion::Terminating {
        let why =
            format!("Precondition failed: {what} in precondition: {given}, {what} in object meta: {record}");
        return Status::conflict(&resource.id, name, why);
    }
    let kind = GroupResource::new(&*resource.id.group, &*resource.kind);
    let why = format!(
        "the {what} in the precondition ({given}) does not match the {what} in record ({record}). The object might \
         have been {why}"
    );
    Status::conflict(&kind, name, why)
}

/// Says that an update speaks of another object of the name.
pub(super) fn another_uid(resource: &Resource, current: &Entry, uid: &str) -> Status {
    let why =
        format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", current.uid());
    Status::conflict(&resource.id, current.name().name(), why)
}

/// What is answered of an object that is gone: a `Status`, or the object as it was last. `marked` is how its end would be
/// stored, which an object that has seconds of grace is shown as.
fn gone(
    resource: &Resource,
    current: &Entry,
    marked: &Value,
    revision: Revision,
) -> Result<Response, Status> {
    if resource.deletion == Deletion::Status {
        return Ok(Response::new(Reply::Value(success(resource, current))));
    }
    let last = match resource.rules.grace_period(marked, None) {
        Some(_) => Entry::of(marked, &resource.fields).map_err(Status::internal)?.at(revision),
        None => current.at(revision),
    };
    Ok(answer(Arc::new(last), Vec::new(), false))
}

/// What the wire says of an object that is gone.
fn success(resource: &Resource, gone: &Entry) -> Value {
    let mut details = json!({
        "name": gone.name().name(),
        "kind": &*resource.id.resource,
        "uid": gone.uid().as_str(),
    });
    if !resource.id.group.is_empty() {
        details["group"] = (*resource.id.group).into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
