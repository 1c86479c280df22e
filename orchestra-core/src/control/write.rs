//! Writing what was planned, as every controller does again: changes that are meant for the object as it was read,
//! without decoding what comes back, and children as they are wanted.
//!
//! Every change names the uid and the revision that it was decided on. One that comes too late is a
//! [conflict](Status::is_conflict), which is no fault, and is an error all the same, so that the run is tried again: a
//! conflict need not come from a change that this controller is yet to see.

use std::future::Future;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Context, Error, owner_reference};
use crate::api::{
    Body, Client, DeleteOptions, Operation, Patch, Reason, Reply, Response, Status, Target, WriteOptions,
};
use crate::meta::{Object, ObjectName, Uid};
use crate::supervise::together;
use crate::watch::Entry;

/// An object as the target of a call.
pub fn target<K: Object>(name: &ObjectName) -> Target {
    Target::of::<K>(name.namespace()).named(name.name())
}

/// Changes an object as it was read: if it has changed since, this is a conflict.
///
/// # Errors
/// What the API says; a conflict when the object has changed since it was read.
pub async fn patch<K: Object>(client: &Client, entry: &Entry, patch: Value) -> Result<Response, Status> {
    let patch = Patch::Merge(guarded(entry, patch));
    client.call(target::<K>(entry.name()), patch.operation()).await
}

/// The merge patch that makes the second of two values of the first: what is no longer there is removed.
pub fn difference(old: &Value, new: &Value) -> Value {
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
///
/// # Errors
/// As [`patch`].
pub async fn patch_status<K: Object>(
    client: &Client,
    entry: &Entry,
    status: Value,
) -> Result<Response, Status> {
    patch_beside_spec::<K>(client, entry, json!({ "status": status })).await
}

/// Applies all that a manager wants of the status of an object as it was read, whoever has owned it (server-side apply).
/// Kubernetes writes some statuses so, and others see it by the manager's name.
///
/// # Errors
/// As [`patch`].
pub async fn apply_status<K: Object>(
    client: &Client,
    entry: &Entry,
    manager: &str,
    status: Value,
) -> Result<Response, Status> {
    let mut config = json!({
        "apiVersion": K::api_version(),
        "kind": K::KIND,
        "metadata": {"name": entry.name().name()},
        "status": status,
    });
    if let Some(namespace) = entry.name().namespace() {
        config["metadata"]["namespace"] = namespace.into();
    }
    let apply = Patch::Apply { config: guarded(entry, config), force: true };
    let options = WriteOptions { field_manager: Some(manager.to_owned()), ..WriteOptions::default() };
    client.call(target::<K>(entry.name()).status(), apply.with(options)).await
}

/// Patches metadata or status by way of the status, so that a controller's own notes are no change of what is wanted.
///
/// # Errors
/// What the API says.
pub async fn patch_beside_spec<K: Object>(
    client: &Client,
    entry: &Entry,
    patch: Value,
) -> Result<Response, Status> {
    let patch = Patch::Merge(guarded(entry, patch));
    client.call(target::<K>(entry.name()).status(), patch.operation()).await
}

/// Takes a finalizer off an object, whatever else has changed in it since it was read. One that is gone is no fault.
///
/// # Errors
/// What the API says; a conflict when another object has the name by now.
pub async fn remove_finalizer<K: Object>(
    client: &Client,
    entry: &Entry,
    finalizer: &str,
) -> Result<(), Status> {
    let patch = json!({
        "metadata": {"uid": entry.uid(), "$deleteFromPrimitiveList/finalizers": [finalizer]},
    });
    let patched = client.call(target::<K>(entry.name()), Patch::Strategic(patch).operation()).await;
    was_deleted(patched).map(drop)
}

/// Adds to a merge patch that it is meant for this version of this object.
pub fn guarded(entry: &Entry, mut patch: Value) -> Value {
    patch["metadata"]["uid"] = entry.uid().as_str().into();
    patch["metadata"]["resourceVersion"] = entry.revision().to_string().into();
    patch
}

/// Deletes this object, not another of its name, and returns whether it was there to be deleted.
///
/// # Errors
/// What the API says otherwise; a conflict when another object has the name by now.
pub async fn delete<K: Object>(client: &Client, name: &ObjectName, uid: &Uid) -> Result<bool, Status> {
    let options = DeleteOptions { uid: Some(uid.to_string()), ..DeleteOptions::default() };
    was_deleted(client.call(target::<K>(name), Operation::Delete(options)).await)
}

/// Whether a deletion deleted anything; an object that is gone is none.
///
/// # Errors
/// Any other.
pub fn was_deleted(outcome: Result<Response, Status>) -> Result<bool, Status> {
    match outcome {
        Ok(_) => Ok(true),
        Err(status) if status.is_not_found() => Ok(false),
        Err(status) => Err(status),
    }
}

/// Creates an object given as a value and returns its name.
///
/// # Errors
/// What the API says.
pub async fn create<K: Object>(
    client: &Client,
    namespace: &str,
    object: Value,
) -> Result<ObjectName, Status> {
    Ok(create_entry::<K>(client, namespace, object).await?.name().clone())
}

/// Whether a creation failed because the namespace is going away, which no retry changes.
pub fn namespace_terminating(status: &Status) -> bool {
    let causes = status.details().and_then(|details| details.causes.as_ref());
    causes.into_iter().flatten().any(|cause| cause.reason.as_deref() == Some("NamespaceTerminating"))
}

/// Does a thing `count` times, in batches of 1, 2, 4, …, each begun when the one before has gone well, so that a
/// thing that cannot be done is not tried hundreds of times. Those of a batch are done at once, on all threads that there
/// are. Returns the first error.
///
/// # Errors
/// That of the first batch in which one failed.
pub async fn slow_start<F, Fut>(count: usize, mut attempt: F) -> Result<(), Status>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (mut left, mut batch) = (count, 1);
    while left > 0 {
        let size = batch.min(left);
        let outcomes = together((0..size).map(|_| attempt()).collect()).await;
        outcomes.into_iter().collect::<Result<(), _>>()?;
        left -= size;
        batch *= 2;
    }
    Ok(())
}

/// An error of a call, told from success in vain: what is gone, or has changed, leads to the next run by itself.
///
/// # Errors
/// Any but that the object is not found.
pub fn unless_gone(outcome: Result<Response, Status>) -> Result<(), Error> {
    match outcome {
        Err(status) if !status.is_not_found() => Err(status.into()),
        _ => Ok(()),
    }
}

/// Sees to it that the object that a run is for has a child as `wanted`: in its namespace, of that name, controlled by
/// it. One that is not there is created; of one that differs, what differs is patched. What `wanted` does not say is
/// left to defaults and to others. Returns the child as it is now.
///
/// `owner` is the object that the run is for, of kind `O`, as it was read.
///
/// # Errors
/// What the API says; and when an object of the name is there that is controlled by somebody else, or by nobody.
pub async fn ensure_child<O: Object, K: Object>(
    context: &Context,
    owner: &Entry,
    name: &str,
    mut wanted: Value,
) -> Result<Arc<Entry>, Error> {
    let child = ObjectName::new(owner.name().namespace(), name);
    let Some(held) = context.cache::<K>().await?.get(&child) else {
        wanted["metadata"]["name"] = name.into();
        wanted["metadata"]["ownerReferences"] = json!([owner_reference::controller::<O>(owner)]);
        return create_entry::<K>(context.client(), context.namespace(), wanted).await.map_err(Error::from);
    };
    if held.controller().map(|owner| &owner.uid) != Some(owner.uid()) {
        let message = format!("{} {name} is there and is not controlled by {}", K::KIND, owner.name());
        return Err(Error::from(message));
    }
    match missing(&held.to_value()?, &wanted) {
        Some(change) => match patch::<K>(context.client(), &held, change).await?.reply {
            Reply::Object(entry) => Ok(entry),
            Reply::List(_) | Reply::Value(_) => Err(no_object().into()),
        },
        None => Ok(held),
    }
}

/// The merge patch that gives an object everything that is wanted of it, and leaves what more it has; `None` if it has
/// all of it. Lists of the same length are compared place by place; of another length, the wanted one replaces the
/// one that is there.
pub fn missing(held: &Value, wanted: &Value) -> Option<Value> {
    match (held, wanted) {
        (Value::Object(held), Value::Object(wanted)) => {
            let differ = wanted.iter().filter_map(|(key, wanted)| {
                let change = missing(held.get(key).unwrap_or(&Value::Null), wanted)?;
                Some((key.clone(), change))
            });
            let patch: serde_json::Map<_, _> = differ.collect();
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (Value::Array(held), Value::Array(wanted)) if held.len() == wanted.len() => {
            let differs = held.iter().zip(wanted).any(|(held, wanted)| missing(held, wanted).is_some());
            let both = held.iter().zip(wanted).map(|(held, wanted)| overlaid(held, wanted));
            differs.then(|| both.collect())
        }
        (held, wanted) => (held != wanted).then(|| wanted.clone()),
    }
}

/// A value with everything that is wanted of it.
fn overlaid(held: &Value, wanted: &Value) -> Value {
    match (held, wanted) {
        (Value::Object(held), Value::Object(wanted)) => {
            let mut all = held.clone();
            for (key, wanted) in wanted {
                let value = overlaid(held.get(key).unwrap_or(&Value::Null), wanted);
                all.insert(key.clone(), value);
            }
            Value::Object(all)
        }
        (Value::Array(held), Value::Array(wanted)) if held.len() == wanted.len() => {
            held.iter().zip(wanted).map(|(held, wanted)| overlaid(held, wanted)).collect()
        }
        (_, wanted) => wanted.clone(),
    }
}

/// Creates an object given as a value and returns it.
///
/// # Errors
/// What the API says.
pub async fn create_entry<K: Object>(
    client: &Client,
    namespace: &str,
    mut object: Value,
) -> Result<Arc<Entry>, Status> {
    object["apiVersion"] = K::api_version().into();
    object["kind"] = K::KIND.into();
    let operation = Operation::Create { body: Body::Value(object), options: Default::default() };
    match client.call(Target::of::<K>(Some(namespace)), operation).await?.reply {
        Reply::Object(entry) => Ok(entry),
        Reply::List(_) | Reply::Value(_) => Err(no_object()),
    }
}

fn no_object() -> Status {
    Status::new(Reason::InternalError, "a write was not answered with the object")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_gone_is_deleted_already() {
        let refused = |reason| was_deleted(Err(Status::new(reason, "no")));
        assert!(!refused(Reason::NotFound).unwrap());
        assert!(refused(Reason::Conflict).unwrap_err().is_conflict());
        assert!(refused(Reason::Forbidden).is_err());
    }

    #[test]
    fn more_than_is_wanted_is_no_difference() {
        let held = json!({"a": {"b": 1, "c": 2}, "list": [{"d": 1, "e": 2}]});
        for (wanted, expected) in [
            (json!({}), None),
            (json!({"a": {"b": 1}}), None),
            (json!({"list": [{"d": 1}]}), None),
            (json!({"none": null}), None),
            (json!({"a": {"b": 2}}), Some(json!({"a": {"b": 2}}))),
            (json!({"new": {"f": 1}}), Some(json!({"new": {"f": 1}}))),
            (json!({"list": []}), Some(json!({"list": []}))),
            (json!({"list": [{"d": 3}]}), Some(json!({"list": [{"d": 3, "e": 2}]}))),
        ] {
            assert_eq!(missing(&held, &wanted), expected, "{wanted}");
        }
    }
}
