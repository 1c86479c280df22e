//! The end of a definition: its objects are deleted first, and it goes when none is left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::conditions::{is_true, terminating};
use super::set_status;
use crate::api::{DeleteOptions, ListOptions, Operation, Server, Status};
use crate::control::{Action, Context, Error, write};
use crate::objects::custom_resource_definition::{FINALIZER, kind_of};
use crate::watch::Entry;

/// How long to wait for objects that are on their way out.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// One step towards the end of a definition.
pub(super) async fn step(
    server: &Arc<Server>,
    context: &Context,
    entry: &Entry,
    definition: &Value,
) -> Result<Action, Error> {
    let now = context.now();
    if !is_true(definition, "Established") {
        let why = ("NeverEstablished", "resource was never established");
        return finish(context, entry, terminating(definition, "False", why.0, why.1, now)).await;
    }
    let under_way = terminating(
        definition,
        "True",
        "InstanceDeletionInProgress",
        "CustomResource deletion is in progress",
        now,
    );
    if under_way != definition["status"] {
        set_status(context, entry, definition, under_way).await?;
        return Ok(Action::Again(LOOK_AGAIN));
    }
    if delete_objects(server, context, definition).await? > 0 {
        return Ok(Action::Again(LOOK_AGAIN));
    }
    let why = ("InstanceDeletionCompleted", "removed all instances");
    finish(context, entry, terminating(definition, "False", why.0, why.1, now)).await
}

/// Lets a definition go, with what is to be said of it last.
async fn finish(context: &Context, entry: &Entry, status: Value) -> Result<Action, Error> {
    let definition = entry.to_value()?;
    let held = definition["metadata"]["finalizers"].as_array().into_iter().flatten();
    let left: Vec<&Value> = held.filter(|finalizer| **finalizer != FINALIZER).collect();
    let patch = json!({"metadata": {"finalizers": left}, "status": {"conditions": status["conditions"]}});
    let written = write::patch_beside_spec::<CustomResourceDefinition>(context.client(), entry, patch).await;
    write::unless_gone(written)?;
    Ok(Action::Done)
}

/// Deletes the objects of a definition's kind, namespace by namespace; says how many are still there.
async fn delete_objects(
    server: &Arc<Server>,
    context: &Context,
    definition: &Value,
) -> Result<usize, Status> {
    let kinds = server.kinds();
    let id = kind_of(definition).id;
    let (Some(row), Some(cache)) = (kinds.get(&id), server.caches().get(&id)) else { return Ok(0) };
    let snapshot = cache.snapshot();
    let unmarked = snapshot.range(None, None).filter(|entry| !entry.is_deleting());
    let namespaces: BTreeSet<Option<String>> =
        unmarked.map(|entry| entry.name().namespace().map(str::to_owned)).collect();
    for namespace in namespaces {
        let target = row.info().target(namespace.as_deref());
        let operation = Operation::DeleteCollection(ListOptions::default(), DeleteOptions::default());
        context.client().call(target, operation).await?;
    }
    Ok(cache.snapshot().range(None, None).count())
}
