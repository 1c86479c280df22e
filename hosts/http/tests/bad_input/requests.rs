//! Whom the server does not know, and what it does not serve.

use http::Method;

use super::support::Served;
use super::{Case, refused};

#[tokio::test]
async fn strangers() {
    let served = Served::start().await;
    let get = |name, path: &str, value: &str| Case::get(name, path).header("authorization", value);
    let unknown =
        |name, value: &str| get(name, "/api/v1/pods", value).is(401, "Unauthorized", "Unauthorized");
    // Whoever does not say who they are is told what they may not do.
    let pods = "pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" at the \
                cluster scope";
    let nobody = |name, value: &str| get(name, "/api/v1/pods", value).is(403, "Forbidden", pods);
    let body = r#"{"metadata":{"name":"m"}}"#;
    let maps = "/api/v1/namespaces/default/configmaps";
    refused(
        &served,
        vec![
            nobody("no token", ""),
            unknown("a wrong token", "Bearer guessed"),
            nobody("an empty token", "Bearer "),
            nobody("another scheme", "Basic YTpi"),
            get("discovery", "/apis", "").is(
                403,
                "Forbidden",
                "forbidden: User \"system:anonymous\" cannot get path \"/apis\"",
            ),
            Case::post("a write", maps, body).header("authorization", "").is(
                403,
                "Forbidden",
                "configmaps is forbidden: User \"system:anonymous\" cannot create resource \"configmaps\" in API group \
                 \"\" in the namespace \"default\"",
            ),
        ],
    )
    .await;
    for open in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(served.get(open, &[("authorization", "")]).await.code, 200, "{open}");
    }
}

#[tokio::test]
async fn resources_that_there_are_not() {
    let served = Served::start().await;
    let unknown = |name, path: &str| {
        Case::get(name, path).is(404, "NotFound", "the server could not find the requested resource")
    };
    let not_allowed = |name, method, path: &str| {
        let message = "the server does not allow this method on the requested resource";
        Case::new(name, method, path).body("{}").is(405, "MethodNotAllowed", message)
    };
    refused(
        &served,
        vec![
            unknown("no such resource", "/api/v1/widgets"),
            unknown("no such resource of a group", "/apis/apps/v1/namespaces/default/widgets/w"),
            unknown("no such subresource", "/api/v1/namespaces/default/configmaps/m/frob"),
            unknown("no such version", "/api/v7"),
            unknown("a resource of no such version", "/api/v7/pods"),
            unknown("no such version of a group", "/apis/apps/v7"),
            unknown("a resource of no such version of a group", "/apis/apps/v7/deployments"),
            unknown("beyond the version", "/version/frob"),
            unknown("what is no text", "/api/v1/pods/%ff"),
            unknown("beyond a subresource", "/api/v1/namespaces/default/pods/p/status/frob"),
            unknown("a node in a namespace", "/api/v1/namespaces/default/nodes"),
            unknown("a watch of nodes in a namespace", "/api/v1/namespaces/default/nodes?watch=1"),
            Case::get("no such object", "/api/v1/namespaces/default/pods/p").is(
                404,
                "NotFound",
                "pods \"p\" not found",
            ),
            not_allowed("an update of all", Method::PUT, "/api/v1/namespaces/default/pods"),
            not_allowed("a patch of all", Method::PATCH, "/api/v1/namespaces/default/pods"),
            not_allowed("a creation of one", Method::POST, "/api/v1/namespaces/default/pods/p"),
            not_allowed("a method of its own", Method::from_bytes(b"FROB").unwrap(), "/api/v1/pods"),
            Case::get("no such form", "/api/v1/pods").header("accept", "text/html").is(
                406,
                "NotAcceptable",
                "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, \
                 application/vnd.kubernetes.protobuf, application/json;stream=watch, \
                 application/vnd.kubernetes.protobuf;stream=watch",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn subresources_of_the_wrong_type() {
    let served = Served::start().await;
    let finalize = "/api/v1/namespaces/default/finalize";
    let scale = "/apis/apps/v1/namespaces/default/deployments/d/scale";
    refused(
        &served,
        vec![
            Case::new("finalizers", Method::PUT, finalize).body(r#"{"spec":{"finalizers":"none"}}"#).bad(
                "Namespace in version \"v1\" cannot be handled as a Namespace: json: cannot unmarshal string into Go \
                 struct field NamespaceSpec.spec.finalizers of type []v1.FinalizerName",
            ),
            Case::new("a cut body", Method::PUT, scale).body("{").bad(
                "the object provided is unrecognized (must be of type Scale): couldn't get version/kind; json parse \
                 error: unexpected end of JSON input ({)",
            ),
        ],
    )
    .await;
}

/// What no group serves is no business of the API's, and is answered without a `Status`, as in Kubernetes.
#[tokio::test]
async fn paths_that_lead_nowhere() {
    let served = Served::start().await;
    for path in ["/nothing", "/apis/none.io", "/apis/none.io/v1/widgets"] {
        let answer = served.get(path, &[]).await;
        assert_eq!((answer.code, answer.text()), (404, "404 page not found\n"), "{path}");
        assert!(answer.header("content-type").starts_with("text/plain"), "{path}");
    }
}
