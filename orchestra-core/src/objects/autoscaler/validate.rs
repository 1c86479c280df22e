use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec,
};

use super::metrics;
use super::reference::{reference, version};
use crate::api::field::{Errors, Path};
use crate::objects::check::{self, NEGATIVE};
use crate::quantity::Quantity;

/// The longest time for which what was recommended counts, and over which a change is limited, in seconds.
const MAX_WINDOW: i32 = 3600;
const MAX_PERIOD: i32 = 1800;

/// Says what is wrong with what an autoscaler is to do.
pub(super) fn spec(spec: &HorizontalPodAutoscalerSpec, path: &Path, errors: &mut Errors) {
    let (at_least, at_most) = (path.child("minReplicas"), path.child("maxReplicas"));
    if let Some(least) = spec.min_replicas.filter(|least| *least < 1) {
        errors.invalid(&at_least, least, "must be greater than or equal to 1");
    }
    match spec.max_replicas {
        0 => errors.required(&at_most, "must be set and greater than 0"),
        most if most < 0 => errors.invalid(&at_most, most, "must be greater than or equal to 1"),
        _ => {}
    }
    if spec.min_replicas.is_some_and(|least| spec.max_replicas < least) {
        errors.invalid(&at_most, spec.max_replicas, "must be greater than or equal to `minReplicas`");
    }
    reference(&spec.scale_target_ref, &path.child("scaleTargetRef"), errors);
    metrics::validate(spec, &path.child("metrics"), errors);
    if let Some(behavior) = &spec.behavior {
        let path = path.child("behavior");
        for (direction, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
            if let Some(rules) = rules {
                self::rules(rules, &path.child(direction), errors);
            }
        }
    }
}

/// Says what is wrong with the version of what is scaled.
pub(super) fn target_version(target: &CrossVersionObjectReference, errors: &mut Errors) {
    let of_core = target.kind == "ReplicationController";
    let given = target.api_version.as_deref().unwrap_or_default();
    version(given, of_core, &Path::new("spec.scaleTargetRef"), errors);
}

fn rules(rules: &HPAScalingRules, path: &Path, errors: &mut Errors) {
    let at = path.child("stabilizationWindowSeconds");
    match rules.stabilization_window_seconds {
        Some(seconds) if seconds < 0 => {
            errors.invalid(&at, seconds, "must be greater than or equal to zero");
        }
        Some(seconds) if seconds > MAX_WINDOW => {
            errors.invalid(&at, seconds, format!("must be less than or equal to {MAX_WINDOW}"));
        }
        _ => {}
    }
    if let Some(select) = &rules.select_policy {
        check::supported(errors, &path.child("selectPolicy"), select, &["Disabled", "Max", "Min"]);
    }
    let at = path.child("policies");
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        errors.required(&at, "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        self::policy(policy, &at.index(index), errors);
    }
    if let Some(tolerance) = &rules.tolerance
        && Quantity::parse(&tolerance.0).is_ok_and(|tolerance| tolerance.is_negative())
    {
        errors.invalid(&path.child("tolerance"), &*tolerance.0, NEGATIVE);
    }
}

fn policy(policy: &HPAScalingPolicy, path: &Path, errors: &mut Errors) {
    check::supported(errors, &path.child("type"), &policy.type_, &["Percent", "Pods"]);
    for (field, number) in [("value", policy.value), ("periodSeconds", policy.period_seconds)] {
        if number <= 0 {
            errors.invalid(&path.child(field), number, "must be greater than zero");
        }
    }
    if policy.period_seconds > MAX_PERIOD {
        let detail = format!("must be less than or equal to {MAX_PERIOD}");
        errors.invalid(&path.child("periodSeconds"), policy.period_seconds, detail);
    }
}
