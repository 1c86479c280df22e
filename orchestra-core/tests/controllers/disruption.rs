//! Disruption budgets, and evictions that keep to them.

use futures::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use orchestra_core::api::{Body, Operation, Status, Target, WriteOptions};
use serde_json::{Value, json};

use crate::cluster::Cluster;

async fn replica_set(cluster: &Cluster, name: &str, replicas: i32) -> Vec<Pod> {
    let template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "web"}]},
    });
    let spec =
        json!({"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template});
    cluster.create::<ReplicaSet>(json!({"metadata": {"name": name}, "spec": spec})).await;
    cluster.until_pods(&format!("app={name}"), usize::try_from(replicas).unwrap()).await
}

async fn budget(cluster: &Cluster, name: &str, app: &str, mut spec: Value) {
    spec["selector"] = json!({"matchLabels": {"app": app}});
    cluster.create::<PodDisruptionBudget>(json!({"metadata": {"name": name}, "spec": spec})).await;
}

async fn until_allowed(cluster: &Cluster, name: &str, allowed: i64) -> Value {
    let is = |budget: &Value| {
        budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
            && budget["status"]["disruptionsAllowed"] == allowed
    };
    cluster.until_object::<PodDisruptionBudget>(name, &format!("allows {allowed}"), is).await
}

async fn evict(cluster: &Cluster, pod: &str, options: WriteOptions) -> Result<(), Status> {
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
    let target = Target::of::<Pod>(Some("default")).named(pod).sub("eviction");
    let create = Operation::Create { body: Body::Value(body), options };
    cluster.client.call(target, create).await.map(drop)
}

fn names(pods: &[Pod]) -> Vec<String> {
    pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_budget_counts_its_pods_and_what_their_controller_wants() {
    let cluster = Cluster::start().await;
    replica_set(&cluster, "web", 4).await;
    for (name, spec, allowed, desired) in [
        ("least", json!({"minAvailable": 1}), 3, 1),
        ("half", json!({"minAvailable": "50%"}), 2, 2),
        ("most", json!({"maxUnavailable": 1}), 1, 3),
        ("nothing", json!({}), 0, 0),
    ] {
        budget(&cluster, name, "web", spec).await;
        let status = until_allowed(&cluster, name, allowed).await["status"].clone();
        assert_eq!(
            (&status["desiredHealthy"], &status["currentHealthy"]),
            (&json!(desired), &json!(4)),
            "{name}"
        );
    }
    // Of a share, what is wanted counts, and not what is there.
    cluster.breaks("new");
    cluster.patch::<ReplicaSet>("web", json!({"spec": {"replicas": 6, "template": {"spec": {"containers": [{"name": "c", "image": "new"}]}}}})).await;
    let status = until_allowed(&cluster, "half", 1).await["status"].clone();
    assert_eq!((&status["expectedPods"], &status["desiredHealthy"]), (&json!(6), &json!(3)));
}

#[tokio::test(start_paused = true)]
async fn an_eviction_beyond_the_budget_is_refused_until_others_have_come() {
    let cluster = Cluster::start().await;
    let pods = names(&replica_set(&cluster, "web", 3).await);
    budget(&cluster, "b", "web", json!({"minAvailable": 2})).await;
    until_allowed(&cluster, "b", 1).await;
    cluster.stop_controllers().await;

    // A rehearsal takes nothing.
    let rehearsal = WriteOptions { dry_run: true, ..WriteOptions::default() };
    evict(&cluster, &pods[0], rehearsal).await.unwrap();
    evict(&cluster, &pods[0], WriteOptions::default()).await.unwrap();
    let refused = evict(&cluster, &pods[1], WriteOptions::default()).await.unwrap_err();
    assert_eq!(refused.code(), 429);
    assert_eq!(refused.message(), "Cannot evict pod as it would violate the pod's disruption budget.");
    let details = serde_json::to_value(refused.to_object()).unwrap()["details"].clone();
    assert_eq!(
        details,
        json!({"causes": [{
            "reason": "DisruptionBudget",
            "message": "The disruption budget b needs 2 healthy pods and has 3 currently",
        }]})
    );
    cluster.start_controllers();
    // The ReplicaSet makes another, and once that serves, one more may go.
    cluster.until_pods("app=web", 3).await;
    until_allowed(&cluster, "b", 1).await;
    evict(&cluster, &pods[1], WriteOptions::default()).await.unwrap();
}

/// Never do more go than may, however many ask at once.
#[tokio::test(start_paused = true)]
async fn racing_evictions_never_exceed_a_budget() {
    let cluster = Cluster::start().await;
    let pods = names(&replica_set(&cluster, "web", 20).await);
    budget(&cluster, "b", "web", json!({"minAvailable": 15})).await;
    until_allowed(&cluster, "b", 5).await;
    cluster.stop_controllers().await;
    let all = join_all(pods.iter().map(|pod| evict(&cluster, pod, WriteOptions::default()))).await;
    assert_eq!(all.iter().filter(|outcome| outcome.is_ok()).count(), 5);
    assert!(all.iter().flat_map(|outcome| outcome.as_ref().err()).all(|status| status.code() == 429));
    let status = until_allowed(&cluster, "b", 0).await["status"].clone();
    assert_eq!(status["disruptedPods"].as_object().map(|pods| pods.len()), Some(5));
    assert_eq!(status["conditions"][0]["reason"], "InsufficientPods");
}

#[tokio::test(start_paused = true)]
async fn what_serves_nobody_may_go_and_two_budgets_are_too_many() {
    let cluster = Cluster::start().await;
    cluster.breaks("broken");
    budget(&cluster, "b", "lone", json!({"minAvailable": 1})).await;
    let pod = |name: &str, image: &str| json!({"metadata": {"name": name, "labels": {"app": "lone"}}, "spec": {"containers": [{"name": "c", "image": image}]}});
    cluster.create::<Pod>(pod("good", "web")).await;
    cluster.until_pods("app=lone", 1).await;
    cluster.create::<Pod>(pod("bad", "broken")).await;
    let counted = |budget: &Value| budget["status"]["expectedPods"] == 2;
    cluster.until_object::<PodDisruptionBudget>("b", "counts both", counted).await;
    assert_eq!(evict(&cluster, "good", WriteOptions::default()).await.unwrap_err().code(), 429);
    evict(&cluster, "bad", WriteOptions::default()).await.unwrap();

    budget(&cluster, "c", "lone", json!({"minAvailable": 1})).await;
    let refused = evict(&cluster, "good", WriteOptions::default()).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            500,
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    );
}
