//! Parameters that are misspelled, contradict each other, or ask for what there is not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;

use super::support::Served;
use super::{Case, refused};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn list(name: &'static str, query: &str) -> Case {
    Case::get(name, format!("{MAPS}?{query}"))
}

fn token(json: &str) -> String {
    format!("continue={}", URL_SAFE_NO_PAD.encode(json))
}

#[tokio::test]
async fn lists_that_cannot_be() {
    let served = Served::start().await;
    let no_number =
        |parser: &str, text: &str| format!("strconv.{parser}: parsing \"{text}\": invalid syntax");
    let key = "invalid continue token: continue key is not valid: ";
    let options = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: ";
    refused(
        &served,
        vec![
            list("limit", "limit=abc").bad(no_number("ParseInt", "abc")),
            list("large limit", "limit=99999999999999999999")
                .bad("strconv.ParseInt: parsing \"99999999999999999999\": value out of range"),
            list("timeout", "watch=1&timeoutSeconds=soon").bad(no_number("ParseInt", "soon")),
            list("revision", "resourceVersion=abc").bad(format!(
                "invalid resource version: resourceVersion: Invalid value: \"abc\": {}",
                no_number("ParseUint", "abc")
            )),
            list("match alone", "resourceVersionMatch=Exact").invalid(
                format!("{options}Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"),
                &["resourceVersionMatch"],
            ),
            list("unknown match", "resourceVersion=1&resourceVersionMatch=About").invalid(
                format!(
                    "{options}Unsupported value: \"About\": supported values: \"Exact\", \"NotOlderThan\", \"\""
                ),
                &["resourceVersionMatch"],
            ),
            list("exactly any", "resourceVersion=0&resourceVersionMatch=Exact").invalid(
                format!(
                    "{options}Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""
                ),
                &["resourceVersionMatch"],
            ),
            list("match of a watch", "watch=1&resourceVersionMatch=NotOlderThan").invalid(
                format!(
                    "{options}Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is \
                     provided"
                ),
                &["resourceVersionMatch"],
            ),
            list("no base64", "continue=made.up").bad(format!("{key}illegal base64 data at input byte 4")),
            list("no token", &token("{}"))
                .bad(format!("{key}server does not recognize this encoded version ")),
            list("a token cut off", &token("{")).bad(format!("{key}unexpected end of JSON input")),
            list("a token of another type", &token(r#"{"v":1}"#)).bad(format!(
                "{key}json: cannot unmarshal number into Go struct field continueToken.v of type string"
            )),
            list("a token that leads elsewhere", &token(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../secrets/a"}"#))
                .bad(format!("{key}../secrets/a")),
            list("another token", &token(r#"{"v":"v7","rv":1,"start":"a"}"#))
                .bad(format!("{key}server does not recognize this encoded version v7")),
            list("a token of no time", &token(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#))
                .bad(format!("{key}incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
            list("a token of no place", &token(r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#))
                .bad(format!("{key}encoded start key empty (version meta.k8s.io/v1)")),
            list("token and revision", &format!("resourceVersion=5&{}", token("{}")))
                .bad("specifying resource version is not allowed when using continue"),
        ],
    )
    .await;
}

#[tokio::test]
async fn selectors_that_are_none() {
    let served = Served::start().await;
    let name = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    refused(
        &served,
        vec![
            list("labels", "labelSelector=a%20in").bad("unable to parse requirement: found '' expected: '('"),
            list("label key", "labelSelector=-a%3Db")
                .bad(format!("unable to parse requirement: <nil>: Invalid value: \"-a\": {name}")),
            list("labels of a watch", "watch=1&labelSelector=a,")
                .bad("found '', expected: identifier after ','"),
            list("fields", "fieldSelector=a").bad("invalid selector: 'a'; can't understand 'a'"),
            list("a field that is not selected by", "fieldSelector=data.a%3Db").bad(
                "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
            Case::get("a field of pods", "/api/v1/pods?fieldSelector=spec.x%3Dy")
                .bad("field label not supported: spec.x"),
        ],
    )
    .await;
}

#[tokio::test]
async fn writes_with_options_that_are_none() {
    let served = Served::start().await;
    let write = |name, method: Method, query: &str| {
        let path = if method == Method::POST { MAPS.to_owned() } else { format!("{MAPS}/m") };
        let case = Case::new(name, method.clone(), format!("{path}?{query}"));
        if method == Method::DELETE { case } else { case.body(r#"{"metadata":{"name":"m"}}"#) }
    };
    let dry = "dryRun: Unsupported value: [\"x\"]: supported values: \"All\"";
    refused(
        &served,
        vec![
            write("dry run", Method::POST, "dryRun=x")
                .invalid(format!("CreateOptions.meta.k8s.io \"\" is invalid: {dry}"), &["dryRun"]),
            write("dry update", Method::PUT, "dryRun=x")
                .invalid(format!("UpdateOptions.meta.k8s.io \"\" is invalid: {dry}"), &["dryRun"]),
            write("dry deletion", Method::DELETE, "dryRun=x")
                .invalid(format!("DeleteOptions.meta.k8s.io \"\" is invalid: {dry}"), &["dryRun"]),
            write("validation", Method::POST, "fieldValidation=x").invalid(
                "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"x\": supported \
                 values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
                &["fieldValidation"],
            ),
            write("manager", Method::POST, "fieldManager=a%0Ab").invalid(
                "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\nb\": invalid character \
                 U+000A (at position 1)",
                &["fieldManager"],
            ),
            write("propagation", Method::DELETE, "propagationPolicy=x").invalid(
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"x\": supported \
                 values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
                &["propagationPolicy"],
            ),
            write("grace", Method::DELETE, "gracePeriodSeconds=x")
                .bad("strconv.ParseInt: parsing \"x\": invalid syntax"),
            write("options in the body", Method::DELETE, "")
                .body("{")
                .bad("couldn't get version/kind; json parse error: unexpected end of JSON input"),
        ],
    )
    .await;
}

/// A revision that has not been is no reason to wait for ever: it is said, with what a client needs to tell it apart.
#[tokio::test]
async fn the_future_cannot_be_read() {
    let served = Served::start().await;
    let one = "/api/v1/namespaces/default";
    for path in [
        format!("{MAPS}?resourceVersion=900000000"),
        format!("{MAPS}?resourceVersion=900000000&resourceVersionMatch=NotOlderThan"),
        format!("{MAPS}?resourceVersion=900000000&resourceVersionMatch=Exact"),
        format!("{MAPS}?resourceVersion=900000000&watch=true"),
        format!("{one}?resourceVersion=900000000"),
        format!("{one}?resourceVersion=900000000&resourceVersionMatch=Exact"),
        format!("{MAPS}?{}", token(r#"{"v":"meta.k8s.io/v1","rv":900000000,"start":"default/a"}"#)),
    ] {
        let answer = served.get(&path, &[]).await;
        let status = answer.json();
        assert_eq!((answer.code, status["reason"].as_str()), (504, Some("Timeout")), "{path}: {status}");
        let message = status["message"].as_str().unwrap();
        assert!(
            message.starts_with("Timeout: Too large resource version: 900000000, current: "),
            "{message}"
        );
        let cause = &status["details"]["causes"][0];
        assert_eq!(cause["reason"], "ResourceVersionTooLarge");
        assert_eq!(cause["message"], "Too large resource version");
        assert_eq!(answer.header("retry-after"), "1");
    }
}
