//! What is written down of who did what, and what never is.

#[path = "support/peer.rs"]
mod peer;
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use orchestra_core::access::audit::Policy;
use orchestra_core::api::User;
use orchestra_core::cluster::Cluster;
use orchestra_core::testing::until;
use orchestra_http::{Audit, AuditSink, Batches, Endpoint, TokenKeys, Tokens, WebhookSink};
use peer::Peer;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use support::{SOMEONE, Served};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// How long what is noted may be on its way.
const PATIENCE: Duration = Duration::from_secs(10);
const EVERYTHING: &str = "{level: RequestResponse}";

/// Keeps events as they are.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<Bytes>>>);

impl AuditSink for Kept {
    fn take(&self, event: &Bytes) {
        self.0.lock().unwrap().push(event.clone());
    }

    fn name(&self) -> &'static str {
        "kept"
    }

    fn dropped(&self) -> u64 {
        0
    }
}

impl Kept {
    fn text(&self) -> String {
        let events = self.0.lock().unwrap();
        events.iter().map(|event| String::from_utf8(event.to_vec()).unwrap() + "\n").collect()
    }

    fn events(&self) -> Vec<Value> {
        self.0.lock().unwrap().iter().map(|event| serde_json::from_slice(event).unwrap()).collect()
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

fn audit(rules: &str) -> (Audit, Kept) {
    let text = format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{rules}]}}");
    let kept = Kept::default();
    (Audit::new(Policy::parse(text.as_bytes()).unwrap()).to(kept.clone()), kept)
}

async fn served(rules: &str) -> (Served, Kept) {
    let (audit, kept) = audit(rules);
    (Served::with(Cluster::builder().rbac(), |face| face.audit(audit)).await, kept)
}

#[tokio::test]
async fn an_event_says_who_did_what_and_how_it_was_answered() {
    let (served, kept) = served(EVERYTHING).await;
    let map = json!({ "metadata": { "name": "a" }, "data": { "x": "y" } });
    let headers = [("user-agent", "tester/1"), ("x-forwarded-for", "10.1.1.1, nonsense")];
    let made = served.send(Method::POST, &format!("{MAPS}?pretty=0"), &headers, map.to_string()).await;
    assert_eq!(made.code, 201);
    let events = kept.events();
    let [received, complete] = &*events else { panic!("{events:#?}") };
    assert_eq!(
        (received["stage"].as_str(), complete["stage"].as_str()),
        (Some("RequestReceived"), Some("ResponseComplete"))
    );
    assert_eq!(complete["auditID"], made.header("audit-id"));
    assert_eq!(received["auditID"], complete["auditID"]);
    for (field, expected) in [
        ("/requestURI", json!(format!("{MAPS}?pretty=0"))),
        ("/verb", json!("create")),
        ("/user/username", json!("admin")),
        ("/sourceIPs", json!(["10.1.1.1", "127.0.0.1"])),
        ("/userAgent", json!("tester/1")),
        (
            "/objectRef",
            json!({ "resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1" }),
        ),
        ("/responseStatus/code", json!(201)),
        ("/requestObject/data/x", json!("y")),
        ("/responseObject/data/x", json!("y")),
        ("/annotations/authorization.k8s.io~1decision", json!("allow")),
    ] {
        assert_eq!(complete.pointer(field), Some(&expected), "{field} of {complete:#}");
    }
    assert!(received.get("responseStatus").is_none() && received.get("annotations").is_none());
}

#[tokio::test]
async fn who_is_refused_is_written_down_with_the_reason() {
    let (served, kept) = served("{level: Metadata, omitStages: [RequestReceived]}").await;
    assert_eq!(served.get(MAPS, &[SOMEONE]).await.code, 403);
    assert_eq!(served.get(MAPS, &[("authorization", "Bearer nobodys")]).await.code, 401);
    assert_eq!(
        served
            .get(
                &format!("{MAPS}/none"),
                &[("impersonate-user", "admin"), ("impersonate-group", "system:masters")]
            )
            .await
            .code,
        404
    );
    let events = kept.events();
    let [forbidden, unknown, missing] = &*events else { panic!("{events:#?}") };
    assert_eq!(forbidden["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(
        (&forbidden["responseStatus"]["code"], &forbidden["responseStatus"]["reason"]),
        (&json!(403), &json!("Forbidden"))
    );
    assert!(forbidden.get("responseObject").is_none());
    assert_eq!(
        (&unknown["stage"], &unknown["user"], &unknown["responseStatus"]["message"]),
        (&json!("ResponseStarted"), &json!({}), &json!("Authentication failed"))
    );
    assert_eq!(missing["impersonatedUser"]["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!(missing["responseStatus"]["reason"], "NotFound");
}

#[tokio::test]
async fn a_watch_is_written_down_when_it_begins_and_when_it_ends() {
    let (served, kept) = served("{level: Request, verbs: [watch]}").await;
    let answer = served.get(&format!("{MAPS}?watch=1&timeoutSeconds=1"), &[]).await;
    assert_eq!(answer.code, 200);
    let stages =
        || kept.events().iter().map(|event| event["stage"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    until("three stages are noted", PATIENCE, async || (stages().len() == 3).then_some(())).await;
    assert_eq!(stages(), ["RequestReceived", "ResponseStarted", "ResponseComplete"]);
}

#[tokio::test]
async fn what_the_policy_leaves_out_is_left_out() {
    let (served, kept) = served("{level: None, resources: [{group: '', resources: [configmaps]}]}, {level: Request, omitManagedFields: true}").await;
    assert_eq!(served.get(MAPS, &[]).await.code, 200);
    assert!(kept.events().is_empty());
    let account = json!({ "metadata": { "name": "a", "managedFields": [] } });
    let path = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(served.send(Method::POST, path, &[], account.to_string()).await.code, 201);
    let events = kept.events();
    assert_eq!(events[1]["requestObject"]["metadata"], json!({ "name": "a" }));
    assert!(events[1].get("responseObject").is_none());
}

fn hasty() -> Batches {
    let (wait, backoff) = (Duration::from_millis(10), Duration::from_millis(1));
    Batches { buffer: 10, size: 5, wait, backoff }
}

#[tokio::test]
async fn events_are_sent_to_a_server_many_at_once() {
    let peer = Peer::start(|_, _| (200, String::new())).await;
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::read(&peer.kubeconfig(directory.path())).unwrap();
    let (audit, kept) = audit(EVERYTHING);
    let audit = audit.to(WebhookSink::new(endpoint, hasty()));
    let served = Served::with(Cluster::builder(), |face| face.audit(audit)).await;
    assert_eq!(served.get(MAPS, &[]).await.code, 200);
    let sent = || {
        let asked = peer.asked.lock().unwrap();
        let lists = asked.iter().inspect(|(path, list)| {
            assert_eq!((path.as_str(), &list["kind"]), ("/ask", &json!("EventList")));
        });
        lists.flat_map(|(_, list)| list["items"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    until("all is sent", PATIENCE, async || (sent().len() == kept.events().len()).then_some(())).await;
    assert_eq!(sent(), kept.events());
}

#[tokio::test]
async fn a_server_that_takes_no_events_holds_up_nobody_and_what_is_lost_is_counted() {
    let peer = Peer::start(|_, _| (500, String::new())).await;
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::read(&peer.kubeconfig(directory.path())).unwrap();
    let policy = format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{EVERYTHING}]}}");
    let audit = Audit::new(Policy::parse(policy.as_bytes()).unwrap());
    let audit = audit.to(WebhookSink::new(endpoint, hasty()));
    let served = Served::with(Cluster::builder(), |face| face.audit(audit)).await;
    for _ in 0..20 {
        assert_eq!(served.get(MAPS, &[]).await.code, 200);
    }
    until("what is lost is counted", PATIENCE, async || {
        let metrics = served.get("/metrics", &[]).await;
        let lost = metrics.text().lines().any(|line| {
            let lost = line.strip_prefix("apiserver_audit_error_total{plugin=\"webhook\"} ");
            lost.is_some_and(|lost| lost.parse::<u64>().unwrap() >= 20)
        });
        lost.then_some(())
    })
    .await;
}

/// What of a request is secret, and how it is sent.
#[derive(Clone, Debug)]
enum Leak {
    Create,
    Update,
    Patch(&'static str),
    Broken,
    WrongType,
    WrongName,
    Review,
    Token,
    Header,
    Protocol,
}

const PATCHES: &[&str] =
    &["application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml"];

fn leaks() -> impl Strategy<Value = Leak> {
    prop_oneof![
        Just(Leak::Create),
        Just(Leak::Update),
        proptest::sample::select(PATCHES).prop_map(Leak::Patch),
        Just(Leak::Broken),
        Just(Leak::WrongType),
        Just(Leak::WrongName),
        Just(Leak::Review),
        Just(Leak::Token),
        Just(Leak::Header),
        Just(Leak::Protocol),
    ]
}

async fn send(served: &Served, leak: &Leak, secret: &str) -> Vec<String> {
    const SECRETS: &str = "/api/v1/namespaces/default/secrets";
    let object = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "stringData": { "k": secret } });
    let mut hidden = vec![secret.to_owned()];
    let post = async |path: &str, body: String| served.send(Method::POST, path, &[], body).await;
    match leak {
        Leak::Create => drop(post(SECRETS, object.to_string()).await),
        Leak::Update => {
            drop(post(SECRETS, object.to_string()).await);
            drop(served.send(Method::PUT, &format!("{SECRETS}/s"), &[], object.to_string()).await);
            drop(served.get(SECRETS, &[]).await);
            drop(served.get(&format!("{SECRETS}/s"), &[]).await);
        }
        Leak::Patch(kind) => {
            let body = match *kind {
                "application/json-patch+json" => {
                    json!([{ "op": "add", "path": "/stringData", "value": { "k": secret } }])
                }
                _ => object.clone(),
            };
            let path = format!("{SECRETS}/s?fieldManager=t");
            drop(served.send(Method::PATCH, &path, &[("content-type", kind)], body.to_string()).await);
        }
        Leak::Broken => {
            drop(post(SECRETS, format!("{{\"stringData\": {{\"k\": \"{secret}\" {secret}")).await)
        }
        Leak::WrongType => {
            let object = json!({ "metadata": { "name": "w" }, "data": secret, secret: secret });
            drop(post(&format!("{SECRETS}?fieldValidation=Strict"), object.to_string()).await);
        }
        Leak::WrongName => {
            let object = json!({ "metadata": { "name": "w" }, "stringData": { format!("/{secret}"): secret }, "type": format!("/{secret}") });
            drop(post(SECRETS, object.to_string()).await);
        }
        Leak::Review => {
            let object = json!({ "spec": { "token": secret } });
            drop(post("/apis/authentication.k8s.io/v1/tokenreviews", object.to_string()).await);
        }
        Leak::Token => {
            let accounts = "/api/v1/namespaces/default/serviceaccounts";
            drop(post(accounts, json!({ "metadata": { "name": "t" } }).to_string()).await);
            let answer = post(&format!("{accounts}/t/token"), json!({ "spec": {} }).to_string()).await;
            assert_eq!(answer.code, 201, "{}", answer.text());
            hidden = answer.json()["status"]["token"].as_str().map(str::to_owned).into_iter().collect();
        }
        Leak::Header => {
            for scheme in ["Bearer", "Basic"] {
                drop(served.get(MAPS, &[("authorization", &format!("{scheme} {secret}"))]).await);
            }
        }
        Leak::Protocol => {
            let protocol = format!("base64url.bearer.authorization.k8s.io.{secret}");
            drop(served.get(MAPS, &[("sec-websocket-protocol", &protocol), ("cookie", secret)]).await);
        }
    }
    hidden
}

#[test]
fn no_secret_and_no_token_is_ever_written_down() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (audit, kept) = audit(EVERYTHING);
    let (known, directory) = (Tokens::new(), tempfile::tempdir().unwrap());
    known.insert("known", User::admin());
    let keys = TokenKeys::open(directory.path()).unwrap();
    let builder = Cluster::builder().rbac().tokens(keys);
    let served = runtime.block_on(Served::with(builder, |face| face.authenticator(known).audit(audit)));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() });
    let tested = runner.run(&(leaks(), "[a-z]{24}"), |(leak, secret)| {
        kept.clear();
        let hidden = runtime.block_on(send(&served, &leak, &secret));
        let text = kept.text();
        prop_assert!(!text.is_empty());
        for secret in hidden {
            use base64::Engine as _;
            let encoded = base64::engine::general_purpose::STANDARD.encode(&secret);
            prop_assert!(!text.contains(&secret) && !text.contains(&encoded), "{leak:?}: {text}");
        }
        Ok(())
    });
    tested.unwrap();
}

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Sends what makes an object until it is made: what stands in its way is made by the cluster meanwhile.
async fn make(served: &Served, path: &str, object: &Value) {
    until("it is made", PATIENCE, async || {
        let answer = served.send(Method::POST, path, &[], object.to_string()).await;
        (answer.code == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_admissions_find_is_written_down_though_nobody_is_refused() {
    let (served, kept) = served("{level: Metadata, omitStages: [RequestReceived]}").await;
    let labels = json!({ "metadata": { "labels": {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/audit": "restricted",
        "pod-security.kubernetes.io/warn": "privileged",
    } } });
    let merge = [("content-type", "application/merge-patch+json")];
    let path = "/api/v1/namespaces/default";
    assert_eq!(served.send(Method::PATCH, path, &merge, labels.to_string()).await.code, 200);
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let policy = json!({ "metadata": { "name": "named" }, "spec": {
        "matchConstraints": { "resourceRules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
        }] },
        "validations": [{ "expression": "true" }, { "expression": "object.metadata.name != 'a'", "message": "not a" }],
        "auditAnnotations": [{ "key": "name", "valueExpression": "'it is ' + object.metadata.name" }],
    } });
    make(&served, policies, &policy).await;
    let binding = json!({ "metadata": { "name": "held" }, "spec": {
        "policyName": "named", "validationActions": ["Warn", "Audit"],
    } });
    make(&served, "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings", &binding).await;
    let pod =
        json!({ "metadata": { "name": "a" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    make(&served, PODS, &pod).await;
    let events = kept.events();
    let noted = events.iter().rfind(|event| event["objectRef"]["resource"] == "pods").unwrap();
    let noted = &noted["annotations"];
    assert_eq!(noted["pod-security.kubernetes.io/enforce-policy"], "baseline:latest");
    let violations = noted["pod-security.kubernetes.io/audit-violations"].as_str().unwrap();
    assert!(
        violations.starts_with(
            "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false"
        ),
        "{violations}"
    );
    assert_eq!(
        noted["validation.policy.admission.k8s.io/validation_failure"],
        r#"[{"message":"not a","policy":"named","binding":"held","expressionIndex":1,"validationActions":["Warn","Audit"]}]"#
    );
    assert_eq!(noted["named/name"], "it is a");
}
