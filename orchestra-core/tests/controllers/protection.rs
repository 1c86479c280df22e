//! Claims, volumes and classes that are deleted while they are used; nodes that are new.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test(start_paused = true)]
async fn a_claim_stays_until_the_pod_that_uses_it_is_gone() {
    let cluster = Cluster::start().await;
    let claim = json!({
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    });
    let made: PersistentVolumeClaim = cluster.create(claim).await;
    assert_eq!(made.metadata.finalizers.unwrap(), ["kubernetes.io/pvc-protection"]);
    cluster
        .create::<Pod>(json!({"metadata": {"name": "p", "finalizers": ["example.org/held"]}, "spec": {
            "nodeName": "n1",
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        }}))
        .await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    claims.delete("data").await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let kept = claims.find("data").await.unwrap().unwrap();
    assert!(kept.metadata.deletion_timestamp.is_some());
    cluster.api::<Pod>().delete("p").await.unwrap();
    cluster.patch::<Pod>("p", json!({"metadata": {"finalizers": null}})).await;
    cluster
        .until("the claim is gone", async || claims.find("data").await.unwrap().is_none().then_some(()))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_stays_while_it_is_bound_and_a_class_while_it_is_named() {
    let cluster = Cluster::start().await;
    let class =
        json!({"metadata": {"name": "fast"}, "driverName": "d.example.org", "parameters": {"a": "b"}});
    cluster.create::<VolumeAttributesClass>(class).await;
    cluster
        .create::<PersistentVolume>(json!({"metadata": {"name": "v"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "csi": {"driver": "d.example.org", "volumeHandle": "h"}, "volumeAttributesClassName": "fast",
        }}))
        .await;
    cluster
        .create::<PersistentVolumeClaim>(json!({"metadata": {"name": "c"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeAttributesClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}},
        }}))
        .await;
    cluster
        .until_object::<PersistentVolumeClaim>("c", "is bound", |claim| claim["status"]["phase"] == "Bound")
        .await;
    let (volumes, classes) =
        (cluster.client.cluster::<PersistentVolume>(), cluster.client.cluster::<VolumeAttributesClass>());
    volumes.delete("v").await.unwrap();
    classes.delete("fast").await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(volumes.find("v").await.unwrap().is_some());
    assert!(classes.find("fast").await.unwrap().is_some());
    cluster.api::<PersistentVolumeClaim>().delete("c").await.unwrap();
    cluster
        .until("volume and class are gone", async || {
            let left =
                volumes.find("v").await.unwrap().is_some() || classes.find("fast").await.unwrap().is_some();
            (!left).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_node_is_kept_free_until_it_is_looked_at() {
    let cluster = Cluster::start().await;
    let made: Node = cluster.create(json!({"metadata": {"name": "new"}})).await;
    let taint = made.spec.unwrap().taints.unwrap().remove(0);
    assert_eq!((&*taint.key, &*taint.effect), ("node.kubernetes.io/not-ready", "NoSchedule"));
    let nodes = cluster.client.cluster::<Node>();
    cluster
        .until("the taint is gone and the annotation there", async || {
            let node = nodes.get("new").await.unwrap();
            let free = node.spec.and_then(|spec| spec.taints).is_none_or(|taints| taints.is_empty());
            let ttl = node.metadata.annotations.unwrap_or_default().remove("node.alpha.kubernetes.io/ttl");
            (free && ttl.as_deref() == Some("0")).then_some(())
        })
        .await;
}
