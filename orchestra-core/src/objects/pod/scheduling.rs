//! What is wrong with where a pod says it is to run.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodSchedulingGate, PodSpec,
    Toleration, TopologySpreadConstraint, WeightedPodAffinityTerm,
};

use crate::api::field::{Errors, Path};
use crate::objects::check::{self, say};
use crate::objects::names;

pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
pub(super) const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// The effects of taints, and of what tolerates them.
pub(in crate::objects) const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn validate(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    affinity(spec, &path.child("affinity"), errors);
    gates(spec.scheduling_gates.as_deref().unwrap_or_default(), &path.child("schedulingGates"), errors);
    let constraints = spec.topology_spread_constraints.as_deref().unwrap_or_default();
    spread(constraints, &path.child("topologySpreadConstraints"), errors);
    tolerations(spec.tolerations.as_deref().unwrap_or_default(), &path.child("tolerations"), errors);
}

fn affinity(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let Some(affinity) = &spec.affinity else { return };
    if let Some(nodes) = &affinity.node_affinity {
        let path = path.child("nodeAffinity");
        if let Some(required) = &nodes.required_during_scheduling_ignored_during_execution {
            let path = path.child(REQUIRED).child("nodeSelectorTerms");
            if required.node_selector_terms.is_empty() {
                errors.required(&path, "must have at least one node selector term");
            }
            for (index, term) in required.node_selector_terms.iter().enumerate() {
                node_term(term, true, &path.index(index), errors);
            }
        }
        let preferred = nodes.preferred_during_scheduling_ignored_during_execution.as_deref();
        for (index, term) in preferred.unwrap_or_default().iter().enumerate() {
            let path = path.child(PREFERRED).index(index);
            weight(term.weight, &path, errors);
            node_term(&term.preference, false, &path.child("preference"), errors);
        }
    }
    if let Some(pods) = &affinity.pod_affinity {
        pod_terms(
            pods.required_during_scheduling_ignored_during_execution.as_deref().unwrap_or_default(),
            pods.preferred_during_scheduling_ignored_during_execution.as_deref().unwrap_or_default(),
            &path.child("podAffinity"),
            errors,
        );
    }
    if let Some(pods) = &affinity.pod_anti_affinity {
        pod_terms(
            pods.required_during_scheduling_ignored_during_execution.as_deref().unwrap_or_default(),
            pods.preferred_during_scheduling_ignored_during_execution.as_deref().unwrap_or_default(),
            &path.child("podAntiAffinity"),
            errors,
        );
    }
}

fn weight(weight: i32, path: &Path, errors: &mut Errors) {
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

/// `strict`: values must be such as labels can have. A preference for others is merely never met.
fn node_term(term: &NodeSelectorTerm, strict: bool, path: &Path, errors: &mut Errors) {
    for (index, requirement) in term.match_expressions.iter().flatten().enumerate() {
        node_labels(requirement, strict, &path.child("matchExpressions").index(index), errors);
    }
    for (index, requirement) in term.match_fields.iter().flatten().enumerate() {
        node_fields(requirement, &path.child("matchFields").index(index), errors);
    }
}

/// Says what is wrong with the nodes on which a volume can be reached.
pub(in crate::objects) fn node_selector(selector: &NodeSelector, path: &Path, errors: &mut Errors) {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.required(&path, "must have at least one node selector term");
    }
    for (index, term) in selector.node_selector_terms.iter().enumerate() {
        node_term(term, true, &path.index(index), errors);
    }
}

fn node_labels(requirement: &NodeSelectorRequirement, strict: bool, path: &Path, errors: &mut Errors) {
    let values = requirement.values.as_deref().unwrap_or_default();
    let at = path.child("values");
    match (requirement.operator.as_str(), values.len()) {
        ("In" | "NotIn", 0) => errors.required(&at, "must be specified when `operator` is 'In' or 'NotIn'"),
        ("Exists" | "DoesNotExist", 1..) => {
            errors.forbidden(&at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        ("Gt" | "Lt", 0 | 2..) => {
            errors.required(&at, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        ("In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt", _) => {}
        (other, _) => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    say(errors, &path.child("key"), &requirement.key, names::qualified(&requirement.key));
    for (index, value) in values.iter().enumerate().filter(|_| strict) {
        say(errors, &at.index(index), value, names::label_value(value));
    }
}

fn node_fields(requirement: &NodeSelectorRequirement, path: &Path, errors: &mut Errors) {
    let values = requirement.values.as_deref().unwrap_or_default();
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.len() != 1 => errors.required(
            &path.child("values"),
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        ),
        "In" | "NotIn" => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    if requirement.key != "metadata.name" {
        errors.invalid(&path.child("key"), requirement.key.as_str(), "not a valid field selector key");
        return;
    }
    for (index, value) in values.iter().enumerate() {
        say(errors, &path.child("values").index(index), value, names::subdomain(value));
    }
}

fn pod_terms(
    required: &[PodAffinityTerm],
    preferred: &[WeightedPodAffinityTerm],
    path: &Path,
    errors: &mut Errors,
) {
    for (index, term) in required.iter().enumerate() {
        pod_term(term, &path.child(REQUIRED).index(index), errors);
    }
    for (index, term) in preferred.iter().enumerate() {
        let path = path.child(PREFERRED).index(index);
        weight(term.weight, &path, errors);
        pod_term(&term.pod_affinity_term, &path.child("podAffinityTerm"), errors);
    }
}

fn pod_term(term: &PodAffinityTerm, path: &Path, errors: &mut Errors) {
    for (field, selector) in
        [("labelSelector", &term.label_selector), ("namespaceSelector", &term.namespace_selector)]
    {
        if let Some(selector) = selector {
            check::selector(errors, &path.child(field), selector);
        }
    }
    for name in term.namespaces.iter().flatten() {
        say(errors, &path.child("namespace"), name, names::label(name));
    }
    let keys = [
        ("matchLabelKeys", term.match_label_keys.as_deref().unwrap_or_default()),
        ("mismatchLabelKeys", term.mismatch_label_keys.as_deref().unwrap_or_default()),
    ];
    for (field, keys) in keys {
        label_keys(keys, term.label_selector.is_some(), &path.child(field), errors);
    }
    for (index, key) in keys[0].1.iter().enumerate() {
        if keys[1].1.contains(key) {
            let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
            errors.invalid(&path.child("matchLabelKeys").index(index), key.as_str(), detail);
        }
    }
    topology_key(&term.topology_key, path, errors);
    say(errors, &path.child("topologyKey"), &term.topology_key, names::qualified(&term.topology_key));
}

/// Keys of labels that a selector takes from the pod itself.
fn label_keys(keys: &[String], selected: bool, path: &Path, errors: &mut Errors) {
    if !keys.is_empty() && !selected {
        errors.forbidden(path, "must not be specified when labelSelector is not set");
    }
    for (index, key) in keys.iter().enumerate() {
        say(errors, &path.index(index), key, names::qualified(key));
    }
}

fn topology_key(key: &str, path: &Path, errors: &mut Errors) {
    if key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
}

fn gates(gates: &[PodSchedulingGate], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, gate) in gates.iter().enumerate() {
        say(errors, &path.index(index), &gate.name, names::qualified(&gate.name));
        check::unique(errors, &mut seen, &path.index(index), &gate.name);
    }
}

fn spread(constraints: &[TopologySpreadConstraint], path: &Path, errors: &mut Errors) {
    for (index, constraint) in constraints.iter().enumerate() {
        let later = &constraints[index + 1..];
        let path = path.index(index);
        if constraint.max_skew <= 0 {
            errors.invalid(&path.child("maxSkew"), constraint.max_skew, "must be greater than zero");
        }
        topology_key(&constraint.topology_key, &path, errors);
        let when = constraint.when_unsatisfiable.as_str();
        let supported = ["DoNotSchedule", "ScheduleAnyway"];
        if !supported.contains(&when) {
            errors.not_supported(&path.child("whenUnsatisfiable"), when, &supported);
        }
        let is_again = |other: &TopologySpreadConstraint| {
            other.topology_key == constraint.topology_key && other.when_unsatisfiable == when
        };
        if later.iter().any(is_again) {
            let pair = format!("{{{}, {when}}}", constraint.topology_key);
            errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), pair);
        }
        if let Some(domains) = constraint.min_domains {
            let at = path.child("minDomains");
            if domains <= 0 {
                errors.invalid(&at, domains, "must be greater than zero");
            }
            if when != "DoNotSchedule" {
                errors.invalid(
                    &at,
                    domains,
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}"),
                );
            }
        }
        for (field, policy) in [
            ("nodeAffinityPolicy", &constraint.node_affinity_policy),
            ("nodeTaintsPolicy", &constraint.node_taints_policy),
        ] {
            if let Some(policy) = policy.as_deref().filter(|policy| !matches!(*policy, "Honor" | "Ignore")) {
                errors.not_supported(&path.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        let keys = constraint.match_label_keys.as_deref().unwrap_or_default();
        label_keys(keys, constraint.label_selector.is_some(), &path.child("matchLabelKeys"), errors);
        if let Some(selector) = &constraint.label_selector {
            check::selector(errors, &path.child("labelSelector"), selector);
        }
    }
}

/// Says what is wrong with tolerations.
pub(in crate::objects) fn tolerations(tolerations: &[Toleration], path: &Path, errors: &mut Errors) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let [key, value, operator, effect] =
            [&toleration.key, &toleration.value, &toleration.operator, &toleration.effect]
                .map(|field| field.as_deref().unwrap_or_default());
        if !key.is_empty() {
            say(errors, &path.child("key"), key, names::qualified(key));
        }
        if key.is_empty() && operator != "Exists" {
            errors.invalid(
                &path.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
            errors.invalid(
                &path.child("effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        match operator {
            "" | "Equal" => {
                let faults = names::label_value(value);
                if !faults.is_empty() {
                    errors.invalid(&path.child("operator"), value, faults.join(";"));
                }
            }
            "Exists" if value.is_empty() => {}
            "Exists" => errors.invalid(
                &path.child("operator"),
                value,
                "value must be empty when `operator` is 'Exists'",
            ),
            other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.not_supported(&path.child("effect"), effect, EFFECTS);
        }
    }
}
