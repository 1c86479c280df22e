//! NodeMetrics and PodMetrics: figures of use, worked out when they are asked for, and not stored.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{Column, Resource, Rules, Verb};
use crate::meta::{Object, Scope};
use crate::quantity::Quantity;

/// What a node uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeMetrics {
    /// Its name is the node's.
    pub metadata: ObjectMeta,
    /// When the figures were taken.
    pub timestamp: Option<Time>,
    /// Over how long a time before use is an average, such as `15s`.
    #[serde(default)]
    pub window: String,
    /// Its `cpu` and `memory`.
    #[serde(default)]
    pub usage: BTreeMap<String, Text>,
}

/// What the containers of a pod use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PodMetrics {
    /// Its name and labels are the pod's.
    pub metadata: ObjectMeta,
    /// When the figures were taken.
    pub timestamp: Option<Time>,
    /// Over how long a time before use is an average, such as `15s`.
    #[serde(default)]
    pub window: String,
    /// The containers that run.
    #[serde(default)]
    pub containers: Vec<ContainerMetrics>,
}

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerMetrics {
    /// Its name in the pod.
    pub name: String,
    /// Its `cpu` and `memory`.
    #[serde(default)]
    pub usage: BTreeMap<String, Text>,
}

const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "v1beta1";
const READ: &[Verb] = &[Verb::Get, Verb::List];
const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("CPU", "The processors in use."),
    Column::new("Memory", "The memory in use."),
    Column::new("Window", "Over how long a time before the use of processors is an average."),
];

impl Object for NodeMetrics {
    const GROUP: &'static str = GROUP;
    const VERSION: &'static str = VERSION;
    const KIND: &'static str = "NodeMetrics";
    const PLURAL: &'static str = "nodes";
    const SCOPE: Scope = Scope::Cluster;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Object for PodMetrics {
    const GROUP: &'static str = GROUP;
    const VERSION: &'static str = VERSION;
    const KIND: &'static str = "PodMetrics";
    const PLURAL: &'static str = "pods";
    const SCOPE: Scope = Scope::Namespaced;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

struct NodeMetricsRules;

impl Rules for NodeMetricsRules {
    type Object = NodeMetrics;

    const STORED: bool = false;
    const VERBS: &'static [Verb] = READ;
    const COLUMNS: &'static [Column] = COLUMNS;

    fn cells(object: &NodeMetrics, _now: Timestamp) -> Vec<Value> {
        row(&object.metadata, [&object.usage].into_iter(), &object.window)
    }
}

struct PodMetricsRules;

impl Rules for PodMetricsRules {
    type Object = PodMetrics;

    const STORED: bool = false;
    const VERBS: &'static [Verb] = READ;
    const COLUMNS: &'static [Column] = COLUMNS;

    fn cells(object: &PodMetrics, _now: Timestamp) -> Vec<Value> {
        row(&object.metadata, object.containers.iter().map(|one| &one.usage), &object.window)
    }
}

fn row<'a>(
    meta: &ObjectMeta,
    usage: impl Iterator<Item = &'a BTreeMap<String, Text>> + Clone,
    window: &str,
) -> Vec<Value> {
    let sum = |what: &str| {
        let amounts = usage.clone().filter_map(|usage| Quantity::parse(&usage.get(what)?.0).ok());
        amounts.sum::<Quantity>().to_string()
    };
    vec![meta.name.clone().into(), sum("cpu").into(), sum("memory").into(), window.into()]
}

/// The rows of the kinds. They are part of the table of a cluster whose nodes are asked for their figures.
pub(crate) fn rows() -> [Resource; 2] {
    [Resource::of::<NodeMetricsRules>(), Resource::of::<PodMetricsRules>()]
}
