//! The figures by which autoscalers decide: those of resources, which the cluster measures, and those of the APIs of custom
//! and external metrics, which others serve behind an APIService.
//!
//! These two are no kinds: their paths name a metric where another has a subresource. So they are asked by paths, as the
//! user that autoscalers are.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use orchestra_core::api::{Client, Reason, Status, User};
use orchestra_core::controllers::autoscaler::{ApiMetrics, Metric, MetricValue, MetricsSource, PodUsage};
use orchestra_core::k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use orchestra_core::k8s_openapi::jiff::Timestamp;
use orchestra_core::quantity::Quantity;
use orchestra_core::selector::Selector;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower_service::Service as _;

use crate::frontend::Frontend;
use crate::remote::{Remote, escape, failure};

const CUSTOM: &str = "custom.metrics.k8s.io";
const EXTERNAL: &str = "/apis/external.metrics.k8s.io/v1beta1";
/// As much of an answer as is read: a figure of each of ten thousand pods takes less.
const LARGEST: usize = 8 * 1024 * 1024;

/// Measures by the APIs of a cluster, those that others serve among them.
///
/// Autoscalers are configured before there is an API in front of the cluster, so it is told later by what it reaches it;
/// until then nothing can be measured.
#[derive(Clone, Default)]
pub struct AggregatedMetrics(Arc<OnceLock<Reached>>);

struct Reached {
    way: Way,
    client: Client,
}

enum Way {
    /// The API of this process. It holds, by its cluster, who holds this.
    Local(Weak<Frontend>),
    Remote(Arc<Remote>),
}

impl fmt::Debug for AggregatedMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatedMetrics").finish_non_exhaustive()
    }
}

impl AggregatedMetrics {
    /// One that is yet to be told by what it reaches the API.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the API of this process. Only the first time counts.
    pub fn ask(&self, frontend: &Arc<Frontend>) {
        let client = frontend.server().client(user());
        _ = self.0.set(Reached { way: Way::Local(Arc::downgrade(frontend)), client });
    }

    /// Asks an API server elsewhere. Only the first time counts.
    pub fn ask_remote(&self, remote: &Arc<Remote>) {
        _ = self.0.set(Reached { way: Way::Remote(Arc::clone(remote)), client: remote.client() });
    }

    fn reached(&self) -> Result<&Reached, Status> {
        self.0.get().ok_or_else(|| Status::new(Reason::ServiceUnavailable, "the API is not served yet"))
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, Status> {
        let body = match &self.reached()?.way {
            Way::Remote(remote) => remote.read(path).await?,
            Way::Local(frontend) => local(frontend, path).await?,
        };
        serde_json::from_slice(&body).map_err(|error| Status::internal(format!("metrics: {error}")))
    }

    /// The version of custom metrics that is read: the later of the two, if it is there.
    async fn version(&self) -> Result<String, Status> {
        let absent = || Status::new(Reason::NotFound, format!("no custom metrics API ({CUSTOM}) registered"));
        let group: Value = match self.get(format!("/apis/{CUSTOM}")).await {
            Err(status) if status.is_not_found() => return Err(absent()),
            group => group?,
        };
        let versions = group["versions"].as_array().map_or(&[][..], Vec::as_slice);
        let later = versions.iter().any(|version| version["version"] == "v1beta2");
        let preferred = group["preferredVersion"]["version"].as_str();
        Ok(if later { "v1beta2" } else { preferred.ok_or_else(absent)? }.to_owned())
    }

    async fn custom(&self, place: &str, query: &[(&str, &Selector)]) -> Result<Vec<MetricValue>, Status> {
        let version = self.version().await?;
        let path = format!("/apis/{CUSTOM}/{version}/namespaces/{place}{}", asked(query));
        let list: List<Custom> = self.get(path).await?;
        Ok(list.items.into_iter().map(Custom::read).collect())
    }

    /// What objects of a kind are called in paths.
    async fn resource(&self, object: &CrossVersionObjectReference) -> Result<String, Status> {
        let version = object.api_version.as_deref().unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let kinds = self.reached()?.client.service().kinds().await?;
        let found = kinds.iter().find(|kind| *kind.kind == *object.kind && *kind.id.group == *group);
        let unknown = || {
            let kind = &object.kind;
            Status::new(Reason::NotFound, format!("no matches for kind {kind:?} in version {version:?}"))
        };
        let id = &found.ok_or_else(unknown)?.id;
        Ok(if group.is_empty() { id.resource.to_string() } else { format!("{}.{group}", id.resource) })
    }
}

/// As whom autoscalers ask.
fn user() -> User {
    User::service_account("kube-system", "horizontal-pod-autoscaler")
}

async fn local(frontend: &Weak<Frontend>, path: String) -> Result<Bytes, Status> {
    let gone = || Status::new(Reason::ServiceUnavailable, "the API is not served any more");
    let request = Request::get(path).body(Empty::<Bytes>::new()).map_err(Status::internal)?;
    let mut service = frontend.upgrade().ok_or_else(gone)?.local(user());
    let answer = match service.call(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let code = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(Status::internal)?;
    match body.to_bytes() {
        body if code == StatusCode::OK => Ok(body),
        body => Err(failure(code, &body)),
    }
}

/// The query that names series by their labels. A selector that selects all is left out.
fn asked(selectors: &[(&str, &Selector)]) -> String {
    let named = selectors.iter().filter(|(_, selector)| !selector.is_everything());
    let parts: Vec<String> =
        named.map(|(name, selector)| format!("{name}={}", escape(&selector.to_string()))).collect();
    if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
}

#[async_trait]
impl MetricsSource for AggregatedMetrics {
    async fn pods(&self, namespace: &str, pods: &Selector) -> Result<Vec<PodUsage>, Status> {
        ApiMetrics::new(self.reached()?.client.clone()).pods(namespace, pods).await
    }

    async fn custom_of_pods(
        &self,
        namespace: &str,
        pods: &Selector,
        metric: &Metric,
    ) -> Result<Vec<MetricValue>, Status> {
        let place = format!("{}/pods/*/{}", escape(namespace), escape(&metric.name));
        self.custom(&place, &[("labelSelector", pods), ("metricLabelSelector", &metric.selector)]).await
    }

    async fn custom_of_object(
        &self,
        namespace: &str,
        object: &CrossVersionObjectReference,
        metric: &Metric,
    ) -> Result<MetricValue, Status> {
        let (name, of) = (escape(&metric.name), escape(&object.name));
        let is_core = object.api_version.as_deref().is_none_or(|version| !version.contains('/'));
        let place = match &*object.kind {
            // A namespace is in none.
            "Namespace" if is_core => format!("{of}/metrics/{name}"),
            _ => format!("{}/{}/{of}/{name}", escape(namespace), self.resource(object).await?),
        };
        let mut values = self.custom(&place, &[("metricLabelSelector", &metric.selector)]).await?;
        match (values.pop(), values.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => Err(Status::internal(format!("not one value of {} for {}", metric.name, object.name))),
        }
    }

    async fn external(&self, namespace: &str, metric: &Metric) -> Result<Vec<Quantity>, Status> {
        let query = asked(&[("labelSelector", &metric.selector)]);
        let path = format!("{EXTERNAL}/namespaces/{}/{}{query}", escape(namespace), escape(&metric.name));
        let list: List<External> = self.get(path).await?;
        Ok(list.items.into_iter().map(|item| item.value).collect())
    }
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

/// A value of `v1beta1` or `v1beta2`, which call the length of time otherwise.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Custom {
    described_object: Described,
    timestamp: Timestamp,
    #[serde(default, alias = "window")]
    window_seconds: Option<u64>,
    value: Quantity,
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    name: String,
}

impl Custom {
    fn read(self) -> MetricValue {
        let window = Duration::from_secs(self.window_seconds.unwrap_or(60));
        let Self { described_object: Described { name: object }, timestamp, value, .. } = self;
        MetricValue { object, timestamp, window, value }
    }
}

#[derive(Deserialize)]
struct External {
    value: Quantity,
}
