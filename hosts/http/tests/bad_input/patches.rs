//! Changes that cannot be read or cannot be made.

use http::Method;

use super::support::Served;
use super::{Case, refused};

const MAP: &str = "/api/v1/namespaces/default/configmaps/m";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/d";

fn patch(name: &'static str, path: &str, form: &str, body: &str) -> Case {
    Case::new(name, Method::PATCH, path).header("content-type", form).body(body.to_owned())
}

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

async fn served() -> Served {
    let served = Served::start().await;
    let map = r#"{"metadata":{"name":"m"},"data":{"a":"1"}}"#;
    let made = served.send(Method::POST, "/api/v1/namespaces/default/configmaps", &[], map).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let deployment = r#"{"metadata":{"name":"d"},"spec":{"replicas":0,"selector":{"matchLabels":{"a":"b"}},"template":
        {"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#;
    let made =
        served.send(Method::POST, "/apis/apps/v1/namespaces/default/deployments", &[], deployment).await;
    assert_eq!(made.code, 201, "{}", made.text());
    served
}

#[tokio::test]
async fn patches_that_are_none() {
    let served = served().await;
    let rejected = "the server rejected our request due to an error in our request";
    refused(
        &served,
        vec![
            patch("another form", MAP, "application/json", "{}").is(
                415,
                "UnsupportedMediaType",
                "415: Unsupported Media Type",
            ),
            patch("no JSON", MAP, MERGE, "{").bad("error decoding patch: unexpected end of JSON input"),
            patch("no list", MAP, JSON, "{}").bad(
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            patch("no object", MAP, STRATEGIC, "[]").bad(
                "json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            patch("a test that fails", MAP, JSON, r#"[{"op":"test","path":"/data/a","value":"2"}]"#)
                .is(422, "Invalid", rejected),
            patch("a way to nowhere", MAP, JSON, r#"[{"op":"remove","path":"/data/b/c"}]"#)
                .is(422, "Invalid", rejected),
            patch("an unknown operation", MAP, JSON, r#"[{"op":"frob","path":"/data"}]"#)
                .is(422, "Invalid", rejected),
            patch("force", &format!("{MAP}?force=true"), MERGE, "{}").invalid(
                "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
                &["force"],
            ),
            patch("nothing there", "/api/v1/namespaces/default/configmaps/n", MERGE, "{}")
                .is(404, "NotFound", "configmaps \"n\" not found"),
        ],
    )
    .await;
}

#[tokio::test]
async fn patches_that_break_the_object() {
    let served = served().await;
    refused(
        &served,
        vec![
            patch("mistyped", DEPLOYMENT, STRATEGIC, r#"{"spec":{"replicas":"x"}}"#).invalid(
                " \"\" is invalid: patch: Invalid value: \"map[spec:map[replicas:x]]\": unrecognized \
                 type: int32",
                &["patch"],
            ),
            patch("unknown", &format!("{MAP}?fieldValidation=Strict"), MERGE, r#"{"dat":{}}"#).invalid(
                " \"\" is invalid: patch: Invalid value: …: strict decoding error: unknown field \
                 \"dat\"",
                &["patch"],
            ),
            patch("another name", MAP, MERGE, r#"{"metadata":{"name":"n"}}"#)
                .bad("the name of the object (n) does not match the name on the URL (m)"),
            patch("another namespace", MAP, MERGE, r#"{"metadata":{"namespace":"n"}}"#).bad(
                "the namespace of the provided object does not match the namespace sent on the request",
            ),
            patch("immutable", DEPLOYMENT, MERGE, r#"{"spec":{"selector":{"matchLabels":{"x":"y"}}}}"#).invalid(
                "Deployment.apps \"d\" is invalid: [spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: \
                 `selector` does not match template `labels`, spec.selector: Invalid value: \
                 {\"matchLabels\":{\"a\":\"b\",\"x\":\"y\"}}: field is immutable]",
                &["spec.template.metadata.labels", "spec.selector"],
            ),
            patch("a version that is not", MAP, MERGE, r#"{"metadata":{"resourceVersion":"1"}}"#).is(
                409,
                "Conflict",
                "Operation cannot be fulfilled on configmaps \"m\": the object has been modified; please apply your \
                 changes to the latest version and try again",
            ),
        ],
    )
    .await;
}
