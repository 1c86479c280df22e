//! Why no node can take a pod.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::filter::Demand;
use super::filter::{Reason, Verdict};
use super::plugin::Filter;

/// The reasons, node by node. `Display` is the sentence of Kubernetes' `FailedScheduling` events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// What is wrong with each, by name.
    pub by_node: BTreeMap<Arc<str>, Verdict>,
    /// Why no room can be made by pushing lower pods out; empty when that was not tried, or when it can.
    pub preemption: String,
}

impl Diagnosis {
    pub(crate) fn of(demand: &Demand<'_>) -> Self {
        let named = demand.named_nodes();
        let nodes = demand.snapshot.listed().iter();
        let by_node = nodes.filter_map(|id| {
            let name = demand.snapshot.node(*id).spec.name.clone();
            if named.as_ref().is_some_and(|named| !named.contains(id)) {
                return Some((
                    name,
                    Verdict { filter: Filter::NodeAffinity, reasons: vec![Reason::NotNamed] },
                ));
            }
            Some((name, demand.verdict(*id)?))
        });
        let by_node = by_node.collect();
        Self { nodes: demand.snapshot.len(), by_node, preemption: String::new() }
    }

    /// The rules that turned a node down: what must change before it is worth trying again.
    pub fn filters(&self) -> std::collections::BTreeSet<Filter> {
        self.by_node.values().map(|verdict| verdict.filter).collect()
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        let reasons = || self.by_node.values().flat_map(|verdict| &verdict.reasons);
        // What is wrong with the pod itself is said once, not of each node.
        match reasons().find(|reason| matches!(reason, Reason::Claims { .. })) {
            Some(reason) => write!(f, "0/{} nodes are available: {reason}.", self.nodes)?,
            None => f.write_str(&counted(self.nodes, reasons()))?,
        }
        if !self.preemption.is_empty() {
            write!(f, " preemption: {}", self.preemption)?;
        }
        Ok(())
    }
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
pub(crate) fn counted<R: fmt::Display>(nodes: usize, reasons: impl Iterator<Item = R>) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for reason in reasons {
        *counts.entry(reason.to_string()).or_default() += 1;
    }
    // Sorted as text with the number in front, as Kubernetes does: 10 comes before 2.
    let mut parts: Vec<String> = counts.into_iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    parts.sort_unstable();
    let all = format!("0/{nodes} nodes are available:");
    if parts.is_empty() { all } else { format!("{all} {}.", parts.join(", ")) }
}
