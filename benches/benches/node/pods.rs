//! What pods take on a node.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt;
use orchestra_benches::{processor_time, resident};
use orchestra_core::api::{Api, Client, DeleteOptions, Target, WatchEvent, WatchOptions};
use orchestra_core::cluster::{Cluster, Component, Node};
use orchestra_core::k8s_openapi::api::core::v1::Pod;
use orchestra_core::network::{self, Applied, AttachRequest, Attachment, Network, ServicePlan};
use orchestra_core::node::{Config, Thresholds};
use orchestra_core::runtime::{Filter, PodRef, Runtime, SandboxId};
use orchestra_runtime::host::{NetProber, Volumes};
use serde_json::json;
use tokio::sync::Notify;

use crate::{direct, median, timed};

const NODE: &str = "n1";
/// How many pods run when there are many.
const MANY: usize = 100;
/// How many are made one after the other.
const ROUNDS: usize = 20;
/// How long it is looked what idle pods take.
const IDLE: Duration = Duration::from_secs(60);

/// A runtime, with an image in it that has a shell.
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a str,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) image: &'a str,
    pub(crate) place: &'a Path,
}

/// Pods have the addresses that the runtime gave them; it is counted how often one is connected.
#[derive(Clone, Default)]
struct Counting(Arc<(AtomicUsize, Notify)>);

impl Counting {
    /// Waits until so many sandboxes have been connected since it was forgotten.
    async fn reach(&self, count: usize) {
        loop {
            let more = self.0.1.notified();
            if self.0.0.load(Ordering::SeqCst) >= count {
                return;
            }
            more.await;
        }
    }
}

#[async_trait]
impl Network for Counting {
    async fn attach(&self, request: &AttachRequest) -> network::Result<Attachment> {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        self.0.1.notify_waiters();
        let none = [[10, 0, 0, 1].into()];
        let ips = if request.runtime_ips.is_empty() { &none[..] } else { &request.runtime_ips };
        Ok(Attachment { ips: ips.to_vec() })
    }

    async fn detach(&self, _: &SandboxId, _: &PodRef) -> network::Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &ServicePlan) -> network::Result<Applied> {
        Ok(Applied::default())
    }
}

impl Subject<'_> {
    pub(crate) async fn measure(self) {
        let direct = direct::pod(&self).await;
        let network = Counting::default();
        // What is measured does not depend on how full this machine's disk is.
        let eviction = Thresholds::none();
        let config = Config { log_root: self.place.join("logs"), eviction, ..Config::default() };
        let node = Node::new(NODE)
            .config(config)
            .volumes(Volumes::new(self.place.join("volumes")))
            .prober(NetProber);
        let cluster = Cluster::builder()
            .without(Component::Scheduler)
            .node(node, Arc::clone(&self.runtime), network.clone())
            .start()
            .await
            .expect("it starts");
        let client = cluster.client();
        let pods = client.api::<Pod>("default");
        let mut one = Vec::new();
        for round in 0..ROUNDS {
            one.push(timed(self.run(&client, &[format!("one-{round}")])).await);
            self.end(&pods, &[format!("one-{round}")]).await;
        }
        let before = resident();
        let names: Vec<String> = (0..MANY).map(|number| format!("many-{number}")).collect();
        let many = timed(self.run(&client, &names)).await;
        let agent = Component::Kubelet(NODE.to_owned());
        cluster.stop(&agent).await;
        network.0.0.store(0, Ordering::SeqCst);
        let adopted = timed(async {
            cluster.start(&agent);
            network.reach(MANY).await;
        })
        .await;
        // Until what the start has brought about is over.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let took = processor_time();
        tokio::time::sleep(IDLE).await;
        let idle = (processor_time() - took).as_secs_f64() / IDLE.as_secs_f64();
        let each = resident().saturating_sub(before) / MANY;
        let restarted = restarts(&pods).await;
        assert_eq!(restarted, 0, "nothing is restarted by whoever adopts it");
        println!(
            "{:<12} {:>8.1} ms {:>11.1} ms {:>11.2} s {:>10.0} ms {:>8.2} % {:>5.1} KB",
            self.name,
            millis(direct),
            millis(median(one)),
            many.as_secs_f64(),
            millis(adopted),
            idle * 100.0,
            each as f64 / 1000.0
        );
        self.end(&pods, &names).await;
        cluster.shutdown().await;
    }

    /// Makes pods, and waits until all of them are running.
    async fn run(&self, client: &Client, names: &[String]) {
        let target = Target::of::<Pod>(Some("default"));
        let mut events = client.watch(target, WatchOptions::default()).await.expect("a watch");
        let pods = client.api::<Pod>("default");
        for name in names {
            pods.create(&self.pod(name)).await.expect("a pod");
        }
        let mut waiting: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        while !waiting.is_empty() {
            match events.next().await.expect("the watch goes on").expect("an event") {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod)
                    if pod.field("status.phase") == Some("Running") =>
                {
                    waiting.remove(pod.name().name());
                }
                WatchEvent::Modified(pod) if pod.field("status.phase") == Some("Failed") => {
                    panic!("a pod failed: {}", String::from_utf8_lossy(pod.bytes()));
                }
                _ => {}
            }
        }
    }

    fn pod(&self, name: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "nodeName": NODE,
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "containers": [{
                    "name": "app", "image": self.image, "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/sh", "-c", "exec sleep 100000"],
                }],
            },
        }))
        .expect("a pod")
    }

    /// Takes pods away, and waits until nothing is left of them.
    async fn end(&self, pods: &Api<Pod>, names: &[String]) {
        let at_once = DeleteOptions { grace_period: Some(0), ..DeleteOptions::default() };
        for name in names {
            pods.delete_with(name, at_once.clone()).await.expect("it goes");
        }
        let began = Instant::now();
        while self.runtime.list(&Filter::default()).await.is_ok_and(|left| !left.is_empty()) {
            assert!(began.elapsed() < Duration::from_secs(300), "pods do not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn restarts(pods: &Api<Pod>) -> i32 {
    let all = pods.list().await.expect("pods");
    let statuses = all.iter().filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref()).flatten();
    statuses.map(|status| status.restart_count).sum()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
