use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use serde_json::Value;

use crate::api::{Column, table};

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Reference", "What is scaled."),
    Column::new("Targets", "What is measured, as it is and as it should be."),
    Column::new("MinPods", "The fewest pods that there may be."),
    Column::new("MaxPods", "The most pods that there may be."),
    Column::new("Replicas", "How many pods there are."),
    Column::AGE,
];

/// How many metrics are shown.
const MOST: usize = 2;
const UNKNOWN: &str = "<unknown>";

pub(super) fn cells(object: &HorizontalPodAutoscaler, now: Timestamp) -> Vec<Value> {
    let spec = &object.spec;
    let status = object.status.clone().unwrap_or_default();
    let measured = status.current_metrics.as_deref().unwrap_or_default();
    let target = &spec.scale_target_ref;
    vec![
        object.metadata.name.clone().into(),
        format!("{}/{}", target.kind, target.name).into(),
        targets(spec.metrics.as_deref().unwrap_or_default(), measured).into(),
        spec.min_replicas.map_or("<unset>".to_owned(), |least| least.to_string()).into(),
        spec.max_replicas.into(),
        status.current_replicas.unwrap_or_default().into(),
        table::age(&object.metadata, now).into(),
    ]
}

fn targets(metrics: &[MetricSpec], measured: &[MetricStatus]) -> String {
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let shown =
        metrics.iter().enumerate().take(MOST).map(|(index, metric)| target(metric, measured.get(index)));
    let list = shown.collect::<Vec<_>>().join(", ");
    match metrics.len().checked_sub(MOST) {
        Some(more @ 1..) => format!("{list} + {more} more..."),
        _ => list,
    }
}

fn target(metric: &MetricSpec, measured: Option<&MetricStatus>) -> String {
    let (name, target, current) = match &*metric.type_ {
        "External" => (
            None,
            metric.external.as_ref().map(|source| &source.target),
            measured.and_then(|measured| measured.external.as_ref()).map(|status| &status.current),
        ),
        "Pods" => (
            None,
            metric.pods.as_ref().map(|source| &source.target),
            measured.and_then(|measured| measured.pods.as_ref()).map(|status| &status.current),
        ),
        "Object" => (
            None,
            metric.object.as_ref().map(|source| &source.target),
            measured.and_then(|measured| measured.object.as_ref()).map(|status| &status.current),
        ),
        "Resource" => (
            metric.resource.as_ref().map(|source| &source.name),
            metric.resource.as_ref().map(|source| &source.target),
            measured.and_then(|measured| measured.resource.as_ref()).map(|status| &status.current),
        ),
        "ContainerResource" => (
            metric.container_resource.as_ref().map(|source| &source.name),
            metric.container_resource.as_ref().map(|source| &source.target),
            measured.and_then(|measured| measured.container_resource.as_ref()).map(|status| &status.current),
        ),
        _ => return "<unknown type>".to_owned(),
    };
    let Some(target) = target else { return UNKNOWN.to_owned() };
    match name {
        Some(name) => format!("{name}: {}", of_resource(target, current)),
        None => of_other(&metric.type_, target, current),
    }
}

fn of_resource(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if let Some(target) = &target.average_value {
        return format!("{}/{}", average(current), target.0);
    }
    let percent = |number: i32| format!("{number}%");
    let current = current.and_then(|current| current.average_utilization);
    let current = current.map_or(UNKNOWN.to_owned(), percent);
    format!("{current}/{}", target.average_utilization.map_or("<auto>".to_owned(), percent))
}

fn of_other(kind: &str, target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    match (&target.average_value, &target.value) {
        (Some(target), _) if kind == "Pods" => format!("{}/{}", average(current), target.0),
        (Some(target), _) => format!("{}/{} (avg)", average(current), target.0),
        (None, target) => {
            let current = current.and_then(|current| current.value.as_ref());
            let text = |amount: Option<&_>, none: &str| {
                amount.map_or(
                    none.to_owned(),
                    |amount: &k8s_openapi::apimachinery::pkg::api::resource::Quantity| amount.0.clone(),
                )
            };
            format!("{}/{}", text(current, UNKNOWN), text(target.as_ref(), "<nil>"))
        }
    }
}

fn average(current: Option<&MetricValueStatus>) -> String {
    let average = current.and_then(|current| current.average_value.as_ref());
    average.map_or(UNKNOWN.to_owned(), |average| average.0.clone())
}
