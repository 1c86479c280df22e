//! A whole cluster in a variable: API, controllers, scheduler and two nodes, in this process.
//!
//! `cargo run -p orchestra-examples --bin embed`
//!
//! With `-- --data-dir DIR` the state is in a file there, and the next run finds what this one left.

use std::path::PathBuf;

use clap::Parser;
use orchestra_core::api::{Client, ListOptions, WatchOptions};
use orchestra_core::cluster::Cluster;
use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
use orchestra_core::k8s_openapi::api::core::v1::Pod;
use orchestra_core::selector::selector;
use orchestra_core::store::redb::RedbStore;
use orchestra_examples::wait::patiently;
use serde_json::json;

#[derive(Parser)]
#[command(about = "A whole cluster in a variable")]
struct Cli {
    /// Keep the state in this directory; in memory without.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    // Containers on fake nodes run in name only. For real ones, give `Builder::node` a runtime and a network.
    let mut builder = Cluster::builder().fake_nodes(2);
    if let Some(directory) = Cli::parse().data_dir {
        builder = builder.store(RedbStore::open(directory)?);
    }
    let cluster = builder.start().await?;
    let outcome = deploy_and_scale(&cluster.client()).await;
    // Dropping the cluster stops it too; this also waits until every part has stopped.
    cluster.shutdown().await;
    outcome
}

async fn deploy_and_scale(client: &Client) -> anyhow::Result<()> {
    // An `Api` has the objects of one kind as values of their Rust type. Those of Kubernetes come from k8s-openapi.
    let deployments = client.api::<Deployment>("default");
    match deployments.create(&web(3)?).await {
        Ok(_) => println!("created deployment web"),
        Err(status) if status.is_already_exists() => {
            println!("found deployment web, from an earlier run");
            deployments.scale("web", 3).await?;
        }
        Err(status) => return Err(status.into()),
    }
    let running = until_running(client, 3).await?;
    println!("running          {}", running.join(", "));

    deployments.scale("web", 5).await?;
    let running = until_running(client, 5).await?;
    println!("scaled           {}", running.join(", "));

    // `selector!` is checked by the compiler; `Selector::parse` takes text, as kubectl's `-l` does.
    let options = ListOptions { labels: Some(selector!(app == "web", tier != "db")), ..Default::default() };
    for pod in client.api::<Pod>("default").list_with(options).await?.items {
        let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
        println!("listed           {} on {node}", pod.metadata.name.unwrap_or_default());
    }
    Ok(())
}

/// Objects are written as they would stand in a manifest, or field by field as Rust structs.
fn web(replicas: i32) -> serde_json::Result<Deployment> {
    serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    }))
}

/// Waits until so many pods of the deployment run and no others are left, and returns their names.
async fn until_running(client: &Client, count: usize) -> anyhow::Result<Vec<String>> {
    let options = WatchOptions { labels: Some(selector!(app == "web")), ..Default::default() };
    let api = client.api::<Pod>("default");
    let running = api.until_all(options, |pods| pods.len() == count && pods.values().all(is_running));
    Ok(patiently(running).await?.into_keys().map(|pod| pod.name().to_owned()).collect())
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use orchestra_core::clock::TokioClock;

    use super::*;

    /// In a runtime with paused time the cluster's day passes in no time, and by the same steps each time.
    #[tokio::test(start_paused = true)]
    async fn pods_follow_the_scale() -> anyhow::Result<()> {
        let builder = Cluster::builder().fake_nodes(2).clock(TokioClock::simulated(1));
        let cluster = builder.start().await?;
        let client = cluster.client();
        deploy_and_scale(&client).await?;
        assert_eq!(until_running(&client, 5).await?.len(), 5);
        client.api::<Deployment>("default").scale("web", 1).await?;
        assert_eq!(until_running(&client, 1).await?.len(), 1);
        cluster.shutdown().await;
        Ok(())
    }

    /// Each life of the cluster has an async runtime of its own, as each process would. Time is not paused, because
    /// the store's thread is not.
    #[test]
    fn a_data_directory_outlives_its_cluster() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let life = |look: bool| -> anyhow::Result<()> {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
                let store = RedbStore::open(directory.path())?;
                let cluster = Cluster::builder().fake_nodes(2).store(store).start().await?;
                let client = cluster.client();
                if look {
                    let web = client.api::<Deployment>("default").get("web").await?;
                    assert_eq!(web.spec.and_then(|spec| spec.replicas), Some(5));
                }
                deploy_and_scale(&client).await?;
                cluster.shutdown().await;
                Ok(())
            })
        };
        life(false)?;
        life(true)
    }
}
