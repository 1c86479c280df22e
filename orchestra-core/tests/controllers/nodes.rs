//! Nodes that fail and come back, and their pods.

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use orchestra_core::api::Patch;
use serde_json::{Value, json};

use crate::cluster::{Cluster, is_ready};
use crate::workloads::replica_set;

fn ready(node: &Value) -> &str {
    let conditions = node["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == "Ready").unwrap()["status"].as_str().unwrap()
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().node_name.as_deref().unwrap()
}

async fn until_ready(cluster: &Cluster, name: &str, status: &str) -> Value {
    cluster
        .until(&format!("{name} is {status}"), async || {
            let node =
                serde_json::to_value(cluster.client.cluster::<Node>().get(name).await.unwrap()).unwrap();
            (ready(&node) == status).then_some(node)
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_dead_node_come_back_elsewhere_and_the_node_rejoins() {
    let cluster = Cluster::start().await;
    for node in ["n1", "n2", "n3"] {
        cluster.node(node).await;
    }
    cluster.create::<ReplicaSet>(replica_set("web", 6)).await;
    cluster.until_pods("app=web", 6).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(cluster.pods("app=web").await.iter().all(is_ready), "a node that is heard of is left alone");

    let of_n1 = |pods: Vec<Pod>| pods.into_iter().filter(|pod| node_of(pod) == "n1").collect::<Vec<_>>();
    let there = of_n1(cluster.pods("app=web").await).len();
    assert!(there > 0);
    let died = tokio::time::Instant::now();
    cluster.kill("n1");
    let node = until_ready(&cluster, "n1", "Unknown").await;
    let silent = died.elapsed().as_secs();
    assert!((30..=51).contains(&silent), "{silent} s");
    let condition =
        node["status"]["conditions"].as_array().unwrap().iter().find(|held| held["type"] == "Ready").unwrap();
    assert_eq!(condition["reason"], "NodeStatusUnknown");
    assert_eq!(condition["message"], "Kubelet stopped posting node status.");
    let of_n1 = |pods: Vec<Pod>| pods.into_iter().filter(|pod| node_of(pod) == "n1").collect::<Vec<_>>();
    cluster
        .until("its pods are not ready", async || {
            of_n1(cluster.pods("app=web").await).iter().all(|pod| !is_ready(pod)).then_some(())
        })
        .await;
    assert_eq!(of_n1(cluster.pods("app=web").await).len(), there);

    let pods = cluster.until_pods("app=web", 6).await;
    assert!(pods.iter().all(|pod| node_of(pod) != "n1"));
    let moved = died.elapsed().as_secs();
    assert!((330..=360).contains(&moved), "pods tolerate 300 s: {moved} s");

    cluster.revive("n1").await;
    cluster
        .until("no taints", async || {
            let node = cluster.client.cluster::<Node>().get("n1").await.unwrap();
            node.spec.and_then(|spec| spec.taints).unwrap_or_default().is_empty().then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_node_that_is_no_more_are_removed() {
    let cluster = Cluster::start().await;
    cluster.node("n1").await;
    cluster.create::<ReplicaSet>(replica_set("web", 2)).await;
    let before = cluster.until_pods("app=web", 2).await;
    cluster.node("n2").await;
    cluster.kill("n1");
    cluster.client.cluster::<Node>().delete("n1").await.unwrap();
    let after = cluster.until_pods("app=web", 2).await;
    assert_eq!(after.len(), before.len());
    cluster
        .until("all on n2", async || {
            let pods = cluster.api::<Pod>().list().await.unwrap();
            (pods.len() == 2 && pods.iter().all(|pod| node_of(pod) == "n2" && is_ready(pod))).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn when_every_node_fails_nothing_is_driven_away() {
    let cluster = Cluster::start().await;
    cluster.node("n1").await;
    cluster.create::<ReplicaSet>(replica_set("web", 2)).await;
    cluster.until_pods("app=web", 2).await;
    cluster.kill("n1");
    until_ready(&cluster, "n1", "Unknown").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(cluster.pods("app=web").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn nodes_of_a_zone_are_given_up_one_after_the_other() {
    let cluster = Cluster::start().await;
    let names = ["n1", "n2", "n3", "n4", "n5"];
    for name in names {
        cluster.node(name).await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let given_up = async || {
        let nodes = cluster.client.cluster::<Node>().list().await.unwrap();
        let taints = nodes.into_iter().filter_map(|node| node.spec?.taints);
        taints.filter(|taints| taints.iter().any(|taint| taint.effect == "NoExecute")).count()
    };
    cluster.kill("n1");
    cluster.kill("n2");
    cluster.until("one is given up", async || (given_up().await == 1).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(given_up().await, 1, "the next only after a pause");
    cluster.until("the other is, too", async || (given_up().await == 2).then_some(())).await;
    // Three of five are too many to be the nodes' own fault: the third is not given up, the others stay so.
    cluster.kill("n3");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(given_up().await, 2);
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_node_that_is_out_of_service_go_when_nobody_there_lets_them_go() {
    let cluster = Cluster::start().await;
    for node in ["n1", "n2"] {
        cluster.node(node).await;
    }
    cluster.create::<ReplicaSet>(replica_set("web", 4)).await;
    let before = cluster.until_pods("app=web", 4).await;
    cluster.kill("n1");
    until_ready(&cluster, "n1", "Unknown").await;
    let there = before.iter().filter(|pod| node_of(pod) == "n1").count();
    let leaving = async || {
        let pods = cluster.api::<Pod>().list().await.unwrap();
        pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()).count()
    };
    cluster.until("its pods are to go", async || (leaving().await == there).then_some(())).await;
    // Nobody is there to say that they have ended.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(leaving().await, there);
    let taints =
        json!([{"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}]);
    let node = cluster.client.cluster::<Node>().get("n1").await.unwrap();
    let held = json!(node.spec.unwrap().taints.unwrap());
    let all: Vec<_> = held.as_array().unwrap().iter().chain(taints.as_array().unwrap()).cloned().collect();
    let nodes = cluster.client.cluster::<Node>();
    nodes.patch("n1", Patch::Merge(json!({"spec": {"taints": all}}))).await.unwrap();
    cluster.until("they are gone", async || (leaving().await == 0).then_some(())).await;
    assert_eq!(cluster.pods("app=web").await.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_taken_back_when_every_node_fails() {
    let cluster = Cluster::start().await;
    for name in ["n1", "n2", "n3"] {
        cluster.node(name).await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let given_up = async || {
        let nodes = cluster.client.cluster::<Node>().list().await.unwrap();
        let taints = nodes.into_iter().filter_map(|node| node.spec?.taints);
        taints.filter(|taints| taints.iter().any(|taint| taint.effect == "NoExecute")).count()
    };
    cluster.kill("n1");
    cluster.until("it is given up", async || (given_up().await == 1).then_some(())).await;
    cluster.kill("n2");
    cluster.kill("n3");
    for name in ["n2", "n3"] {
        until_ready(&cluster, name, "Unknown").await;
    }
    let failed = tokio::time::Instant::now();
    cluster.until("none is", async || (given_up().await == 0).then_some(())).await;
    assert!(failed.elapsed() <= Duration::from_secs(10), "{:?}", failed.elapsed());
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(given_up().await, 0);
    cluster.revive("n3").await;
    cluster.until("the others are, again", async || (given_up().await == 2).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_excluded_says_nothing_of_the_others() {
    let cluster = Cluster::start().await;
    for name in ["n1", "n2"] {
        cluster.node(name).await;
    }
    let label = json!({"metadata": {"labels": {"node.kubernetes.io/exclude-disruption": ""}}});
    cluster.client.cluster::<Node>().patch("n2", Patch::Merge(label)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    cluster.kill("n1");
    until_ready(&cluster, "n1", "Unknown").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let node = cluster.client.cluster::<Node>().get("n1").await.unwrap();
    let taints = node.spec.unwrap().taints.unwrap();
    assert!(taints.iter().all(|taint| taint.effect != "NoExecute"), "all that count fail: {taints:?}");
}
