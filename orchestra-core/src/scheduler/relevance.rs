//! Which change may help which pod.
//!
//! A pod that fits nowhere is not tried again until something happens that its failing rules depend on. Here is
//! decided what that is. To say yes too often costs a try; to say no wrongly costs five minutes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::filter::Demand;
use super::plugin::Filter;
use super::pod::PodInfo;
use super::profile::Profile;
use super::snapshot::Snapshot;

/// Something that happened, seen with the eyes of a pod that waits.
#[derive(Clone, Debug)]
pub(crate) enum ClusterEvent {
    /// A node came, or changed in what it offers, its labels or its taints.
    Node { name: Arc<str> },
    /// A node went.
    NodeGone,
    /// A pod came to a node, or changed its labels there.
    PodThere { pod: Arc<PodInfo> },
    /// A pod left a node, gave up its claim to one, or is about to leave.
    PodGone { pod: Arc<PodInfo>, node: Arc<str> },
    /// A claim, a volume or a class of them came, went or changed.
    Volume,
    /// A claim, a class or a slice of devices came, went or changed.
    Devices,
    /// The labels of a namespace changed.
    Namespace,
}

impl ClusterEvent {
    /// Whether a pod that was turned down by these rules may fit now.
    pub(crate) fn helps(
        &self,
        snapshot: &Snapshot,
        pod: &PodInfo,
        profile: &Profile,
        failed: &BTreeSet<Filter>,
    ) -> bool {
        // Nothing failed because there was no node at all.
        let spread = failed.contains(&Filter::PodTopologySpread);
        let inter_pod = failed.contains(&Filter::InterPodAffinity);
        // What a program's own rule depends on is not known.
        if failed.iter().any(|filter| matches!(filter, Filter::Own(_))) {
            return true;
        }
        match self {
            Self::Node { name } => spread || fits_by_itself(snapshot, pod, profile, name),
            Self::NodeGone => spread,
            Self::PodThere { pod: other } => {
                (spread && counts(pod, other)) || (inter_pod && wants(snapshot, pod, other))
            }
            Self::PodGone { pod: other, node } => {
                (spread && counts(pod, other))
                    || (inter_pod && !other.rules.anti_affinity.is_empty())
                    || (inter_pod && !pod.rules.anti_affinity.is_empty())
                    || fits_by_itself(snapshot, pod, profile, node)
            }
            Self::Volume => failed.iter().any(Filter::is_of_volumes),
            Self::Devices => failed.contains(&Filter::DynamicResources),
            Self::Namespace => inter_pod,
        }
    }
}

/// Whether a node passes all rules that look at nothing but the node.
fn fits_by_itself(snapshot: &Snapshot, pod: &PodInfo, profile: &Profile, node: &str) -> bool {
    snapshot.id_of(node).is_some_and(|id| Demand::local(snapshot, pod, profile).fits(id))
}

fn counts(pod: &PodInfo, other: &PodInfo) -> bool {
    let owner = other.controller.as_ref().map(|(_, uid)| uid);
    let alike = || pod.rules.spread.iter().any(|spread| spread.counts(&other.labels, owner));
    // A pod without constraints failed by those of its profile.
    pod.namespace() == other.namespace() && (pod.rules.spread.is_empty() || alike())
}

fn wants(snapshot: &Snapshot, pod: &PodInfo, other: &PodInfo) -> bool {
    let namespace = other.namespace();
    let labels = snapshot.namespace_labels(namespace);
    pod.rules.affinity.iter().any(|term| term.matches(namespace, labels, &other.labels))
}
