use std::fmt;
use std::sync::Arc;

use crate::scheduler::plugin::Filter;

/// Why a node does not take a pod. `Display` is Kubernetes' wording.
///
/// The wording names no taint and no label: whoever may see the pod need not be one who may see the node. The
/// values here do, for those who ask [`explain`](crate::scheduler::explain).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It is cordoned.
    Cordoned,
    /// The pod asks for another node.
    OtherNode,
    /// It has a taint that the pod does not tolerate.
    Taint {
        /// The taint's key.
        key: String,
        /// The taint's value.
        value: String,
        /// `NoSchedule` or `NoExecute`.
        effect: String,
    },
    /// It is not one the pod's node selector or affinity asks for.
    NodeAffinity,
    /// It is not one that the profile adds to what its pods ask for.
    AddedAffinity,
    /// The pod's affinity names its nodes, and this is none of them.
    NotNamed,
    /// A port that the pod wants on its node is taken.
    Ports,
    /// It has as many pods as it takes.
    TooManyPods {
        /// How many it takes.
        limit: i64,
    },
    /// Not enough of a resource is free.
    Insufficient {
        /// The resource's name.
        resource: Arc<str>,
        /// What the pod asks for: milli-CPUs, bytes or units.
        requested: i64,
        /// What others have asked for already.
        used: i64,
        /// What there is in all.
        capacity: i64,
    },
    /// A claim of the pod keeps it from every node.
    Claims {
        /// What is wrong with it.
        message: String,
    },
    /// A volume that the pod has cannot be had there.
    VolumeOutOfReach,
    /// There is no volume there for a claim of the pod.
    NoVolume,
    /// A volume that the pod has is not there any more.
    VolumeGone,
    /// A volume could be made there for a claim of the pod, if its driver had room.
    NoRoomForVolume,
    /// A disk that the pod names is had there by another pod.
    DiskInUse,
    /// A claim of the pod may be had by one pod only, and is.
    ClaimInUse,
    /// It has as many volumes of a driver as it can have.
    TooManyVolumes,
    /// A volume that the pod has is in another zone or region.
    OtherZone,
    /// There are not the devices there that the pod's claims ask for.
    NoDevices,
    /// The devices that a claim of the pod has cannot be used there.
    DevicesElsewhere,
    /// It has not the label that pods are to be spread by.
    SpreadLabel {
        /// The label's key.
        topology_key: String,
    },
    /// Its place would have too many pods more than the emptiest.
    Spread {
        /// The label the places are told apart by.
        topology_key: String,
        /// By how many pods its place would lead.
        skew: i64,
        /// By how many it may.
        max_skew: i64,
    },
    /// No pod is near that the pod must run next to.
    PodAffinity,
    /// A pod is near that the pod must not run next to.
    PodAntiAffinity,
    /// A pod is near that must not have this pod next to it.
    ExistingAntiAffinity,
    /// A rule of the program's own does not let it.
    Own {
        /// Why.
        message: String,
    },
}

impl Reason {
    /// Whether removing other pods from the node could not help.
    ///
    /// Kubernetes calls it *unresolvable*, and looks for nobody to preempt on such a node.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Insufficient { requested, capacity, .. } => requested > capacity,
            Self::Cordoned | Self::OtherNode | Self::Taint { .. } | Self::NodeAffinity | Self::NotNamed => {
                true
            }
            Self::AddedAffinity => true,
            Self::Claims { .. } | Self::VolumeOutOfReach | Self::NoVolume | Self::VolumeGone => true,
            Self::NoRoomForVolume | Self::OtherZone => true,
            Self::NoDevices | Self::DevicesElsewhere => true,
            Self::DiskInUse | Self::ClaimInUse | Self::TooManyVolumes => false,
            Self::SpreadLabel { .. } | Self::PodAffinity => true,
            Self::Ports | Self::TooManyPods { .. } | Self::Spread { .. } => false,
            Self::PodAntiAffinity | Self::ExistingAntiAffinity | Self::Own { .. } => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cordoned => "node(s) were unschedulable",
            Self::OtherNode => "node(s) didn't match the requested node name",
            Self::Taint { .. } => "node(s) had untolerated taint(s)",
            Self::NodeAffinity => "node(s) didn't match Pod's node affinity/selector",
            Self::AddedAffinity => "node(s) didn't match scheduler-enforced node affinity",
            Self::NotNamed => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Self::Ports => "node(s) didn't have free ports for the requested pod ports",
            Self::TooManyPods { .. } => "Too many pods",
            Self::Insufficient { resource, .. } => return write!(f, "Insufficient {resource}"),
            Self::Claims { message } | Self::Own { message } => message,
            Self::VolumeOutOfReach => "node(s) didn't match PersistentVolume's node affinity",
            Self::NoVolume => "node(s) didn't find available persistent volumes to bind",
            Self::VolumeGone => "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
            Self::NoRoomForVolume => "node(s) did not have enough free storage",
            Self::DiskInUse => "node(s) had no available disk",
            Self::ClaimInUse => {
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
            }
            Self::TooManyVolumes => "node(s) exceed max volume count",
            Self::NoDevices => "cannot allocate all claims",
            Self::DevicesElsewhere => "resourceclaim not available on the node",
            Self::OtherZone => "node(s) had no available volume zone",
            Self::SpreadLabel { .. } => {
                "node(s) didn't match pod topology spread constraints (missing required label)"
            }
            Self::Spread { .. } => "node(s) didn't match pod topology spread constraints",
            Self::PodAffinity => "node(s) didn't match pod affinity rules",
            Self::PodAntiAffinity => "node(s) didn't match pod anti-affinity rules",
            Self::ExistingAntiAffinity => "node(s) didn't satisfy existing pods anti-affinity rules",
        })
    }
}

/// What one rule that a node fails says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule.
    pub filter: Filter,
    /// What is wrong; never empty.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether removing other pods from the node could not help.
    pub fn is_final(&self) -> bool {
        self.reasons.iter().any(Reason::is_final)
    }
}
