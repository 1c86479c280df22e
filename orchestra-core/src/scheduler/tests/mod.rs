//! The pure parts of the scheduler, on clusters written down as JSON.

mod affinity;
mod attaching;
mod devices;
mod explaining;
mod messages;
mod placing;
mod preemption;
mod queueing;
mod requests;
mod spreading;

use std::sync::Arc;

use serde_json::{Value, json};

use super::{NodeSpec, Plan, PodInfo, Profile, Snapshot, plan};

/// A node with 4 processors, 8 GiB and room for 110 pods, changed by what is laid over it.
pub(super) fn node(name: &str, changes: Value) -> NodeSpec {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "100Gi", "pods": "110"}},
    });
    lay_over(&mut node, changes);
    NodeSpec::from_json(node.to_string().as_bytes()).expect("a valid node")
}

/// A pod in `default` that asks for nothing, changed by what is laid over it.
pub(super) fn pod(name: &str, changes: Value) -> Arc<PodInfo> {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}")},
        "spec": {"containers": [{"name": "main", "image": "web"}]},
        "status": {},
    });
    lay_over(&mut pod, changes);
    Arc::new(PodInfo::from_json(pod.to_string().as_bytes()).expect("a valid pod"))
}

/// A pod that asks for so much processor time.
pub(super) fn asking(name: &str, cpu: &str) -> Arc<PodInfo> {
    pod(name, json!({"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]}}))
}

pub(super) fn lay_over(base: &mut Value, changes: Value) {
    match (base, changes) {
        (Value::Object(base), Value::Object(changes)) => {
            for (key, value) in changes {
                lay_over(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, changes) => *base = changes,
    }
}

pub(super) fn cluster(nodes: impl IntoIterator<Item = NodeSpec>) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for node in nodes {
        snapshot.set_node(node);
    }
    snapshot
}

/// Where the pod goes; panics with the reasons when it goes nowhere.
pub(super) fn place(snapshot: &Snapshot, pod: &PodInfo) -> String {
    match plan(snapshot, pod, &Profile::default(), 7) {
        Plan::Place { node, .. } => node.to_string(),
        Plan::Unschedulable(diagnosis) => panic!("{}: {diagnosis}", pod.name),
    }
}

/// Why the pod goes nowhere; panics when it does not.
pub(super) fn refusal(snapshot: &Snapshot, pod: &PodInfo) -> String {
    match plan(snapshot, pod, &Profile::default(), 7) {
        Plan::Place { node, .. } => panic!("{} goes to {node}", pod.name),
        Plan::Unschedulable(diagnosis) => diagnosis.to_string(),
    }
}

/// Places the pod and counts it there.
pub(super) fn settle(snapshot: &mut Snapshot, pod: &Arc<PodInfo>) -> String {
    let node = place(snapshot, pod);
    snapshot.set_pod(pod.clone(), Some(&node));
    node
}
