//! On which nodes a volume is to be, and what has to be done for that. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::control::events::EventType;

/// How long a node that is not ready may hold a volume of which nobody there has need, before it is taken from it.
pub(super) const PATIENCE: Duration = Duration::from_secs(360);

/// A volume and all that has to do with it.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Whether several nodes may have it at a time.
    pub(super) shared: bool,
    /// The nodes that need it, those first whose pods are older.
    pub(super) needs: Vec<Need>,
    pub(super) attachments: Vec<Attachment>,
    /// The nodes that these name. One that is not here is no more.
    pub(super) nodes: BTreeMap<String, NodeState>,
}

/// A node on which pods need it.
#[derive(Debug, Clone)]
pub(super) struct Need {
    pub(super) node: String,
    /// The PersistentVolume by which they have it.
    pub(super) volume: String,
    /// When the first of them was made.
    pub(super) since: Timestamp,
    /// What they are called.
    pub(super) pods: Vec<String>,
}

/// A VolumeAttachment.
#[derive(Debug, Clone, Default)]
pub(super) struct Attachment {
    pub(super) name: String,
    pub(super) node: String,
    /// Whether it is called as this controller calls those that it makes: of others it only knows.
    pub(super) ours: bool,
    pub(super) leaving: bool,
    pub(super) attached: bool,
    /// Why its driver could not attach it.
    pub(super) error: Option<String>,
    /// For how long it has been known that nobody needs it.
    pub(super) waited: Duration,
}

/// What a node says.
#[derive(Debug, Clone, Default)]
pub(super) struct NodeState {
    /// Whether it leaves attaching to this controller.
    pub(super) managed: bool,
    pub(super) ready: bool,
    /// Somebody says that it is down for good.
    pub(super) out_of_service: bool,
    /// Whether it says that it uses the volume.
    pub(super) in_use: bool,
    /// By which attachment it is told that it has the volume.
    pub(super) reports: Option<String>,
}

/// What is to be done, in this order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// The attachments that nobody needs and that have to stay for now.
    pub(super) waiting: BTreeSet<String>,
    /// When to look again if nothing happens.
    pub(super) again: Option<Duration>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Tell the node that it has it no more, then let the driver take it away.
    Detach { attachment: String, node: String },
    /// Tell the node that it has it no more: its attachment is gone.
    Unreport { attachment: String, node: String },
    /// Have the driver attach it.
    Attach { volume: String, node: String },
    /// Tell the node that it has it.
    Report { attachment: String, volume: String, node: String },
    /// Another node has it, and no two may.
    Refuse { volume: String, node: String, used_by: Vec<String> },
    /// The driver could not attach it.
    Fail { volume: String, node: String, why: String },
}

/// Decides.
pub(super) fn plan(seen: &Observed) -> Plan {
    let mut plan = Plan::default();
    // What pods that moved have left goes first.
    detach(seen, &mut plan);
    attach(seen, &mut plan);
    let stands = |name: &str| seen.attachments.iter().any(|held| held.name == name && !held.leaving);
    for (node, state) in &seen.nodes {
        if let Some(attachment) = state.reports.as_ref().filter(|name| !stands(name)) {
            plan.steps.push(Step::Unreport { attachment: attachment.clone(), node: node.clone() });
        }
    }
    plan
}

fn detach(seen: &Observed, plan: &mut Plan) {
    let needed = |node: &str| seen.needs.iter().any(|need| need.node == node);
    for held in &seen.attachments {
        if !held.ours || held.leaving || needed(&held.node) {
            continue;
        }
        let node = seen.nodes.get(&held.node);
        if node.is_some_and(|node| !node.managed) {
            continue;
        }
        if let Some(node) = node.filter(|node| node.in_use && !node.out_of_service) {
            let left = PATIENCE.saturating_sub(held.waited);
            if node.ready || !left.is_zero() {
                plan.waiting.insert(held.name.clone());
                // A node that is ready will say itself that it has let go.
                let limit = (!node.ready).then_some(left);
                plan.again = plan.again.into_iter().chain(limit).min();
                continue;
            }
        }
        plan.steps.push(Step::Detach { attachment: held.name.clone(), node: held.node.clone() });
    }
}

fn attach(seen: &Observed, plan: &mut Plan) {
    let mut having: Vec<&str> = seen.attachments.iter().map(|held| held.node.as_str()).collect();
    for need in &seen.needs {
        let Some(node) = seen.nodes.get(&need.node).filter(|node| node.managed) else { continue };
        let (volume, name) = (need.volume.clone(), need.node.clone());
        match seen.attachments.iter().find(|held| held.ours && held.node == need.node) {
            // It comes back when it has gone.
            Some(held) if held.leaving => {}
            Some(held) if held.attached => {
                if node.reports.as_ref() != Some(&held.name) {
                    let attachment = held.name.clone();
                    plan.steps.push(Step::Report { attachment, volume, node: name });
                }
            }
            Some(held) => {
                let failed = held.error.clone().map(|why| Step::Fail { volume, node: name, why });
                plan.steps.extend(failed);
            }
            None if !seen.shared && having.iter().any(|other| *other != need.node) => {
                let others = seen.needs.iter().filter(|it| having.contains(&it.node.as_str()));
                let used_by = others.flat_map(|it| it.pods.iter().cloned()).collect();
                plan.steps.push(Step::Refuse { volume, node: name, used_by });
            }
            None => {
                having.push(&need.node);
                plan.steps.push(Step::Attach { volume, node: name });
            }
        }
    }
}

impl Step {
    /// What the pods of the node are told, in Kubernetes' words.
    pub(super) fn told(&self) -> Option<(EventType, &'static str, String)> {
        const FAILED: &str = "FailedAttachVolume";
        let warning = |message: String| Some((EventType::Warning, FAILED, message));
        match self {
            Self::Report { volume, .. } => {
                let message = format!("AttachVolume.Attach succeeded for volume \"{volume}\" ");
                Some((EventType::Normal, "SuccessfulAttachVolume", message))
            }
            Self::Fail { volume, why, .. } => {
                warning(format!("AttachVolume.Attach failed for volume \"{volume}\" : {why}"))
            }
            Self::Refuse { volume, used_by, .. } if used_by.is_empty() => warning(format!(
                "Multi-Attach error for volume \"{volume}\" Volume is already exclusively attached to one node and \
                 can't be attached to another"
            )),
            Self::Refuse { volume, used_by, .. } => warning(format!(
                "Multi-Attach error for volume \"{volume}\" Volume is already used by pod(s) {}",
                used_by.join(", ")
            )),
            Self::Detach { .. } | Self::Unreport { .. } | Self::Attach { .. } => None,
        }
    }

    /// The node that it is about.
    pub(super) fn node(&self) -> &str {
        match self {
            Self::Detach { node, .. }
            | Self::Unreport { node, .. }
            | Self::Attach { node, .. }
            | Self::Report { node, .. }
            | Self::Refuse { node, .. }
            | Self::Fail { node, .. } => node,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detach { node, .. } => write!(f, "detach {node}"),
            Self::Unreport { node, .. } => write!(f, "unreport {node}"),
            Self::Attach { node, .. } => write!(f, "attach {node}"),
            Self::Report { node, .. } => write!(f, "report {node}"),
            Self::Refuse { node, used_by, .. } => write!(f, "refuse {node}: {}", used_by.join(",")),
            Self::Fail { node, why, .. } => write!(f, "fail {node}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests;
