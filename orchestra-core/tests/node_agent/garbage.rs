//! What goes when the disk fills up, and what goes with a node.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use orchestra_core::k8s_openapi;
use orchestra_core::node::{ImageCollection, Shutdown, Thresholds};
use orchestra_core::runtime::fake::{Behaviour, On};
use orchestra_core::runtime::{ImageRef, Runtime};
use serde_json::json;

use crate::world::{NODE, World, condition, container, phase, waiting};

fn reason(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.reason.as_deref()
}

/// Has so much of a disk of 1000 bytes be left, less what the images take.
fn disk(world: &World, left: u64) {
    let runtime = world.runtime.clone();
    world.runtime.on_machine_stats(move |stats| {
        stats.disk.capacity_bytes = 1000 << 20;
        let images = runtime.present_images().len() as u64;
        stats.disk.available_bytes = (left << 20).saturating_sub(images << 20);
    });
}

async fn pull(world: &World, image: &str) {
    world.runtime.pull_image(&ImageRef::parse(image).unwrap(), None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn images_that_nobody_uses_go_when_the_disk_fills_up() {
    let mut world = World::without_agent().await;
    world.config.images = Some(ImageCollection::default());
    world.config.eviction = Thresholds::none();
    for image in ["used:1", "old:1", "older:1", "shown:1"] {
        pull(&world, image).await;
    }
    disk(&world, 500);
    world.start_agent();
    world.create("web", json!({"containers": [{"name": "app", "image": "used:1"}]})).await;
    let volume = json!({"name": "v", "image": {"reference": "shown:1", "pullPolicy": "IfNotPresent"}});
    let spec = json!({"volumes": [volume], "containers": [
        {"name": "app", "image": "used:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]});
    let pod = world.create("reads", spec).await;
    world.until_ready("reads").await;
    let shown = world.runtime.shown_images();
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert_eq!(Some(&shown[0].0), pod.metadata.uid.as_ref());
    world.sleep(900.0).await;
    assert_eq!(world.runtime.present_images().len(), 4, "there is room");
    disk(&world, 150);
    world.sleep(600.0).await;
    assert_eq!(world.runtime.present_images(), ["shown:1", "used:1"]);
    let events: Vec<Event> = world.client.api::<Event>("default").list().await.unwrap();
    let said = events.into_iter().find(|event| event.reason.as_deref() == Some("FreeDiskSpaceFailed"));
    let said = said.expect("it was not enough").message.unwrap();
    assert!(said.contains("Attempted to free") && said.ends_with("bytes eligible to free."), "{said}");
    world.delete("reads", None).await;
    world.until_gone("reads").await;
    world.until("web", "there", |_| world.runtime.shown_images().is_empty()).await;
}

/// What stands in the way of an image that is a volume is said as of the container's own.
#[tokio::test(start_paused = true)]
async fn an_image_that_is_a_volume_and_cannot_be_had() {
    let world = World::start().await;
    world.runtime.on(On::image("no:1"), Behaviour::new().pulled_in(Duration::from_secs(1)));
    let spec = json!({"volumes": [{"name": "v", "image": {"reference": "no:1", "pullPolicy": "Never"}}], "containers": [
        {"name": "app", "image": "a:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
        {"name": "other", "image": "a:1"}]});
    world.create("web", spec).await;
    let pod = world.until("web", "waiting", |pod| waiting(pod, "app") == "ErrImageNeverPull").await;
    assert_eq!(phase(&pod), "Pending");
    world
        .until("web", "half running", |pod| container(pod, "other").is_some_and(|status| status.ready))
        .await;
}

/// Before a pod has to go, what nobody needs does.
#[tokio::test(start_paused = true)]
async fn room_is_made_before_a_pod_is_evicted() {
    let mut world = World::without_agent().await;
    world.config.images = Some(ImageCollection { high_percent: 100, ..ImageCollection::default() });
    pull(&world, "old:1").await;
    disk(&world, 500);
    world.start_agent();
    world.runtime.on(On::image("done:1"), Behaviour::new().exits(Duration::from_secs(1), 0));
    world
        .create("job", json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "done:1"}]}))
        .await;
    world.until_phase("job", "Succeeded").await;
    world.create("web", json!({"containers": [{"name": "app", "image": "nginx:1"}]})).await;
    world.until_ready("web").await;
    world.sleep(200.0).await;
    // There is too little by one image and by what the job has left.
    let runtime = world.runtime.clone();
    world.runtime.on_machine_stats(move |stats| {
        stats.disk.capacity_bytes = 1000;
        let kept = runtime.present_images().len() as u64 + u64::from(runtime.sandbox_count() > 1);
        stats.disk.available_bytes = 151 - kept;
    });
    world.sleep(60.0).await;
    assert_eq!(phase(&world.get("web").await), "Running");
    assert_eq!(world.runtime.present_images(), [""; 0]);
    let job = world.get("job").await;
    assert_eq!(world.sandboxes().await.len(), 1, "the job's is gone");
    let ended = container(&job, "a").unwrap().state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((phase(&job), ended.exit_code), ("Succeeded", 0), "its status stays");
    // Nothing is left to give but pods.
    world.runtime.on_machine_stats(|stats| {
        stats.disk.capacity_bytes = 1000;
        stats.disk.available_bytes = 10;
    });
    world.until_phase("web", "Failed").await;
}

#[tokio::test(start_paused = true)]
async fn pods_end_with_their_node_the_systems_last() {
    let mut world = World::without_agent().await;
    world.config.shutdown =
        Some(Shutdown { grace: Duration::from_secs(30), critical: Duration::from_secs(10) });
    world.start_agent();
    let slow = Behaviour::new().stops_in(Duration::from_secs(3), 0);
    world.runtime.on(On::image("slow:1"), slow);
    world.runtime.on(On::image("deaf:1"), Behaviour::new().ignores_stop());
    for (name, image, priority) in
        [("web", "slow:1", 0), ("deaf", "deaf:1", 0), ("system", "slow:1", 2_000_000_000)]
    {
        let spec = json!({"priority": priority, "terminationGracePeriodSeconds": 600,
            "containers": [{"name": "app", "image": image}]});
        world.create(name, spec).await;
        world.until_ready(name).await;
    }
    let began = tokio::time::Instant::now();
    let stopped = world.stop_agent();
    let late = async {
        world.sleep(5.0).await;
        world.create("late", json!({"containers": [{"name": "app", "image": "nginx:1"}]})).await;
        let late = world.until_phase("late", "Failed").await;
        assert_eq!(reason(&late), Some("NodeShutdown"));
        let node: Node = world.client.cluster().get(NODE).await.unwrap();
        let conditions = node.status.unwrap().conditions.unwrap();
        let ready = conditions.into_iter().find(|one| one.type_ == "Ready").unwrap();
        assert_eq!(
            (ready.status.as_str(), ready.message.as_deref()),
            ("False", Some("node is shutting down"))
        );
        let ended = world.get("web").await;
        assert_eq!((phase(&ended), reason(&ended)), ("Failed", Some("Terminated")));
        assert_eq!(condition(&ended, "DisruptionTarget"), "True");
        let system = world.get("system").await;
        assert_eq!(phase(&system), "Running", "it is needed by what still ends");
    };
    tokio::join!(late, stopped).1.unwrap();
    let took = began.elapsed().as_secs();
    assert!((21..24).contains(&took), "18 s and the kill for the deaf one, 3 s for the system's: {took}");
    let running = world.sandboxes().await.into_iter().flat_map(|sandbox| sandbox.containers);
    assert_eq!(running.filter(|one| one.state.is_running()).count(), 0);
    assert_eq!(phase(&world.get("system").await), "Failed");
    // The next agent has nothing to do with them.
    world.start_agent();
    world.sleep(30.0).await;
    assert_eq!(phase(&world.get("web").await), "Failed");
}
