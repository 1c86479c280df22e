use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use serde_json::Value;

use super::status;
use crate::api::{Column, table};
use crate::objects::print;

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Status", "How far the job is."),
    Column::new("Completions", "How many pods have succeeded, of how many that must."),
    Column::new("Duration", "How long the job took, or has run so far."),
    Column::AGE,
    Column::new("Containers", "The names of the containers in the template.").wide(),
    Column::new("Images", "The images of the containers in the template.").wide(),
    Column::new("Selector", "Which pods are counted.").wide(),
];

pub(super) fn cells(job: &Job, now: Timestamp) -> Vec<Value> {
    let spec = job.spec.clone().unwrap_or_default();
    let status = job.status.clone().unwrap_or_default();
    let (containers, images) = print::containers(Some(&spec.template));
    vec![
        job.metadata.name.clone().into(),
        state(&status, job.metadata.deletion_timestamp.is_some()).into(),
        completions(&spec, &status).into(),
        duration(&status, now).into(),
        table::age(&job.metadata, now).into(),
        containers.into(),
        images.into(),
        print::selector(spec.selector.as_ref()).into(),
    ]
}

fn state(status: &JobStatus, deleted: bool) -> &'static str {
    let is = |condition: &str| status::is_true(status, condition);
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if deleted => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn completions(spec: &JobSpec, status: &JobStatus) -> String {
    let succeeded = status.succeeded.unwrap_or_default();
    match (spec.completions, spec.parallelism.unwrap_or_default()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, 2..) => format!("{succeeded}/1 of {}", spec.parallelism.unwrap_or_default()),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn duration(status: &JobStatus, now: Timestamp) -> String {
    let Some(start) = &status.start_time else { return String::new() };
    let end = status.completion_time.as_ref().map_or(now, |end| end.0);
    table::duration(end.duration_since(start.0).as_secs())
}
