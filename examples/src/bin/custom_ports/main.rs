//! A cluster on a store, a runtime and a network of one's own: functions of this program as pods.
//!
//! `cargo run -p orchestra-examples --bin custom_ports`
//!
//! | module | port | what it is |
//! | --- | --- | --- |
//! | `audit` | [`Store`](orchestra_core::store::Store) | any other store, and a count of the writes by kind |
//! | `functions` | [`Runtime`](orchestra_core::runtime::Runtime) | containers are async functions of this program |
//! | `registry` | [`Network`](orchestra_core::network::Network) | services are a table in this program |
//!
//! Whoever writes a port runs its suite of `orchestra_core::testing::contract` as a test; here each module does. Passing
//! it is all that the cluster asks of a port.

mod audit;
mod functions;
mod registry;

use std::net::Ipv4Addr;
use std::time::Duration;

use futures::TryStreamExt;
use orchestra_core::api::LogQuery;
use orchestra_core::api::WatchOptions;
use orchestra_core::clock::{SharedClock, TokioClock};
use orchestra_core::cluster::{Cluster, Node, StartError};
use orchestra_core::k8s_openapi::api::apps::v1::Deployment;
use orchestra_core::k8s_openapi::api::core::v1::{Pod, Service};
use orchestra_core::runtime::LogOptions;
use orchestra_core::selector::selector;
use orchestra_core::store::memory::MemoryStore;
use orchestra_examples::wait::patiently;
use serde_json::json;

use audit::{Audit, AuditedStore};
use functions::{Call, Library};
use registry::Registry;

/// What stands beside the cluster and can be asked.
struct World {
    cluster: Cluster,
    audit: Audit,
    registry: Registry,
}

impl World {
    async fn start(clock: SharedClock) -> Result<Self, StartError> {
        let audit = Audit::default();
        let registry = Registry::new(Ipv4Addr::new(10, 9, 0, 1), 250);
        let functions = Library::default().function("greeter", greet).runtime(clock.clone());
        let cluster = Cluster::builder()
            .clock(clock)
            .store(AuditedStore::new(MemoryStore::new(), audit.clone()))
            .node(Node::new("here"), functions, registry.clone())
            .start()
            .await?;
        Ok(Self { cluster, audit, registry })
    }
}

/// The program in the pods: says so every second until it is asked to end.
async fn greet(call: Call) -> i32 {
    let whom = call.command.join(" ");
    let mut pause = tokio::time::interval(Duration::from_secs(1));
    while call.stopping.run_until_cancelled(pause.tick()).await.is_some() {
        call.print(format!("hello {whom}"));
    }
    call.print(format!("goodbye {whom}"));
    0
}

/// Greeters as a deployment, and the service in front of them.
fn greeters(replicas: usize) -> serde_json::Result<(Deployment, Service)> {
    let deployment = json!({
        "metadata": {"name": "greeter"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "greeter"}},
            "template": {
                "metadata": {"labels": {"app": "greeter"}},
                "spec": {"containers": [{"name": "greeter", "image": "greeter", "args": ["world"]}]},
            },
        },
    });
    let service = json!({
        "metadata": {"name": "greeter"},
        "spec": {"selector": {"app": "greeter"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    Ok((serde_json::from_value(deployment)?, serde_json::from_value(service)?))
}

impl World {
    /// Deploys greeters and returns the names of their pods once they run and the service leads to them.
    async fn deploy(&self, replicas: usize) -> anyhow::Result<Vec<String>> {
        let client = self.cluster.client();
        let (deployment, service) = greeters(replicas)?;
        client.api::<Deployment>("default").create(&deployment).await?;
        client.api::<Service>("default").create(&service).await?;
        let behind = self.registry.until_endpoints("default", "greeter", 80, replicas);
        tokio::time::timeout(Duration::from_secs(120), behind).await?;
        let options = WatchOptions { labels: Some(selector!(app == "greeter")), ..Default::default() };
        let pods = client.api::<Pod>("default");
        let pods = patiently(pods.until_all(options, |pods| pods.len() == replicas)).await?;
        Ok(pods.into_keys().map(|pod| pod.name().to_owned()).collect())
    }

    /// The beginning of a pod's log, as it comes.
    async fn follow_log(&self, pod: &str, bytes: u64) -> anyhow::Result<String> {
        let options = LogOptions { follow: true, limit_bytes: Some(bytes), ..LogOptions::default() };
        let query = LogQuery { options, ..LogQuery::default() };
        let client = self.cluster.client();
        let chunks = self.cluster.directory().logs(&client, "default", pod, query).await?;
        let chunks: Vec<_> = chunks.try_collect().await?;
        Ok(String::from_utf8_lossy(&chunks.concat()).into_owned())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let world = World::start(TokioClock::system()).await?;
    let pods = world.deploy(3).await?;
    println!("running          {}", pods.join(", "));
    for line in world.follow_log(&pods[0], 24).await?.lines() {
        println!("log              {line}");
    }
    for _ in 0..4 {
        println!("the next call to {:?}", world.registry.pick("default", "greeter", 80));
    }
    for (kind, tally) in world.audit.tallies() {
        println!("{kind:<30} {} written, {} deleted, {} refused", tally.puts, tally.deletes, tally.conflicts);
    }
    world.cluster.shutdown().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn functions_run_as_pods_and_are_found_by_their_service() -> anyhow::Result<()> {
        let world = World::start(TokioClock::simulated(1)).await?;
        let client = world.cluster.client();
        let pods = world.deploy(3).await?;
        assert_eq!(world.follow_log(&pods[0], 24).await?, "hello world\nhello world\n");
        assert_eq!(world.audit.tallies()["apps/deployments"].deletes, 0);

        let found: BTreeSet<_> =
            (0..3).filter_map(|_| world.registry.pick("default", "greeter", 80)).collect();
        assert_eq!(found.len(), 3, "each in turn");
        assert!(found.iter().all(|address| address.port() == 8080), "{found:?}");

        client.api::<Deployment>("default").delete("greeter").await?;
        let pods = client.api::<Pod>("default");
        patiently(pods.until_all(WatchOptions::default(), |pods| pods.is_empty())).await?;
        assert!(world.audit.tallies()["core/pods"].deletes >= 3);
        Ok(())
    }
}
