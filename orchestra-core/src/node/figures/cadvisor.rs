//! The figures as cAdvisor names them, for dashboards and alerts that know no others: `/metrics/cadvisor`. Pure.

use std::fmt::Write;

use jiff::Timestamp;

use super::summary::{ContainerFigures, CpuStats, FsStats, MemoryStats, PodStats, Summary};

/// What one line is of: the node (all empty), a pod (no container), or a container.
struct Place<'a> {
    id: String,
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
}

/// What was found of one place.
struct Found<'a> {
    place: Place<'a>,
    cpu: Option<&'a CpuStats>,
    memory: Option<&'a MemoryStats>,
    disk: Option<&'a FsStats>,
    started: Option<Timestamp>,
}

/// The text of `/metrics/cadvisor`.
pub fn cadvisor_metrics(summary: &Summary) -> String {
    let all = found(summary);
    let mut text = String::new();
    family(
        &mut text,
        &all,
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds."),
        |one| {
            let cpu = one.cpu?;
            Some((cpu.usage_core_nano_seconds as f64 / 1e9, Some(cpu.time)))
        },
    );
    family(
        &mut text,
        &all,
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes."),
        |one| {
            let memory = one.memory?;
            Some((memory.working_set_bytes as f64, Some(memory.time)))
        },
    );
    family(
        &mut text,
        &all,
        (
            "container_memory_usage_bytes",
            "gauge",
            "Current memory usage in bytes, including all memory regardless of when it was accessed",
        ),
        |one| {
            let memory = one.memory?;
            Some((memory.usage_bytes? as f64, Some(memory.time)))
        },
    );
    family(
        &mut text,
        &all,
        (
            "container_fs_usage_bytes",
            "gauge",
            "Number of bytes that are consumed by the container on this filesystem.",
        ),
        |one| {
            let disk = one.disk?;
            Some((disk.used_bytes as f64, Some(disk.time)))
        },
    );
    family(
        &mut text,
        &all,
        (
            "container_fs_limit_bytes",
            "gauge",
            "Number of bytes that can be consumed by the container on this filesystem.",
        ),
        |one| {
            let disk = one.disk?;
            Some((disk.capacity_bytes? as f64, Some(disk.time)))
        },
    );
    family(
        &mut text,
        &all,
        ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds."),
        |one| Some((one.started?.as_millisecond() as f64 / 1000.0, None)),
    );
    family(
        &mut text,
        &all,
        ("container_last_seen", "gauge", "Last time a container was seen by the exporter"),
        |one| {
            let cpu = one.cpu?;
            Some((cpu.time.as_second() as f64, Some(cpu.time)))
        },
    );
    text
}

fn found(summary: &Summary) -> Vec<Found<'_>> {
    let node = &summary.node;
    let mut all = vec![Found {
        place: Place { id: "/".to_owned(), namespace: "", pod: "", container: "" },
        cpu: node.cpu.as_ref(),
        memory: node.memory.as_ref(),
        disk: node.fs.as_ref(),
        started: node.start_time,
    }];
    for pod in &summary.pods {
        all.push(Found {
            place: place(pod, None),
            cpu: pod.cpu.as_ref(),
            memory: pod.memory.as_ref(),
            disk: None,
            started: pod.start_time,
        });
        all.extend(pod.containers.iter().map(|one| Found {
            place: place(pod, Some(one)),
            cpu: Some(&one.cpu),
            memory: Some(&one.memory),
            disk: one.rootfs.as_ref(),
            started: one.start_time,
        }));
    }
    all
}

fn place<'a>(pod: &'a PodStats, container: Option<&'a ContainerFigures>) -> Place<'a> {
    let group = format!("/kubepods/pod{}", pod.pod_ref.uid);
    Place {
        id: container.map_or(group.clone(), |container| format!("{group}/{}", container.name)),
        namespace: &pod.pod_ref.namespace,
        pod: &pod.pod_ref.name,
        container: container.map_or("", |container| &container.name),
    }
}

/// The figures of one name; nothing if there are none.
fn family(
    text: &mut String,
    all: &[Found<'_>],
    (name, kind, help): (&str, &str, &str),
    figure: impl Fn(&Found<'_>) -> Option<(f64, Option<Timestamp>)>,
) {
    let mut figures = all.iter().filter_map(|one| Some((&one.place, figure(one)?))).peekable();
    if figures.peek().is_some() {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }
    for (place, (value, at)) in figures {
        let Place { id, namespace, pod, container } = place;
        let _ = write!(
            text,
            "{name}{{container={container:?},id={id:?},image=\"\",name=\"\",namespace={namespace:?},pod={pod:?}}} {value}"
        );
        let _ = match at {
            Some(at) => writeln!(text, " {}", at.as_millisecond()),
            None => writeln!(text),
        };
    }
}
