//! Webhooks of admission, asked over TLS by a cluster that is served: by a service of the cluster, and by a URL.

mod support;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use orchestra_core::cluster::Cluster;
use orchestra_http::{Authority, Issued, WebhookCaller};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use support::Served;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

const REGISTRATION: &str = "/apis/admissionregistration.k8s.io/v1";

/// A webhook on a port of this machine: `/mutate` adds a label, `/validate` refuses what is called `bad`.
struct Webhook {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Webhook {
    async fn start(identity: &Issued) -> Self {
        let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let server = auto::Builder::new(TokioExecutor::new());
                        let _ = server.serve_connection(TokioIo::new(stream), service_fn(review)).await;
                    }
                });
            }
        });
        Self { address, task }
    }
}

async fn review(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let sent: Value = serde_json::from_slice(&body).unwrap();
    let uid = &sent["request"]["uid"];
    let response = match &*path {
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
    Ok(Response::new(Full::new(Bytes::from(review.to_string()))))
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
    let authority = Authority::new().unwrap();
    let by_service =
        Webhook::start(&authority.issue_server(&["hooks.default.svc".to_owned()], &[]).unwrap()).await;
    let by_url = Webhook::start(&authority.issue_server(&[], &["127.0.0.1".parse().unwrap()]).unwrap()).await;
    let served = Served::with(Cluster::builder().webhooks(WebhookCaller::new()), |face| face).await;
    let bundle = STANDARD.encode(authority.certificate());
    let port = by_service.address.port();
    for (path, object) in [
        (
            "/api/v1/namespaces/default/services".to_owned(),
            json!({"metadata": {"name": "hooks"}, "spec": {"type": "ExternalName", "externalName": "localhost"}}),
        ),
        (
            format!("{REGISTRATION}/mutatingwebhookconfigurations"),
            json!({"metadata": {"name": "m"}, "webhooks": [hook("m.example.com", json!({
                "service": {"namespace": "default", "name": "hooks", "path": "/mutate", "port": port},
                "caBundle": bundle,
            }))]}),
        ),
        (
            format!("{REGISTRATION}/validatingwebhookconfigurations"),
            json!({"metadata": {"name": "v"}, "webhooks": [hook("v.example.com", json!({
                "url": format!("https://{}/validate", by_url.address), "caBundle": bundle,
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
