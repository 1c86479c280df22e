//! The forms in which the server answers beside plain JSON, and what it says of itself.

mod support;

use std::io::Read as _;
use std::sync::Arc;

use http::Method;
use orchestra_core::api::yaml;
use orchestra_core::store::memory::MemoryStore;
use orchestra_core::testing::{Faults, FaultyStore};
use serde_json::json;

use support::Served;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const YAML: (&str, &str) = ("accept", "application/yaml");
const GZIP: (&str, &str) = ("accept-encoding", "gzip");

#[tokio::test]
async fn yaml_says_what_json_says() {
    let served = Served::start().await;
    let body = "metadata:\n  name: m\ndata:\n  mode: \"0644\"\n  text: |\n    a\n    b\n";
    let made = served.send(Method::POST, MAPS, &[YAML, ("content-type", "application/yaml")], body).await;
    assert_eq!((made.code, made.header("content-type")), (201, "application/yaml"), "{}", made.text());
    for path in [&format!("{MAPS}/m"), MAPS, &format!("{MAPS}/none"), "/apis", "/api/v1"] {
        let (json, text) = (served.get(path, &[]).await, served.get(path, &[YAML]).await);
        assert_eq!((text.code, text.header("content-type")), (json.code, "application/yaml"), "{path}");
        assert_eq!(yaml::read(&text.body).unwrap(), [json.json()], "{path}");
    }
    let watch = served.get(&format!("{MAPS}?watch=1"), &[YAML]).await;
    assert_eq!(watch.code, 406, "a watch of YAML has no end of one event: {}", watch.text());
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_can_read_them() {
    let served = Served::start().await;
    let short = served.get(MAPS, &[GZIP]).await;
    assert_eq!(short.header("content-encoding"), "");
    for index in 0..3 {
        let map = json!({"metadata": {"name": format!("m{index}")}, "data": {"a": "x".repeat(500_000)}});
        let made = served.send(Method::POST, MAPS, &[], map.to_string()).await;
        assert_eq!(made.code, 201);
    }
    for path in [&format!("{MAPS}/m0"), MAPS, "/openapi/v2"] {
        let plain = served.get(path, &[]).await;
        assert_eq!(plain.header("content-encoding"), "", "{path}");
        let packed = served.get(path, &[GZIP]).await;
        assert_eq!(packed.header("content-encoding"), "gzip", "{path}");
        let varies: Vec<_> = packed.headers.get_all("vary").iter().collect();
        assert!(varies.iter().any(|value| *value == "Accept-Encoding"), "{varies:?}");
        assert!(packed.body.len() < plain.body.len() / 4, "{path}");
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&packed.body[..]).read_to_end(&mut text).unwrap();
        assert!(text == plain.body, "{path}");
    }
}

/// What is made when a cluster starts, and is there.
const HOOKS: &str = "[+]poststarthook/start-system-namespaces-controller ok\n\
                     [+]poststarthook/scheduling/bootstrap-system-priority-classes ok\n";

#[tokio::test]
async fn health_is_told_check_by_check() {
    let served = Served::start().await;
    let live = format!("[+]ping ok\n[+]etcd ok\n{HOOKS}");
    let ready =
        format!("[+]ping ok\n[+]etcd ok\n[+]etcd-readiness ok\n[+]informer-sync ok\n{HOOKS}[+]shutdown ok\n");
    for (path, code, says) in [
        ("/livez", 200, "ok".to_owned()),
        ("/healthz?verbose", 200, format!("{live}healthz check passed\n")),
        ("/livez?verbose", 200, format!("{live}livez check passed\n")),
        ("/readyz?verbose", 200, format!("{ready}readyz check passed\n")),
        ("/readyz/informer-sync", 200, "ok".to_owned()),
        ("/readyz/none", 404, "404 page not found\n".to_owned()),
        (
            "/livez?verbose&exclude=etcd&exclude=none",
            200,
            format!(
                "[+]ping ok\n[+]etcd excluded: ok\n{HOOKS}warn: some health checks cannot be excluded: no matches for \
                 \"none\"\nlivez check passed\n"
            ),
        ),
    ] {
        let answer = served.get(path, &[("authorization", "")]).await;
        assert_eq!((answer.code, answer.text()), (code, &*says), "{path}");
    }
}

#[tokio::test]
async fn a_server_without_its_store_is_not_well() {
    let store = FaultyStore::new(Arc::new(MemoryStore::new()), 1);
    let served = Served::over(store.clone()).await;
    store.set(Faults { down: true, ..Faults::default() });
    let answer = served.get("/readyz", &[]).await;
    let says = format!(
        "[+]ping ok\n[-]etcd failed: reason withheld\n[-]etcd-readiness failed: reason withheld\n\
         [-]informer-sync failed: reason withheld\n{HOOKS}[+]shutdown ok\nreadyz check failed\n"
    );
    assert_eq!((answer.code, answer.text()), (500, &*says));
    assert_eq!(served.get("/livez/etcd", &[]).await.code, 500);
    store.set(Faults { full: true, ..Faults::default() });
    assert_eq!(served.get("/readyz/etcd-readiness", &[]).await.code, 500, "no write is possible");
    assert_eq!(served.get("/livez", &[]).await.code, 200, "a restart would make no room");
    store.set(Faults::default());
    assert_eq!(served.get("/livez", &[]).await.code, 200);
}

#[tokio::test]
async fn metrics_count_what_was_asked() {
    let served = Served::start().await;
    assert_eq!(served.get("/metrics", &[("authorization", "")]).await.code, 403);
    for name in ["a", "b"] {
        let map = json!({"metadata": {"name": name}});
        assert_eq!(served.send(Method::POST, MAPS, &[], map.to_string()).await.code, 201);
    }
    served.get(&format!("{MAPS}/none"), &[]).await;
    served.get("/api/v1/made-up", &[]).await;
    let answer = served.get("/metrics", &[]).await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let text = answer.text();
    let labels = |verb: &str| {
        format!("verb=\"{verb}\",group=\"\",version=\"v1\",resource=\"configmaps\",subresource=\"\"")
    };
    for line in [
        format!("apiserver_request_total{{{},code=\"201\"}} 2", labels("POST")),
        format!("apiserver_request_total{{{},code=\"404\"}} 1", labels("GET")),
        format!("apiserver_request_duration_seconds_count{{{}}} 2", labels("POST")),
        "apiserver_storage_objects{resource=\"configmaps\"} 2".to_owned(),
        "apiserver_storage_objects{resource=\"deployments.apps\"} 0".to_owned(),
        "# TYPE process_resident_memory_bytes gauge".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
    assert!(!text.contains("made-up"), "paths of strangers are no labels");
}
