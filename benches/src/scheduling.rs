//! Nodes and pods as a scheduler sees them.

use std::sync::Arc;

use orchestra_core::scheduler::{HOSTNAME, NodeSpec, Plan, PodInfo, Profile, Snapshot, ZONE, plan};
use serde_json::{Value, json};

/// A node of 16 processors in one of three zones.
///
/// # Panics
/// Never: what it reads it has written.
pub fn node(index: usize) -> NodeSpec {
    let name = format!("node-{index:04}");
    let node = json!({
        "metadata": {"name": name, "labels": {
            HOSTNAME: name, ZONE: format!("zone-{}", index % 3), "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        }},
        "status": {"allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"}},
    });
    NodeSpec::from_json(node.to_string().as_bytes()).expect("a node")
}

/// A pod of a ReplicaSet, with more in its `spec`.
///
/// # Panics
/// When that is not of a pod.
pub fn pod(name: &str, app: usize, spec: Value) -> Arc<PodInfo> {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name,
            "labels": {"app": format!("app-{app}"), "pod-template-hash": format!("{app:x}"), "tier": "web"},
            "ownerReferences": [{"kind": "ReplicaSet", "uid": format!("rs-{app}"), "controller": true}],
        },
        "spec": {"containers": [{"name": "c", "image": "web:1", "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}}}]},
    });
    if let (Some(base), Value::Object(more)) = (pod["spec"].as_object_mut(), spec) {
        base.extend(more);
    }
    Arc::new(PodInfo::from_json(pod.to_string().as_bytes()).expect("a pod"))
}

/// Plans a pod, counts it on its node and takes it away again, so that the cluster stays as it is.
///
/// # Panics
/// When there is no room for it.
pub fn place_and_remove(snapshot: &mut Snapshot, pod: &Arc<PodInfo>, seed: u64) {
    match plan(snapshot, pod, &Profile::default(), seed) {
        Plan::Place { node, .. } => {
            snapshot.set_pod(pod.clone(), Some(&node));
            snapshot.remove_pod(&pod.uid);
        }
        Plan::Unschedulable(diagnosis) => panic!("{diagnosis}"),
    }
}
