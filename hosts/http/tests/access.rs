//! Who is let in, and what strangers can do: nothing that costs.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use orchestra_core::api::User;
use orchestra_core::api::access::{AccessRequest, Authorizer, Chain, Decision, standard};
use orchestra_core::cluster::Cluster;
use orchestra_core::testing::until;
use orchestra_http::{Anonymous, Limits};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower_service::Service as _;

use support::{SOMEONE, Served, TOKEN};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Sends bytes on a connection of their own, and reads until the server ends it.
async fn raw(served: &Served, sent: &[u8]) -> String {
    let mut stream = served.connect().await;
    stream.write_all(sent).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    // A server that closes while more is on its way resets the connection, which is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_stranger_is_answered_before_the_body_is_read() {
    let served = Served::start().await;
    let mut request = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    // The body is begun and never ended: a server that waits for it does not answer.
    request.extend(b"1\r\na\r\n".repeat(1000));
    let answer = raw(&served, &request).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("connection: close"), "what is left of the body is no request: {answer}");
}

#[tokio::test]
async fn what_is_announced_and_too_large_is_refused_before_it_comes() {
    let served = Served::start().await;
    let request = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: a\r\nauthorization: {TOKEN}\r\ncontent-length: 3145729\r\n\r\n"
    );
    let answer = raw(&served, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("Request entity too large: limit is 3145728"), "{answer}");
}

#[tokio::test]
async fn a_request_of_two_hosts_is_none() {
    let served = Served::start().await;
    let request = format!(
        "GET /version HTTP/1.1\r\nhost: a\r\nhost: b\r\nauthorization: {TOKEN}\r\nconnection: close\r\n\r\n"
    );
    let answer = raw(&served, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn who_may_acts_for_another_and_nobody_else() {
    let served = Served::with(Cluster::builder().rbac(), |face| face).await;
    let list = async |headers: &[(&'static str, &str)]| served.get(MAPS, headers).await;
    assert_eq!(list(&[("impersonate-user", "ann")]).await.code, 403, "ann may do nothing");
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let binding = json!({
        "metadata": {"name": "ann"},
        "roleRef": {"kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "ann"}],
    });
    assert_eq!(served.send(Method::POST, roles, &[], binding.to_string()).await.code, 201);
    // What `view` allows is gathered by a controller.
    let patience = Duration::from_secs(30);
    until("what `view` allows is gathered", patience, async || {
        (list(&[("impersonate-user", "ann")]).await.code == 200).then_some(())
    })
    .await;
    let answer = list(&[SOMEONE, ("impersonate-user", "ann")]).await;
    assert_eq!(answer.code, 403);
    let message = "users \"ann\" is forbidden: User \"someone\" cannot impersonate resource \"users\" in API group \
                   \"\" at the cluster scope";
    assert_eq!(answer.json()["message"], message);
    for header in ["impersonate-group", "impersonate-uid", "impersonate-extra-scopes"] {
        assert_eq!(list(&[(header, "nobody")]).await.code, 400, "{header} names nobody");
    }
}

/// Commands take the right to create, however they are asked for; and what is asked for has to be a connection.
#[tokio::test]
async fn who_may_only_read_steps_into_no_pod() {
    let served = Served::with(Cluster::builder().rbac(), |face| face).await;
    let rules =
        json!([{"apiGroups": [""], "resources": ["pods/exec", "pods/portforward"], "verbs": ["get"]}]);
    let role = json!({"metadata": {"name": "reader"}, "rules": rules});
    let binding = json!({
        "metadata": {"name": "reader"},
        "roleRef": {"kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": "someone"}],
    });
    for (kind, object) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/{kind}");
        assert_eq!(served.send(Method::POST, &path, &[], object.to_string()).await.code, 201);
    }
    let pod = "/api/v1/namespaces/default/pods/a";
    let exec = format!("{pod}/exec?command=true&stdout=1");
    let forward = format!("{pod}/portforward?ports=80");
    for path in [&exec, &forward] {
        let answer = served.get(path, &[SOMEONE]).await;
        assert_eq!(answer.code, 403, "{}", answer.text());
        assert!(answer.text().contains("cannot create resource"), "{}", answer.text());
        let answer = served.get(path, &[]).await;
        assert_eq!((answer.code, answer.text().contains("Upgrade request required")), (400, true));
    }
    let socket = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let with = |more: &[(&'static str, &'static str)]| [&socket[..], &[key], more].concat();
    let known = ("sec-websocket-protocol", "v5.channel.k8s.io");
    for (path, headers, code, told) in [
        (exec.clone(), with(&[]), 404, "pods \\\"a\\\" not found"),
        (
            exec.clone(),
            with(&[("sec-websocket-protocol", "v9.channel.k8s.io")]),
            400,
            "none of the protocols",
        ),
        (exec.clone(), [&socket[..], &[known]].concat(), 400, "Sec-WebSocket-Key"),
        (exec.clone(), with(&[known]), 404, "pods \\\"a\\\" not found"),
        (format!("{pod}/exec?stdout=1"), with(&[known]), 400, "specify a command"),
        (format!("{pod}/exec?command=true"), with(&[known]), 400, "at least 1 of stdin, stdout, stderr"),
        (forward, with(&[known]), 400, "none of the protocols"),
        (
            format!("{pod}/portforward?ports=0"),
            with(&[("sec-websocket-protocol", "v4.channel.k8s.io")]),
            400,
            "as a port",
        ),
    ] {
        let answer = served.get(&path, &headers).await;
        assert_eq!((answer.code, answer.text().contains(told)), (code, true), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn who_does_not_say_who_they_are_is_let_in_only_where_the_host_says() {
    let paths = Anonymous::Paths(vec!["/readyz".to_owned()]);
    let served = Served::with(Cluster::builder(), |face| face.anonymous(paths)).await;
    for (path, code) in [("/readyz", 200), ("/livez", 401), ("/version", 401), (MAPS, 401)] {
        assert_eq!(served.get(path, &[("authorization", "")]).await.code, code, "{path}");
    }
}

fn short() -> Limits {
    let mut limits = Limits::default();
    let soon = Duration::from_millis(100);
    (limits.first, limits.idle, limits.drain) = (soon, soon, soon);
    limits
}

#[tokio::test]
async fn connections_that_bring_nothing_are_closed() {
    let served = Served::with(Cluster::builder(), |face| face.limits(short())).await;
    // Ends by the server's deadline alone: nothing is sent, a part of a head, a request and no more.
    assert_eq!(raw(&served, b"").await, "");
    raw(&served, b"GET /version HTTP/1.1\r\nhost:").await;
    let answer = raw(&served, b"GET /version HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_watch_is_not_idle() {
    let served = Served::with(Cluster::builder(), |face| face.limits(short())).await;
    let request =
        format!("GET {MAPS}?watch=1&timeoutSeconds=1 HTTP/1.1\r\nhost: a\r\nauthorization: {TOKEN}\r\n\r\n");
    let answer = raw(&served, request.as_bytes()).await;
    assert!(answer.ends_with("0\r\n\r\n"), "ten times as long as a connection may be idle: {answer}");
}

#[tokio::test]
async fn more_connections_than_there_may_be_wait_for_their_turn() {
    let mut limits = short();
    limits.connections = 2;
    let served = Served::with(Cluster::builder(), |face| face.limits(limits)).await;
    let silent = (served.connect().await, served.connect().await);
    let answer = served.get("/version", &[]).await;
    assert_eq!(answer.code, 200, "the silent ones were closed");
    drop(silent);
}

/// Remembers what it is asked.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Authorizer for Recorder {
    async fn authorize(&self, user: &User, request: &AccessRequest<'_>) -> Decision {
        if user.name == "someone" {
            self.0.lock().unwrap().push(request.to_string());
        }
        Decision::no_opinion()
    }
}

#[tokio::test]
async fn no_request_passes_by_the_authorizer() {
    let recorder = Recorder::default();
    let chain = Chain::new().then(recorder.clone()).then(standard());
    let served = Served::with(Cluster::builder().authorizer(|_| chain), |face| face).await;
    for (path, asked) in [
        ("/healthz", "get path \"/healthz\""),
        ("/readyz/etcd", "get path \"/readyz/etcd\""),
        ("/version/", "get path \"/version\""),
        ("/metrics", "get path \"/metrics\""),
        ("/", "get path \"/\""),
        ("/api", "get path \"/api\""),
        ("/apis/apps/v1", "get path \"/apis/apps/v1\""),
        ("/openapi/v3/api/v1", "get path \"/openapi/v3/api/v1\""),
        ("/orchestra/v1/backup", "get path \"/orchestra/v1/backup\""),
        ("/none", "get path \"/none\""),
        (MAPS, "list resource \"configmaps\" in API group \"\" in the namespace \"default\""),
        ("/api/v1/nodes/n", "get resource \"nodes\" in API group \"\" at the cluster scope"),
        (
            "/apis/apps/v1/deployments?watch=1&timeoutSeconds=-1",
            "watch resource \"deployments\" in API group \"apps\" at the cluster scope",
        ),
        (
            "/api/v1/namespaces/default/pods/p/log",
            "get resource \"pods/log\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "/api/v1/namespaces/default/configmaps/m/history",
            "get resource \"configmaps/history\" in API group \"\" in the namespace \"default\"",
        ),
        (
            "/apis/made.up/v1/namespaces/default/things",
            "list resource \"things\" in API group \"made.up\" in the namespace \"default\"",
        ),
    ] {
        served.get(path, &[SOMEONE]).await;
        let heard = std::mem::take(&mut *recorder.0.lock().unwrap());
        assert_eq!(heard.first().map(String::as_str), Some(asked), "{path}: {heard:?}");
    }
}

/// Denies a user whatever is no resource.
#[derive(Debug)]
struct NoPaths;

#[async_trait]
impl Authorizer for NoPaths {
    async fn authorize(&self, _: &User, request: &AccessRequest<'_>) -> Decision {
        match request {
            AccessRequest::Path { .. } => Decision::deny("paths are not for you"),
            _ => Decision::no_opinion(),
        }
    }
}

#[tokio::test]
async fn a_refusal_is_in_kubernetes_words() {
    let builder = Cluster::builder().authorizer(|_| Chain::new().then(NoPaths));
    let served = Served::with(builder, |face| face).await;
    for (path, message) in [
        ("/metrics", "forbidden: User \"someone\" cannot get path \"/metrics\": paths are not for you"),
        (
            MAPS,
            "configmaps is forbidden: User \"someone\" cannot list resource \"configmaps\" in API group \"\" in \
             the namespace \"default\"",
        ),
    ] {
        let answer = served.get(path, &[SOMEONE]).await;
        assert_eq!((answer.code, answer.json()["message"].as_str()), (403, Some(message)));
        let anonymous = served.get(path, &[("authorization", "")]).await;
        assert_eq!(anonymous.code, 403, "{path}");
        assert!(anonymous.text().contains("User \\\"system:anonymous\\\" cannot "), "{}", anonymous.text());
    }
}

#[tokio::test]
async fn a_service_without_a_socket_answers_as_its_user() {
    let served = Served::start().await;
    let mut nobody = served.api.frontend().local(User::anonymous());
    let mut admin = served.api.frontend().local(User::admin());
    let request = || Request::get(MAPS).body(Full::<bytes::Bytes>::default()).unwrap();
    assert_eq!(nobody.call(request()).await.unwrap().status(), 403);
    let answer = admin.call(request()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(br#"{"kind":"ConfigMapList""#), "{body:?}");
}

#[tokio::test]
async fn what_only_a_server_says_of_an_object_is_not_taken_from_who_asks_for_a_review() {
    let served = Served::with(Cluster::builder().rbac(), |face| face).await;
    let ask = async |metadata: serde_json::Value| {
        let review = json!({ "metadata": metadata,
            "spec": { "resourceAttributes": { "verb": "get", "resource": "pods" } } });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        served.send(Method::POST, path, &[], review.to_string()).await
    };
    let made = ask(json!({ "creationTimestamp": "2020-01-01T00:00:00Z", "uid": "u" })).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let refused = ask(json!({ "name": "n", "labels": { "a": "b" } })).await;
    let shown =
        "metadata: Invalid value: {\"name\":\"n\",\"labels\":{\"a\":\"b\"},\"managedFields\":[{\"manager\":";
    let json = refused.json();
    let told = json["message"].as_str().unwrap_or_default();
    assert!(refused.code == 422 && told.contains(shown), "{told}");
}
