use std::future::pending;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;

use super::*;
use crate::testing::{FakeWebhooks, TestServer};

const SECONDS: Duration = Duration::from_secs(5);

fn webhooks(server: &TestServer, caller: Option<Arc<FakeWebhooks>>) -> Webhooks {
    let caller = caller.map(|caller| caller as Arc<dyn Caller>);
    Webhooks::new(caller, server.server().caches(), &server.clock())
}

fn of_service(name: &str, port: u16) -> ClientConfig {
    let service = ServiceReference {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        path: Some("check".to_owned()),
        port: Some(port),
    };
    ClientConfig { service: Some(service), ..ClientConfig::default() }
}

fn of_url(url: &str) -> ClientConfig {
    ClientConfig { url: Some(url.to_owned()), ..ClientConfig::default() }
}

async fn make_service(server: &TestServer) {
    let service = json!({
        "metadata": {"name": "hook"},
        "spec": {"clusterIP": "10.96.1.1", "ports": [{"name": "a", "port": 443}, {"name": "b", "port": 8443}]},
    });
    server.create::<Service>(service).await;
    let slice = json!({
        "metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4",
        "ports": [{"name": "a", "port": 9443, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
            {"addresses": ["10.0.0.3"]},
        ],
    });
    server.create::<EndpointSlice>(slice).await;
}

#[tokio::test(start_paused = true)]
async fn a_service_is_found_at_its_ready_endpoints_and_then_at_its_cluster_ip() {
    let server = TestServer::start().await;
    make_service(&server).await;
    let external = json!({
        "metadata": {"name": "far"},
        "spec": {"type": "ExternalName", "externalName": "hooks.example.com"},
    });
    server.create::<Service>(external).await;
    let services = Services::new(server.server().caches());
    let addresses = |all: &[&str]| Connect::Addresses(all.iter().map(|one| one.parse().unwrap()).collect());
    for (name, port, url, connect) in [
        (
            "hook",
            443,
            "https://hook.default.svc:443/check?timeout=5s",
            addresses(&["10.0.0.2:9443", "10.0.0.3:9443", "10.96.1.1:443"]),
        ),
        ("hook", 8443, "https://hook.default.svc:8443/check?timeout=5s", addresses(&["10.96.1.1:8443"])),
        (
            "far",
            443,
            "https://far.default.svc:443/check?timeout=5s",
            Connect::Host("hooks.example.com".to_owned(), 443),
        ),
    ] {
        let call = services.find(&of_service(name, port), SECONDS).unwrap();
        assert_eq!((call.url.as_str(), call.connect), (url, connect));
    }
    for (config, why) in [
        (
            of_service("none", 443),
            "Post \"https://none.default.svc:443/check?timeout=5s\": service \"none\" not found",
        ),
        (
            of_service("hook", 1),
            "Post \"https://hook.default.svc:1/check?timeout=5s\": no service port 1 found for service \"hook\"",
        ),
        (ClientConfig::default(), "webhook configuration must have either service or URL"),
    ] {
        assert_eq!(services.find(&config, SECONDS).unwrap_err().to_string(), why);
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_that_never_answers_costs_its_timeout_and_one_that_answers_too_much_is_refused() {
    let server = TestServer::start().await;
    let began = server.clock().elapsed();
    let silent = webhooks(&server, Some(FakeWebhooks::with(|_| Box::pin(pending()))));
    let error = silent.call(&of_url("https://h.example.com/x?a=b"), Bytes::new(), SECONDS).await.unwrap_err();
    assert_eq!(*error.cause(), CallError::Timeout);
    assert_eq!(
        error.to_string(),
        "Post \"https://h.example.com/x?a=b&timeout=5s\": context deadline exceeded"
    );
    assert_eq!(server.clock().elapsed() - began, SECONDS);

    let loud = FakeWebhooks::with(|_| Box::pin(async { Ok(Bytes::from(vec![b' '; MAX_ANSWER + 1])) }));
    let error = webhooks(&server, Some(loud)).call(&of_url("https://h/"), Bytes::new(), SECONDS).await;
    assert_eq!(error, Err(CallError::TooLarge(MAX_ANSWER)));

    let verbose = FakeWebhooks::with(|_| {
        Box::pin(async { Err(CallError::Status { code: 500, text: "é".repeat(10_000) }) })
    });
    let error = webhooks(&server, Some(verbose)).call(&of_url("https://h/"), Bytes::new(), SECONDS).await;
    assert!(matches!(error, Err(CallError::Status { code: 500, text }) if text.len() <= 1024));
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_a_caller_says_so() {
    let server = TestServer::start().await;
    let error = webhooks(&server, None).call(&of_url("https://h/"), Bytes::new(), SECONDS).await;
    assert_eq!(error, Err(CallError::NoCaller));
}

#[test]
fn no_secret_is_shown() {
    let credentials = Credentials::default().token("s3cret").certificate("chain", "k3y");
    let call = Call::new("https://h/", SECONDS).credentials(credentials);
    let shown = format!("{call:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("k3y"), "{shown}");
}
