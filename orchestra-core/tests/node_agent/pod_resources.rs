//! What a pod asks for as a whole.

use orchestra_core::runtime::SupportedFields;
use serde_json::{Value, json};

use crate::world::{World, container, waiting};

fn spec() -> Value {
    json!({"resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": "2", "memory": "1Gi"}},
        "containers": [{"name": "app", "image": "a:1"}]})
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_held_as_a_whole() {
    let world = World::start().await;
    world.create("web", spec()).await;
    let pod = world.until_ready("web").await;
    let status = pod.status.as_ref().unwrap();
    assert_eq!(status.qos_class.as_deref(), Some("Burstable"));
    let uid = pod.metadata.uid.as_deref().unwrap();
    let given = world.runtime.pod_resources(uid).unwrap();
    assert_eq!((given.cpu_shares, given.cpu_quota, given.memory_bytes), (512, Some(200_000), Some(1 << 30)));
    world.create("plain", json!({"containers": [{"name": "app", "image": "a:1"}]})).await;
    let pod = world.until_ready("plain").await;
    assert_eq!(world.runtime.pod_resources(pod.metadata.uid.as_deref().unwrap()), None);
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_cannot_hold_it_refuses_the_pod() {
    let mut world = World::without_agent().await;
    let mut supported = SupportedFields::ALL;
    supported.pod_resources = false;
    world.runtime.support(supported);
    world.start_agent();
    world.create("web", spec()).await;
    let pod = world.until("web", "refused", |pod| waiting(pod, "app") == "CreateContainerConfigError").await;
    let state = container(&pod, "app").unwrap().state.clone().unwrap().waiting.unwrap();
    assert_eq!(
        state.message.as_deref(),
        Some("spec.resources is not supported by the runtime \"fake\" of this node")
    );
}
