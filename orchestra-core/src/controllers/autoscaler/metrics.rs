//! Where the figures come from by which autoscalers decide.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use serde::Deserialize;
use serde_json::Value;

use crate::api::{Client, ListOptions, Operation, Reply, Status, Target};
use crate::quantity::Quantity;
use crate::selector::Selector;

/// What the containers of one pod use.
#[derive(Clone, Debug, PartialEq)]
pub struct PodUsage {
    /// The pod's name.
    pub name: String,
    /// When the measuring ended.
    pub timestamp: Timestamp,
    /// How long it took: use of processors is a mean over this time.
    pub window: Duration,
    /// Each container that was measured.
    pub containers: Vec<ContainerUsage>,
}

/// What one container uses.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ContainerUsage {
    /// Its name, as the pod's specification has it.
    #[serde(default)]
    pub name: String,
    /// How much of each resource: `cpu` in processors, `memory` in bytes.
    #[serde(default)]
    pub usage: BTreeMap<String, Quantity>,
}

/// A figure that somebody measured of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricValue {
    /// The name of the object.
    pub object: String,
    /// When the measuring ended.
    pub timestamp: Timestamp,
    /// How long it took.
    pub window: Duration,
    /// The figure.
    pub value: Quantity,
}

/// A metric by name, and which of its series are meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The name.
    pub name: String,
    /// Which of its series, by their labels.
    pub selector: Selector,
}

/// Measures pods and whatever else autoscalers go by.
///
/// Figures of resources come from Kubernetes' resource metrics API, the others from its APIs of custom and external
/// metrics, which a cluster may not have. Whatever a source cannot tell it answers with an error, never with zero:
/// an autoscaler takes what is missing for the worst case.
#[async_trait]
pub trait MetricsSource: Send + Sync + fmt::Debug + 'static {
    /// What the pods of a namespace use that match. Pods of which nothing is known yet are left out.
    ///
    /// # Errors
    /// When nothing can be measured.
    async fn pods(&self, namespace: &str, pods: &Selector) -> Result<Vec<PodUsage>, Status>;

    /// A metric of each pod that matches.
    ///
    /// # Errors
    /// When it cannot be measured. Without custom metrics, always.
    async fn custom_of_pods(
        &self,
        namespace: &str,
        pods: &Selector,
        metric: &Metric,
    ) -> Result<Vec<MetricValue>, Status> {
        let _ = (namespace, pods, metric);
        Err(Status::no_such_resource())
    }

    /// A metric of one object of a namespace, or of the namespace itself.
    ///
    /// # Errors
    /// When it cannot be measured. Without custom metrics, always.
    async fn custom_of_object(
        &self,
        namespace: &str,
        object: &CrossVersionObjectReference,
        metric: &Metric,
    ) -> Result<MetricValue, Status> {
        let _ = (namespace, object, metric);
        Err(Status::no_such_resource())
    }

    /// The values of all series of a metric of something outside the cluster.
    ///
    /// # Errors
    /// When it cannot be measured. Without external metrics, always.
    async fn external(&self, namespace: &str, metric: &Metric) -> Result<Vec<Quantity>, Status> {
        let _ = (namespace, metric);
        Err(Status::no_such_resource())
    }
}

/// The figures of resources that the cluster's own API serves as `metrics.k8s.io`.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    client: Client,
}

impl ApiMetrics {
    /// Asks through this client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl MetricsSource for ApiMetrics {
    async fn pods(&self, namespace: &str, pods: &Selector) -> Result<Vec<PodUsage>, Status> {
        let target = Target {
            group: "metrics.k8s.io".into(),
            version: "v1beta1".into(),
            resource: "pods".into(),
            namespace: Some(namespace.into()),
            name: None,
            subresource: None,
        };
        let options = ListOptions { labels: Some(pods.clone()), ..ListOptions::default() };
        match self.client.call(target, Operation::List(options)).await?.reply {
            Reply::List(list) => list
                .objects
                .iter()
                .map(|entry| entry.to_value().map_err(Status::internal).and_then(|value| usage(&value)))
                .collect(),
            Reply::Value(list) => {
                list["items"].as_array().map_or(&[][..], Vec::as_slice).iter().map(usage).collect()
            }
            Reply::Object(_) => Err(Status::internal("a list of figures was answered with one object")),
        }
    }
}

/// What a PodMetrics object says.
fn usage(value: &Value) -> Result<PodUsage, Status> {
    #[derive(Deserialize)]
    struct PodMetrics {
        metadata: Metadata,
        timestamp: Timestamp,
        #[serde(default)]
        window: String,
        #[serde(default)]
        containers: Vec<ContainerUsage>,
    }
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
    }
    let unreadable = |error: &dyn fmt::Display| Status::internal(format!("figures of a pod: {error}"));
    let read: PodMetrics = PodMetrics::deserialize(value).map_err(|error| unreadable(&error))?;
    let window = window(&read.window).map_err(|error| unreadable(&error))?;
    Ok(PodUsage { name: read.metadata.name, timestamp: read.timestamp, window, containers: read.containers })
}

/// A time as Go writes it, of seconds and what is shorter or longer: `15s`, `1m0.5s`.
fn window(text: &str) -> Result<Duration, String> {
    let senseless = || format!("the window \"{text}\" is no length of time");
    let (mut seconds, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(senseless)?;
        let unit = &rest[number..];
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(senseless()),
        };
        seconds += rest[..number].parse::<f64>().map_err(|_| senseless())? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| senseless())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::quantity::Format;

    #[test]
    fn figures_are_read_as_the_api_of_resource_metrics_writes_them() {
        let read = usage(&json!({
            "metadata": {"name": "p", "namespace": "n"}, "timestamp": "2026-01-01T00:00:00Z", "window": "1m0.5s",
            "containers": [{"name": "c", "usage": {"cpu": "250m", "memory": "1Mi"}}],
        }))
        .unwrap();
        assert_eq!((read.name.as_str(), read.window), ("p", Duration::from_millis(60_500)));
        assert_eq!(read.containers[0].usage["cpu"], Quantity::from_milli(250, Format::DecimalSi));
        assert_eq!(read.containers[0].usage["memory"].value(), 1 << 20);
        assert!(usage(&json!({"metadata": {"name": "p"}, "timestamp": "yesterday"})).is_err());
    }

    #[test]
    fn windows_are_lengths_of_time_as_go_writes_them() {
        for (text, millis) in
            [("15s", Some(15_000)), ("1h2m3s", Some(3_723_000)), ("20ms", Some(20)), ("", Some(0))]
        {
            assert_eq!(window(text).ok(), millis.map(Duration::from_millis), "{text}");
        }
        for text in ["s", "1", "1y", "1.2.3s", "-1s"] {
            assert!(window(text).is_err(), "{text}");
        }
    }
}
