//! A pod as `kubectl get pods` shows it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use crate::api::{Column, table};
use crate::objects::print::or_none;

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::new("Ready", "How many of the pod's containers are ready, of how many."),
    Column::new("Status", "What the states of the containers amount to."),
    Column::new("Restarts", "How often containers were started again, and when last."),
    Column::AGE,
    Column::new("IP", "The pod's address.").wide(),
    Column::new("Node", "The node that the pod is bound to.").wide(),
    Column::new("Nominated Node", "The node on which pods were preempted for this one.").wide(),
    Column::new("Readiness Gates", "How many of the pod's readiness gates are open, of how many.").wide(),
];

pub(super) fn cells(pod: &Pod, now: Timestamp) -> Vec<Value> {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let (spec, status) = (pod.spec.as_ref().unwrap_or(&no_spec), pod.status.as_ref().unwrap_or(&no_status));
    let summary = Summary::of(pod, spec, status);
    let restarts = match summary.last_restart {
        Some(time) if summary.restarts > 0 => {
            format!("{} ({} ago)", summary.restarts, table::since(Some(&Time(time)), now))
        }
        _ => summary.restarts.to_string(),
    };
    let ip = status.pod_ips.iter().flatten().next().map(|ip| ip.ip.as_str());
    vec![
        pod.metadata.name.clone().into(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        table::age(&pod.metadata, now).into(),
        or_none(ip).into(),
        or_none(spec.node_name.as_deref()).into(),
        or_none(status.nominated_node_name.as_deref()).into(),
        gates(spec, status).into(),
    ]
}

fn gates(spec: &PodSpec, status: &PodStatus) -> String {
    let gates = spec.readiness_gates.as_deref().unwrap_or_default();
    let open = gates.iter().filter(|gate| is_true(status, &gate.condition_type)).count();
    if gates.is_empty() { "<none>".to_owned() } else { format!("{open}/{}", gates.len()) }
}

fn is_true(status: &PodStatus, condition: &str) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.find(|held| held.type_ == condition).is_some_and(|held| held.status == "True")
}

/// What the states of the containers amount to.
struct Summary {
    ready: usize,
    total: usize,
    restarts: i32,
    last_restart: Option<Timestamp>,
    reason: String,
}

impl Summary {
    fn of(pod: &Pod, spec: &PodSpec, status: &PodStatus) -> Self {
        let phase = status.phase.clone().unwrap_or_default();
        let gated = status.conditions.iter().flatten().any(|condition| {
            condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("SchedulingGated")
        });
        let reason = match status.reason.as_deref() {
            _ if gated => "SchedulingGated",
            Some(reason) if !reason.is_empty() => reason,
            _ => &phase,
        };
        let init = spec.init_containers.as_deref().unwrap_or_default();
        let mut summary = Self {
            ready: 0,
            total: spec.containers.len() + init.iter().filter(|container| is_sidecar(container)).count(),
            restarts: 0,
            last_restart: None,
            reason: reason.to_owned(),
        };
        let sidecars = summary.initialize(init, status);
        if let Some(sidecars) = sidecars {
            (summary.restarts, summary.last_restart) = sidecars;
            summary.run(status);
        }
        if pod.metadata.deletion_timestamp.is_some() {
            if status.reason.as_deref() == Some("NodeLost") {
                summary.reason = "Unknown".to_owned();
            } else if !matches!(phase.as_str(), "Succeeded" | "Failed") {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Goes over the init containers up to one that is not done. Once the pod is initialized, answers with the
    /// restarts of its sidecars, which are all that then counts of them.
    fn initialize(
        &mut self,
        containers: &[Container],
        status: &PodStatus,
    ) -> Option<(i32, Option<Timestamp>)> {
        let by_name: BTreeMap<&str, &Container> =
            containers.iter().map(|container| (container.name.as_str(), container)).collect();
        let unknown = ContainerState::default();
        let mut sidecars = (0, None);
        let mut done = true;
        for (index, container) in status.init_container_statuses.iter().flatten().enumerate() {
            let sidecar = by_name.get(container.name.as_str()).is_some_and(|container| is_sidecar(container));
            self.count_restarts(container);
            if sidecar {
                sidecars.0 += container.restart_count;
                sidecars.1 = sidecars.1.max(last_end(container));
            }
            let state = container.state.as_ref().unwrap_or(&unknown);
            if state.terminated.as_ref().is_some_and(|ended| ended.exit_code == 0) {
                continue;
            }
            if sidecar && container.started == Some(true) {
                self.ready += usize::from(container.ready);
                continue;
            }
            self.reason = match unfinished(state) {
                Some(reason) => format!("Init:{reason}"),
                None => format!("Init:{index}/{}", containers.len()),
            };
            done = false;
            break;
        }
        (done || is_true(status, "Initialized")).then_some(sidecars)
    }

    /// Goes over the containers, the last first: of several that have something to say, the first says it.
    fn run(&mut self, status: &PodStatus) {
        let unknown = ContainerState::default();
        let mut running = false;
        for container in status.container_statuses.iter().flatten().rev() {
            self.count_restarts(container);
            let state = container.state.as_ref().unwrap_or(&unknown);
            let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
            if let Some(reason) = waiting.filter(|reason| !reason.is_empty()) {
                self.reason = reason.to_owned();
            } else if let Some(reason) = ended(state) {
                self.reason = reason;
            } else if container.ready && state.running.is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            self.reason = if is_true(status, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }

    fn count_restarts(&mut self, container: &ContainerStatus) {
        self.restarts += container.restart_count;
        self.last_restart = self.last_restart.max(last_end(container));
    }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// When the run before this one ended.
fn last_end(container: &ContainerStatus) -> Option<Timestamp> {
    Some(container.last_state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0)
}

/// Why an init container is not done, if there is more to say than that it is not.
fn unfinished(state: &ContainerState) -> Option<String> {
    ended(state).or_else(|| {
        let reason = state.waiting.as_ref()?.reason.clone()?;
        (!reason.is_empty() && reason != "PodInitializing").then_some(reason)
    })
}

/// How a container ended.
fn ended(state: &ContainerState) -> Option<String> {
    let ended = state.terminated.as_ref()?;
    Some(match (ended.reason.as_deref().unwrap_or_default(), ended.signal.unwrap_or_default()) {
        ("", 0) => format!("ExitCode:{}", ended.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    })
}
