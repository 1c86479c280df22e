//! Endpoints, EndpointSlices and their mirror.

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orchestra_core::api::{Body, ListOptions, Operation, Patch, Target, WriteOptions};
use serde_json::json;

use crate::cluster::Cluster;
use crate::workloads::replica_set;

async fn slices(cluster: &Cluster, service: &str) -> Vec<EndpointSlice> {
    let labels = format!("kubernetes.io/service-name={service}").parse().unwrap();
    let options = ListOptions { labels: Some(labels), ..ListOptions::default() };
    cluster.api::<EndpointSlice>().list_with(options).await.unwrap().items
}

fn ready(slices: &[EndpointSlice]) -> usize {
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    endpoints.filter(|endpoint| endpoint.conditions.as_ref().unwrap().ready == Some(true)).count()
}

#[tokio::test(start_paused = true)]
async fn a_service_has_the_addresses_of_its_ready_pods() {
    let cluster = Cluster::start().await;
    let service = json!({
        "metadata": {"name": "web", "labels": {"tier": "front"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]},
    });
    cluster.create::<Service>(service).await;
    let none = cluster
        .until("an empty slice", async || Some(slices(&cluster, "web").await).filter(|all| all.len() == 1))
        .await;
    assert_eq!(none[0].endpoints.as_deref().unwrap_or_default(), []);

    cluster.create::<ReplicaSet>(replica_set("web", 2)).await;
    let pods = cluster.until_pods("app=web", 2).await;
    let endpoints = cluster
        .until_object::<Endpoints>("web", "has 2 addresses", |endpoints| {
            endpoints["subsets"][0]["addresses"].as_array().is_some_and(|addresses| addresses.len() == 2)
        })
        .await;
    assert_eq!(endpoints["subsets"][0]["ports"], json!([{"port": 8080, "protocol": "TCP"}]));
    assert_eq!(
        endpoints["metadata"]["labels"],
        json!({"endpoints.kubernetes.io/managed-by": "endpoint-controller", "tier": "front"})
    );
    let held = cluster
        .until("2 in slices", async || Some(slices(&cluster, "web").await).filter(|all| ready(all) == 2))
        .await;
    assert_eq!(held.len(), 1);
    assert_eq!(held[0].metadata.owner_references.as_ref().unwrap()[0].kind, "Service");
    let port = &held[0].ports.as_ref().unwrap()[0];
    assert_eq!((port.port, port.name.as_deref()), (Some(8080), Some("")));

    // A pod that is not ready stays, but serves no more.
    let name = pods[0].metadata.name.as_deref().unwrap();
    let unready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    cluster.api::<Pod>().patch_status(name, Patch::Merge(unready)).await.unwrap();
    cluster
        .until_object::<Endpoints>("web", "has one not ready", |endpoints| {
            endpoints["subsets"][0]["notReadyAddresses"]
                .as_array()
                .is_some_and(|addresses| addresses.len() == 1)
        })
        .await;
    cluster.until("1 ready", async || (ready(&slices(&cluster, "web").await) == 1).then_some(())).await;

    cluster.api::<Service>().delete("web").await.unwrap();
    cluster.until_object::<Endpoints>("web", "is gone", |endpoints| endpoints.is_null()).await;
    cluster.until("no slices", async || slices(&cluster, "web").await.is_empty().then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn endpoints_of_a_user_are_mirrored_and_left_alone() {
    let cluster = Cluster::start().await;
    let endpoints = json!({
        "metadata": {"name": "db"},
        "subsets": [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 5432, "protocol": "TCP"}]}],
    });
    cluster.create::<Endpoints>(endpoints).await;
    cluster
        .create::<Service>(
            json!({"metadata": {"name": "db"}, "spec": {"ports": [{"port": 5432, "protocol": "TCP"}]}}),
        )
        .await;
    let held = cluster
        .until("a mirror", async || Some(slices(&cluster, "db").await).filter(|all| ready(all) == 1))
        .await;
    assert_eq!(held[0].endpoints.as_ref().unwrap()[0].addresses, ["192.0.2.7"]);
    let labels = held[0].metadata.labels.as_ref().unwrap();
    assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "endpointslicemirroring-controller.k8s.io");

    cluster.patch::<Endpoints>("db", json!({"subsets": null})).await;
    cluster.until("no mirror", async || slices(&cluster, "db").await.is_empty().then_some(())).await;
    cluster.api::<Endpoints>().get("db").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_without_pods_keeps_its_slice_when_they_come_and_go() {
    let cluster = Cluster::start().await;
    let service = json!({
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "protocol": "TCP"}]},
    });
    cluster.create::<Service>(service).await;
    let with = async |count: usize| {
        let held =
            |all: &[EndpointSlice]| all.iter().flat_map(|slice| slice.endpoints.iter().flatten()).count();
        let all = async || {
            // Pods that are on their way out are there, and not ready.
            let all = slices(&cluster, "web").await;
            (!all.is_empty() && ready(&all) == count && held(&all) == count).then_some(all)
        };
        let all = cluster.until(&format!("{count} in slices"), all).await;
        assert_eq!(all.len(), 1, "never two side by side");
        (all[0].metadata.uid.clone(), all[0].ports.as_ref().map_or(0, Vec::len))
    };
    let (first, ports) = with(0).await;
    assert_eq!(ports, 0);
    cluster.create::<ReplicaSet>(replica_set("web", 2)).await;
    assert_eq!(with(2).await, (first.clone(), 1));
    cluster.api::<ReplicaSet>().scale("web", 0).await.unwrap();
    assert_eq!(with(0).await, (first, 0));
}

#[tokio::test(start_paused = true)]
async fn a_headless_service_without_ports_has_addresses() {
    let cluster = Cluster::start().await;
    cluster.create::<ReplicaSet>(replica_set("web", 1)).await;
    cluster.until_pods("app=web", 1).await;
    let ports = [("none", json!({})), ("empty", json!({"ports": []})), ("null", json!({"ports": null}))];
    for (name, ports) in ports {
        let mut spec = json!({"clusterIP": "None", "selector": {"app": "web"}});
        spec.as_object_mut().unwrap().extend(ports.as_object().unwrap().clone());
        // As it is sent: a value of the type would not say `null`.
        let body = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        let create = Operation::Create { body: Body::Value(body), options: WriteOptions::default() };
        cluster.client.call(Target::of::<Service>(Some("default")), create).await.unwrap();
        let endpoints = cluster
            .until_object::<Endpoints>(name, "has an address", |endpoints| {
                endpoints["subsets"][0]["addresses"].as_array().is_some_and(|addresses| addresses.len() == 1)
            })
            .await;
        assert!(endpoints["subsets"][0]["ports"].is_null(), "{name}: {endpoints}");
        cluster.until(name, async || (ready(&slices(&cluster, name).await) == 1).then_some(())).await;
    }
}
