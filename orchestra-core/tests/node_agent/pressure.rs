//! Pods that have to go: those that take more of the disk than they may, and those for which the node has no room.

use k8s_openapi::api::core::v1::{Node, Pod};
use orchestra_core::k8s_openapi;
use orchestra_core::runtime::fake::{Behaviour, On};
use serde_json::json;

use crate::world::{NODE, World, condition, phase};

const MEBIBYTE: u64 = 1 << 20;

fn reason(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.reason.as_deref()
}

fn message(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.message.as_deref()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_fills_its_volume_is_evicted() {
    let world = World::start().await;
    world.runtime.on(On::image("nginx:1"), Behaviour::new().ignores_stop());
    let spec = json!({"terminationGracePeriodSeconds": 600,
        "containers": [{"name": "app", "image": "nginx:1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "10Mi"}}]});
    let pod = world.create("web", spec).await;
    world.until_ready("web").await;
    let uid = pod.metadata.uid.unwrap();
    world.host.fill(&uid, "v", 10 * MEBIBYTE);
    world.sleep(60.0).await;
    assert_eq!(phase(&world.get("web").await), "Running", "it may take all of it");
    world.host.fill(&uid, "v", 10 * MEBIBYTE + 1);
    world.sleep(20.0).await;
    let pod = world.until_phase("web", "Failed").await;
    assert_eq!(reason(&pod), Some("Evicted"));
    assert_eq!(message(&pod), "Usage of EmptyDir volume \"v\" exceeds the limit \"10Mi\". ");
    assert_eq!(condition(&pod, "DisruptionTarget"), "True");
    let events = world.events("web").await;
    assert!(events.contains("Warning Evicted Usage of EmptyDir volume"), "{events}");
    let running = async || {
        let all = world.sandboxes().await.into_iter().flat_map(|sandbox| sandbox.containers);
        all.filter(|container| container.state.is_running()).count()
    };
    assert_eq!(running().await, 0, "its own grace does not count");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_runs_short_of_memory_says_so_and_evicts_one_pod_at_a_time() {
    let world = World::start().await;
    world.runtime.on(On::image("big:1"), Behaviour::new().uses(10, 600 * MEBIBYTE));
    world.runtime.on(On::image("small:1"), Behaviour::new().uses(10, 50 * MEBIBYTE));
    for (name, image, asked) in
        [("big", "big:1", "500Mi"), ("small", "small:1", "50Mi"), ("more", "big:1", "1Gi")]
    {
        let resources = json!({"requests": {"memory": asked}});
        let spec = json!({"containers": [{"name": "app", "image": image, "resources": resources}]});
        world.create(name, spec).await;
        world.until_ready(name).await;
    }
    let short = |node: &Node| {
        let conditions = node.status.as_ref().unwrap().conditions.clone().unwrap();
        conditions.into_iter().find(|one| one.type_ == "MemoryPressure").unwrap()
    };
    let node = async || world.client.cluster::<Node>().get(NODE).await.unwrap();
    assert_eq!(short(&node().await).status, "False");
    // Others on the machine have taken nearly all.
    world.runtime.on_machine_stats(|stats| {
        stats.memory_available_bytes = (700 * MEBIBYTE).saturating_sub(stats.memory_working_set_bytes);
    });
    world.sleep(15.0).await;
    let pod = world.until_phase("big", "Failed").await;
    assert_eq!(reason(&pod), Some("Evicted"));
    let said = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 0. Container app was using \
                600Mi, request is 500Mi, has larger consumption of memory. ";
    assert_eq!(message(&pod), said);
    let pressed = short(&node().await);
    assert_eq!(
        (pressed.status.as_str(), pressed.reason.as_deref()),
        ("True", Some("KubeletHasInsufficientMemory"))
    );
    // Neither of the others takes more than it asked for: the one that is nearest to it goes.
    world.until_phase("small", "Failed").await;
    world.sleep(60.0).await;
    assert_eq!(phase(&world.get("more").await), "Running", "there is room again");
    assert_eq!(short(&node().await).status, "True", "the condition stays for a while");
    world.sleep(300.0).await;
    let over = short(&node().await);
    assert_eq!((over.status.as_str(), over.reason.as_deref()), ("False", Some("KubeletHasSufficientMemory")));
}
