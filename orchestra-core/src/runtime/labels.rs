//! Identity as labels on the runtime's own objects, and back: what adoption rests on.
//!
//! The keys are those that Kubernetes' own kubelet writes, so tools that read them (`docker ps --filter label=…`,
//! log shippers) find what they expect.

use std::collections::BTreeMap;

use super::{ContainerMeta, PodRef, SandboxMeta};

/// The pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// The pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// The pod's uid.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// The container's name within the pod.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// How often the container was started before.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// A hash of what the container was made from.
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
/// How often the pod's sandbox was made before.
pub const SANDBOX_ATTEMPT: &str = "io.orchestra.sandbox.attempt";
/// `sandbox` or `container`.
pub const KIND: &str = "io.orchestra.kind";
/// Which agent made it: agents that share a daemon each see only their own.
pub const OWNER: &str = "io.orchestra.owner";
/// On a container: the id of its sandbox.
pub const SANDBOX_ID: &str = "io.orchestra.sandbox.id";

/// [`KIND`] of a sandbox.
pub const KIND_SANDBOX: &str = "sandbox";
/// [`KIND`] of a container.
pub const KIND_CONTAINER: &str = "container";

/// The labels that identify a sandbox.
pub fn of_sandbox(meta: &SandboxMeta) -> BTreeMap<String, String> {
    let mut labels = of_pod(&meta.pod, &meta.owner);
    labels.insert(KIND.into(), KIND_SANDBOX.into());
    labels.insert(SANDBOX_ATTEMPT.into(), meta.attempt.to_string());
    labels.insert(CONTAINER_NAME.into(), "POD".into());
    labels
}

/// The labels that identify a container of a sandbox.
pub fn of_container(sandbox: &SandboxMeta, meta: &ContainerMeta) -> BTreeMap<String, String> {
    let mut labels = of_pod(&sandbox.pod, &sandbox.owner);
    labels.insert(KIND.into(), KIND_CONTAINER.into());
    labels.insert(CONTAINER_NAME.into(), meta.name.clone());
    labels.insert(RESTART_COUNT.into(), meta.attempt.to_string());
    labels.insert(CONTAINER_HASH.into(), meta.hash.clone());
    labels
}

/// Reads a sandbox's identity back. `None` when these are not the labels of a sandbox of ours.
pub fn sandbox<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<SandboxMeta> {
    if get(KIND)? != KIND_SANDBOX {
        return None;
    }
    Some(SandboxMeta {
        pod: pod(&get)?,
        attempt: get(SANDBOX_ATTEMPT)?.parse().ok()?,
        owner: get(OWNER)?.to_owned(),
    })
}

/// Reads a container's identity back. `None` when these are not the labels of a container of ours.
pub fn container<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<ContainerMeta> {
    if get(KIND)? != KIND_CONTAINER {
        return None;
    }
    Some(ContainerMeta {
        name: get(CONTAINER_NAME)?.to_owned(),
        attempt: get(RESTART_COUNT)?.parse().ok()?,
        hash: get(CONTAINER_HASH)?.to_owned(),
    })
}

/// Reads the pod's identity, which sandboxes and containers both carry.
pub fn pod<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<PodRef> {
    Some(PodRef {
        namespace: get(POD_NAMESPACE)?.to_owned(),
        name: get(POD_NAME)?.to_owned(),
        uid: get(POD_UID)?.to_owned(),
    })
}

fn of_pod(pod: &PodRef, owner: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (POD_NAME.into(), pod.name.clone()),
        (POD_NAMESPACE.into(), pod.namespace.clone()),
        (POD_UID.into(), pod.uid.clone()),
        (OWNER.into(), owner.to_owned()),
    ])
}
