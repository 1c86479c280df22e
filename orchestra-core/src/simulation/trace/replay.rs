//! A trace, lived again in virtual time: with its own nodes or others, and with this scheduler or another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::again::Again;
use super::error::ReplayError;
use super::figures::{Figures, Observed};
use super::groups::{Group, Growing};
use super::load::{self, Loads, Shared};
use super::trim::{text, trimmed};
use super::watched::Watched;
use super::{HPA, Trace};
use crate::api::Client;
use crate::clock::{SharedClock, run_virtual};
use crate::cluster::{Builder, Cluster, Component, StartError};
use crate::controllers::{self, autoscaler::MetricsSource};
use crate::scheduler::{Profile, Scheduler};
use crate::store::memory::MemoryStore;
use crate::supervise::Task;
use crate::what_if::{Hollow, Spans, workload_of_value};

/// How long a replay goes on after the last event until nothing changes any more, at most.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How often it is looked.
const LOOK: Duration = Duration::from_secs(5);
/// How long what was there at the beginning has to come to rest before the first event.
const SETTLING: Duration = Duration::from_secs(120);

type Describe = dyn Fn(Builder) -> Builder + Send + Sync;

/// How a trace is lived again.
#[derive(Clone, Default)]
pub struct Replay {
    nodes: Option<Vec<Value>>,
    groups: Vec<Group>,
    autoscalers: Vec<Value>,
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

impl Replay {
    /// On the nodes of the trace, with the scheduler as it is.
    pub fn new() -> Self {
        Self { seed: 1, ..Self::default() }
    }

    /// On these nodes instead, which are there from the beginning to the end. One with the annotation
    /// `orchestra.dev/count: "3"` stands for three, of its name with a number behind it. One with `"2-10"` is a group that
    /// grows while pods wait which a node of it could take, and shrinks when one is not needed, within these bounds: its
    /// nodes are ready after `orchestra.dev/boot-seconds` (60 without), and go when for `orchestra.dev/idle-seconds` (600)
    /// less than half of them was asked for and others could take their pods.
    ///
    /// # Errors
    /// When one is no node with a name and something to allocate.
    pub fn nodes(self, nodes: Vec<Value>) -> Result<Self, ReplayError> {
        let (mut all, mut groups) = (Vec::new(), Vec::new());
        for mut node in nodes {
            let name = text(&node, "/metadata/name");
            if node["kind"] != "Node" || name.is_empty() || !node["status"]["allocatable"].is_object() {
                return Err(ReplayError::Node(format!(
                    "{name:?} is no Node with a name and status.allocatable"
                )));
            }
            node["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
            let Some(kept) = trimmed("nodes", &node) else { continue };
            match Group::of(&node, &kept)? {
                None => all.push(kept),
                Some(group) => {
                    all.extend((0..group.least).map(|number| group.node(number)));
                    groups.extend(Some(group).filter(Group::grows));
                }
            }
        }
        Ok(Self { nodes: Some(all), groups, ..self })
    }

    /// With these HorizontalPodAutoscalers, in place of those of the trace that are for the same workloads. What the pods of
    /// these have to do is what the recorded autoscalers measured of all of them together, and how many there are is not
    /// what was recorded but what these say.
    ///
    /// # Errors
    /// When one is no HorizontalPodAutoscaler of a workload.
    pub fn autoscalers(self, autoscalers: Vec<Value>) -> Result<Self, ReplayError> {
        for scaler in &autoscalers {
            let named = ["/metadata/name", "/spec/scaleTargetRef/kind", "/spec/scaleTargetRef/name"];
            if scaler["kind"] != "HorizontalPodAutoscaler"
                || named.iter().any(|path| text(scaler, path).is_empty())
            {
                let name = text(scaler, "/metadata/name");
                return Err(ReplayError::Autoscaler(format!(
                    "{name:?} is no HorizontalPodAutoscaler with a name and spec.scaleTargetRef"
                )));
            }
        }
        Ok(Self { autoscalers, ..self })
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
        let loads = Loads::of(&trace.events);
        let mut scaled = self.autoscalers.iter().map(load::target);
        if let Some(workload) = scaled.find(|workload| !loads.knows(workload)) {
            return Err(ReplayError::Autoscaler(format!(
                "the trace does not say how much {workload} had to do: no autoscaler of it was recorded that measures a resource"
            )));
        }
        // What was there has come to rest when the time of day is that of the trace.
        let start = trace.at.checked_sub(SETTLING).unwrap_or(trace.at);
        run_virtual(
            self.seed,
            Some(start),
            move |clock| async move { replay.live(&trace, loads, clock).await },
        )?
    }

    async fn live(&self, trace: &Trace, loads: Loads, clock: SharedClock) -> Result<Replayed, ReplayError> {
        let hollow = Hollow::new(spans(trace), Arc::clone(&clock));
        let measured = Shared::new(loads, Arc::clone(&clock));
        let cluster = self.start(&hollow, &measured, &clock).await?;
        let watched = Watched::follow(&cluster).await?;
        let (client, made) = (cluster.client(), BTreeSet::new());
        measured.measure(client.clone());
        let growing =
            Growing::new(client.clone(), Arc::clone(&hollow), self.scheduler.clone(), self.groups.clone());
        let _growing = (!self.groups.is_empty()).then(|| Task::once(growing.run()));
        let scaled = self.autoscalers.iter().map(load::target).collect();
        let mut again = Again { client, hollow, made, scaled, refused: Vec::new() };
        let started = clock.elapsed();
        for node in self.nodes.iter().flatten() {
            again.put("nodes", node).await;
        }
        let events = trace.events.iter().filter(|event| event.kind != "nodes" || self.nodes.is_none());
        let (there, later): (Vec<_>, Vec<_>) = events.partition(|event| event.ms == 0);
        for event in there {
            again.take(event).await;
        }
        for scaler in &self.autoscalers {
            again.put(HPA, scaler).await;
        }
        clock.sleep(SETTLING.saturating_sub(clock.elapsed().saturating_sub(started))).await;
        let began = clock.elapsed();
        watched.begin(began, trace.length());
        measured.begin();
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

    async fn start(
        &self,
        hollow: &Arc<Hollow>,
        measured: &Arc<Shared>,
        clock: &SharedClock,
    ) -> Result<Cluster, StartError> {
        let figures = Some(Arc::clone(measured) as Arc<dyn MetricsSource>);
        let controllers = controllers::Config { figures, ..controllers::Config::default() };
        let (hollow, profile) = (Arc::clone(hollow), self.scheduler.clone());
        let builder = Cluster::builder().store(MemoryStore::new()).clock(Arc::clone(clock));
        let builder = builder.controllers(controllers);
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
