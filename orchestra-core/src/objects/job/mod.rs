//! Jobs, and what one asks for, which templates in CronJobs hold too.
//!
//! | file | what it says |
//! | --- | --- |
//! | `validate` | what is wrong with a specification; `policies` with when it counts as failed or done |
//! | `generated` | the selector and labels that a Job is given, so that no other controller has its pods |
//! | `update` | what may change |
//! | `status` | what a status may become |
//! | `indexes` | lists of indexes, as in `0-3,7` |
//! | `print` | the row in a table |

mod generated;
mod indexes;
mod policies;
mod print;
mod status;
mod update;
mod validate;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use serde_json::{Map, Value, json};

pub(super) use validate::{in_template as validate_in_template, warnings};

use super::json::{Fields, at, set};
use super::{print as print_shared, template};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, desires_otherwise};
use crate::watch::IndexedField;

/// The rules of Job objects.
pub(super) struct JobRules;

impl Rules for JobRules {
    type Object = Job;

    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const UNKNOWN_FIELD: &'static str = "field label \"{field}\" not supported for Job";
    const FIELDS: &'static [IndexedField] =
        &[IndexedField::or("status.successful", "0").at("status.succeeded")];
    const COLUMNS: &'static [Column] = print::COLUMNS;
    const ORPHAN_BY_DEFAULT: bool = true;
    const DELETION_WARNING: Option<&'static str> = Some(
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or \
         set propagationPolicy=Orphan to suppress this warning",
    );

    fn default(object: &mut Value) {
        let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) else {
            return;
        };
        if !spec.has("parallelism") {
            spec.or("completions", 1);
            spec.or("parallelism", 1);
        }
        // Where each index has a limit of its own, only those limits count.
        let backoff = if spec.has("backoffLimitPerIndex") { i32::MAX } else { 6 };
        spec.or("backoffLimit", backoff);
        spec.or("completionMode", "NonIndexed");
        spec.or("suspend", false);
        spec.or("manualSelector", false);
        let failed = spec.has("podFailurePolicy");
        spec.or("podReplacementPolicy", if failed { "Failed" } else { "TerminatingOrFailed" });
        default_spec(spec);
    }

    fn prepare_create(object: &mut Value) {
        generated::selector(object);
        set(object, "status", json!({}));
    }

    fn prepare_update(new: &mut Value, _old: &Value) {
        generated::labels(new);
    }

    fn validate(object: &Job, errors: &mut Errors) {
        let spec = object.spec.clone().unwrap_or_default();
        generated::validate(object, &spec, errors);
        validate::standalone(object, &spec, errors);
    }

    fn validate_update(new: &Job, old: &Job, errors: &mut Errors) {
        update::validate(new, old, errors);
    }

    fn validate_status(new: &Job, old: &Job, errors: &mut Errors) {
        status::validate(new, old, errors);
    }

    fn warns_of_change(new: &Value, old: &Value) -> bool {
        desires_otherwise(new, old)
    }

    fn warnings(object: &Job) -> Vec<String> {
        object.spec.as_ref().map_or(Vec::new(), |spec| warnings(spec, &Path::new("spec")))
    }

    fn warnings_at_creation(object: &Job) -> Vec<String> {
        print_shared::name_warning(&object.metadata)
    }

    fn cells(object: &Job, now: Timestamp) -> Vec<Value> {
        print::cells(object, now)
    }
}

/// Fills in what a Job and the template of one have in common.
pub(super) fn default_spec(spec: &mut Map<String, Value>) {
    if let Some(policy) = spec.object("podFailurePolicy") {
        for rule in policy.each("rules") {
            for pattern in rule.each("onPodConditions") {
                pattern.or_text("status", "True");
            }
        }
    }
    template::default(spec);
}

/// Whether a Job counts completions by index.
fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// The labels of an object, made if it has none.
fn labels_of<'v>(object: &'v mut Value, path: &[&str]) -> Option<&'v mut Map<String, Value>> {
    at(object, path)?.object_or_new("metadata")?.object_or_new("labels")
}
