//! The scales of objects of any kind: how many pods one wants, and whether it may be told another number.

use serde_json::Value;

use crate::api::{Body, Client, Kind, Operation, Reply, Response, Status, Target};

/// The scale of an object.
///
/// # Errors
/// What the API says; that it is not found also when the kind has no scale.
pub(super) async fn get(client: &Client, kind: &Kind, namespace: &str, name: &str) -> Result<Value, Status> {
    value(client.call(target(kind, namespace, name), Operation::GET).await?)
}

/// Writes a scale as it was read, with another number.
///
/// # Errors
/// What the API says; a conflict if it has changed since it was read.
pub(super) async fn set(
    client: &Client,
    kind: &Kind,
    (namespace, name): (&str, &str),
    mut scale: Value,
    replicas: i32,
) -> Result<(), Status> {
    scale["spec"]["replicas"] = replicas.into();
    let update = Operation::Update { body: Body::Value(scale), options: Default::default() };
    client.call(target(kind, namespace, name), update).await.map(drop)
}

fn target(kind: &Kind, namespace: &str, name: &str) -> Target {
    kind.target(Some(namespace)).named(name).sub("scale")
}

fn value(response: Response) -> Result<Value, Status> {
    match response.reply {
        Reply::Object(entry) => entry.to_value().map_err(Status::internal),
        Reply::Value(value) => Ok(value),
        Reply::List(_) => Err(Status::internal("a scale was answered with a list")),
    }
}

/// A number of pods in a scale.
pub(super) fn replicas(scale: &Value, part: &str) -> i32 {
    let replicas = scale[part]["replicas"].as_i64().unwrap_or_default();
    i32::try_from(replicas).unwrap_or(i32::MAX)
}
