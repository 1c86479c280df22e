//! DaemonSets.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use orchestra_core::api::Patch;
use serde_json::{Value, json};

use crate::cluster::{Cluster, is_ready};

fn daemon_set(strategy: &Value) -> Value {
    json!({
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "updateStrategy": strategy,
            "template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {
                    "nodeSelector": {"disk": "ssd"},
                    "containers": [{"name": "c", "image": "nginx:1"}],
                },
            },
        },
    })
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

async fn label(cluster: &Cluster, node: &str, disk: &str) {
    let patch = Patch::Merge(json!({"metadata": {"labels": {"disk": disk}}}));
    cluster.client.cluster::<Node>().patch(node, patch).await.unwrap();
}

async fn cluster_of(nodes: &[&str]) -> Cluster {
    let cluster = Cluster::start().await;
    for node in nodes {
        cluster.node(node).await;
        label(&cluster, node, "ssd").await;
    }
    cluster
}

fn nodes(pods: &[Pod]) -> Vec<String> {
    let mut nodes: Vec<_> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    nodes.sort();
    nodes
}

fn has_image(pod: &Pod, image: &str) -> bool {
    pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image)
}

async fn revisions(cluster: &Cluster) -> Vec<i64> {
    let mut numbers: Vec<_> =
        cluster.api::<ControllerRevision>().list().await.unwrap().iter().map(|it| it.revision).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test(start_paused = true)]
async fn each_node_that_suits_has_a_daemon() {
    let cluster = cluster_of(&["a", "b"]).await;
    cluster.create::<DaemonSet>(daemon_set(&json!({"type": "RollingUpdate"}))).await;
    assert_eq!(nodes(&cluster.until_pods("app=d", 2).await), ["a", "b"]);
    cluster.node("c").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.pods("app=d").await.len(), 2);
    label(&cluster, "c", "ssd").await;
    assert_eq!(nodes(&cluster.until_pods("app=d", 3).await), ["a", "b", "c"]);
    label(&cluster, "b", "hdd").await;
    assert_eq!(nodes(&cluster.until_pods("app=d", 2).await), ["a", "c"]);
    let settled = |set: &Value| {
        let status = &set["status"];
        status["numberAvailable"] == 2 && status["numberMisscheduled"] == 0
    };
    let set = cluster.until_object::<DaemonSet>("d", "reports 2", settled).await;
    let expected = json!({
        "currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberAvailable": 2, "numberMisscheduled": 0,
        "numberReady": 2, "observedGeneration": 1, "updatedNumberScheduled": 2,
    });
    assert_eq!(set["status"], expected);
    // A node that only says that it is alive leads to no run.
    let runs = cluster.runs("daemonset-controller");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(cluster.runs("daemonset-controller") - runs < 10);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_fails_is_replaced_ever_more_slowly() {
    let cluster = cluster_of(&["a"]).await;
    cluster.ends("nginx:1", 1);
    cluster.create::<DaemonSet>(daemon_set(&json!({"type": "RollingUpdate"}))).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let events = cluster.events("d").await;
    assert!(events.iter().any(|(reason, _)| reason == "FailedDaemonPod"), "{events:?}");
    assert!(cluster.runs("daemonset-controller") < 200);
}

#[tokio::test(start_paused = true)]
async fn an_update_rolls_over_the_nodes_and_back() {
    let cluster = cluster_of(&["a", "b", "c", "d"]).await;
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}});
    cluster.create::<DaemonSet>(daemon_set(&rolling)).await;
    cluster.until_pods("app=d", 4).await;
    for (to, numbers) in [("nginx:2", [1, 2]), ("nginx:1", [2, 3])] {
        cluster.patch::<DaemonSet>("d", image(to)).await;
        cluster
            .until("all are new", async || {
                let pods = cluster.pods("app=d").await;
                let ready = pods.iter().filter(|pod| is_ready(pod)).count();
                assert!(pods.len() <= 4 && ready >= 2, "{ready} are ready");
                (ready == 4 && pods.iter().all(|pod| has_image(pod, to))).then_some(())
            })
            .await;
        assert_eq!(revisions(&cluster).await, numbers);
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_with_surge_leaves_no_node_without() {
    let cluster = cluster_of(&["a", "b", "c"]).await;
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}});
    cluster.create::<DaemonSet>(daemon_set(&rolling)).await;
    cluster.until_pods("app=d", 3).await;
    cluster.patch::<DaemonSet>("d", image("nginx:2")).await;
    cluster
        .until("all are new", async || {
            let pods = cluster.pods("app=d").await;
            let mut served = nodes(&pods.iter().filter(|pod| is_ready(pod)).cloned().collect::<Vec<_>>());
            served.dedup();
            assert!(pods.len() <= 4 && served.len() == 3, "{} pods on {served:?}", pods.len());
            (pods.len() == 3 && pods.iter().all(|pod| has_image(pod, "nginx:2"))).then_some(())
        })
        .await;
}
