//! What LimitRanges and ResourceQuotas let pass.

use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Pod, ResourceQuota};
use orchestra_core::api::{Patch, WriteOptions};
use orchestra_core::testing::TestServer;
use serde_json::{Value, json};

use super::{config_map, server};

/// A quota that has been counted, as its controller does.
async fn quota(server: &TestServer, hard: Value, used: Value) {
    let quotas = server.api::<ResourceQuota>();
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    quotas.create(&serde_json::from_value(quota).unwrap()).await.unwrap();
    let status = json!({"status": {"hard": hard, "used": used}});
    quotas.patch_status("q", Patch::Merge(status)).await.unwrap();
}

async fn used(server: &TestServer) -> Value {
    let quota = server.api::<ResourceQuota>().get("q").await.unwrap();
    json!(quota.status.unwrap().used.unwrap())
}

fn pod(name: &str, resources: Value) -> Pod {
    let containers = json!([{"name": "c", "image": "nginx", "resources": resources}]);
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"containers": containers}})).unwrap()
}

#[tokio::test(start_paused = true)]
async fn racing_writers_never_exceed_a_quota_and_what_goes_gives_back() {
    let server = server().await;
    quota(&server, json!({"configmaps": "50"}), json!({"configmaps": "0"})).await;
    let maps = server.api::<ConfigMap>();
    let writers = (0..80).map(|index| {
        let maps = maps.clone();
        async move { maps.create(&config_map(&format!("m{index}"), "1")).await }
    });
    let outcomes = futures::future::join_all(writers).await;
    let (made, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), used(&server).await), (50, json!({"configmaps": "50"})));
    for status in refused.into_iter().map(Result::unwrap_err) {
        assert_eq!(status.code(), 403);
        let why = "exceeded quota: q, requested: configmaps=1, used: configmaps=50, limited: configmaps=50";
        assert!(status.message().ends_with(why), "{status}");
    }
    for map in &made[..2] {
        maps.delete(map.as_ref().unwrap().metadata.name.as_deref().unwrap()).await.unwrap();
    }
    assert_eq!(used(&server).await, json!({"configmaps": "48"}));
}

#[tokio::test(start_paused = true)]
async fn a_first_count_that_leaves_out_a_write_is_too_late() {
    let server = server().await;
    let (quotas, maps) = (server.api::<ResourceQuota>(), server.api::<ConfigMap>());
    let hard = json!({"hard": {"configmaps": "1"}});
    let quota = json!({"metadata": {"name": "q"}, "spec": hard});
    let first = quotas.create(&serde_json::from_value(quota).unwrap()).await.unwrap();
    let counted = |quota: &ResourceQuota| {
        json!({
            "metadata": {"resourceVersion": quota.metadata.resource_version},
            "status": {"hard": {"configmaps": "1"}, "used": {"configmaps": "0"}},
        })
    };
    // What it does not count changes nothing in it.
    server.api::<Pod>().create(&pod("a", json!({}))).await.unwrap();
    assert_eq!(quotas.get("q").await.unwrap(), first);
    maps.create(&config_map("a", "1")).await.unwrap();
    let late = quotas.patch_status("q", Patch::Merge(counted(&first))).await.unwrap_err();
    assert!(late.is_conflict(), "{late}");
    maps.delete("a").await.unwrap();
    let now = quotas.get("q").await.unwrap();
    quotas.patch_status("q", Patch::Merge(counted(&now))).await.unwrap();
    maps.create(&config_map("b", "1")).await.unwrap();
    assert_eq!(used(&server).await, json!({"configmaps": "1"}));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_not_made_is_not_counted() {
    let server = server().await;
    quota(&server, json!({"configmaps": "1"}), json!({"configmaps": "0"})).await;
    let maps = server.api::<ConfigMap>();
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    maps.create_with(&config_map("a", "1"), dry).await.unwrap();
    assert_eq!(used(&server).await, json!({"configmaps": "0"}));
    maps.create(&config_map("a", "1")).await.unwrap();
    assert!(maps.create(&config_map("a", "1")).await.is_err());
    assert_eq!(used(&server).await, json!({"configmaps": "1"}));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_has_ended_uses_nothing() {
    let server = server().await;
    let nothing = json!({"pods": "0", "requests.cpu": "0"});
    quota(&server, json!({"pods": "1", "requests.cpu": "1"}), nothing.clone()).await;
    let pods = server.api::<Pod>();
    let refused = pods.create(&pod("a", json!({}))).await.unwrap_err();
    assert!(refused.message().ends_with("failed quota: q: must specify requests.cpu for: c"), "{refused}");
    let cpu = json!({"requests": {"cpu": "600m"}});
    pods.create(&pod("a", cpu.clone())).await.unwrap();
    assert_eq!(used(&server).await, json!({"pods": "1", "requests.cpu": "600m"}));
    let refused = pods.create(&pod("b", cpu.clone())).await.unwrap_err();
    let why = "exceeded quota: q, requested: pods=1,requests.cpu=600m, used: pods=1,requests.cpu=600m, limited: \
               pods=1,requests.cpu=1";
    assert!(refused.message().ends_with(why), "{refused}");
    pods.patch_status("a", Patch::Merge(json!({"status": {"phase": "Succeeded"}}))).await.unwrap();
    assert_eq!(used(&server).await, nothing);
    pods.create(&pod("b", cpu)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_limit_range_gives_what_is_missing_and_refuses_what_is_out_of_it() {
    let server = server().await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "2"}}]}});
    server.api::<LimitRange>().create(&serde_json::from_value(range).unwrap()).await.unwrap();
    let pods = server.api::<Pod>();
    let made = pods.create(&pod("a", json!({}))).await.unwrap();
    let resources = made.spec.unwrap().containers[0].resources.clone().unwrap();
    assert_eq!(json!(resources), json!({"limits": {"cpu": "1"}, "requests": {"cpu": "100m"}}));
    let note = "LimitRanger plugin set: cpu request for container c; cpu limit for container c";
    assert_eq!(made.metadata.annotations.unwrap()["kubernetes.io/limit-ranger"], note);
    let refused = pods.create(&pod("b", json!({"limits": {"cpu": "3"}}))).await.unwrap_err();
    assert_eq!(refused.code(), 403);
    assert!(refused.message().ends_with("maximum cpu usage per Container is 2, but limit is 3"), "{refused}");
}
