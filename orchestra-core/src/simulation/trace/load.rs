//! How much the pods of a trace had to do, for autoscalers that go by it.
//!
//! What the recorded autoscalers measured is in the trace: so many pods used so much each. All of a workload's pods together
//! had that to do, and in another life as many others share it, each an equal part.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use super::trim::text;
use super::{HPA, TraceEvent};
use crate::api::{Client, Status, Target};
use crate::clock::SharedClock;
use crate::controllers::autoscaler::{ContainerUsage, MetricsSource, PodUsage};
use crate::quantity::{Format, Quantity};
use crate::selector::Selector;
use crate::watch::Query;
use crate::what_if::{is_ready, workload_of};

/// Over how long what is told was measured.
const WINDOW: Duration = Duration::from_secs(15);

/// What all pods of a workload used of each resource, in thousandths, from a time on.
type Used = BTreeMap<String, i64>;

/// What workloads had to do, by their name as `namespace/deployment/name`, and by milliseconds since the trace began.
#[derive(Clone, Debug, Default)]
pub(super) struct Loads(BTreeMap<String, BTreeMap<u64, Used>>);

impl Loads {
    /// What the autoscalers of a trace measured.
    pub(super) fn of(events: &[TraceEvent]) -> Self {
        let mut loads = Self::default();
        for event in events.iter().filter(|event| event.kind == HPA) {
            let Some(scaler) = &event.put else { continue };
            let pods = scaler.pointer("/status/currentReplicas").and_then(Value::as_i64).unwrap_or(0);
            let metrics = scaler.pointer("/status/currentMetrics").and_then(Value::as_array);
            let mut used = Used::new();
            for metric in metrics.into_iter().flatten() {
                let each = metric.pointer("/resource/current/averageValue").and_then(Value::as_str);
                let each = each.and_then(|text| text.parse::<Quantity>().ok());
                if let Some(each) = each {
                    let name = text(metric, "/resource/name").to_owned();
                    used.insert(name, each.milli_value().saturating_mul(pods));
                }
            }
            if !used.is_empty() {
                loads.0.entry(target(scaler)).or_default().insert(event.ms, used);
            }
        }
        loads
    }

    /// Whether anything is known of a workload.
    pub(super) fn knows(&self, workload: &str) -> bool {
        self.0.contains_key(workload)
    }

    /// What all pods of a workload have to do at a time; before the first that is known, as much as then.
    fn at(&self, workload: &str, ms: u64) -> Option<&Used> {
        let known = self.0.get(workload)?;
        known.range(..=ms).next_back().or_else(|| known.iter().next()).map(|(_, used)| used)
    }
}

/// The name of the workload that an autoscaler is for.
pub(super) fn target(scaler: &Value) -> String {
    let of = |path: &str| text(scaler, path).to_owned();
    let namespace = match text(scaler, "/metadata/namespace") {
        "" => "default".to_owned(),
        namespace => namespace.to_owned(),
    };
    let kind = of("/spec/scaleTargetRef/kind").to_lowercase();
    format!("{namespace}/{kind}/{}", of("/spec/scaleTargetRef/name"))
}

/// Measures the pods of a trace that is lived again.
pub(super) struct Shared {
    loads: Loads,
    clock: SharedClock,
    client: OnceLock<Client>,
    began: OnceLock<Duration>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("workloads", &self.loads.0.len()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(loads: Loads, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { loads, clock, client: OnceLock::new(), began: OnceLock::new() })
    }

    /// The pods that are measured are those of this client's cluster.
    pub(super) fn measure(&self, client: Client) {
        let _ = self.client.set(client);
    }

    /// The trace begins now.
    pub(super) fn begin(&self) {
        let _ = self.began.set(self.clock.elapsed());
    }

    fn ms(&self) -> u64 {
        let since = self.began.get().map(|began| self.clock.elapsed().saturating_sub(*began));
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

#[async_trait]
impl MetricsSource for Shared {
    async fn pods(&self, namespace: &str, pods: &Selector) -> Result<Vec<PodUsage>, Status> {
        let client = self.client.get().ok_or_else(|| Status::internal("nothing is measured yet"))?;
        let cache = client.service().cache(&Target::of::<Pod>(Some(namespace))).await?;
        let mut by_workload: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
        for entry in cache.list(&Query::namespace(namespace).labels(pods)) {
            let pod = entry.view::<Pod>().map_err(Status::internal)?;
            if is_ready(&pod) {
                by_workload.entry(workload_of(&pod)).or_default().push(pod);
            }
        }
        let (ms, timestamp) = (self.ms(), self.clock.now());
        let mut told = Vec::new();
        for (workload, pods) in by_workload {
            let Some(used) = self.loads.at(&workload, ms) else { continue };
            let count = pods.len() as i64;
            told.extend(pods.iter().map(|pod| PodUsage {
                name: pod.metadata.name.clone().unwrap_or_default(),
                timestamp,
                window: WINDOW,
                containers: shared(pod, used, count),
            }));
        }
        Ok(told)
    }
}

/// What the containers of a pod use, of which there are so many: all of it is the first one's.
fn shared(pod: &Pod, used: &Used, pods: i64) -> Vec<ContainerUsage> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers).enumerate();
    let of = |at: usize| {
        let part =
            |all: i64| Quantity::from_milli(if at == 0 { all / pods.max(1) } else { 0 }, Format::DecimalSi);
        used.iter().map(move |(name, all)| (name.clone(), part(*all))).collect()
    };
    containers.map(|(at, container)| ContainerUsage { name: container.name.clone(), usage: of(at) }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_measured_is_all_that_there_was_to_do() {
        let scaler = |ms: u64, pods: i64, cpu: &str| {
            let spec = json!({"scaleTargetRef": {"kind": "Deployment", "name": "web"}});
            let resource = json!({"name": "cpu", "current": {"averageValue": cpu}});
            let status = json!({"currentReplicas": pods, "currentMetrics": [{"type": "Resource", "resource": resource}]});
            let put = json!({"metadata": {"namespace": "a", "name": "h"}, "spec": spec, "status": status});
            TraceEvent { ms, kind: HPA.into(), put: Some(put), gone: None }
        };
        let loads = Loads::of(&[scaler(1000, 2, "300m"), scaler(5000, 4, "1")]);
        let cpu = |ms| loads.at("a/deployment/web", ms).unwrap()["cpu"];
        assert_eq!((cpu(0), cpu(1000), cpu(4999), cpu(5000), cpu(9000)), (600, 600, 600, 4000, 4000));
        assert!(loads.knows("a/deployment/web") && !loads.knows("a/deployment/api"));
    }
}
