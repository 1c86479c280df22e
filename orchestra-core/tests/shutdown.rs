//! A cluster that was shut down has let go of everything, whoever still holds a client of it.
#![cfg(feature = "redb")]

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use orchestra_core::api::{Client, Reason};
use orchestra_core::cluster::Cluster;
use orchestra_core::store::redb::RedbStore;
use serde_json::json;

async fn busy(client: Client) {
    for index in 0.. {
        let name = format!("pod-{index}");
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        if client.api("default").create(&pod).await.is_err_and(|status| !status.is_already_exists()) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_can_be_opened_again_as_soon_as_its_cluster_is_shut_down() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let store =
            RedbStore::open(directory.path()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        let cluster = Cluster::builder().store(store).fake_nodes(2).start().await.unwrap();
        let client = cluster.client();
        let writer = tokio::spawn(busy(client.clone()));
        tokio::time::timeout(Duration::from_secs(20), client.api::<Pod>("default").list())
            .await
            .unwrap()
            .unwrap();
        cluster.shutdown().await;
        let refused = client.api::<ConfigMap>("default").get("a").await.unwrap_err();
        assert_eq!(refused.reason(), Reason::ServiceUnavailable, "{refused}");
        writer.await.unwrap();
    }
}
