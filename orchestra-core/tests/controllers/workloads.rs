//! ReplicationControllers, ReplicaSets and Deployments.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use serde_json::{Value, json};

use crate::cluster::Cluster;

pub fn replica_set(name: &str, replicas: i32) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "nginx:1.7.9"}]},
            },
        },
    })
}

pub fn deployment(name: &str, replicas: i32) -> Value {
    let mut deployment = replica_set(name, replicas);
    deployment["spec"]["progressDeadlineSeconds"] = 600.into();
    deployment
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_replica_set_keeps_its_number_of_pods() {
    let cluster = Cluster::start().await;
    cluster.create::<ReplicaSet>(replica_set("web", 3)).await;
    let pods = cluster.until_pods("app=web", 3).await;
    assert!(
        names(&pods).iter().all(|name| name.starts_with("web-") && name.len() == 9),
        "{:?}",
        names(&pods)
    );

    let lost = pods[0].metadata.name.as_deref().unwrap();
    cluster.api::<Pod>().delete(lost).await.unwrap();
    let now = cluster.until_pods("app=web", 3).await;
    assert!(!names(&now).iter().any(|name| name == lost));

    for replicas in [5, 2] {
        cluster.api::<ReplicaSet>().scale("web", replicas).await.unwrap();
        cluster.until_pods("app=web", replicas as usize).await;
    }
    let set = cluster
        .until_object::<ReplicaSet>("web", "reports 2", |set| set["status"]["availableReplicas"] == 2)
        .await;
    assert_eq!(
        set["status"],
        json!({
            "replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
            "terminatingReplicas": 0, "observedGeneration": 3,
        })
    );
    let events = cluster.events("web").await;
    assert_eq!(events.iter().filter(|(reason, _)| reason == "SuccessfulCreate").count(), 6);
    assert_eq!(events.iter().filter(|(reason, _)| reason == "SuccessfulDelete").count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_replication_controller_adopts_and_releases() {
    let cluster = Cluster::start().await;
    let pod = json!({
        "metadata": {"name": "stray", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.7.9"}]},
    });
    cluster.create::<Pod>(pod).await;
    let mut controller = replica_set("web", 2);
    controller["spec"]["selector"] = json!({"app": "web"});
    cluster.create::<ReplicationController>(controller).await;
    let pods = cluster.until_pods("app=web", 2).await;
    assert!(names(&pods).contains(&"stray".to_owned()));
    let owned = |pod: &Pod| pod.metadata.owner_references.iter().flatten().any(|owner| owner.name == "web");
    assert!(pods.iter().all(owned));

    cluster.patch::<Pod>("stray", json!({"metadata": {"labels": {"app": "debug"}}})).await;
    cluster.until_pods("app=web", 2).await;
    let stray = cluster.api::<Pod>().get("stray").await.unwrap();
    assert!(!owned(&stray));
}

#[tokio::test(start_paused = true)]
async fn a_deployment_rolls_and_rolls_back() {
    let cluster = Cluster::start().await;
    cluster.create::<Deployment>(deployment("web", 3)).await;
    cluster.until_pods("app=web", 3).await;
    let complete = |deployment: &Value| {
        let conditions = deployment["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|condition| condition["reason"] == "NewReplicaSetAvailable")
            && deployment["status"]["updatedReplicas"] == 3
            && deployment["status"]["replicas"] == 3
            && deployment["metadata"]["generation"] == deployment["status"]["observedGeneration"]
    };
    let first = cluster.until_object::<Deployment>("web", "is complete", complete).await;
    assert_eq!(first["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");

    cluster.patch::<Deployment>("web", image("nginx:1.8")).await;
    let second = cluster.until_object::<Deployment>("web", "is complete", complete).await;
    assert_eq!(second["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "2");
    let pods = cluster.until_pods("app=web", 3).await;
    assert!(
        pods.iter().all(|pod| pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("nginx:1.8"))
    );

    cluster.patch::<Deployment>("web", image("nginx:1.7.9")).await;
    let third = cluster.until_object::<Deployment>("web", "is complete", complete).await;
    assert_eq!(third["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "3");
    let sets = cluster.api::<ReplicaSet>().list().await.unwrap();
    assert_eq!(sets.len(), 2);
    let history = |set: &ReplicaSet| {
        set.metadata.annotations.as_ref().unwrap().get("deployment.kubernetes.io/revision-history").cloned()
    };
    assert!(sets.iter().any(|set| history(set).as_deref() == Some("1")));
    let events = cluster.events("web").await;
    assert!(
        events.iter().any(|(_, message)| message.starts_with("Scaled up replica set web-")
            && message.ends_with("from 0 to 3"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_does_not_progress_times_out_and_keeps_what_works() {
    let cluster = Cluster::start().await;
    cluster.create::<Deployment>(deployment("web", 4)).await;
    cluster.until_pods("app=web", 4).await;
    cluster.breaks("broken");
    cluster.patch::<Deployment>("web", image("broken")).await;
    let stuck = cluster
        .until_object::<Deployment>("web", "times out", |deployment| {
            let conditions = deployment["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|condition| condition["reason"] == "ProgressDeadlineExceeded")
        })
        .await;
    assert_eq!(stuck["status"]["availableReplicas"], 3);
    assert_eq!(stuck["status"]["replicas"], 5);
    // It stays as it is: what works is kept, what is said of it stays said, and nothing is written again.
    let mut said = Vec::new();
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        said.push(serde_json::to_value(cluster.api::<Deployment>().get("web").await.unwrap()).unwrap());
    }
    assert_eq!(said[0], said[1]);
    for field in ["availableReplicas", "replicas", "updatedReplicas", "unavailableReplicas"] {
        assert_eq!(said[1]["status"][field], stuck["status"][field], "{field}");
    }
    assert_eq!(cluster.pods("app=web").await.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_stays_within_its_bounds_at_every_moment() {
    let cluster = Cluster::start().await;
    let mut web = deployment("web", 10);
    web["spec"]["strategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 3}});
    cluster.create::<Deployment>(web).await;
    cluster.until_pods("app=web", 10).await;
    cluster.patch::<Deployment>("web", image("nginx:1.8")).await;
    let new = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("nginx:1.8");
    cluster
        .until("all are new", async || {
            let pods = cluster.pods("app=web").await;
            let ready = pods.iter().filter(|pod| crate::cluster::is_ready(pod)).count();
            assert!(pods.len() <= 12 && ready >= 7, "{} pods, {ready} ready", pods.len());
            (pods.len() == 10 && ready == 10 && pods.iter().all(new)).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_recreates_never_has_pods_of_two_templates() {
    let cluster = Cluster::start().await;
    let mut web = deployment("web", 3);
    web["spec"]["strategy"] = json!({"type": "Recreate"});
    cluster.create::<Deployment>(web).await;
    cluster.until_pods("app=web", 3).await;
    cluster.patch::<Deployment>("web", image("nginx:1.8")).await;
    cluster
        .until("all are new", async || {
            let pods = cluster.api::<Pod>().list().await.unwrap();
            let new =
                |pod: &&Pod| pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("nginx:1.8");
            let count = pods.iter().filter(new).count();
            assert!(count == 0 || count == pods.len(), "{count} of {} are new", pods.len());
            (count == 3).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_controllers_can_be_stopped_and_started_at_run_time() {
    let cluster = Cluster::start().await;
    cluster.create::<ReplicaSet>(replica_set("web", 2)).await;
    cluster.until_pods("app=web", 2).await;
    cluster.stop_controllers().await;
    let pods = cluster.pods("app=web").await;
    cluster.api::<Pod>().delete(pods[0].metadata.name.as_deref().unwrap()).await.unwrap();
    cluster.create::<ReplicaSet>(replica_set("later", 1)).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((cluster.pods("app=web").await.len(), cluster.pods("app=later").await.len()), (1, 0));
    cluster.start_controllers();
    cluster.until_pods("app=web", 2).await;
    cluster.until_pods("app=later", 1).await;
}
