//! Whether a pod that was bound to this node may begin here. Pure.
//!
//! The scheduler asks the same before it binds a pod. But who names a node in a pod or puts a manifest on one asks nobody, and
//! labels and taints may have changed since. The rules are the scheduler's, so that the two never differ; what is said of
//! them is what a kubelet says.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;

use super::model::Failure;
use super::pressure::is_critical;
use super::static_pods;
use crate::scheduler::{
    Filter, HostPort, InvalidInput, NodeSpec, PodInfo, Reason, Resources, untolerated_with,
};
use crate::selector::LabelSet;
use crate::watch::Entry;

/// The label of nodes that says what they run; pods may say it of themselves.
const OS: &str = "kubernetes.io/os";
/// The kubelet has words of its own for this.
const TAINTED: &str = "node(s) had taints that the pod didn't tolerate";

/// The reason of what no rule foresees.
pub(super) const UNEXPECTED: &str = "UnexpectedAdmissionError";

/// A pod that is to begin.
pub(super) struct Newcomer {
    pub(super) info: PodInfo,
    is_static: bool,
    is_needed: bool,
}

/// What is taken of a node.
#[derive(Debug, Default)]
pub(super) struct Used {
    pub(super) pods: i64,
    pub(super) amounts: Resources,
    pub(super) ports: Vec<HostPort>,
}

/// Why a pod may not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Others have too much of something.
    Short { what: String, requested: i64, used: i64, capacity: i64 },
    /// A rule, and what it says.
    Rule(Filter, String),
}

impl Newcomer {
    /// What is to be known of a pod. `counted`: the resources of which it is known one by one who has them, so that nobody need
    /// count them here.
    ///
    /// # Errors
    /// The pod's rules cannot be read; the API lets no such pod in.
    pub(super) fn of(entry: &Entry, pod: &Pod, counted: impl Fn(&str) -> bool) -> Result<Self, InvalidInput> {
        let mut info = PodInfo::from_entry(entry)?;
        info.requests.needed.others.retain(|(name, _)| !counted(name));
        let is_static = static_pods::is_static(entry);
        Ok(Self { info, is_static, is_needed: is_needed(pod) })
    }

    /// What keeps the pod from a node of which others have so much. Of what it asks for the node's capacity says how much
    /// there is, and the node itself of what only others know.
    pub(super) fn faults(
        &self,
        node: &NodeSpec,
        used: &Used,
        capacity: &Resources,
        most_pods: i64,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        faults.extend(short("pods", 1, used.pods, most_pods));
        let (asked, taken) = (&self.info.requests.needed, &used.amounts);
        let common = [
            ("cpu", asked.milli_cpu, taken.milli_cpu, capacity.milli_cpu),
            ("memory", asked.memory, taken.memory, capacity.memory),
            (
                "ephemeral-storage",
                asked.ephemeral_storage,
                taken.ephemeral_storage,
                capacity.ephemeral_storage,
            ),
        ];
        faults
            .extend(common.into_iter().filter_map(|(what, asked, used, has)| short(what, asked, used, has)));
        let has = &node.allocatable;
        let of_cluster =
            |name: &str| is_extended(name) && has.others.iter().all(|(known, _)| **known != *name);
        for (name, asked) in asked.others.iter().filter(|(name, _)| !of_cluster(name)) {
            faults.extend(short(name, *asked, taken.other(name), has.other(name)));
        }
        if !self.info.rules.node.matches(&node.name, &LabelSet::new(&node.labels)) {
            faults.push(Fault::Rule(Filter::NodeAffinity, Reason::NodeAffinity.to_string()));
        }
        if self.info.ports.iter().any(|port| used.ports.iter().any(|taken| port.conflicts_with(taken))) {
            faults.push(Fault::Rule(Filter::NodePorts, Reason::Ports.to_string()));
        }
        // A static pod is there for as long as its manifest is.
        let is_tainted = || untolerated_with(&self.info.tolerations, &node.taints, &["NoExecute"]).is_some();
        if !self.is_static && is_tainted() {
            faults.push(Fault::Rule(Filter::TaintToleration, TAINTED.to_owned()));
        }
        faults
    }

    /// What is said of the pod: the first of its faults. One that the system needs is not kept out for want of room as long
    /// as there is anything else.
    pub(super) fn told(&self, faults: &[Fault]) -> Option<Fault> {
        let rule = |fault: &&Fault| self.is_needed && matches!(fault, Fault::Rule(..));
        faults.iter().find(rule).or_else(|| faults.first()).cloned()
    }

    /// Whether room is made for it: the system needs it, and room is all that it lacks.
    pub(super) fn has_way_made(&self, faults: &[Fault]) -> bool {
        self.is_needed && faults.iter().all(|fault| matches!(fault, Fault::Short { .. }))
    }
}

impl Fault {
    /// Whether another look at the node may find that it is not so.
    pub(super) fn is_of_node(&self) -> bool {
        matches!(self, Self::Rule(Filter::NodeAffinity | Filter::TaintToleration, _))
    }

    /// What it is called.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Short { what, .. } => format!("OutOf{what}"),
            Self::Rule(filter, _) => filter.to_string(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { what, requested, used, capacity } => write!(
                f,
                "Node didn't have enough resource: {what}, requested: {requested}, used: {used}, capacity: {capacity}"
            ),
            Self::Rule(filter, why) => write!(f, "Predicate {filter} failed: {why}"),
        }
    }
}

/// Whether the system needs a pod: one of a manifest, or one of that priority.
pub(super) fn is_needed(pod: &Pod) -> bool {
    static_pods::is_static_pod(pod) || is_critical(pod)
}

/// That there is not so much beside what is used. What asks for nothing fits everywhere.
pub(super) fn short(what: &str, requested: i64, used: i64, capacity: i64) -> Option<Fault> {
    let fits = requested <= 0 || requested.saturating_add(used) <= capacity;
    (!fits).then(|| Fault::Short { what: what.to_owned(), requested, used, capacity })
}

/// A pod that is for another system than the machine's: by what it is called, and why not.
pub(super) fn wrong_system(pod: &Pod, os: &str) -> Option<(&'static str, &'static str)> {
    let labels = pod.metadata.labels.as_ref();
    if labels.and_then(|labels| labels.get(OS)).is_some_and(|label| label != os) {
        let why = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return Some(("PodOSSelectorNodeLabelDoesNotMatch", why));
    }
    let named = pod.spec.as_ref().and_then(|spec| spec.os.as_ref());
    named.filter(|named| named.name != os)?;
    Some(("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"))
}

/// What is recorded of a pod that is not let in.
pub(super) fn rejected(reason: String, why: &str) -> Failure {
    Failure { reason, message: format!("Pod was rejected: {why}"), grace: None }
}

/// Whether a resource is one that somebody has added. Of those a node need not know all: some are had of the whole cluster.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

#[cfg(test)]
mod tests;
