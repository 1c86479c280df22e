//! Devices from their slices to the pods that use them, and back.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use orchestra_core::api::Patch;
use orchestra_core::scheduler::Scheduler;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Two nodes with two devices each, of which those of `n2` are the larger, and a scheduler.
async fn with_devices() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.ends("well", 0);
    cluster.is_scheduled();
    let class = json!({"selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]});
    cluster.create::<DeviceClass>(json!({"metadata": {"name": "gpu"}, "spec": class})).await;
    for (name, memory) in [("n1", "8Gi"), ("n2", "16Gi")] {
        // One that is heard of: a silent one would be tainted before these tests are over.
        cluster.node(name).await;
        let allocatable = json!({"status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "100"}}});
        cluster.client.cluster::<Node>().patch_status(name, Patch::Merge(allocatable)).await.unwrap();
        let device = |number: i32| {
            json!({
                "name": format!("gpu-{number}"), "attributes": {"board": {"string": format!("{name}-{number}")}},
                "capacity": {"memory": {"value": memory}},
            })
        };
        cluster
            .create::<ResourceSlice>(json!({"metadata": {"name": format!("{name}-gpus")}, "spec": {
                "driver": "gpu.example.com", "nodeName": name, "devices": [device(0), device(1)],
                "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
            }}))
            .await;
    }
    let scheduler = Scheduler::new(cluster.client.clone());
    tokio::spawn(scheduler.run(std::future::pending::<()>()));
    cluster
}

fn asking(count: i32, selector: Option<&str>) -> Value {
    let mut exactly = json!({"deviceClassName": "gpu", "count": count});
    if let Some(expression) = selector {
        exactly["selectors"] = json!([{"cel": {"expression": expression}}]);
    }
    json!({"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}})
}

fn pod(name: &str, image: &str, claim: Value) -> Value {
    let mut claim = claim;
    claim["name"] = "gpus".into();
    json!({"metadata": {"name": name}, "spec": {
        "restartPolicy": "Never", "resourceClaims": [claim],
        "containers": [{"name": "main", "image": image, "resources": {"claims": [{"name": "gpus"}]}}],
    }})
}

async fn placed(cluster: &Cluster, name: &str) -> Value {
    cluster.until_object::<Pod>(name, "is placed", |it| it["spec"]["nodeName"].is_string()).await
}

async fn waits(cluster: &Cluster, name: &str, why: &str) {
    cluster
        .until_object::<Pod>(name, why, |it| {
            let conditions = it["status"]["conditions"].as_array().into_iter().flatten();
            let message = |it: &Value| it["message"].as_str().is_some_and(|message| message.contains(why));
            conditions.into_iter().any(message)
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn pods_bring_claims_along_that_go_with_them() {
    let cluster = with_devices().await;
    let template = json!({"metadata": {"name": "one"}, "spec": {"spec": asking(1, None)}});
    cluster.create::<ResourceClaimTemplate>(template).await;
    for number in 0..4 {
        let name = format!("p{number}");
        cluster.create::<Pod>(pod(&name, "web", json!({"resourceClaimTemplateName": "one"}))).await;
        placed(&cluster, &name).await;
    }
    let claims = cluster.api::<ResourceClaim>().list().await.unwrap();
    let mut devices: Vec<String> = claims
        .iter()
        .map(|claim| {
            let status = claim.status.as_ref().unwrap();
            assert_eq!(status.reserved_for.as_ref().unwrap().len(), 1);
            let results =
                status.allocation.as_ref().unwrap().devices.as_ref().unwrap().results.clone().unwrap();
            format!("{}/{}", results[0].pool, results[0].device)
        })
        .collect();
    devices.sort();
    assert_eq!(devices, ["n1/gpu-0", "n1/gpu-1", "n2/gpu-0", "n2/gpu-1"], "each device has one claim");
    // A fifth waits until one is over.
    cluster.create::<Pod>(pod("late", "web", json!({"resourceClaimTemplateName": "one"}))).await;
    waits(&cluster, "late", "cannot allocate all claims").await;
    let gone = orchestra_core::api::DeleteOptions { grace_period: Some(0), ..Default::default() };
    cluster.api::<Pod>().delete_with("p2", gone).await.unwrap();
    placed(&cluster, "late").await;
    let left = async || cluster.api::<ResourceClaim>().list().await.unwrap().len() == 4;
    cluster.until("the claim of the pod is gone", async || left().await.then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_is_shared_on_its_node_and_gives_back_what_nobody_uses() {
    let cluster = with_devices().await;
    let large = "device.capacity['gpu.example.com'].memory.compareTo(quantity('10Gi')) > 0";
    cluster
        .create::<ResourceClaim>(json!({"metadata": {"name": "both"}, "spec": asking(2, Some(large))}))
        .await;
    for name in ["a", "b"] {
        cluster.create::<Pod>(pod(name, "web", json!({"resourceClaimName": "both"}))).await;
        assert_eq!(placed(&cluster, name).await["spec"]["nodeName"], "n2");
    }
    let more = json!({"metadata": {"name": "more"}, "spec": asking(1, Some(large))});
    cluster.create::<ResourceClaim>(more).await;
    cluster.create::<Pod>(pod("c", "well", json!({"resourceClaimName": "more"}))).await;
    waits(&cluster, "c", "cannot allocate all claims").await;
    // What is used stays, also when it is to go.
    cluster.api::<ResourceClaim>().delete("both").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(cluster.api::<ResourceClaim>().find("both").await.unwrap().is_some());
    let gone = || orchestra_core::api::DeleteOptions { grace_period: Some(0), ..Default::default() };
    cluster.api::<Pod>().delete_with("a", gone()).await.unwrap();
    cluster.api::<Pod>().delete_with("b", gone()).await.unwrap();
    placed(&cluster, "c").await;
    // Its pod ends by itself.
    cluster
        .until_object::<ResourceClaim>("more", "has given its device back", |it| {
            it["status"]["allocation"].is_null() && it["status"]["reservedFor"].is_null()
        })
        .await;
    let is_gone = async || cluster.api::<ResourceClaim>().find("both").await.unwrap().is_none();
    cluster.until("the claim is gone", async || is_gone().await.then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_cannot_be_met_keeps_nobody_busy() {
    let cluster = with_devices().await;
    cluster.create::<ResourceClaim>(json!({"metadata": {"name": "huge"}, "spec": asking(3, None)})).await;
    cluster.create::<Pod>(pod("p", "web", json!({"resourceClaimName": "huge"}))).await;
    cluster.create::<Pod>(pod("q", "web", json!({"resourceClaimName": "none"}))).await;
    cluster.create::<Pod>(pod("r", "web", json!({"resourceClaimTemplateName": "none"}))).await;
    waits(&cluster, "p", "cannot allocate all claims").await;
    waits(&cluster, "q", "resourceclaim.resource.k8s.io \"none\" not found").await;
    waits(&cluster, "r", "ResourceClaim not created yet").await;
    let runs = cluster.runs("resource-claim-controller");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let runs = cluster.runs("resource-claim-controller") - runs;
    assert!(runs < 200, "{runs} runs in an hour");
    // What it waits for comes.
    let template = json!({"metadata": {"name": "none"}, "spec": {"spec": asking(1, None)}});
    cluster.create::<ResourceClaimTemplate>(template).await;
    placed(&cluster, "r").await;
}

#[tokio::test(start_paused = true)]
async fn pods_leave_a_device_that_drives_them_away_when_their_claim_says_so() {
    let cluster = with_devices().await;
    let mut spec = asking(1, Some("device.attributes['gpu.example.com'].board == 'n1-0'"));
    cluster.create::<ResourceClaim>(json!({"metadata": {"name": "frail"}, "spec": spec.clone()})).await;
    spec["devices"]["requests"][0]["exactly"]["selectors"][0]["cel"]["expression"] =
        "device.attributes['gpu.example.com'].board == 'n1-1'".into();
    spec["devices"]["requests"][0]["exactly"]["tolerations"] =
        json!([{"key": "broken", "operator": "Exists", "tolerationSeconds": 600}]);
    cluster.create::<ResourceClaim>(json!({"metadata": {"name": "hardy"}, "spec": spec})).await;
    for name in ["frail", "hardy"] {
        cluster.create::<Pod>(pod(name, "web", json!({"resourceClaimName": name}))).await;
        placed(&cluster, name).await;
    }
    let slices = cluster.client.cluster::<ResourceSlice>();
    let mut slice = slices.get("n1-gpus").await.unwrap();
    for device in slice.spec.devices.iter_mut().flatten() {
        let taint = json!([{"key": "broken", "effect": "NoExecute"}]);
        device.taints = serde_json::from_value(taint).unwrap();
    }
    slices.update(&slice).await.unwrap();
    let is_leaving = |it: &Value| it["metadata"]["deletionTimestamp"].is_string();
    let frail = cluster.until_object::<Pod>("frail", "is to go", is_leaving).await;
    let conditions = frail["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|it| it["reason"] == "DeletionByDeviceTaintManager"), "{conditions:?}");
    tokio::time::sleep(Duration::from_secs(500)).await;
    let hardy = cluster.api::<Pod>().get("hardy").await.unwrap();
    assert_eq!(hardy.metadata.deletion_timestamp, None);
    cluster.until_object::<Pod>("hardy", "is to go", |it| it.is_null() || is_leaving(it)).await;
}

/// A slice of `n1` with one more device.
async fn device(cluster: &Cluster, driver: &str, device: Value) {
    let class = json!({"selectors": [{"cel": {"expression": format!("device.driver == '{driver}'")}}]});
    cluster.create::<DeviceClass>(json!({"metadata": {"name": "special"}, "spec": class})).await;
    cluster
        .create::<ResourceSlice>(json!({"metadata": {"name": "special"}, "spec": {
            "driver": driver, "nodeName": "n1", "devices": [device],
            "pool": {"name": "special", "generation": 1, "resourceSliceCount": 1},
        }}))
        .await;
}

fn special(capacity: Option<&str>) -> Value {
    let mut exactly = json!({"deviceClassName": "special"});
    if let Some(memory) = capacity {
        exactly["capacity"] = json!({"requests": {"memory": memory}});
    }
    json!({"devices": {"requests": [{"name": "it", "exactly": exactly}]}})
}

#[tokio::test(start_paused = true)]
async fn claims_share_a_device_for_as_long_as_there_is_some_left_of_it() {
    let cluster = with_devices().await;
    let card = json!({
        "name": "card", "allowMultipleAllocations": true, "capacity": {"memory": {"value": "10Gi"}},
    });
    device(&cluster, "shared.example.com", card).await;
    let template = json!({"metadata": {"name": "some"}, "spec": {"spec": special(Some("4Gi"))}});
    cluster.create::<ResourceClaimTemplate>(template).await;
    for name in ["one", "two"] {
        cluster.create::<Pod>(pod(name, "web", json!({"resourceClaimTemplateName": "some"}))).await;
        assert_eq!(placed(&cluster, name).await["spec"]["nodeName"], "n1");
    }
    let mut shares: Vec<String> = Vec::new();
    for claim in cluster.api::<ResourceClaim>().list().await.unwrap() {
        let allocation = claim.status.unwrap().allocation.unwrap();
        assert!(allocation.allocation_timestamp.is_some());
        for result in allocation.devices.unwrap().results.unwrap() {
            assert_eq!(result.consumed_capacity.unwrap()["memory"].0, "4Gi");
            shares.extend(result.share_id);
        }
    }
    shares.dedup();
    assert_eq!(shares.len(), 2, "each share has an id of its own: {shares:?}");
    cluster.create::<Pod>(pod("late", "web", json!({"resourceClaimTemplateName": "some"}))).await;
    waits(&cluster, "late", "cannot allocate all claims").await;
    let gone = orchestra_core::api::DeleteOptions { grace_period: Some(0), ..Default::default() };
    cluster.api::<Pod>().delete_with("one", gone).await.unwrap();
    placed(&cluster, "late").await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_when_the_driver_has_prepared_its_device_and_not_if_it_cannot() {
    let cluster = with_devices().await;
    let far = json!({
        "name": "far", "bindingConditions": ["Attached"], "bindingFailureConditions": ["Lost"], "bindsToNode": true,
    });
    device(&cluster, "far.example.com", far).await;
    cluster.create::<ResourceClaim>(json!({"metadata": {"name": "it"}, "spec": special(None)})).await;
    cluster.create::<Pod>(pod("p", "web", json!({"resourceClaimName": "it"}))).await;
    let allocated = async |is: bool| {
        let is_it = |it: &Value| it["status"]["allocation"].is_object() == is;
        cluster.until_object::<ResourceClaim>("it", "has its device, or not", is_it).await
    };
    let say = async |condition: &str| {
        let time = "2026-01-01T00:00:00Z";
        let condition = json!({
            "type": condition, "status": "True", "reason": "Said", "message": "", "lastTransitionTime": time,
        });
        let device = json!({
            "driver": "far.example.com", "pool": "special", "device": "far", "conditions": [condition],
        });
        let status = Patch::Merge(json!({"status": {"devices": [device]}}));
        cluster.api::<ResourceClaim>().patch_status("it", status).await.unwrap();
    };
    let node = async || cluster.api::<Pod>().get("p").await.unwrap().spec.unwrap().node_name;
    allocated(true).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(node().await, None, "its driver is not ready");
    // It is given back when the driver cannot prepare it, and chosen anew.
    say("Lost").await;
    allocated(false).await;
    assert_eq!(node().await, None);
    allocated(true).await;
    // So it is when the driver says nothing for ten minutes.
    tokio::time::sleep(Duration::from_secs(590)).await;
    allocated(false).await;
    allocated(true).await;
    say("Attached").await;
    assert_eq!(placed(&cluster, "p").await["spec"]["nodeName"], "n1");
}
