//! Containers that get more or less of processors and memory while they run.

use std::time::Duration;

use orchestra_core::api::{Body, Operation, Target, WriteOptions};
use orchestra_core::k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use orchestra_core::runtime::fake::Call;
use orchestra_core::runtime::{ContainerId, RuntimeError};
use serde_json::{Value, json};

use crate::world::World;

fn spec(policy: Value) -> Value {
    let resources = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}});
    json!({"containers": [{"name": "app", "image": "nginx:1", "resources": resources, "resizePolicy": policy}]})
}

async fn resize(world: &World, pod: &str, cpu: &str) {
    let mut object = serde_json::to_value(world.get(pod).await).unwrap();
    object["kind"] = json!("Pod");
    object["apiVersion"] = json!("v1");
    object["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!(cpu);
    let target = Target::of::<Pod>(Some("default")).named(pod).sub("resize");
    let update = Operation::Update { body: Body::Value(object), options: WriteOptions::default() };
    world.client.call(target, update).await.unwrap();
}

fn container(pod: &Pod) -> ContainerStatus {
    pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].clone()
}

/// What is shown to be used and to be set aside.
fn cpu(pod: &Pod) -> (String, String) {
    let status = container(pod);
    let request = |of: Option<std::collections::BTreeMap<String, _>>| match of {
        Some(of) => serde_json::to_value(&of["cpu"]).unwrap().as_str().unwrap().to_owned(),
        None => String::new(),
    };
    (request(status.resources.unwrap().requests), request(status.allocated_resources))
}

fn condition(pod: &Pod, kind: &str) -> Option<PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.clone()?;
    conditions.into_iter().find(|condition| condition.type_ == kind)
}

fn shares(world: &World, pod: &Pod) -> u64 {
    let shown = container(pod).container_id.unwrap();
    let id = ContainerId::new(shown.rsplit("://").next().unwrap());
    world.runtime.resources(&id).unwrap().cpu_shares
}

#[tokio::test(start_paused = true)]
async fn a_container_is_resized_while_it_runs() {
    let world = World::start().await;
    world.create("web", spec(json!([]))).await;
    let before = world.until_ready("web").await;
    assert_eq!((cpu(&before), shares(&world, &before)), (("100m".into(), "100m".into()), 102));
    resize(&world, "web", "200m").await;
    let after = world.until("web", "resized", |pod| cpu(pod) == ("200m".into(), "200m".into())).await;
    assert_eq!(shares(&world, &after), 204);
    let same = |pod: &Pod| (container(pod).container_id, container(pod).restart_count);
    assert_eq!(same(&after), same(&before));
    assert_eq!(condition(&after, "PodResizeInProgress"), None);
    world.sleep(600.0).await;
    assert_eq!(world.runtime.calls(Call::UpdateContainer), 1, "once is enough");
    let events = world.events("web").await;
    assert!(events.contains("Normal ResizeCompleted"), "{events}");
}

#[tokio::test(start_paused = true)]
async fn a_container_whose_policy_says_so_is_started_anew() {
    let world = World::start().await;
    world.create("web", spec(json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]))).await;
    world.until_ready("web").await;
    resize(&world, "web", "200m").await;
    let after = world.until("web", "restarted", |pod| {
        container(pod).restart_count == 1 && container(pod).ready && cpu(pod).0 == "200m"
    });
    assert_eq!(shares(&world, &after.await), 204);
    assert_eq!(world.runtime.calls(Call::UpdateContainer), 0);
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_way_is_told_and_tried_again() {
    let world = World::start().await;
    world.create("web", spec(json!([]))).await;
    world.until_ready("web").await;
    let busy = RuntimeError::Failed { message: "the memory is in use".into() };
    world.runtime.fail_next(Call::UpdateContainer, busy);
    resize(&world, "web", "200m").await;
    let stuck = world.until("web", "stuck", |pod| condition(pod, "PodResizeInProgress").is_some()).await;
    let told = condition(&stuck, "PodResizeInProgress").unwrap();
    assert_eq!(told.message.as_deref(), Some("the memory is in use"));
    assert_eq!(cpu(&stuck), ("100m".into(), "200m".into()));
    let after = world.until("web", "resized", |pod| cpu(pod).0 == "200m").await;
    assert_eq!(condition(&after, "PodResizeInProgress"), None);
    world.runtime.fail_next(Call::UpdateContainer, RuntimeError::Unsupported { what: "that" });
    resize(&world, "web", "300m").await;
    let never = world.until("web", "refused", |pod| condition(pod, "PodResizePending").is_some()).await;
    assert_eq!(condition(&never, "PodResizePending").unwrap().reason.as_deref(), Some("Infeasible"));
    world.sleep(Duration::from_secs(600).as_secs_f64()).await;
    assert_eq!(world.runtime.calls(Call::UpdateContainer), 3, "what cannot be is not tried again");
    resize(&world, "web", "200m").await;
    world.until("web", "as before", |pod| condition(pod, "PodResizePending").is_none()).await;
}
