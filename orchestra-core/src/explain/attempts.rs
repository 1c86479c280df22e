//! What might help, small enough to be tried: for whoever has a copy of the cluster to try it in. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::facts::Facts;
use super::seen::Seen;
use super::{About, Step, Story};
use crate::quantity::{Format, Quantity};
use crate::scheduler;

/// How many changes are named.
const MOST: usize = 6;

/// A change that might help.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attempt {
    /// Have a node take pods again.
    Uncordon(String),
    /// Have a roll-out go on that is paused.
    Resume(About),
    /// Have a quota allow more.
    RaiseQuota {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What it should allow of each resource of which it allows too little.
        hard: BTreeMap<String, String>,
    },
    /// Have each pod of a workload ask for less.
    AskLess {
        /// The workload.
        workload: About,
        /// Which of its containers.
        container: String,
        /// Of which resource.
        resource: String,
        /// How much instead.
        to: String,
    },
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncordon(node) => write!(f, "uncordon the node {node}"),
            Self::Resume(about) => write!(f, "resume the roll-out of {about}"),
            Self::RaiseQuota { name, hard, .. } => {
                let hard: Vec<String> = hard.iter().map(|(of, to)| format!("{of} to {to}")).collect();
                write!(f, "raise {} of the quota {name}", hard.join(" and "))
            }
            Self::AskLess { workload, container, resource, to } => {
                write!(f, "have the container {container} of {workload} ask for {to} of {resource}")
            }
        }
    }
}

/// The changes that might help with what a story tells, those that take least first.
pub fn attempts(facts: &Facts, story: &Story) -> Vec<Attempt> {
    let mut all = Vec::new();
    for step in &story.steps {
        if step.evidence.iter().any(|evidence| evidence.from == "spec.paused") {
            all.push(Attempt::Resume(step.about.clone()));
        }
        all.extend(step.evidence.iter().filter_map(|evidence| raised(facts, story, step, &evidence.says)));
        if step.about.resource == "pods" {
            all.extend(placed(facts, story, step));
        }
    }
    all.truncate(MOST);
    all
}

/// The quota that a message names, raised by what is missing.
fn raised(facts: &Facts, story: &Story, step: &Step, message: &str) -> Option<Attempt> {
    let (_, told) = message.split_once("exceeded quota: ")?;
    let (name, told) = told.split_once(", requested: ")?;
    let (requested, told) = told.split_once(", used: ")?;
    let (used, _) = told.split_once(", limited: ")?;
    let (requested, used) = (amounts(requested), amounts(used));
    let missing = missing(facts, &step.about).max(1);
    let hard = requested.into_iter().filter_map(|(resource, each)| {
        let mut to = *used.get(&resource)?;
        (0..missing).for_each(|_| to += each);
        Some((resource, to.to_string()))
    });
    let (namespace, name) = (story.about.namespace.clone(), name.to_owned());
    Some(Attempt::RaiseQuota { namespace, name, hard: hard.collect() })
}

/// The amounts of a message, as in `pods=1,requests.cpu=100m`.
fn amounts(text: &str) -> BTreeMap<String, Quantity> {
    let each = text.split(',').filter_map(|part| {
        let (resource, amount) = part.trim().split_once('=')?;
        Some((resource.to_owned(), Quantity::parse(amount).ok()?))
    });
    each.collect()
}

/// How many pods a workload lacks; no more than a quota is worth raising for.
fn missing(facts: &Facts, about: &About) -> i64 {
    let Some(seen) = facts.get(&about.resource, &about.namespace, &about.name) else { return 1 };
    let there = facts.owned(seen, "pods").count() as i64;
    (seen.spec.replicas.unwrap_or(1) - there).clamp(1, 10_000)
}

/// What would give a pod a node, as the scheduler's rules have it, as far as one change does it.
fn placed(facts: &Facts, story: &Story, step: &Step) -> Vec<Attempt> {
    let about = &step.about;
    let Some(pod) = facts.get(&about.resource, &about.namespace, &about.name) else { return Vec::new() };
    let Some(info) = facts.pod_info(pod).filter(|info| info.node.is_none()) else { return Vec::new() };
    let explained = scheduler::explain(&facts.snapshot(), &info);
    let one = explained.remedies.iter().filter_map(|remedy| match &remedy.changes[..] {
        [only] => Some((only, &remedy.node)),
        _ => None,
    });
    one.filter_map(|(change, node)| attempt(story, pod, change, node)).collect()
}

fn attempt(story: &Story, pod: &Arc<Seen>, change: &scheduler::Step, node: &str) -> Option<Attempt> {
    match change {
        scheduler::Step::Uncordon => Some(Attempt::Uncordon(node.to_owned())),
        scheduler::Step::LowerRequest { resource, to, .. } if *to > 0 => {
            let workload = story.steps.iter().map(|step| &step.about);
            let mut workload = workload
                .filter(|about| matches!(&*about.resource, "deployments" | "statefulsets" | "daemonsets"));
            let [container] = &pod.spec.containers[..] else { return None };
            let to = match &**resource {
                "cpu" => Quantity::from_milli(*to, Format::DecimalSi),
                "memory" | "ephemeral-storage" => Quantity::from_value(*to, Format::BinarySi),
                _ => Quantity::from_value(*to, Format::DecimalSi),
            };
            Some(Attempt::AskLess {
                workload: workload.next()?.clone(),
                container: container.name.clone(),
                resource: resource.to_string(),
                to: to.to_string(),
            })
        }
        _ => None,
    }
}
