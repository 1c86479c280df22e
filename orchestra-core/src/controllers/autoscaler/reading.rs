//! From a metric of a specification to what is measured, and to the number of pods that it asks for.

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricSource, ContainerResourceMetricStatus, ExternalMetricSource, ExternalMetricStatus,
    MetricIdentifier, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus, ObjectMetricSource,
    ObjectMetricStatus, PodsMetricSource, PodsMetricStatus, ResourceMetricSource, ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource;

use super::metrics::{Metric, MetricsSource, PodUsage};
use super::pods::{self, Figures};
use super::replicas::{Measure, Proposal};
use crate::api::{Reason, Status};
use crate::controllers::words::as_go;
use crate::quantity::{Format, Quantity};
use crate::selector::Selector;

/// What was measured for one metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    /// Of pods.
    Pods(Figures),
    /// Of one thing, or the sum over several, in thousandths.
    Value(i64),
}

/// Why a metric asks for nothing: told in an event and a condition, and as a part of a longer sentence.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failed {
    pub(super) reason: &'static str,
    pub(super) why: String,
    pub(super) whole: String,
}

/// What one metric asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Asked {
    pub(super) replicas: i32,
    /// Which metric it is, for people.
    pub(super) by: String,
    pub(super) status: MetricStatus,
}

/// Measures what a metric is about.
pub(super) async fn read(
    source: &dyn MetricsSource,
    namespace: &str,
    selector: &Selector,
    spec: &MetricSpec,
) -> Result<Reading, String> {
    match (&spec.resource, &spec.container_resource, &spec.pods, &spec.object, &spec.external) {
        (Some(it), ..) => {
            let usage = resources(source, namespace, selector, &it.name).await?;
            Ok(Reading::Pods(pods::usage(&usage, None, &it.name)))
        }
        (_, Some(it), ..) => {
            let usage = resources(source, namespace, selector, &it.name).await?;
            Ok(Reading::Pods(pods::usage(&usage, Some(&it.container), &it.name)))
        }
        (_, _, Some(it), ..) => {
            let metric = metric(&it.metric)?;
            let values = source.custom_of_pods(namespace, selector, &metric).await;
            let values = fetched(values, "custom").and_then(|values| some(values, "custom"));
            let values = values.map_err(|why| format!("unable to get metric {}: {why}", metric.name))?;
            Ok(Reading::Pods(pods::values(&values)))
        }
        (_, _, _, Some(it), _) => {
            let (metric, object) = (metric(&it.metric)?, &it.described_object);
            let value = fetched(source.custom_of_object(namespace, object, &metric).await, "custom");
            let value = value.map_err(|why| {
                let (name, kind) = (&metric.name, &object.kind);
                format!("unable to get metric {name}: {kind} on {namespace} {}/{why}", object.name)
            })?;
            Ok(Reading::Value(value.value.milli_value()))
        }
        (_, _, _, _, Some(it)) => {
            let metric = metric(&it.metric)?;
            let values = fetched(source.external(namespace, &metric).await, "external");
            let values = values.and_then(|values| some(values, "external")).map_err(|why| {
                let selector = as_go(it.metric.selector.as_ref());
                format!("unable to get external metric {namespace}/{}/{selector}: {why}", metric.name)
            })?;
            Ok(Reading::Value(values.iter().map(Quantity::milli_value).fold(0, i64::saturating_add)))
        }
        _ => Err(format!("unknown metric source type \"{}\"", spec.type_)),
    }
}

async fn resources(
    source: &dyn MetricsSource,
    namespace: &str,
    selector: &Selector,
    resource: &str,
) -> Result<Vec<PodUsage>, String> {
    let found = fetched(source.pods(namespace, selector).await, "resource");
    let found = found.and_then(|found| some(found, "resource"));
    found.map_err(|why| format!("unable to get metrics for resource {resource}: {why}"))
}

fn fetched<T>(outcome: Result<T, Status>, api: &str) -> Result<T, String> {
    outcome.map_err(|status| {
        // As Kubernetes' clients tell of a path that nobody serves.
        let absent = status.reason() == Reason::NotFound
            && api == "resource"
            && status.details().is_none_or(|it| it.name.is_none());
        let asked = if absent { " (get pods.metrics.k8s.io)" } else { "" };
        format!("unable to fetch metrics from {api} metrics API: {}{asked}", status.message())
    })
}

fn some<T>(values: Vec<T>, api: &str) -> Result<Vec<T>, String> {
    match values.is_empty() {
        true => Err(format!("no metrics returned from {api} metrics API")),
        false => Ok(values),
    }
}

fn metric(of: &MetricIdentifier) -> Result<Metric, String> {
    let selector = match &of.selector {
        Some(selector) => Selector::try_from(selector).map_err(|error| error.to_string())?,
        None => Selector::everything(),
    };
    Ok(Metric { name: of.name.clone(), selector })
}

/// What a metric asks for, by what was measured, of pods of which `there` are there.
pub(super) fn ask(
    measure: &Measure<'_>,
    there: i32,
    spec: &MetricSpec,
    reading: &Result<Reading, String>,
) -> Result<Asked, Failed> {
    let asking = Asking { measure, there, spec, reading };
    match (&spec.resource, &spec.container_resource, &spec.pods, &spec.object, &spec.external) {
        (Some(it), ..) => asking.by_resource(it),
        (_, Some(it), ..) => asking.by_container(it),
        (_, _, Some(it), ..) => asking.by_pods(it),
        (_, _, _, Some(it), _) => asking.by_object(it),
        (_, _, _, _, Some(it)) => asking.by_external(it),
        _ => {
            let why = format!("unknown metric source type \"{}\"", spec.type_);
            Err(Failed { reason: "InvalidMetricSourceType", whole: why.clone(), why })
        }
    }
}

/// One metric and what was measured for it.
struct Asking<'a> {
    measure: &'a Measure<'a>,
    there: i32,
    spec: &'a MetricSpec,
    reading: &'a Result<Reading, String>,
}

impl Asking<'_> {
    fn by_resource(&self, it: &ResourceMetricSource) -> Result<Asked, Failed> {
        let asked = by_resource(self.measure, &it.target, (&it.name, None), self.reading);
        let (proposal, by) = asked.map_err(|why| {
            let whole = format!("failed to get {} resource metric value: {why}", it.name);
            Failed { reason: "FailedGetResourceMetric", why, whole }
        })?;
        let status =
            ResourceMetricStatus { name: it.name.clone(), current: current(&proposal, Some(&it.name)) };
        Ok(asked_by(self.spec, proposal, by, |all| all.resource = Some(status)))
    }

    fn by_container(&self, it: &ContainerResourceMetricSource) -> Result<Asked, Failed> {
        let meant = (&*it.name, Some(&*it.container));
        let asked = by_resource(self.measure, &it.target, meant, self.reading);
        let (proposal, by) = asked.map_err(|why| {
            let whole = format!("failed to get {} container metric value: {why}", it.container);
            Failed { reason: "FailedGetContainerResourceMetric", why, whole }
        })?;
        let (name, container) = (it.name.clone(), it.container.clone());
        let current = current(&proposal, Some(&it.name));
        let status = ContainerResourceMetricStatus { name, container, current };
        Ok(asked_by(self.spec, proposal, by, |all| all.container_resource = Some(status)))
    }

    fn by_pods(&self, it: &PodsMetricSource) -> Result<Asked, Failed> {
        let target = milli(it.target.average_value.as_ref());
        let proposal = figures(self.reading).and_then(|figures| self.measure.mean(figures, None, target));
        let proposal = proposal.map_err(|why| {
            let whole = format!("failed to get pods metric value: {why}");
            Failed { reason: "FailedGetPodsMetric", why, whole }
        })?;
        let by = format!("pods metric {}", it.metric.name);
        let status = PodsMetricStatus { metric: it.metric.clone(), current: current(&proposal, None) };
        Ok(asked_by(self.spec, proposal, by, |all| all.pods = Some(status)))
    }

    fn by_object(&self, it: &ObjectMetricSource) -> Result<Asked, Failed> {
        let (kind, name) = (&it.described_object.kind, &it.metric.name);
        let failed = |why: String, step: &str| {
            let whole = format!("failed to get object metric value: {step}{why}");
            Failed { reason: "FailedGetObjectMetric", why, whole }
        };
        let (proposal, current, by) = if let Some(target) = &it.target.value {
            let proposal =
                value(self.reading).and_then(|value| self.measure.value(value, milli(Some(target))));
            let proposal = proposal.map_err(|why| failed(why, ""))?;
            (proposal, whole(&proposal), format!("{kind} metric {name}"))
        } else {
            let target = milli(it.target.average_value.as_ref());
            let proposal = value(self.reading).map(|value| self.measure.share(value, target, self.there));
            let step = format!("failed to get {name} object metric: ");
            let proposal = proposal.map_err(|why| failed(why, &step))?;
            (proposal, current(&proposal, None), named(&it.metric))
        };
        let described_object = it.described_object.clone();
        let status = ObjectMetricStatus { current, described_object, metric: it.metric.clone() };
        Ok(asked_by(self.spec, proposal, by, |all| all.object = Some(status)))
    }

    fn by_external(&self, it: &ExternalMetricSource) -> Result<Asked, Failed> {
        let name = &it.metric.name;
        let failed = |inner: String, why: String| {
            let whole = format!("failed to get {name} external metric value: {inner}: {why}");
            Failed { reason: "FailedGetExternalMetric", why, whole }
        };
        let (proposal, current) = if let Some(target) = &it.target.average_value {
            let target = milli(Some(target));
            let proposal = value(self.reading).map(|value| self.measure.share(value, target, self.there));
            let proposal =
                proposal.map_err(|why| failed(format!("failed to get {name} external metric"), why))?;
            (proposal, current(&proposal, None))
        } else {
            let target = milli(it.target.value.as_ref());
            let proposal = value(self.reading).and_then(|value| self.measure.value(value, target));
            let proposal =
                proposal.map_err(|why| failed(format!("failed to get external metric {name}"), why))?;
            (proposal, whole(&proposal))
        };
        let status = ExternalMetricStatus { current, metric: it.metric.clone() };
        Ok(asked_by(self.spec, proposal, named(&it.metric), |all| all.external = Some(status)))
    }
}

fn by_resource(
    measure: &Measure<'_>,
    target: &MetricTarget,
    (resource, container): (&str, Option<&str>),
    reading: &Result<Reading, String>,
) -> Result<(Proposal, String), String> {
    let figures = figures(reading);
    if let Some(mean) = &target.average_value {
        let proposal = figures.and_then(|figures| measure.mean(figures, Some(resource), milli(Some(mean))));
        let proposal = proposal.map_err(|why| format!("failed to get {resource} usage: {why}"))?;
        return Ok((proposal, format!("{resource} resource")));
    }
    let Some(percent) = target.average_utilization else {
        return Err(
            "invalid resource metric source: neither an average utilization target nor an average value \
                    (usage) target was set"
                .to_owned(),
        );
    };
    let proposal = figures.and_then(|figures| measure.utilization(figures, (resource, container), percent));
    let proposal = proposal.map_err(|why| format!("failed to get {resource} utilization: {why}"))?;
    let part = if container.is_some() { " container" } else { "" };
    Ok((proposal, format!("{resource}{part} resource utilization (percentage of request)")))
}

fn figures(reading: &Result<Reading, String>) -> Result<Figures, String> {
    match reading.clone()? {
        Reading::Pods(figures) => Ok(figures),
        Reading::Value(_) => Err("one value was measured where pods are meant".to_owned()),
    }
}

fn value(reading: &Result<Reading, String>) -> Result<i64, String> {
    match reading.clone()? {
        Reading::Value(value) => Ok(value),
        Reading::Pods(_) => Err("pods were measured where one value is meant".to_owned()),
    }
}

fn asked_by(spec: &MetricSpec, proposal: Proposal, by: String, put: impl FnOnce(&mut MetricStatus)) -> Asked {
    let mut status = MetricStatus { type_: spec.type_.clone(), ..MetricStatus::default() };
    put(&mut status);
    Asked { replicas: proposal.replicas, by, status }
}

fn current(proposal: &Proposal, resource: Option<&str>) -> MetricValueStatus {
    let format = if resource == Some("memory") { Format::BinarySi } else { Format::DecimalSi };
    MetricValueStatus {
        average_utilization: proposal.utilization,
        average_value: Some(quantity(proposal.figure, format)),
        value: None,
    }
}

fn whole(proposal: &Proposal) -> MetricValueStatus {
    let value = Some(quantity(proposal.figure, Format::DecimalSi));
    MetricValueStatus { value, ..MetricValueStatus::default() }
}

fn quantity(milli: i64, format: Format) -> resource::Quantity {
    resource::Quantity(Quantity::from_milli(milli, format).to_string())
}

fn milli(quantity: Option<&resource::Quantity>) -> i64 {
    quantity
        .and_then(|quantity| Quantity::parse(&quantity.0).ok())
        .map_or(0, |quantity| quantity.milli_value())
}

fn named(metric: &MetricIdentifier) -> String {
    format!("external metric {}({})", metric.name, as_go(metric.selector.as_ref()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controllers::autoscaler::pods::Figure;
    use crate::controllers::autoscaler::replicas::Tolerance;
    use crate::controllers::testing::at;

    fn ask_by(spec: serde_json::Value, reading: Result<Reading, String>) -> Result<Asked, Failed> {
        let pods: Vec<pods::Pod> = (0..2)
            .map(|index| {
                let ready = json!([{"type": "Ready", "status": "True"}]);
                let pod = json!({"metadata": {"name": format!("p{index}")}, "status": {"phase": "Running", "conditions": ready}});
                serde_json::from_value(pod).unwrap()
            })
            .collect();
        let tolerance = Tolerance { down: 0.1, up: 0.1 };
        let measure = Measure { pods: &pods, tolerance, wanted: 2, now: at(0) };
        ask(&measure, 2, &serde_json::from_value(spec).unwrap(), &reading)
    }

    #[test]
    fn each_kind_of_metric_asks_and_says_what_it_is() {
        let figure = Figure { value: 20_000, at: at(0), window: std::time::Duration::ZERO };
        let of_pods = Reading::Pods([("p0".to_owned(), figure), ("p1".to_owned(), figure)].into());
        let metric = json!({"name": "qps", "selector": {"matchLabels": {"a": "b"}}});
        let go = "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}";
        let object = json!({"kind": "Service", "name": "s"});
        for (spec, reading, replicas, by) in [
            (
                json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "10"}}}),
                of_pods.clone(),
                4,
                "memory resource".to_owned(),
            ),
            (
                json!({"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": {"type": "AverageValue", "averageValue": "10"}}}),
                of_pods,
                4,
                "pods metric qps".to_owned(),
            ),
            (
                json!({"type": "Object", "object": {"describedObject": object, "metric": metric, "target": {"type": "Value", "value": "10"}}}),
                Reading::Value(20_000),
                4,
                "Service metric qps".to_owned(),
            ),
            (
                json!({"type": "Object", "object": {"describedObject": object, "metric": metric, "target": {"type": "AverageValue", "averageValue": "10"}}}),
                Reading::Value(90_000),
                9,
                format!("external metric qps({go})"),
            ),
            (
                json!({"type": "External", "external": {"metric": {"name": "qps"}, "target": {"type": "AverageValue", "averageValue": "10"}}}),
                Reading::Value(70_000),
                7,
                "external metric qps(nil)".to_owned(),
            ),
            (
                json!({"type": "External", "external": {"metric": {"name": "qps"}, "target": {"type": "Value", "value": "10"}}}),
                Reading::Value(30_000),
                6,
                "external metric qps(nil)".to_owned(),
            ),
        ] {
            let asked = ask_by(spec.clone(), Ok(reading)).unwrap();
            assert_eq!((asked.replicas, &asked.by), (replicas, &by), "{spec}");
            assert_eq!(asked.status.type_, spec["type"]);
        }
    }

    #[test]
    fn what_cannot_be_measured_is_told_as_kubernetes_tells_it() {
        let why =
            "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: x";
        let failed = ask_by(
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}),
            Err(why.to_owned()),
        )
        .unwrap_err();
        assert_eq!(failed.reason, "FailedGetResourceMetric");
        assert_eq!(failed.why, format!("failed to get cpu utilization: {why}"));
        assert_eq!(
            failed.whole,
            format!("failed to get cpu resource metric value: failed to get cpu utilization: {why}")
        );
        let status = fetched::<()>(Err(Status::no_such_resource()), "resource").unwrap_err();
        assert_eq!(
            status,
            "unable to fetch metrics from resource metrics API: the server could not find the requested resource \
             (get pods.metrics.k8s.io)"
        );
    }
}
