//! What a user should know of a pod that is accepted all the same. `paths` is about files of volumes, `ports` about ports
//! that are said twice.

mod paths;
mod ports;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::{
    Container, NodeSelectorTerm, PodAffinityTerm, PodSpec, Volume, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::app_armor;
use super::containers::{annotation_about, as_container};
use super::scheduling::{PREFERRED, REQUIRED};
use crate::api::field::Path;
use crate::objects::{address, claim, names};
use crate::quantity::Quantity;

/// Labels of nodes that go by another name now.
const NODE_LABELS: &[(&str, &str, &str)] = &[
    ("beta.kubernetes.io/arch", "1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "1.17", "node.kubernetes.io/instance-type"),
];

/// Annotations that mean nothing any more, and what does instead.
const ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const SECCOMP_SAID: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

const NO_POD: &str = "a null labelSelector results in matching no pod";

/// What to know of a pod or of a template of one, whose metadata stands beside its specification.
pub(in crate::objects) fn of(meta: &ObjectMeta, spec: &PodSpec, root: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let path = root.child("spec");
    node_labels(spec, &path, &mut warnings);
    spread(spec, &path.child("topologySpreadConstraints"), &mut warnings);
    let at_annotations = root.child("metadata.annotations");
    annotations(meta, &at_annotations, &mut warnings);
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        of_volume(volume, &path.child("volumes").index(index), &mut warnings);
    }
    paths::overlaps(spec, &mut warnings);
    let mut addresses = HashSet::new();
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        if !addresses.insert(alias.ip.as_str()) {
            let path = path.child("hostAliases").index(index).child("ip");
            warnings.push(format!("{path}: duplicate ip {:?}", alias.ip));
        }
    }
    pull_secrets(spec, &path.child("imagePullSecrets"), &mut warnings);
    fractions(spec.overhead.as_ref(), &path.child("overhead"), &mut warnings);
    let profile = spec.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    if profile.is_none() && has(meta, SECCOMP) {
        warnings.push(format!("{}: {}", at_annotations.key(SECCOMP), SECCOMP_SAID));
    }
    for (at, container) in containers(spec, &path) {
        annotations_of(&container, meta, spec, root, &mut warnings);
        of_container(&container, &at, &mut warnings);
    }
    ports::repeated(spec, &path, &mut warnings);
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        let path = path.child("terminationGracePeriodSeconds");
        warnings.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    affinity(spec, &path.child("affinity"), &mut warnings);
    let servers = spec.dns_config.iter().flat_map(|config| config.nameservers.iter().flatten());
    for (index, server) in servers.enumerate() {
        let at = path.child("dnsConfig.nameservers").index(index);
        warnings.extend(address::canonical_warning(&at, server));
    }
    for (index, alias) in spec.host_aliases.iter().flatten().enumerate() {
        let at = path.child("hostAliases").index(index).child("ip");
        warnings.extend(address::canonical_warning(&at, &alias.ip));
    }
    warnings
}

/// All containers of a pod, with their paths, as they are looked into for warnings.
fn containers<'s>(
    spec: &'s PodSpec,
    path: &Path,
) -> impl Iterator<Item = (Path, Cow<'s, Container>)> + use<'s> {
    let [at_init, at, at_ephemeral] =
        ["initContainers", "containers", "ephemeralContainers"].map(|list| path.child(list));
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let lists = [(at_init, init), (at, spec.containers.as_slice())];
    let lasting = lists.into_iter().flat_map(|(at, list)| {
        list.iter().enumerate().map(move |(index, container)| (at.index(index), Cow::Borrowed(container)))
    });
    let ephemeral = spec.ephemeral_containers.iter().flatten().enumerate();
    let ephemeral = ephemeral
        .map(move |(index, container)| (at_ephemeral.index(index), Cow::Owned(as_container(container))));
    lasting.chain(ephemeral)
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
        if let Some(said) = old_node_label(key) {
            warnings.push(format!("{}: {said}", path.child("nodeSelector").key(key)));
        }
    }
    let Some(nodes) = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref()) else {
        return;
    };
    let path = path.child("affinity.nodeAffinity");
    let required = nodes.required_during_scheduling_ignored_during_execution.as_ref();
    for (index, term) in required.into_iter().flat_map(|nodes| &nodes.node_selector_terms).enumerate() {
        let path = path.child(REQUIRED).child("nodeSelectorTerms").index(index);
        node_term(term, false, &path, warnings);
    }
    let preferred = nodes.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    for (index, term) in preferred.enumerate() {
        node_term(&term.preference, true, &path.child(PREFERRED).index(index).child("preference"), warnings);
    }
}

/// What to know of a term that selects nodes. `values`: whether it is said which values no label can have, because it is no
/// error there.
pub(in crate::objects) fn node_term(
    term: &NodeSelectorTerm,
    values: bool,
    path: &Path,
    warnings: &mut Vec<String>,
) {
    for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(index);
        if let Some(said) = old_node_label(&requirement.key) {
            warnings.push(format!("{}: {} is {said}", path.child("key"), requirement.key));
        }
        for (index, value) in requirement.values.iter().flatten().enumerate().filter(|_| values) {
            for fault in names::label_value(value) {
                warnings.push(format!("{}: {value} is invalid, {fault}", path.child("values").index(index)));
            }
        }
    }
}

fn spread(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    for (index, constraint) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let path = path.index(index);
        let key = constraint.topology_key.as_str();
        if let Some(said) = old_node_label(key) {
            warnings.push(format!("{}: {key} is {said}", path.child("topologyKey")));
        }
        if constraint.label_selector.is_none() {
            warnings.push(format!("{}: {NO_POD}", path.child("labelSelector")));
        }
    }
}

fn affinity(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let Some(affinity) = &spec.affinity else { return };
    if let Some(pods) = &affinity.pod_affinity {
        pod_terms(
            pods.required_during_scheduling_ignored_during_execution.as_deref(),
            pods.preferred_during_scheduling_ignored_during_execution.as_deref(),
            &path.child("podAffinity"),
            warnings,
        );
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        pod_terms(
            pods.required_during_scheduling_ignored_during_execution.as_deref(),
            pods.preferred_during_scheduling_ignored_during_execution.as_deref(),
            &path.child("podAntiAffinity"),
            warnings,
        );
    }
}

fn pod_terms(
    required: Option<&[PodAffinityTerm]>,
    preferred: Option<&[WeightedPodAffinityTerm]>,
    path: &Path,
    warnings: &mut Vec<String>,
) {
    let required = required.unwrap_or_default().iter().enumerate();
    let required = required.map(|(index, term)| (path.child(REQUIRED).index(index), term));
    let preferred = preferred.unwrap_or_default().iter().enumerate().map(|(index, term)| {
        (path.child(PREFERRED).index(index).child("podAffinityTerm"), &term.pod_affinity_term)
    });
    let blind = required.chain(preferred).filter(|(_, term)| term.label_selector.is_none());
    warnings.extend(blind.map(|(at, _)| format!("{}: {NO_POD}", at.child("labelSelector"))));
}

fn has(meta: &ObjectMeta, key: &str) -> bool {
    meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(key))
}

fn annotations(meta: &ObjectMeta, path: &Path, warnings: &mut Vec<String>) {
    for (key, said) in ANNOTATIONS.iter().filter(|(key, _)| has(meta, key)) {
        warnings.push(format!("{}: {said}", path.key(key)));
    }
}

/// Annotations about a container, which has a field for what they say.
fn annotations_of(
    container: &Container,
    meta: &ObjectMeta,
    spec: &PodSpec,
    root: &Path,
    warnings: &mut Vec<String>,
) {
    let path = root.child("metadata.annotations");
    let context = container.security_context.as_ref();
    if context.is_none_or(|context| context.seccomp_profile.is_none())
        && let Some(key) = annotation_about(container, SECCOMP_OF_CONTAINER, meta)
    {
        warnings.push(format!("{}: {}", path.key(key), SECCOMP_SAID));
    }
    let is_template = *root != Path::root();
    if let Some(key) = app_armor::old_annotation(container, meta, spec, is_template) {
        let said = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
        warnings.push(format!("{}: {said}", path.key(key)));
    }
}

/// Kinds of volumes that are gone, or will be.
fn of_volume(volume: &Volume, path: &Path, warnings: &mut Vec<String>) {
    let gone = [
        (
            "photonPersistentDisk",
            volume.photon_persistent_disk.is_some(),
            "deprecated in v1.11, non-functional in v1.16+",
        ),
        ("gitRepo", volume.git_repo.is_some(), "deprecated in v1.11, and disabled by default in v1.33+"),
        ("scaleIO", volume.scale_io.is_some(), "deprecated in v1.16, non-functional in v1.22+"),
        ("flocker", volume.flocker.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("storageOS", volume.storageos.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("quobyte", volume.quobyte.is_some(), "deprecated in v1.22, non-functional in v1.25+"),
        ("glusterfs", volume.glusterfs.is_some(), "deprecated in v1.25, non-functional in v1.26+"),
        ("cephfs", volume.cephfs.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
        ("rbd", volume.rbd.is_some(), "deprecated in v1.28, non-functional in v1.31+"),
    ];
    for (called, _, said) in gone.into_iter().filter(|(_, is_given, _)| *is_given) {
        warnings.push(format!("{}: {said}", path.child(called)));
    }
    let own = volume.ephemeral.as_ref().and_then(|own| own.volume_claim_template.as_ref());
    if let Some(template) = own {
        let at = path.child("ephemeral.volumeClaimTemplate.spec");
        warnings.extend(claim::warnings(&template.spec, &at));
    }
}

fn pull_secrets(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let secrets = spec.image_pull_secrets.as_deref().unwrap_or_default();
    let mut seen = HashSet::new();
    for (index, secret) in secrets.iter().enumerate() {
        if !seen.insert(secret.name.as_str()) {
            let path = path.index(index).child("name");
            warnings.push(format!("{path}: duplicate name {:?}", secret.name));
        }
    }
    for (index, _) in secrets.iter().enumerate().filter(|(_, secret)| secret.name.is_empty()) {
        warnings.push(format!("{}: invalid empty name \"\"", path.index(index).child("name")));
    }
}

fn of_container(container: &Container, path: &Path, warnings: &mut Vec<String>) {
    if let Some(resources) = &container.resources {
        let path = path.child("resources");
        for (field, amounts) in [("limits", &resources.limits), ("requests", &resources.requests)] {
            fractions(amounts.as_ref(), &path.child(field), warnings);
        }
    }
    let mut seen = HashSet::new();
    for (index, variable) in container.env.iter().flatten().enumerate() {
        let name = variable.name.as_str();
        // One that adds to what it was before hides nothing.
        let adds = || {
            let (value, reference) = (variable.value.as_deref().unwrap_or_default(), format!("$({name})"));
            variable.value_from.is_none() && value != reference && value.contains(&reference)
        };
        if !seen.insert(name) && !adds() {
            warnings.push(format!(
                "{}: hides previous definition of {name:?}, which may be dropped when using apply",
                path.child("env").index(index),
            ));
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
