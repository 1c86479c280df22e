//! What a node and its pods use, as the kubelet tells it.

use http::Response;
use orchestra_core::api::Status;
use orchestra_core::node::NodeService;
use orchestra_core::node::figures::{Summary, cadvisor_metrics, resource_metrics};

use crate::reply::{self, Body};

/// All figures, as JSON.
pub(super) const SUMMARY: &str = "/stats/summary";
/// The figures of processors and memory, for Prometheus.
const RESOURCE: &str = "/metrics/resource";

/// The same and more by the names of cAdvisor.
const CADVISOR: &str = "/metrics/cadvisor";
/// How probes came out.
pub(super) const PROBES: &str = "/metrics/probes";

/// How Prometheus calls the form of its text.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The answer of a node; `None` if a path is none of figures.
pub(crate) async fn answer(service: &dyn NodeService, path: &str) -> Option<Result<Response<Body>, Status>> {
    match path.strip_suffix('/').unwrap_or(path) {
        SUMMARY => Some(service.summary().await.and_then(|summary| written(&summary))),
        RESOURCE => Some(
            service.summary().await.map(|summary| reply::bytes(200, PROMETHEUS, resource_metrics(&summary))),
        ),
        CADVISOR => Some(
            service.summary().await.map(|summary| reply::bytes(200, PROMETHEUS, cadvisor_metrics(&summary))),
        ),
        PROBES => Some(service.probe_metrics().await.map(|text| reply::bytes(200, PROMETHEUS, text))),
        _ => None,
    }
}

fn written(summary: &Summary) -> Result<Response<Body>, Status> {
    let value = serde_json::to_value(summary).map_err(Status::internal)?;
    Ok(reply::bytes(200, "application/json", value.to_string()))
}

/// Reads what another agent answered.
pub(super) fn read(body: &[u8]) -> Result<Summary, Status> {
    serde_json::from_slice(body)
        .map_err(|error| Status::internal(format!("the figures of a node cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kubelet_says_is_read_too() {
        let summary = read(
            br#"{"node":{"nodeName":"n","systemContainers":[],"cpu":{"time":"2026-01-02T03:04:05Z",
            "usageNanoCores":7,"usageCoreNanoSeconds":9},"runtime":{}},"pods":[]}"#,
        )
        .unwrap();
        let cpu = summary.node.cpu.unwrap();
        assert_eq!(
            (cpu.usage_nano_cores, cpu.usage_core_nano_seconds, cpu.window_millis),
            (Some(7), 9, None)
        );
        assert!(read(b"no").is_err());
    }
}
