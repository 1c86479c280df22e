use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use orchestra_core::controllers::Config;
use orchestra_core::controllers::local_path::{Directories, LocalPath};
use orchestra_core::scheduler::Scheduler;
use serde_json::{Value, json};

use crate::cluster::Cluster;

async fn volume(cluster: &Cluster, name: &str, change: Value) {
    let mut spec = json!({
        "capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "manual",
        "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/data"},
    });
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    cluster.create::<PersistentVolume>(json!({"metadata": {"name": name}, "spec": spec})).await;
}

async fn claim(cluster: &Cluster, name: &str, size: &str, class: &str) {
    let spec = json!({
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": size}},
    });
    cluster.create::<PersistentVolumeClaim>(json!({"metadata": {"name": name}, "spec": spec})).await;
}

async fn phase_of_volume(cluster: &Cluster, name: &str, phase: &str) -> Value {
    let volumes = cluster.client.cluster::<PersistentVolume>();
    cluster
        .until(&format!("volume {name} is {phase}"), async || {
            let volume = serde_json::to_value(volumes.find(name).await.unwrap()).unwrap();
            (volume["status"]["phase"] == phase).then_some(volume)
        })
        .await
}

async fn phase_of_claim(cluster: &Cluster, name: &str, phase: &str) -> Value {
    cluster.until_object::<PersistentVolumeClaim>(name, phase, |it| it["status"]["phase"] == phase).await
}

#[tokio::test(start_paused = true)]
async fn a_claim_and_a_volume_find_each_other_and_are_released() {
    let cluster = Cluster::start().await;
    volume(&cluster, "large", json!({"capacity": {"storage": "50Gi"}})).await;
    volume(&cluster, "right", json!({})).await;
    phase_of_volume(&cluster, "right", "Available").await;
    phase_of_volume(&cluster, "large", "Available").await;
    claim(&cluster, "data", "5Gi", "manual").await;
    let bound = phase_of_claim(&cluster, "data", "Bound").await;
    assert_eq!(bound["spec"]["volumeName"], "right");
    assert_eq!(bound["status"]["capacity"]["storage"], "10Gi");
    assert_eq!(bound["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"], "yes");
    let volume = phase_of_volume(&cluster, "right", "Bound").await;
    assert_eq!(volume["spec"]["claimRef"]["uid"], bound["metadata"]["uid"]);
    cluster.api::<PersistentVolumeClaim>().delete("data").await.unwrap();
    phase_of_volume(&cluster, "right", "Released").await;
    // What it held is another's: it is given to nobody before somebody has looked.
    claim(&cluster, "data", "5Gi", "manual").await;
    assert_eq!(phase_of_claim(&cluster, "data", "Bound").await["spec"]["volumeName"], "large");
}

#[tokio::test(start_paused = true)]
async fn a_claim_waits_for_its_volume_and_is_lost_without_it() {
    let cluster = Cluster::start().await;
    claim(&cluster, "data", "5Gi", "").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let events = cluster.events("data").await;
    assert!(events.iter().any(|(reason, _)| reason == "FailedBinding"), "{events:?}");
    volume(&cluster, "late", json!({"storageClassName": ""})).await;
    phase_of_claim(&cluster, "data", "Bound").await;
    let patch = json!({"metadata": {"finalizers": null}});
    cluster.client.cluster::<PersistentVolume>().delete("late").await.unwrap();
    let patch = orchestra_core::api::Patch::Merge(patch);
    let _ = cluster.client.cluster::<PersistentVolume>().patch("late", patch).await;
    phase_of_claim(&cluster, "data", "Lost").await;
}

#[tokio::test(start_paused = true)]
async fn volumes_that_nobody_can_delete_say_so() {
    let cluster = Cluster::start().await;
    volume(&cluster, "mine", json!({"persistentVolumeReclaimPolicy": "Delete"})).await;
    claim(&cluster, "data", "5Gi", "manual").await;
    phase_of_claim(&cluster, "data", "Bound").await;
    cluster.api::<PersistentVolumeClaim>().delete("data").await.unwrap();
    let failed = phase_of_volume(&cluster, "mine", "Failed").await;
    assert!(failed["status"]["message"].as_str().unwrap().contains("no deletable volume plugin matched"));
}

#[derive(Debug, Default)]
struct Removed(Mutex<Vec<(String, String)>>);

#[async_trait]
impl Directories for Removed {
    async fn remove(&self, node: &str, path: &str) -> Result<(), String> {
        self.0.lock().unwrap().push((node.to_owned(), path.to_owned()));
        Ok(())
    }
}

/// A cluster whose volumes are directories of its two nodes, with a scheduler.
async fn local() -> (Cluster, Arc<Removed>) {
    let removed = Arc::new(Removed::default());
    let local =
        LocalPath { root: "/volumes".into(), directories: Arc::clone(&removed) as Arc<dyn Directories> };
    let cluster = Cluster::with(Config { local_path: Some(local), ..Config::default() }).await;
    for name in ["n1", "n2"] {
        let status = json!({
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "100"},
            "conditions": [{"type": "Ready", "status": "True"}],
        });
        let labels = json!({"kubernetes.io/hostname": name});
        cluster.create::<Node>(json!({"metadata": {"name": name, "labels": labels}, "status": status})).await;
    }
    let scheduler = Scheduler::new(cluster.client.clone());
    tokio::spawn(scheduler.run(std::future::pending::<()>()));
    (cluster, removed)
}

fn set(replicas: i32) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": "db"}},
        "spec": {"containers": [{"name": "main", "image": "db:1",
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]},
    });
    let claims = json!([{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }}]);
    json!({"metadata": {"name": "db"}, "spec": {
        "replicas": replicas, "serviceName": "db", "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {"app": "db"}}, "template": template, "volumeClaimTemplates": claims,
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
    }})
}

#[tokio::test(start_paused = true)]
async fn a_stateful_set_gets_its_volumes_where_its_pods_are() {
    let (cluster, removed) = local().await;
    let classes = cluster.client.cluster::<StorageClass>();
    let class = cluster.until("the class is there", async || classes.find("local-path").await.unwrap()).await;
    assert_eq!(class.provisioner, "orchestra.io/local-path");
    cluster.create::<StatefulSet>(set(2)).await;
    for name in ["db-0", "db-1"] {
        let pod =
            cluster.until_object::<Pod>(name, "is placed", |it| it["spec"]["nodeName"].is_string()).await;
        let claim = phase_of_claim(&cluster, &format!("data-{name}"), "Bound").await;
        let volume = phase_of_volume(&cluster, claim["spec"]["volumeName"].as_str().unwrap(), "Bound").await;
        let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
        assert_eq!(terms[0]["matchExpressions"][0]["values"][0], pod["spec"]["nodeName"]);
        let path = volume["spec"]["hostPath"]["path"].as_str().unwrap();
        assert!(
            path.starts_with("/volumes/pvc-") && path.ends_with(&format!("_default_data-{name}")),
            "{path}"
        );
    }
    // It may grow.
    let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    cluster.patch::<PersistentVolumeClaim>("data-db-0", more).await;
    cluster
        .until_object::<PersistentVolumeClaim>("data-db-0", "has grown", |it| {
            it["status"]["capacity"]["storage"] == "2Gi"
        })
        .await;
    // Nobody answers for these nodes: when the set has let go of a pod, and left its claim to it, it is made to go.
    cluster.patch::<StatefulSet>("db", json!({"spec": {"replicas": 1}})).await;
    cluster
        .until_object::<Pod>("db-1", "is to go", |it| it["metadata"]["deletionTimestamp"].is_string())
        .await;
    let gone = orchestra_core::api::DeleteOptions { grace_period: Some(0), ..Default::default() };
    let _ = cluster.api::<Pod>().delete_with("db-1", gone).await;
    cluster
        .until("the directory is removed", async || (!removed.0.lock().unwrap().is_empty()).then_some(()))
        .await;
    let volumes = async || cluster.client.cluster::<PersistentVolume>().list().await.unwrap().len();
    cluster.until("the volume is gone", async || (volumes().await == 1).then_some(())).await;
    // It may be asked for more than once, and is that of the pod that went.
    assert!(removed.0.lock().unwrap().iter().all(|(_, path)| path.ends_with("_default_data-db-1")));
}

#[tokio::test(start_paused = true)]
async fn a_pod_goes_where_its_volume_is_and_waits_for_what_is_not_bound() {
    let (cluster, _) = local().await;
    let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]);
    let there = json!({"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}});
    volume(&cluster, "there", there).await;
    let pod = |name: &str, claim: &str| {
        let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
        let containers = json!([{"name": "main", "image": "a:1"}]);
        json!({"metadata": {"name": name}, "spec": {"containers": containers, "volumes": volumes}})
    };
    cluster.create::<Pod>(pod("a", "data")).await;
    let waits = |message: &'static str| {
        move |it: &Value| {
            it["status"]["conditions"][0]["message"].as_str().is_some_and(|told| told.starts_with(message))
        }
    };
    cluster
        .until_object::<Pod>(
            "a",
            "says what is missing",
            waits("0/2 nodes are available: persistentvolumeclaim \"data\" not found."),
        )
        .await;
    claim(&cluster, "data", "5Gi", "manual").await;
    let placed = cluster.until_object::<Pod>("a", "is placed", |it| it["spec"]["nodeName"].is_string()).await;
    assert_eq!(placed["spec"]["nodeName"], "n2");
    claim(&cluster, "none", "5Gi", "manual").await;
    cluster.create::<Pod>(pod("b", "none")).await;
    cluster
        .until_object::<Pod>(
            "b",
            "waits",
            waits("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn volumes_that_wait_are_chosen_with_the_node() {
    let (cluster, _) = local().await;
    cluster
        .create::<StorageClass>(json!({
            "metadata": {"name": "static"}, "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }))
        .await;
    for node in ["n1", "n2"] {
        let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
        let spec = json!({
            "storageClassName": "static", "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
        });
        volume(&cluster, node, spec).await;
        phase_of_volume(&cluster, node, "Available").await;
    }
    for name in ["a", "b"] {
        claim(&cluster, name, "1Gi", "static").await;
        let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": name}}]);
        let containers = json!([{"name": "main", "image": "a:1"}]);
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": containers, "volumes": volumes}});
        cluster.create::<Pod>(pod).await;
    }
    for name in ["a", "b"] {
        let pod =
            cluster.until_object::<Pod>(name, "is placed", |it| it["spec"]["nodeName"].is_string()).await;
        let claim = phase_of_claim(&cluster, name, "Bound").await;
        assert_eq!(
            claim["spec"]["volumeName"], pod["spec"]["nodeName"],
            "the volumes bear the names of their nodes"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn pods_bring_claims_along() {
    let (cluster, _) = local().await;
    let template =
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let volumes = json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]);
    let containers = json!([{"name": "main", "image": "a:1"}]);
    cluster
        .create::<Pod>(
            json!({"metadata": {"name": "a"}, "spec": {"containers": containers, "volumes": volumes}}),
        )
        .await;
    let pod = cluster.until_object::<Pod>("a", "is placed", |it| it["spec"]["nodeName"].is_string()).await;
    let claim = phase_of_claim(&cluster, "a-scratch", "Bound").await;
    assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], pod["metadata"]["uid"]);
}
