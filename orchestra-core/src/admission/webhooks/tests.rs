use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration,
    ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Pod};
use serde_json::{Value, json};

use super::review;
use crate::api::notes::Notes;
use crate::api::{Patch, Reason, Status, Stream, Target, User, WriteOptions, stream_options};
use crate::stream::AttachOptions;
use crate::testing::{FakeWebhooks, TestServer};
use crate::webhook::CallError;

fn hook(name: &str, more: Value) -> Value {
    let mut hook = json!({
        "name": format!("{name}.example.com"),
        "clientConfig": {"url": format!("https://hooks.example.com/{name}")},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{
            "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        }],
    });
    hook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    hook
}

async fn validating(server: &TestServer, name: &str, hooks: Vec<Value>) {
    let configuration = json!({"metadata": {"name": name}, "webhooks": hooks});
    server.create::<ValidatingWebhookConfiguration>(configuration).await;
}

async fn mutating(server: &TestServer, name: &str, hooks: Vec<Value>) {
    let configuration = json!({"metadata": {"name": name}, "webhooks": hooks});
    server.create::<MutatingWebhookConfiguration>(configuration).await;
}

/// The answer to a review: what the response has beside the uid.
fn answer(sent: &Value, response: Value) -> Value {
    let mut response = response;
    response["uid"] = sent["request"]["uid"].clone();
    json!({"kind": "AdmissionReview", "apiVersion": sent["apiVersion"], "response": response})
}

fn patch(operations: Value) -> Value {
    let encoded = STANDARD.encode(operations.to_string());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": encoded})
}

async fn start(fake: &Arc<FakeWebhooks>) -> TestServer {
    TestServer::builder().webhooks(Arc::clone(fake)).start().await
}

async fn make(server: &TestServer, name: &str) -> Result<ConfigMap, Status> {
    let object = json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"a": "1"}});
    server.api::<ConfigMap>().create(&serde_json::from_value(object).unwrap()).await
}

/// The names at the ends of the URLs that were called, in order.
fn called(fake: &FakeWebhooks) -> Vec<String> {
    let name = |url: &str| url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    fake.calls().iter().map(|call| name(&call.url)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_sent_the_review_that_kubernetes_sends() {
    let fake = FakeWebhooks::new(|_, sent| answer(&sent, json!({"allowed": true})));
    let server = start(&fake).await;
    validating(&server, "v", vec![hook("v", json!({"timeoutSeconds": 7}))]).await;
    make(&server, "m").await.unwrap();
    let call = &fake.calls()[0];
    assert_eq!(call.url, "https://hooks.example.com/v?timeout=7s");
    let mut sent: Value = serde_json::from_slice(&call.body).unwrap();
    assert!(sent["request"]["uid"].as_str().is_some_and(|uid| uid.len() == 36));
    for place in
        ["/request/uid", "/request/object/metadata/uid", "/request/object/metadata/creationTimestamp"]
    {
        *sent.pointer_mut(place).unwrap() = json!("-");
    }
    let resource = json!({"group": "", "version": "v1", "resource": "configmaps"});
    let kind = json!({"group": "", "version": "v1", "kind": "ConfigMap"});
    assert_eq!(
        sent,
        json!({
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": "-",
                "kind": kind,
                "resource": resource,
                "requestKind": kind,
                "requestResource": resource,
                "name": "m",
                "namespace": "default",
                "operation": "CREATE",
                "userInfo": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]},
                "object": {
                    "kind": "ConfigMap",
                    "apiVersion": "v1",
                    "metadata": {
                        "name": "m", "namespace": "default", "uid": "-", "creationTimestamp": "-", "labels": {"app": "m"},
                    },
                    "data": {"a": "1"},
                },
                "oldObject": null,
                "dryRun": false,
                "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldValidation": "Warn"},
            },
        })
    );
}

#[tokio::test(start_paused = true)]
async fn webhooks_change_objects_in_the_order_of_their_names_and_are_asked_again_if_they_want() {
    let fake = FakeWebhooks::new(|url, sent| {
        let count = sent["request"]["object"]["data"].as_object().map_or(0, serde_json::Map::len);
        let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
        let value = count.to_string();
        answer(&sent, patch(json!([{"op": "add", "path": format!("/data/{name}"), "value": value}])))
    });
    let server = start(&fake).await;
    mutating(&server, "b", vec![hook("second", json!({}))]).await;
    mutating(&server, "a", vec![hook("first", json!({"reinvocationPolicy": "IfNeeded"}))]).await;
    let made = make(&server, "m").await.unwrap();
    assert_eq!(called(&fake), ["first", "second", "first"]);
    let data = made.data.unwrap();
    assert_eq!((data["first"].as_str(), data["second"].as_str()), ("3", "2"));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_refused_in_the_words_of_the_webhook() {
    let fake = FakeWebhooks::new(|_, sent| {
        let name = sent["request"]["name"].as_str().unwrap_or_default();
        let response = match name {
            "plain" => json!({"allowed": false}),
            "told" => {
                json!({"allowed": false, "warnings": ["mind"], "status": {"message": "no", "code": 409, "reason": "Conflict"}})
            }
            "odd" => json!({"allowed": false, "status": {"code": 200, "reason": "Odd"}}),
            _ => json!({"allowed": true, "warnings": ["take care"]}),
        };
        answer(&sent, response)
    });
    let server = start(&fake).await;
    validating(&server, "v", vec![hook("v", json!({}))]).await;
    for (name, code, message) in [
        ("plain", 400, "admission webhook \"v.example.com\" denied the request without explanation"),
        ("told", 409, "admission webhook \"v.example.com\" denied the request: no"),
        ("odd", 400, "admission webhook \"v.example.com\" denied the request: Odd"),
    ] {
        let status = make(&server, name).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message));
        assert_eq!(status.warnings().len(), usize::from(name == "told"));
    }
    make(&server, "fine").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_webhook_without_an_answer_fails_the_request_or_is_passed_over() {
    for (what, part) in [
        ("silent", "Post \"https://hooks.example.com/v?timeout=3s\": context deadline exceeded"),
        ("refusing", "Post \"https://hooks.example.com/v?timeout=3s\": connection refused"),
        ("large", "the response is larger than the limit of 3145728 bytes"),
        ("lying", "received invalid webhook response: expected response.uid="),
        ("nonsense", "received invalid webhook response: couldn't decode the response as an AdmissionReview"),
        ("patching", "received invalid webhook response: webhook response.patch is not allowed"),
        ("other", "received invalid webhook response: expected webhook response of admission.k8s.io/v1"),
    ] {
        let fake = FakeWebhooks::with(move |call| {
            Box::pin(async move {
                let sent: Value = serde_json::from_slice(&call.body).unwrap();
                let allowed = json!({"uid": "another", "allowed": true});
                Ok(Bytes::from(match what {
                    "silent" => return pending().await,
                    "refusing" => return Err(CallError::Connection("connection refused".to_owned())),
                    "large" => " ".repeat(4 * 1024 * 1024),
                    "lying" => {
                        let review = json!({
                            "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": allowed,
                        });
                        review.to_string()
                    }
                    "patching" => answer(&sent, patch(json!([]))).to_string(),
                    "other" => json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1"})
                        .to_string(),
                    _ => "{\"kind\": 7".to_owned(),
                }))
            })
        });
        let server = start(&fake).await;
        validating(&server, "v", vec![hook("v", json!({"timeoutSeconds": 3}))]).await;
        let began = server.clock().elapsed();
        let status = make(&server, "m").await.unwrap_err();
        assert_eq!((status.code(), status.reason()), (500, Reason::InternalError), "{what}");
        let begins = "Internal error occurred: failed calling webhook \"v.example.com\": ";
        assert!(status.message().starts_with(begins) && status.message().contains(part), "{what}: {status}");
        assert!(server.clock().elapsed() - began <= Duration::from_secs(4), "{what}");
        // Others are not touched by it.
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        server.create::<Pod>(pod).await;
        let ignore = json!([{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]);
        let configurations = server.api::<ValidatingWebhookConfiguration>();
        configurations.patch("v", Patch::Json(ignore)).await.unwrap();
        make(&server, "m").await.unwrap_or_else(|status| panic!("{what}: {status}"));
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_judge_are_asked_at_once() {
    let fake = FakeWebhooks::with(|_| Box::pin(pending()));
    let server = start(&fake).await;
    let slow = |name| hook(name, json!({"timeoutSeconds": 10, "failurePolicy": "Ignore"}));
    validating(&server, "v", vec![slow("a"), slow("b"), slow("c")]).await;
    let began = server.clock().elapsed();
    make(&server, "m").await.unwrap();
    assert_eq!(fake.calls().len(), 3);
    let took = server.clock().elapsed() - began;
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(11), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn only_requests_that_are_meant_are_asked_about() {
    let fake = FakeWebhooks::new(|_, sent| answer(&sent, json!({"allowed": true})));
    let server = start(&fake).await;
    let conditions =
        json!([{"name": "c", "expression": "object == null || object.metadata.name != 'spared'"}]);
    validating(
        &server,
        "v",
        vec![
            hook("labelled", json!({"objectSelector": {"matchLabels": {"app": "a"}}})),
            hook("elsewhere", json!({"namespaceSelector": {"matchLabels": {"no": "where"}}})),
            hook("conditioned", json!({"matchConditions": conditions})),
            hook(
                "ends",
                json!({"rules": [{
                    "operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"],
                }]}),
            ),
        ],
    )
    .await;
    make(&server, "a").await.unwrap();
    assert_eq!(called(&fake), ["labelled", "conditioned"]);
    make(&server, "spared").await.unwrap();
    assert_eq!(called(&fake).len(), 2);
    server.api::<ConfigMap>().delete("spared").await.unwrap();
    assert_eq!(called(&fake)[2..], ["conditioned", "ends"]);
    // Of what judges, nobody is asked.
    server.api::<ValidatingWebhookConfiguration>().delete("v").await.unwrap();
    assert_eq!(called(&fake).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_that_has_effects_is_not_asked_about_what_is_not_written() {
    let fake = FakeWebhooks::new(|_, sent| answer(&sent, json!({"allowed": sent["request"]["dryRun"]})));
    let server = start(&fake).await;
    validating(&server, "v", vec![hook("v", json!({}))]).await;
    let object: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}})).unwrap();
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    server.api::<ConfigMap>().create_with(&object, dry).await.unwrap();
    assert!(make(&server, "m").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_a_webhook_makes_of_an_object_stays_an_object_of_its_kind() {
    for (operations, fails) in [
        (json!([{"op": "replace", "path": "/kind", "value": "Secret"}]), true),
        (json!([{"op": "add", "path": "/data", "value": 7}]), true),
        (json!([{"op": "remove", "path": "/data/none"}]), true),
        (json!([{"op": "replace", "path": "/metadata/uid", "value": "mine"}]), false),
        (json!([{"op": "replace", "path": "/metadata/name", "value": "other"}]), false),
    ] {
        let sent = operations.clone();
        let fake = FakeWebhooks::new(move |_, review| answer(&review, patch(sent.clone())));
        let server = start(&fake).await;
        mutating(&server, "m", vec![hook("m", json!({}))]).await;
        let outcome = make(&server, "m").await;
        assert_eq!(outcome.is_err(), fails, "{operations}: {outcome:?}");
        if let Ok(made) = outcome {
            assert_eq!(made.metadata.name.as_deref(), Some("m"));
            assert_ne!(made.metadata.uid.as_deref(), Some("mine"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_webhook_adds_gets_what_the_cluster_gives_and_those_before_it_see_it() {
    let sidecar =
        json!([{"op": "add", "path": "/spec/containers/-", "value": {"name": "proxy", "image": "proxy"}}]);
    let fake = FakeWebhooks::new(move |_, sent| answer(&sent, patch(sidecar.clone())));
    let server = start(&fake).await;
    let limits = json!({
        "metadata": {"name": "l"},
        "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m"}}]},
    });
    server.create::<LimitRange>(limits).await;
    let rules = json!({"rules": [{
        "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
    }]});
    mutating(&server, "m", vec![hook("m", rules)]).await;
    let count = "[JSONPatch{op: 'add', path: '/metadata/annotations', value: \
                 {'count': string(size(object.spec.containers))}}]";
    let policy = json!({
        "metadata": {"name": "count"},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
            }]},
            "reinvocationPolicy": "IfNeeded",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": count}}],
        },
    });
    server.create::<MutatingAdmissionPolicy>(policy).await;
    let binding = json!({"metadata": {"name": "count"}, "spec": {"policyName": "count"}});
    server.create::<MutatingAdmissionPolicyBinding>(binding).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = server.create::<Pod>(pod).await;
    assert_eq!(fake.calls().len(), 1, "it does not want to be asked again");
    assert_eq!(made.metadata.annotations.unwrap()["count"], "2");
    let containers = made.spec.unwrap().containers;
    assert_eq!(containers.len(), 2);
    for container in containers {
        let requests = container.resources.and_then(|resources| resources.requests).unwrap_or_default();
        assert_eq!(requests["cpu"].0, "100m", "{}", container.name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_scale_is_shown_as_a_scale_and_may_be_changed_as_one() {
    let fake = FakeWebhooks::new(|_, sent| {
        assert_eq!(sent["request"]["kind"]["kind"], "Scale");
        assert_eq!(sent["request"]["subResource"], "scale");
        assert_eq!(sent["request"]["oldObject"]["spec"]["replicas"], 1);
        assert_eq!(sent["request"]["object"]["spec"]["replicas"], 9);
        answer(&sent, patch(json!([{"op": "replace", "path": "/spec/replicas", "value": 3}])))
    });
    let server = start(&fake).await;
    let rules = json!({"rules": [{
        "operations": ["UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments/scale"],
    }]});
    mutating(&server, "m", vec![hook("m", rules)]).await;
    let labels = json!({"app": "web"});
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    });
    server.create::<Deployment>(deployment).await;
    let target = Target::of::<Deployment>(Some("default")).named("web").sub("scale");
    let patch = Patch::Merge(json!({"spec": {"replicas": 9}})).with(WriteOptions::default());
    let client = server.client();
    client.service().call(client.user(), target, patch).await.unwrap();
    let scaled = server.api::<Deployment>().get("web").await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(3));
}

#[test]
fn answers_of_the_first_version_need_not_say_which_question_they_answer() {
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1", "response": {
        "allowed": true, "patch": STANDARD.encode("[]"),
    }});
    let read = |version| review::read(review.to_string().as_bytes(), version, "uid", true);
    assert_eq!(read("v1beta1").unwrap().patch.as_deref(), Some(&b"[]"[..]));
    assert!(read("v1").is_err());
}

#[tokio::test(start_paused = true)]
async fn webhooks_judge_connections_and_change_nothing_of_them() {
    let refuse = json!({"allowed": false, "status": {"message": "no attaching"}});
    let fake = FakeWebhooks::new(move |url, sent| match url.contains("/v") {
        true => answer(&sent, refuse.clone()),
        false => answer(&sent, patch(json!([{"op": "add", "path": "/tty", "value": true}]))),
    });
    let server = start(&fake).await;
    let of = |part: &str| {
        json!({"rules": [{
            "operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"], "resources": [format!("pods/{part}")],
        }]})
    };
    validating(&server, "v", vec![hook("v", of("attach"))]).await;
    mutating(&server, "m", vec![hook("m", of("exec"))]).await;
    let admin = User::named("admin");
    let connect = async |part: &str, stream: Stream| {
        let target = Target::of::<Pod>(Some("default")).named("p").sub(part);
        let options = stream_options(Some("c"), &AttachOptions { stdin: true, ..AttachOptions::default() });
        server.server().admit_connection(&admin, &target, stream, options).await
    };
    let refused = connect("attach", Stream::Attach).await.unwrap_err();
    assert_eq!(refused.message(), "admission webhook \"v.example.com\" denied the request: no attaching");
    let sent: Value = serde_json::from_slice(&fake.calls()[0].body).unwrap();
    let request = &sent["request"];
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "PodAttachOptions"}));
    assert_eq!((&request["operation"], &request["subResource"]), (&json!("CONNECT"), &json!("attach")));
    let options = json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": true, "container": "c"});
    assert_eq!((&request["object"], &request["options"]), (&options, &Value::Null));
    let changed = connect("exec", Stream::Exec).await.unwrap_err();
    assert!(changed.message().contains("attempted to modify the object"), "{changed}");
    assert!(connect("portforward", Stream::PortForward).await.is_ok());
    assert_eq!(fake.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_webhooks_were_asked_and_what_they_changed_is_noted() {
    let fake = FakeWebhooks::new(|url, sent| match url {
        url if url.contains("/none") => Value::Null,
        url if url.contains("/changes") => {
            answer(&sent, patch(json!([{"op": "add", "path": "/data/b", "value": "2"}])))
        }
        url if url.contains("/notes") => {
            answer(&sent, json!({"allowed": true, "auditAnnotations": {"seen": "yes"}}))
        }
        _ => answer(&sent, json!({"allowed": true})),
    });
    let server = start(&fake).await;
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    mutating(&server, "m", vec![hook("idle", again), hook("changes", json!({}))]).await;
    let open = json!({"failurePolicy": "Ignore"});
    validating(&server, "v", vec![hook("notes", json!({})), hook("none", open)]).await;
    let notes = Notes::default();
    notes.during(make(&server, "a")).await.unwrap();
    let noted: Vec<_> = notes.all().into_iter().map(|(name, note)| (name, note.text, note.quotes)).collect();
    let expected = [
        ("failed-open.validating.webhook.admission.k8s.io/round_0_index_1", "none.example.com", false),
        (
            "mutation.webhook.admission.k8s.io/round_0_index_0",
            r#"{"configuration":"m","webhook":"idle.example.com","mutated":false}"#,
            false,
        ),
        (
            "mutation.webhook.admission.k8s.io/round_0_index_1",
            r#"{"configuration":"m","webhook":"changes.example.com","mutated":true}"#,
            false,
        ),
        (
            "mutation.webhook.admission.k8s.io/round_1_index_0",
            r#"{"configuration":"m","webhook":"idle.example.com","mutated":false}"#,
            false,
        ),
        ("notes.example.com/seen", "yes", false),
        (
            "patch.webhook.admission.k8s.io/round_0_index_1",
            r#"{"configuration":"m","webhook":"changes.example.com","patch":[{"op":"add","path":"/data/b","value":"2"}],"patchType":"JSONPatch"}"#,
            true,
        ),
    ];
    let expected: Vec<_> =
        expected.map(|(name, text, quotes)| (name.to_owned(), text.to_owned(), quotes)).into();
    assert_eq!(noted, expected);
}
