//! Making room for a pod by removing pods of lower priority.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;

use super::diagnosis::{Diagnosis, counted};
use super::filter::Demand;
use super::node::NodeId;
use super::node::NodeInfo;
use super::pod::PodInfo;
use super::profile::{Candidates, Profile};
use super::snapshot::Snapshot;

/// What to do about a pod that fits nowhere.
#[derive(Clone, Debug)]
pub enum Preemption {
    /// Remove these pods, and the pod will fit on the node.
    Evict {
        /// The node.
        node: Arc<str>,
        /// The pods to remove, the most important first. Never empty.
        victims: Vec<Arc<PodInfo>>,
    },
    /// The pod must not have room made, or it is being made already; why, in Kubernetes' words.
    NotTried(String),
    /// No room can be made; why, in Kubernetes' words.
    Impossible(String),
}

/// Chooses the node where making room does the least harm: first the fewest pods that their disruption budgets do not let
/// go, then the lowest of the highest priorities that have to go, then the least sum of priorities, then the fewest pods,
/// then those that started last.
///
/// Where the profile makes no room, nothing is said of it.
pub fn preempt(
    snapshot: &Snapshot,
    pod: &PodInfo,
    profile: &Profile,
    diagnosis: &Diagnosis,
    seed: u64,
) -> Preemption {
    let Some(Candidates { percentage, least }) = profile.preemption else {
        return Preemption::NotTried(String::new());
    };
    if let Some(reason) = not_eligible(snapshot, pod, diagnosis) {
        return Preemption::NotTried(reason.to_owned());
    }
    let demand = Demand::new(snapshot, pod, profile);
    let hopeful = |id: &&NodeId| {
        diagnosis.by_node.get(&snapshot.node(**id).spec.name).is_some_and(|verdict| !verdict.is_final())
    };
    let hopeful: Vec<NodeId> = snapshot.listed().iter().filter(hopeful).copied().collect();
    let wanted = (hopeful.len() * usize::from(percentage) / 100).max(least);
    let mut candidates = Vec::new();
    let mut hopeless = Vec::new();
    for turn in 0..hopeful.len() {
        let id = hopeful[(turn + seed as usize % hopeful.len()) % hopeful.len()];
        match victims_on(&demand, id) {
            Ok(victims) => candidates.push((id, victims)),
            Err(reasons) => hopeless.extend(reasons),
        }
        if candidates.len() == wanted {
            break;
        }
    }
    let least = candidates.into_iter().min_by_key(|(_, victims)| harm(victims));
    match least {
        Some((id, victims)) => {
            Preemption::Evict { node: snapshot.node(id).spec.name.clone(), victims: victims.pods }
        }
        None => {
            let others = diagnosis.nodes - hopeful.len();
            hopeless.extend(vec!["Preemption is not helpful for scheduling".to_owned(); others]);
            Preemption::Impossible(counted(diagnosis.nodes, hopeless.iter()))
        }
    }
}

fn not_eligible(snapshot: &Snapshot, pod: &PodInfo, diagnosis: &Diagnosis) -> Option<&'static str> {
    if !pod.may_preempt {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let node = snapshot.node_named(pod.nominated_node.as_deref()?)?;
    if diagnosis.by_node.get(&node.spec.name).is_some_and(|verdict| verdict.is_final()) {
        return None;
    }
    let leaving = node.pods.iter().any(|p| p.preempted && p.priority < pod.priority);
    leaving.then_some("not eligible due to a terminating pod on the nominated node.")
}

/// The fewest and least important pods that must go from a node; or why it does not help if all go that may.
fn victims_on(demand: &Demand<'_>, id: NodeId) -> Result<Victims, Vec<String>> {
    let pod = demand.pod;
    let mut lower: Vec<_> =
        demand.snapshot.node(id).pods.iter().filter(|p| p.priority < pod.priority).collect();
    if lower.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".to_owned()]);
    }
    let mut trial = Trial::new(demand, id);
    lower.iter().for_each(|p| trial.remove(p));
    if let Some(verdict) = trial.demand.verdict_as(id, &trial.node) {
        return Err(verdict.reasons.iter().map(ToString::to_string).collect());
    }
    let importance = |p: &PodInfo| (Reverse(p.priority), p.started.unwrap_or(Timestamp::MAX));
    lower.sort_by_key(|p| importance(p));
    let exceeded = demand.snapshot.budgets().exceeded_by(&lower);
    // Those that a budget keeps are let back first, and of each kind the important ones.
    lower.sort_by_key(|p| !exceeded.contains(&p.uid));
    let mut victims = Victims { pods: Vec::new(), violations: 0 };
    for candidate in lower {
        trial.put_back(candidate);
        if !trial.demand.fits_as(id, &trial.node) {
            trial.remove(candidate);
            victims.violations += usize::from(exceeded.contains(&candidate.uid));
            victims.pods.push(candidate.clone());
        }
    }
    victims.pods.sort_by_key(|p| importance(p));
    Ok(victims)
}

/// The pods that would have to go from a node.
struct Victims {
    /// In order of importance.
    pods: Vec<Arc<PodInfo>>,
    /// How many of them their disruption budgets do not let go.
    violations: usize,
}

/// A node without some of its pods, and what the rest of the cluster means for the pod then.
struct Trial<'s> {
    demand: Demand<'s>,
    id: NodeId,
    node: NodeInfo,
}

impl<'s> Trial<'s> {
    fn new(demand: &Demand<'s>, id: NodeId) -> Self {
        Self { demand: demand.clone(), id, node: demand.snapshot.node(id).clone() }
    }

    fn remove(&mut self, pod: &'s Arc<PodInfo>) {
        self.node.remove(&pod.uid);
        self.demand.adjust(pod, self.id, -1);
    }

    fn put_back(&mut self, pod: &'s Arc<PodInfo>) {
        self.node.add(pod.clone());
        self.demand.adjust(pod, self.id, 1);
    }
}

/// Orders candidates by the harm done, least first.
fn harm(victims: &Victims) -> (usize, i32, i64, usize, Reverse<Timestamp>) {
    let (violations, victims) = (victims.violations, &victims.pods);
    let highest = victims.first().map_or(i32::MIN, |p| p.priority);
    // Shifted above zero, so that a few pods of negative priority are not preferred to fewer of them.
    let sum = victims.iter().map(|p| i64::from(p.priority) + i64::from(i32::MAX) + 1).sum();
    let top = victims.iter().filter(|p| p.priority == highest);
    let earliest = top.map(|p| p.started.unwrap_or(Timestamp::MAX)).min().unwrap_or(Timestamp::MAX);
    (violations, highest, sum, victims.len(), Reverse(earliest))
}
