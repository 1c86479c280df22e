//! What pods hold: volumes that are bound, protected and given back, and devices that one pod has at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice};
use orchestra_core::api::{Client, Status};
use orchestra_core::controllers::Config;
use orchestra_core::controllers::local_path::{Directories, LocalPath};
use orchestra_core::meta::Object;
use orchestra_core::simulation::{Scenario, State};
use serde_json::{Value, json};

use super::scenarios::{at_most_one, create, has_ended, of, serves, template};

/// The directories of simulated nodes, which are there in name only.
#[derive(Debug)]
struct InName;

#[async_trait]
impl Directories for InName {
    async fn remove(&self, _node: &str, _path: &str) -> Result<(), String> {
        Ok(())
    }
}

async fn create_of_cluster<K: Object>(client: &Client, object: Value) -> Result<(), Status> {
    let object = serde_json::from_value(object).map_err(Status::internal)?;
    client.cluster::<K>().create(&object).await.map(drop)
}

/// The claims that a pod mounts.
fn claims_of(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(&*volume.persistent_volume_claim.as_ref()?.claim_name))
}

fn is_placed(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// A volume has one claim, and a claim one volume.
fn bound_one_to_one(state: &State) -> Result<(), String> {
    let mut volumes = BTreeMap::new();
    for claim in state.objects::<PersistentVolumeClaim>() {
        let (name, volume) =
            (claim.metadata.name.clone(), claim.spec.as_ref().and_then(|it| it.volume_name.clone()));
        if let Some(volume) = volume
            && let Some(other) = volumes.insert(volume.clone(), name.clone())
        {
            return Err(format!("{volume} is of {other:?} and of {name:?}"));
        }
    }
    let mut claims = BTreeMap::new();
    for volume in state.objects::<PersistentVolume>() {
        let of = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.clone());
        if let Some(uid) = of
            && let Some(other) = claims.insert(uid, volume.metadata.name.clone())
        {
            return Err(format!("{other:?} and {:?} are of one claim", volume.metadata.name));
        }
    }
    Ok(())
}

/// A claim is not removed while a pod has it on a node.
fn claims_in_use_stay(state: &State) -> Result<(), String> {
    for claim in state.removed::<PersistentVolumeClaim>() {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let user = state
            .objects::<Pod>()
            .find(|pod| is_placed(pod) && !has_ended(pod) && claims_of(pod).any(|claim| claim == name));
        if let Some(user) = user {
            return Err(format!("{name} is gone, which {:?} has", user.metadata.name));
        }
    }
    Ok(())
}

/// A set with a volume each that is made smaller, and a pod that goes before the claim that it uses.
pub fn volumes() -> Scenario {
    let local = LocalPath { root: "/volumes".into(), directories: Arc::new(InName) };
    Scenario::new("volumes")
        .nodes(2)
        .cluster(move |builder| {
            builder.controllers(Config { local_path: Some(local.clone()), ..Config::default() })
        })
        .script(|world| async move {
            let client = world.client();
            let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
            let mount = json!([{"name": "data", "mountPath": "/data"}]);
            let mounted = |spec: &mut Value| spec["containers"][0]["volumeMounts"] = mount.clone();
            let mut set = of("db", 3);
            set["spec"]["serviceName"] = json!("db");
            set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": claim}]);
            let retained = json!({"whenScaled": "Delete", "whenDeleted": "Retain"});
            set["spec"]["persistentVolumeClaimRetentionPolicy"] = retained;
            mounted(&mut set["spec"]["template"]["spec"]);
            create::<StatefulSet>(&client, set).await?;

            let mut kept = claim.clone();
            kept["storageClassName"] = json!("manual");
            create::<PersistentVolumeClaim>(&client, json!({"metadata": {"name": "kept"}, "spec": kept})).await?;
            let spec = json!({
                "capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "manual",
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/kept"},
            });
            create_of_cluster::<PersistentVolume>(&client, json!({"metadata": {"name": "kept"}, "spec": spec})).await?;
            let mut user = template("user")["spec"].clone();
            user["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "kept"}}]);
            mounted(&mut user);
            create::<Pod>(&client, json!({"metadata": {"name": "user"}, "spec": user})).await?;
            world.sleep(Duration::from_secs(15)).await;

            let claims = client.api::<PersistentVolumeClaim>("default");
            let phase = |claim: PersistentVolumeClaim| claim.status?.phase;
            while phase(claims.get("kept").await?).as_deref() != Some("Bound") {
                world.sleep(Duration::from_secs(5)).await;
            }
            claims.delete("kept").await?;
            client.api::<StatefulSet>("default").scale("db", 1).await?;
            world.sleep(Duration::from_secs(8)).await;
            // A node that was without room may have ended it, and it was not made again.
            match client.api::<Pod>("default").delete("user").await {
                Err(status) if !status.is_not_found() => Err(status),
                _ => Ok(()),
            }
        })
        .always("no two pods of one name run", at_most_one)
        .always("volumes and claims are bound one to one", bound_one_to_one)
        .always("what a pod has stays", claims_in_use_stay)
        .eventually("one of the set serves", serves("db", 1, "db:1"))
        .eventually("what is not used any more is gone", |state| {
            let claims: Vec<_> = state.objects::<PersistentVolumeClaim>().filter_map(|it| it.metadata.name.clone()).collect();
            let said = |volume: Arc<PersistentVolume>| {
                let phase = volume.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
                let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.name.clone());
                (claim.unwrap_or_default(), phase)
            };
            let mut volumes: Vec<_> = state.objects::<PersistentVolume>().map(said).collect();
            volumes.sort();
            let wanted = [("data-db-0", "Bound"), ("kept", "Released")];
            let good = claims == ["data-db-0"]
                && volumes.iter().map(|(claim, phase)| (&**claim, &**phase)).eq(wanted);
            if good { Ok(()) } else { Err(format!("claims {claims:?}, volumes {volumes:?}")) }
        })
}

/// The devices that a claim was given.
fn devices_of(claim: &ResourceClaim) -> Vec<String> {
    let status = claim.status.as_ref();
    let allocation = status.and_then(|status| status.allocation.as_ref()?.devices.as_ref()?.results.clone());
    allocation.into_iter().flatten().map(|it| format!("{}/{}", it.pool, it.device)).collect()
}

/// Pods with a device each, of which there are three. They are placed, and never start: no node has the driver.
pub fn devices() -> Scenario {
    Scenario::new("devices")
        .nodes(2)
        .script(|world| async move {
            let client = world.client();
            let class = json!({"selectors": [{"cel": {"expression": "device.driver == 'gpu.example.com'"}}]});
            create_of_cluster::<DeviceClass>(&client, json!({"metadata": {"name": "gpu"}, "spec": class}))
                .await?;
            let devices: Vec<Value> = (0..3).map(|number| json!({"name": format!("gpu-{number}")})).collect();
            let slice = json!({
                "driver": "gpu.example.com", "allNodes": true, "devices": devices,
                "pool": {"name": "all", "generation": 1, "resourceSliceCount": 1},
            });
            create_of_cluster::<ResourceSlice>(&client, json!({"metadata": {"name": "gpus"}, "spec": slice}))
                .await?;
            let exactly = json!({"deviceClassName": "gpu", "count": 1});
            let one = json!({"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}});
            create::<ResourceClaimTemplate>(
                &client,
                json!({"metadata": {"name": "one"}, "spec": {"spec": one}}),
            )
            .await?;
            let mut learn = of("learn", 4);
            let spec = &mut learn["spec"]["template"]["spec"];
            spec["resourceClaims"] = json!([{"name": "gpu", "resourceClaimTemplateName": "one"}]);
            spec["containers"][0]["resources"]["claims"] = json!([{"name": "gpu"}]);
            create::<Deployment>(&client, learn).await?;
            world.sleep(Duration::from_secs(15)).await;
            let pods = client.api::<Pod>("default");
            if let Some(pod) = pods.list().await?.first() {
                pods.delete(pod.metadata.name.as_deref().unwrap_or_default()).await?;
            }
            world.sleep(Duration::from_secs(8)).await;
            client.api::<Deployment>("default").scale("learn", 2).await.map(drop)
        })
        .always("a device is of one claim", |state| {
            let mut given = BTreeMap::new();
            for claim in state.objects::<ResourceClaim>() {
                for device in devices_of(&claim) {
                    if let Some(other) = given.insert(device.clone(), claim.metadata.name.clone()) {
                        return Err(format!("{device} is of {other:?} and of {:?}", claim.metadata.name));
                    }
                }
            }
            Ok(())
        })
        .eventually("two are placed, each with its claim, and there is no other", |state| {
            let held = state.objects::<ResourceClaim>().filter(|claim| devices_of(claim).len() == 1).count();
            let pods = state.objects::<Pod>().filter(|pod| !has_ended(pod)).collect::<Vec<_>>();
            let placed = pods.iter().filter(|pod| is_placed(pod)).count();
            let found = (placed, pods.len(), held, state.objects::<ResourceClaim>().count());
            match found {
                (2, 2, 2, 2) => Ok(()),
                (placed, pods, held, claims) => Err(format!(
                    "{placed} of {pods} pods are placed, {held} of {claims} claims have a device"
                )),
            }
        })
}
