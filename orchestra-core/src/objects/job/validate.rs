use k8s_openapi::api::batch::v1::{Job, JobSpec};
use serde_json::Value;

use super::{is_indexed, policies};
use crate::api::field::{Errors, Path, Problem};
use crate::objects::check::{self, say, shown};
use crate::objects::{names, template};
use crate::selector::Selector;

/// The most pods at once, and the most failed indexes, of a Job that counts by index.
const MAX_INDEXED: i32 = 100_000;
/// Above so many completions there may be fewer of both.
const MANY_COMPLETIONS: i32 = 100_000;
const MAX_OF_MANY: i32 = 10_000;
/// The longest name of who manages a Job, in bytes.
const MAX_MANAGED_BY: usize = 63;

/// Says what is wrong with a Job that stands by itself.
pub(super) fn standalone(object: &Job, spec: &JobSpec, errors: &mut Errors) {
    let path = Path::new("spec");
    self::spec(spec, &path, errors);
    match &spec.selector {
        None => errors.required(&path.child("selector"), ""),
        Some(selector) => check::selector(errors, &path.child("selector"), selector),
    }
    let labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    if Selector::from_label_selector(spec.selector.as_ref()).is_ok_and(|selector| !selector.matches(&labels))
    {
        errors.invalid(
            &path.child("template.metadata.labels"),
            shown(&Some(labels).filter(|labels| !labels.is_empty())),
            "`selector` does not match template `labels`",
        );
    }
    let name = object.metadata.name.as_deref().unwrap_or_default();
    if let Some(completions) = spec.completions.filter(|count| is_indexed(spec) && *count > 0) {
        // The last pod has the longest name.
        let last = format!("{name}-{}", completions - 1);
        if !names::label(&last).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {last}");
            errors.invalid(&Path::new("metadata.name"), name, detail);
        }
    }
}

/// Says what is wrong with the template of a Job, which gets its selector when it becomes one.
pub(in crate::objects) fn in_template(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    self::spec(spec, path, errors);
    if let Some(selector) = &spec.selector {
        let shown = check::shown_selector(selector);
        errors.invalid_object(&path.child("selector"), shown, "`selector` will be auto-generated");
    }
    if spec.manual_selector == Some(true) {
        errors.not_supported(&path.child("manualSelector"), true, &["nil", "false"]);
    }
}

/// What a user should know of a Job that is accepted.
pub(in crate::objects) fn warnings(spec: &JobSpec, path: &Path) -> Vec<String> {
    let many = spec.completions.unwrap_or_default() > MANY_COMPLETIONS;
    let wide = spec.parallelism.unwrap_or_default() > MAX_OF_MANY;
    let counted = (is_indexed(spec) && many && wide).then(|| {
        format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    });
    let of_template = template::warnings(Some(&spec.template), &path.child("template"));
    counted.into_iter().chain(of_template).collect()
}

fn spec(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    let counts = [
        ("parallelism", spec.parallelism),
        ("completions", spec.completions),
        ("backoffLimit", spec.backoff_limit),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index),
        ("maxFailedIndexes", spec.max_failed_indexes),
    ];
    for (field, count) in counts {
        check::not_negative(errors, &path.child(field), count);
    }
    check::not_negative(errors, &path.child("activeDeadlineSeconds"), spec.active_deadline_seconds);
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = &spec.managed_by {
        managed_by(manager, &path.child("managedBy"), errors);
    }
    completion_mode(spec, path, errors);
    policies::failure(spec, &path.child("podFailurePolicy"), errors);
    policies::success(spec, &path.child("successPolicy"), errors);
    policies::replacement(spec, &path.child("podReplacementPolicy"), errors);
    template::validate(&spec.template, &path.child("template"), errors);
    restart_policy(spec, &path.child("template.spec.restartPolicy"), errors);
}

/// A domain, a slash and a path.
fn managed_by(manager: &str, path: &Path, errors: &mut Errors) {
    match manager.split_once('/') {
        _ if manager.is_empty() => errors.required(path, ""),
        Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
            say(errors, path, domain, names::subdomain(domain));
            let fits = |letter: char| letter.is_ascii_alphanumeric() || "/-._~%!$&'()*+,;=:".contains(letter);
            if !rest.chars().all(fits) {
                let detail = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";
                errors.invalid(path, rest, detail);
            }
        }
        _ => errors.invalid(path, manager, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
    if manager.len() > MAX_MANAGED_BY {
        errors.push(path, Problem::TooLong(MAX_MANAGED_BY));
    }
}

fn completion_mode(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    match spec.completion_mode.as_deref() {
        Some("Indexed") => indexed(spec, path, errors),
        None | Some("NonIndexed") => {
            let of_indexes = [
                ("backoffLimitPerIndex", spec.backoff_limit_per_index),
                ("maxFailedIndexes", spec.max_failed_indexes),
            ];
            for (field, given) in of_indexes {
                if let Some(given) = given {
                    errors.invalid(&path.child(field), given, "requires indexed completion mode");
                }
            }
        }
        Some(other) => {
            errors.not_supported(&path.child("completionMode"), other, &["NonIndexed", "Indexed"]);
        }
    }
}

fn indexed(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    let (at_parallelism, at_failed) = (path.child("parallelism"), path.child("maxFailedIndexes"));
    let (parallelism, failed) = (spec.parallelism, spec.max_failed_indexes);
    let at_most = |errors: &mut Errors, path: &Path, given: Option<i32>, most: i32, why: &str| {
        if let Some(given) = given.filter(|given| *given > most) {
            errors.invalid(path, given, format!("must be less than or equal to {why}"));
        }
    };
    let Some(completions) = spec.completions else {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
        return;
    };
    let why = format!("{MAX_INDEXED} when completion mode is Indexed");
    at_most(errors, &at_parallelism, parallelism, MAX_INDEXED, &why);
    at_most(errors, &at_failed, failed, completions, "completions");
    at_most(errors, &at_failed, failed, MAX_INDEXED, &MAX_INDEXED.to_string());
    if completions > MANY_COMPLETIONS && spec.backoff_limit_per_index.is_some() {
        if failed.is_none() {
            let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.required(&at_failed, detail);
        }
        let why = format!(
            "{MAX_OF_MANY} when completions are above {MANY_COMPLETIONS} and used with backoff limit per index"
        );
        at_most(errors, &at_parallelism, parallelism, MAX_OF_MANY, &why);
        at_most(errors, &at_failed, failed, MAX_OF_MANY, &why);
    }
}

fn restart_policy(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    let pod = spec.template.spec.as_ref();
    match pod.and_then(|pod| pod.restart_policy.as_deref()).unwrap_or_default() {
        "" | "Always" => errors.required(path, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" if spec.pod_failure_policy.is_some() => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(path, Value::from("OnFailure"), detail);
        }
        "OnFailure" => {}
        other => errors.not_supported(path, other, &["OnFailure", "Never"]),
    }
}
