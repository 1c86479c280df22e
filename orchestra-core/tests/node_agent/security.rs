//! What a pod says of its users, groups and confinement.

use k8s_openapi::api::core::v1::ConfigMap;
use orchestra_core::k8s_openapi;
use orchestra_core::runtime::SupportedFields;
use orchestra_core::runtime::fake::Call;
use serde_json::json;

use crate::world::{World, container, phase, waiting};

#[tokio::test(start_paused = true)]
async fn a_field_that_the_runtime_does_not_carry_out_is_refused_by_name() {
    let mut world = World::without_agent().await;
    let mut supported = SupportedFields::ALL;
    supported.read_only_root_filesystem = false;
    world.runtime.support(supported);
    world.start_agent();
    let spec = json!({"initContainers": [{"name": "init", "image": "a:1"}],
        "containers": [{"name": "app", "image": "a:1", "securityContext": {"readOnlyRootFilesystem": true}}]});
    world.create("web", spec).await;
    let pod = world.until("web", "refused", |pod| waiting(pod, "app") == "CreateContainerConfigError").await;
    assert_eq!((phase(&pod), waiting(&pod, "init")), ("Pending", "CreateContainerConfigError"));
    let state = container(&pod, "app").unwrap().state.clone().unwrap().waiting.unwrap();
    let why = "spec.containers[app].securityContext.readOnlyRootFilesystem is not supported by the runtime \"fake\" of this node";
    assert_eq!(state.message.as_deref(), Some(why));
    world.sleep(600.0).await;
    assert_eq!(world.events("web").await, format!("Warning Failed Error: {why}\n"), "said once");
    assert_eq!(world.runtime.calls(Call::RunSandbox), 0, "nothing is made for it");
    assert_eq!(world.get("web").await.metadata.resource_version, pod.metadata.resource_version);
    world.delete("web", None).await;
    world.until_gone("web").await;
}

/// `fsGroup`: files that are only read are readable by the group, and the host is told whose they are.
#[tokio::test(start_paused = true)]
async fn volumes_are_for_the_pods_group() {
    let world = World::start().await;
    let map: ConfigMap = serde_json::from_value(
        json!({"metadata": {"name": "conf", "namespace": "default"}, "data": {"a": "1"}}),
    )
    .unwrap();
    world.client.api("default").create(&map).await.unwrap();
    let spec = |security| {
        json!({"securityContext": security, "containers": [{"name": "app", "image": "a:1"}], "volumes": [
            {"name": "conf", "configMap": {"name": "conf", "defaultMode": 0o400}}, {"name": "cache", "emptyDir": {}}]})
    };
    for (name, security, mode, group) in
        [("with", json!({"fsGroup": 3000}), 0o440, Some(3000)), ("without", json!({}), 0o400, None)]
    {
        world.create(name, spec(security)).await;
        let uid = world.until_ready(name).await.metadata.uid.unwrap();
        assert_eq!(world.host.volume(&uid, "conf").unwrap()["a"].mode, mode);
        for volume in ["conf", "cache"] {
            assert_eq!(world.host.group(&uid, volume), group, "{volume} of {name}");
        }
    }
}
