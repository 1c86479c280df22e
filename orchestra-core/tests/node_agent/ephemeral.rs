//! Containers that are added to a pod that runs, to look into it.

use std::time::Duration;

use orchestra_core::api::{Body, Operation, Patch, Status, Target, WriteOptions};
use orchestra_core::k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use orchestra_core::runtime::SupportedFields;
use orchestra_core::runtime::fake::{Behaviour, Call, On};
use serde_json::{Value, json};

use crate::world::{World, phase};

async fn add(world: &World, pod: &str, list: Value) -> Result<(), Status> {
    let mut object = serde_json::to_value(world.get(pod).await).unwrap();
    object["kind"] = json!("Pod");
    object["apiVersion"] = json!("v1");
    object["spec"]["ephemeralContainers"] = list;
    object["spec"]["containers"] = json!([]);
    object["metadata"]["labels"] = json!({"app": "other"});
    let target = Target::of::<Pod>(Some("default")).named(pod).sub("ephemeralcontainers");
    let update = Operation::Update { body: Body::Value(object), options: WriteOptions::default() };
    world.client.call(target, update).await.map(drop)
}

fn added(pod: &Pod, name: &str) -> Option<ContainerStatus> {
    let all = pod.status.as_ref()?.ephemeral_container_statuses.clone()?;
    all.into_iter().find(|status| status.name == name)
}

fn code(pod: &Pod, name: &str) -> Option<i32> {
    Some(added(pod, name)?.state?.terminated?.exit_code)
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_added_runs_once() {
    let world = World::start().await;
    let spec = json!({"restartPolicy": "Always", "containers": [{"name": "app", "image": "nginx:1"}]});
    world.create("web", spec).await;
    world.until_ready("web").await;
    world.runtime.on(On::container("debug"), Behaviour::new().exits(Duration::from_secs(5), 3));
    let debug = json!({"name": "debug", "image": "tools:1", "targetContainerName": "app", "stdin": true});
    add(&world, "web", json!([debug])).await.unwrap();
    let pod = world.until("web", "looked into", |pod| {
        added(pod, "debug").is_some_and(|status| status.state.is_some_and(|state| state.running.is_some()))
    });
    let pod = pod.await;
    assert_eq!(pod.metadata.labels, None, "nothing else is written");
    assert_eq!(pod.spec.as_ref().unwrap().containers.len(), 1);
    world.until("web", "looked into to the end", |pod| code(pod, "debug") == Some(3)).await;
    let started = world.runtime.calls(Call::StartContainer);
    world.sleep(600.0).await;
    assert_eq!(world.runtime.calls(Call::StartContainer), started, "it is not started again");
    assert_eq!(phase(&world.get("web").await), "Running");
    let events = world.events("web").await;
    assert!(events.contains("Normal Pulled"), "{events}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_added_ends_with_the_pod_and_is_not_started_by_another_agent() {
    let mut world = World::start().await;
    world.create("web", json!({"containers": [{"name": "app", "image": "nginx:1"}]})).await;
    world.until_ready("web").await;
    add(&world, "web", json!([{"name": "debug", "image": "tools:1"}])).await.unwrap();
    let runs = |pod: &Pod| {
        added(pod, "debug").is_some_and(|status| status.state.is_some_and(|state| state.running.is_some()))
    };
    world.until("web", "looked into", runs).await;
    let started = world.runtime.calls(Call::StartContainer);
    world.kill_agent().await;
    world.start_agent();
    world.sleep(60.0).await;
    assert_eq!(world.runtime.calls(Call::StartContainer), started);
    world.delete("web", None).await;
    world.until_gone("web").await;
    world.until_empty().await;
    let events = world.events("web").await;
    assert!(events.contains("Normal Killing Stopping container debug"), "{events}");
}

#[tokio::test(start_paused = true)]
async fn what_was_added_stays_and_what_a_runtime_cannot_do_harms_nobody_else() {
    let world = World::start().await;
    world.create("web", json!({"containers": [{"name": "app", "image": "nginx:1"}]})).await;
    world.until_ready("web").await;
    add(&world, "web", json!([{"name": "one", "image": "tools:1"}])).await.unwrap();
    let changed = add(&world, "web", json!([{"name": "one", "image": "tools:2"}])).await.unwrap_err();
    assert!(changed.message().contains("existing ephemeral containers \"one\" may not be changed"));
    let removed = add(&world, "web", json!([{"name": "two", "image": "tools:1"}])).await.unwrap_err();
    assert!(removed.message().contains("existing ephemeral containers \"one\" may not be removed"));
    let twice =
        add(&world, "web", json!([{"name": "one", "image": "tools:1"}, {"name": "app", "image": "a:1"}]));
    assert_eq!(twice.await.unwrap_err().code(), 422);
    world.runtime.support(SupportedFields::NONE);
    let privileged = json!({"name": "two", "image": "tools:1", "securityContext": {"privileged": true}});
    add(&world, "web", json!([{"name": "one", "image": "tools:1"}, privileged])).await.unwrap();
    let waits = |pod: &Pod| added(pod, "two").and_then(|status| status.state?.waiting?.message);
    let pod = world.until("web", "refused", |pod| waits(pod).is_some()).await;
    let field = "spec.ephemeralContainers[two].securityContext.privileged is not supported";
    assert!(waits(&pod).unwrap().starts_with(field), "{:?}", waits(&pod));
    world.until_ready("web").await;
    // What is added cannot be written otherwise.
    let patch = Patch::Merge(json!({"spec": {"ephemeralContainers": []}}));
    assert_eq!(world.pods().patch("web", patch).await.unwrap_err().code(), 422);
}
