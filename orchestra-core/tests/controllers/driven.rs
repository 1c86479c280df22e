//! What drivers of volumes are told on a node, and what they are asked beside showing a volume.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Secret};
use k8s_openapi::api::storage::v1::CSIDriver;
use orchestra_core::api::Patch;
use orchestra_core::node::CsiGroup;
use orchestra_core::testing::until;
use serde_json::{Value, json};

use super::attaching::{DRIVER, ONE, PATIENCE, World};

async fn told_of_driver(world: &World, spec: Value) {
    world.client.cluster::<CSIDriver>().patch(DRIVER, Patch::Merge(json!({"spec": spec}))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_driver_is_told_of_the_pod_and_in_confidence_what_its_volume_says() {
    let world = World::start().await;
    told_of_driver(&world, json!({"podInfoOnMount": true, "fsGroupPolicy": "File"})).await;
    let data = json!({"key": "aHVzaA=="});
    world.create::<Secret>(json!({"metadata": {"name": "disks"}, "data": data})).await;
    world.disk("data", ONE).await;
    let known = world.client.cluster::<PersistentVolume>().get("data").await.unwrap();
    let mut known = serde_json::to_value(known).unwrap();
    known["spec"]["csi"]["nodePublishSecretRef"] = json!({"name": "disks", "namespace": "default"});
    known["spec"]["csi"]["volumeHandle"] = "disk/secret".into();
    known["spec"]["claimRef"] = json!({"name": "secret", "namespace": "default"});
    known["metadata"] = json!({"name": "secret"});
    world.create::<PersistentVolume>(known).await;
    let spec = json!({
        "accessModes": [ONE], "storageClassName": "", "volumeName": "secret",
        "resources": {"requests": {"storage": "1Gi"}},
    });
    world.create::<PersistentVolumeClaim>(json!({"metadata": {"name": "secret"}, "spec": spec})).await;
    world.pod("p", "a", "secret", json!({"securityContext": {"fsGroup": 7}})).await;
    let uid = world.phase("p", "Running").await.metadata.uid.unwrap();
    let shown = &world.hosts[0].shown(&uid)["v"];
    assert_eq!(shown.attributes["csi.storage.k8s.io/pod.name"], "p");
    assert_eq!(shown.attributes["csi.storage.k8s.io/ephemeral"], "false");
    assert_eq!(shown.group, Some(CsiGroup { id: 7, by_file: true, unless_root_is: false }));
    assert_eq!(shown.secrets.publish.0["key"], "hush");
    assert!(shown.secrets.stage.0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_driver_makes_volumes_of_pods_only_if_it_says_so() {
    let world = World::start().await;
    let own = || json!({"volumes": [{"name": "v", "csi": {"driver": DRIVER}}]});
    world.pod("refused", "a", "", own()).await;
    until("its author is told", PATIENCE, async || {
        let events = world.client.api::<Event>("default").list().await.unwrap();
        let why = format!("volume mode \"Ephemeral\" not supported by driver {DRIVER}");
        events.iter().any(|event| event.message.as_ref().is_some_and(|it| it.contains(&why))).then_some(())
    })
    .await;
    let drivers = world.client.cluster::<CSIDriver>();
    drivers.delete(DRIVER).await.unwrap();
    let spec = json!({"volumeLifecycleModes": ["Persistent", "Ephemeral"]});
    world.create::<CSIDriver>(json!({"metadata": {"name": DRIVER}, "spec": spec})).await;
    world.pod("own", "a", "", own()).await;
    let uid = world.phase("own", "Running").await.metadata.uid.unwrap();
    assert!(world.hosts[0].shown(&uid)["v"].ephemeral);
}

/// The node may read the claim, as it is made for its pod.
#[tokio::test(start_paused = true)]
async fn a_claim_that_is_made_for_a_pod_is_had_by_its_node() {
    let world = World::start().await;
    let size = json!({"storage": "1Gi"});
    world
        .create::<PersistentVolume>(json!({"metadata": {"name": "own"}, "spec": {
            "capacity": size, "accessModes": [ONE], "claimRef": {"namespace": "default", "name": "p-v"},
            "csi": {"driver": DRIVER, "volumeHandle": "disk/own"},
        }}))
        .await;
    let spec = json!({
        "accessModes": [ONE], "storageClassName": "", "volumeName": "own", "resources": {"requests": size},
    });
    let volume = json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}});
    world.pod("p", "a", "", json!({"volumes": [volume]})).await;
    let uid = world.phase("p", "Running").await.metadata.uid.unwrap();
    assert_eq!(world.hosts[0].shown(&uid)["v"].handle, "disk/own");
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_was_made_larger_grows_where_it_is_shown() {
    let world = World::start().await;
    world.hosts[0].grow_to_at_most(2 << 30);
    world.disk("data", ONE).await;
    world.pod("p", "a", "data", json!({})).await;
    let uid = world.phase("p", "Running").await.metadata.uid.unwrap();
    let volumes = world.client.cluster::<PersistentVolume>();
    let claims = world.client.api::<PersistentVolumeClaim>("default");
    // As whoever made it larger says.
    let larger = async |size: &str| {
        let capacity = json!({"spec": {"capacity": {"storage": size}}});
        volumes.patch("data", Patch::Merge(capacity)).await.unwrap();
        let pending = json!({"type": "FileSystemResizePending", "status": "True"});
        let status = json!({"status": {
            "conditions": [pending], "allocatedResourceStatuses": {"storage": "NodeResizePending"},
        }});
        claims.patch_status("data", Patch::Merge(status)).await.unwrap();
    };
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(world.hosts[0].grown(&uid, "v"), None);
    larger("2Gi").await;
    let status = until("it is larger", PATIENCE, async || {
        let status = claims.get("data").await.unwrap().status?;
        (status.capacity.as_ref()?["storage"].0 == "2Gi").then_some(status)
    })
    .await;
    assert_eq!(world.hosts[0].grown(&uid, "v"), Some(2 << 30));
    assert_eq!(status.conditions.unwrap_or_default(), []);
    assert_eq!(status.allocated_resource_statuses.unwrap_or_default().get("storage"), None);
    larger("3Gi").await;
    until("it is said that it cannot be", PATIENCE, async || {
        let status = claims.get("data").await.unwrap().status?;
        (status.allocated_resource_statuses?.get("storage")? == "NodeResizeInfeasible").then_some(())
    })
    .await;
    assert_eq!(world.hosts[0].grown(&uid, "v"), Some(2 << 30));
}
