//! StatefulSets.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn stateful_set(replicas: i32, change: Value) -> Value {
    let mut spec = json!({
        "replicas": replicas,
        "serviceName": "h",
        "selector": {"matchLabels": {"app": "s"}},
        "template": {
            "metadata": {"labels": {"app": "s"}},
            "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
        },
    });
    for (field, value) in change.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({"metadata": {"name": "s"}, "spec": spec})
}

fn claims() -> Value {
    let storage = json!({"requests": {"storage": "1Gi"}});
    json!([{"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": storage}}])
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn names(pods: &[Pod]) -> Vec<&str> {
    let mut names: Vec<_> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
    names.sort_unstable();
    names
}

async fn images(cluster: &Cluster) -> Vec<String> {
    let mut pods = cluster.pods("app=s").await;
    pods.sort_by_key(|pod| pod.metadata.name.clone());
    pods.iter().filter_map(|pod| pod.spec.as_ref()?.containers[0].image.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn pods_come_and_go_in_order() {
    let cluster = Cluster::start().await;
    cluster.create::<StatefulSet>(stateful_set(3, json!({}))).await;
    let all = ["s-0", "s-1", "s-2"];
    cluster
        .until("all are there", async || {
            let pods = cluster.pods("app=s").await;
            assert_eq!(names(&pods), &all[..pods.len()]);
            (pods.len() == 3 && pods.iter().all(crate::cluster::is_ready)).then_some(())
        })
        .await;
    cluster.api::<StatefulSet>().scale("s", 1).await.unwrap();
    cluster
        .until("one is left", async || {
            let pods = cluster.pods("app=s").await;
            assert_eq!(names(&pods), &all[..pods.len()]);
            (pods.len() == 1).then_some(())
        })
        .await;
    let set =
        cluster.until_object::<StatefulSet>("s", "reports 1", |set| set["status"]["replicas"] == 1).await;
    assert_eq!((&set["status"]["readyReplicas"], &set["status"]["collisionCount"]), (&json!(1), &json!(0)));
    let events = cluster.events("s").await;
    assert_eq!(events.iter().filter(|(reason, _)| reason == "SuccessfulCreate").count(), 3);
    assert_eq!(events.iter().filter(|(reason, _)| reason == "SuccessfulDelete").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_lost_comes_again_under_its_name() {
    let cluster = Cluster::start().await;
    cluster.create::<StatefulSet>(stateful_set(2, json!({"podManagementPolicy": "Parallel"}))).await;
    let before = cluster.until_pods("app=s", 2).await;
    cluster.api::<Pod>().delete("s-0").await.unwrap();
    cluster
        .until("it is there again", async || {
            let pods = cluster.pods("app=s").await;
            let again = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some("s-0"))?;
            before.iter().all(|pod| pod.metadata.uid != again.metadata.uid).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_update_stops_at_the_partition_and_rolls_back() {
    let cluster = Cluster::start().await;
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
    cluster.create::<StatefulSet>(stateful_set(3, json!({"updateStrategy": rolling}))).await;
    cluster.until_pods("app=s", 3).await;
    cluster.patch::<StatefulSet>("s", image("nginx:2")).await;
    let expected = ["nginx:1", "nginx:1", "nginx:2"];
    cluster.until("the last is new", async || (images(&cluster).await == expected).then_some(())).await;
    // A pod below the partition that is lost comes again as it was.
    cluster.api::<Pod>().delete("s-0").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(images(&cluster).await, expected);

    let all = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}});
    cluster.patch::<StatefulSet>("s", all).await;
    cluster.until("all are new", async || (images(&cluster).await == ["nginx:2"; 3]).then_some(())).await;
    let whole = |set: &Value| {
        let status = &set["status"];
        status["currentRevision"] == status["updateRevision"] && status["readyReplicas"] == 3
    };
    cluster.until_object::<StatefulSet>("s", "is whole", whole).await;
    cluster.patch::<StatefulSet>("s", image("nginx:1")).await;
    cluster.until("all are old", async || (images(&cluster).await == ["nginx:1"; 3]).then_some(())).await;
    let revisions = cluster.api::<ControllerRevision>().list().await.unwrap();
    let mut numbers: Vec<_> = revisions.iter().map(|revision| revision.revision).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn claims_are_kept_or_go_as_the_set_says() {
    for (deletes, left) in [("Retain", &["d-s-0", "d-s-1"][..]), ("Delete", &["d-s-0"])] {
        let cluster = Cluster::start().await;
        let change = json!({
            "volumeClaimTemplates": claims(),
            "persistentVolumeClaimRetentionPolicy": {"whenScaled": deletes, "whenDeleted": "Retain"},
        });
        cluster.create::<StatefulSet>(stateful_set(2, change)).await;
        cluster.until_pods("app=s", 2).await;
        cluster.api::<StatefulSet>().scale("s", 1).await.unwrap();
        cluster.until_pods("app=s", 1).await;
        cluster
            .until("the claims are as they should be", async || {
                let claims = cluster.api::<PersistentVolumeClaim>().list().await.unwrap();
                let names: Vec<_> =
                    claims.iter().filter_map(|claim| claim.metadata.name.as_deref()).collect();
                (names == left).then_some(())
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_for_its_claim_for_ever_keeps_nobody_busy() {
    let cluster = Cluster::start().await;
    cluster.breaks("nginx:1");
    cluster.create::<StatefulSet>(stateful_set(3, json!({"volumeClaimTemplates": claims()}))).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let runs = cluster.runs("statefulset-controller");
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(names(&cluster.pods("app=s").await), ["s-0"]);
    assert!(cluster.runs("statefulset-controller") - runs < 10);
}
