//! What is the matter with one object, and all that is wrong, the worst first.

use std::collections::BTreeSet;

use super::facts::{Facts, about};
use super::seen::Seen;
use super::{About, Severity, Step, Story, others, pods, services, workloads};

/// What is the matter with an object, down to the cause; `None` if nothing is, or it is not known.
pub fn explain(facts: &Facts, object: &About) -> Option<Story> {
    let seen = facts.get(&object.resource, &object.namespace, &object.name)?;
    let (severity, steps) = found(facts, &object.resource, seen)?;
    Story::of(severity, steps)
}

fn found(facts: &Facts, resource: &str, object: &Seen) -> Option<(Severity, Vec<Step>)> {
    let one = |found: Option<(Severity, Step)>| found.map(|(severity, step)| (severity, vec![step]));
    match resource {
        "pods" => pods::steps(facts, object),
        "nodes" => one(others::node(facts, object)),
        "deployments" => workloads::deployment(facts, object),
        "replicasets" => workloads::replica_set(facts, object),
        "statefulsets" => workloads::stateful_set(facts, object),
        "daemonsets" => workloads::daemon_set(facts, object),
        "jobs" => workloads::job(facts, object),
        "services" => services::service(facts, object),
        "persistentvolumeclaims" => one(others::claim(facts, object)),
        "horizontalpodautoscalers" => one(others::autoscaler(object)),
        "namespaces" => one(others::namespace(facts, object)),
        _ => None,
    }
}

/// In the order in which causes come before what suffers by them.
const ORDER: [&str; 11] = [
    "nodes",
    "deployments",
    "statefulsets",
    "daemonsets",
    "replicasets",
    "jobs",
    "pods",
    "persistentvolumeclaims",
    "services",
    "horizontalpodautoscalers",
    "namespaces",
];

/// All that is wrong, the worst first. What only suffers by something that is told already is told with it.
pub fn wrong(facts: &Facts) -> Vec<Story> {
    let mut stories: Vec<Story> = Vec::new();
    for resource in ORDER {
        for object in facts.all(resource) {
            let is_owned = facts.knows_owner(object);
            // Who owns it tells of it.
            if matches!(resource, "replicasets" | "jobs") && is_owned {
                continue;
            }
            // A pod that ran to its end and failed is a matter of whoever made it.
            if resource == "pods" && object.has_ended() && object.controller().is_some() {
                continue;
            }
            let Some((severity, steps)) = found(facts, resource, object) else { continue };
            // The same of a pod, but for what its owner does not see: that it was begun again, or does not go.
            if resource == "pods" && is_owned && severity < Severity::Minor {
                continue;
            }
            if !joins(facts, &mut stories, &about(resource, object), &steps) {
                stories.extend(Story::of(severity, steps));
            }
        }
    }
    stories.sort_by(|a, b| (a.severity, rank(a), &a.about).cmp(&(b.severity, rank(b), &b.about)));
    stories
}

fn rank(story: &Story) -> usize {
    ORDER.iter().position(|resource| *resource == story.about.resource).unwrap_or(ORDER.len())
}

/// Whether an object only suffers by what is told already: then it is told there.
fn joins(facts: &Facts, stories: &mut [Story], object: &About, steps: &[Step]) -> bool {
    let is_told = |story: &Story| story.steps.iter().skip(1).any(|step| step.about == *object);
    if stories.iter().any(is_told) {
        return true;
    }
    let causes: BTreeSet<&About> = steps.iter().skip(1).map(|step| &step.about).collect();
    let own = owner_of(facts, object);
    let owner = own.clone().or_else(|| steps.iter().skip(1).find_map(|step| owner_of(facts, &step.about)));
    let told = stories.iter_mut().find(|story| {
        let is_cause = |step: &Step| causes.contains(&step.about);
        // A node that is gone takes whole workloads with it, which are worth a word of their own.
        let by_node = story.about.resource == "nodes";
        !by_node && (story.steps.iter().any(is_cause) || owner.as_ref() == Some(&story.about))
    });
    match told {
        Some(story) => {
            if own.as_ref() != Some(&story.about) {
                story.affects.push(object.clone());
            }
            true
        }
        None => false,
    }
}

/// The workload on top of a pod.
fn owner_of(facts: &Facts, object: &About) -> Option<About> {
    let pod =
        facts.get(&object.resource, &object.namespace, &object.name).filter(|_| object.resource == "pods")?;
    let owner = pod.controller()?;
    let namespace = &*object.namespace;
    let named = |resource: &'static str, name: &str| {
        facts.get(resource, namespace, name).map(|seen| about(resource, seen))
    };
    match &*owner.kind {
        "ReplicaSet" => {
            let set = facts.get("replicasets", namespace, &owner.name)?;
            match set.controller() {
                Some(owner) => named("deployments", &owner.name),
                None => Some(about("replicasets", set)),
            }
        }
        "StatefulSet" => named("statefulsets", &owner.name),
        "DaemonSet" => named("daemonsets", &owner.name),
        "Job" => named("jobs", &owner.name),
        _ => None,
    }
}
