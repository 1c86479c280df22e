//! APIs that others serve.

#[path = "support/peer.rs"]
mod peer;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use orchestra_core::cluster::Cluster;
use orchestra_core::controllers::autoscaler::{Metric, MetricsSource as _};
use orchestra_core::selector::Selector;
use orchestra_core::testing::until;
use orchestra_http::{AggregatedMetrics, Aggregation, Authority};
use peer::Peer;
use serde_json::{Value, json};
use support::{SOMEONE, Served};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const THINGS: &str = "/apis/things.example.org/v1/namespaces/default/things";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// An API server of one kind, which fails when it is told to.
async fn things(fails: &Arc<AtomicBool>) -> Peer {
    let fails = Arc::clone(fails);
    Peer::start(move |path, _| match path {
        _ if fails.load(Ordering::Relaxed) => (500, String::new()),
        "/apis/things.example.org/v1" => {
            let kind = json!({ "name": "things", "kind": "Thing", "namespaced": true, "singularName": "thing", "verbs": ["list"] });
            let list = json!({ "kind": "APIResourceList", "groupVersion": "things.example.org/v1", "resources": [kind] });
            (200, list.to_string())
        }
        "/openapi/v3/apis/things.example.org/v1" => (200, json!({ "openapi": "3.0.0" }).to_string()),
        THINGS => (200, json!({ "kind": "ThingList", "items": [] }).to_string()),
        _ => (404, String::new()),
    })
    .await
}

async fn register(served: &Served, peer: &Peer) {
    register_as(served, peer, "things.example.org", "v1").await;
}

/// Has a version of a group be served by the peer.
async fn register_as(served: &Served, peer: &Peer, group: &str, version: &str) {
    let port: u16 = peer.url.rsplit(':').next().unwrap().parse().unwrap();
    let service = json!({
        "metadata": { "name": "things" },
        "spec": { "type": "ExternalName", "externalName": "localhost" },
    });
    let api = json!({
        "metadata": { "name": format!("{version}.{group}") },
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 10,
            "caBundle": BASE64_STANDARD.encode(&peer.authority),
            "service": { "namespace": "default", "name": "things", "port": port },
        },
    });
    for (path, object) in [("/api/v1/namespaces/default/services", service), (SERVICES, api)] {
        let made = served.send(Method::POST, path, &[], object.to_string()).await;
        // One service may serve several groups.
        assert!(made.code == 201 || (made.code == 409 && path != SERVICES), "{}", made.text());
    }
}

/// Waits until the API is available or is not, and returns the condition that says so.
async fn condition(served: &Served, status: &str) -> Value {
    condition_of(served, "v1.things.example.org", status).await
}

async fn condition_of(served: &Served, api: &str, status: &str) -> Value {
    until(format!("Available is {status}"), Duration::from_secs(30), async || {
        let object = served.get(&format!("{SERVICES}/{api}"), &[]).await.json();
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|one| one["type"] == "Available" && one["status"] == status)
    })
    .await
}

#[tokio::test]
async fn an_api_that_another_serves_is_one_of_this_server_while_it_answers() {
    let (fails, front) = (Arc::new(AtomicBool::new(false)), Authority::new().unwrap());
    let peer = things(&fails).await;
    let aggregation = Aggregation {
        identity: front.issue_client("front-proxy-client", &[]).unwrap(),
        authority: front.certificate().to_owned(),
        clients: "clients".to_owned(),
    };
    let served = Served::with(Cluster::builder(), |face| face.aggregating(aggregation)).await;
    assert_eq!(served.get(THINGS, &[]).await.code, 404);
    register(&served, &peer).await;
    assert_eq!(condition(&served, "True").await["reason"], "Passed");

    let answer = served.get(THINGS, &[SOMEONE, ("impersonate-user", "")]).await;
    assert_eq!((answer.code, &answer.json()["kind"]), (200, &json!("ThingList")));
    let headers = peer.headers.lock().unwrap().clone();
    assert_eq!(headers["x-remote-user"], "someone");
    assert_eq!(headers["x-remote-group"], "system:authenticated");
    assert!(headers.get("authorization").is_none());

    let groups = served.get("/apis", &[]).await.json();
    let names: Vec<_> =
        groups["groups"].as_array().unwrap().iter().map(|group| group["name"].clone()).collect();
    assert_eq!(names.last(), Some(&json!("things.example.org")));
    assert_eq!(served.get("/apis/things.example.org", &[]).await.json()["preferredVersion"]["version"], "v1");
    assert_eq!(served.get("/apis/things.example.org/v1", &[]).await.json()["resources"][0]["name"], "things");
    let all = served.get("/apis", &[("accept", AGGREGATED)]).await.json();
    let found =
        all["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "things.example.org");
    assert_eq!(found.unwrap()["versions"][0]["resources"][0]["responseKind"]["kind"], "Thing");
    let index = served.get("/openapi/v3", &[]).await.json();
    assert!(index["paths"]["apis/things.example.org/v1"].is_object() && index["paths"]["api/v1"].is_object());
    assert_eq!(served.get("/openapi/v3/apis/things.example.org/v1", &[]).await.json()["openapi"], "3.0.0");
    let told =
        served.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication", &[]).await;
    assert_eq!(told.json()["data"]["requestheader-client-ca-file"], front.certificate());

    fails.store(true, Ordering::Relaxed);
    assert_eq!(condition(&served, "False").await["reason"], "FailedDiscoveryCheck");
    let refused = served.get(THINGS, &[]).await;
    assert_eq!((refused.code, refused.text()), (503, "service unavailable\n"));
}

/// A server of the APIs of custom and external metrics.
async fn measuring() -> Peer {
    const CUSTOM: &str = "/apis/custom.metrics.k8s.io/v1beta2";
    const EXTERNAL: &str = "/apis/external.metrics.k8s.io/v1beta1";
    let custom = |name: &str, value: &str| {
        json!({
            "describedObject": { "kind": "Pod", "name": name }, "metric": { "name": "requests" },
            "timestamp": "2026-01-01T00:00:00Z", "windowSeconds": 30, "value": value,
        })
    };
    let list = |items: Vec<Value>| (200, json!({ "kind": "MetricValueList", "items": items }).to_string());
    Peer::start(move |path, _| {
        match path.strip_prefix(CUSTOM).or(path.strip_prefix(EXTERNAL)).unwrap_or(path) {
            "" => (
                200,
                json!({ "kind": "APIResourceList", "groupVersion": "g/v", "resources": [] }).to_string(),
            ),
            "/namespaces/default/pods/*/requests" => {
                list(vec![custom("web-0", "1500m"), custom("web-1", "3")])
            }
            "/namespaces/default/ingresses.networking.k8s.io/front/requests" => {
                list(vec![custom("front", "7k")])
            }
            "/namespaces/default/queue_length" => list(vec![
                json!({ "metricName": "queue_length", "timestamp": "2026-01-01T00:00:00Z", "value": "12" }),
            ]),
            _ => (404, String::new()),
        }
    })
    .await
}

#[tokio::test]
async fn autoscalers_read_custom_and_external_metrics_of_those_who_serve_them() {
    let front = Authority::new().unwrap();
    let aggregation = Aggregation {
        identity: front.issue_client("front-proxy-client", &[]).unwrap(),
        authority: front.certificate().to_owned(),
        clients: "clients".to_owned(),
    };
    let figures = AggregatedMetrics::new();
    let selecting = |text: &str| text.parse::<Selector>().unwrap();
    let metric = |name: &str, of: &str| Metric { name: name.to_owned(), selector: selecting(of) };
    let early = figures.external("default", &metric("queue_length", "")).await.unwrap_err();
    assert_eq!(early.message(), "the API is not served yet");
    let served = Served::with(Cluster::builder(), |face| face.aggregating(aggregation)).await;
    figures.ask(served.api.frontend());
    let absent = figures.custom_of_pods("default", &selecting("app=web"), &metric("requests", "")).await;
    assert_eq!(absent.unwrap_err().message(), "no custom metrics API (custom.metrics.k8s.io) registered");
    assert!(figures.external("default", &metric("queue_length", "")).await.unwrap_err().is_not_found());

    let peer = measuring().await;
    for (group, version) in [("custom.metrics.k8s.io", "v1beta2"), ("external.metrics.k8s.io", "v1beta1")] {
        register_as(&served, &peer, group, version).await;
        condition_of(&served, &format!("{version}.{group}"), "True").await;
    }
    let pods =
        figures.custom_of_pods("default", &selecting("app=web"), &metric("requests", "")).await.unwrap();
    let read: Vec<_> = pods.iter().map(|one| (&*one.object, one.value.milli_value(), one.window)).collect();
    let window = Duration::from_secs(30);
    let query = || peer.query.lock().unwrap().clone().unwrap_or_default();
    assert_eq!(query(), "labelSelector=app%3Dweb");
    assert_eq!(read, [("web-0", 1500, window), ("web-1", 3000, window)]);
    let front = serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "front",
    }));
    let front = front.unwrap();
    let value = figures.custom_of_object("default", &front, &metric("requests", "verb=GET")).await.unwrap();
    assert_eq!((value.value.value(), &*query()), (7000, "metricLabelSelector=verb%3DGET"));
    let outside = figures.external("default", &metric("queue_length", "queue=jobs")).await.unwrap();
    assert_eq!(outside.iter().map(|value| value.value()).collect::<Vec<_>>(), [12]);
    assert_eq!(query(), "labelSelector=queue%3Djobs");
    let user = peer.headers.lock().unwrap()["x-remote-user"].clone();
    assert_eq!(user, "system:serviceaccount:kube-system:horizontal-pod-autoscaler");
    let unknown = figures.custom_of_pods("default", &selecting("app=web"), &metric("nothing", "")).await;
    assert!(unknown.unwrap_err().is_not_found());
}
