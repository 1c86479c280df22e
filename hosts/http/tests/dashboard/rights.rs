//! A page never shows what the one who looks may not read.

use http::Method;
use serde_json::json;

use crate::shop::{self, COOKIE, SOMEONE};
use crate::support::Served;

const SECRET: &str = "c3dvcmRmaXNo";

/// A cluster with a Secret, and somebody who may read pods in one namespace and nothing else.
async fn guarded() -> Served {
    let shop = shop::empty().await;
    shop.make("/api/v1/namespaces", json!({"metadata": {"name": "theirs"}})).await;
    let owner = shop.get("/api/v1/namespaces/theirs", &[]).await.json()["metadata"]["uid"].clone();
    shop.make("/api/v1/namespaces/theirs/configmaps", json!({"metadata": {"name": "parent"}})).await;
    let parent = shop.get("/api/v1/namespaces/theirs/configmaps/parent", &[]).await.json();
    let owners = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": parent["metadata"]["uid"]}]);
    let secret =
        json!({"metadata": {"name": "treasure", "ownerReferences": owners}, "data": {"key": SECRET}});
    shop.make("/api/v1/namespaces/theirs/secrets", secret).await;
    let rules =
        json!([{"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list", "watch"]}]);
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/theirs";
    shop.make(&format!("{rbac}/roles"), json!({"metadata": {"name": "reader"}, "rules": rules})).await;
    let binding = json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "someone"}],
    });
    shop.make(&format!("{rbac}/rolebindings"), binding).await;
    assert!(owner.is_string());
    shop
}

#[tokio::test]
async fn who_may_not_read_secrets_never_sees_one() {
    let shop = guarded().await;
    for page in [
        "",
        "?in=theirs",
        "topology?in=theirs",
        "table?r=secrets&in=theirs",
        "table?r=secrets",
        "table?r=configmaps&in=theirs",
        "object?r=secrets&in=theirs&n=treasure",
        "object?r=secrets&in=theirs&n=treasure&tab=yaml",
        "object?r=secrets&in=theirs&n=treasure&tab=history",
        "object?r=secrets&in=theirs&n=treasure&tab=events",
        "object?r=configmaps&in=theirs&n=parent&tab=related",
        "delete?r=configmaps&in=theirs&n=parent",
        "delete?r=secrets&in=theirs&n=treasure",
        "live?at=1&w=r%3Dsecrets%26in%3Dtheirs",
    ] {
        let answer = shop.page(page, SOMEONE).await;
        let text = answer.text();
        assert!(!text.contains(SECRET), "{page}");
        // Its name is in the URL of some of these pages; elsewhere it must not be.
        assert!(page.contains("treasure") || !text.contains("treasure"), "{page}");
    }
    // The administrator does: so the pages would show it.
    let answer = shop.page("object?r=secrets&in=theirs&n=treasure&tab=yaml", COOKIE).await;
    assert!(answer.text().contains(SECRET));
    let answer = shop.page("object?r=configmaps&in=theirs&n=parent&tab=related", COOKIE).await;
    assert!(answer.text().contains("treasure"));
}

#[tokio::test]
async fn who_may_only_read_changes_nothing() {
    let shop = guarded().await;
    let cookie = format!("{}; orchestra-form={}", SOMEONE.1, shop::GUARD);
    for fields in [
        "act=delete&r=configmaps&in=theirs&n=parent",
        "act=cordon&r=nodes&n=a",
        "act=scale&replicas=0&g=apps&r=deployments&in=theirs&n=web",
        "act=restore&revision=1&r=configmaps&in=theirs&n=parent",
    ] {
        let headers = [shop::BARE, ("cookie", &*cookie)];
        let body = format!("guard={}&{fields}", shop::GUARD);
        let answer = shop.send(Method::POST, "/ui/do", &headers, body).await;
        assert!(matches!(answer.code, 403 | 404), "{fields}: {} {}", answer.code, answer.text());
    }
    assert_eq!(shop.get("/api/v1/namespaces/theirs/configmaps/parent", &[]).await.code, 200);
}

#[tokio::test]
async fn what_is_wrong_is_told_of_what_one_may_see() {
    let shop = guarded().await;
    let pod = json!({"metadata": {"name": "waits"}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
    for namespace in ["theirs", "default"] {
        shop.make(&format!("/api/v1/namespaces/{namespace}/pods"), pod.clone()).await;
    }
    shop.until("/api/v1/namespaces/default/pods/waits", |pod| pod["status"]["conditions"].is_array()).await;
    let all = shop.get("/orchestra/v1/explain", &[]).await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 2, "{all:#}");
    assert_eq!(all["unread"], json!([]));
    let someone = crate::support::SOMEONE;
    let refused = shop.get("/orchestra/v1/explain", &[someone]).await;
    assert_eq!(refused.code, 403, "{}", refused.text());
    let theirs = shop.get("/orchestra/v1/explain?namespace=theirs", &[someone]).await.json();
    assert_eq!(theirs["items"].as_array().unwrap().len(), 1, "{theirs:#}");
    assert_eq!(theirs["items"][0]["about"]["namespace"], "theirs");
    assert!(theirs["unread"].as_array().unwrap().contains(&json!("nodes")), "{theirs:#}");
    let one = "/orchestra/v1/explain?namespace=default&group=&resource=pods&name=waits";
    assert_eq!(shop.get(one, &[someone]).await.code, 403);
    assert_eq!(shop.get(one, &[]).await.json()["items"][0]["steps"][0]["says"], "fits on no node");
    // What a change would do may be told only to whoever may see all that it could do.
    let tried = "/orchestra/v1/explain?namespace=theirs&group=&resource=pods&name=waits&try=true";
    assert_eq!(shop.get(tried, &[someone]).await.code, 403);
    assert_eq!(shop.get(tried, &[]).await.json()["helps"], json!(null), "there is no node to have it");
}

#[tokio::test]
async fn what_helps_was_tried_and_nothing_of_it_happened() {
    let shop = shop::open().await;
    shop.few().await;
    let asked = "/orchestra/v1/explain?namespace=few&group=apps&resource=deployments&name=web&try=true";
    let helps = shop.get(asked, &[]).await.json()["helps"].clone();
    assert_eq!(helps["does"], "raise pods to 2 of the quota small", "{helps:#}");
    assert_eq!(helps["left"], json!(null), "{helps:#}");
    let quota = shop.get("/api/v1/namespaces/few/resourcequotas/small", &[]).await.json();
    assert_eq!(quota["spec"]["hard"]["pods"], "1");
    let unnamed = shop.get("/orchestra/v1/explain?namespace=few&try=true", &[]).await;
    assert_eq!(unnamed.code, 400, "{}", unnamed.text());
}
