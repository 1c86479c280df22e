//! Pods that were bound to a node which is not one for them.

use std::time::Duration;

use orchestra_core::api::Patch;
use orchestra_core::k8s_openapi::api::core::v1::Node;
use orchestra_core::runtime::fake::{Behaviour, On};
use serde_json::{Value, json};

use crate::world::{NODE, World, condition, container, phase};

fn pod(field: &str, value: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "app", "image": "nginx:1"}]});
    spec[field] = value;
    spec
}

fn with_port(port: u16) -> Value {
    json!({"containers": [{"name": "app", "image": "nginx:1", "ports": [{"containerPort": 80, "hostPort": port}]}]})
}

async fn change_node(world: &World, change: Value) {
    world.client.cluster::<Node>().patch(NODE, Patch::Merge(change)).await.unwrap();
}

async fn rejected(world: &World, name: &str) -> (String, String) {
    let status = world.until_phase(name, "Failed").await.status.unwrap();
    assert_eq!(
        status.container_statuses, None,
        "kubectl shows the reason where no container has one of its own"
    );
    (status.reason.unwrap(), status.message.unwrap())
}

fn told(reason: &str, why: &str) -> (String, String) {
    (reason.to_owned(), format!("Pod was rejected: {why}"))
}

const AFFINITY: &str = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
const TAINTED: &str = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";

#[tokio::test(start_paused = true)]
async fn a_pod_goes_by_the_labels_of_its_node_as_they_are_now() {
    let mut world = World::start().await;
    let on_ssd = pod("nodeSelector", json!({"disk": "ssd"}));
    world.create("early", on_ssd.clone()).await;
    assert_eq!(rejected(&world, "early").await, told("NodeAffinity", AFFINITY));
    let events = world.events("early").await;
    assert!(events.contains(&format!("Warning NodeAffinity {AFFINITY}")), "{events}");
    assert_eq!(world.sandboxes().await.len(), 0, "nothing of it was begun");
    // The node was looked at just now, and is looked at again before anybody is turned away.
    change_node(&world, json!({"metadata": {"labels": {"disk": "ssd"}}})).await;
    world.create("web", on_ssd.clone()).await;
    world.until_ready("web").await;
    world.kill_agent().await;
    change_node(&world, json!({"metadata": {"labels": {"disk": null}}})).await;
    world.create("late", on_ssd).await;
    world.start_agent();
    assert_eq!(rejected(&world, "late").await, told("NodeAffinity", AFFINITY));
    assert_eq!(phase(&world.get("web").await), "Running", "what runs goes on");
}

#[tokio::test(start_paused = true)]
async fn a_port_of_the_node_is_one_pods_until_that_has_ended() {
    let mut world = World::start().await;
    world.create("first", with_port(8080)).await;
    world.until_ready("first").await;
    world.kill_agent().await;
    world.start_agent();
    world.create("second", with_port(8080)).await;
    let why = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    assert_eq!(rejected(&world, "second").await, told("NodePorts", why));
    world.create("other", with_port(8081)).await;
    world.until_ready("other").await;
    world.delete("first", None).await;
    world.until_gone("first").await;
    world.create("third", with_port(8080)).await;
    world.until_ready("third").await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_would_be_driven_off_does_not_begin() {
    let world = World::start().await;
    world.sleep(5.0).await;
    let taint = |effect: &str| json!({"spec": {"taints": [{"key": "sick", "effect": effect}]}});
    change_node(&world, taint("NoSchedule")).await;
    world.create("bound", pod("hostname", json!("a"))).await;
    world.until_ready("bound").await;
    world.sleep(5.0).await;
    change_node(&world, taint("NoExecute")).await;
    world.create("plain", pod("hostname", json!("a"))).await;
    assert_eq!(rejected(&world, "plain").await, told("TaintToleration", TAINTED));
    world.create("hardy", pod("tolerations", json!([{"key": "sick", "operator": "Exists"}]))).await;
    world.until_ready("hardy").await;
}

#[tokio::test(start_paused = true)]
async fn what_others_say_that_the_node_has_is_counted() {
    let world = World::start().await;
    world.sleep(5.0).await;
    let hand = |name: &str| json!({"containers": [{"name": "app", "image": "a:1", "resources": {"limits": {name: "1"}}}]});
    world.create("any", hand("b.io/foot")).await;
    world.until_ready("any").await;
    world.sleep(5.0).await;
    let has = json!({"status": {"capacity": {"b.io/hand": "1"}, "allocatable": {"b.io/hand": "1"}}});
    world.client.cluster::<Node>().patch_status(NODE, Patch::Merge(has)).await.unwrap();
    world.create("first", hand("b.io/hand")).await;
    world.until_ready("first").await;
    world.create("second", hand("b.io/hand")).await;
    let why = "Node didn't have enough resource: b.io/hand, requested: 1, used: 1, capacity: 1";
    assert_eq!(rejected(&world, "second").await, told("OutOfb.io/hand", why));
    let disk = json!({"requests": {"ephemeral-storage": "1Pi"}});
    world.create("large", json!({"containers": [{"name": "app", "image": "a:1", "resources": disk}]})).await;
    assert_eq!(rejected(&world, "large").await.0, "OutOfephemeral-storage");
    world.create("windows", pod("os", json!({"name": "windows"}))).await;
    let why = "Failed to admit pod as the OS field doesn't match node OS";
    assert_eq!(rejected(&world, "windows").await, told("PodOSNotSupported", why));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_the_system_needs_is_made_way_for() {
    let world = World::start().await;
    let asks = |cpu: i64, priority: i32| {
        let resources = json!({"requests": {"cpu": format!("{cpu}m")}});
        json!({"priority": priority, "terminationGracePeriodSeconds": 20,
            "containers": [{"name": "app", "image": "nginx:1", "resources": resources}]})
    };
    let slow = Behaviour::new().stops_in(Duration::from_secs(10), 0);
    world.runtime.on(On::image("nginx:1"), slow);
    for (name, cpu, priority) in [("small", 500, 0), ("large", 2500, 0), ("needed", 1000, 2_000_000_000)] {
        world.create(name, asks(cpu, priority)).await;
        world.until_ready(name).await;
    }
    world.create("first", asks(600, 2_000_000_000)).await;
    world.sleep(5.0).await;
    assert_eq!(container(&world.get("first").await, "app"), None, "it waits for the other to end");
    world.create("second", asks(300, 0)).await;
    let why = "Node didn't have enough resource: cpu, requested: 300, used: 4600, capacity: 4000";
    assert_eq!(rejected(&world, "second").await, told("OutOfcpu", why));
    let large = world.until_phase("large", "Failed").await;
    assert_eq!(condition(&large, "DisruptionTarget"), "True");
    let status = large.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("Preempting"));
    assert_eq!(status.message.as_deref(), Some("Preempted in order to admit critical pod"));
    world.until_ready("first").await;
    for kept in ["small", "needed"] {
        assert_eq!(phase(&world.get(kept).await), "Running");
    }
    world.create("third", asks(4000, 2_000_000_000)).await;
    let (reason, message) = rejected(&world, "third").await;
    assert_eq!(reason, "UnexpectedAdmissionError");
    assert!(message.ends_with("to reclaim resources: [(res: cpu, q: 1600), ]"), "{message}");
}
