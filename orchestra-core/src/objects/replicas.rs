//! What the kinds that keep equal pods running have in common.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::Value;

use super::check;
use super::{print, template};
use crate::api::field::{Errors, Path, Shown};
use crate::api::{Column, ScalePaths, table};
use crate::selector::Selector;

/// Where everything that keeps replicas says how many.
pub(super) const SCALE: ScalePaths = ScalePaths {
    strict: false,
    spec_replicas: "spec.replicas",
    status_replicas: "status.replicas",
    selector: "spec.selector",
};

/// The columns of ReplicationControllers and ReplicaSets.
pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Desired", "How many replicas are wanted.").integer(),
    Column::new("Current", "How many replicas there are.").integer(),
    Column::new("Ready", "How many replicas are ready.").integer(),
    Column::AGE,
    Column::new("Containers", "The names of the containers in the template.").wide(),
    Column::new("Images", "The images of the containers in the template.").wide(),
    Column::new("Selector", "Which pods are counted.").wide(),
];

/// The cells of a ReplicationController or ReplicaSet. `counts`: replicas that are wanted, that are, and are ready.
pub(super) fn cells(
    meta: &ObjectMeta,
    counts: [Option<i32>; 3],
    given: Option<&PodTemplateSpec>,
    selector: String,
    now: Timestamp,
) -> Vec<Value> {
    let (containers, images) = print::containers(given);
    let [wanted, current, ready] = counts.map(Option::unwrap_or_default);
    vec![
        meta.name.clone().into(),
        wanted.into(),
        current.into(),
        ready.into(),
        table::age(meta, now).into(),
        containers.into(),
        images.into(),
        selector.into(),
    ]
}

/// Says that a selector is left out.
pub(super) fn selector_required(object: &Value, errors: &mut Errors) {
    if given_selector(object).is_none() {
        errors.required(&Path::new("spec.selector"), "");
    }
}

/// Says that a selector selects nothing, not even the template, because it is left out; or that it is empty. `kind` is
/// named to the user.
pub(super) fn selector_selects(object: &Value, kind: &str, errors: &mut Errors) {
    let path = Path::new("spec");
    match given_selector(object) {
        None => {
            let labels = object.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
            let detail = "`selector` does not match template `labels`";
            errors.invalid(&path.child("template.metadata.labels"), labels, detail);
        }
        Some(selector) => {
            let is_empty = |field: &str| match selector.get(field) {
                Some(Value::Object(labels)) => labels.is_empty(),
                Some(Value::Array(expressions)) => expressions.is_empty(),
                _ => true,
            };
            if is_empty("matchLabels") && is_empty("matchExpressions") {
                let detail = format!("empty selector is invalid for {kind}");
                errors.invalid(&path.child("selector"), serde_json::json!({}), detail);
            }
        }
    }
}

fn given_selector(object: &Value) -> Option<&Value> {
    object.pointer("/spec/selector").filter(|selector| !selector.is_null())
}

/// A strategy of updates as errors show it, with the fields of how it rolls, if it does.
pub(super) fn shown_strategy(name: &str, rolling: Option<[(&str, Value); 2]>) -> Shown {
    let rolling = rolling.map_or(Value::Null.into(), |fields| {
        Shown::object(fields.map(|(field, value)| (field, value.into())))
    });
    Shown::object([("Type", Value::from(name).into()), ("RollingUpdate", rolling)])
}

/// Says that a selector may not change.
pub(super) fn selector_unchanged(
    new: Option<&LabelSelector>,
    old: Option<&LabelSelector>,
    errors: &mut Errors,
) {
    if new == old {
        return;
    }
    let given = new.filter(|new| **new != LabelSelector::default());
    let shown = given.map_or(Value::Null.into(), check::shown_selector);
    errors.invalid_object(&Path::new("spec.selector"), shown, check::IMMUTABLE);
}

/// Says what is wrong with a selector and the template that it must select. `kind` is named to the user; `unusable` is
/// what to say of a selector as a whole that cannot be used, if anything.
pub(super) fn selection(
    selector: &LabelSelector,
    given: &PodTemplateSpec,
    kind: &str,
    unusable: Option<&str>,
    path: &Path,
    errors: &mut Errors,
) {
    let at = path.child("selector");
    check::selector(errors, &at, selector);
    let compiled = Selector::from_label_selector(Some(selector));
    if let (Err(_), Some(detail)) = (&compiled, unusable) {
        return errors.invalid_object(&at, check::shown_selector(selector), detail);
    }
    // Whether it is empty or left out, its JSON tells; see `selector_selects`.
    let selects = |labels: &_| compiled.as_ref().map_or(true, |compiled| compiled.matches(labels));
    template::of_replicas(Some(given), kind, selects, &path.child("template"), errors);
}

/// What is said of a selector that cannot be used.
pub(super) const UNUSABLE: Option<&str> = Some("invalid label selector");

/// Says that the count of names that were taken was set back.
pub(super) fn collisions(new: Option<i32>, old: Option<i32>, errors: &mut Errors) {
    if old.is_some_and(|old| new.is_none_or(|new| new < old)) {
        errors.invalid(&Path::new("status.collisionCount"), new.unwrap_or_default(), "cannot be decremented");
    }
}
