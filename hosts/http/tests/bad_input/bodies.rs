//! Objects that are none, or not what they should be.

use http::Method;
use serde_json::{Value, json};

use super::support::Served;
use super::{Case, refused};

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn pod(name: &str, container: Value) -> Value {
    let mut all = json!({"name": "c", "image": "i"});
    all.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [all]}})
}

fn deployment(selector: Value, labels: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    })
}

fn post(name: &'static str, path: &str, body: &Value) -> Case {
    Case::post(name, path, body.to_string())
}

const NAME_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
     and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

#[tokio::test]
async fn texts_that_are_no_object() {
    let served = Served::start().await;
    let unread = |what: &str, why: &str, shown: &str| {
        format!("the object provided is unrecognized (must be of type {what}): {why} ({shown})")
    };
    let no_json = "couldn't get version/kind; json parse error: ";
    let deep = format!("{{\"metadata\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    let eof = format!("{no_json}unexpected end of JSON input");
    refused(
        &served,
        vec![
            Case::post("nothing", PODS, "").bad(unread("Pod", &eof, "<empty>")),
            Case::post("cut off", PODS, "{\"kind\":").bad(unread("Pod", &eof, "{\"kind\":")),
            Case::post("deep", PODS, deep).bad(unread(
                "Pod",
                &format!("{no_json}recursion limit exceeded at line 1 column 139"),
                "{\"metadata\":[[[[[[[[[[[[[[[[[[ ...",
            )),
            Case::post("not UTF-8", MAPS, &b"{\"data\":{\"a\":\"\xff\"}}"[..]).bad(unread(
                "ConfigMap",
                &format!("{no_json}invalid unicode code point at line 1 column 15"),
                "{\"data\":{\"a\":\"\u{fffd}\"}}",
            )),
            Case::post("no YAML", PODS, "a: [1\n").header("content-type", "application/yaml").bad(unread(
                "Pod",
                "error converting YAML to JSON: yaml: unclosed bracket '['",
                "613a205b310a",
            )),
            Case::post("a list", PODS, "[]").bad(unread(
                "Pod",
                &format!(
                    "{no_json}json: cannot unmarshal array into Go value of type struct {{ APIVersion string \
                     \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
                ),
                "5b5d",
            )),
            Case::post("too large", MAPS, vec![b' '; 3 * 1024 * 1024 + 1]).is(
                413,
                "RequestEntityTooLarge",
                "Request entity too large: limit is 3145728",
            ),
            Case::post("another media type", PODS, "{}").header("content-type", "text/plain").is(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: application/json, \
                 application/yaml, application/vnd.kubernetes.protobuf",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn objects_of_another_kind_or_place() {
    let served = Served::start().await;
    let mut elsewhere = pod("p", json!({}));
    elsewhere["metadata"]["namespace"] = "other".into();
    refused(
        &served,
        vec![
            post("another kind", PODS, &deployment(json!({"a": "b"}), json!({"a": "b"}))).bad(
                "Deployment in version \"v1\" cannot be handled as a Pod: converting (v1.Deployment) to (core.Pod): unknown \
                 conversion",
            ),
            post("another version", DEPLOYMENTS, &json!({"kind": "Deployment", "apiVersion": "apps/v1beta1"})).bad(
                "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)",
            ),
            post("another namespace", PODS, &elsewhere).bad(
                "the namespace of the provided object does not match the namespace sent on the request",
            ),
            post("no such namespace", "/api/v1/namespaces/nowhere/pods", &pod("p", json!({})))
                .is(404, "NotFound", "namespaces \"nowhere\" not found"),
            // The only one for which Kubernetes has no reason.
            post("a revision", MAPS, &json!({"metadata": {"name": "p", "resourceVersion": "5"}})).is(
                500,
                "",
                "resourceVersion should not be set on objects to be created",
            ),
            // Said after what is wrong with the object.
            post("a revision, and no name", MAPS, &json!({"metadata": {"resourceVersion": "5"}})).invalid(
                "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
                &["metadata.name"],
            ),
            Case::new("another name", Method::PUT, format!("{PODS}/q"))
                .body(pod("p", json!({})).to_string())
                .bad("the name of the object (p) does not match the name on the URL (q)"),
        ],
    )
    .await;
}

#[tokio::test]
async fn fields_that_there_are_not() {
    let served = Served::start().await;
    let strict = format!("{PODS}?fieldValidation=Strict");
    let refusal = "Pod in version \"v1\" cannot be handled as a Pod: ";
    let twice =
        r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","image":"j"}],"x":1}}"#;
    refused(
        &served,
        vec![
            post("unknown", &strict, &pod("p", json!({"imagee": "j"}))).bad(format!(
                "{refusal}strict decoding error: unknown field \"spec.containers[0].imagee\""
            )),
            Case::post("unknown and twice", strict.clone(), twice).bad(format!(
                "{refusal}strict decoding error: duplicate field \
                 \"spec.containers[0].image\", unknown field \"spec.x\""
            )),
            post("mistyped", PODS, &pod("p", json!({"command": "sh"}))).bad(format!(
                "{refusal}json: cannot unmarshal string into Go struct field Container.spec.containers.command of type \
                 []string"
            )),
            post("no number", DEPLOYMENTS, &json!({"spec": {"replicas": "three"}})).bad(
                "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go \
                 struct field DeploymentSpec.spec.replicas of type int32",
            ),
            post("no quantity", PODS, &pod("p", json!({"resources": {"limits": {"cpu": "lots"}}}))).bad(format!(
                "{refusal}quantities must match the regular expression \
                 '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            )),
        ],
    )
    .await;
}

/// What `Strict` refuses, `Warn` (and saying nothing) takes with a warning, and `Ignore` without.
#[tokio::test]
async fn field_validation_warns_or_ignores() {
    let served = Served::start().await;
    let body = r#"{"metadata":{"name":"m"},"data":{"a":"1","a":"2"},"dat":{}}"#;
    for (query, warnings) in [("", 2), ("&fieldValidation=Warn", 2), ("&fieldValidation=Ignore", 0)] {
        let answer = served.send(Method::POST, &format!("{MAPS}?dryRun=All{query}"), &[], body).await;
        assert_eq!(answer.code, 201, "{}", answer.text());
        assert_eq!(answer.json()["data"]["a"], "2");
        assert!(answer.json().get("dat").is_none());
        let found: Vec<_> = answer.headers.get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
        let all = ["299 - \"duplicate field \\\"data.a\\\"\"", "299 - \"unknown field \\\"dat\\\"\""];
        assert_eq!(found, &all[..warnings], "{query}");
    }
}

#[tokio::test]
async fn objects_that_break_rules() {
    let served = Served::start().await;
    let ports = |port: i64| json!({"ports": [{"containerPort": port}]});
    let between = "must be between 1 and 65535, inclusive";
    let service = |port: i64| json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": port}]}});
    refused(
        &served,
        vec![
            post("no name", MAPS, &json!({"metadata": {}})).invalid(
                "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
                &["metadata.name"],
            ),
            post("no name that there can be", MAPS, &json!({"metadata": {"name": "A_b"}})).invalid(
                format!("ConfigMap \"A_b\" is invalid: metadata.name: Invalid value: \"A_b\": {NAME_RULE}"),
                &["metadata.name"],
            ),
            post("another selector", DEPLOYMENTS, &deployment(json!({"a": "b"}), json!({"a": "c"}))).invalid(
                "Deployment.apps \"d\" is invalid: spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: \
                 `selector` does not match template `labels`",
                &["spec.template.metadata.labels"],
            ),
            post("no port", PODS, &pod("p", ports(70_000))).invalid(
                format!(
                    "Pod \"p\" is invalid: spec.containers[0].ports[0].containerPort: Invalid value: 70000: {between}"
                ),
                &["spec.containers[0].ports[0].containerPort"],
            ),
            post("no service port", SERVICES, &service(0)).invalid(
                format!(
                    "Service \"s\" is invalid: [spec.ports[0].port: Invalid value: 0: {between}, \
                     spec.ports[0].targetPort: Invalid value: 0: {between}]"
                ),
                &["spec.ports[0].port", "spec.ports[0].targetPort"],
            ),
            post("a negative quantity", PODS, &pod("p", json!({"resources": {"limits": {"cpu": "-1"}}}))).invalid(
                "Pod \"p\" is invalid: [spec.containers[0].resources.limits[cpu]: Invalid value: \"-1\": must be \
                 greater than or equal to 0, spec.containers[0].resources.requests[cpu]: Invalid value: \"-1\": must \
                 be greater than or equal to 0]",
                &["spec.containers[0].resources.limits[cpu]", "spec.containers[0].resources.requests[cpu]"],
            ),
        ],
    )
    .await;
}
