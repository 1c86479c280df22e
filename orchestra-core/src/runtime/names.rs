//! What sandboxes and containers are called in the runtime.
//!
//! `k8s_<container>_<pod>_<namespace>_<uid>_<attempt>`, and `POD` in place of the container for a sandbox: the names
//! `docker ps` has shown on Kubernetes nodes for years. The uid keeps two pods of one name apart, the attempt two lives
//! of one container. None of the parts may hold an underscore, so a name can be taken apart again; identity is
//! nevertheless read from [`labels`](super::labels), and names are for people.

use super::{ContainerMeta, PodRef, SandboxMeta};

/// The name of a sandbox.
pub fn sandbox(meta: &SandboxMeta) -> String {
    name("POD", &meta.pod, meta.attempt)
}

/// The name of a container.
pub fn container(pod: &PodRef, meta: &ContainerMeta) -> String {
    name(&meta.name, pod, meta.attempt)
}

/// The folder of a pod's logs under a log root, `<namespace>_<pod>_<uid>`.
pub fn log_directory(pod: &PodRef) -> String {
    format!("{}_{}_{}", pod.namespace, pod.name, pod.uid)
}

/// The log file of a container within its pod's folder, `<container>/<attempt>.log`.
pub fn log_file(meta: &ContainerMeta) -> String {
    format!("{}/{}.log", meta.name, meta.attempt)
}

fn name(container: &str, pod: &PodRef, attempt: u32) -> String {
    format!("k8s_{container}_{}_{}_{}_{attempt}", pod.name, pod.namespace, pod.uid)
}
