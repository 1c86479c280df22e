//! Answers to the byte: what clients compare, and what they are told when they ask for what there is not.

mod support;

use http::Method;
use serde_json::json;

use support::Served;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn a_status_has_kubernetes_bytes() {
    let served = Served::start().await;
    let answer = served.get(&format!("{MAPS}/none"), &[]).await;
    assert_eq!(
        answer.text(),
        "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"configmaps \\\"none\\\" not \
         found\",\"reason\":\"NotFound\",\"details\":{\"name\":\"none\",\"kind\":\"configmaps\"},\"code\":404}\n"
    );
    let answer = served.get(&format!("{MAPS}/none?pretty=true"), &[]).await;
    assert!(answer.text().starts_with("{\n  \"kind\": \"Status\",\n  \"apiVersion\": \"v1\",\n"));
    assert!(answer.text().ends_with("  \"code\": 404\n}"), "{}", answer.text());
    for path in ["/api", "/apis", "/api/v1", MAPS] {
        let text = served.get(path, &[]).await.text().to_owned();
        assert!(text.ends_with("}\n") && !text.ends_with("\n\n"), "{path}: {text}");
        let pretty = served.get(path, &[("user-agent", "curl/8")]).await;
        assert!(pretty.text().starts_with("{\n  \""), "{path}: {}", pretty.text());
    }
    assert!(served.get("/version", &[]).await.text().starts_with("{\n  \"major\": \"1\",\n  \"minor\": "));
    assert!(served.get("/api/v1", &[]).await.text().starts_with("{\"kind\":\"APIResourceList\","));
}

#[tokio::test]
async fn every_answer_has_a_number_and_is_not_kept() {
    let served = Served::start().await;
    for path in ["/version", "/none", MAPS, "/healthz"] {
        let answer = served.get(path, &[]).await;
        assert_eq!(answer.header("cache-control"), "no-cache, private", "{path}");
        assert_eq!(answer.header("audit-id").len(), 36, "{path}");
    }
    let given = served.get("/version", &[("audit-id", "7")]).await;
    assert_eq!(given.header("audit-id"), "7");
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_kubernetes_words() {
    let served = Served::start().await;
    let map = json!({"metadata": {"name": "m"}}).to_string();
    assert_eq!(served.send(Method::POST, MAPS, &[], map).await.code, 201);
    let (one, none) = (format!("{MAPS}/m"), format!("{MAPS}/none"));
    let not_acceptable = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                          application/vnd.kubernetes.protobuf";
    let unsupported = "415: Unsupported Media Type";
    let apply = ("content-type", "application/apply-patch+yaml");
    for (method, path, headers, body, code, message) in [
        (Method::GET, one.as_str(), ("accept", "text/html"), "", 406, not_acceptable),
        (Method::PATCH, &one, ("content-type", "application/json"), "{}", 415, unsupported),
        (Method::PATCH, &none, ("content-type", "text/plain"), "{}", 415, unsupported),
        (Method::PATCH, &format!("{none}?fieldManager=m"), apply, "{}", 400, "invalid object type: /, Kind="),
        (
            Method::DELETE,
            &one,
            ("accept", ""),
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            400,
            "no kind \"Pod\" is registered for version \"v1\"",
        ),
        (
            Method::GET,
            &format!("{one}?timeout=invalid"),
            ("accept", ""),
            "",
            400,
            "invalid timeout specified in the request URL - time: invalid duration \"invalid\"",
        ),
        (Method::POST, "/version", ("accept", ""), "", 405, ""),
        (Method::POST, "/apis", ("accept", ""), "", 405, ""),
    ] {
        let answer = served.send(method.clone(), path, &[headers], body.to_owned()).await;
        assert_eq!(answer.code, code, "{method} {path}: {}", answer.text());
        if !message.is_empty() {
            assert_eq!(answer.json()["message"], message, "{method} {path}");
        }
    }
    assert_eq!(served.get(&one, &[]).await.code, 200, "nothing was deleted");
    for (method, path, code) in
        [(Method::HEAD, MAPS, 405), (Method::HEAD, one.as_str(), 405), (Method::GET, "//api/v1/pods", 404)]
    {
        assert_eq!(served.send(method.clone(), path, &[], "").await.code, code, "{method} {path}");
    }
}

#[tokio::test]
async fn items_of_a_list_leave_their_kind_to_the_list() {
    let served = Served::start().await;
    let map = json!({"metadata": {"name": "m", "labels": {"a": "b"}}}).to_string();
    assert_eq!(served.send(Method::POST, MAPS, &[], map).await.code, 201);
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "default"}}).to_string();
    let events = "/api/v1/namespaces/default/events";
    assert_eq!(served.send(Method::POST, events, &[], event).await.code, 201);
    for path in
        [&format!("{MAPS}?labelSelector=a=b"), events, "/apis/events.k8s.io/v1/namespaces/default/events"]
    {
        let list = served.get(path, &[]).await.json();
        let item = list["items"][0].as_object().unwrap();
        assert!(!item.contains_key("kind") && !item.contains_key("apiVersion"), "{path}: {list}");
        assert_eq!(item["metadata"]["namespace"], "default", "{path}");
    }
}

#[tokio::test]
async fn warnings_are_cut_at_four_kilobytes() {
    let served = Served::start().await;
    let mut map = json!({"metadata": {"name": "m"}});
    for index in 0..5_000 {
        map[format!("unknown{index}")] = 1.into();
    }
    let answer = served.send(Method::POST, MAPS, &[], map.to_string()).await;
    assert_eq!(answer.code, 201);
    let warnings: Vec<_> = answer.headers.get_all("warning").iter().collect();
    assert!(warnings.len() > 50, "{}", warnings.len());
    assert!(warnings.iter().map(|warning| warning.len()).sum::<usize>() < 6 * 1024);
}

#[tokio::test]
async fn health_is_told_in_figures_too() {
    let served = Served::start().await;
    let answer = served.get("/metrics/slis", &[]).await;
    let line = "kubernetes_healthcheck{name=\"etcd\",type=\"readyz\"} 1";
    assert!(answer.text().lines().any(|found| found == line), "{}", answer.text());
}
