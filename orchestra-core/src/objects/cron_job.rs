use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec};
use serde_json::{Value, json};

use super::check;
use super::json::{Fields, set};
use super::print::or_none;
use super::{job, print};
use crate::api::field::{Errors, Path};
use crate::api::{Column, Rules, desires_otherwise, table};
use crate::cron::{Schedule, time_zone};

/// The longest name: a Job's is longer by a hyphen and ten digits.
const MAX_NAME: usize = 52;

/// The rules of CronJob objects.
pub(super) struct CronJobRules;

impl Rules for CronJobRules {
    type Object = CronJob;

    const SHORT_NAMES: &'static [&'static str] = &["cj"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Schedule", "When jobs are made."),
        Column::new("Timezone", "The time zone of the schedule."),
        Column { kind: "boolean", ..Column::new("Suspend", "Whether no more jobs are made.") },
        Column::new("Active", "How many of its jobs are running.").integer(),
        Column::new("Last Schedule", "How long ago a job was made."),
        Column::AGE,
        Column::new("Containers", "The names of the containers in the template.").wide(),
        Column::new("Images", "The images of the containers in the template.").wide(),
        Column::new("Selector", "Which pods are counted.").wide(),
    ];

    fn default(object: &mut Value) {
        let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) else {
            return;
        };
        spec.or_text("concurrencyPolicy", "Allow");
        spec.or("suspend", false);
        spec.or("successfulJobsHistoryLimit", 3);
        spec.or("failedJobsHistoryLimit", 1);
        if let Some(template) = spec.object_or_new("jobTemplate") {
            template.or("metadata", json!({}));
            if let Some(spec) = template.object_or_new("spec") {
                job::default_spec(spec);
            }
        }
    }

    fn prepare_create(object: &mut Value) {
        set(object, "status", json!({}));
    }

    fn validate(object: &CronJob, errors: &mut Errors) {
        let path = Path::new("spec");
        let spec = &object.spec;
        schedule(spec, &path.child("schedule"), errors);
        check::not_negative(errors, &path.child("startingDeadlineSeconds"), spec.starting_deadline_seconds);
        let policy = spec.concurrency_policy.as_deref().unwrap_or_default();
        let policies = ["Allow", "Forbid", "Replace"];
        check::one_of(errors, &path.child("concurrencyPolicy"), policy, &policies);
        let template = spec.job_template.spec.clone().unwrap_or_default();
        job::validate_in_template(&template, &path.child("jobTemplate.spec"), errors);
        let limits = [
            ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
            ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
        ];
        for (field, limit) in limits {
            check::not_negative(errors, &path.child(field), limit);
        }
    }

    fn validate_create(object: &CronJob, errors: &mut Errors) {
        no_zone_in_schedule(&object.spec, errors);
        zone(&object.spec, errors);
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if name.len() > MAX_NAME {
            let detail = format!("must be no more than {MAX_NAME} characters");
            errors.invalid(&Path::new("metadata.name"), name, detail);
        }
    }

    fn validate_update(new: &CronJob, old: &CronJob, errors: &mut Errors) {
        let (new, old) = (&new.spec, &old.spec);
        if !names_zone(old) {
            no_zone_in_schedule(new, errors);
        } else if names_zone(new) && new.time_zone.is_some() {
            let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
            errors.invalid(&Path::new("spec.schedule"), &*new.schedule, detail);
        }
        if new.time_zone != old.time_zone {
            zone(new, errors);
        }
    }

    fn warns_of_change(new: &Value, old: &Value) -> bool {
        desires_otherwise(new, old)
    }

    fn warnings(object: &CronJob) -> Vec<String> {
        let template = object.spec.job_template.spec.as_ref();
        template.map_or(Vec::new(), |spec| job::warnings(spec, &Path::new("spec.jobTemplate.spec")))
    }

    fn warnings_at_creation(object: &CronJob) -> Vec<String> {
        print::name_warning(&object.metadata)
    }

    fn cells(object: &CronJob, now: Timestamp) -> Vec<Value> {
        let spec = &object.spec;
        let status = object.status.clone().unwrap_or_default();
        let template = spec.job_template.spec.as_ref();
        let (containers, images) = print::containers(template.map(|spec| &spec.template));
        let last = status.last_schedule_time.as_ref();
        vec![
            object.metadata.name.clone().into(),
            spec.schedule.as_str().into(),
            or_none(spec.time_zone.as_deref()).into(),
            print::truth(spec.suspend).into(),
            status.active.map_or(0, |active| active.len()).into(),
            last.map_or("<none>".to_owned(), |last| table::since(Some(last), now)).into(),
            table::age(&object.metadata, now).into(),
            containers.into(),
            images.into(),
            print::selector(template.and_then(|spec| spec.selector.as_ref())).into(),
        ]
    }
}

fn schedule(spec: &CronJobSpec, path: &Path, errors: &mut Errors) {
    if spec.schedule.is_empty() {
        return errors.required(path, "");
    }
    if let Err(error) = spec.schedule.parse::<Schedule>() {
        errors.invalid(path, &*spec.schedule, error.to_string());
    }
}

/// Whether the schedule itself names a time zone, as far as its letters tell.
fn names_zone(spec: &CronJobSpec) -> bool {
    spec.schedule.contains("TZ")
}

fn no_zone_in_schedule(spec: &CronJobSpec, errors: &mut Errors) {
    if names_zone(spec) {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid(&Path::new("spec.schedule"), &*spec.schedule, detail);
    }
}

/// Whether a part of the name of a time zone is one that may be looked for.
fn is_zone_part(part: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "+-_.".contains(letter);
    !matches!(part, "" | "." | "..") && part.chars().all(fits)
}

fn zone(spec: &CronJobSpec, errors: &mut Errors) {
    let Some(name) = spec.time_zone.as_deref() else { return };
    let path = Path::new("spec.timeZone");
    if name.is_empty() {
        errors.invalid(&path, name, "timeZone must be nil or non-empty string");
    } else if name.eq_ignore_ascii_case("Local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(&path, name, detail);
        if name != "Local" {
            errors.invalid(&path, name, format!("unknown time zone {name}"));
        }
    } else if name.contains("..") && name.split('/').all(is_zone_part) {
        // Go looks for no file of such a name.
        errors.invalid(&path, name, "time: invalid location name");
    } else if time_zone(name).is_none() {
        errors.invalid(&path, name, format!("unknown time zone {name}"));
    }
}
