//! The node's own object: who it is, and that it lives.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, NodeCondition};
use orchestra_core::api::Patch;
use orchestra_core::k8s_openapi;
use orchestra_core::runtime::MachineInfo;
use orchestra_core::runtime::fake::FakeRuntime;
use serde_json::json;

use crate::world::{NODE, World};

async fn ready(world: &World) -> NodeCondition {
    let node: Node = world.client.cluster().get(NODE).await.unwrap();
    node.status.unwrap().conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap()
}

async fn events(world: &World) -> Vec<(String, String)> {
    world.sleep(0.01).await;
    let mut events: Vec<Event> = world.client.api::<Event>("default").list().await.unwrap();
    events.retain(|event| event.involved_object.kind.as_deref() == Some("Node"));
    events.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    let text = |field: Option<String>| field.unwrap_or_default();
    events.into_iter().map(|event| (text(event.reason), text(event.message))).collect()
}

/// S7: whoever marks the node while it is silent is contradicted with its next heartbeat.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_marked_takes_it_back_within_a_heartbeat() {
    let world = World::start().await;
    world.sleep(15.0).await;
    let condition = |type_: &str| {
        json!({"type": type_, "status": "Unknown", "reason": "NodeStatusUnknown",
            "message": "Kubelet stopped posting node status.", "lastTransitionTime": "2026-01-01T00:00:15Z"})
    };
    let marked = json!({"status": {"conditions": [condition("Ready"), condition("MemoryPressure")]}});
    world.client.cluster::<Node>().patch_status(NODE, Patch::Strategic(marked)).await.unwrap();
    assert_eq!(ready(&world).await.status, "Unknown");
    world.sleep(11.0).await;
    assert_eq!(ready(&world).await.status, "True");
    let said = events(&world).await;
    let again = said.iter().filter(|(reason, _)| reason == "NodeReady").count();
    assert_eq!(again, 1, "counted as one more of the same: {said:?}");
    world.client.cluster::<Node>().delete(NODE).await.unwrap();
    world.sleep(11.0).await;
    assert_eq!(ready(&world).await.status, "True", "a node that was deleted registers again");
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_node_are_events() {
    let world = World::start().await;
    world.sleep(1.0).await;
    let of = |reason: &str| (reason.to_owned(), format!("Node {NODE} status is now: {reason}"));
    let said = events(&world).await;
    for reason in ["NodeReady", "NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"] {
        assert!(said.contains(&of(reason)), "{reason} in {said:?}");
    }
    assert!(said.contains(&("Starting".into(), "Starting kubelet.".into())), "{said:?}");
    world.runtime.set_available(false);
    world.sleep(11.0).await;
    assert_eq!(events(&world).await.last(), Some(&of("NodeNotReady")));
}

/// S10: the name of a node that lives is not taken by another machine.
#[tokio::test(start_paused = true)]
async fn a_name_that_another_machine_has_is_not_taken() {
    let mut world = World::without_agent().await;
    let machine = |id: &str| MachineInfo { machine_id: id.into(), ..MachineInfo::default() };
    let runtime = |id| FakeRuntime::with_machine(world.clock.clone(), machine(id));
    let (first, second) = (runtime("one"), runtime("two"));
    world.runtime = first.clone();
    world.start_agent();
    world.sleep(1.0).await;
    world.kill_agent().await;
    world.runtime = second;
    world.start_agent();
    let machine_of = async |world: &World| {
        let node: Node = world.client.cluster().get(NODE).await.unwrap();
        node.status.unwrap().node_info.unwrap().machine_id
    };
    world.sleep(20.0).await;
    assert_eq!(machine_of(&world).await, "one", "its lease has not run out");
    let lease: Lease = world.client.api("kube-node-lease").get(NODE).await.unwrap();
    let age = world.clock.now().duration_since(lease.spec.unwrap().renew_time.unwrap().0);
    assert!(age.unsigned_abs() >= Duration::from_secs(20), "nor is it renewed for it");
    world.sleep(40.0).await;
    assert_eq!(machine_of(&world).await, "two", "one that is gone for good is replaced");
    world.kill_agent().await;
    world.start_agent();
    world.sleep(1.0).await;
    assert_eq!(machine_of(&world).await, "two", "the same machine is let in at once");
}
