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
    resize_by(world, pod, |spec| spec["containers"][0]["resources"]["requests"]["cpu"] = json!(cpu)).await;
}

async fn resize_by(world: &World, pod: &str, change: impl FnOnce(&mut Value)) {
    let mut object = serde_json::to_value(world.get(pod).await).unwrap();
    object["kind"] = json!("Pod");
    object["apiVersion"] = json!("v1");
    change(&mut object["spec"]);
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

fn as_a_whole(policy: Value) -> Value {
    json!({"resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    "containers": [
        {"name": "app", "image": "nginx:1", "resizePolicy": policy},
        {"name": "held", "image": "nginx:1", "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}}},
    ]})
}

/// The limits of processors, of a pod and of its first container, in microseconds a period.
fn quotas(world: &World, pod: &Pod) -> (Option<i64>, Option<i64>) {
    let whole = world.runtime.pod_resources(pod.metadata.uid.as_deref().unwrap()).unwrap();
    let shown = container(pod).container_id.unwrap();
    let id = ContainerId::new(shown.rsplit("://").next().unwrap());
    (whole.cpu_quota, world.runtime.resources(&id).unwrap().cpu_quota)
}

fn limit_of_pod(pod: &Pod) -> Option<String> {
    let given = pod.status.as_ref()?.resources.as_ref()?;
    Some(given.limits.as_ref()?["cpu"].0.clone())
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_resized_as_a_whole_with_what_its_limits_hold() {
    let world = World::start().await;
    world.create("web", as_a_whole(json!([]))).await;
    let before = world.until_ready("web").await;
    assert_eq!(quotas(&world, &before), (Some(100_000), Some(100_000)));
    assert_eq!(limit_of_pod(&before).as_deref(), Some("1"));
    for (cpu, quota) in [("2", 200_000), ("1500m", 150_000)] {
        resize_by(&world, "web", |spec| spec["resources"]["limits"]["cpu"] = json!(cpu)).await;
        let after = world.until("web", "resized", |pod| limit_of_pod(pod).as_deref() == Some(cpu)).await;
        assert_eq!(quotas(&world, &after), (Some(quota), Some(quota)));
        assert_eq!(container(&after).restart_count, 0);
        assert_eq!(condition(&after, "PodResizeInProgress"), None);
    }
    let status = world.get("web").await.status.unwrap();
    assert_eq!(status.allocated_resources.unwrap()["cpu"].0, "500m");
    world.sleep(600.0).await;
    assert_eq!(
        world.runtime.calls(Call::UpdateContainer),
        2,
        "once each, and what has its own limits is left"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_limits_of_a_pod_hold_is_started_anew_where_its_policy_says_so() {
    let world = World::start().await;
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    world.create("web", as_a_whole(policy)).await;
    world.until_ready("web").await;
    resize_by(&world, "web", |spec| spec["resources"]["limits"]["cpu"] = json!("2")).await;
    let same = world.until("web", "resized", |pod| limit_of_pod(pod).as_deref() == Some("2")).await;
    assert_eq!(container(&same).restart_count, 0);
    resize_by(&world, "web", |spec| spec["resources"]["limits"]["memory"] = json!("2Gi")).await;
    let anew = world
        .until("web", "restarted", |pod| container(pod).restart_count == 1 && container(pod).ready)
        .await;
    let shown = container(&anew).container_id.unwrap();
    let id = ContainerId::new(shown.rsplit("://").next().unwrap());
    assert_eq!(world.runtime.resources(&id).unwrap().memory_bytes, Some(2 << 30));
    world.sleep(600.0).await;
    assert_eq!(container(&world.get("web").await).restart_count, 1, "once");
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_the_way_of_a_whole_pod_is_told_and_tried_again() {
    let world = World::start().await;
    world.create("web", as_a_whole(json!([]))).await;
    world.until_ready("web").await;
    world.runtime.fail_next(Call::UpdateContainer, RuntimeError::Failed { message: "it is in use".into() });
    resize_by(&world, "web", |spec| spec["resources"]["limits"]["memory"] = json!("512Mi")).await;
    let stuck = world.until("web", "stuck", |pod| condition(pod, "PodResizeInProgress").is_some()).await;
    assert_eq!(condition(&stuck, "PodResizeInProgress").unwrap().message.as_deref(), Some("it is in use"));
    world.until("web", "resized", |pod| condition(pod, "PodResizeInProgress").is_none()).await;
    let events = world.events("web").await;
    assert!(events.contains("Warning ResizeError") && events.contains("Normal ResizeCompleted"), "{events}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_too_small_or_too_full_says_so() {
    let world = World::start().await;
    world.create("web", spec(json!([]))).await;
    let cores = world.until_ready("web").await;
    let limited = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": "1000"}});
    let resize = async |cpu: &str| {
        resize_by(&world, "web", |spec| spec["containers"][0]["resources"] = limited(cpu)).await;
    };
    resize("1000").await;
    let never = world.until("web", "never", |pod| condition(pod, "PodResizePending").is_some()).await;
    let told = condition(&never, "PodResizePending").unwrap();
    assert_eq!(told.reason.as_deref(), Some("Infeasible"));
    let message = told.message.unwrap();
    assert!(
        message.starts_with("Node didn't have enough capacity: cpu, requested: 1000000, capacity: "),
        "{message}"
    );
    assert_eq!(cpu(&never), ("100m".into(), "100m".into()), "nothing is set aside for it");
    assert_eq!(shares(&world, &never), shares(&world, &cores));
    let capacity: i64 = message.rsplit(' ').next().unwrap().parse().unwrap();
    let most = json!({"requests": {"cpu": format!("{}m", capacity - 200)}, "limits": {"cpu": "1000"}});
    let other = json!({"containers": [{"name": "app", "image": "nginx:1", "resources": most}]});
    world.create("other", other).await;
    world.until_ready("other").await;
    resize("300m").await;
    let later = world.until("web", "later", |pod| {
        condition(pod, "PodResizePending").is_some_and(|told| told.reason.as_deref() == Some("Deferred"))
    });
    let message = condition(&later.await, "PodResizePending").unwrap().message.unwrap();
    let used = capacity - 200;
    let wanted =
        format!("Node didn't have enough resource: cpu, requested: 300, used: {used}, capacity: {capacity}");
    assert_eq!(message, wanted);
    world.sleep(300.0).await;
    let events = world.events("web").await;
    assert_eq!(events.matches("ResizeDeferred").count(), 1, "it is told once: {events}");
    assert_eq!(world.runtime.calls(Call::UpdateContainer), 0);
    world.delete("other", None).await;
    let after = world.until("web", "resized", |pod| cpu(pod).0 == "300m").await;
    assert_eq!(condition(&after, "PodResizePending"), None);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_anew_for_what_cannot_be_had() {
    let world = World::start().await;
    world.create("web", spec(json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]))).await;
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    world.create("whole", as_a_whole(policy)).await;
    world.until_ready("web").await;
    world.until_ready("whole").await;
    let much = json!({"requests": {"cpu": "1000"}, "limits": {"cpu": "1000"}});
    resize_by(&world, "web", |spec| spec["containers"][0]["resources"] = much).await;
    let much = json!({"requests": {"cpu": "500m", "memory": "1Pi"}, "limits": {"cpu": "1", "memory": "1Pi"}});
    resize_by(&world, "whole", |spec| spec["resources"] = much).await;
    for pod in ["web", "whole"] {
        let never = world.until(pod, "never", |pod| condition(pod, "PodResizePending").is_some()).await;
        assert_eq!(condition(&never, "PodResizePending").unwrap().reason.as_deref(), Some("Infeasible"));
    }
    world.sleep(300.0).await;
    for pod in ["web", "whole"] {
        assert_eq!(container(&world.get(pod).await).restart_count, 0);
    }
}

fn id(pod: &Pod) -> ContainerId {
    ContainerId::new(container(pod).container_id.unwrap().rsplit("://").next().unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_starts_again_has_what_it_was_given_as_long_as_there_is_no_room_for_more() {
    let mut world = World::start().await;
    world.create("web", spec(json!([]))).await;
    world.create("whole", as_a_whole(json!([]))).await;
    let (before, whole) = (world.until_ready("web").await, world.until_ready("whole").await);
    assert_eq!((shares(&world, &before), quotas(&world, &whole).1), (102, Some(100_000)));
    let much = json!({"requests": {"cpu": "1000"}, "limits": {"cpu": "1000"}});
    resize_by(&world, "web", |spec| spec["containers"][0]["resources"] = much.clone()).await;
    resize_by(&world, "whole", |spec| {
        spec["resources"]["requests"]["cpu"] = json!("999");
        spec["resources"]["limits"]["cpu"] = json!("1000");
    })
    .await;
    let waits = |pod: &Pod| condition(pod, "PodResizePending").is_some();
    let again =
        |pod: &Pod, times| waits(pod) && container(pod).restart_count == times && container(pod).ready;
    for name in ["web", "whole"] {
        let pod = world.until(name, "waiting", waits).await;
        world.runtime.exit(&id(&pod), 1);
    }
    let web = world.until("web", "started again", |pod| again(pod, 1)).await;
    assert_eq!((shares(&world, &web), cpu(&web)), (102, ("100m".into(), "100m".into())));
    let whole = world.until("whole", "started again", |pod| again(pod, 1)).await;
    assert_eq!(quotas(&world, &whole), (Some(100_000), Some(100_000)));
    // It goes on waiting while nothing runs, and another agent knows no more than the status says.
    world.runtime.exit(&id(&web), 1);
    let ended = world
        .until("web", "ended", |pod| {
            container(pod).state.is_some_and(|state| state.waiting.is_some()) && !container(pod).ready
        })
        .await;
    assert!(waits(&ended));
    assert_eq!(cpu(&ended), ("100m".into(), "100m".into()));
    world.kill_agent().await;
    world.start_agent();
    let web = world.until("web", "started once more", |pod| again(pod, 2)).await;
    assert_eq!((shares(&world, &web), cpu(&web)), (102, ("100m".into(), "100m".into())));
    assert_eq!(world.runtime.calls(Call::UpdateContainer), 0);
    // What the node has room for is had from the next start at the latest.
    let some = json!({"requests": {"cpu": "200m"}, "limits": {"cpu": "1"}});
    resize_by(&world, "web", |spec| spec["containers"][0]["resources"] = some).await;
    let web = world.until("web", "resized", |pod| cpu(pod).0 == "200m" && !waits(pod)).await;
    assert_eq!(shares(&world, &web), 204);
}
