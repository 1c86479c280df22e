//! What of a cluster people care for: where its pods are, who waits and why, budgets, quotas and how full the nodes are.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::{Deserialize as _, Serialize};

use crate::api::{Client, Status};
use crate::quantity::Quantity;

/// A cluster at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// The pods, by namespace and name.
    pub pods: BTreeMap<String, PodPicture>,
    /// The nodes.
    pub nodes: BTreeMap<String, NodePicture>,
    /// The budgets for disruptions, by namespace and name.
    pub budgets: BTreeMap<String, BudgetPicture>,
    /// What is used of the quotas, and their bounds: by namespace and name, and by resource.
    pub quotas: BTreeMap<String, BTreeMap<String, (String, String)>>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PodPicture {
    /// What it belongs to, such as `default/deployment/web`.
    pub workload: String,
    /// Where it is; empty if nowhere.
    pub node: String,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it has run to its end.
    pub ended: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Why it has no node.
    pub waits: Option<String>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodePicture {
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it takes no more pods.
    pub cordoned: bool,
    /// What its pods ask for, in thousandths of a core.
    pub cpu_requested: i64,
    /// What it can give, in thousandths of a core.
    pub cpu: i64,
    /// What its pods ask for, in bytes.
    pub memory_requested: i64,
    /// What it can give, in bytes.
    pub memory: i64,
}

/// A budget for disruptions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BudgetPicture {
    /// How many pods are healthy.
    pub healthy: i32,
    /// How many must be.
    pub wanted: i32,
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
}

/// What a pod belongs to: the Deployment behind its ReplicaSet, or what controls it, or itself.
pub(crate) fn workload_of(pod: &Pod) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let Some(owner) = owner else {
        return format!("{namespace}/pod/{}", pod.metadata.name.as_deref().unwrap_or_default());
    };
    let labels = pod.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get("pod-template-hash"));
    let of_deployment = hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
    match of_deployment.filter(|_| owner.kind == "ReplicaSet") {
        Some(deployment) => format!("{namespace}/deployment/{deployment}"),
        None => format!("{namespace}/{}/{}", owner.kind.to_lowercase(), owner.name),
    }
}

/// What a pod belongs to, of one as a value that has its labels and owners.
pub(crate) fn workload_of_value(pod: &serde_json::Value) -> String {
    let short = serde_json::json!({"metadata": pod["metadata"]});
    Pod::deserialize(&short).map(|pod| workload_of(&pod)).unwrap_or_default()
}

impl Picture {
    /// The cluster of a client as it is now.
    ///
    /// # Errors
    /// What the API says.
    pub async fn of(client: &Client) -> Result<Self, Status> {
        let pods = client.cluster::<Pod>().list().await?;
        let nodes = client.cluster::<Node>().list().await?;
        let mut picture = Self::default();
        for node in &nodes {
            picture.nodes.insert(node.metadata.name.clone().unwrap_or_default(), of_node(node));
        }
        for pod in &pods {
            let shown = PodPicture::of(pod);
            if let Some(node) = picture.nodes.get_mut(&shown.node).filter(|_| !shown.ended) {
                let (cpu, memory) = requests(pod);
                node.cpu_requested += cpu;
                node.memory_requested += memory;
            }
            picture.pods.insert(named(&pod.metadata), shown);
        }
        for budget in client.cluster::<PodDisruptionBudget>().list().await? {
            let status = budget.status.unwrap_or_default();
            let (healthy, wanted) =
                (status.current_healthy.unwrap_or(0), status.desired_healthy.unwrap_or(0));
            let shown = BudgetPicture { healthy, wanted };
            picture.budgets.insert(named(&budget.metadata), shown);
        }
        for quota in client.cluster::<ResourceQuota>().list().await? {
            let status = quota.status.unwrap_or_default();
            let used = status.used.unwrap_or_default();
            let amounts = status.hard.unwrap_or_default().into_iter().map(|(resource, hard)| {
                let used = used.get(&resource).map_or_else(|| "0".to_owned(), |used| used.0.clone());
                (resource, (used, hard.0))
            });
            picture.quotas.insert(named(&quota.metadata), amounts.collect());
        }
        Ok(picture)
    }
}

fn named(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or_default();
    meta.namespace.as_deref().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

impl PodPicture {
    pub(super) fn of(pod: &Pod) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let unscheduled =
            status.conditions.iter().flatten().find(|it| it.type_ == "PodScheduled" && it.status == "False");
        PodPicture {
            workload: workload_of(pod),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            ready: is_ready(pod),
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            waits: unscheduled.and_then(|it| it.message.clone()),
        }
    }

    /// Whether it is there for those who need it.
    pub(super) fn serves(&self) -> bool {
        self.ready && !self.deleting && !self.ended
    }
}

fn of_node(node: &Node) -> NodePicture {
    let status = node.status.clone().unwrap_or_default();
    let allocatable = status.allocatable.unwrap_or_default();
    let amount = |resource: &str| allocatable.get(resource).and_then(|text| text.0.parse::<Quantity>().ok());
    NodePicture {
        ready: status.conditions.iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True"),
        cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false),
        cpu: amount("cpu").map_or(0, |cpu| cpu.milli_value()),
        memory: amount("memory").map_or(0, |memory| memory.value()),
        ..NodePicture::default()
    }
}

/// What the containers of a pod ask for: thousandths of a core, and bytes.
fn requests(pod: &Pod) -> (i64, i64) {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let asked = containers.filter_map(|container| container.resources.as_ref()?.requests.as_ref());
    asked.fold((0, 0), |(cpu, memory), requests| {
        let amount = |resource: &str| requests.get(resource).and_then(|text| text.0.parse::<Quantity>().ok());
        let more_cpu = amount("cpu").map_or(0, |cpu| cpu.milli_value());
        (cpu + more_cpu, memory + amount("memory").map_or(0, |memory| memory.value()))
    })
}
