//! Names, labels, logs and messages are what others wrote: a page shows them as they are, and does nothing that they say.

use serde_json::json;

use crate::shop::{self, COOKIE};

const EVIL: &str = "<img src=x onerror=alert(1)>\"'&</textarea></pre></script><script>alert(2)</script>";

#[tokio::test]
async fn what_others_wrote_is_shown_and_not_done() {
    let shop = shop::empty().await;
    let metadata = json!({"name": "evil", "annotations": {"note": EVIL}});
    shop.make("/api/v1/namespaces/default/configmaps", json!({"metadata": metadata, "data": {"text": EVIL}}))
        .await;
    let about = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "evil", "namespace": "default"});
    let event = json!({
        "metadata": {"name": "evil.1"}, "involvedObject": about, "reason": EVIL, "message": EVIL, "type": "Warning",
    });
    shop.make("/api/v1/namespaces/default/events", event).await;
    let names = json!({"plural": "evils", "singular": "evil", "kind": "Evil"});
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let columns = json!([{"name": EVIL, "type": "string", "jsonPath": ".spec.text"}]);
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema, "additionalPrinterColumns": columns});
    let spec = json!({"group": "evil.example", "scope": "Namespaced", "names": names, "versions": [version]});
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    shop.make(path, json!({"metadata": {"name": "evils.evil.example"}, "spec": spec})).await;
    shop.until(&format!("{path}/evils.evil.example"), |definition| {
        let conditions = definition["status"]["conditions"].as_array();
        conditions
            .is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
    })
    .await;
    let custom = json!({
        "apiVersion": "evil.example/v1", "kind": "Evil", "metadata": {"name": "e"},
        "spec": {"text": EVIL, EVIL: EVIL}, "status": {"conditions": [{"type": EVIL, "status": "False", "message": EVIL}]},
    });
    shop.make("/apis/evil.example/v1/namespaces/default/evils", custom).await;
    let quoted = http_encoded(EVIL);
    let mut shown = 0;
    for page in [
        "".to_owned(),
        "kinds".to_owned(),
        "table?r=configmaps&in=default".to_owned(),
        "object?r=configmaps&in=default&n=evil".to_owned(),
        "object?r=configmaps&in=default&n=evil&tab=yaml".to_owned(),
        "object?r=configmaps&in=default&n=evil&tab=events".to_owned(),
        "object?r=configmaps&in=default&n=evil&tab=history".to_owned(),
        "table?r=evils&g=evil.example&in=default".to_owned(),
        "object?r=evils&g=evil.example&in=default&n=e".to_owned(),
        format!("table?r=pods&in={quoted}&l={quoted}&f={quoted}&s={quoted}"),
        format!("object?r=pods&in={quoted}&n={quoted}"),
        format!("table?r={quoted}"),
        format!("go?q={quoted}"),
        quoted.clone(),
    ] {
        let answer = shop.page(&page, COOKIE).await;
        let text = answer.text();
        // Attributes are quoted and text is escaped, so no tag of theirs is one.
        assert!(!text.contains("<img") && !text.contains("<script>"), "{page}: {text}");
        let scripts = text.matches("<script").count();
        assert!(scripts <= 1, "{page}: {scripts} scripts");
        assert_eq!(text.matches("</textarea>").count(), text.matches("<textarea").count(), "{page}");
        shown += text.matches("&lt;img src=x").count();
    }
    assert!(shown > 8, "it is shown {shown} times");
}

fn http_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn a_selector_is_the_apis_and_says_what_is_wrong_with_it() {
    let shop = shop::empty().await;
    for (name, tier) in [("a", "front"), ("b", "back")] {
        let metadata = json!({"name": name, "labels": {"tier": tier}});
        shop.make("/api/v1/namespaces/default/configmaps", json!({"metadata": metadata})).await;
    }
    let page = async |selector: &str| {
        let page = format!("table?r=configmaps&in=default&l={}", http_encoded(selector));
        let answer = shop.page(&page, COOKIE).await;
        (answer.code, answer.text().to_owned())
    };
    let has = |text: &str, name: &str| text.contains(&format!("&amp;n={name}\""));
    let (_, text) = page("tier in (front, other)").await;
    assert!(has(&text, "a") && !has(&text, "b"), "{text}");
    let (_, text) = page("tier!=front").await;
    assert!(has(&text, "b") && !has(&text, "a"), "{text}");
    let (code, text) = page("tier in (").await;
    assert!(code == 200 && text.contains("role=\"alert\""), "{code}: {text}");
}
