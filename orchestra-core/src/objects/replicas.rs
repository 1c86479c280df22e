//! What ReplicationControllers, ReplicaSets and Deployments have in common.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::Value;

use super::check::{self, shown};
use super::{print, template};
use crate::api::field::{Errors, Path};
use crate::api::{Column, ScalePaths, table};
use crate::selector::Selector;

/// Where everything that keeps replicas says how many.
pub(super) const SCALE: ScalePaths = ScalePaths {
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

/// Says what is wrong with a selector and the template that it must select. `kind` is named to the user.
pub(super) fn selection(
    selector: &LabelSelector,
    given: &PodTemplateSpec,
    kind: &str,
    path: &Path,
    errors: &mut Errors,
) {
    let at = path.child("selector");
    check::selector(errors, &at, selector);
    match Selector::from_label_selector(Some(selector)) {
        Ok(compiled) => {
            if compiled.is_everything() {
                errors.invalid(&at, shown(selector), "empty selector is invalid for deployment");
            }
            let selects = |labels: &_| compiled.matches(labels);
            template::of_replicas(Some(given), kind, selects, &path.child("template"), errors);
        }
        Err(_) => errors.invalid(&at, shown(selector), "invalid label selector"),
    }
}
