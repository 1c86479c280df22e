//! What every cluster has from the start.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::scheduling::v1::PriorityClass;
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

/// Says since when it is noted of the tokens that stand in Secrets that they were used: those who take unused ones away wait
/// for a year from then.
pub(super) async fn token_tracking(client: &Client) -> Result<(), Status> {
    const NAME: &str = "kube-apiserver-legacy-service-account-token-tracking";
    let since = client.clock().now().strftime("%Y-%m-%d").to_string();
    let map = json!({"metadata": {"name": NAME}, "data": {"since": since}});
    ensure(&client.api::<ConfigMap>("kube-system"), NAME, map).await
}

fn object<K: Object>(value: Value) -> Result<K, Status> {
    K::deserialize(&value).map_err(Status::internal)
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
