use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricSource, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec, MetricTarget,
    ObjectMetricSource, ResourceMetricSource,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::reference::{reference, version};
use crate::api::NameRule;
use crate::api::field::{Errors, Path};
use crate::objects::check::{self, say};
use crate::objects::{names, pod};
use crate::quantity::Quantity;

const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

/// Says what is wrong with what is measured.
pub(super) fn validate(spec: &HorizontalPodAutoscalerSpec, path: &Path, errors: &mut Errors) {
    let metrics = spec.metrics.as_deref().unwrap_or_default();
    for (index, metric) in metrics.iter().enumerate() {
        self::metric(metric, &path.index(index), errors);
    }
    let outside = metrics.iter().any(|metric| matches!(&*metric.type_, "Object" | "External"));
    if spec.min_replicas == Some(0) && !outside {
        let detail =
            "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(path, detail);
    }
}

/// A metric has one source, that of its type.
fn metric(metric: &MetricSpec, path: &Path, errors: &mut Errors) {
    if metric.type_.is_empty() {
        errors.required(&path.child("type"), "must specify a metric source type");
    }
    check::supported(errors, &path.child("type"), &metric.type_, TYPES);
    let sources = [
        ("object", "Object", metric.object.is_some()),
        ("external", "External", metric.external.is_some()),
        ("pods", "Pods", metric.pods.is_some()),
        ("resource", "Resource", metric.resource.is_some()),
        ("containerResource", "ContainerResource", metric.container_resource.is_some()),
    ];
    let mut given = sources.iter().filter(|(.., is_given)| *is_given);
    // Of several, only the first is looked into.
    if let Some((field, ..)) = given.next() {
        source(metric, field, &path.child(field), errors);
    }
    let expected = sources.iter().find(|(_, name, _)| *name == metric.type_);
    if let Some((field, _, false)) = expected {
        errors.required(&path.child(field), "must populate information for the given metric source");
    }
    if given.next().is_some() {
        let unwanted = sources.iter().filter(|(_, name, is_given)| *is_given && *name != metric.type_);
        for (field, ..) in unwanted {
            errors.forbidden(&path.child(field), "must populate the given metric source only");
        }
    }
}

fn source(metric: &MetricSpec, field: &str, path: &Path, errors: &mut Errors) {
    match field {
        "object" => metric.object.iter().for_each(|source| object(source, path, errors)),
        "resource" => metric.resource.iter().for_each(|source| resource(source, path, errors)),
        "containerResource" => {
            metric.container_resource.iter().for_each(|source| container(source, path, errors));
        }
        "external" => {
            for source in metric.external.iter() {
                identifier(&source.metric, &path.child("metric"), errors);
                external_target(&source.target, &path.child("target"), errors);
            }
        }
        _ => {
            for source in metric.pods.iter() {
                identifier(&source.metric, &path.child("metric"), errors);
                let path = path.child("target");
                target(&source.target, &path, errors);
                if source.target.average_value.is_none() {
                    let detail = "must specify a positive target averageValue";
                    errors.required(&path.child("averageValue"), detail);
                }
            }
        }
    }
}

fn object(source: &ObjectMetricSource, path: &Path, errors: &mut Errors) {
    let described = path.child("describedObject");
    reference(&source.described_object, &described, errors);
    version(source.described_object.api_version.as_deref().unwrap_or_default(), true, &described, errors);
    identifier(&source.metric, &path.child("metric"), errors);
    let path = path.child("target");
    target(&source.target, &path, errors);
    if source.target.value.is_none() && source.target.average_value.is_none() {
        errors.required(&path.child("averageValue"), "must set either a target value or averageValue");
    }
}

fn external_target(given: &MetricTarget, path: &Path, errors: &mut Errors) {
    target(given, path, errors);
    match (&given.value, &given.average_value) {
        (None, None) => errors.required(
            &path.child("averageValue"),
            "must set either a target value for metric or a per-pod target",
        ),
        (Some(_), Some(_)) => errors.forbidden(
            &path.child("value"),
            "may not set both a target value for metric and a per-pod target",
        ),
        _ => {}
    }
}

fn resource(source: &ResourceMetricSource, path: &Path, errors: &mut Errors) {
    if source.name.is_empty() {
        errors.required(&path.child("name"), "must specify a resource name");
    }
    resource_target(&source.target, &path.child("target"), errors);
}

fn container(source: &ContainerResourceMetricSource, path: &Path, errors: &mut Errors) {
    if source.name.is_empty() {
        errors.required(&path.child("name"), "must specify a resource name");
    } else {
        pod::container_resource_name(&source.name, &path.child("name"), errors);
    }
    if source.container.is_empty() {
        errors.required(&path.child("container"), "must specify a container");
    } else {
        say(errors, &path.child("container"), &source.container, names::label(&source.container));
    }
    resource_target(&source.target, &path.child("target"), errors);
}

fn resource_target(given: &MetricTarget, path: &Path, errors: &mut Errors) {
    target(given, path, errors);
    match (given.average_utilization, &given.average_value) {
        (None, None) => errors.required(
            &path.child("averageUtilization"),
            "must set either a target raw value or a target utilization",
        ),
        (Some(_), Some(_)) => errors.forbidden(
            &path.child("averageValue"),
            "may not set both a target raw value and a target utilization",
        ),
        _ => {}
    }
}

fn target(target: &MetricTarget, path: &Path, errors: &mut Errors) {
    let at = path.child("type");
    if target.type_.is_empty() {
        errors.required(&at, "must specify a metric target type");
    }
    if !matches!(&*target.type_, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(&at, &*target.type_, "must be either Utilization, Value, or AverageValue");
    }
    for (field, amount) in [("value", &target.value), ("averageValue", &target.average_value)] {
        if let Some(Text(amount)) = amount
            && Quantity::parse(amount).is_ok_and(|amount| amount.is_zero() || amount.is_negative())
        {
            errors.invalid(&path.child(field), amount.as_str(), "must be positive");
        }
    }
    if let Some(percent) = target.average_utilization.filter(|percent| *percent < 1) {
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn identifier(metric: &MetricIdentifier, path: &Path, errors: &mut Errors) {
    let path = path.child("name");
    if metric.name.is_empty() {
        errors.required(&path, "must specify a metric name");
    } else {
        say(errors, &path, &metric.name, names::object_name(NameRule::PathSegment, &metric.name, false));
    }
}
