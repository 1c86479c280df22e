//! Quotas that come when there is something already, and that change.

use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota, Secret};
use serde_json::{Value, json};

use crate::cluster::Cluster;

async fn until_status(cluster: &Cluster, hard: Value, used: Value) {
    let status = json!({"hard": hard, "used": used});
    let is = |quota: &Value| quota["status"] == status;
    cluster.until_object::<ResourceQuota>("q", &format!("has {status}"), is).await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_counts_what_is_there_when_it_comes_and_when_it_changes() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.create::<Secret>(json!({"metadata": {"name": name}})).await;
    }
    let hard = json!({"secrets": "3"});
    cluster.create::<ResourceQuota>(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    until_status(&cluster, hard, json!({"secrets": "2"})).await;

    cluster.create::<Secret>(json!({"metadata": {"name": "c"}})).await;
    let more: Secret = serde_json::from_value(json!({"metadata": {"name": "d"}})).unwrap();
    assert_eq!(cluster.api::<Secret>().create(&more).await.unwrap_err().code(), 403);

    // What is no longer asked for is no longer shown, and what is there counts against what is new.
    cluster.create::<ConfigMap>(json!({"metadata": {"name": "a"}})).await;
    let hard = json!({"secrets": null, "count/configmaps": "9"});
    cluster.patch::<ResourceQuota>("q", json!({"spec": {"hard": hard}})).await;
    until_status(&cluster, json!({"count/configmaps": "9"}), json!({"count/configmaps": "1"})).await;
    cluster.api::<Secret>().create(&more).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_count_that_somebody_spoilt_is_put_right() {
    let cluster = Cluster::start().await;
    let hard = json!({"secrets": "3"});
    cluster.create::<ResourceQuota>(json!({"metadata": {"name": "q"}, "spec": {"hard": hard}})).await;
    until_status(&cluster, hard.clone(), json!({"secrets": "0"})).await;
    let spoilt = orchestra_core::api::Patch::Merge(json!({"status": {"used": {"secrets": "3"}}}));
    cluster.api::<ResourceQuota>().patch_status("q", spoilt).await.unwrap();
    until_status(&cluster, hard, json!({"secrets": "0"})).await;
}
