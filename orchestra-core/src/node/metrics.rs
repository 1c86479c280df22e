//! The API `metrics.k8s.io`: the nodes' figures, asked for when somebody asks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Deserialize;
use serde_json::{Value, json};

use super::directory::Directory;
use super::figures::{ContainerFigures, CpuStats, MemoryStats, PodStats, Summary};
use crate::api::{Caches, Computed, Status, Wanted};
use crate::clock::SharedClock;
use crate::meta::{GroupResource, ObjectName};
use crate::watch::{Cache, Entry, Query};

/// How long a node may take. Of one that takes longer, nothing is shown.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shows the use of nodes, or of pods, as the nodes tell it.
pub struct FiguresOfUse {
    caches: Caches,
    directory: Directory,
    clock: SharedClock,
    of: Of,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Nodes,
    Pods,
}

impl fmt::Debug for FiguresOfUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FiguresOfUse").finish_non_exhaustive()
    }
}

/// What of a pod is looked at.
#[derive(Deserialize, Default)]
#[serde(default)]
struct PodView {
    metadata: PodMetaView,
    spec: PodSpecView,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PodMetaView {
    annotations: AnnotationsView,
}

/// Of a pod that the node has from elsewhere: by which uid the node knows it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct AnnotationsView {
    #[serde(rename = "kubernetes.io/config.mirror")]
    mirror: Option<String>,
}

/// What is shown of the object that figures are about.
#[derive(Deserialize, Default)]
#[serde(default)]
struct LabelledView {
    metadata: LabelsView,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LabelsView {
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PodSpecView {
    node_name: String,
}

impl FiguresOfUse {
    /// The use of nodes.
    pub fn of_nodes(caches: &Caches, directory: &Directory, clock: &SharedClock) -> Self {
        Self::of(Of::Nodes, caches, directory, clock)
    }

    /// The use of pods.
    pub fn of_pods(caches: &Caches, directory: &Directory, clock: &SharedClock) -> Self {
        Self::of(Of::Pods, caches, directory, clock)
    }

    fn of(of: Of, caches: &Caches, directory: &Directory, clock: &SharedClock) -> Self {
        Self { caches: caches.clone(), directory: directory.clone(), clock: Arc::clone(clock), of }
    }

    fn cache(&self, id: GroupResource) -> Result<Cache, Status> {
        self.caches.get(&id).ok_or_else(Status::no_such_resource)
    }

    /// What some nodes say; nothing of those that do not answer.
    async fn summaries(&self, nodes: impl Iterator<Item = Arc<Entry>>) -> Vec<(Arc<Entry>, Summary)> {
        let ask = |entry: Arc<Entry>| async move {
            let node = entry.decode_bare::<Node>().ok()?;
            let asked = async { self.directory.reach(&node).await?.summary().await };
            let answer = tokio::select! {
                biased;
                answer = asked => answer,
                () = self.clock.sleep(PATIENCE) => Err(Status::internal("it does not answer")),
            };
            match answer {
                Ok(summary) => Some((entry, summary)),
                Err(error) => {
                    tracing::debug!(node = entry.name().name(), %error, "a node does not tell its figures");
                    None
                }
            }
        };
        join_all(nodes.map(ask)).await.into_iter().flatten().collect()
    }

    async fn nodes(&self, wanted: &Wanted<'_>) -> Result<Vec<Value>, Status> {
        let cache = self.cache(GroupResource::of::<Node>())?;
        let entries = match wanted.name {
            Some(name) => cache.get(&ObjectName::cluster(name)).into_iter().collect(),
            None => cache.list(&Query::all()),
        };
        let all = self.summaries(entries.into_iter()).await;
        Ok(all.iter().filter_map(|(entry, summary)| of_node(entry, summary)).collect())
    }

    async fn pods(&self, wanted: &Wanted<'_>) -> Result<Vec<Value>, Status> {
        let cache = self.cache(GroupResource::of::<Pod>())?;
        let entries = match (wanted.namespace, wanted.name) {
            (Some(namespace), Some(name)) => {
                cache.get(&ObjectName::new(Some(namespace), name)).into_iter().collect()
            }
            (Some(namespace), None) => cache.list(&Query::namespace(namespace)),
            (None, _) => cache.list(&Query::all()),
        };
        let node_of = |entry: &Arc<Entry>| entry.view::<PodView>().ok().map(|pod| pod.spec.node_name.clone());
        let nodes: BTreeSet<String> =
            entries.iter().filter_map(node_of).filter(|node| !node.is_empty()).collect();
        let known = self.cache(GroupResource::of::<Node>())?;
        let nodes = nodes.into_iter().filter_map(|name| known.get(&ObjectName::cluster(name)));
        let summaries = self.summaries(nodes).await;
        let by_uid: HashMap<&str, &PodStats> = summaries
            .iter()
            .flat_map(|(_, summary)| &summary.pods)
            .map(|pod| (pod.pod_ref.uid.as_str(), pod))
            .collect();
        let figures = |entry: &Arc<Entry>| {
            let mirrored =
                entry.view::<PodView>().ok().and_then(|pod| pod.metadata.annotations.mirror.clone());
            of_pod(entry, by_uid.get(mirrored.as_deref().unwrap_or(entry.uid().as_str()))?)
        };
        Ok(entries.iter().filter_map(figures).collect())
    }
}

#[async_trait]
impl Computed for FiguresOfUse {
    async fn list(&self, wanted: &Wanted<'_>) -> Result<Vec<Value>, Status> {
        match self.of {
            Of::Nodes => self.nodes(wanted).await,
            Of::Pods => self.pods(wanted).await,
        }
    }
}

/// The figures of a node; `None` if its use is not known yet.
fn of_node(entry: &Entry, summary: &Summary) -> Option<Value> {
    let (cpu, memory) = (summary.node.cpu.as_ref()?, summary.node.memory.as_ref()?);
    let mut object = head(entry, "NodeMetrics", cpu.time, cpu.window_millis?);
    object["usage"] = usage(cpu, memory)?;
    Some(object)
}

/// The figures of a pod; `None` if the use of one of its containers is not known yet.
fn of_pod(entry: &Entry, pod: &PodStats) -> Option<Value> {
    let container =
        |one: &ContainerFigures| Some(json!({ "name": one.name, "usage": usage(&one.cpu, &one.memory)? }));
    let containers: Option<Vec<Value>> = pod.containers.iter().map(container).collect();
    let cpu = pod.cpu.as_ref()?;
    let mut object = head(entry, "PodMetrics", cpu.time, cpu.window_millis?);
    object["containers"] = containers.filter(|all| !all.is_empty())?.into();
    Some(object)
}

/// The beginning of an object that is called as the one that it is about.
fn head(entry: &Entry, kind: &str, at: Timestamp, window_millis: u64) -> Value {
    let labels = entry.view::<LabelledView>().map(|view| view.metadata.labels.clone()).unwrap_or_default();
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
    let mut object = json!({
        "kind": kind,
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": { "name": entry.name().name(), "uid": entry.uid(), "creationTimestamp": at },
        "timestamp": at,
        "window": format!("{}s", window_millis as f64 / 1000.0),
    });
    if let Some(namespace) = entry.name().namespace() {
        object["metadata"]["namespace"] = namespace.into();
    }
    if !labels.is_empty() {
        object["metadata"]["labels"] = json!(labels);
    }
    object
}

fn usage(cpu: &CpuStats, memory: &MemoryStats) -> Option<Value> {
    let kibibytes = memory.working_set_bytes.div_ceil(1024);
    Some(json!({ "cpu": format!("{}n", cpu.usage_nano_cores?), "memory": format!("{kibibytes}Ki") }))
}
