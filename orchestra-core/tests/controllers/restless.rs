//! What nobody should ask for: it is done within bounds, no loop runs hot, no pod is made twice, and nothing is stuck.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Node, Pod, ReplicationController};
use orchestra_core::clock::{Clock, SharedClock, TokioClock};
use serde_json::json;

use crate::cluster::{Cluster, is_ready};
use crate::workloads::{deployment, replica_set};

const HOUR: Duration = Duration::from_secs(3600);

fn uids(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_cron_job_of_every_second_starts_a_job_a_minute_and_keeps_few() {
    let cluster = Cluster::start().await;
    cluster.ends("well", 0);
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "well"}]});
    let spec = json!({"schedule": "@every 1s", "jobTemplate": {"spec": {"template": {"spec": pod}}}});
    cluster.create::<CronJob>(json!({"metadata": {"name": "c"}, "spec": spec})).await;
    let mut started = BTreeSet::new();
    for _ in 0..360 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let jobs = cluster.api::<Job>().list().await.unwrap();
        assert!(jobs.len() <= 6, "three that ended are kept, and what is under way: {}", jobs.len());
        started.extend(jobs.into_iter().filter_map(|job| job.metadata.name));
    }
    // A Job is called by the minute that it is of, as in Kubernetes.
    assert!((55..=61).contains(&started.len()), "{} jobs", started.len());
    assert!(cluster.api::<Pod>().list().await.unwrap().len() <= 6);
    let runs = cluster.runs("cronjob-controller");
    assert!(runs < 3 * 3600, "{runs} runs in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_hundred_thousand_costs_what_is_under_way() {
    let cluster = Cluster::start().await;
    cluster.ends("well", 0);
    let spec = json!({
        "completions": 100_000, "parallelism": 100, "completionMode": "Indexed",
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "well"}]}},
    });
    cluster.create::<Job>(json!({"metadata": {"name": "j"}, "spec": spec})).await;
    let job = cluster
        .until_object::<Job>("j", "has 1000", |job| job["status"]["succeeded"].as_i64() >= Some(1000))
        .await;
    let done = job["status"]["completedIndexes"].as_str().unwrap();
    assert!(done.len() < 2_000, "it is said in ranges: {done}");
    let pods = cluster.api::<Pod>().list().await.unwrap();
    let index = |pod: &Pod| {
        pod.metadata.annotations.as_ref()?.get("batch.kubernetes.io/job-completion-index").cloned()
    };
    let indexes: BTreeSet<_> = pods.iter().filter_map(index).collect();
    assert_eq!(indexes.len(), pods.len(), "no index has two pods");
    let runs = cluster.runs("job-controller");
    assert!(runs < 300, "{runs} runs for {} pods", pods.len());
}

#[tokio::test(start_paused = true)]
async fn two_controllers_of_one_selector_leave_each_other_their_pods() {
    let cluster = Cluster::start().await;
    cluster.create::<ReplicaSet>(replica_set("both", 3)).await;
    let mut controller = replica_set("other", 2);
    controller["spec"]["selector"] = json!({"app": "both"});
    controller["spec"]["template"]["metadata"]["labels"] = json!({"app": "both"});
    cluster.create::<ReplicationController>(controller).await;
    let before = uids(&cluster.until_pods("app=both", 5).await);
    let runs = cluster.runs("replicaset-controller") + cluster.runs("replication-controller");
    tokio::time::sleep(HOUR).await;
    assert_eq!(uids(&cluster.pods("app=both").await), before);
    let after = cluster.runs("replicaset-controller") + cluster.runs("replication-controller");
    assert!(after - runs < 10, "{} runs", after - runs);
}

#[tokio::test(start_paused = true)]
async fn who_scales_against_an_autoscaler_is_met_at_the_autoscalers_pace() {
    let cluster = Cluster::start().await;
    cluster.create::<Deployment>(deployment("web", 3)).await;
    cluster.until_pods("app=web", 3).await;
    let spec = json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 3, "maxReplicas": 6,
    });
    let autoscaler = json!({"metadata": {"name": "web"}, "spec": spec});
    cluster.create::<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler>(autoscaler).await;
    let mut raised = 0;
    for _ in 0..600 {
        cluster.api::<Deployment>().scale("web", 1).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let web = cluster.api::<Deployment>().get("web").await.unwrap();
        raised += u32::from(web.spec.unwrap().replicas == Some(3));
        assert!(cluster.pods("app=web").await.len() <= 3);
    }
    let runs = cluster.runs("horizontal-pod-autoscaler");
    assert!((30..=700).contains(&runs), "{runs} runs");
    assert!((30..=50).contains(&raised), "raised {raised} times in ten minutes, once in 15 s");
    cluster.until_pods("app=web", 3).await;
}

/// A clock whose time of day somebody sets; what has passed goes on.
#[derive(Debug)]
struct Set {
    clock: SharedClock,
    by: AtomicI64,
}

#[async_trait]
impl Clock for Set {
    fn now(&self) -> Timestamp {
        self.clock.now() + SignedDuration::from_secs(self.by.load(Ordering::Relaxed))
    }

    fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    fn random(&self) -> u64 {
        self.clock.random()
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_loses_no_node_and_makes_nothing_twice() {
    const DAY: i64 = 24 * 3600;
    let clock = Arc::new(Set { clock: TokioClock::simulated(1), by: AtomicI64::new(0) });
    let cluster = Cluster::by(Arc::clone(&clock) as SharedClock).await;
    cluster.ends("well", 0);
    for node in ["n1", "n2"] {
        cluster.node(node).await;
    }
    cluster.create::<ReplicaSet>(replica_set("web", 4)).await;
    let before = uids(&cluster.until_pods("app=web", 4).await);
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "well"}]});
    let spec = json!({
        "schedule": "*/10 * * * *", "successfulJobsHistoryLimit": 1000,
        "jobTemplate": {"spec": {"template": {"spec": pod}}},
    });
    cluster.create::<CronJob>(json!({"metadata": {"name": "c"}, "spec": spec})).await;
    tokio::time::sleep(HOUR).await;
    let jobs = async || cluster.api::<Job>().list().await.unwrap().len();
    let mut expected = jobs().await;
    assert!((5..=6).contains(&expected), "{expected} jobs in the first hour");
    let runs = || {
        ["node-controller", "replicaset-controller", "cronjob-controller", "job-controller"]
            .map(|controller| cluster.runs(controller))
    };
    for by in [DAY, 0, -DAY, 0] {
        let (held, ran) = (jobs().await, runs());
        clock.by.store(by, Ordering::Relaxed);
        tokio::time::sleep(HOUR).await;
        for (before, after) in ran.into_iter().zip(runs()) {
            // Nodes are heard of every 10 s.
            assert!(after - before < 2_000, "{} runs in an hour after a jump to {by}", after - before);
        }
        let nodes = cluster.client.cluster::<Node>().list().await.unwrap();
        let taints = nodes.iter().filter_map(|node| node.spec.as_ref()?.taints.as_ref());
        assert_eq!(taints.map(Vec::len).sum::<usize>(), 0, "no node is lost by a jump to {by}");
        assert_eq!(uids(&cluster.pods("app=web").await), before);
        assert!(cluster.pods("app=web").await.iter().all(is_ready));
        // Of the times that were leapt over one is made up for, and none comes again.
        let more = jobs().await - held;
        assert!(more <= 7, "{more} jobs in an hour after a jump to {by}");
        expected += more;
    }
    let names: BTreeSet<_> =
        cluster.api::<Job>().list().await.unwrap().into_iter().filter_map(|job| job.metadata.name).collect();
    assert_eq!(names.len(), expected);
}
