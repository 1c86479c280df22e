//! Nodes without machines: in a fork, pods that were given a node come to run there and end when they are deleted, after
//! as long as pods of their kind took before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::picture::{is_ready, workload_of};
use crate::api::{Client, DeleteOptions, Patch, Status, WriteOptions};
use crate::clock::SharedClock;
use crate::control::{Action, Context, Controller, Error};
use crate::supervise::Task;

/// The namespace of the nodes' leases.
const LEASES: &str = "kube-node-lease";
/// How often a node says that it is there: often enough for the control plane to believe it.
const BEAT: Duration = Duration::from_secs(25);
/// How long a pod takes to start of whose kind none has started before, and to end.
const START: Duration = Duration::from_secs(5);
const END: Duration = Duration::from_secs(1);

/// How long pods take, by what they belong to.
#[derive(Default)]
pub(crate) struct Spans {
    /// To be ready, after they were given a node.
    pub(crate) starts: BTreeMap<String, Duration>,
    /// To end by themselves after that. Those of nothing that is named here run for ever.
    pub(crate) ends: BTreeMap<String, Duration>,
}

impl Spans {
    /// By which names something is known: its own, and of a job, which is made again under another number, what is the same
    /// each time.
    pub(crate) fn names(workload: &str) -> Vec<String> {
        let stem = workload
            .rsplit_once('-')
            .filter(|(_, number)| number.bytes().all(|digit| digit.is_ascii_digit()));
        let stem = stem.filter(|_| workload.contains("/job/")).map(|(stem, _)| stem.to_owned());
        std::iter::once(workload.to_owned()).chain(stem).collect()
    }

    fn of(spans: &BTreeMap<String, Duration>, workload: &str) -> Option<Duration> {
        Self::names(workload).iter().find_map(|name| spans.get(name)).copied()
    }
}

/// What is known of the nodes and pods of a fork.
pub(crate) struct Hollow {
    /// The nodes that are there.
    alive: Mutex<BTreeSet<String>>,
    /// Whether a node that is not there may come.
    waits: bool,
    spans: Spans,
    /// The last part of the addresses that were given.
    given: Mutex<u32>,
    clock: SharedClock,
}

impl Hollow {
    /// The nodes that are ready, but for those that are lost, and what is known of the pods' starts.
    ///
    /// # Errors
    /// What the API says.
    pub(super) async fn learn(client: &Client, lost: &[String]) -> Result<Arc<Self>, Status> {
        let is_there = |node: &Node| {
            let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
        };
        let nodes = client.cluster::<Node>().list().await?;
        let names = nodes.iter().filter(|node| is_there(node)).filter_map(|node| node.metadata.name.clone());
        let alive = Mutex::new(names.filter(|name| !lost.contains(name)).collect());
        let mut starts = BTreeMap::new();
        for pod in client.cluster::<Pod>().list().await? {
            if let Some(took) = took_to_start(&pod) {
                let known = starts.entry(workload_of(&pod)).or_insert(took);
                *known = took.max(*known);
            }
        }
        let spans = Spans { starts, ends: BTreeMap::new() };
        let clock = Arc::clone(client.clock());
        Ok(Arc::new(Self { alive, waits: false, spans, given: Mutex::default(), clock }))
    }

    /// No nodes yet: they [come](Self::set) and go.
    pub(crate) fn new(spans: Spans, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { alive: Mutex::default(), waits: true, spans, given: Mutex::default(), clock })
    }

    /// Has a node be there, or not.
    pub(crate) fn set(&self, node: &str, is_there: bool) {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        match is_there {
            true => drop(alive.insert(node.to_owned())),
            false => drop(alive.remove(node)),
        }
    }

    fn alive(&self) -> BTreeSet<String> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the nodes live until the token is cancelled.
    pub(crate) async fn run(self: Arc<Self>, client: Client, stop: CancellationToken) {
        let (beating, beats) = (client.clone(), Arc::clone(&self));
        let _beats = Task::start("hollow nodes", Arc::clone(&self.clock), move || {
            Arc::clone(&beats).beat(beating.clone())
        });
        let controller = Controller::new::<Pod>(client).named("hollow nodes").concurrency(64);
        let reconcile = move |context: Context| {
            let hollow = Arc::clone(&self);
            async move { hollow.reconcile(context).await }
        };
        if let Err(error) = controller.run(reconcile, stop.cancelled_owned()).await {
            tracing::error!(%error, "a fork's nodes ended");
        }
    }

    /// Says of every node that it is there.
    async fn beat(self: Arc<Self>, client: Client) {
        let leases = client.api::<Lease>(LEASES);
        loop {
            for node in &self.alive() {
                let renewed = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": node},
                    "spec": {"holderIdentity": node, "renewTime": micros(self.clock.now())},
                });
                let patch = Patch::Apply { config: renewed, force: true };
                let field_manager = Some("what-if".to_owned());
                let options = WriteOptions { field_manager, ..WriteOptions::default() };
                if let Err(status) = leases.patch_with(node, patch, options).await {
                    tracing::debug!(node, %status, "a fork's node cannot say that it is there");
                }
            }
            self.clock.sleep(BEAT).await;
        }
    }

    async fn reconcile(&self, context: Context) -> Result<Action, Error> {
        let Some(entry) = context.entry::<Pod>().await? else { return Ok(Action::Done) };
        let pod = entry.view::<Pod>()?;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let is_there = self.alive.lock().unwrap_or_else(PoisonError::into_inner).contains(node);
        if !is_there {
            let comes = self.waits && !node.is_empty();
            return Ok(if comes { Action::Again(BEAT) } else { Action::Done });
        }
        let name = context.name().name();
        if let Some(deleted) = &pod.metadata.deletion_timestamp {
            return self.end(&context, &pod, deleted.0).await;
        }
        let status = pod.status.clone().unwrap_or_default();
        let workload = workload_of(&pod);
        match status.phase.as_deref() {
            Some("Pending") => {}
            Some("Running") => return self.succeed(&context, &pod, &workload).await,
            _ => return Ok(Action::Done),
        }
        let bound = status.conditions.iter().flatten().find(|it| it.type_ == "PodScheduled");
        let since =
            bound.and_then(|it| it.last_transition_time.as_ref()).map_or(context.now(), |time| time.0);
        let due = Spans::of(&self.spans.starts, &workload).unwrap_or(START);
        if let Some(wait) = left(since, due, context.now()) {
            return Ok(Action::Again(wait));
        }
        let running = self.running(&pod, context.now());
        context.api::<Pod>().patch_status(name, Patch::Merge(json!({"status": running}))).await?;
        match self.end_of(&pod, &workload) {
            Some(end) => Ok(Action::Again(end)),
            None => Ok(Action::Done),
        }
    }

    /// How long a pod runs that ends by itself.
    fn end_of(&self, pod: &Pod, workload: &str) -> Option<Duration> {
        let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        Spans::of(&self.spans.ends, workload).filter(|_| matches!(policy, Some("Never" | "OnFailure")))
    }

    /// Has a pod that runs be done when its time has come.
    async fn succeed(&self, context: &Context, pod: &Pod, workload: &str) -> Result<Action, Error> {
        let Some(due) = self.end_of(pod, workload) else { return Ok(Action::Done) };
        let mut status = pod.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().flatten().find(|it| it.type_ == "Ready");
        let since =
            ready.and_then(|it| it.last_transition_time.as_ref()).map_or(context.now(), |time| time.0);
        if let Some(wait) = left(since, due, context.now()) {
            return Ok(Action::Again(wait));
        }
        let done = json!({"exitCode": 0, "reason": "Completed", "startedAt": seconds(since), "finishedAt": seconds(context.now())});
        let containers = status.container_statuses.iter().flatten();
        let containers: Vec<Value> = containers
            .map(|it| json!({"name": it.name, "image": it.image, "imageID": "", "restartCount": 0, "ready": false, "state": {"terminated": done}}))
            .collect();
        for condition in status.conditions.iter_mut().flatten().filter(|it| it.type_.ends_with("Ready")) {
            condition.status = "False".into();
            condition.reason = Some("PodCompleted".into());
        }
        let status =
            json!({"phase": "Succeeded", "containerStatuses": containers, "conditions": status.conditions});
        let patch = Patch::Merge(json!({"status": status}));
        context.api::<Pod>().patch_status(context.name().name(), patch).await?;
        Ok(Action::Done)
    }

    async fn end(&self, context: &Context, pod: &Pod, deadline: Timestamp) -> Result<Action, Error> {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0).unsigned_abs();
        let since = deadline.checked_sub(Duration::from_secs(grace)).unwrap_or(deadline);
        if let Some(wait) = left(since, END.min(Duration::from_secs(grace)), context.now()) {
            return Ok(Action::Again(wait));
        }
        let options = DeleteOptions {
            grace_period: Some(0),
            uid: pod.metadata.uid.clone(),
            ..DeleteOptions::default()
        };
        match context.api::<Pod>().delete_with(context.name().name(), options).await {
            Err(status) if !status.is_not_found() && !status.is_conflict() => Err(status.into()),
            _ => Ok(Action::Done),
        }
    }

    /// The status of a pod whose containers all run and are ready.
    fn running(&self, pod: &Pod, now: Timestamp) -> Value {
        let number = {
            let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            *given += 1;
            *given
        };
        let [_, a, b, c] = number.to_be_bytes();
        let ip = format!("100.{}.{b}.{c}", 64 + a % 64);
        let condition =
            |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": seconds(now)});
        let scheduled = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut conditions: Vec<Value> = scheduled
            .filter(|it| it.type_ == "PodScheduled")
            .filter_map(|it| serde_json::to_value(it).ok())
            .collect();
        conditions.extend(["Initialized", "ContainersReady", "Ready"].map(condition));
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let containers: Vec<Value> = containers
            .map(|container| {
                json!({
                    "name": container.name, "image": container.image, "imageID": "", "restartCount": 0, "ready": true,
                    "started": true, "state": {"running": {"startedAt": seconds(now)}},
                })
            })
            .collect();
        json!({
            "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": seconds(now),
            "conditions": conditions, "containerStatuses": containers,
        })
    }
}

/// How long a pod took from when it was given its node until it was ready; of one that is ready and was never restarted.
fn took_to_start(pod: &Pod) -> Option<Duration> {
    let status = pod.status.as_ref().filter(|_| is_ready(pod))?;
    if status.container_statuses.iter().flatten().any(|container| container.restart_count > 0) {
        return None;
    }
    let at = |kind: &str| {
        let condition = status.conditions.iter().flatten().find(|it| it.type_ == kind)?;
        Some(condition.last_transition_time.as_ref()?.0)
    };
    Duration::try_from(at("Ready")?.duration_since(at("PodScheduled")?)).ok()
}

/// What is left of a time that began at `since`; `None` when it has passed.
fn left(since: Timestamp, time: Duration, now: Timestamp) -> Option<Duration> {
    let passed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    time.checked_sub(passed).filter(|left| !left.is_zero())
}

fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
