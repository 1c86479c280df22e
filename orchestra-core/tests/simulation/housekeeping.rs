//! What a cluster does by itself: jobs by the clock, quotas, what goes with its owner or its namespace, and nodes that fall
//! silent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use orchestra_core::api::{Client, DeleteOptions, Patch, Propagation, Status, WriteOptions};
use orchestra_core::cluster::Component;
use orchestra_core::meta::Object;
use orchestra_core::simulation::{Scenario, State, World};
use serde_json::{Value, json};

use super::scenarios::{at_most_one, create, has_ended, of, serves, template};

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// A Job each minute, whose pods work for a while, until it is told to rest: after some minutes, or when there has been one.
pub fn cron_job() -> Scenario {
    Scenario::new("cronjob")
        .nodes(1)
        .script(|world| async move {
            let client = world.client();
            let mut once = template("tick");
            once["spec"]["restartPolicy"] = json!("Never");
            once["spec"]["containers"][0]["command"] = json!(["sleep", "7"]);
            once["spec"]["containers"][0].as_object_mut().map(|fields| fields.remove("readinessProbe"));
            let spec = json!({
                "schedule": "* * * * *", "successfulJobsHistoryLimit": 2,
                "jobTemplate": {"spec": {"template": once, "backoffLimit": 1000}},
            });
            create::<CronJob>(&client, json!({"metadata": {"name": "tick"}, "spec": spec})).await?;
            world.sleep(Duration::from_secs(260)).await;
            while client.api::<Job>("default").list().await?.is_empty() {
                world.sleep(Duration::from_secs(10)).await;
            }
            let rest = Patch::Merge(json!({"spec": {"suspend": true}}));
            client.api::<CronJob>("default").patch("tick", rest).await.map(drop)
        })
        .always("a moment has one Job", |state| {
            let mut seen = BTreeSet::new();
            for job in state.objects::<Job>() {
                let at = job.metadata.annotations.as_ref().and_then(|all| all.get(SCHEDULED_AT)).cloned();
                if !seen.insert(at.clone()) {
                    return Err(format!("two of {at:?}"));
                }
            }
            Ok(())
        })
        .eventually("no more than two that succeeded are kept, and all have ended", |state| {
            let is_done = |job: &Job| job.status.as_ref().is_some_and(|it| it.completion_time.is_some());
            let (all, done) =
                (state.objects::<Job>().count(), state.objects::<Job>().filter(|job| is_done(job)).count());
            if all == done && (1..=2).contains(&done) {
                Ok(())
            } else {
                Err(format!("{all} Jobs, {done} done"))
            }
        })
        .eventually("its status names none that runs", |state| {
            let tick = state.object::<CronJob>("default", "tick").ok_or("it is gone")?;
            let active = tick.status.as_ref().and_then(|status| status.active.as_ref()).map_or(0, Vec::len);
            if active == 0 { Ok(()) } else { Err(format!("{active} active")) }
        })
}

/// What a quota says of pods: how many there may be and how many are counted. `None` of one of which nothing is counted
/// yet, which holds nobody to anything, as in Kubernetes.
fn pods_of(quota: &ResourceQuota) -> Option<(usize, usize)> {
    let status = quota.status.as_ref()?;
    let of = |amounts: &Option<BTreeMap<String, Quantity>>| amounts.as_ref()?.get("pods")?.0.parse().ok();
    Some((of(&status.hard)?, of(&status.used)?))
}

/// Of more pods than a quota allows as many as it allows, and all once it allows them. Another is first counted while the
/// pods come.
pub fn quota() -> Scenario {
    Scenario::new("quota")
        .nodes(2)
        .script(|world| async move {
            let client = world.client();
            let hard = |pods: u32| json!({"hard": {"pods": pods.to_string(), "requests.cpu": "2"}});
            let quota = |name: &str, pods: u32| json!({"metadata": {"name": name}, "spec": hard(pods)});
            let quotas = client.api::<ResourceQuota>("default");
            create::<ResourceQuota>(&client, quota("few", 4)).await?;
            while pods_of(&quotas.get("few").await?).is_none() {
                world.sleep(Duration::from_millis(100)).await;
            }
            create::<Deployment>(&client, of("web", 7)).await?;
            create::<ResourceQuota>(&client, quota("later", 100)).await?;
            world.sleep(Duration::from_secs(20)).await;
            quotas.patch("few", Patch::Merge(json!({"spec": hard(7)}))).await?;
            world.sleep(Duration::from_secs(10)).await;
            client.api::<Deployment>("default").scale("web", 2).await?;
            world.sleep(Duration::from_secs(5)).await;
            client.api::<Deployment>("default").scale("web", 6).await.map(drop)
        })
        .always("quotas count each pod once, and are kept", |state| {
            let pods = state.objects::<Pod>().filter(|pod| !has_ended(pod)).count();
            for quota in state.objects::<ResourceQuota>() {
                if let Some((hard, used)) = pods_of(&quota)
                    && (used != pods || used > hard)
                {
                    return Err(format!("{:?}: {used} of {hard}, and {pods} pods", quota.metadata.name));
                }
            }
            Ok(())
        })
        .eventually("six pods serve", serves("web", 6, "web:1"))
        .eventually("what is used is said", |state| {
            let quota = state.object::<ResourceQuota>("default", "few").ok_or("it is gone")?;
            let used = quota.status.as_ref().and_then(|status| status.used.clone()).unwrap_or_default();
            let said = (used.get("pods").map(|it| &*it.0), used.get("requests.cpu").map(|it| &*it.0));
            if said == (Some("6"), Some("600m")) { Ok(()) } else { Err(format!("{said:?}")) }
        })
}

async fn map(client: &Client, name: &str, owners: &[&ConfigMap], fields: Value) -> Result<ConfigMap, Status> {
    let reference = |owner: &&ConfigMap| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner.metadata.name, "uid": owner.metadata.uid,
            "blockOwnerDeletion": true,
        })
    };
    let owners: Vec<Value> = owners.iter().map(reference).collect();
    let mut object = json!({"metadata": {"name": name, "ownerReferences": owners}});
    if let (Some(meta), Value::Object(fields)) = (object["metadata"].as_object_mut(), fields) {
        meta.extend(fields);
    }
    let object: ConfigMap = serde_json::from_value(object).map_err(Status::internal)?;
    client.api("default").create(&object).await
}

fn propagated(propagation: Propagation) -> DeleteOptions {
    DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
}

/// What goes with its owners, what stays for another owner or as an orphan, and what goes before its owner.
pub fn garbage() -> Scenario {
    Scenario::new("garbage")
        .nodes(1)
        .script(|world| async move {
            let client = world.client();
            let maps = client.api::<ConfigMap>("default");
            let (one, two) =
                (map(&client, "one", &[], json!({})).await?, map(&client, "two", &[], json!({})).await?);
            let child = map(&client, "of-one", &[&one], json!({})).await?;
            map(&client, "of-of-one", &[&child], json!({})).await?;
            map(&client, "of-both", &[&one, &two], json!({})).await?;
            let first = map(&client, "first", &[], json!({})).await?;
            map(&client, "of-first", &[&first], json!({"finalizers": ["example.com/wait"]})).await?;
            let left = map(&client, "left", &[], json!({})).await?;
            map(&client, "orphan", &[&left], json!({})).await?;
            create::<Deployment>(&client, of("web", 2)).await?;
            world.sleep(Duration::from_secs(8)).await;
            maps.delete_with("one", propagated(Propagation::Background)).await?;
            maps.delete_with("first", propagated(Propagation::Foreground)).await?;
            maps.delete_with("left", propagated(Propagation::Orphan)).await?;
            world.sleep(Duration::from_secs(4)).await;
            client
                .api::<Deployment>("default")
                .delete_with("web", propagated(Propagation::Foreground))
                .await?;
            world.sleep(Duration::from_secs(10)).await;
            let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            maps.patch_with("of-first", free, WriteOptions::default()).await.map(drop)
        })
        .always("what has an owner left stays", |state| {
            let gone = state.removed::<ConfigMap>().find(|map| {
                let names: Vec<_> =
                    map.metadata.owner_references.iter().flatten().map(|it| &*it.name).collect();
                map.metadata.name.as_deref() == Some("of-both") || (names == ["left"])
            });
            gone.map_or(Ok(()), |map| Err(format!("{:?} is gone", map.metadata.name)))
        })
        .always("an owner that waits goes last", |state| {
            let first = state.object::<ConfigMap>("default", "first").is_some();
            let waits = state.object::<ConfigMap>("default", "of-first").is_some();
            let gone = state.removed::<ConfigMap>().any(|map| map.metadata.name.as_deref() == Some("first"));
            if gone && waits && !first { Err("first is gone, and of-first is there".into()) } else { Ok(()) }
        })
        .eventually("what is to be left is left", |state| {
            let own = |map: &ConfigMap| map.metadata.namespace.as_deref() == Some("default");
            let maps = state.objects::<ConfigMap>().filter(|map| own(map));
            let names: Vec<_> = maps.filter_map(|map| map.metadata.name.clone()).collect();
            if names == ["of-both", "orphan", "two"] { Ok(()) } else { Err(format!("{names:?}")) }
        })
        .eventually("what was given up names no owner that is gone", |state| {
            for (name, owners) in [("of-both", &["two"][..]), ("orphan", &[])] {
                let map = state.object::<ConfigMap>("default", name).ok_or("it is gone")?;
                let left: Vec<_> =
                    map.metadata.owner_references.iter().flatten().map(|it| it.name.clone()).collect();
                if left != owners {
                    return Err(format!("{name} is of {left:?}"));
                }
            }
            Ok(())
        })
        .eventually("the Deployment is gone with all that it had", |state| {
            let left = state.objects::<Deployment>().count()
                + state.objects::<ReplicaSet>().count()
                + state.objects::<Pod>().count();
            if left == 0 && state.running().is_empty() { Ok(()) } else { Err(format!("{left} are left")) }
        })
}

/// A namespace that goes with all that is in it, and is made again under the same name.
pub fn namespace() -> Scenario {
    fn inside<K: Object>(state: &State) -> usize {
        state.objects::<K>().filter(|object| object.meta().namespace.as_deref() == Some("doomed")).count()
    }
    async fn fill(world: &World) -> Result<(), Status> {
        let client = world.client();
        let space =
            serde_json::from_value(json!({"metadata": {"name": "doomed"}})).map_err(Status::internal)?;
        client.cluster::<Namespace>().create(&space).await?;
        let web = serde_json::from_value(of("web", 2)).map_err(Status::internal)?;
        client.api::<Deployment>("doomed").create(&web).await?;
        for (name, finalizers) in [("free", json!([])), ("held", json!(["example.com/wait"]))] {
            let object = json!({"metadata": {"name": name, "finalizers": finalizers}});
            let object = serde_json::from_value(object).map_err(Status::internal)?;
            client.api::<ConfigMap>("doomed").create(&object).await?;
        }
        Ok(())
    }
    Scenario::new("namespace")
        .nodes(1)
        .script(|world| async move {
            fill(&world).await?;
            world.sleep(Duration::from_secs(6)).await;
            let spaces = world.client().cluster::<Namespace>();
            spaces.delete("doomed").await?;
            world.sleep(Duration::from_secs(10)).await;
            let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            world.client().api::<ConfigMap>("doomed").patch("held", free).await?;
            // However long it takes, it goes, and another may have its name.
            while spaces.find("doomed").await?.is_some() {
                world.sleep(Duration::from_secs(2)).await;
            }
            fill(&world).await
        })
        .always("nothing is in a namespace that is not there", |state| {
            let there = state.object::<Namespace>("", "doomed").is_some();
            let left = inside::<Pod>(state) + inside::<ConfigMap>(state) + inside::<ReplicaSet>(state);
            if there || left == 0 { Ok(()) } else { Err(format!("{left} are in it")) }
        })
        .eventually("the second of its name has all that is in it", |state| {
            // A pod that was evicted stays to be seen, beside the one that took its place.
            let evicted = |pod: &std::sync::Arc<Pod>| {
                pod.status.as_ref().is_some_and(|status| status.reason.as_deref() == Some("Evicted"))
            };
            let pods = inside::<Pod>(state) - state.objects::<Pod>().filter(evicted).count();
            let found = (pods, inside::<Deployment>(state), inside::<ConfigMap>(state));
            if found == (2, 1, 2) { Ok(()) } else { Err(format!("{found:?}")) }
        })
}

/// A node falls silent for two minutes: pods that may go elsewhere do, and what has an identity never runs twice.
pub fn outage() -> Scenario {
    Scenario::new("outage")
        .nodes(3)
        .script(|world| async move {
            let client = world.client();
            let soon = |key: &str| {
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5})
            };
            let soon = json!([soon("node.kubernetes.io/unreachable"), soon("node.kubernetes.io/not-ready")]);
            let mut web = of("web", 4);
            web["spec"]["template"]["spec"]["tolerations"] = soon.clone();
            create::<Deployment>(&client, web).await?;
            let mut set = of("db", 2);
            set["spec"]["serviceName"] = json!("db");
            set["spec"]["template"]["spec"]["tolerations"] = soon;
            create::<StatefulSet>(&client, set).await?;
            world.sleep(Duration::from_secs(12)).await;
            let silent = Component::Kubelet("fake-1".to_owned());
            world.cluster().stop(&silent).await;
            world.sleep(Duration::from_secs(120)).await;
            world.cluster().start(&silent);
            Ok(())
        })
        .always("no two pods of one name run", at_most_one)
        .eventually("four pods serve", serves("web", 4, "web:1"))
        .eventually("two with an identity serve", serves("db", 2, "db:1"))
        .eventually("no node is marked", |state| {
            use k8s_openapi::api::core::v1::Node;
            let taints = state.objects::<Node>().flat_map(|node| {
                node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default()
            });
            let keys: Vec<String> = taints.map(|taint| taint.key).collect();
            if keys.is_empty() { Ok(()) } else { Err(format!("{keys:?}")) }
        })
}
