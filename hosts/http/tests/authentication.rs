//! Who is known by what others say, over real connections.

#[path = "support/peer.rs"]
mod peer;
mod support;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Method;
use orchestra_core::access::bootstrap_tokens::BootstrapTokens;
use orchestra_core::api::{Patch, Service as _, Target};
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::Cluster;
use orchestra_core::controllers;
use orchestra_core::k8s_openapi::ByteString;
use orchestra_core::k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use orchestra_core::testing::until;
use orchestra_http::{
    ApiHost, Authority, Endpoint, FrontProxy, Frontend, Issued, Issuer, OidcTokens, TokenWebhook,
};
use peer::Peer;
use serde_json::{Value, json};
use support::Served;
use tokio::net::TcpListener;

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

/// Whom a server takes the bearer of a token for, or the code with which it refuses.
async fn whose(served: &Served, token: &str) -> Result<Value, u16> {
    let header = format!("Bearer {token}");
    let answer = served.send(Method::POST, WHO, &[("authorization", &header)], "{}").await;
    if answer.code == 201 { Ok(answer.json()["status"]["userInfo"].clone()) } else { Err(answer.code) }
}

fn review(status: &Value) -> String {
    json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status }).to_string()
}

#[tokio::test]
async fn a_server_that_is_asked_says_whose_a_token_is_and_is_asked_once() {
    let peer = Peer::start(|path, body| match (path, body["spec"]["token"].as_str()) {
        ("/ask", Some("anns")) => {
            let user =
                json!({ "username": "ann", "uid": "7", "groups": ["devs"], "extra": { "a/b": ["c"] } });
            (200, review(&json!({ "authenticated": true, "user": user })))
        }
        ("/ask", Some("broken")) => (500, String::new()),
        ("/ask", Some("huge")) => (200, "x".repeat(8 * 1024 * 1024)),
        _ => (200, review(&json!({ "authenticated": false }))),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::read(&peer.kubeconfig(directory.path())).unwrap();
    let webhook = TokenWebhook::new(endpoint, &TokioClock::system(), Duration::from_secs(120));
    let served = Served::with(Cluster::builder(), |face| face.authenticator(webhook)).await;
    for _ in 0..3 {
        let ann = whose(&served, "anns").await.unwrap();
        let expected = json!({
            "username": "ann", "uid": "7", "groups": ["devs", "system:authenticated"], "extra": { "a/b": ["c"] },
        });
        assert_eq!(ann, expected);
    }
    assert_eq!(peer.count(), 1, "its answer is remembered");
    assert_eq!(whose(&served, "nobodys").await, Err(401));
    for token in ["broken", "huge"] {
        assert!(whose(&served, token).await.is_err(), "{token}");
        let before = peer.count();
        assert!(whose(&served, token).await.is_err());
        assert_eq!(peer.count(), before + 1, "what failed is asked again: {token}");
    }
    let asked = peer.asked.lock().unwrap()[0].1.clone();
    assert_eq!(asked["spec"]["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
}

/// An issuer of tokens.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap())
    }

    fn token(&self, claims: &Value) -> String {
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let header = json!({ "alg": "ES256", "kid": "k" }).to_string();
        let message = format!("{}.{}", encode(header.as_bytes()), encode(claims.to_string().as_bytes()));
        let signed = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", encode(signed.as_ref()))
    }

    fn public(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "x": x, "y": y }] })
    }
}

#[tokio::test]
async fn tokens_of_an_issuer_are_known_by_the_keys_that_it_publishes() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let url = Arc::new(std::sync::OnceLock::<String>::new());
    let (keys, own) = (signer.public(), Arc::clone(&url));
    let peer = Peer::start(move |path, _| match path {
        "/.well-known/openid-configuration" => {
            let url = own.get().cloned().unwrap_or_default();
            (200, json!({ "issuer": url, "jwks_uri": format!("{url}/keys") }).to_string())
        }
        "/keys" => (200, keys.to_string()),
        _ => (404, String::new()),
    })
    .await;
    url.set(peer.url.clone()).unwrap();
    let mut issuer =
        Issuer::new(&peer.url, vec!["cluster".to_owned()]).username("email", "o:").groups("roles", "");
    issuer.authority = Some(peer.authority.clone());
    let tokens = OidcTokens::new(issuer, &TokioClock::system()).unwrap();
    let served = Served::with(Cluster::builder(), |face| face.authenticator(tokens)).await;
    let claims = |audience: &str, lasts: i64| {
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
        json!({ "iss": peer.url, "aud": audience, "exp": now + lasts, "email": "ann@a", "roles": ["devs"] })
    };
    for _ in 0..2 {
        let ann = whose(&served, &signer.token(&claims("cluster", 60))).await.unwrap();
        assert_eq!(ann, json!({ "username": "o:ann@a", "groups": ["devs", "system:authenticated"] }));
    }
    assert_eq!(peer.count(), 2, "its keys are fetched once");
    for token in [
        signer.token(&claims("other", 60)),
        signer.token(&claims("cluster", -60)),
        stranger.token(&claims("cluster", 60)),
        signer.token(&json!({ "iss": "https://other", "aud": "cluster" })),
    ] {
        assert_eq!(whose(&served, &token).await, Err(401), "{token}");
    }
    assert_eq!(peer.count(), 2, "strangers do not make it fetch them again at once");
}

#[tokio::test]
async fn bootstrap_tokens_are_known_and_removed_when_they_end() {
    let served = Served::with(Cluster::builder().rbac(), |face| {
        let server = Arc::clone(face.server());
        face.authenticator(BootstrapTokens::new(server.caches(), server.clock()))
    })
    .await;
    let secret = |id: &str, expiration: &str| {
        json!({
            "metadata": { "name": format!("bootstrap-token-{id}") },
            "type": "bootstrap.kubernetes.io/token",
            "stringData": {
                "token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
                "expiration": expiration,
            },
        })
    };
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    for (id, expiration) in [("abcdef", "2100-01-01T00:00:00Z"), ("ended0", "2001-01-01T00:00:00Z")] {
        let made = served.send(Method::POST, secrets, &[], secret(id, expiration).to_string()).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
    let user = whose(&served, "abcdef.0123456789abcdef").await.unwrap();
    assert_eq!(
        user,
        json!({ "username": "system:bootstrap:abcdef", "groups": ["system:bootstrappers", "system:authenticated"] })
    );
    assert_eq!(whose(&served, "ended0.0123456789abcdef").await, Err(401));
    assert_eq!(whose(&served, "abcdef.0123456789abcdeg").await, Err(401));
    until("the token that has ended is gone", Duration::from_secs(10), async || {
        let answer = served.get(&format!("{secrets}/bootstrap-token-ended0"), &[]).await;
        (answer.code == 404).then_some(())
    })
    .await;
}

/// A server behind proxies of an authority of their own, and a client with a certificate.
struct Behind {
    api: ApiHost,
    clients: Authority,
    _cluster: Cluster,
}

impl Behind {
    async fn start(proxy: FrontProxy) -> Self {
        let clients = Authority::new().unwrap();
        let tls = clients.issue_api_server_behind(&[], &[], Some(proxy.authority())).unwrap();
        let cluster = Cluster::builder().start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = ApiHost::new(listener, tls, Frontend::new(&cluster).behind(proxy)).unwrap();
        Self { api, clients, _cluster: cluster }
    }

    async fn name(&self, identity: &Issued, headers: &[(&str, &str)]) -> String {
        let stream =
            support::connect_as(self.api.address(), self.clients.certificate(), Some(identity)).await;
        let answer = support::post_on(stream, WHO, headers, "{}").await;
        match answer.code {
            201 => answer.json()["status"]["userInfo"]["username"].as_str().unwrap().to_owned(),
            code => code.to_string(),
        }
    }
}

#[tokio::test]
async fn a_proxy_is_believed_for_its_certificate_alone() {
    let proxies = Authority::new().unwrap();
    let proxy = FrontProxy::new(proxies.certificate()).unwrap().names(vec!["front".to_owned()]);
    let behind = Behind::start(proxy).await;
    let [front, other] = ["front", "other"].map(|name| proxies.issue_client(name, &[]).unwrap());
    let client = behind.clients.issue_client("bob", &[]).unwrap();
    let imposter = behind.clients.issue_client("front", &[]).unwrap();
    let says = [("x-remote-user", "ann")];
    assert_eq!(behind.name(&front, &says).await, "ann");
    assert_eq!(behind.name(&front, &[]).await, "403", "a proxy is no user");
    assert_eq!(behind.name(&other, &says).await, "403", "one of another name is nobody");
    assert_eq!(behind.name(&client, &says).await, "bob", "what clients say of themselves does not count");
    assert_eq!(behind.name(&imposter, &says).await, "front", "nor by a name that is a proxy's");
}

#[tokio::test]
async fn who_asks_for_a_certificate_is_known_by_it_once_it_is_approved() {
    let authority = Arc::new(Authority::new().unwrap());
    let tls = authority.issue_api_server(&[], &[]).unwrap();
    let controllers = controllers::Config {
        authority: Some(Arc::clone(&authority) as _),
        ..controllers::Config::default()
    };
    let cluster = Cluster::builder().controllers(controllers).start().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = ApiHost::new(listener, tls, Frontend::new(&cluster)).unwrap();

    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "devs");
    params.distinguished_name.push(rcgen::DnType::CommonName, "ann");
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let object = json!({
        "metadata": {"name": "ann"},
        "spec": {
            "request": ByteString(request.into_bytes()), "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"], "expirationSeconds": 3600,
        },
    });
    let client = cluster.client();
    let requests = client.cluster::<CertificateSigningRequest>();
    requests.create(&serde_json::from_value(object).unwrap()).await.unwrap();
    let approved =
        json!([{"type": "Approved", "status": "True", "reason": "ByHand", "message": "it is ann"}]);
    let approval = Target::of::<CertificateSigningRequest>(None).named("ann").sub("approval");
    let patch = Patch::Merge(json!({"status": {"conditions": approved}}));
    client.call(approval, patch.operation()).await.unwrap();
    let certificate = until("a certificate", Duration::from_secs(60), async || {
        requests.get("ann").await.unwrap().status.unwrap_or_default().certificate
    })
    .await;
    let certificate = String::from_utf8(certificate.0).unwrap();
    let identity = Issued { certificate, key: key.serialize_pem() };
    let stream = support::connect_as(api.address(), authority.certificate(), Some(&identity)).await;
    let answer = support::post_on(stream, WHO, &[], "{}").await;
    let user = &answer.json()["status"]["userInfo"];
    assert_eq!((&user["username"], &user["groups"][0]), (&json!("ann"), &json!("devs")));
}
