use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use orchestra_core::api::{Client, Status};
use orchestra_core::controllers::Config;
use orchestra_core::controllers::autoscaler::{ContainerUsage, MetricsSource, PodUsage};
use orchestra_core::quantity::{Format, Quantity};
use orchestra_core::selector::Selector;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Every pod uses the same, which a test says.
#[derive(Debug, Default)]
struct Figures {
    client: Mutex<Option<Client>>,
    /// In thousandths of a processor; `None`: nothing can be measured.
    each: Mutex<Option<i64>>,
}

#[async_trait]
impl MetricsSource for Figures {
    async fn pods(&self, namespace: &str, selector: &Selector) -> Result<Vec<PodUsage>, Status> {
        let Some(milli) = *self.each.lock().unwrap() else { return Err(Status::no_such_resource()) };
        let client = self.client.lock().unwrap().clone().unwrap();
        let options =
            orchestra_core::api::ListOptions { labels: Some(selector.clone()), ..Default::default() };
        let pods = client.api::<k8s_openapi::api::core::v1::Pod>(namespace).list_with(options).await?;
        let now = client.clock().now();
        let usage = |name| PodUsage {
            name,
            timestamp: now,
            window: Duration::from_secs(15),
            containers: vec![ContainerUsage {
                name: "main".into(),
                usage: BTreeMap::from([("cpu".into(), Quantity::from_milli(milli, Format::DecimalSi))]),
            }],
        };
        Ok(pods.items.into_iter().map(|pod| usage(pod.metadata.name.unwrap())).collect())
    }
}

async fn start() -> (Cluster, Arc<Figures>) {
    let figures = Arc::new(Figures::default());
    let config =
        Config { figures: Some(Arc::clone(&figures) as Arc<dyn MetricsSource>), ..Config::default() };
    let cluster = Cluster::with(config).await;
    *figures.client.lock().unwrap() = Some(cluster.client.clone());
    (cluster, figures)
}

async fn deployment(cluster: &Cluster, replicas: i32) {
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "web:1", "resources": {"requests": {"memory": "1Mi"}}}]},
    });
    let spec =
        json!({"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    cluster.create::<Deployment>(json!({"metadata": {"name": "web"}, "spec": spec})).await;
    cluster.until_pods("app=web", usize::try_from(replicas).unwrap()).await;
}

async fn autoscaler(cluster: &Cluster, name: &str, change: Value) {
    let mut spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 2, "maxReplicas": 6,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "100m"}}}],
    });
    for (key, value) in change.as_object().unwrap() {
        spec[key] = value.clone();
    }
    cluster.create::<HorizontalPodAutoscaler>(json!({"metadata": {"name": name}, "spec": spec})).await;
}

fn condition<'v>(object: &'v Value, kind: &str) -> &'v Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|it| it["type"] == kind).unwrap_or(&Value::Null)
}

#[tokio::test(start_paused = true)]
async fn pods_come_with_their_use_and_go_some_time_after_it() {
    let (cluster, figures) = start().await;
    deployment(&cluster, 2).await;
    *figures.each.lock().unwrap() = Some(200);
    autoscaler(&cluster, "a", json!({})).await;
    cluster.until_pods("app=web", 4).await;
    cluster.until_pods("app=web", 6).await;
    let scaled = cluster
        .until_object::<HorizontalPodAutoscaler>("a", "is at its bound", |it| {
            condition(it, "ScalingLimited")["reason"] == "TooManyReplicas"
        })
        .await;
    assert_eq!(scaled["status"]["currentMetrics"][0]["resource"]["current"]["averageValue"], "200m");
    *figures.each.lock().unwrap() = Some(10);
    // Only after the window of five minutes.
    tokio::time::sleep(Duration::from_secs(280)).await;
    assert_eq!(cluster.pods("app=web").await.len(), 6);
    cluster.until_pods("app=web", 2).await;
    let events = cluster.events("a").await;
    let told =
        |text: &str| events.iter().any(|(reason, message)| reason == "SuccessfulRescale" && message == text);
    assert!(told("New size: 4; reason: cpu resource above target"), "{events:?}");
    assert!(told("New size: 2; reason: All metrics below target"), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_measured_changes_nothing() {
    let (cluster, figures) = start().await;
    deployment(&cluster, 3).await;
    autoscaler(&cluster, "a", json!({})).await;
    let blind = cluster
        .until_object::<HorizontalPodAutoscaler>("a", "tells that it sees nothing", |it| {
            condition(it, "ScalingActive")["reason"] == "FailedGetResourceMetric"
        })
        .await;
    assert_eq!(
        condition(&blind, "ScalingActive")["message"],
        "the HPA was unable to compute the replica count: failed to get cpu usage: unable to get metrics for resource cpu: \
         unable to fetch metrics from resource metrics API: the server could not find the requested resource (get \
         pods.metrics.k8s.io)"
    );
    tokio::time::sleep(Duration::from_secs(900)).await;
    cluster.until_pods("app=web", 3).await;
    // It looks every quarter of a minute, and what it writes of itself makes it look no sooner.
    let runs = cluster.runs("horizontal-pod-autoscaler");
    assert!((55..70).contains(&runs), "{runs}");
    *figures.each.lock().unwrap() = Some(200);
    cluster.until_pods("app=web", 6).await;
}

#[tokio::test(start_paused = true)]
async fn bounds_hold_whatever_is_measured_and_zero_means_off() {
    let (cluster, _figures) = start().await;
    deployment(&cluster, 9).await;
    autoscaler(&cluster, "a", json!({})).await;
    cluster.until_pods("app=web", 6).await;
    cluster.patch::<Deployment>("web", json!({"spec": {"replicas": 1}})).await;
    cluster.until_pods("app=web", 2).await;
    cluster.patch::<Deployment>("web", json!({"spec": {"replicas": 0}})).await;
    cluster
        .until_object::<HorizontalPodAutoscaler>("a", "is off", |it| {
            condition(it, "ScalingActive")["reason"] == "ScalingDisabled"
        })
        .await;
    assert_eq!(cluster.until_pods("app=web", 0).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_target_has_one_autoscaler_and_no_target_none() {
    let (cluster, figures) = start().await;
    *figures.each.lock().unwrap() = Some(100);
    deployment(&cluster, 3).await;
    let target = |kind: &str, version: &str, name: &str| json!({"scaleTargetRef": {"apiVersion": version, "kind": kind, "name": name}});
    autoscaler(&cluster, "a", json!({})).await;
    autoscaler(&cluster, "b", json!({})).await;
    autoscaler(&cluster, "c", target("Deployment", "apps/v1", "none")).await;
    autoscaler(&cluster, "d", target("Thing", "x.example/v1", "none")).await;
    for (name, kind, message) in [
        (
            "a",
            "ScalingActive",
            "pods by selector app=web are controlled by multiple HPAs: [{a default} {b default}]",
        ),
        (
            "b",
            "ScalingActive",
            "pods by selector app=web are controlled by multiple HPAs: [{a default} {b default}]",
        ),
        (
            "c",
            "AbleToScale",
            "the HPA controller was unable to get the target's current scale: deployments.apps \"none\" not found",
        ),
        (
            "d",
            "AbleToScale",
            "the HPA controller was unable to get the target's current scale: no matches for kind \"Thing\" in group \
             \"x.example\"",
        ),
    ] {
        cluster
            .until_object::<HorizontalPodAutoscaler>(name, message, |it| {
                condition(it, kind)["message"] == message
            })
            .await;
    }
}
