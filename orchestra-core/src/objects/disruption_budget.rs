use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::check::{self, shown};
use super::conditions;
use super::json::{at, set};
use crate::api::field::{Errors, Path, Shown};
use crate::api::{Column, NameRule, Rules, table};

/// The rules of PodDisruptionBudget objects.
pub(super) struct DisruptionBudgetRules;

impl Rules for DisruptionBudgetRules {
    type Object = PodDisruptionBudget;

    const SHORT_NAMES: &'static [&'static str] = &["pdb"];
    const STATUS: bool = true;
    const NAME: NameRule = NameRule::PathSegment;
    const UNCONDITIONAL_UPDATE: bool = false;
    const ANY_FINALIZER: bool = true;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Min Available", "How many pods must be left."),
        Column::new("Max Unavailable", "How many pods may be missing."),
        Column::new("Allowed Disruptions", "How many pods may be taken now.").integer(),
        Column::AGE,
    ];

    fn default(object: &mut Value) {
        at(object, &["status"]).into_iter().for_each(conditions::default);
    }

    fn prepare_create(object: &mut Value) {
        set(object, "status", json!({}));
    }

    fn validate(object: &PodDisruptionBudget, errors: &mut Errors) {
        let Some(spec) = &object.spec else { return };
        let path = Path::new("spec");
        if spec.min_available.is_some() && spec.max_unavailable.is_some() {
            let value = Shown::object([
                ("MinAvailable", shown(&spec.min_available).into()),
                ("Selector", spec.selector.as_ref().map_or(Value::Null.into(), check::shown_selector)),
                ("MaxUnavailable", shown(&spec.max_unavailable).into()),
                ("UnhealthyPodEvictionPolicy", shown(&spec.unhealthy_pod_eviction_policy).into()),
            ]);
            errors.invalid_object(&path, value, "minAvailable and maxUnavailable cannot be both set");
        }
        for (field, amount) in
            [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)]
        {
            if let Some(amount) = amount {
                check::count_or_percent(errors, &path.child(field), amount);
                check::at_most_all(errors, &path.child(field), amount);
            }
        }
        if let Some(selector) = &spec.selector {
            check::selector(errors, &path.child("selector"), selector);
        }
        if let Some(policy) = &spec.unhealthy_pod_eviction_policy {
            let at = path.child("unhealthyPodEvictionPolicy");
            check::supported(errors, &at, policy, &["AlwaysAllow", "IfHealthyBudget"]);
        }
    }

    fn validate_status(new: &PodDisruptionBudget, _old: &PodDisruptionBudget, errors: &mut Errors) {
        let status = new.status.clone().unwrap_or_default();
        let path = Path::new("status");
        let held = status.conditions.as_deref().unwrap_or_default();
        conditions::validate(held, &path.child("conditions"), errors);
        let counts = [
            ("disruptionsAllowed", status.disruptions_allowed),
            ("currentHealthy", status.current_healthy),
            ("desiredHealthy", status.desired_healthy),
            ("expectedPods", status.expected_pods),
        ];
        for (field, count) in counts {
            check::not_negative(errors, &path.child(field), count);
        }
    }

    fn cells(object: &PodDisruptionBudget, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let allowed =
            object.status.as_ref().and_then(|status| status.disruptions_allowed).unwrap_or_default();
        vec![
            object.metadata.name.clone().into(),
            amount(spec.min_available.as_ref()).into(),
            amount(spec.max_unavailable.as_ref()).into(),
            allowed.into(),
            table::age(&object.metadata, now).into(),
        ]
    }
}

fn amount(amount: Option<&IntOrString>) -> String {
    match amount {
        Some(IntOrString::Int(number)) => number.to_string(),
        Some(IntOrString::String(text)) => text.clone(),
        None => "N/A".to_owned(),
    }
}
