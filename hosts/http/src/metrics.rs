//! What the server counts, as Prometheus reads it: under the names that Kubernetes' API server gives the same figures.
//!
//! The text is OpenMetrics 1.0, which Prometheus prefers. Labels only ever have values that the table of kinds has, so
//! that nobody can fill the memory with paths of their own.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use orchestra_core::access::flow_control::FlowControl;
use orchestra_core::api::{Resource, Server};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::audit::Audit;
use crate::collect::{Audited, Flows};
use crate::reply::{self, Body};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The upper bounds, in seconds, of what requests are sorted into: Kubernetes', thinned out.
const BUCKETS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0];

/// Which requests are counted together.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Asked {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    code: u16,
}

impl Asked {
    /// A request for a resource; one that there is not counts as of no resource.
    pub(crate) fn of(verb: &'static str, served: Option<(&Resource, &str, &str)>, sub: Option<&str>) -> Self {
        let Some((resource, group, version)) = served else {
            let none = String::new;
            return Self { verb, group: none(), version: none(), resource: none(), subresource: none() };
        };
        let known = |sub: &&str| resource.subresource(sub).is_some();
        Self {
            verb,
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.id.resource.to_string(),
            subresource: sub.filter(known).unwrap_or_default().to_owned(),
        }
    }
}

/// Counts the requests of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
    watches: Family<Asked, Gauge>,
}

impl Metrics {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        let requests = Family::default();
        let durations: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let watches = Family::default();
        let mut registry = Registry::default();
        registry.register(
            "apiserver_request",
            "Requests, by what was asked and how it was answered",
            requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "How long requests took, watches aside",
            durations.clone(),
        );
        registry.register("apiserver_longrunning_requests", "Watches under way", watches.clone());
        registry.register_collector(Box::new(State(server)));
        Self { registry, requests, durations, watches }
    }

    /// Also tells what was written down of requests.
    pub(crate) fn count_audit(&mut self, audit: &Audit) {
        self.registry.register_collector(Box::new(Audited(audit.clone())));
    }

    /// Also tells who was let in, and who waits.
    pub(crate) fn count_flows(&mut self, flow_control: &FlowControl) {
        self.registry.register_collector(Box::new(Flows(flow_control.clone())));
    }

    /// Counts a request that was answered. `took` is `None` for one whose answer goes on.
    pub(crate) fn answered(&self, asked: &Asked, code: u16, took: Option<Duration>) {
        if let Some(took) = took {
            self.durations.get_or_create(asked).observe(took.as_secs_f64());
        }
        let Asked { verb, group, version, resource, subresource } = asked.clone();
        self.requests.get_or_create(&Answered { verb, group, version, resource, subresource, code }).inc();
    }

    /// Counts a watch as under way for as long as this is held.
    pub(crate) fn watching(&self, asked: &Asked) -> Watching {
        let gauge = self.watches.get_or_create(asked).clone();
        gauge.inc();
        Watching(gauge)
    }

    /// Everything that is counted.
    pub(crate) fn answer(&self) -> Response<Body> {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => reply::bytes(200, OPEN_METRICS, text),
            Err(error) => reply::text(500, &format!("the metrics cannot be written: {error}\n")),
        }
    }
}

/// A watch under way.
#[derive(Debug)]
pub(crate) struct Watching(Gauge);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What is not counted but looked up when somebody asks.
#[derive(Debug)]
struct State(Arc<Server>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stored {
    resource: String,
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let objects: Family<Stored, Gauge> = Family::default();
        let table = self.0.caches().table();
        for (id, cache) in table.caches() {
            let count = i64::try_from(cache.len()).unwrap_or(i64::MAX);
            objects.get_or_create(&Stored { resource: id.to_string() }).set(count);
        }
        let gauge = MetricType::Gauge;
        objects.encode(encoder.encode_descriptor(
            "apiserver_storage_objects",
            "Objects in the store, by kind",
            None,
            gauge,
        )?)?;
        if let Some(bytes) = resident() {
            let what = "Memory of this process that is not swapped out, in bytes";
            let encoder = encoder.encode_descriptor("process_resident_memory_bytes", what, None, gauge)?;
            ConstGauge::new(bytes).encode(encoder)?;
        }
        Ok(())
    }
}

/// The resident memory of this process in bytes, where the system tells.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
