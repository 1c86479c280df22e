//! The plugins of Kubernetes' scheduler, where each can stand, and which of them this one has.

/// Where plugins are asked in the course of placing a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    PreFilter,
    Filter,
    PostFilter,
    Reserve,
    PreScore,
    Score,
    PreBind,
    Bind,
    PostBind,
    Permit,
    PreEnqueue,
    QueueSort,
    PlacementGenerate,
    PlacementScore,
}

impl Point {
    /// In the order in which Kubernetes looks at them.
    pub(super) const ALL: [Self; 14] = [
        Self::PreFilter,
        Self::Filter,
        Self::PostFilter,
        Self::Reserve,
        Self::PreScore,
        Self::Score,
        Self::PreBind,
        Self::Bind,
        Self::PostBind,
        Self::Permit,
        Self::PreEnqueue,
        Self::QueueSort,
        Self::PlacementGenerate,
        Self::PlacementScore,
    ];

    /// Its field in the file.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::PreFilter => "preFilter",
            Self::Filter => "filter",
            Self::PostFilter => "postFilter",
            Self::Reserve => "reserve",
            Self::PreScore => "preScore",
            Self::Score => "score",
            Self::PreBind => "preBind",
            Self::Bind => "bind",
            Self::PostBind => "postBind",
            Self::Permit => "permit",
            Self::PreEnqueue => "preEnqueue",
            Self::QueueSort => "queueSort",
            Self::PlacementGenerate => "placementGenerate",
            Self::PlacementScore => "placementScore",
        }
    }

    /// What Kubernetes calls the plugins that stand there.
    pub(super) fn interface(self) -> String {
        let field = self.field();
        format!("{}{}Plugin", field[..1].to_uppercase(), &field[1..])
    }
}

/// What is known of a plugin of Kubernetes.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// Where it can stand.
    pub(super) points: &'static [Point],
    /// What it weighs by default; `None` for one that is not enabled by default.
    pub(super) weight: Option<i32>,
    /// Whether this scheduler has it.
    pub(super) here: bool,
}

const fn row(name: &'static str, points: &'static [Point], weight: i32) -> Row {
    Row { name, points, weight: Some(weight), here: true }
}

const fn absent(name: &'static str, points: &'static [Point], weight: Option<i32>) -> Row {
    Row { name, points, weight, here: false }
}

use Point::{
    Bind, Filter, Permit, PlacementGenerate, PlacementScore, PostFilter, PreBind, PreEnqueue, PreFilter,
    PreScore, QueueSort, Reserve, Score,
};

/// All of them, in the order in which Kubernetes enables them.
pub(super) const ROWS: &[Row] = &[
    row("SchedulingGates", &[PreEnqueue], 0),
    row("PrioritySort", &[QueueSort], 0),
    row("NodeUnschedulable", &[Filter], 0),
    row("NodeName", &[Filter], 0),
    row("TaintToleration", &[Filter, PreScore, Score], 3),
    row("NodeAffinity", &[PreFilter, Filter, PreScore, Score], 2),
    row("NodePorts", &[PreFilter, Filter], 0),
    row("NodeResourcesFit", &[PreFilter, Filter, PreScore, Score, PlacementScore], 1),
    row("VolumeRestrictions", &[PreFilter, Filter], 0),
    row("NodeVolumeLimits", &[PreFilter, Filter], 0),
    row("VolumeBinding", &[PreFilter, Filter, Reserve, PreBind, PreScore, Score], 0),
    row("VolumeZone", &[PreFilter, Filter], 0),
    row("PodTopologySpread", &[PreFilter, Filter, PreScore, Score], 2),
    row("InterPodAffinity", &[PreFilter, Filter, PreScore, Score], 2),
    row("DynamicResources", &[PreEnqueue, PreFilter, Filter, PostFilter, Score, Reserve, PreBind], 2),
    row("DefaultPreemption", &[PostFilter, PreEnqueue], 0),
    row("NodeResourcesBalancedAllocation", &[PreScore, Score], 1),
    row("ImageLocality", &[Score], 1),
    row("DefaultBinder", &[Bind], 0),
    absent("NodeDeclaredFeatures", &[PreFilter, Filter], Some(0)),
    absent("GangScheduling", &[PreEnqueue, Permit], None),
    absent("TopologyPlacementGenerator", &[PlacementGenerate], None),
    absent("PodGroupPodsCount", &[PlacementScore], None),
];
