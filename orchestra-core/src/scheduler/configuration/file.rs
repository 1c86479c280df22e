//! The fields of the file, and what they are when they are left out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::args::Args;
use super::plugins::Point;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct File {
    pub(super) parallelism: i32,
    pub(super) leader_election: LeaderElection,
    pub(super) client_connection: ClientConnection,
    pub(super) enable_profiling: bool,
    pub(super) enable_contention_profiling: Option<bool>,
    pub(super) percentage_of_nodes_to_score: i32,
    pub(super) pod_initial_backoff_seconds: i64,
    pub(super) pod_max_backoff_seconds: i64,
    pub(super) profiles: Vec<ProfileFile>,
    pub(super) extenders: Vec<Value>,
    pub(super) delay_cache_until_active: bool,
}

impl Default for File {
    fn default() -> Self {
        Self {
            parallelism: 16,
            leader_election: LeaderElection::default(),
            client_connection: ClientConnection::default(),
            enable_profiling: true,
            enable_contention_profiling: None,
            percentage_of_nodes_to_score: 0,
            pod_initial_backoff_seconds: 1,
            pod_max_backoff_seconds: 10,
            profiles: Vec::new(),
            extenders: Vec::new(),
            delay_cache_until_active: false,
        }
    }
}

/// Lengths of time are kept as they are written; `0s` and nothing are the default.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LeaderElection {
    pub(super) leader_elect: Option<bool>,
    pub(super) lease_duration: String,
    pub(super) renew_deadline: String,
    pub(super) retry_period: String,
    pub(super) resource_lock: String,
    pub(super) resource_name: String,
    pub(super) resource_namespace: String,
}

impl Default for LeaderElection {
    fn default() -> Self {
        Self {
            leader_elect: None,
            lease_duration: "15s".to_owned(),
            renew_deadline: "10s".to_owned(),
            retry_period: "2s".to_owned(),
            resource_lock: "leases".to_owned(),
            resource_name: "kube-scheduler".to_owned(),
            resource_namespace: "kube-system".to_owned(),
        }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ClientConnection {
    pub(super) kubeconfig: String,
    pub(super) accept_content_types: String,
    pub(super) content_type: String,
    pub(super) qps: f64,
    pub(super) burst: i32,
}

impl Default for ClientConnection {
    fn default() -> Self {
        Self {
            kubeconfig: String::new(),
            accept_content_types: String::new(),
            content_type: "application/vnd.kubernetes.protobuf".to_owned(),
            qps: 50.0,
            burst: 100,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ProfileFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scheduler_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) percentage_of_nodes_to_score: Option<i32>,
    pub(super) plugins: Plugins,
    pub(super) plugin_config: Vec<PluginConfig>,
}

impl ProfileFile {
    pub(super) fn name(&self) -> &str {
        self.scheduler_name.as_deref().unwrap_or_default()
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Plugins {
    pub(super) pre_enqueue: PluginSet,
    pub(super) queue_sort: PluginSet,
    pub(super) pre_filter: PluginSet,
    pub(super) filter: PluginSet,
    pub(super) post_filter: PluginSet,
    pub(super) pre_score: PluginSet,
    pub(super) score: PluginSet,
    pub(super) reserve: PluginSet,
    pub(super) permit: PluginSet,
    pub(super) pre_bind: PluginSet,
    pub(super) bind: PluginSet,
    pub(super) post_bind: PluginSet,
    pub(super) multi_point: PluginSet,
    pub(super) placement_generate: PluginSet,
    pub(super) placement_score: PluginSet,
}

impl Plugins {
    /// What is said of an extension point.
    pub(super) fn at(&self, point: Point) -> &PluginSet {
        match point {
            Point::PreEnqueue => &self.pre_enqueue,
            Point::QueueSort => &self.queue_sort,
            Point::PreFilter => &self.pre_filter,
            Point::Filter => &self.filter,
            Point::PostFilter => &self.post_filter,
            Point::PreScore => &self.pre_score,
            Point::Score => &self.score,
            Point::Reserve => &self.reserve,
            Point::Permit => &self.permit,
            Point::PreBind => &self.pre_bind,
            Point::Bind => &self.bind,
            Point::PostBind => &self.post_bind,
            Point::PlacementGenerate => &self.placement_generate,
            Point::PlacementScore => &self.placement_score,
        }
    }

    /// The names of all that are enabled anywhere, in the order of the alphabet.
    pub(super) fn names(&self) -> Vec<String> {
        let sets = Point::ALL.iter().map(|point| self.at(*point)).chain([&self.multi_point]);
        let mut names: Vec<String> =
            sets.flat_map(|set| &set.enabled).map(|held| held.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct PluginSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) enabled: Vec<PluginFile>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) disabled: Vec<PluginFile>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct PluginFile {
    pub(super) name: String,
    pub(super) weight: i32,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct PluginConfig {
    pub(super) name: String,
    pub(super) args: Args,
}
