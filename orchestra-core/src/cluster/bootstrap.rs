//! What every cluster has from the start.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{Api, Client, Status};
use crate::controllers::SYSTEM_NAMESPACES;
use crate::meta::Object;

/// Makes the namespaces and priority classes that are not there.
pub(super) async fn namespaces(client: &Client) -> Result<(), Status> {
    let api = client.cluster::<Namespace>();
    for name in SYSTEM_NAMESPACES {
        ensure(&api, name, json!({"metadata": {"name": name}})).await?;
    }
    let classes = client.cluster::<PriorityClass>();
    for (name, value, what) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ] {
        ensure(&classes, name, json!({"metadata": {"name": name}, "value": value, "description": what}))
            .await?;
    }
    Ok(())
}

fn object<K: Object + DeserializeOwned>(value: Value) -> Result<K, Status> {
    serde_json::from_value(value).map_err(Status::internal)
}

async fn ensure<K: Object>(api: &Api<K>, name: &str, value: Value) -> Result<(), Status> {
    if api.find(name).await?.is_some() {
        return Ok(());
    }
    match api.create(&object(value)?).await {
        Err(status) if !status.is_already_exists() => Err(status),
        _ => Ok(()),
    }
}
