//! A topology of a thousand pods is drawn, and walked through without stutter.

use std::time::Instant;

use serde_json::json;

use crate::devtools::{Browser, is_there};
use crate::shop;

const PODS: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_pods_are_drawn() {
    if !is_there() {
        return;
    }
    let shop = shop::empty().await;
    for number in 0..20 {
        let node = json!({
            "metadata": {"name": format!("node-{number:02}")},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        shop.make("/api/v1/nodes", node).await;
        let app = format!("app-{number}");
        let service =
            json!({"metadata": {"name": app}, "spec": {"selector": {"app": app}, "ports": [{"port": 80}]}});
        shop.make("/api/v1/namespaces/default/services", service).await;
    }
    for number in 0..PODS {
        let pod = json!({
            "metadata": {"name": format!("pod-{number}"), "labels": {"app": format!("app-{}", number % 20)}},
            "spec": {"nodeName": format!("node-{:02}", number % 20), "containers": [{"name": "c", "image": "i"}]},
        });
        shop.make("/api/v1/namespaces/default/pods", pod).await;
    }
    let began = Instant::now();
    let answer = shop.page("topology", shop::COOKIE).await;
    let (took, size) = (began.elapsed(), answer.body.len());
    assert_eq!(answer.code, 200);
    let url = shop.console().await;
    let base = url.split_once("?key").unwrap().0.to_owned();
    let mut browser = Browser::start().await;
    browser.goto(&url).await;
    browser.goto(&format!("{base}topology")).await;
    browser.until(&format!("document.querySelectorAll('a.pod').length === {PODS}")).await;
    // How long the page is busy with one more pod, and with pointing at a service.
    browser.until("document.querySelector('#live.on')").await;
    browser
        .eval(
            "(() => { window.longest = 0; new PerformanceObserver((list) => { for (const e of list.getEntries()) \
             longest = Math.max(longest, e.duration); }).observe({type: 'longtask'}); })()",
        )
        .await;
    let pod = json!({
        "metadata": {"name": "one-more", "labels": {"app": "app-1"}},
        "spec": {"nodeName": "node-01", "containers": [{"name": "c", "image": "i"}]},
    });
    shop.make("/api/v1/namespaces/default/pods", pod).await;
    browser.until(&format!("document.querySelectorAll('a.pod').length === {}", PODS + 1)).await;
    browser.eval("document.querySelector('[data-points-at]').focus()").await;
    browser.until("document.querySelectorAll('.lines g.on path').length >= 50").await;
    let longest = browser.eval("window.longest").await.as_f64().unwrap_or(0.0);
    eprintln!("{PODS} pods: {size} bytes in {took:?}, the page is busy for {longest} ms at most");
    // Bounds that only something quadratic breaks, whatever the machine.
    assert!(size < 1_500_000, "{size} bytes");
    assert!(longest < 2000.0, "busy for {longest} ms");
    browser.shoot("topology-many").await;
    assert_eq!(browser.complaints, Vec::<String>::new());
}
