//! Ports that are said more than once.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{ContainerPort, PodSpec};

use crate::api::field::Path;

/// Says which ports are said again, of all containers of a pod.
pub(super) fn repeated(spec: &PodSpec, path: &Path, warnings: &mut Vec<String>) {
    let lists = [("initContainers", spec.init_containers.as_ref()), ("containers", Some(&spec.containers))];
    let containers = lists.into_iter().flat_map(|(list, held)| {
        let at = path.child(list);
        held.into_iter().flatten().enumerate().map(move |(index, container)| (at.index(index), container))
    });
    let ports = containers.flat_map(|(at, container)| {
        let ports = container.ports.iter().flatten().enumerate();
        ports.map(move |(index, port)| (at.child("ports").index(index), port))
    });
    let ports: Vec<(Path, &ContainerPort)> = ports.collect();
    let mut seen: HashMap<(i32, &str), Vec<(&Path, &ContainerPort)>> = HashMap::new();
    for (at, port) in &ports {
        if port.host_port() == 0 && !port.host_ip().is_empty() {
            warnings.push(format!("{at}: hostIP set without hostPort: {}", shown(port)));
        }
        let others =
            seen.entry((port.container_port, port.protocol.as_deref().unwrap_or_default())).or_default();
        for (other_at, other) in others.iter() {
            if let Some(what) = relation(port, other) {
                warnings.push(format!("{at}: {what} port definition with {other_at}"));
            }
        }
        others.push((at, port));
    }
    let mut names: HashMap<&str, &Path> = HashMap::new();
    for (at, port) in &ports {
        let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) else { continue };
        match names.get(name) {
            Some(first) => warnings.push(format!(
                "{at}: duplicate port name {name:?} with {first}, services and probes that select ports by name will use \
                 {first}"
            )),
            None => {
                names.insert(name, at);
            }
        }
    }
}

/// What a port is to another one with the same number and protocol.
fn relation(port: &ContainerPort, other: &ContainerPort) -> Option<&'static str> {
    let same_host_port = port.host_port() == other.host_port();
    if same_host_port && port.host_ip() == other.host_ip() {
        Some("duplicate")
    } else if port.host_port() == 0 || other.host_port() == 0 {
        Some("overlapping")
    } else if same_host_port && port.host_ip().is_empty() != other.host_ip().is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

/// A port as Go prints one.
fn shown(port: &ContainerPort) -> String {
    format!(
        "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
        port.name.as_deref().unwrap_or_default(),
        port.host_port(),
        port.container_port,
        port.protocol.as_deref().unwrap_or_default(),
        port.host_ip(),
    )
}

/// What is the same missing or empty.
trait OnTheNode {
    fn host_port(&self) -> i32;
    fn host_ip(&self) -> &str;
}

impl OnTheNode for ContainerPort {
    fn host_port(&self) -> i32 {
        self.host_port.unwrap_or_default()
    }

    fn host_ip(&self) -> &str {
        self.host_ip.as_deref().unwrap_or_default()
    }
}
