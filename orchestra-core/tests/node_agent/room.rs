//! Pods for which their node has no room.

use serde_json::{Value, json};

use crate::world::{World, phase};

fn spec(cpu: &str) -> Value {
    json!({"restartPolicy": "Never",
        "containers": [{"name": "app", "image": "nginx:1", "resources": {"requests": {"cpu": cpu}}}]})
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_bound_to_a_full_node_is_rejected_and_the_next_may_have_the_room() {
    let mut world = World::start().await;
    world.create("large", spec("1000000")).await;
    let large = world.until_phase("large", "Failed").await;
    let status = large.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("OutOfcpu"));
    // kubectl shows the reason where no container has one of its own.
    assert_eq!(status.container_statuses, None);
    let message = status.message.unwrap();
    let beginning = "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000000, used: 0, \
                     capacity: ";
    let cores: i64 = message.strip_prefix(beginning).unwrap().parse().unwrap();
    assert_eq!(world.sandboxes().await.len(), 0, "nothing of it was begun");
    let most = format!("{}m", cores - 100);
    world.create("first", spec(&most)).await;
    world.until_ready("first").await;
    world.create("second", spec(&most)).await;
    let second = world.until_phase("second", "Failed").await;
    let message = second.status.unwrap().message.unwrap();
    assert!(message.contains(&format!("used: {}, capacity: {cores}", cores - 100)), "{message}");
    // Another agent knows what is taken.
    world.kill_agent().await;
    world.start_agent();
    world.create("third", spec(&most)).await;
    world.until_phase("third", "Failed").await;
    assert_eq!(phase(&world.get("first").await), "Running");
    world.delete("first", None).await;
    world.until_gone("first").await;
    world.create("fourth", spec(&most)).await;
    world.until_ready("fourth").await;
}
