//! A throw-away cluster that shows itself: it deploys a small application, loses a pod, scales and rolls.
//!
//! Containers are processes of this machine, so nothing else need be installed; all of it is gone at the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use orchestra_core::api::{Client, DeleteOptions, Patch, Status, WatchOptions, Watched};
use orchestra_core::cluster::Cluster;
use serde_json::json;

use crate::backend;
use crate::cli::Demo;

/// How long any step may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a reader needs between two steps.
const PAUSE: Duration = Duration::from_millis(1200);

pub(crate) async fn run(options: Demo) -> anyhow::Result<()> {
    let directory = std::env::temp_dir().join(format!("orchestra-demo-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let outcome = show(&options, &directory).await;
    let _ = std::fs::remove_dir_all(&directory);
    outcome
}

async fn show(options: &Demo, directory: &std::path::Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let backend = backend::of_processes(directory, "demo").await?;
    let cluster = backend.add_to(Cluster::builder()).await?.start().await?;
    println!("A cluster of one node, in this process, in {} ms.\n", started.elapsed().as_millis());
    let client = cluster.client();
    let pods = tokio::spawn(narrate(client.clone()));
    let outcome = tokio::select! {
        outcome = story(&client, options) => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
    };
    // Whatever happened, no process of the demo may be left behind.
    let cleaned = clean(&client).await;
    pods.abort();
    cluster.shutdown().await;
    outcome.and(cleaned)
}

async fn story(client: &Client, options: &Demo) -> anyhow::Result<()> {
    let deployments = client.api::<Deployment>("default");
    let pods = client.api::<Pod>("default");

    step(options, "A Deployment that wants three pods:").await;
    deployments.create(&serde_json::from_value(deployment("1"))?).await?;
    settled(client, 3).await?;

    step(options, "One of them is deleted. The ReplicaSet notices, and makes another:").await;
    let victim = pods.list().await?.first().and_then(|pod| pod.metadata.name.clone());
    let victim = victim.context("there is no pod to delete")?;
    pods.delete_with(&victim, DeleteOptions { grace_period: Some(1), ..Default::default() }).await?;
    patiently("the pod to go", pods.until(&victim, |pod| pod.is_none())).await?;
    settled(client, 3).await?;

    step(options, "Scaled to five:").await;
    deployments.scale("web", 5).await?;
    settled(client, 5).await?;

    step(options, "A new version of its template. New pods come up before old ones go:").await;
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "VERSION", "value": "2"}]}]}}}});
    deployments.patch("web", Patch::Strategic(change)).await?;
    settled(client, 5).await?;

    step(options, "Deleted. What it owned goes with it:").await;
    Ok(())
}

async fn clean(client: &Client) -> anyhow::Result<()> {
    let now = DeleteOptions { grace_period: Some(0), ..Default::default() };
    match client.api::<Deployment>("default").delete_with("web", now).await {
        Err(status) if !status.is_not_found() => return Err(status.into()),
        _ => {}
    }
    let pods = client.api::<Pod>("default");
    patiently("the pods to go", pods.until_all(WatchOptions::default(), |pods| pods.is_empty())).await?;
    println!("\nNothing is left. `orchestra up` runs a cluster that stays.");
    Ok(())
}

fn deployment(version: &str) -> serde_json::Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "web",
                        "image": "none",
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"],
                        "env": [{"name": "VERSION", "value": version}],
                    }],
                },
            },
        },
    })
}

async fn step(options: &Demo, text: &str) {
    if !options.fast {
        tokio::time::sleep(PAUSE).await;
    }
    println!("\n{text}");
}

/// Waits until the Deployment has so many pods, all of its latest template, all available, and no others.
async fn settled(client: &Client, wanted: i32) -> anyhow::Result<()> {
    let is_settled = |deployment: &Deployment| {
        let status = deployment.status.as_ref()?;
        let latest = status.observed_generation == deployment.metadata.generation;
        let counts = [status.replicas, status.updated_replicas, status.available_replicas];
        Some(latest && counts.iter().all(|count| *count == Some(wanted)))
    };
    let deployments = client.api::<Deployment>("default");
    let settled = deployments.until("web", |web| web.and_then(is_settled).unwrap_or(false));
    patiently("the Deployment to settle", settled).await?;
    let pods = client.api::<Pod>("default");
    let left = pods.until_all(WatchOptions::default(), |pods| pods.len() == wanted.unsigned_abs() as usize);
    patiently("the other pods to go", left).await.map(drop)
}

async fn patiently<T>(what: &str, future: impl Future<Output = Result<T, Status>>) -> anyhow::Result<T> {
    let outcome = tokio::time::timeout(PATIENCE, future).await;
    Ok(outcome.with_context(|| format!("waited {} s for {what}", PATIENCE.as_secs()))??)
}

/// Says of each pod what becomes of it, as it does.
async fn narrate(client: Client) {
    let pods = client.api::<Pod>("default");
    let Ok(mut events) = pods.watch(WatchOptions::default()).await else { return };
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    while let Some(Ok(event)) = events.next().await {
        let (pod, state) = match &event {
            Watched::Added(pod) | Watched::Modified(pod) => (pod, state(pod)),
            Watched::Deleted(pod) => (pod, "gone".to_owned()),
            Watched::Bookmark(_) => continue,
        };
        let name = pod.metadata.name.clone().unwrap_or_default();
        if last.get(&name) != Some(&state) {
            println!("    {name:<24} {state}");
            last.insert(name, state);
        }
    }
}

fn state(pod: &Pod) -> String {
    if pod.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    let status = pod.status.clone().unwrap_or_default();
    let ready = status
        .conditions
        .iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    match (status.phase.as_deref(), ready, status.pod_ip) {
        (Some("Running"), true, Some(ip)) => format!("Running at {ip}"),
        (Some(phase), ..) => phase.to_owned(),
        (None, ..) => "Pending".to_owned(),
    }
}
