//! The scheduler in a cluster: what becomes of pods, and what people are told.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt, Shared};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use orchestra_core::api::{
    Client, DeleteOptions, Kind, Operation, Patch, Response, Service, Status, Target, User, WatchOptions,
    WatchStream,
};
use orchestra_core::clock::SharedClock;
use orchestra_core::scheduler::{Configuration, Scheduler};
use orchestra_core::testing::{self, TestServer};
use orchestra_core::watch::Cache;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A cluster whose scheduler is the test's.
struct TestCluster {
    client: Client,
    stop: CancellationToken,
    _server: TestServer,
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A cluster without a scheduler.
async fn unscheduled() -> TestCluster {
    let server = TestServer::start().await;
    TestCluster { client: server.client(), stop: CancellationToken::new(), _server: server }
}

async fn cluster() -> TestCluster {
    let cluster = unscheduled().await;
    cluster.schedule();
    cluster
}

impl TestCluster {
    /// Runs a scheduler with the profiles of a file until the cluster ends.
    fn schedule_by(&self, file: &str) {
        let head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";
        let configuration = Configuration::parse(format!("{head}{file}").as_bytes()).unwrap();
        let (scheduler, stop) = (Scheduler::new(self.client.clone()), self.stop.child_token());
        tokio::spawn(scheduler.configured(configuration).run(stop.cancelled_owned()));
    }

    /// Runs a scheduler until the result is dropped or the cluster ends.
    fn schedule(&self) -> CancellationToken {
        let stop = self.stop.child_token();
        let stopped = stop.clone();
        let scheduler = Scheduler::new(self.client.clone());
        tokio::spawn(async move { scheduler.run(stopped.cancelled_owned()).await });
        stop
    }

    async fn add_node(&self, name: &str, changes: Value) {
        let mut node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
        });
        lay_over(&mut node, changes);
        let node: Node = serde_json::from_value(node).unwrap();
        let nodes = self.client.cluster::<Node>();
        let mut made = nodes.create(&node).await.unwrap();
        // Nobody takes the taint of a new node away here.
        made.spec = Some(node.spec.unwrap_or_default());
        let mut made = nodes.update(&made).await.unwrap();
        made.status = node.status;
        nodes.update_status(&made).await.unwrap();
    }

    async fn change_node(&self, name: &str, patch: Value) {
        self.client.cluster::<Node>().patch(name, Patch::Merge(patch)).await.unwrap();
    }

    async fn add_pod(&self, name: &str, changes: Value) {
        let mut pod = json!({
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "web"}]},
        });
        lay_over(&mut pod, changes);
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.client.api::<Pod>("default").create(&pod).await.unwrap();
    }

    async fn pod(&self, name: &str) -> Pod {
        self.client.api::<Pod>("default").get(name).await.unwrap()
    }

    async fn node_of(&self, name: &str) -> Option<String> {
        self.pod(name).await.spec.and_then(|spec| spec.node_name)
    }

    /// Waits until the pod is bound, at most a minute of the cluster's time.
    async fn bound(&self, name: &str) -> String {
        until(|| async { self.node_of(name).await }.boxed()).await
    }

    /// Waits until the pod is said to be unschedulable, and gives the message.
    async fn refused(&self, name: &str) -> String {
        until(|| {
            async {
                let conditions = self.pod(name).await.status?.conditions?;
                let found =
                    conditions.into_iter().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
                assert_eq!(found.reason.as_deref(), Some("Unschedulable"));
                found.message
            }
            .boxed()
        })
        .await
    }

    /// Waits for an event about a pod.
    async fn event(&self, pod: &str, reason: &str) -> Event {
        until(|| {
            async {
                let events = self.client.api::<Event>("default").list().await.unwrap();
                let about = |e: &Event| e.involved_object.name.as_deref() == Some(pod);
                events.into_iter().find(|e| about(e) && e.reason.as_deref() == Some(reason))
            }
            .boxed()
        })
        .await
    }

    fn now(&self) -> k8s_openapi::jiff::Timestamp {
        self.client.clock().now()
    }
}

async fn until<'a, T>(mut look: impl FnMut() -> BoxFuture<'a, Option<T>>) -> T {
    testing::until("what the test waits for", Duration::from_secs(60), async || look().await).await
}

fn lay_over(base: &mut Value, changes: Value) {
    match (base, changes) {
        (Value::Object(base), Value::Object(changes)) => {
            for (key, value) in changes {
                lay_over(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, changes) => *base = changes,
    }
}

fn asking(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": "web", "resources": {"requests": {"cpu": cpu}}}]}})
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_and_people_are_told() {
    let cluster = cluster().await;
    cluster.add_node("a", json!({})).await;
    cluster.add_pod("web", asking("1")).await;
    assert_eq!(cluster.bound("web").await, "a");
    let conditions = cluster.pod("web").await.status.unwrap().conditions.unwrap();
    assert!(conditions.iter().any(|c| c.type_ == "PodScheduled" && c.status == "True"));
    let event = cluster.event("web", "Scheduled").await;
    assert_eq!(event.message.as_deref(), Some("Successfully assigned default/web to a"));
    assert_eq!((event.type_.as_deref(), event.count), (Some("Normal"), Some(1)));
    assert_eq!(event.source.and_then(|s| s.component).as_deref(), Some("default-scheduler"));
}

#[tokio::test(start_paused = true)]
async fn what_fits_nowhere_waits_and_goes_at_once_when_a_node_comes() {
    let cluster = cluster().await;
    cluster.add_pod("web", asking("1")).await;
    assert_eq!(cluster.refused("web").await, "no nodes available to schedule pods");
    cluster.add_node("small", json!({"status": {"allocatable": {"cpu": "500m"}}})).await;
    let message = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is \
                   not helpful for scheduling.";
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(cluster.refused("web").await, message);
    let event = cluster.event("web", "FailedScheduling").await;
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    let before = cluster.now();
    cluster.add_node("large", json!({})).await;
    assert_eq!(cluster.bound("web").await, "large");
    assert!(cluster.now().duration_since(before).as_millis() <= 20, "at once, not after a poll");
}

#[tokio::test(start_paused = true)]
async fn a_small_node_does_not_wake_a_large_pod_but_a_freed_one_does() {
    let cluster = cluster().await;
    cluster.add_node("a", json!({})).await;
    cluster.add_pod("first", asking("3")).await;
    cluster.bound("first").await;
    cluster.add_pod("second", asking("2")).await;
    cluster.refused("second").await;
    cluster.client.api::<Pod>("default").delete_with("first", now()).await.unwrap();
    assert_eq!(cluster.bound("second").await, "a");
}

fn now() -> DeleteOptions {
    DeleteOptions { grace_period: Some(0), ..DeleteOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_cordoned_or_tainted_node_takes_nobody_until_it_is_opened() {
    let cluster = cluster().await;
    cluster.add_node("a", json!({"spec": {"unschedulable": true}})).await;
    cluster.add_pod("web", json!({})).await;
    assert!(
        cluster.refused("web").await.starts_with("0/1 nodes are available: 1 node(s) were unschedulable.")
    );
    let taint = json!({"key": "dedicated", "effect": "NoSchedule"});
    cluster.change_node("a", json!({"spec": {"unschedulable": null, "taints": [taint]}})).await;
    let tainted = "0/1 nodes are available: 1 node(s) had untolerated taint(s).";
    cluster.add_pod("other", json!({})).await;
    assert!(cluster.refused("other").await.starts_with(tainted));
    cluster.change_node("a", json!({"spec": {"taints": null}})).await;
    assert_eq!((cluster.bound("web").await, cluster.bound("other").await), ("a".into(), "a".into()));
}

#[tokio::test(start_paused = true)]
async fn host_ports_and_node_selectors() {
    let cluster = cluster().await;
    cluster.add_node("a", json!({"metadata": {"labels": {"disk": "ssd"}}})).await;
    cluster.add_node("b", json!({})).await;
    let port = json!([{"name": "c", "image": "web", "ports": [{"containerPort": 80, "hostPort": 80}]}]);
    for (name, node) in [("one", "a"), ("two", "b")] {
        let spec = json!({"containers": port, "nodeSelector": {"kubernetes.io/hostname": node}});
        cluster.add_pod(name, json!({ "spec": spec })).await;
        assert_eq!(cluster.bound(name).await, node);
    }
    cluster.add_pod("three", json!({"spec": {"containers": port, "nodeSelector": {"disk": "ssd"}}})).await;
    assert_eq!(
        cluster.refused("three").await,
        "0/2 nodes are available: 1 node(s) didn't have free ports for the requested pod ports, 1 node(s) didn't match \
         Pod's node affinity/selector. preemption: 0/2 nodes are available: 1 No preemption victims found for incoming \
         pod, 1 Preemption is not helpful for scheduling."
    );
    cluster.change_node("b", json!({"metadata": {"labels": {"disk": "ssd"}}})).await;
    cluster.client.api::<Pod>("default").delete_with("two", now()).await.unwrap();
    assert_eq!(cluster.bound("three").await, "b");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_pods_are_spread_evenly() {
    let cluster = cluster().await;
    for i in 0..10 {
        cluster.add_node(&format!("n{i}"), json!({})).await;
    }
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true}]);
    for i in 0..100 {
        cluster.add_pod(&format!("p{i}"), json!({"metadata": {"ownerReferences": owner}})).await;
    }
    let mut by_node = BTreeMap::<String, usize>::new();
    for i in 0..100 {
        *by_node.entry(cluster.bound(&format!("p{i}")).await).or_default() += 1;
    }
    assert!(by_node.len() == 10 && by_node.values().all(|n| *n == 10), "{by_node:?}");
}

#[tokio::test(start_paused = true)]
async fn gates_and_other_schedulers_are_left_alone() {
    let cluster = cluster().await;
    cluster.add_node("a", json!({})).await;
    cluster.add_pod("gated", json!({"spec": {"schedulingGates": [{"name": "example.com/quota"}]}})).await;
    cluster.add_pod("theirs", json!({"spec": {"schedulerName": "other"}})).await;
    cluster.add_pod("ours", json!({})).await;
    cluster.bound("ours").await;
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!((cluster.node_of("gated").await, cluster.node_of("theirs").await), (None, None));
    let open = Patch::Merge(json!({"spec": {"schedulingGates": null}}));
    cluster.client.api::<Pod>("default").patch("gated", open).await.unwrap();
    assert_eq!(cluster.bound("gated").await, "a");
}

#[tokio::test(start_paused = true)]
async fn the_important_come_first_and_make_room() {
    let cluster = cluster().await;
    cluster.add_node("a", json!({})).await;
    cluster.add_pod("low", asking("3")).await;
    cluster.bound("low").await;
    let class = serde_json::from_value(json!({"metadata": {"name": "important"}, "value": 1000})).unwrap();
    cluster.client.cluster::<PriorityClass>().create(&class).await.unwrap();
    let mut high = asking("3");
    high["spec"]["priorityClassName"] = json!("important");
    cluster.add_pod("high", high).await;
    let nominated = until(|| async { cluster.pod("high").await.status?.nominated_node_name }.boxed());
    assert_eq!(nominated.await, "a");
    let event = cluster.event("low", "Preempted").await;
    let uid = cluster.pod("high").await.metadata.uid.unwrap();
    assert_eq!(event.message, Some(format!("Preempted by pod {uid} on node a")));
    let low = until(|| {
        async { Some(cluster.pod("low").await).filter(|p| p.metadata.deletion_timestamp.is_some()) }.boxed()
    })
    .await;
    let target = low.status.unwrap().conditions.unwrap().into_iter().find(|c| c.type_ == "DisruptionTarget");
    let target = target.expect("a condition says why");
    assert_eq!(target.reason.as_deref(), Some("PreemptionByScheduler"));
    assert_eq!(target.observed_generation, Some(1));
    // Nobody slips into the room that is being made.
    cluster.add_pod("sly", asking("2")).await;
    cluster.client.api::<Pod>("default").delete_with("low", now()).await.unwrap();
    assert_eq!(cluster.bound("high").await, "a");
    assert!(cluster.refused("sly").await.contains("Insufficient cpu"));
    assert_eq!(cluster.pod("high").await.status.unwrap().nominated_node_name, None);
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_and_started_again_it_goes_on() {
    let cluster = unscheduled().await;
    for i in 0..5 {
        cluster.add_node(&format!("n{i}"), json!({"status": {"allocatable": {"cpu": "4"}}})).await;
    }
    for i in 0..20 {
        cluster.add_pod(&format!("p{i}"), asking("1")).await;
    }
    // Dropped between two steps, again and again, and never waited for.
    let all_bound = async {
        for i in 0..20 {
            cluster.bound(&format!("p{i}")).await;
        }
    };
    let done: Shared<_> = all_bound.boxed_local().shared();
    let mut polls = 1;
    while done.peek().is_none() {
        let scheduler = Scheduler::new(cluster.client.clone()).run(std::future::pending());
        let mut scheduler = Box::pin(scheduler);
        for _ in 0..polls {
            tokio::task::yield_now().await;
            if futures::poll!(&mut scheduler).is_ready() {
                panic!("the scheduler ended by itself");
            }
        }
        drop(scheduler);
        polls += 1;
        assert!(polls < 500, "never finished");
        let _ = futures::poll!(done.clone());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut by_node = BTreeMap::<String, usize>::new();
    for i in 0..20 {
        *by_node.entry(cluster.bound(&format!("p{i}")).await).or_default() += 1;
    }
    assert!(by_node.values().all(|n| *n <= 4), "no node is filled beyond what it has: {by_node:?}");
}

/// A way to a server on which the first call to bind panics, as a bug would.
#[derive(Debug)]
struct Buggy {
    service: std::sync::Arc<dyn Service>,
    panics: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl Service for Buggy {
    async fn call(&self, user: &User, target: Target, operation: Operation) -> Result<Response, Status> {
        let binds = target.subresource.as_deref() == Some("binding");
        let first = binds && self.panics.swap(false, std::sync::atomic::Ordering::SeqCst);
        assert!(!first, "a bug");
        self.service.call(user, target, operation).await
    }

    async fn watch(&self, user: &User, target: Target, options: WatchOptions) -> Result<WatchStream, Status> {
        self.service.watch(user, target, options).await
    }

    async fn cache(&self, target: &Target) -> Result<Cache, Status> {
        self.service.cache(target).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, Status> {
        self.service.kinds().await
    }

    fn clock(&self) -> &SharedClock {
        self.service.clock()
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_binding_panicked_is_placed_again() {
    let mut cluster = unscheduled().await;
    let service = std::sync::Arc::clone(cluster.client.service());
    let buggy = Buggy { service, panics: true.into() };
    cluster.client = Client::new(std::sync::Arc::new(buggy), cluster.client.user().clone());
    cluster.schedule();
    cluster.add_node("small", json!({"status": {"allocatable": {"cpu": "1"}}})).await;
    let asks = json!({"spec": {"containers": [{"name": "c", "image": "web", "resources": {"requests": {"cpu": "1"}}}]}});
    cluster.add_pod("a", asks).await;
    assert_eq!(cluster.bound("a").await, "small", "nor is its room taken for ever");
}

#[tokio::test(start_paused = true)]
async fn each_profile_places_its_own_pods_in_its_own_way() {
    let cluster = unscheduled().await;
    cluster.schedule_by(
        "profiles:
- schedulerName: spread
- schedulerName: pack
  plugins:
    multiPoint: {enabled: [{name: NodeResourcesFit, weight: 100}]}
    filter: {disabled: [{name: TaintToleration}]}
  pluginConfig:
  - {name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}
",
    );
    cluster.add_node("a", json!({})).await;
    cluster.add_node("b", json!({})).await;
    let of = |scheduler: &str, cpu: &str| {
        let mut pod = asking(cpu);
        pod["spec"]["schedulerName"] = json!(scheduler);
        pod
    };
    cluster.add_pod("first", of("spread", "1")).await;
    let first = cluster.bound("first").await;
    cluster.add_pod("packed", of("pack", "500m")).await;
    assert_eq!(cluster.bound("packed").await, first);
    cluster.add_pod("spread", of("spread", "500m")).await;
    assert_ne!(cluster.bound("spread").await, first);
    let event = cluster.event("packed", "Scheduled").await;
    assert_eq!(event.source.and_then(|source| source.component).as_deref(), Some("pack"));
    // What one does not filter by, the other does.
    for node in ["a", "b"] {
        cluster.change_node(node, json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})).await;
    }
    cluster.add_pod("refused", of("spread", "500m")).await;
    assert!(cluster.refused("refused").await.contains("2 node(s) had untolerated taint(s)"));
    cluster.add_pod("taken", of("pack", "500m")).await;
    cluster.bound("taken").await;
    // A pod of no profile is another's to place.
    cluster.add_pod("other", of("default-scheduler", "500m")).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.node_of("other").await, None);
}

#[tokio::test(start_paused = true)]
async fn who_makes_no_room_says_nothing_of_it() {
    let cluster = unscheduled().await;
    cluster.schedule_by("profiles: [{plugins: {postFilter: {disabled: [{name: '*'}]}}}]");
    cluster.add_node("a", json!({})).await;
    cluster.add_pod("low", asking("3")).await;
    cluster.bound("low").await;
    let class = serde_json::from_value(json!({"metadata": {"name": "important"}, "value": 1000})).unwrap();
    cluster.client.cluster::<PriorityClass>().create(&class).await.unwrap();
    let mut high = asking("3");
    high["spec"]["priorityClassName"] = json!("important");
    cluster.add_pod("high", high).await;
    assert_eq!(cluster.refused("high").await, "0/1 nodes are available: 1 Insufficient cpu.");
    assert!(cluster.pod("low").await.metadata.deletion_timestamp.is_none());
}
