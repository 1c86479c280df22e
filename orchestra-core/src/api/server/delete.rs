use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::Server;
use super::create::ATTEMPTS;
use super::draft::{Draft, metadata};
use super::managers::Author;
use super::read::object_name;
use super::update::{Failed, is_finished, timestamp};
use crate::api::admission::{Attributes, Change};
use crate::api::request::{
    DeleteOptions, ListOptions, ObjectList, Propagation, Reply, Response, Target, User,
};
use crate::api::{Resource, Status};
use crate::meta::{ObjectName, Revision};
use crate::store::{Expect, Txn};
use crate::watch::Entry;

/// How many objects of a collection are deleted at once: their commits then share the work of the store.
const AT_ONCE: usize = 64;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

impl Server {
    pub(super) async fn delete(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        target: &Target,
        options: DeleteOptions,
    ) -> Result<Response, Status> {
        let name = object_name(target)?;
        self.catch_up().await?;
        self.delete_one(user, resource, &name, &options).await
    }

    pub(super) async fn delete_collection(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        target: &Target,
        list: ListOptions,
        options: DeleteOptions,
    ) -> Result<Response, Status> {
        let list = self.list_objects(resource, target, list).await?;
        let mut deleted = Vec::with_capacity(list.objects.len());
        for some in list.objects.chunks(AT_ONCE) {
            let each = some.iter().map(|entry| self.delete_if_there(user, resource, entry, &options));
            deleted.extend(try_join_all(each).await?.into_iter().flatten());
        }
        Ok(Response::new(Reply::List(ObjectList { objects: deleted, ..list })))
    }

    async fn delete_if_there(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        entry: &Arc<Entry>,
        options: &DeleteOptions,
    ) -> Result<Option<Arc<Entry>>, Status> {
        match self.delete_one(user, resource, entry.name(), options).await {
            Ok(_) => Ok(Some(Arc::clone(entry))),
            Err(status) if status.is_not_found() => Ok(None),
            Err(status) => Err(status),
        }
    }

    async fn delete_one(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        name: &ObjectName,
        options: &DeleteOptions,
    ) -> Result<Response, Status> {
        for _ in 0..ATTEMPTS {
            let current = self.current(resource, name)?;
            match self.try_delete(user, resource, &current, options).await {
                Ok(response) => return Ok(response),
                Err(Failed::Status(status)) => return Err(status),
                // A version that the caller named is not tried again with another.
                Err(Failed::Changed) => self.catch_up().await?,
            }
        }
        Err(Status::modified(&resource.id, name.name()))
    }

    async fn try_delete(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        current: &Entry,
        options: &DeleteOptions,
    ) -> Result<Response, Failed> {
        check_preconditions(resource, current, options)?;
        let old = current.to_value().map_err(Status::internal)?;
        let mut object = old.clone();
        let grace = resource.rules.grace_period(&object, options.grace_period);
        if !self.mark(resource, &mut object, grace, options) {
            return Ok(Response::new(Reply::Object(Arc::new(current.at(current.revision())))));
        }
        metadata(&mut object).remove("resourceVersion");
        if is_finished(resource, &object) {
            if !options.dry_run {
                self.remove(user, resource, current, &object, Txn::new()).await?;
            } else {
                self.ask(user, resource, current, &object, true).await?;
            }
            return Ok(Response::new(Reply::Value(success(resource, current))));
        }
        self.ask(user, resource, current, &object, options.dry_run).await?;
        if !options.dry_run {
            Author::of(user, None, None).sign(resource, &mut object, self.clock.now());
        }
        let bytes = Entry::encode(&object).map_err(Status::internal)?;
        let revision = if options.dry_run || bytes == current.bytes() {
            current.revision()
        } else {
            let key = resource.key(current.name());
            let txn = Txn::new().expect(key.clone(), Expect::At(current.revision())).put_with(
                key,
                bytes.clone(),
                resource.durability,
            );
            self.commit_change(txn).await?
        };
        let entry = Entry::read(bytes, revision, &resource.fields).map_err(Status::internal)?;
        Ok(Response::new(Reply::Object(Arc::new(entry))))
    }

    /// Marks an object as being deleted. Returns whether there was anything to do: a deletion that is under way is
    /// only ever made shorter.
    fn mark(
        &self,
        resource: &Resource,
        object: &mut Value,
        grace: Option<i64>,
        options: &DeleteOptions,
    ) -> bool {
        let mut finalizers = finalizers(object);
        let dependents =
            options.propagation.or_else(|| resource.orphan_by_default.then_some(Propagation::Orphan));
        let before = finalizers.clone();
        if let Some(dependents) = dependents {
            finalizers.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
            match dependents {
                Propagation::Orphan => finalizers.push(ORPHAN.to_owned()),
                Propagation::Foreground => finalizers.push(FOREGROUND.to_owned()),
                Propagation::Background => {}
            }
        }
        let grace = grace.unwrap_or(0).max(0);
        let under_way = object["metadata"]["deletionTimestamp"].is_string();
        let shorter =
            object["metadata"]["deletionGracePeriodSeconds"].as_i64().is_some_and(|old| grace < old);
        if under_way && !shorter && finalizers == before {
            return is_finished(resource, object);
        }
        let meta = metadata(object);
        if finalizers.is_empty() {
            meta.remove("finalizers");
        } else {
            meta.insert("finalizers".to_owned(), finalizers.into());
        }
        if !under_way || shorter {
            let end = self.clock.now() + Duration::from_secs(grace.unsigned_abs());
            meta.insert("deletionTimestamp".to_owned(), timestamp(end).into());
            meta.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
        }
        if !under_way {
            if let Some(generation) = meta.get("generation").and_then(Value::as_i64) {
                meta.insert("generation".to_owned(), (generation + 1).into());
            }
            resource.rules.prepare_deletion(object);
        }
        true
    }

    /// Asks every admission whether an object may go.
    async fn ask(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        current: &Entry,
        object: &Value,
        dry_run: bool,
    ) -> Result<Txn, Status> {
        let attributes = Attributes {
            user,
            resource,
            name: current.name(),
            subresource: None,
            change: Change::Delete,
            old: Some(object),
            dry_run,
        };
        let mut draft = Draft { object: object.clone(), warnings: Vec::new() };
        let mut txn = Txn::new();
        self.admit(&attributes, &mut draft, &mut txn).await?;
        Ok(txn)
    }

    /// Removes an object, with all that was allocated to it.
    pub(super) async fn remove(
        &self,
        user: &User,
        resource: &Arc<Resource>,
        current: &Entry,
        object: &Value,
        mut txn: Txn,
    ) -> Result<Revision, Failed> {
        let freed = self.ask(user, resource, current, object, false).await?;
        txn.guards.extend(freed.guards);
        txn.writes.extend(freed.writes);
        let key = resource.key(current.name());
        self.commit_change(txn.expect(key.clone(), Expect::At(current.revision())).delete(key)).await
    }
}

fn finalizers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn check_preconditions(resource: &Resource, current: &Entry, options: &DeleteOptions) -> Result<(), Status> {
    let name = current.name().name();
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != current.uid().as_str()) {
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", current.uid());
        return Err(Status::conflict(&resource.id, name, why));
    }
    if let Some(revision) = options.revision.filter(|revision| *revision != current.revision()) {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {revision}, ResourceVersion in object meta: {}",
            current.revision()
        );
        return Err(Status::conflict(&resource.id, name, why));
    }
    Ok(())
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
