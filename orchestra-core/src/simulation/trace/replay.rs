//! A trace, lived again in virtual time: with its own nodes or others, and with this scheduler or another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::batch::v1::CronJob;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::figures::{Figures, Observed};
use super::trim::{is_bare, kind, text, trimmed};
use super::watched::Watched;
use super::{Trace, TraceEvent};
use crate::api::history::restored;
use crate::api::{Client, DeleteOptions, Objects, Patch, Status, WriteOptions};
use crate::clock::{SharedClock, Stuck, run_virtual};
use crate::cluster::{Builder, Cluster, Component, StartError};
use crate::objects;
use crate::scheduler::{Profile, Scheduler};
use crate::store::memory::MemoryStore;
use crate::what_if::{Hollow, Spans, workload_of_value};

/// How long a replay goes on after the last event until nothing changes any more, at most.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often it is looked.
const LOOK: Duration = Duration::from_secs(5);
/// How long what was there at the beginning has to come to rest before the first event.
const SETTLING: Duration = Duration::from_secs(120);
/// How many refusals are kept.
const REFUSALS: usize = 50;
/// Says of a node in a file how many of it there are.
const COUNT: &str = "orchestra.dev/count";

type Describe = dyn Fn(Builder) -> Builder + Send + Sync;

/// How a trace is lived again.
#[derive(Clone, Default)]
pub struct Replay {
    nodes: Option<Vec<Value>>,
    scheduler: Profile,
    describe: Option<Arc<Describe>>,
    seed: u64,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("nodes", &self.nodes.as_ref().map(Vec::len)).finish_non_exhaustive()
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replayed {
    /// How well pods were placed.
    pub figures: Figures,
    /// What could not be done again, and why.
    pub refused: Vec<String>,
    /// How many seconds of its own time it took.
    pub seconds: u64,
}

/// Why a trace cannot be lived again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The cluster does not start.
    #[error("the simulated cluster does not start")]
    Start(#[from] StartError),
    /// The cluster cannot be looked at.
    #[error("the simulated cluster cannot be looked at: {0}")]
    Api(#[from] Status),
    /// Nothing can happen any more.
    #[error("the simulated cluster stands still")]
    Stuck(#[from] Stuck),
    /// A node of the file is none.
    #[error("{0}")]
    Node(String),
}

impl Replay {
    /// On the nodes of the trace, with the scheduler as it is.
    pub fn new() -> Self {
        Self { seed: 1, ..Self::default() }
    }

    /// On these nodes instead, which are there from the beginning to the end. One with the annotation
    /// `orchestra.dev/count: "3"` stands for three, of its name with a number behind it.
    ///
    /// # Errors
    /// When one is no node with a name and something to allocate.
    pub fn nodes(self, nodes: Vec<Value>) -> Result<Self, ReplayError> {
        let mut all = Vec::new();
        for node in nodes {
            let name = text(&node, "/metadata/name");
            if node["kind"] != "Node" || name.is_empty() || !node["status"]["allocatable"].is_object() {
                return Err(ReplayError::Node(format!(
                    "{name:?} is no Node with a name and status.allocatable"
                )));
            }
            let count = &node["metadata"]["annotations"][COUNT];
            let number: usize = match count.as_str().map(str::parse) {
                None => 1,
                Some(Ok(number @ 1..=10_000)) => number,
                Some(_) => {
                    return Err(ReplayError::Node(format!(
                        "{COUNT} of the node {name} is {count}, not 1 to 10000"
                    )));
                }
            };
            for at in 0..number {
                let mut one = node.clone();
                if count.is_string() {
                    one["metadata"]["name"] = json!(format!("{name}-{at}"));
                    one["metadata"]["labels"]["kubernetes.io/hostname"] = one["metadata"]["name"].clone();
                }
                one["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
                all.extend(trimmed("nodes", &one));
            }
        }
        Ok(Self { nodes: Some(all), ..self })
    }

    /// With a scheduler that plans otherwise.
    #[must_use]
    pub fn scheduler(self, profile: Profile) -> Self {
        Self { scheduler: profile, ..self }
    }

    /// In a cluster that is described otherwise: with other controllers, admissions or a scheduler of the embedder's own.
    #[must_use]
    pub fn describe(self, describe: impl Fn(Builder) -> Builder + Send + Sync + 'static) -> Self {
        Self { describe: Some(Arc::new(describe)), ..self }
    }

    /// From another seed.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Lives a trace again, in this thread, which must not be one of an async runtime. The same trace, nodes and seed have
    /// the same outcome.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn run(&self, trace: &Trace) -> Result<Replayed, ReplayError> {
        let (replay, trace) = (self.clone(), trace.clone());
        // What was there has come to rest when the time of day is that of the trace.
        let start = trace.at.checked_sub(SETTLING).unwrap_or(trace.at);
        run_virtual(self.seed, Some(start), move |clock| async move { replay.live(&trace, clock).await })?
    }

    async fn live(&self, trace: &Trace, clock: SharedClock) -> Result<Replayed, ReplayError> {
        let hollow = Hollow::new(spans(trace), Arc::clone(&clock));
        let cluster = self.start(&hollow, &clock).await?;
        let watched = Watched::follow(&cluster).await?;
        let (client, made) = (cluster.client(), BTreeSet::new());
        let mut again = Again { client, hollow, made, refused: Vec::new() };
        let started = clock.elapsed();
        for node in self.nodes.iter().flatten() {
            again.put("nodes", node).await;
        }
        let events = trace.events.iter().filter(|event| event.kind != "nodes" || self.nodes.is_none());
        let (there, later): (Vec<_>, Vec<_>) = events.partition(|event| event.ms == 0);
        for event in there {
            again.take(event).await;
        }
        clock.sleep(SETTLING.saturating_sub(clock.elapsed().saturating_sub(started))).await;
        let began = clock.elapsed();
        watched.begin(began, trace.length());
        for event in later {
            let due = Duration::from_millis(event.ms);
            clock.sleep(due.saturating_sub(clock.elapsed().saturating_sub(began))).await;
            again.take(event).await;
        }
        let length = Duration::from_millis(trace.length());
        clock.sleep(length.saturating_sub(clock.elapsed().saturating_sub(began))).await;
        again.ask_no_more().await;
        let end = clock.elapsed();
        while clock.elapsed().saturating_sub(end) < PATIENCE && !watched.is_calm(clock.elapsed()) {
            clock.sleep(LOOK).await;
        }
        let lived = clock.elapsed().saturating_sub(began);
        let figures = watched.figures(lived);
        cluster.shutdown().await;
        Ok(Replayed { figures, refused: again.refused, seconds: lived.as_secs() })
    }

    async fn start(&self, hollow: &Arc<Hollow>, clock: &SharedClock) -> Result<Cluster, StartError> {
        let (hollow, profile) = (Arc::clone(hollow), self.scheduler.clone());
        let builder = Cluster::builder().store(MemoryStore::new()).clock(Arc::clone(clock));
        let builder = builder.part("hollow-nodes", move |client, stop| Arc::clone(&hollow).run(client, stop));
        let builder = builder
            .without(Component::Scheduler)
            .part("scheduler", move |client, stop| schedule(client, profile.clone(), stop));
        match &self.describe {
            Some(describe) => describe(builder),
            None => builder,
        }
        .start()
        .await
    }
}

fn schedule(client: Client, profile: Profile, stop: CancellationToken) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        if let Err(error) = Scheduler::new(client).with_profiles([profile]).run(stop.cancelled_owned()).await
        {
            tracing::error!(%error, "the scheduler of a replay stopped");
        }
    })
}

/// How long pods took to start and to end, by what they belong to.
fn spans(trace: &Trace) -> Spans {
    let mut observed = Observed::default();
    let mut workloads = BTreeMap::new();
    for event in &trace.events {
        observed.see(event);
        if let Some(pod) = event.put.as_ref().filter(|_| event.kind == "pods") {
            workloads.insert(text(pod, "/metadata/uid").to_owned(), workload_of_value(pod));
        }
    }
    let (mut starts, mut ends): (BTreeMap<String, Vec<u64>>, BTreeMap<String, Vec<u64>>) = Default::default();
    for (uid, start, end) in observed.took() {
        let Some(workload) = workloads.get(uid) else { continue };
        for name in Spans::names(workload) {
            starts.entry(name.clone()).or_default().extend(start);
            ends.entry(name).or_default().extend(end);
        }
    }
    let middle = |spans: BTreeMap<String, Vec<u64>>| {
        let spans = spans.into_iter().filter_map(|(name, mut all)| {
            all.sort_unstable();
            Some((name, Duration::from_millis(*all.get(all.len() / 2)?)))
        });
        spans.collect()
    };
    Spans { starts: middle(starts), ends: middle(ends) }
}

/// What does the events of a trace again.
struct Again {
    client: Client,
    hollow: Arc<Hollow>,
    /// The pods that were made here by hand.
    made: BTreeSet<(String, String)>,
    refused: Vec<String>,
}

impl Again {
    async fn take(&mut self, event: &TraceEvent) {
        let object = event.object();
        if event.kind == "pods" {
            // Others are made by what makes pods here, and what becomes of each is for this cluster to say.
            let name =
                (text(object, "/metadata/namespace").to_owned(), text(object, "/metadata/name").to_owned());
            let is_over = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
            let concerns = match event.put {
                Some(_) => !is_over && is_bare(object) && self.made.insert(name),
                None => self.made.remove(&name),
            };
            if !concerns {
                return;
            }
        }
        match &event.put {
            Some(object) => self.put(&event.kind, object).await,
            None => self.remove(&event.kind, object).await,
        }
    }

    fn objects(&self, name: &str, object: &Value) -> Option<Objects> {
        let (group, version, resource) = kind(name)?;
        let row = objects::builtin().served(group, version, resource)?.info();
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
        Some(self.client.objects(&row, namespace))
    }

    async fn put(&mut self, name: &str, object: &Value) {
        let Some(objects) = self.objects(name, object) else { return };
        let called = text(object, "/metadata/name");
        let outcome = write(&objects, name, called, object).await;
        if name == "nodes" {
            self.node(&objects, called, object).await;
        }
        self.note(name, called, outcome);
    }

    async fn node(&mut self, objects: &Objects, name: &str, node: &Value) {
        let ready = node.pointer("/status/conditions/0/status").is_some_and(|status| status == "True");
        self.hollow.set(name, ready);
        if ready {
            let status = json!({"status": node["status"]});
            let outcome = objects.patch_status(name, Patch::Merge(status), WriteOptions::default()).await;
            self.note("nodes", name, outcome.map(drop));
        }
    }

    async fn remove(&mut self, name: &str, object: &Value) {
        let Some(objects) = self.objects(name, object) else { return };
        let called = text(object, "/metadata/name");
        if name == "nodes" {
            self.hollow.set(called, false);
        }
        let outcome = match objects.delete(called, DeleteOptions::default()).await {
            Err(status) if status.is_not_found() => Ok(()),
            outcome => outcome,
        };
        self.note(name, called, outcome);
    }

    /// Has nothing come any more that only the time asks for: after its end the trace says nothing of it, and a cluster with
    /// a CronJob would never come to rest.
    async fn ask_no_more(&mut self) {
        let all = match self.client.cluster::<CronJob>().list().await {
            Ok(all) => all,
            Err(status) => return self.note("cronjobs.batch", "", Err(status)),
        };
        for cron in all.iter() {
            let (namespace, name) = (cron.metadata.namespace.as_deref(), cron.metadata.name.as_deref());
            let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
            let jobs = self.client.api::<CronJob>(namespace);
            let outcome = jobs.patch(name, Patch::Merge(json!({"spec": {"suspend": true}}))).await;
            self.note("cronjobs.batch", name, outcome.map(drop));
        }
    }

    fn note(&mut self, kind: &str, name: &str, outcome: Result<(), Status>) {
        if let Err(status) = outcome
            && self.refused.len() < REFUSALS
        {
            self.refused.push(format!("{kind} {name}: {}", status.message()));
        }
    }
}

/// Makes an object as it is said to be, or changes it into that.
async fn write(objects: &Objects, kind: &str, name: &str, object: &Value) -> Result<(), Status> {
    let options = WriteOptions::default;
    let object = if kind == "pods" { fresh(object) } else { object.clone() };
    let now = match objects.get(name).await {
        Ok(now) => now.to_value().map_err(Status::internal)?,
        Err(status) if status.is_not_found() => return objects.create(object, options()).await.map(drop),
        Err(status) => return Err(status),
    };
    match kind {
        // Of a pod, nothing that matters can be changed.
        "pods" => Ok(()),
        "jobs.batch" => {
            let spec = &object["spec"];
            let change = json!({"spec": {"parallelism": spec["parallelism"], "suspend": spec["suspend"]}});
            objects.patch(name, Patch::Merge(change), options()).await.map(drop)
        }
        "namespaces" | "services" => {
            let change = json!({"metadata": {"labels": object["metadata"]["labels"]}});
            objects.patch(name, Patch::Merge(change), options()).await.map(drop)
        }
        _ => objects.update(name, restored(&object, Some(&now)), options()).await.map(drop),
    }
}

/// A pod as somebody would make it.
fn fresh(pod: &Value) -> Value {
    let meta = &pod["metadata"];
    let mut made =
        json!({"metadata": {"name": meta["name"], "namespace": meta["namespace"]}, "spec": pod["spec"]});
    if meta["labels"].is_object() {
        made["metadata"]["labels"] = meta["labels"].clone();
    }
    if let Some(spec) = made["spec"].as_object_mut() {
        spec.remove("nodeName");
    }
    made
}
