//! What somebody may do, as a server says it that is asked.

#[path = "support/peer.rs"]
mod peer;
mod support;

use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::Cluster;
use orchestra_http::AuthorizationFile;
use peer::Peer;
use serde_json::{Value, json};
use support::{SOMEONE, Served};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn review(status: &Value) -> String {
    json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "status": status })
        .to_string()
}

/// A server that is asked with these options in the file, before RBAC or after it.
async fn served(peer: &Peer, options: &str, first: bool) -> (Served, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = peer.kubeconfig(directory.path());
    let webhook = format!(
        "- {{type: Webhook, name: w, webhook: {{timeout: 3s, subjectAccessReviewVersion: v1, {options}, \
         connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {path:?}}}}}}}\n"
    );
    let own = "- {type: Node, name: node}\n- {type: RBAC, name: rbac}\n";
    let (before, after) = if first { (&*webhook, own) } else { (own, &*webhook) };
    let kind = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n";
    let file = AuthorizationFile::parse(format!("{kind}{before}{after}").as_bytes()).unwrap();
    let authorizers = file.authorizers(&TokioClock::system());
    let builder = Cluster::builder().rbac().asking(authorizers.before, authorizers.after);
    (Served::with(builder, |face| face).await, directory)
}

#[tokio::test]
async fn what_no_role_allows_a_server_is_asked_about_and_its_answer_is_remembered() {
    let peer = Peer::start(|_, body| {
        let allowed = body["spec"]["resourceAttributes"]["resource"] == "configmaps";
        (200, review(&json!({ "allowed": allowed, "reason": "as it pleases" })))
    })
    .await;
    let (served, _directory) = served(&peer, "failurePolicy: NoOpinion", false).await;
    for _ in 0..3 {
        assert_eq!(served.get(MAPS, &[SOMEONE]).await.code, 200);
    }
    assert_eq!(peer.count(), 1);
    let asked = peer.asked.lock().unwrap()[0].clone();
    assert_eq!(asked.0, "/ask");
    assert_eq!(asked.1["spec"]["resourceAttributes"]["namespace"], "default");
    let refused = served.get("/api/v1/namespaces/default/secrets", &[SOMEONE]).await;
    assert_eq!(refused.code, 403);
    assert!(refused.text().contains("as it pleases"), "{}", refused.text());
    assert_eq!(served.get("/api/v1/namespaces/default/secrets", &[]).await.code, 200);
    assert_eq!(peer.count(), 2, "of administrators it is not asked");
}

#[tokio::test]
async fn a_server_that_fails_is_passed_over_or_ends_it_as_its_policy_says() {
    let peer = Peer::start(|_, _| (500, String::new())).await;
    for (policy, code) in [("NoOpinion", 200), ("Deny", 403)] {
        let (served, _directory) = served(&peer, &format!("failurePolicy: {policy}"), true).await;
        assert_eq!(served.get("/version", &[SOMEONE]).await.code, code, "{policy}");
    }
}

#[tokio::test]
async fn a_server_is_asked_only_where_its_conditions_are_true() {
    let peer = Peer::start(|_, _| (200, review(&json!({ "allowed": false, "denied": true })))).await;
    let conditions = "failurePolicy: Deny, matchConditionSubjectAccessReviewVersion: v1, matchConditions: [\
                      {expression: 'has(request.resourceAttributes)'}, \
                      {expression: 'request.resourceAttributes.verb == \"list\"'}]";
    let (served, _directory) = served(&peer, conditions, true).await;
    assert_eq!(served.get("/version", &[SOMEONE]).await.code, 200);
    assert_eq!(peer.count(), 0);
    assert_eq!(served.get(MAPS, &[SOMEONE]).await.code, 403);
    assert_eq!(peer.count(), 1);
}

#[test]
fn a_file_that_says_what_cannot_be_is_refused_with_its_place() {
    let with = |authorizers: &str| {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [{authorizers}]"
        )
    };
    let webhook = |more: &str| {
        with(&format!(
            "{{type: Webhook, name: w, webhook: {{timeout: 3s, subjectAccessReviewVersion: v1, failurePolicy: Deny, {more}}}}}"
        ))
    };
    for (text, why) in [
        (with(""), "Node and RBAC must be among them"),
        (with("{type: ABAC, name: a}"), "authorizers[0]"),
        (with("{type: RBAC, name: a, webhook: null, x: 1}"), "unknown field"),
        (webhook("connectionInfo: {type: InClusterConfig}"), "authorizers[0].webhook.connectionInfo"),
        (
            webhook("connectionInfo: {type: KubeConfigFile, kubeConfigFile: /none}"),
            "authorizers[0].webhook.connectionInfo.kubeConfigFile: /none cannot be read",
        ),
    ] {
        let error = AuthorizationFile::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{error} of {text}");
    }
}
