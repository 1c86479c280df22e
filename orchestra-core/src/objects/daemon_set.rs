use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::check::{self, shown};
use super::json::{Fields, at, set};
use super::{print, replicas, template};
use crate::api::field::{Errors, Path, Problem};
use crate::api::{Column, Rules, table};

/// Where the number of the template is kept, which grows with each change of the template.
const GENERATION: &str = "deprecated.daemonset.template.generation";

/// The rules of DaemonSet objects.
pub(super) struct DaemonSetRules;

impl Rules for DaemonSetRules {
    type Object = DaemonSet;

    const SHORT_NAMES: &'static [&'static str] = &["ds"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const STATUS: bool = true;
    const COLUMNS: &'static [Column] = &[
        Column::NAME,
        Column::new("Desired", "On how many nodes the pod should run.").integer(),
        Column::new("Current", "On how many of them it is.").integer(),
        Column::new("Ready", "On how many it is ready.").integer(),
        Column::new("Up-to-date", "On how many it is made from the template as it is now.").integer(),
        Column::new("Available", "On how many it has been ready for long enough.").integer(),
        Column::new("Node Selector", "Which nodes the pod is for."),
        Column::AGE,
        Column::new("Containers", "The names of the containers in the template.").wide(),
        Column::new("Images", "The images of the containers in the template.").wide(),
        Column::new("Selector", "Which pods are counted.").wide(),
    ];

    fn default(object: &mut Value) {
        let Some(spec) = object.as_object_mut().and_then(|fields| fields.object_or_new("spec")) else {
            return;
        };
        spec.or("revisionHistoryLimit", 10);
        if let Some(strategy) = spec.object_or_new("updateStrategy") {
            strategy.or_text("type", "RollingUpdate");
            if strategy.text("type") == "RollingUpdate"
                && let Some(rolling) = strategy.object_or_new("rollingUpdate")
            {
                rolling.or("maxUnavailable", 1);
                rolling.or("maxSurge", 0);
            }
        }
        template::default(spec);
    }

    fn prepare_create(object: &mut Value) {
        let given = template_generation(object).max(1);
        set_template_generation(object, given);
        set(object, "status", json!({}));
    }

    fn prepare_update(new: &mut Value, old: &Value) {
        let template = |object: &Value| object.pointer("/spec/template").cloned();
        let changed = template(new) != template(old);
        set_template_generation(new, template_generation(old) + i64::from(changed));
    }

    fn prepare_status(new: &mut Value, old: &Value) {
        set_template_generation(new, template_generation(old));
    }

    fn validate(object: &DaemonSet, errors: &mut Errors) {
        let path = Path::new("spec");
        let spec = object.spec.clone().unwrap_or_default();
        replicas::selection(&spec.selector, &spec.template, "DaemonSet", None, &path, errors);
        check::not_negative(errors, &path.child("minReadySeconds"), spec.min_ready_seconds);
        check::not_negative(errors, &path.child("revisionHistoryLimit"), spec.revision_history_limit);
        strategy(&spec.update_strategy.unwrap_or_default(), &path.child("updateStrategy"), errors);
    }

    fn validate_json(object: &Value, errors: &mut Errors) {
        replicas::selector_selects(object, "daemonset", errors);
    }

    fn validate_update(new: &DaemonSet, old: &DaemonSet, errors: &mut Errors) {
        let selector = |object: &DaemonSet| object.spec.as_ref().map(|spec| spec.selector.clone());
        replicas::selector_unchanged(selector(new).as_ref(), selector(old).as_ref(), errors);
    }

    fn validate_status(new: &DaemonSet, old: &DaemonSet, errors: &mut Errors) {
        let path = Path::new("status");
        let status = new.status.clone().unwrap_or_default();
        let counts = [
            ("currentNumberScheduled", Some(status.current_number_scheduled)),
            ("numberMisscheduled", Some(status.number_misscheduled)),
            ("desiredNumberScheduled", Some(status.desired_number_scheduled)),
            ("numberReady", Some(status.number_ready)),
            ("updatedNumberScheduled", status.updated_number_scheduled),
            ("numberAvailable", status.number_available),
            ("numberUnavailable", status.number_unavailable),
            ("collisionCount", status.collision_count),
        ];
        for (field, count) in counts {
            check::not_negative(errors, &path.child(field), count);
        }
        check::not_negative(errors, &path.child("observedGeneration"), status.observed_generation);
        let before = old.status.as_ref().and_then(|status| status.collision_count);
        replicas::collisions(status.collision_count, before, errors);
    }

    fn warns_of_change(new: &Value, old: &Value) -> bool {
        new["spec"]["template"] != old["spec"]["template"]
    }

    fn warnings(object: &DaemonSet) -> Vec<String> {
        template::warnings(object.spec.as_ref().map(|spec| &spec.template), &Path::new("spec.template"))
    }

    fn cells(object: &DaemonSet, now: Timestamp) -> Vec<Value> {
        let spec = object.spec.clone().unwrap_or_default();
        let status = object.status.clone().unwrap_or_default();
        let (containers, images) = print::containers(Some(&spec.template));
        let nodes = spec.template.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
        vec![
            object.metadata.name.clone().into(),
            status.desired_number_scheduled.into(),
            status.current_number_scheduled.into(),
            status.number_ready.into(),
            status.updated_number_scheduled.unwrap_or_default().into(),
            status.number_available.unwrap_or_default().into(),
            print::labels(nodes).into(),
            table::age(&object.metadata, now).into(),
            containers.into(),
            images.into(),
            print::selector(Some(&spec.selector)).into(),
        ]
    }
}

/// The number of an object's template; 0 if it says none.
fn template_generation(object: &Value) -> i64 {
    let annotation = object.pointer("/metadata/annotations").and_then(|held| held.get(GENERATION));
    annotation.and_then(Value::as_str).and_then(|number| number.parse().ok()).unwrap_or_default()
}

fn set_template_generation(object: &mut Value, number: i64) {
    let meta = at(object, &["metadata"]);
    if let Some(annotations) = meta.and_then(|meta| meta.object_or_new("annotations")) {
        annotations.insert(GENERATION.to_owned(), number.to_string().into());
    }
}

fn strategy(strategy: &DaemonSetUpdateStrategy, path: &Path, errors: &mut Errors) {
    match (strategy.type_.as_deref().unwrap_or_default(), &strategy.rolling_update) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.required(&path.child("rollingUpdate"), ""),
        ("RollingUpdate", Some(rolling)) => self::rolling(rolling, &path.child("rollingUpdate"), errors),
        (other, rolling) => {
            let rolling = rolling.as_ref().map(|rolling| {
                let [unavailable, surge] = amounts(rolling);
                [("MaxUnavailable", shown(&unavailable)), ("MaxSurge", shown(&surge))]
            });
            let supported = ["RollingUpdate", "OnDelete"].map(str::to_owned).into();
            errors.push(path, Problem::NotSupported(replicas::shown_strategy(other, rolling), supported));
        }
    }
}

/// How many pods may be missing, and how many may be too many.
fn amounts(rolling: &RollingUpdateDaemonSet) -> [IntOrString; 2] {
    [&rolling.max_unavailable, &rolling.max_surge].map(|amount| amount.clone().unwrap_or(IntOrString::Int(0)))
}

/// Of a rolling update, pods are missing or too many, and not both.
fn rolling(rolling: &RollingUpdateDaemonSet, path: &Path, errors: &mut Errors) {
    let [unavailable, surge] = amounts(rolling);
    let (at_unavailable, at_surge) = (path.child("maxUnavailable"), path.child("maxSurge"));
    for (path, amount) in [(&at_unavailable, &unavailable), (&at_surge, &surge)] {
        check::count_or_percent(errors, path, amount);
        check::at_most_all(errors, path, amount);
    }
    match (check::amount(&unavailable), check::amount(&surge)) {
        (0, 0) => errors.required(&at_unavailable, "cannot be 0 when maxSurge is 0"),
        (0, _) | (_, 0) => {}
        _ => errors.invalid(&at_surge, shown(&surge), "may not be set when maxUnavailable is non-zero"),
    }
}
