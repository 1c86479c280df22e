use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::check::{self, shown};
use super::json::{Fields, keep, set};
use super::replicas::{self, SCALE};
use super::{legacy, print, template};
use crate::api::field::{Errors, Path, Problem};
use crate::api::{Column, Conversion, Resource, Rules, ScalePaths, desires_otherwise, table};

/// The rules of Deployment objects.
pub(super) struct DeploymentRules;

impl Rules for DeploymentRules {
    type Object = Deployment;

    const SHORT_NAMES: &'static [&'static str] = &["deploy"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const SCALE: Option<ScalePaths> = Some(SCALE);
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Ready", "How many pods are ready, of how many that are wanted."),
        Column::new("Up-to-date", "How many pods are made from the template as it is now."),
        Column::new("Available", "How many pods have been ready for long enough."),
        Column::AGE,
        Column::new("Containers", "The names of the containers in the template.").wide(),
        Column::new("Images", "The images of the containers in the template.").wide(),
        Column::new("Selector", "Which pods are counted.").wide(),
    ];

    fn default(object: &mut Value) {
        let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) else {
            return;
        };
        spec.or("replicas", 1);
        spec.or("revisionHistoryLimit", 10);
        spec.or("progressDeadlineSeconds", 600);
        if let Some(strategy) = spec.object_or_new("strategy") {
            strategy.or_text("type", "RollingUpdate");
            if strategy.text("type") == "RollingUpdate"
                && let Some(rolling) = strategy.object_or_new("rollingUpdate")
            {
                rolling.or("maxUnavailable", "25%");
                rolling.or("maxSurge", "25%");
            }
        }
        template::default(spec);
    }

    fn prepare_create(object: &mut Value) {
        set(object, "status", json!({}));
    }

    fn validate(object: &Deployment, errors: &mut Errors) {
        let path = Path::new("spec");
        let spec = object.spec.clone().unwrap_or_default();
        check::not_negative(errors, &path.child("replicas"), spec.replicas);
        replicas::selection(&spec.selector, &spec.template, "ReplicaSet", replicas::UNUSABLE, &path, errors);
        strategy(spec.strategy.as_ref(), &path.child("strategy"), errors);
        check::not_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
        check::not_negative(errors, &path.child("revisionHistoryLimit"), spec.revision_history_limit);
        deadline(&spec, &path.child("progressDeadlineSeconds"), errors);
    }

    fn validate_update(new: &Deployment, old: &Deployment, errors: &mut Errors) {
        let selector = |object: &Deployment| object.spec.as_ref().map(|spec| spec.selector.clone());
        replicas::selector_unchanged(selector(new).as_ref(), selector(old).as_ref(), errors);
    }

    fn warns_of_change(new: &Value, old: &Value) -> bool {
        Self::is_new_generation(new, old)
    }

    fn warnings(object: &Deployment) -> Vec<String> {
        template::warnings(object.spec.as_ref().map(|spec| &spec.template), &Path::new("spec.template"))
    }

    fn is_new_generation(new: &Value, old: &Value) -> bool {
        // Annotations are passed on to the ReplicaSets, so that a change of them is one to carry out.
        let annotations = |object: &Value| object["metadata"]["annotations"].clone();
        desires_otherwise(new, old) || annotations(new) != annotations(old)
    }

    fn prepare_status(new: &mut Value, old: &Value) {
        keep_labels(new, old);
    }

    fn warnings_at_creation(object: &Deployment) -> Vec<String> {
        print::name_warning(&object.metadata)
    }

    fn validate_json(object: &Value, errors: &mut Errors) {
        replicas::selector_required(object, errors);
        replicas::selector_selects(object, "deployment", errors);
    }

    fn cells(object: &Deployment, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        let (containers, images) = print::containers(Some(&spec.template));
        let ready = status.ready_replicas.unwrap_or_default();
        vec![
            object.metadata.name.clone().into(),
            format!("{ready}/{}", spec.replicas.unwrap_or_default()).into(),
            status.updated_replicas.unwrap_or_default().into(),
            status.available_replicas.unwrap_or_default().into(),
            table::age(&object.metadata, now).into(),
            containers.into(),
            images.into(),
            print::selector(Some(&spec.selector)).into(),
        ]
    }
}

/// The labels of a Deployment are not its status's to change.
fn keep_labels(new: &mut Value, old: &Value) {
    if let (Some(new), Some(old)) = (new.get_mut("metadata"), old.get("metadata")) {
        keep(new, old, "labels");
    }
}

fn deadline(spec: &DeploymentSpec, path: &Path, errors: &mut Errors) {
    check::not_negative(errors, path, spec.progress_deadline_seconds);
    if let Some(seconds) = spec.progress_deadline_seconds
        && seconds <= spec.min_ready_seconds.unwrap_or_default()
    {
        errors.invalid(path, seconds, "must be greater than minReadySeconds");
    }
}

fn strategy(strategy: Option<&DeploymentStrategy>, path: &Path, errors: &mut Errors) {
    let none = DeploymentStrategy::default();
    let strategy = strategy.unwrap_or(&none);
    let at = path.child("rollingUpdate");
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        ("Recreate", Some(_)) => {
            errors.forbidden(&at, "may not be specified when strategy `type` is 'Recreate'");
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => errors.required(&at, "this should be defaulted and never be nil"),
        ("RollingUpdate", Some(rolling)) => {
            let zero = IntOrString::Int(0);
            let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
            let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
            check::count_or_percent(errors, &at.child("maxUnavailable"), unavailable);
            check::count_or_percent(errors, &at.child("maxSurge"), surge);
            let nothing = |value: &IntOrString| *value == zero || check::percent(value) == Some(0);
            if nothing(unavailable) && nothing(surge) {
                errors.invalid(
                    &at.child("maxUnavailable"),
                    shown(unavailable),
                    "may not be 0 when `maxSurge` is 0",
                );
            }
            check::at_most_all(errors, &at.child("maxUnavailable"), unavailable);
        }
        (other, rolling) => {
            let rolling = rolling.as_ref().map(|rolling| {
                [("MaxUnavailable", shown(&rolling.max_unavailable)), ("MaxSurge", shown(&rolling.max_surge))]
            });
            let value = replicas::shown_strategy(other, rolling);
            let supported = ["Recreate", "RollingUpdate"].map(str::to_owned).into();
            errors.push(path, Problem::NotSupported(value, supported));
        }
    }
}

/// The row of Deployments, which are served under their older versions too.
pub(super) fn row() -> Resource {
    Resource::of::<DeploymentRules>()
        .also("extensions", "v1beta1", legacy::EXTENSIONS_V1BETA1)
        .retired()
        .also("apps", "v1beta2", Conversion::NONE)
        .retired()
        .also("apps", "v1beta1", legacy::APPS_V1BETA1)
        .retired()
}
