//! HorizontalPodAutoscalers, which are stored as `autoscaling/v2` has them and served as `autoscaling/v1` too.
//!
//! | file | what it says |
//! | --- | --- |
//! | `validate` | what is wrong with a specification; `metrics` with what is measured |
//! | `v1` | the older version, which knows only the use of CPUs and keeps the rest in annotations; `measured` how a metric is written there |
//! | `print` | the row in a table |

mod measured;
mod metrics;
mod print;
mod reference;
mod v1;
mod validate;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::{Map, Value, json};

use super::check;
use super::json::{Fields, set};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Resource, Rules};

/// The share of the CPUs it asked for that a pod should use, if nothing is said of what is measured.
const DEFAULT_UTILIZATION: i32 = 80;

/// The rules of HorizontalPodAutoscaler objects.
pub(super) struct AutoscalerRules;

impl Rules for AutoscalerRules {
    type Object = HorizontalPodAutoscaler;

    const SHORT_NAMES: &'static [&'static str] = &["hpa"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const GENERATION: bool = false;
    const COLUMNS: &'static [Column] = print::COLUMNS;

    fn default(object: &mut Value) {
        v1::drop_annotations(object);
        let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) else {
            return;
        };
        spec.or("minReplicas", 1);
        let measured = spec.get("metrics").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        if !measured && !spec.get("metrics").is_some_and(Value::is_object) {
            spec.insert("metrics".to_owned(), json!([utilization_of_cpu(DEFAULT_UTILIZATION)]));
        }
        if let Some(behavior) = spec.object("behavior") {
            for (direction, window, policies) in [
                ("scaleUp", Some(0), json!([policy("Pods", 4), policy("Percent", 100)])),
                ("scaleDown", None, json!([policy("Percent", 100)])),
            ] {
                if let Some(rules) = behavior.object_or_new(direction) {
                    rules.or("selectPolicy", "Max");
                    rules.or("policies", policies);
                    window.into_iter().for_each(|seconds| rules.or("stabilizationWindowSeconds", seconds));
                }
            }
        }
    }

    fn prepare_create(object: &mut Value) {
        set(object, "status", json!({}));
    }

    fn validate(object: &HorizontalPodAutoscaler, errors: &mut Errors) {
        let spec = &object.spec;
        validate::spec(spec, &Path::new("spec"), errors);
    }

    fn validate_create(object: &HorizontalPodAutoscaler, errors: &mut Errors) {
        let spec = &object.spec;
        validate::target_version(&spec.scale_target_ref, errors);
    }

    fn validate_update(new: &HorizontalPodAutoscaler, old: &HorizontalPodAutoscaler, errors: &mut Errors) {
        let target = |object: &HorizontalPodAutoscaler| object.spec.scale_target_ref.clone();
        let (new, old) = (target(new), target(old));
        // What was accepted once, in an older version, may stay.
        if (&new.kind, &new.api_version) != (&old.kind, &old.api_version) {
            validate::target_version(&new, errors);
        }
    }

    fn validate_status(new: &HorizontalPodAutoscaler, _old: &HorizontalPodAutoscaler, errors: &mut Errors) {
        let status = new.status.clone().unwrap_or_default();
        let path = Path::new("status");
        check::not_negative(errors, &path.child("currentReplicas"), status.current_replicas);
        check::not_negative(errors, &path.child("desiredReplicas"), Some(status.desired_replicas));
    }

    fn cells(object: &HorizontalPodAutoscaler, now: Timestamp) -> Vec<Value> {
        print::cells(object, now)
    }
}

/// A metric: the share of the CPUs they asked for that pods use, in percent.
fn utilization_of_cpu(percent: impl Into<Value>) -> Value {
    json!({
        "type": "Resource",
        "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": percent.into() } },
    })
}

/// So many pods, or percent of them, in a quarter of a minute.
fn policy(kind: &str, value: i32) -> Value {
    json!({ "type": kind, "value": value, "periodSeconds": 15 })
}

/// The fields of an object, if it has them.
fn fields<'v>(object: &'v mut Value, field: &str) -> Option<&'v mut Map<String, Value>> {
    object.as_object_mut()?.object(field)
}

/// The row of HorizontalPodAutoscalers.
pub(super) fn row() -> Resource {
    Resource::of::<AutoscalerRules>()
        .also_as::<k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler>(v1::CONVERSION)
}
