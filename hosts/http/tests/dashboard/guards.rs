//! What stands between a browser and the API: who is let in, what forms are taken, and what headers pages have.

use http::Method;
use serde_json::json;

use crate::shop::{self, BARE, COOKIE, GUARD};

#[tokio::test]
async fn a_stranger_is_asked_who_they_are_and_sees_nothing() {
    let shop = shop::empty().await;
    let hello = shop.get("/ui", &[BARE]).await;
    assert_eq!((hello.code, hello.header("location")), (303, "ui/"));
    for page in [
        "",
        "topology",
        "kinds",
        "table?r=pods",
        "object?r=namespaces&n=default",
        "delete?r=namespaces&n=default",
    ] {
        let answer = shop.get(&format!("/ui/{page}"), &[BARE]).await;
        assert!(matches!(answer.code, 401 | 403), "{page}: {}", answer.code);
        assert!(answer.text().contains("Bearer token") && !answer.text().contains("kube-system"), "{page}");
    }
    // A token that is nobody's is forgotten.
    let wrong = shop.get("/ui/", &[BARE, ("cookie", "orchestra-token=wrong")]).await;
    assert_eq!(wrong.code, 401);
    assert!(
        wrong
            .headers
            .get_all("set-cookie")
            .iter()
            .any(|cookie| cookie.to_str().unwrap().contains("Max-Age=0"))
    );
}

#[tokio::test]
async fn a_token_is_kept_where_no_script_finds_it() {
    let shop = shop::empty().await;
    let taken = shop.form("login", "token=of-the-administrator").await;
    assert_eq!((taken.code, taken.header("location")), (303, "."), "{}", taken.text());
    let cookie = taken.header("set-cookie");
    assert!(cookie.starts_with("orchestra-token=of-the-administrator; "), "{cookie}");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && cookie.contains("Secure"),
        "{cookie}"
    );
    // A cookie without a path is sent to the folder of the page that set it, so it is for the dashboard alone.
    assert!(!cookie.contains("Path") && !cookie.contains("Domain"), "{cookie}");
    let refused = shop.form("login", "token=nobodys").await;
    assert_eq!(refused.code, 401);
    assert!(refused.headers.get("set-cookie").is_none() && !refused.text().contains("nobodys"));
    let out = shop.form("logout", "").await;
    assert!(out.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn a_form_of_another_site_does_nothing() {
    let shop = shop::empty().await;
    shop.make("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "precious"}})).await;
    let precious = shop.get("/api/v1/namespaces/default/configmaps/precious", &[]).await.json();
    let uid = precious["metadata"]["uid"].as_str().unwrap();
    let fields = format!("act=delete&r=configmaps&in=default&n=precious&uid={uid}");
    let good = format!("orchestra-form={GUARD}; {}", COOKIE.1);
    let guarded = format!("guard={GUARD}&{fields}");
    // As the administrator by a certificate or a header, which a browser sends along wherever a form comes from.
    for (why, cookie, site, body) in [
        ("no secret", &*good, "", fields.clone()),
        ("no cookie", "", "", guarded.clone()),
        ("another secret", &good, "", format!("guard={}&{fields}", GUARD.replace('0', "1"))),
        ("another site", &good, "cross-site", guarded.clone()),
        ("a sister of ours", &good, "same-site", guarded.clone()),
    ] {
        let headers = [("cookie", cookie), ("sec-fetch-site", site)];
        let answer = shop.send(Method::POST, "/ui/do", &headers, body).await;
        assert_eq!(answer.code, 400, "{why}: {}", answer.text());
    }
    assert_eq!(shop.get("/api/v1/namespaces/default/configmaps/precious", &[]).await.code, 200);
    // Reading does nothing either, whatever the query says.
    let read = shop.get(&format!("/ui/do?{guarded}"), &[("cookie", &good)]).await;
    assert_eq!(read.code, 404);
    let done = shop
        .send(Method::POST, "/ui/do", &[("cookie", &good), ("sec-fetch-site", "same-origin")], guarded)
        .await;
    assert_eq!(done.code, 303, "{}", done.text());
    assert_eq!(shop.get("/api/v1/namespaces/default/configmaps/precious", &[]).await.code, 404);
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere_and_are_framed_by_nobody() {
    let shop = shop::empty().await;
    for page in [
        "",
        "topology",
        "kinds",
        "table?r=namespaces",
        "object?r=namespaces&n=default",
        "nowhere",
        "style.css",
    ] {
        let answer = shop.page(page, COOKIE).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{page}: {policy}"
        );
        assert!(!policy.contains("unsafe"), "{page}: {policy}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{page}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{page}");
        if answer.header("content-type").starts_with("text/html") {
            let text = answer.text();
            assert!(
                !text.contains("style=\"") && !text.contains("://") && !text.contains(" onclick"),
                "{page}"
            );
            // Links are relative: the dashboard works under any prefix.
            assert!(
                !text.contains("href=\"/") && !text.contains("action=\"/") && !text.contains("src=\"/"),
                "{page}"
            );
        }
    }
}

#[tokio::test]
async fn a_stranger_cannot_have_a_large_body_read() {
    let shop = shop::empty().await;
    let large = "token=".to_owned() + &"a".repeat(100_000);
    let answer = shop.send(Method::POST, "/ui/login", &[BARE], large).await;
    assert_eq!(answer.code, 413, "{}", answer.text());
}

#[tokio::test]
async fn what_a_browser_loads_is_small() {
    let shop = shop::empty().await;
    let mut all = 0;
    for file in ["style.css", "script.js", "icon.svg", ""] {
        let answer = shop.get(&format!("/ui/{file}"), &[BARE, COOKIE, ("accept-encoding", "gzip")]).await;
        assert_eq!(answer.code, 200, "{file}");
        all += answer.body.len();
    }
    assert!(all < 60 * 1024, "{all} bytes");
}
