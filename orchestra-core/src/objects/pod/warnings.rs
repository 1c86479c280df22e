//! What a user should know of a pod that is accepted all the same.

use std::collections::{BTreeMap, HashMap, HashSet};

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::api::field::Path;
use crate::quantity::Quantity;

/// Labels of nodes that go by another name now.
const NODE_LABELS: &[(&str, &str, &str)] = &[
    ("beta.kubernetes.io/arch", "1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "1.17", "node.kubernetes.io/instance-type"),
];

/// What to know of a pod or of a template of one, whose metadata stands beside its specification.
pub(in crate::objects) fn of(meta: &ObjectMeta, spec: &PodSpec, root: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let path = root.child("spec");
    node_labels(spec, &path, &mut warnings);
    spread(spec, &path.child("topologySpreadConstraints"), &mut warnings);
    annotations(meta, &root.child("metadata.annotations"), &mut warnings);
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        if volume.git_repo.is_some() {
            warnings.push(format!(
                "{}: deprecated in v1.11, and disabled by default in v1.33+",
                path.child("volumes").index(index).child("gitRepo")
            ));
        }
    }
    pull_secrets(spec, &path.child("imagePullSecrets"), &mut warnings);
    let mut addresses = HashSet::new();
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        if !addresses.insert(alias.ip.as_str()) {
            let path = path.child("hostAliases").index(index).child("ip");
            warnings.push(format!("{path}: duplicate ip {:?}", alias.ip));
        }
    }
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        let path = path.child("terminationGracePeriodSeconds");
        warnings.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    let lists = [("initContainers", spec.init_containers.as_ref()), ("containers", Some(&spec.containers))];
    for (list, containers) in lists {
        for (index, container) in containers.into_iter().flatten().enumerate() {
            of_container(container, &path.child(list).index(index), &mut warnings);
        }
    }
    host_ports(spec, &path.child("containers"), &mut warnings);
    warnings
}

/// What is said of a label of nodes that goes by another name now.
pub(in crate::objects) fn old_node_label(key: &str) -> Option<String> {
    let (_, since, instead) = NODE_LABELS.iter().find(|(old, _, _)| *old == key)?;
    Some(format!("deprecated since v{since}; use {instead:?} instead"))
}

/// The name by which a label of nodes goes now, if it went by another one.
pub(in crate::objects) fn current_node_label(key: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(old, _, _)| *old == key).map(|(_, _, instead)| *instead)
}

fn node_labels(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    for key in spec.node_selector.iter().flatten().map(|(key, _)| key) {
        if let Some((_, since, instead)) = NODE_LABELS.iter().find(|(old, _, _)| old == key) {
            let path = path.child("nodeSelector").key(key);
            warnings.push(format!("{path}: deprecated since v{since}; use {instead:?} instead"));
        }
    }
}

fn spread(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    for (index, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let path = path.index(index);
        let key = constraint.topology_key.as_str();
        if let Some((_, since, instead)) = NODE_LABELS.iter().find(|(old, _, _)| *old == key) {
            let path = path.child("topologyKey");
            warnings.push(format!("{path}: {key} is deprecated since v{since}; use {instead:?} instead"));
        }
        if constraint.label_selector.is_none() {
            warnings.push(format!(
                "{}: a null labelSelector results in matching no pod",
                path.child("labelSelector")
            ));
        }
    }
}

fn annotations(meta: &ObjectMeta, path: &Path, warnings: &mut Vec<String>) {
    let seccomp = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    for key in meta.annotations.iter().flatten().map(|(key, _)| key) {
        let what = match key.as_str() {
            "scheduler.alpha.kubernetes.io/critical-pod" => {
                "non-functional in v1.16+; use the \"priorityClassName\" field instead"
            }
            "seccomp.security.alpha.kubernetes.io/pod" => seccomp,
            key if key.starts_with("container.seccomp.security.alpha.kubernetes.io/") => seccomp,
            key if key.starts_with("container.apparmor.security.beta.kubernetes.io/") => {
                "deprecated since v1.30; use the \"appArmorProfile\" field instead"
            }
            "security.alpha.kubernetes.io/sysctls" | "security.alpha.kubernetes.io/unsafe-sysctls" => {
                "non-functional in v1.11+; use the \"sysctls\" field instead"
            }
            _ => continue,
        };
        warnings.push(format!("{}: {what}", path.key(key)));
    }
}

fn pull_secrets(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (index, secret) in spec.image_pull_secrets.iter().flatten().enumerate() {
        let path = path.index(index).child("name");
        if secret.name.is_empty() {
            warnings.push(format!("{path}: invalid empty name \"\""));
        } else if !seen.insert(secret.name.as_str()) {
            warnings.push(format!("{path}: duplicate name {:?}", secret.name));
        }
    }
}

fn of_container(container: &Container, path: &Path, warnings: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for (index, variable) in container.env.iter().flatten().enumerate() {
        if !seen.insert(variable.name.as_str()) {
            warnings.push(format!(
                "{}: hides previous definition of {:?}, which may be dropped when using apply",
                path.child("env").index(index),
                variable.name
            ));
        }
    }
    if let Some(resources) = &container.resources {
        let path = path.child("resources");
        for (field, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
            fractions(amounts.as_ref(), &path.child(field), warnings);
        }
    }
    let mut seen: HashMap<(i32, &str), usize> = HashMap::new();
    for (index, port) in container.ports.iter().flatten().enumerate() {
        let key = (port.container_port, port.protocol.as_deref().unwrap_or_default());
        if port.host_port.unwrap_or_default() != 0 {
            continue;
        }
        let at = path.child("ports").index(index);
        match seen.get(&key) {
            Some(first) => warnings
                .push(format!("{at}: duplicate port definition with {}", path.child("ports").index(*first))),
            None => {
                seen.insert(key, index);
            }
        }
    }
}

/// Bytes cannot be had in parts.
fn fractions(amounts: Option<&BTreeMap<String, Text>>, path: &Path, warnings: &mut Vec<String>) {
    for name in ["memory", "ephemeral-storage"] {
        let Some(text) = amounts.and_then(|amounts| amounts.get(name)) else { continue };
        if Quantity::parse(&text.0).is_ok_and(|amount| amount.milli_value() % 1000 != 0) {
            let path = path.key(name);
            warnings
                .push(format!("{path}: fractional byte value {:?} is invalid, must be an integer", text.0));
        }
    }
}

/// A port of the node for every address, and the same for one of them.
fn host_ports(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let is_any =
        |port: &ContainerPort| matches!(port.host_ip.as_deref().unwrap_or_default(), "" | "0.0.0.0" | "::");
    let mut seen: Vec<(Path, &ContainerPort)> = Vec::new();
    for (index, container) in spec.containers.iter().enumerate() {
        for (at, port) in container.ports.iter().flatten().enumerate() {
            if port.host_port.unwrap_or_default() == 0 {
                continue;
            }
            let at = path.index(index).child("ports").index(at);
            let overlaps = |held: &ContainerPort| {
                held.host_port == port.host_port
                    && held.protocol == port.protocol
                    && held.host_ip != port.host_ip
                    && (is_any(held) || is_any(port))
            };
            if let Some((first, _)) = seen.iter().find(|(_, held)| overlaps(held)) {
                warnings.push(format!("{at}: overlapping port definition with {first}"));
            }
            seen.push((at, port));
        }
    }
}
