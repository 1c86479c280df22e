//! Writing what was planned: changes with preconditions, without decoding what comes back.

use std::future::Future;

use serde_json::{Value, json};

use crate::api::{Client, DeleteOptions, Operation, Patch, Reason, Reply, Response, Status, Target};
use crate::control::Error;
use crate::meta::{Object, ObjectName, Uid};
use crate::watch::Entry;

/// An object as the target of a call.
pub(crate) fn target<K: Object>(name: &ObjectName) -> Target {
    Target::of::<K>(name.namespace()).named(name.name())
}

/// Changes an object as it was read: if it has changed since, this is a conflict.
pub(crate) async fn patch<K: Object>(
    client: &Client,
    entry: &Entry,
    patch: Value,
) -> Result<Response, Status> {
    let patch = Patch::Merge(guarded(entry, patch));
    client.call(target::<K>(entry.name()), patch.operation()).await
}

/// The merge patch that makes the second of two values of the first: what is no longer there is removed.
pub(crate) fn difference(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return new.clone() };
    let mut patch = serde_json::Map::new();
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in new {
        match old.get(key) {
            Some(held) if held == value => {}
            Some(held) => {
                patch.insert(key.clone(), difference(held, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}

/// Changes the status of an object as it was read.
pub(crate) async fn patch_status<K: Object>(
    client: &Client,
    entry: &Entry,
    status: Value,
) -> Result<Response, Status> {
    let patch = Patch::Merge(guarded(entry, json!({ "status": status })));
    client.call(target::<K>(entry.name()).status(), patch.operation()).await
}

/// Adds to a merge patch that it is meant for this version of this object.
pub(crate) fn guarded(entry: &Entry, mut patch: Value) -> Value {
    patch["metadata"]["uid"] = entry.uid().as_str().into();
    patch["metadata"]["resourceVersion"] = entry.revision().to_string().into();
    patch
}

/// Deletes this object, not another of its name. That it is gone already is as good.
pub(crate) async fn delete<K: Object>(client: &Client, name: &ObjectName, uid: &Uid) -> Result<bool, Status> {
    let options = DeleteOptions { uid: Some(uid.to_string()), ..DeleteOptions::default() };
    gone(client.call(target::<K>(name), Operation::Delete(options)).await)
}

/// Whether a deletion deleted anything; an object that is gone, or another of its name, is none.
pub(crate) fn gone(outcome: Result<Response, Status>) -> Result<bool, Status> {
    match outcome {
        Ok(_) => Ok(true),
        Err(status) if status.is_not_found() || status.is_conflict() => Ok(false),
        Err(status) => Err(status),
    }
}

/// Creates an object given as a value and returns its name.
pub(crate) async fn create<K: Object>(
    client: &Client,
    namespace: &str,
    mut object: Value,
) -> Result<ObjectName, Status> {
    object["apiVersion"] = K::api_version().into();
    object["kind"] = K::KIND.into();
    let operation = Operation::Create { body: crate::api::Body::Value(object), options: Default::default() };
    match client.call(Target::of::<K>(Some(namespace)), operation).await?.reply {
        Reply::Object(entry) => Ok(entry.name().clone()),
        Reply::List(_) | Reply::Value(_) => {
            Err(Status::new(Reason::InternalError, "a creation was not answered with the object"))
        }
    }
}

/// Whether a creation failed because the namespace is going away, which no retry changes.
pub(crate) fn namespace_terminating(status: &Status) -> bool {
    let causes = status.details().and_then(|details| details.causes.as_ref());
    causes.into_iter().flatten().any(|cause| cause.reason.as_deref() == Some("NamespaceTerminating"))
}

/// Does a thing `count` times, in batches of 1, 2, 4, …, each begun when the one before has gone well, so that a
/// thing that cannot be done is not tried hundreds of times. Returns the first error.
pub(crate) async fn slow_start<F, Fut>(count: usize, mut attempt: F) -> Result<(), Status>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), Status>>,
{
    let (mut left, mut batch) = (count, 1);
    while left > 0 {
        let size = batch.min(left);
        let outcomes = futures::future::join_all((0..size).map(|_| attempt())).await;
        outcomes.into_iter().collect::<Result<(), _>>()?;
        left -= size;
        batch *= 2;
    }
    Ok(())
}

/// An error of a call, told from success in vain: what is gone, or has changed, leads to the next run by itself.
pub(crate) fn unless_gone(outcome: Result<Response, Status>) -> Result<(), Error> {
    match outcome {
        Err(status) if !status.is_not_found() => Err(status.into()),
        _ => Ok(()),
    }
}
