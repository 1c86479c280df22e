//! The arguments of plugins, with their defaults.

use k8s_openapi::api::core::v1::{NodeAffinity, TopologySpreadConstraint};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The arguments of one plugin.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Args {
    DefaultPreemption(DefaultPreemptionArgs),
    DynamicResources(DynamicResourcesArgs),
    InterPodAffinity(InterPodAffinityArgs),
    NodeAffinity(NodeAffinityArgs),
    Balanced(BalancedArgs),
    Fit(FitArgs),
    Spread(SpreadArgs),
    VolumeBinding(VolumeBindingArgs),
    /// Of a plugin of whose arguments nothing is known.
    Unknown(Value),
}

impl Default for Args {
    fn default() -> Self {
        Self::Unknown(Value::Null)
    }
}

/// They are read once the plugin is known.
impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::Unknown)
    }
}

impl Args {
    /// Those of a plugin for which none are given; `None` for one that takes none.
    pub(super) fn default_of(plugin: &str) -> Option<Self> {
        Self::read(plugin, Value::Object(serde_json::Map::new())).and_then(Result::ok)
    }

    /// Reads those of a plugin; `None` for one of whose arguments nothing is known.
    pub(super) fn read(plugin: &str, args: Value) -> Option<Result<Self, serde_json::Error>> {
        fn of<T: for<'de> Deserialize<'de>>(
            args: Value,
            as_args: fn(T) -> Args,
        ) -> Result<Args, serde_json::Error> {
            T::deserialize(&args).map(as_args)
        }
        Some(match plugin {
            "DefaultPreemption" => of(args, Self::DefaultPreemption),
            "DynamicResources" => of(args, Self::DynamicResources),
            "InterPodAffinity" => of(args, Self::InterPodAffinity),
            "NodeAffinity" => of(args, Self::NodeAffinity),
            "NodeResourcesBalancedAllocation" => {
                of(args, |args: BalancedArgs| Self::Balanced(args.completed()))
            }
            "NodeResourcesFit" => of(args, |args: FitArgs| Self::Fit(args.completed())),
            "PodTopologySpread" => of(args, |args: SpreadArgs| Self::Spread(args.completed())),
            "VolumeBinding" => of(args, Self::VolumeBinding),
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DefaultPreemptionArgs {
    pub(super) min_candidate_nodes_percentage: i32,
    pub(super) min_candidate_nodes_absolute: i32,
}

impl Default for DefaultPreemptionArgs {
    fn default() -> Self {
        Self { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DynamicResourcesArgs {
    pub(super) filter_timeout: String,
    pub(super) binding_timeout: String,
}

impl Default for DynamicResourcesArgs {
    fn default() -> Self {
        Self { filter_timeout: "10s".to_owned(), binding_timeout: "10m0s".to_owned() }
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct InterPodAffinityArgs {
    pub(super) hard_pod_affinity_weight: i32,
    pub(super) ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodAffinityArgs {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NodeAffinityArgs {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) added_affinity: Option<NodeAffinity>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct ResourceSpec {
    pub(super) name: String,
    pub(super) weight: i64,
}

/// Resources without a weight weigh 1, and processors and memory count where none are named.
fn completed(resources: Vec<ResourceSpec>) -> Vec<ResourceSpec> {
    if resources.is_empty() {
        return ["cpu", "memory"].map(|name| ResourceSpec { name: name.to_owned(), weight: 1 }).into();
    }
    let weigh =
        |ResourceSpec { name, weight }| ResourceSpec { name, weight: if weight == 0 { 1 } else { weight } };
    resources.into_iter().map(weigh).collect()
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct BalancedArgs {
    pub(super) resources: Vec<ResourceSpec>,
}

impl BalancedArgs {
    fn completed(self) -> Self {
        Self { resources: completed(self.resources) }
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct FitArgs {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ignored_resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ignored_resource_groups: Vec<String>,
    pub(super) scoring_strategy: Option<ScoringStrategy>,
}

impl FitArgs {
    fn completed(self) -> Self {
        let emptiest =
            || ScoringStrategy { r#type: "LeastAllocated".to_owned(), ..ScoringStrategy::default() };
        let mut strategy = self.scoring_strategy.unwrap_or_else(emptiest);
        strategy.resources = completed(strategy.resources);
        Self { scoring_strategy: Some(strategy), ..self }
    }
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ScoringStrategy {
    pub(super) r#type: String,
    pub(super) resources: Vec<ResourceSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) requested_to_capacity_ratio: Option<RatioParam>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct RatioParam {
    pub(super) shape: Vec<ShapePoint>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct ShapePoint {
    pub(super) utilization: i32,
    pub(super) score: i32,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SpreadArgs {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) default_constraints: Vec<TopologySpreadConstraint>,
    pub(super) defaulting_type: String,
}

impl SpreadArgs {
    fn completed(mut self) -> Self {
        if self.defaulting_type.is_empty() {
            self.defaulting_type = "System".to_owned();
        }
        self
    }
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct VolumeBindingArgs {
    pub(super) bind_timeout_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shape: Option<Vec<ShapePoint>>,
}

impl Default for VolumeBindingArgs {
    fn default() -> Self {
        Self { bind_timeout_seconds: 600, shape: None }
    }
}
