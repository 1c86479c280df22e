//! The figures as Prometheus reads them: `/metrics/resource`. Pure.

use std::fmt::Write;

use jiff::Timestamp;

use super::summary::{ContainerFigures, PodStats, Summary};

/// One figure of one thing.
struct Sample {
    labels: String,
    value: f64,
    at: Option<Timestamp>,
}

/// The text of `/metrics/resource`.
pub fn resource_metrics(summary: &Summary) -> String {
    let mut text = String::new();
    let containers = || summary.pods.iter().flat_map(|pod| pod.containers.iter().map(move |one| (pod, one)));
    family(
        &mut text,
        (
            "container_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed by the container in core-seconds",
        ),
        containers().map(|(pod, one)| {
            of_container(pod, one, seconds(one.cpu.usage_core_nano_seconds), Some(one.cpu.time))
        }),
    );
    family(
        &mut text,
        ("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes"),
        containers().map(|(pod, one)| {
            of_container(pod, one, one.memory.working_set_bytes as f64, Some(one.memory.time))
        }),
    );
    family(
        &mut text,
        ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds"),
        containers().filter_map(|(pod, one)| {
            Some(of_container(pod, one, one.start_time?.as_millisecond() as f64 / 1000.0, None))
        }),
    );
    let node = &summary.node;
    let plain = |value, at| Sample { labels: String::new(), value, at: Some(at) };
    family(
        &mut text,
        (
            "node_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed by the node in core-seconds",
        ),
        node.cpu.iter().map(|cpu| plain(seconds(cpu.usage_core_nano_seconds), cpu.time)),
    );
    family(
        &mut text,
        ("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes"),
        node.memory.iter().map(|memory| plain(memory.working_set_bytes as f64, memory.time)),
    );
    family(
        &mut text,
        ("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds"),
        summary.pods.iter().filter_map(|pod| {
            let cpu = pod.cpu.as_ref()?;
            Some(of_pod(pod, seconds(cpu.usage_core_nano_seconds), cpu.time))
        }),
    );
    family(
        &mut text,
        ("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes"),
        summary.pods.iter().filter_map(|pod| {
            let memory = pod.memory.as_ref()?;
            Some(of_pod(pod, memory.working_set_bytes as f64, memory.time))
        }),
    );
    let none = Sample { labels: String::new(), value: 0.0, at: None };
    family(
        &mut text,
        (
            "resource_scrape_error",
            "gauge",
            "1 if there was an error while getting container metrics, 0 otherwise",
        ),
        [none],
    );
    text
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn of_pod(pod: &PodStats, value: f64, at: Timestamp) -> Sample {
    let labels = format!("{{namespace={:?},pod={:?}}}", pod.pod_ref.namespace, pod.pod_ref.name);
    Sample { labels, value, at: Some(at) }
}

fn of_container(pod: &PodStats, one: &ContainerFigures, value: f64, at: Option<Timestamp>) -> Sample {
    let (namespace, name) = (&pod.pod_ref.namespace, &pod.pod_ref.name);
    Sample { labels: format!("{{container={:?},namespace={namespace:?},pod={name:?}}}", one.name), value, at }
}

/// The figures of one name; nothing if there are none.
fn family(
    text: &mut String,
    (name, kind, help): (&str, &str, &str),
    samples: impl IntoIterator<Item = Sample>,
) {
    for (index, Sample { labels, value, at }) in samples.into_iter().enumerate() {
        if index == 0 {
            let _ = writeln!(text, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
        }
        let _ = write!(text, "{name}{labels} {value}");
        let _ = match at {
            Some(at) => writeln!(text, " {}", at.as_millisecond()),
            None => writeln!(text),
        };
    }
}
