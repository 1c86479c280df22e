//! What is wrong with a pod, in Kubernetes' words.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::api::core::v1::{
    ContainerPort, EphemeralContainer, Lifecycle, PodSpec, Probe, SecurityContext,
};

/// One rule that a pod violates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) reason: String,
    pub(super) detail: String,
}

impl Finding {
    pub(super) fn new(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { reason: reason.into(), detail: detail.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.detail)
    }
}

/// A container of any of the three sorts, as far as it is judged.
pub(super) struct Judged<'p> {
    pub(super) name: &'p str,
    pub(super) security: Option<&'p SecurityContext>,
    pub(super) ports: &'p [ContainerPort],
    pub(super) probes: [Option<&'p Probe>; 3],
    pub(super) lifecycle: Option<&'p Lifecycle>,
}

/// The containers of a pod: those that run first, then the others, then those that were added to it.
pub(super) fn containers(spec: &PodSpec) -> Vec<Judged<'_>> {
    let plain = spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| Judged {
        name: &container.name,
        security: container.security_context.as_ref(),
        ports: container.ports.as_deref().unwrap_or_default(),
        probes: [
            container.liveness_probe.as_ref(),
            container.readiness_probe.as_ref(),
            container.startup_probe.as_ref(),
        ],
        lifecycle: container.lifecycle.as_ref(),
    });
    let added = spec.ephemeral_containers.iter().flatten().map(|container: &EphemeralContainer| Judged {
        name: &container.name,
        security: container.security_context.as_ref(),
        ports: container.ports.as_deref().unwrap_or_default(),
        probes: [
            container.liveness_probe.as_ref(),
            container.readiness_probe.as_ref(),
            container.startup_probe.as_ref(),
        ],
        lifecycle: container.lifecycle.as_ref(),
    });
    plain.chain(added).collect()
}

/// `container "a"` or `containers "a", "b"`.
pub(super) fn named(word: &str, names: &[&str]) -> String {
    format!("{} {}", plural(word, names.len()), quoted(names.iter().copied()))
}

/// A word as it is of so many.
pub(super) fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// `"a", "b"`.
pub(super) fn quoted<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    texts.into_iter().map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ")
}

/// Who sets something: the pod, containers, or both.
pub(super) fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    let of_pod = pod.then(|| "pod".to_owned());
    let of_containers = (!containers.is_empty()).then(|| named("container", containers));
    let all: Vec<_> = of_pod.into_iter().chain(of_containers).collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

/// The names of the containers for which something holds.
pub(super) fn those<'p>(spec: &'p PodSpec, holds: impl Fn(&Judged<'p>) -> bool) -> Vec<&'p str> {
    containers(spec).iter().filter(|container| holds(container)).map(|container| container.name).collect()
}

/// Whether what a pod and its containers set to one of these values is forbidden; `None` when nothing is.
pub(super) fn forbidden_values<'p>(
    spec: &'p PodSpec,
    of_pod: Option<&'p str>,
    of_container: impl Fn(&'p SecurityContext) -> Option<&'p str>,
    is_allowed: impl Fn(&str) -> bool,
) -> Option<(String, BTreeSet<&'p str>)> {
    let mut values = BTreeSet::new();
    let bad_of_pod = of_pod.filter(|value| !is_allowed(value));
    values.extend(bad_of_pod);
    let bad = |container: &Judged<'p>| {
        let value = container.security.and_then(&of_container);
        value.filter(|value| !is_allowed(value))
    };
    let all = containers(spec);
    values.extend(all.iter().filter_map(bad));
    let names: Vec<_> =
        all.iter().filter(|container| bad(container).is_some()).map(|container| container.name).collect();
    Some((setters(bad_of_pod.is_some(), &names)?, values))
}
