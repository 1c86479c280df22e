//! The rules by which nodes are chosen, under the names of the plugins that hold them in Kubernetes; and those of a
//! program's own.

use std::fmt;

use super::node::NodeInfo;
use super::pod::PodInfo;
use super::snapshot::Snapshot;

/// A rule that decides which nodes can take a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Filter {
    /// The node is cordoned.
    NodeUnschedulable,
    /// The pod names its node.
    NodeName,
    /// Taints and tolerations.
    TaintToleration,
    /// Node selector and node affinity.
    NodeAffinity,
    /// Host ports.
    NodePorts,
    /// Requests against what is free.
    NodeResourcesFit,
    /// Disks that one pod of a node may have, and claims that one pod of the cluster may.
    VolumeRestrictions,
    /// How many volumes of a driver a node can have.
    NodeVolumeLimits,
    /// Claims of volumes.
    VolumeBinding,
    /// Zones of volumes.
    VolumeZone,
    /// Spreading over zones, hosts and so on.
    PodTopologySpread,
    /// Pods next to or away from other pods.
    InterPodAffinity,
    /// Claims of devices.
    DynamicResources,
    /// A [`Plugin`] of this name.
    Own(&'static str),
}

impl Filter {
    /// All that the scheduler has, in the order in which Kubernetes asks them.
    pub const ALL: [Self; 13] = [
        Self::NodeUnschedulable,
        Self::NodeName,
        Self::TaintToleration,
        Self::NodeAffinity,
        Self::NodePorts,
        Self::NodeResourcesFit,
        Self::VolumeRestrictions,
        Self::NodeVolumeLimits,
        Self::VolumeBinding,
        Self::VolumeZone,
        Self::PodTopologySpread,
        Self::InterPodAffinity,
        Self::DynamicResources,
    ];

    /// Whether it looks at claims and volumes.
    pub(crate) fn is_of_volumes(&self) -> bool {
        matches!(
            self,
            Self::VolumeRestrictions | Self::NodeVolumeLimits | Self::VolumeBinding | Self::VolumeZone
        )
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(name) => f.write_str(name),
            // The other variants bear the plugins' names.
            named => fmt::Debug::fmt(named, f),
        }
    }
}

/// A rule that decides which of the nodes that can take a pod suits it best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Score {
    /// Fewer taints that would rather have the pod elsewhere.
    TaintToleration,
    /// What the pod's node affinity prefers.
    NodeAffinity,
    /// How full the node would be.
    NodeResourcesFit,
    /// Spreading that is only preferred.
    PodTopologySpread,
    /// Pods that are liked, or that like the pod, near by.
    InterPodAffinity,
    /// How alike processors and memory would be filled.
    NodeResourcesBalancedAllocation,
    /// Images that are there already.
    ImageLocality,
}

impl Score {
    /// All that the scheduler has, with the weights that Kubernetes gives them.
    pub const ALL: [(Self, i64); 7] = [
        (Self::TaintToleration, 3),
        (Self::NodeAffinity, 2),
        (Self::NodeResourcesFit, 1),
        (Self::PodTopologySpread, 2),
        (Self::InterPodAffinity, 2),
        (Self::NodeResourcesBalancedAllocation, 1),
        (Self::ImageLocality, 1),
    ];
}

/// A rule of a program's own, of a [`Profile`](super::Profile) that has it.
///
/// To write one takes a name and one of the two other methods. Both are asked of many nodes for every pod, in the middle of
/// deciding: they look at what they are given, and nothing else. A pod that a rule turned down everywhere is tried again
/// when something changes in the cluster, and every five minutes.
///
/// ```
/// use orchestra_core::scheduler::{NodeInfo, Plugin, PodInfo, Profile, Snapshot};
///
/// /// At most ten pods of one namespace on a node.
/// #[derive(Debug)]
/// struct AtMostTen;
///
/// impl Plugin for AtMostTen {
///     fn name(&self) -> &'static str {
///         "AtMostTen"
///     }
///
///     fn refuses(&self, pod: &PodInfo, node: &NodeInfo, _: &Snapshot) -> Option<String> {
///         let alike = node.pods.iter().filter(|other| other.namespace() == pod.namespace()).count();
///         (alike >= 10).then(|| "node(s) had ten pods of the namespace".to_owned())
///     }
/// }
///
/// let profile = Profile::default().named("at-most-ten").with(AtMostTen, 0);
/// assert_eq!(&*profile.name, "at-most-ten");
/// ```
pub trait Plugin: fmt::Debug + Send + Sync {
    /// What it is called in profiles and in explanations.
    fn name(&self) -> &'static str;

    /// Why the node cannot take the pod, as a person reads it in the pod's condition (`node(s) …`); `None` when it can.
    fn refuses(&self, pod: &PodInfo, node: &NodeInfo, cluster: &Snapshot) -> Option<String> {
        let _ = (pod, node, cluster);
        None
    }

    /// How well the node suits the pod, from 0 to 100.
    fn points(&self, pod: &PodInfo, node: &NodeInfo, cluster: &Snapshot) -> i64 {
        let _ = (pod, node, cluster);
        0
    }
}
