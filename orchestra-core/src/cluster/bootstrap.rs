//! What every cluster has from the start.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Endpoints, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::admission::ServiceRanges;
use crate::api::{Api, Client, Status};
use crate::meta::Object;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Makes the namespaces and priority classes that are not there.
pub(super) async fn namespaces(client: &Client) -> Result<(), Status> {
    let api = client.cluster::<Namespace>();
    for name in NAMESPACES {
        ensure(&api, name, json!({"metadata": {"name": name}})).await?;
    }
    let classes = client.cluster::<PriorityClass>();
    for (name, value, what) in [
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not move from their node.",
        ),
    ] {
        ensure(&classes, name, json!({"metadata": {"name": name}, "value": value, "description": what}))
            .await?;
    }
    Ok(())
}

/// Makes the service through which pods reach the API, and keeps its endpoint where the server listens.
pub(super) async fn api_service(
    client: &Client,
    ranges: &ServiceRanges,
    address: Option<(IpAddr, u16)>,
) -> Result<(), Status> {
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let service = json!({
        "metadata": {"name": "kubernetes", "labels": labels},
        "spec": {
            "clusterIP": ranges.api_server(),
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": address.map_or(6443, |(_, port)| port)}],
        },
    });
    ensure(&client.api::<Service>("default"), "kubernetes", service).await?;
    let Some((ip, port)) = address else { return Ok(()) };
    let endpoints = json!({
        "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": ip}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    replace(&client.api::<Endpoints>("default"), "kubernetes", endpoints).await?;
    let slice = json!({
        "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if ip.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    replace(&client.api::<EndpointSlice>("default"), "kubernetes", slice).await
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

async fn replace<K: Object>(api: &Api<K>, name: &str, value: Value) -> Result<(), Status> {
    match api.find(name).await? {
        Some(_) => api.update(&object(value)?).await.map(drop),
        None => api.create(&object(value)?).await.map(drop),
    }
}
