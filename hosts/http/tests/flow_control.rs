//! Who is let in when there are more requests than seats.

mod support;

use std::time::Duration;

use http::Method;
use orchestra_core::cluster::{Cluster, Component};
use orchestra_core::testing;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use support::{SOMEONE, Served};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const FLOWS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

/// A server of so many seats, whose flow schemas and levels are those of this test alone.
async fn served(seats: u32) -> Served {
    let builder = Cluster::builder().without(Component::ControllerManager);
    Served::with(builder, |face| face.flow_control(seats)).await
}

/// A request that has its seat for as long as this is held: its body does not come.
async fn holding(served: &Served, path: &str) -> impl Sized {
    let mut stream = served.connect().await;
    let (name, value) = SOMEONE;
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\n{name}: {value}\r\ncontent-length: 10\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

async fn figure(served: &Served, name: &str) -> f64 {
    let text = served.get("/metrics", &[]).await;
    let line = text.text().lines().find(|line| line.starts_with(name)).map(str::to_owned);
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}

/// Waits until a figure is so much.
async fn until(served: &Served, name: &str, wanted: f64) {
    testing::until(format!("{name} is {wanted}"), Duration::from_secs(10), async || {
        (figure(served, name).await == wanted).then_some(())
    })
    .await;
}

const RUNNING: &str = "apiserver_flowcontrol_current_executing_requests{priority_level=\"catch-all\"}";

#[tokio::test]
async fn who_finds_no_seat_is_told_to_come_again_and_administrators_always_do() {
    let served = served(2).await;
    let held = (holding(&served, MAPS).await, holding(&served, MAPS).await);
    until(&served, RUNNING, 2.0).await;
    let refused = served.get(MAPS, &[SOMEONE]).await;
    assert_eq!((refused.code, refused.header("retry-after")), (429, "1"));
    assert_eq!(refused.text(), "Too many requests, please try again later.\n");
    assert_eq!(served.get(MAPS, &[]).await.code, 200, "system:masters are exempt");
    drop(held);
    until(&served, RUNNING, 0.0).await;
    assert_eq!(served.get(MAPS, &[SOMEONE]).await.code, 200);
    let rejected = "apiserver_flowcontrol_rejected_requests_total{priority_level=\"catch-all\",flow_schema=\"catch-all\",\
                    reason=\"concurrency-limit\"}";
    assert_eq!(figure(&served, rejected).await, 1.0);
}

#[tokio::test]
async fn an_answer_says_by_which_rules_it_was_let_in_and_a_watch_takes_no_seat() {
    let served = served(10).await;
    let level = json!({
        "metadata": { "name": "low" },
        "spec": {
            "type": "Limited",
            "limited": { "nominalConcurrencyShares": 5, "limitResponse": { "type": "Reject" } },
        },
    });
    let schema = json!({
        "metadata": { "name": "someone" },
        "spec": {
            "priorityLevelConfiguration": { "name": "low" },
            "matchingPrecedence": 50,
            "rules": [{
                "subjects": [{ "kind": "User", "user": { "name": "someone" } }],
                "resourceRules": [
                    { "verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"], "namespaces": ["default"] },
                ],
            }],
        },
    });
    let mut uids = Vec::new();
    for (kind, object) in [("prioritylevelconfigurations", &level), ("flowschemas", &schema)] {
        let made = served.send(Method::POST, &format!("{FLOWS}/{kind}"), &[], object.to_string()).await;
        assert_eq!(made.code, 201, "{}", made.text());
        uids.push(made.json()["metadata"]["uid"].as_str().unwrap().to_owned());
    }
    let answer = served.get(MAPS, &[SOMEONE]).await;
    assert_eq!(answer.header("x-kubernetes-pf-prioritylevel-uid"), uids[0]);
    assert_eq!(answer.header("x-kubernetes-pf-flowschema-uid"), uids[1]);
    // The level has five seats, and there are more watches than that.
    let watch = format!("{MAPS}?watch=1&timeoutSeconds=1");
    let watches = (0..12).map(|_| served.get(&watch, &[SOMEONE]));
    for answer in futures::future::join_all(watches).await {
        assert_eq!(answer.code, 200, "{}", answer.text());
    }
    let running = "apiserver_flowcontrol_current_executing_requests{priority_level=\"low\"}";
    until(&served, running, 0.0).await;
}
