//! What people ask of a cluster, and what must come of it.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Endpoints, Pod, ResourceQuota, Service};
use orchestra_core::api::{Client, Patch, Status};
use orchestra_core::meta::Object;
use orchestra_core::simulation::{Scenario, State};
use serde_json::{Value, json};

pub async fn create<K: Object>(client: &Client, object: Value) -> Result<(), Status> {
    let object = serde_json::from_value(object).map_err(Status::internal)?;
    client.api::<K>("default").create(&object).await.map(drop)
}

pub fn template(app: &str) -> Value {
    let probe = json!({"httpGet": {"path": "/", "port": 80}, "periodSeconds": 2});
    let container = json!({
        "name": "main", "image": format!("{app}:1"), "readinessProbe": probe,
        "resources": {"requests": {"cpu": "100m"}},
    });
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [container]}})
}

pub fn of(app: &str, replicas: u32) -> Value {
    let selector = json!({"matchLabels": {"app": app}});
    let spec = json!({"replicas": replicas, "selector": selector, "template": template(app)});
    json!({"metadata": {"name": app}, "spec": spec})
}

pub fn image(name: &str) -> Patch {
    Patch::Strategic(
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": name}]}}}}),
    )
}

pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
}

/// The pods of an app, but for those that a node without room ended: they stay, so that one sees why.
fn pods_of(state: &State, app: &str) -> Vec<std::sync::Arc<Pod>> {
    let is_of = |pod: &std::sync::Arc<Pod>| {
        let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref());
        let of = pod.metadata.labels.as_ref().and_then(|labels| labels.get("app"));
        of.is_some_and(|it| it == app) && reason != Some("Evicted")
    };
    state.objects::<Pod>().filter(is_of).collect()
}

/// Exactly so many pods of an image, all ready.
pub fn serves(app: &'static str, count: usize, image: &'static str) -> impl Fn(&State) -> Result<(), String> {
    move |state| {
        let pods = pods_of(state, app);
        let good = |pod: &Pod| {
            let runs = pod.spec.as_ref().and_then(|spec| spec.containers[0].image.as_deref()) == Some(image);
            runs && is_ready(pod) && pod.metadata.deletion_timestamp.is_none()
        };
        let ready = pods.iter().filter(|pod| good(pod)).count();
        match (pods.len(), ready) {
            (all, ready) if all == count && ready == count => Ok(()),
            (all, ready) => Err(format!("{all} pods, {ready} ready with {image}, {count} wanted")),
        }
    }
}

/// No two pods of one name run at a time, wherever they are.
pub fn at_most_one(state: &State) -> Result<(), String> {
    let mut seen = std::collections::BTreeMap::new();
    for running in state.running() {
        let key = (&running.namespace, &running.pod);
        if let Some(uid) = seen.insert(key, &running.uid)
            && *uid != running.uid
        {
            return Err(format!("two pods {} run, one on {}", running.pod, running.node));
        }
    }
    Ok(())
}

fn quota_is_kept(state: &State) -> Result<(), String> {
    let alive = state.objects::<Pod>().filter(|pod| !has_ended(pod)).count();
    if alive <= 9 { Ok(()) } else { Err(format!("{alive} pods, and the quota is 9")) }
}

/// Every address of a Service is one of a ready pod's, and the other way round.
fn service_leads_to_pods(state: &State) -> Result<(), String> {
    let endpoints = state.object::<Endpoints>("default", "web").ok_or("no endpoints")?;
    let addresses = endpoints.subsets.iter().flatten().flat_map(|subset| subset.addresses.iter().flatten());
    let mut listed: Vec<String> = addresses.map(|address| address.ip.clone()).collect();
    let ip = |pod: std::sync::Arc<Pod>| pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    let ready = pods_of(state, "web").into_iter().filter(|pod| is_ready(pod));
    let mut wanted: Vec<String> = ready.filter_map(ip).collect();
    listed.sort();
    wanted.sort();
    if listed == wanted { Ok(()) } else { Err(format!("{listed:?} are listed, {wanted:?} are ready")) }
}

/// A Deployment with its Service, rolled out, scaled, and robbed of pods.
pub fn deployment() -> Scenario {
    Scenario::new("deployment")
        .nodes(3)
        .script(|world| async move {
            let client = world.client();
            let quota = json!({"metadata": {"name": "all"}, "spec": {"hard": {"pods": "9"}}});
            create::<ResourceQuota>(&client, quota).await?;
            let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80}]});
            create::<Service>(&client, json!({"metadata": {"name": "web"}, "spec": spec})).await?;
            create::<Deployment>(&client, of("web", 3)).await?;
            world.sleep(Duration::from_secs(8)).await;
            let deployments = client.api::<Deployment>("default");
            deployments.patch("web", image("web:2")).await?;
            world.sleep(Duration::from_secs(3)).await;
            deployments.scale("web", 5).await?;
            world.sleep(Duration::from_secs(6)).await;
            let pods = client.api::<Pod>("default");
            if let Some(pod) = pods.list().await?.first() {
                pods.delete(pod.metadata.name.as_deref().unwrap_or_default()).await?;
            }
            deployments.patch("web", image("web:3")).await?;
            world.sleep(Duration::from_millis(700)).await;
            deployments.scale("web", 4).await.map(drop)
        })
        .always("the quota is kept", quota_is_kept)
        .always("no two pods of one name run", at_most_one)
        .eventually("four pods serve the newest image", serves("web", 4, "web:3"))
        .eventually("one ReplicaSet has them all", |state| {
            let sizes: Vec<i32> =
                state.objects::<ReplicaSet>().filter_map(|set| set.spec.as_ref()?.replicas).collect();
            let nonzero: Vec<i32> = sizes.iter().copied().filter(|size| *size > 0).collect();
            if nonzero == [4] { Ok(()) } else { Err(format!("sizes {sizes:?}")) }
        })
        .eventually("the status says so", |state| {
            let web = state.object::<Deployment>("default", "web").ok_or("it is gone")?;
            let status = web.status.clone().unwrap_or_default();
            let said = (status.ready_replicas, status.updated_replicas, status.observed_generation);
            let so = said == (Some(4), Some(4), web.metadata.generation);
            if so { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .eventually("the Service leads to the ready pods", service_leads_to_pods)
}

/// A set with an identity each, rolled out and scaled.
pub fn stateful_set() -> Scenario {
    Scenario::new("statefulset")
        .nodes(3)
        .script(|world| async move {
            let client = world.client();
            let mut set = of("db", 3);
            set["spec"]["serviceName"] = json!("db");
            create::<StatefulSet>(&client, set).await?;
            world.sleep(Duration::from_secs(12)).await;
            let sets = client.api::<StatefulSet>("default");
            sets.patch("db", image("db:2")).await?;
            world.sleep(Duration::from_secs(5)).await;
            sets.scale("db", 4).await?;
            world.sleep(Duration::from_secs(15)).await;
            sets.scale("db", 2).await.map(drop)
        })
        .always("no two pods of one name run", at_most_one)
        .eventually("two pods serve the newest image", serves("db", 2, "db:2"))
        .eventually("they are the first two", |state| {
            let mut names: Vec<_> =
                pods_of(state, "db").iter().filter_map(|pod| pod.metadata.name.clone()).collect();
            names.sort();
            if names == ["db-0", "db-1"] { Ok(()) } else { Err(format!("{names:?}")) }
        })
}

/// A Job of six, three at a time, whose pods work for a while.
pub fn job() -> Scenario {
    Scenario::new("job")
        .nodes(2)
        .script(|world| async move {
            let mut once = template("once");
            once["spec"]["restartPolicy"] = json!("Never");
            once["spec"]["containers"][0]["command"] = json!(["sleep", "4"]);
            once["spec"]["containers"][0].as_object_mut().map(|fields| fields.remove("readinessProbe"));
            let spec = json!({
                "completions": 6, "parallelism": 3, "completionMode": "Indexed", "backoffLimit": 1000, "template": once,
            });
            create::<Job>(&world.client(), json!({"metadata": {"name": "once"}, "spec": spec})).await
        })
        .always("no index counts twice", |state| {
            let Some(job) = state.object::<Job>("default", "once") else { return Ok(()) };
            let done = job.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0);
            if done <= 6 { Ok(()) } else { Err(format!("{done} of 6 succeeded")) }
        })
        .always("what succeeded stays so", {
            |state| {
                // What the status says must have pods or have had them: it never says more than there are indexes listed.
                let Some(job) = state.object::<Job>("default", "once") else { return Ok(()) };
                let Some(status) = job.status.as_ref() else { return Ok(()) };
                let indexes = status.completed_indexes.clone().unwrap_or_default();
                let count: i32 = indexes
                    .split(',')
                    .filter(|part| !part.is_empty())
                    .map(|part| match part.split_once('-') {
                        Some((from, to)) => {
                            to.parse::<i32>().unwrap_or(0) - from.parse::<i32>().unwrap_or(0) + 1
                        }
                        None => 1,
                    })
                    .sum();
                let said = status.succeeded.unwrap_or(0);
                if count == said { Ok(()) } else { Err(format!("{said} succeeded, indexes {indexes:?}")) }
            }
        })
        .eventually("it is complete", |state| {
            let job = state.object::<Job>("default", "once").ok_or("it is gone")?;
            let status = job.status.clone().unwrap_or_default();
            let complete =
                status.conditions.iter().flatten().any(|it| it.type_ == "Complete" && it.status == "True");
            let good = complete && status.succeeded == Some(6) && status.active.unwrap_or(0) == 0;
            if good { Ok(()) } else { Err(format!("{:?} succeeded, {:?} active", status.succeeded, status.active)) }
        })
        .eventually("no pod is held back by a finalizer", |state| {
            let held = state.objects::<Pod>().filter(|pod| !pod.metadata.finalizers.iter().flatten().eq([""; 0]));
            match held.count() {
                0 => Ok(()),
                count => Err(format!("{count} pods have one")),
            }
        })
}

/// A pod a node, rolled out.
pub fn daemon_set() -> Scenario {
    Scenario::new("daemonset")
        .nodes(3)
        .script(|world| async move {
            let client = world.client();
            let mut set = of("agent", 0);
            set["spec"].as_object_mut().map(|fields| fields.remove("replicas"));
            create::<DaemonSet>(&client, set).await?;
            world.sleep(Duration::from_secs(8)).await;
            client.api::<DaemonSet>("default").patch("agent", image("agent:2")).await.map(drop)
        })
        .eventually("each node has one", serves("agent", 3, "agent:2"))
}
