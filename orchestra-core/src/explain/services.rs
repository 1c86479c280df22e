//! Why a service leads nowhere.

use std::sync::Arc;

use super::facts::{Facts, about};
use super::pods;
use super::seen::{Seen, seconds_since};
use super::{Severity, Step};

/// How long a service may be without pods before that is the matter with it, in seconds.
const PATIENCE: i64 = 60;

/// A service that leads nowhere.
pub(super) fn service(facts: &Facts, service: &Seen) -> Option<(Severity, Vec<Step>)> {
    if service.spec.sort == "ExternalName" {
        return None;
    }
    let selector = service.service_selector()?;
    let namespace = &service.metadata.namespace;
    let in_namespace =
        || facts.all("pods").filter(|pod| pod.metadata.namespace == *namespace && !pod.has_ended());
    let selected: Vec<&Arc<Seen>> =
        in_namespace().filter(|pod| selector.matches(&pod.metadata.labels)).collect();
    let here = |says: &str| Step::new(about("services", service), says);
    if selected.is_empty() {
        let step =
            here("leads nowhere: its selector matches no pod").because("spec.selector", selector.to_string());
        // A selector with a slip of the pen matches but for one label.
        let near = in_namespace().find_map(|pod| {
            let (missed, met): (Vec<_>, Vec<_>) =
                selector.requirements().iter().partition(|wanted| !wanted.matches(&pod.metadata.labels));
            let [missed] = &*missed else { return None };
            let has = pod.metadata.labels.get(missed.key());
            (!met.is_empty() || has.is_some_and(|has| alike(has, missed.values()))).then(|| match has {
                Some(has) => format!("pod {} has {}={has} instead", pod.metadata.name, missed.key()),
                None => format!("pod {} has no label {}", pod.metadata.name, missed.key()),
            })
        });
        let is_new = seconds_since(service.metadata.creation_timestamp.as_deref(), facts.now) < PATIENCE;
        return match near {
            Some(near) => Some((
                Severity::Serious,
                vec![step.because("the nearest pod", near).advise("make selector and labels agree")],
            )),
            None if is_new => None,
            None => Some((
                Severity::Serious,
                vec![step.advise("make pods with these labels, or correct the selector")],
            )),
        };
    }
    if selected.iter().any(|pod| pod.is_ready()) {
        return wrong_port(service, &selected).map(|step| (Severity::Serious, vec![step]));
    }
    let (_, steps, _) = pods::worst(facts, selected.iter().copied())?;
    let count = selected.len();
    let says = if count == 1 {
        "its pod is not ready".to_owned()
    } else {
        format!("none of its {count} pods is ready")
    };
    let mut all = vec![here("leads nowhere").because("spec.selector", format!("{selector}: {says}"))];
    all.extend(steps);
    Some((Severity::Critical, all))
}

/// Whether a value is one of some others but for a slip of the pen: at most two letters are wrong, and most are right.
fn alike(has: &str, wanted: &[String]) -> bool {
    wanted.iter().any(|wanted| distance(has, wanted) <= wanted.len().div_ceil(2).min(2))
}

/// How many letters must be put, taken or replaced to make one word another.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (index, letter) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = index + 1;
        for (column, other) in b.iter().enumerate() {
            let replaced = before + usize::from(letter != *other);
            before = row[column + 1];
            row[column + 1] = replaced.min(before + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

/// A port that no pod has a name for.
fn wrong_port(service: &Seen, pods: &[&Arc<Seen>]) -> Option<Step> {
    let named = |pod: &Seen, name: &str| {
        pod.spec.containers.iter().flat_map(|container| &container.ports).any(|port| port.name == name)
    };
    let missing = service.spec.ports.iter().find_map(|port| {
        let name = port.target_port.as_str()?;
        (!pods.iter().any(|pod| named(pod, name))).then_some((port, name))
    })?;
    let (port, name) = missing;
    let step = Step::new(about("services", service), format!("leads nowhere at its port {}", port.port));
    let step = step.because("spec.ports", format!("no pod has a port that is named {name}"));
    Some(step.advise("name the container's port so, or give the service its number"))
}
