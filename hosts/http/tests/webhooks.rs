//! Webhooks of admission, asked over TLS by a cluster that is served: by a service of the cluster, and by a URL.

#[path = "support/peer.rs"]
mod peer;
mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use orchestra_core::cluster::Cluster;
use orchestra_http::WebhookCaller;
use peer::Peer;
use serde_json::{Value, json};
use support::Served;

const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";

/// What a webhook answers: `/mutate` adds a label, `/validate` refuses what is called `bad`.
fn review(path: &str, sent: &Value) -> (u16, String) {
    let uid = &sent["request"]["uid"];
    let response = match path {
        "/mutate" => {
            let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]);
            let patch = STANDARD.encode(patch.to_string());
            json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch, "warnings": ["seen"]})
        }
        _ if sent["request"]["name"] == "bad" => {
            json!({"uid": uid, "allowed": false, "status": {"message": "it is bad", "code": 403}})
        }
        _ => json!({"uid": uid, "allowed": true}),
    };
    let review =
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
    (200, review.to_string())
}

fn hook(name: &str, client: Value) -> Value {
    json!({
        "name": name,
        "clientConfig": client,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 20,
        "rules": [{
            "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"],
        }],
    })
}

async fn create(served: &Served, path: &str, object: Value) -> support::Answer {
    let answer = served.send(Method::POST, path, &[], object.to_string()).await;
    assert!(answer.code < 500, "{}", answer.text());
    answer
}

#[tokio::test]
async fn a_service_that_changes_and_a_url_that_judges_are_asked_over_tls() {
    let peer = Peer::start(review).await;
    let served = Served::with(Cluster::builder().webhooks(WebhookCaller::new()), |face| face).await;
    let bundle = STANDARD.encode(&peer.authority);
    let port: u16 = peer.url.rsplit(':').next().unwrap().parse().unwrap();
    for (path, object) in [
        (
            "/api/v1/namespaces/default/services".to_owned(),
            json!({"metadata": {"name": "things"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}),
        ),
        (
            format!("{REGISTRATION}/mutatingwebhookconfigurations"),
            json!({"metadata": {"name": "m"}, "webhooks": [hook("m.example.com", json!({
                "service": {"namespace": "default", "name": "things", "path": "/mutate", "port": port},
                "caBundle": bundle,
            }))]}),
        ),
        (
            format!("{REGISTRATION}/validatingwebhookconfigurations"),
            json!({"metadata": {"name": "v"}, "webhooks": [hook("v.example.com", json!({
                "url": format!("{}/validate", peer.url), "caBundle": bundle,
            }))]}),
        ),
    ] {
        let answer = create(&served, &path, object).await;
        assert_eq!(answer.code, 201, "{}", answer.text());
    }
    let secrets = "/api/v1/namespaces/default/secrets";
    let made = create(&served, secrets, json!({"metadata": {"name": "good"}})).await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert_eq!(made.json()["metadata"]["labels"], json!({"seen": "yes"}));
    assert_eq!(made.header("warning"), "299 - \"seen\"");
    let refused = create(&served, secrets, json!({"metadata": {"name": "bad"}})).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.json()["message"],
        "admission webhook \"v.example.com\" denied the request: it is bad"
    );
}
