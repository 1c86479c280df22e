//! Tokens from their request to the day on which they do not count any more.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use serde_json::{Value, json};

use super::{ServiceAccountTokens, TokenRequests, Unsigned, for_secret, sign};
use crate::access::tokens::claims::Bound;
use crate::api::access::{API_AUDIENCE, Authenticator as _, Credentials};
use crate::api::{Question, Responder as _, Status, Target, User};
use crate::meta::Object;
use crate::testing::TestServer;

/// A server with the account `s` and the pod `p` of it, and who issues tokens and knows them.
struct World {
    server: TestServer,
    requests: TokenRequests,
    tokens: ServiceAccountTokens,
}

impl World {
    async fn new() -> Self {
        let server = TestServer::start().await;
        server.create::<ServiceAccount>(json!({"metadata": {"name": "s"}})).await;
        let pod = json!({
            "metadata": {"name": "p"},
            "spec": {"serviceAccountName": "s", "containers": [{"name": "c", "image": "i"}]},
        });
        server.create::<Pod>(pod).await;
        let (caches, clock) = (server.server().caches(), server.clock());
        let requests = TokenRequests::new(caches, &clock, Arc::new(Unsigned));
        let tokens = ServiceAccountTokens::new(caches, &clock, Arc::new(Unsigned));
        Self { server, requests, tokens }
    }

    async fn ask_as(&self, user: &User, account: &str, body: Value) -> Result<Value, Status> {
        let target = Target::of::<ServiceAccount>(Some("default")).named(account);
        let kinds = self.server.server().kinds();
        let resource = kinds.get(&target.id()).unwrap();
        let question = Question { user, resource, target: &target, dry_run: false };
        self.requests.respond(&question, body).await
    }

    async fn ask(&self, spec: Value) -> Result<Value, Status> {
        self.ask_as(&User::admin(), "s", json!({"spec": spec})).await
    }

    async fn token(&self, spec: Value) -> String {
        self.ask(spec).await.unwrap()["status"]["token"].as_str().unwrap().to_owned()
    }

    async fn user(&self, token: &str) -> Result<Option<User>, String> {
        let known = self.tokens.authenticate(&Credentials::new(None, Some(token))).await;
        known.map_err(|status| {
            assert_eq!(status.code(), 401);
            status.message().to_owned()
        })
    }

    fn uid<K: Object>(&self, name: &str) -> String {
        let cache = self.server.server().caches().of::<K>().unwrap();
        cache.get(&crate::meta::ObjectName::namespaced("default", name)).unwrap().uid().as_str().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_its_account_until_it_ends() {
    let world = World::new().await;
    let token = world.token(json!({"expirationSeconds": 600})).await;
    let user = world.user(&token).await.unwrap().unwrap();
    assert_eq!(user.name, "system:serviceaccount:default:s");
    assert_eq!(user.uid, world.uid::<ServiceAccount>("s"));
    assert_eq!(
        user.groups,
        ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    );
    assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("JTI="));
    tokio::time::sleep(Duration::from_secs(602)).await;
    assert_eq!(world.user(&token).await, Err("service account token has expired".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_with_what_it_is_bound_to() {
    let world = World::new().await;
    let bound = json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}});
    let (of_pod, of_account) = (world.token(bound).await, world.token(json!({})).await);
    let user = world.user(&of_pod).await.unwrap().unwrap();
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert_eq!(user.extra["authentication.kubernetes.io/pod-uid"], [world.uid::<Pod>("p")]);
    let client = world.server.client();
    client.api::<Pod>("default").delete("p").await.unwrap();
    assert!(world.user(&of_pod).await.is_err() && world.user(&of_account).await.is_ok());
    client.api::<ServiceAccount>("default").delete("s").await.unwrap();
    assert!(world.user(&of_account).await.is_err());
    world.server.create::<ServiceAccount>(json!({"metadata": {"name": "s"}})).await;
    let error = world.user(&of_account).await.unwrap_err();
    assert!(error.contains("replaced"), "another account of that name: {error}");
}

#[tokio::test(start_paused = true)]
async fn audiences_must_meet() {
    let world = World::new().await;
    let token = world.token(json!({"audiences": ["a", "b"]})).await;
    let review = async |wanted: &[&str]| {
        let wanted: Vec<String> = wanted.iter().copied().map(str::to_owned).collect();
        let known = world.tokens.review(&token, &wanted).await;
        known.map(|known| known.unwrap().audiences).map_err(|status| status.message().to_owned())
    };
    assert_eq!(review(&["b", "z"]).await, Ok(vec!["b".to_owned()]));
    let error =
        format!("token audiences [\"a\" \"b\"] is invalid for the target audiences [{API_AUDIENCE:?}]");
    assert_eq!(review(&[]).await, Err(error.clone()));
    assert_eq!(world.user(&token).await, Err(error));
}

#[tokio::test(start_paused = true)]
async fn requests_that_cannot_be_are_refused_in_kubernetes_words() {
    let world = World::new().await;
    let bound = |kind: &str, name: &str, uid: &str| json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name, "uid": uid}});
    for (spec, code, message) in [
        (json!({"expirationSeconds": 599}), 422, "may not specify a duration less than 10 minutes"),
        (
            json!({"expirationSeconds": 1_u64 << 33}),
            422,
            "may not specify a duration larger than 2^32 seconds",
        ),
        (bound("Pod", "none", ""), 404, "pods \"none\" not found"),
        (
            bound("Pod", "p", "other"),
            409,
            "the UID in the bound object reference (other) does not match the UID in record",
        ),
        (bound("Service", "x", ""), 400, "cannot bind token to object of type /v1, Kind=Service"),
    ] {
        let status = world.ask(spec.clone()).await.unwrap_err();
        assert_eq!(status.code(), code, "{spec}");
        assert!(status.message().contains(message), "{}", status.message());
    }
    world.server.create::<ServiceAccount>(json!({"metadata": {"name": "t"}})).await;
    let body = json!({"spec": bound("Pod", "p", "")});
    let status = world.ask_as(&User::admin(), "t", body).await.unwrap_err();
    assert!(
        status.message().contains("to pod running with different serviceaccount name"),
        "{}",
        status.message()
    );
    assert_eq!(world.ask_as(&User::admin(), "none", json!({})).await.unwrap_err().code(), 404);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_for_the_account_that_it_names() {
    let world = World::new().await;
    let uid = world.uid::<ServiceAccount>("s");
    let ask = async |metadata: Value| world.ask_as(&User::admin(), "s", json!({"metadata": metadata})).await;
    let given = json!({"name": "s", "uid": uid, "labels": {"a": "b"}});
    let granted = ask(given).await.unwrap();
    assert_eq!(granted["metadata"]["uid"], uid);
    assert_eq!(granted["metadata"]["namespace"], "default");
    assert_eq!(granted["metadata"]["labels"]["a"], "b");
    assert_eq!(ask(json!({})).await.unwrap()["metadata"]["uid"], uid);
    let why = "must match the service account name if specified";
    let of_another = format!(
        "TokenRequest.authentication.k8s.io \"s\" is invalid: metadata.name: Invalid value: \"t\": {why}"
    );
    let elsewhere = "the namespace of the provided object does not match the namespace sent on the request";
    let other_life = format!(
        "Operation cannot be fulfilled on TokenRequest.authentication.k8s.io \"s\": the UID in the token request (u) \
         does not match the UID of the service account ({uid})"
    );
    for (metadata, code, message) in [
        (json!({"name": "t"}), 422, &*of_another),
        (json!({"namespace": "elsewhere"}), 400, elsewhere),
        (json!({"uid": "u"}), 409, &*other_life),
    ] {
        let refused = ask(metadata).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (code, message));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_asks_only_for_its_own_pods() {
    let world = World::new().await;
    let node = User::named("system:node:n").in_group("system:nodes");
    let uid = world.uid::<Pod>("p");
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid});
    for (spec, message) in [
        (json!({}), "node requested token not bound to a pod"),
        (
            json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}),
            "node requested token with a pod binding without a uid",
        ),
        (
            json!({"boundObjectRef": bound}),
            "node requested token bound to a pod scheduled on a different node",
        ),
    ] {
        let status = world.ask_as(&node, "s", json!({"spec": spec})).await.unwrap_err();
        assert_eq!(status.code(), 403);
        assert!(status.message().ends_with(message), "{}", status.message());
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_here_has_signed_is_nobodys() {
    let world = World::new().await;
    let token = world.token(json!({})).await;
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = message.split_once('.').unwrap();
    let other_claims = {
        let parsed = super::parse(&token).unwrap();
        let mut claims = parsed.claims;
        claims["iss"] = json!("https://another.example.com");
        sign(&Unsigned, &claims).unwrap()
    };
    let none = sign(&NoAlgorithm, &super::parse(&token).unwrap().claims).unwrap();
    let long = "a".repeat(100_000);
    for (token, known) in [
        ("", Ok(None)),
        ("garbage", Ok(None)),
        (&*long, Ok(None)),
        (&*other_claims, Ok(None)),
        (&*none, Err(())),
        (&*format!("{message}."), Err(())),
        (&*format!("{message}.{}", &signature[4..]), Err(())),
        (&*format!("{claims}.{header}.{signature}"), Ok(None)),
    ] {
        assert_eq!(world.user(token).await.map_err(|_| ()), known, "{token:.40}");
    }
}

/// Signs nothing, and says so.
#[derive(Debug)]
struct NoAlgorithm;

impl super::SigningKeys for NoAlgorithm {
    fn algorithm(&self) -> &str {
        "none"
    }

    fn key_id(&self) -> &str {
        "k"
    }

    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, Status> {
        Ok(Vec::new())
    }

    fn verify(&self, _: &str, _: Option<&str>, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn public(&self) -> Value {
        Unsigned.public()
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_in_a_secret_counts_while_it_stands_there() {
    use base64::Engine as _;
    let world = World::new().await;
    let account = Bound { name: "s".to_owned(), uid: world.uid::<ServiceAccount>("s") };
    let token = for_secret(&Unsigned, "default", "t", &account).unwrap();
    assert!(world.user(&token).await.is_err(), "there is no such Secret");
    let encode = |text: &str| base64::prelude::BASE64_STANDARD.encode(text);
    let secret = json!({
        "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "s"}},
        "type": "kubernetes.io/service-account-token",
        "data": {"token": encode(&token)},
    });
    world.server.create::<Secret>(secret).await;
    assert_eq!(world.user(&token).await.unwrap().unwrap().name, "system:serviceaccount:default:s");
    let patch = json!({"data": {"token": encode("another")}});
    let secrets = world.server.client().api::<Secret>("default");
    secrets.patch("t", crate::api::Patch::Merge(patch)).await.unwrap();
    assert_eq!(world.user(&token).await, Err("service account token has been invalidated".to_owned()));
}
