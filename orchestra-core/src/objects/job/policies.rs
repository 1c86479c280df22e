use std::collections::HashSet;

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule, SuccessPolicy, SuccessPolicyRule,
};
use serde_json::Value;

use super::{indexes, is_indexed};
use crate::api::field::{Errors, Path, Problem, Shown};
use crate::objects::check::{self, say, shown};
use crate::objects::names;

const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_PATTERNS: usize = 20;
/// The longest list of indexes that must succeed, in bytes.
const MAX_INDEXES: usize = 64 * 1024;

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];

/// A text out of a few, which are listed also if it is left out.
fn one_of(value: &str, supported: &[&str], path: &Path, errors: &mut Errors) {
    if value.is_empty() {
        let quoted: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        errors.required(path, format!("valid values: [{}]", quoted.join(" ")));
    } else {
        check::supported(errors, path, value, supported);
    }
}

fn at_most(actual: usize, most: usize, path: &Path, errors: &mut Errors) {
    if actual > most {
        errors.push(path, Problem::TooMany(actual, most));
    }
}

/// Says what is wrong with what a failed pod means.
pub(super) fn failure(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    let Some(policy) = &spec.pod_failure_policy else { return };
    let path = path.child("rules");
    at_most(policy.rules.len(), MAX_RULES, &path, errors);
    let pod = spec.template.spec.clone().unwrap_or_default();
    let containers = pod.containers.iter().chain(pod.init_containers.iter().flatten());
    let containers: HashSet<&str> = containers.map(|container| &*container.name).collect();
    for (index, rule) in policy.rules.iter().enumerate() {
        failure_rule(spec, rule, &containers, &path.index(index), errors);
    }
}

fn failure_rule(
    spec: &JobSpec,
    rule: &PodFailurePolicyRule,
    containers: &HashSet<&str>,
    path: &Path,
    errors: &mut Errors,
) {
    let at = path.child("action");
    one_of(&rule.action, ACTIONS, &at, errors);
    if rule.action == "FailIndex" && spec.backoff_limit_per_index.is_none() {
        errors.invalid(&at, &*rule.action, "requires the backoffLimitPerIndex to be set");
    }
    if let Some(codes) = &rule.on_exit_codes {
        exit_codes(codes, containers, &path.child("onExitCodes"), errors);
    }
    let conditions = rule.on_pod_conditions.as_deref().unwrap_or_default();
    pod_conditions(conditions, &path.child("onPodConditions"), errors);
    match (rule.on_exit_codes.is_some(), !conditions.is_empty()) {
        (true, true) => {
            errors.unfit(path, "specifying both OnExitCodes and OnPodConditions is not supported");
        }
        (false, false) => errors.unfit(path, "specifying one of OnExitCodes and OnPodConditions is required"),
        _ => {}
    }
}

fn exit_codes(
    codes: &PodFailurePolicyOnExitCodesRequirement,
    containers: &HashSet<&str>,
    path: &Path,
    errors: &mut Errors,
) {
    one_of(&codes.operator, OPERATORS, &path.child("operator"), errors);
    if let Some(name) = codes.container_name.as_deref().filter(|name| !containers.contains(name)) {
        let detail = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), name, detail);
    }
    let path = path.child("values");
    let values = &codes.values;
    if values.is_empty() {
        errors.invalid(
            &path,
            shown(&Some(values).filter(|values| !values.is_empty())),
            "at least one value is required",
        );
    }
    at_most(values.len(), MAX_EXIT_CODES, &path, errors);
    let mut seen = HashSet::new();
    for (index, value) in values.iter().enumerate() {
        if codes.operator == "In" && *value == 0 {
            errors.invalid(&path.index(index), 0, "must not be 0 for the In operator");
        }
        if !seen.insert(value) {
            errors.duplicate(&path.index(index), *value);
        }
    }
    if !values.is_sorted() {
        errors.invalid(&path, shown(&values), "must be ordered");
    }
}

fn pod_conditions(patterns: &[PodFailurePolicyOnPodConditionsPattern], path: &Path, errors: &mut Errors) {
    at_most(patterns.len(), MAX_PATTERNS, path, errors);
    for (index, pattern) in patterns.iter().enumerate() {
        let path = path.index(index);
        say(errors, &path.child("type"), &pattern.type_, names::qualified(&pattern.type_));
        one_of(pattern.status.as_deref().unwrap_or_default(), STATUSES, &path.child("status"), errors);
    }
}

/// Says what is wrong with when the Job is done before all of its pods are.
pub(super) fn success(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    let Some(policy) = &spec.success_policy else { return };
    if !is_indexed(spec) {
        return errors.invalid_object(path, shown_success(policy), "requires indexed completion mode");
    }
    let path = path.child("rules");
    if policy.rules.is_empty() {
        let detail = "at least one rules must be specified when the successPolicy is specified";
        errors.required(&path, detail);
    }
    at_most(policy.rules.len(), MAX_RULES, &path, errors);
    for (index, rule) in policy.rules.iter().enumerate() {
        success_rule(rule, spec.completions.unwrap_or_default(), &path.index(index), errors);
    }
}

fn success_rule(rule: &SuccessPolicyRule, completions: i32, path: &Path, errors: &mut Errors) {
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        let detail = "at least one of succeededCount or succeededIndexes must be specified";
        errors.required(path, detail);
    }
    let mut named = None;
    if let Some(list) = &rule.succeeded_indexes {
        let at = path.child("succeededIndexes");
        if list.len() > MAX_INDEXES {
            errors.push(&at, Problem::TooLong(MAX_INDEXES));
        }
        named = Some(indexes::count(list, completions).unwrap_or_else(|error| {
            errors.invalid(&at, list.as_str(), format!("error parsing succeededIndexes: {error}"));
            0
        }));
    }
    let Some(count) = rule.succeeded_count else { return };
    let at = path.child("succeededCount");
    check::not_negative(errors, &at, Some(count));
    let limits = [
        (Some(i64::from(completions)), "the number of specified completions"),
        (named, "the number of indexes in the specified succeededIndexes field"),
    ];
    for (most, what) in limits {
        if let Some(most) = most.filter(|most| i64::from(count) > *most) {
            errors.invalid(&at, count, format!("must be less than or equal to {most} ({what})"));
        }
    }
}

/// Says what is wrong with when a pod is replaced.
pub(super) fn replacement(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    let Some(policy) = &spec.pod_replacement_policy else { return };
    let supported: &[&str] =
        if spec.pod_failure_policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    check::supported(errors, path, policy, supported);
}

/// A policy as errors show it.
pub(super) fn shown_success(policy: &SuccessPolicy) -> Shown {
    let rules = policy.rules.iter().map(|rule| {
        Shown::object([
            ("SucceededIndexes", shown(&rule.succeeded_indexes).into()),
            ("SucceededCount", shown(&rule.succeeded_count).into()),
        ])
    });
    Shown::object([("Rules", some(rules))])
}

/// A list as errors show it: one of nothing is most often one that is not there.
fn some(items: impl ExactSizeIterator<Item = Shown>) -> Shown {
    if items.len() == 0 { Value::Null.into() } else { Shown::list(items) }
}

/// A policy as errors show it.
pub(super) fn shown_failure(policy: &PodFailurePolicy) -> Shown {
    let none = || Shown::from(Value::Null);
    let rules = policy.rules.iter().map(|rule| {
        let codes = rule.on_exit_codes.as_ref().map_or_else(none, |codes| {
            Shown::object([
                ("ContainerName", shown(&codes.container_name).into()),
                ("Operator", shown(&codes.operator).into()),
                ("Values", shown(&codes.values).into()),
            ])
        });
        let conditions = rule.on_pod_conditions.as_ref().map_or_else(none, |patterns| {
            Shown::list(patterns.iter().map(|pattern| {
                Shown::object([
                    ("Type", shown(&pattern.type_).into()),
                    ("Status", shown(&pattern.status).into()),
                ])
            }))
        });
        Shown::object([
            ("Action", shown(&rule.action).into()),
            ("OnExitCodes", codes),
            ("OnPodConditions", conditions),
        ])
    });
    Shown::object([("Rules", some(rules))])
}
