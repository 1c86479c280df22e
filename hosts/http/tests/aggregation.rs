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
use orchestra_core::testing::until;
use orchestra_http::{Aggregation, Authority};
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
    let port: u16 = peer.url.rsplit(':').next().unwrap().parse().unwrap();
    let service = json!({
        "metadata": { "name": "things" },
        "spec": { "type": "ExternalName", "externalName": "localhost" },
    });
    let api = json!({
        "metadata": { "name": "v1.things.example.org" },
        "spec": {
            "group": "things.example.org",
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 10,
            "caBundle": BASE64_STANDARD.encode(&peer.authority),
            "service": { "namespace": "default", "name": "things", "port": port },
        },
    });
    for (path, object) in [("/api/v1/namespaces/default/services", service), (SERVICES, api)] {
        let made = served.send(Method::POST, path, &[], object.to_string()).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
}

/// Waits until the API is available or is not, and returns the condition that says so.
async fn condition(served: &Served, status: &str) -> Value {
    until(format!("Available is {status}"), Duration::from_secs(30), async || {
        let object = served.get(&format!("{SERVICES}/v1.things.example.org"), &[]).await.json();
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
