//! Addresses of Services of type LoadBalancer, out of a pool.

use k8s_openapi::api::core::v1::{Event, Service};
use orchestra_core::api::Patch;
use orchestra_core::controllers::Config;
use serde_json::{Value, json};

use crate::cluster::Cluster;

async fn with_pool(ranges: &[&str]) -> Cluster {
    let ranges: Vec<_> = ranges.iter().map(|text| text.parse().unwrap()).collect();
    Cluster::with(Config { load_balancers: ranges.into(), ..Config::default() }).await
}

async fn balanced(cluster: &Cluster, name: &str, spec: Value) {
    let mut object =
        json!({"metadata": {"name": name}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    spec.as_object().unwrap().iter().for_each(|(key, value)| object["spec"][key] = value.clone());
    cluster.create::<Service>(object).await;
}

/// Waits until a Service shows this address, or none.
async fn shows(cluster: &Cluster, name: &str, address: Option<&str>) -> Value {
    let wanted = address.map_or(Value::Null, |ip| json!([{"ip": ip, "ipMode": "VIP"}]));
    let so = |service: &Value| service["status"]["loadBalancer"]["ingress"] == wanted;
    cluster.until_object::<Service>(name, "shows its balancer", so).await
}

async fn told(cluster: &Cluster, name: &str, reason: &str) -> String {
    let event = cluster.until("an event", async || {
        let all = cluster.api::<Event>().list().await.unwrap();
        all.iter()
            .find(|event| {
                event.involved_object.name.as_deref() == Some(name) && event.reason.as_deref() == Some(reason)
            })
            .and_then(|event| event.message.clone())
    });
    event.await
}

#[tokio::test(start_paused = true)]
async fn each_has_one_of_its_own_until_it_is_none_any_more() {
    let cluster = with_pool(&["192.0.2.240-192.0.2.241"]).await;
    balanced(&cluster, "asks", json!({"loadBalancerIP": "192.0.2.240"})).await;
    shows(&cluster, "asks", Some("192.0.2.240")).await;
    balanced(&cluster, "any", json!({})).await;
    let held = shows(&cluster, "any", Some("192.0.2.241")).await;
    assert_eq!(held["status"]["conditions"][0]["type"], "orchestra.io/LoadBalancerAddress");
    assert_eq!(told(&cluster, "any", "EnsuredLoadBalancer").await, "Ensured load balancer at 192.0.2.241");

    balanced(&cluster, "waits", json!({})).await;
    let why = told(&cluster, "waits", "SyncLoadBalancerFailed").await;
    assert_eq!(why, "Error syncing load balancer: no IPv4 address of 192.0.2.240-192.0.2.241 is free");
    // Somebody else's, by its class.
    balanced(&cluster, "foreign", json!({"loadBalancerClass": "example.com/cloud"})).await;
    // One that is none any more gives up its address, and keeps what others wrote of it.
    let plain = json!({"spec": {"type": "ClusterIP"}});
    cluster.api::<Service>().patch("asks", Patch::Merge(plain)).await.unwrap();
    shows(&cluster, "waits", Some("192.0.2.240")).await;
    let held = shows(&cluster, "asks", None).await;
    assert_eq!(held["status"]["conditions"].as_array().map_or(0, Vec::len), 0, "{held}");
    shows(&cluster, "foreign", None).await;

    cluster.api::<Service>().delete("any").await.unwrap();
    balanced(&cluster, "next", json!({"loadBalancerClass": "orchestra.io/load-balancer"})).await;
    shows(&cluster, "next", Some("192.0.2.241")).await;
}

#[tokio::test(start_paused = true)]
async fn an_annotation_asks_too_and_may_change() {
    let cluster = with_pool(&["192.0.2.240/31", "2001:db8::/64"]).await;
    balanced(&cluster, "web", json!({})).await;
    shows(&cluster, "web", Some("192.0.2.240")).await;
    for (asks, shown) in
        [("192.0.2.241", Some("192.0.2.241")), ("2001:db8::7", Some("2001:db8::7")), ("192.0.2.9", None)]
    {
        let asks = json!({"metadata": {"annotations": {"orchestra.io/load-balancer-ips": asks}}});
        cluster.api::<Service>().patch("web", Patch::Merge(asks)).await.unwrap();
        shows(&cluster, "web", shown).await;
    }
    let why = told(&cluster, "web", "SyncLoadBalancerFailed").await;
    assert!(
        why.contains("192.0.2.9, which it asks for, is not among the addresses 192.0.2.240-192.0.2.241"),
        "{why}"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_pool_it_is_others_who_say() {
    let cluster = Cluster::start().await;
    balanced(&cluster, "web", json!({})).await;
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
    cluster.api::<Service>().patch_status("web", Patch::Merge(status)).await.unwrap();
    let looked = json!({"metadata": {"labels": {"changed": "again"}}});
    cluster.api::<Service>().patch("web", Patch::Merge(looked)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    shows(&cluster, "web", Some("203.0.113.1")).await;
}
