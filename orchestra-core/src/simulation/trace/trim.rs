//! What of an object is kept in a trace: what placing depends on; pure.

use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use crate::selector::Labels;

/// A kind that is followed: group, version and plural.
pub(super) type Followed = (&'static str, &'static str, &'static str);

/// The kinds that are followed, in the order in which they can be made.
pub(super) const KINDS: [Followed; 15] = [
    ("", "v1", "namespaces"),
    ("scheduling.k8s.io", "v1", "priorityclasses"),
    ("", "v1", "nodes"),
    ("", "v1", "resourcequotas"),
    ("", "v1", "limitranges"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("", "v1", "services"),
    ("apps", "v1", "replicasets"),
    ("apps", "v1", "deployments"),
    ("apps", "v1", "statefulsets"),
    ("apps", "v1", "daemonsets"),
    ("batch", "v1", "cronjobs"),
    ("batch", "v1", "jobs"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("", "v1", "pods"),
];

/// The kinds whose objects make pods, as owner references name them.
const OWNERS: [&str; 6] = ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob"];

/// What a kind is called in a trace.
pub(super) fn called((group, _, resource): Followed) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

/// The kind of a name.
pub(super) fn kind(name: &str) -> Option<Followed> {
    KINDS.into_iter().find(|kind| called(*kind) == name)
}

/// What is kept of an object; `None` of one that follows from another that is kept.
pub(super) fn trimmed(kind: &str, object: &Value) -> Option<Value> {
    let owner = controller(object);
    let is_made = owner.is_some_and(|owner| OWNERS.contains(&text(owner, "/kind")));
    if is_made && kind != "pods" {
        return None;
    }
    let mut kept = json!({"metadata": metadata(object)});
    match kind {
        "namespaces" => {}
        "nodes" => {
            kept["spec"] = node_spec(object);
            kept["status"] = node_status(object);
        }
        "pods" => {
            kept["metadata"]["uid"] = object["metadata"]["uid"].clone();
            if let Some(owner) = owner {
                let mut short = json!({"controller": true});
                ["apiVersion", "kind", "name", "uid"].iter().for_each(|field| copy(owner, &mut short, field));
                kept["metadata"]["ownerReferences"] = json!([short]);
            }
            if object["metadata"]["deletionTimestamp"].is_string() {
                kept["metadata"]["deletionTimestamp"] = object["metadata"]["deletionTimestamp"].clone();
            }
            let node = object["spec"]["nodeName"].clone();
            kept["spec"] = pod_spec(&object["spec"]);
            kept["spec"]["nodeName"] = node;
            kept["status"] = pod_status(&object["status"]);
        }
        "priorityclasses.scheduling.k8s.io" => {
            for field in ["value", "globalDefault", "preemptionPolicy"] {
                copy(object, &mut kept, field);
            }
        }
        "horizontalpodautoscalers.autoscaling" => {
            copy(object, &mut kept, "spec");
            kept["status"] = scaler_status(&object["status"]);
        }
        "services" => {
            let spec = &object["spec"];
            kept["spec"] = json!({"selector": spec["selector"], "clusterIP": "None"});
        }
        _ => {
            kept["spec"] = workload(&object["spec"]);
        }
    }
    Some(without_null(kept))
}

/// The controller of an object, as its owner references say.
pub(super) fn controller(object: &Value) -> Option<&Value> {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    owners.into_iter().flatten().find(|owner| owner["controller"] == true)
}

/// Whether somebody made a pod by hand, or by what is not followed.
pub(super) fn is_bare(pod: &Value) -> bool {
    controller(pod).is_none_or(|owner| {
        let kind = text(owner, "/kind");
        // Those of a node's manifests are the node's own.
        !OWNERS.contains(&kind) && kind != "Node"
    })
}

pub(super) fn text<'v>(value: &'v Value, path: &str) -> &'v str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn copy(from: &Value, to: &mut Value, field: &str) {
    if let Some(value) = from.get(field) {
        to[field] = value.clone();
    }
}

fn metadata(object: &Value) -> Value {
    let mut kept = json!({"name": object["metadata"]["name"]});
    copy(&object["metadata"], &mut kept, "namespace");
    let labels = Labels::deserialize(&object["metadata"]["labels"]).ok();
    let mut labels = labels.unwrap_or_default();
    // What a namespace forbids is of no matter: it was allowed.
    labels.retain(|key, _| !key.starts_with("pod-security.kubernetes.io/"));
    if !labels.is_empty() {
        kept["labels"] = json!(labels);
    }
    kept
}

fn node_spec(node: &Value) -> Value {
    let taints = node.pointer("/spec/taints").and_then(Value::as_array).cloned().unwrap_or_default();
    // Those of its state follow from the state.
    let own = |taint: &Value| !text(taint, "/key").starts_with("node.kubernetes.io/");
    let taints: Vec<Value> = taints.into_iter().filter(own).collect();
    let mut spec = json!({});
    if !taints.is_empty() {
        spec["taints"] = json!(taints);
    }
    copy(&node["spec"], &mut spec, "unschedulable");
    spec
}

fn node_status(node: &Value) -> Value {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().any(|it| it["type"] == "Ready" && it["status"] == "True");
    let ready = json!([{"type": "Ready", "status": if ready { "True" } else { "False" }}]);
    let status = &node["status"];
    json!({"allocatable": status["allocatable"], "capacity": status["capacity"], "conditions": ready})
}

/// What an autoscaler measured of how many pods.
fn scaler_status(status: &Value) -> Value {
    let metrics = status["currentMetrics"].as_array().into_iter().flatten();
    let measured: Vec<Value> = metrics
        .filter(|metric| metric["type"] == "Resource")
        .map(|metric| {
            let resource = &metric["resource"];
            let current = json!({"averageValue": resource["current"]["averageValue"]});
            json!({"type": "Resource", "resource": {"name": resource["name"], "current": current}})
        })
        .collect();
    json!({"currentReplicas": status["currentReplicas"], "currentMetrics": measured})
}

fn pod_status(status: &Value) -> Value {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let told = |it: &Value| matches!(text(it, "/type"), "Ready" | "PodScheduled");
    let conditions: Vec<Value> = conditions
        .iter()
        .filter(|it| told(it))
        .map(|it| json!({"type": it["type"], "status": it["status"], "message": it["message"]}))
        .collect();
    json!({"phase": status["phase"], "conditions": conditions})
}

/// The fields of a pod on which its place depends.
fn pod_spec(spec: &Value) -> Value {
    const KEPT: [&str; 11] = [
        "affinity",
        "nodeSelector",
        "tolerations",
        "topologySpreadConstraints",
        "priorityClassName",
        "hostNetwork",
        "overhead",
        "restartPolicy",
        "terminationGracePeriodSeconds",
        "activeDeadlineSeconds",
        "resources",
    ];
    let mut kept = json!({});
    KEPT.iter().for_each(|field| copy(spec, &mut kept, field));
    for list in ["containers", "initContainers"] {
        let containers = spec[list].as_array().into_iter().flatten();
        let containers: Vec<Value> = containers
            .map(|container| {
                let mut short = json!({"name": container["name"], "image": container["image"]});
                for field in ["resources", "ports", "restartPolicy"] {
                    copy(container, &mut short, field);
                }
                short
            })
            .collect();
        if !containers.is_empty() {
            kept[list] = json!(containers);
        }
    }
    kept
}

/// The spec of what makes pods, or of what bounds them.
fn workload(spec: &Value) -> Value {
    let mut kept = spec.clone();
    let Some(fields) = kept.as_object_mut() else { return json!({}) };
    // What it would store is asked of storage that the simulation has not.
    fields.remove("volumeClaimTemplates");
    if let Some(template) = fields.get_mut("template") {
        *template = trimmed_template(template);
    }
    if let Some(job) = fields.get_mut("jobTemplate") {
        let inner = workload(&job["spec"]);
        *job = json!({"spec": inner});
    }
    // The selector of a job is made with the job.
    let of_job = ["completionMode", "completions", "backoffLimit", "parallelism"];
    if of_job.iter().any(|field| fields.contains_key(*field)) {
        fields.remove("selector");
    }
    kept
}

fn trimmed_template(template: &Value) -> Value {
    let labels = Labels::deserialize(&template["metadata"]["labels"]).ok();
    let mut labels = labels.unwrap_or_default();
    labels.retain(|key, _| !key.contains("controller-uid") && !key.contains("job-name"));
    json!({"metadata": {"labels": labels}, "spec": pod_spec(&template["spec"])})
}

fn without_null(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_null(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_null).collect()),
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_placing_depends_on() {
        let container = json!({
            "name": "c", "image": "i", "env": [{"name": "PASSWORD", "value": "swordfish"}], "args": ["--token=swordfish"],
            "volumeMounts": [{"name": "v"}], "resources": {"requests": {"cpu": "1"}},
        });
        let spec = json!({
            "containers": [container], "volumes": [{"name": "v", "secret": {"secretName": "swordfish"}}], "nodeSelector": {"a": "b"},
            "serviceAccountName": "s", "schedulerName": "other", "nodeName": "n", "priority": 7,
        });
        let annotated = json!({"name": "p", "namespace": "a", "uid": "u", "annotations": {"x": "swordfish"}});
        let pod =
            trimmed("pods", &json!({"metadata": annotated, "spec": spec, "status": {"phase": "Running"}}))
                .unwrap();
        assert!(!pod.to_string().contains("swordfish"), "{pod}");
        assert_eq!(pod["spec"]["nodeSelector"]["a"], "b");
        assert_eq!(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"], "1");
        let template = json!({"metadata": {"labels": {"app": "a", "batch.kubernetes.io/controller-uid": "1"}}, "spec": spec});
        let job = json!({"completions": 1, "selector": {"matchLabels": {}}, "template": template});
        let job = trimmed("jobs.batch", &json!({"metadata": {"name": "j"}, "spec": job})).unwrap();
        assert_eq!(job["spec"]["template"]["metadata"]["labels"], json!({"app": "a"}));
        assert!(job["spec"].get("selector").is_none() && !job.to_string().contains("swordfish"), "{job}");
        for name in KINDS.map(called) {
            assert!(kind(&name).is_some(), "{name}");
            trimmed(&name, &json!({"metadata": {"name": "x"}})).unwrap();
        }
    }

    #[test]
    fn what_follows_from_another_is_left_out() {
        let owned = |kind: &str| json!({"metadata": {"name": "x", "ownerReferences": [{"kind": kind, "name": "o", "controller": true, "uid": "1"}]}});
        assert!(trimmed("replicasets.apps", &owned("Deployment")).is_none());
        assert!(trimmed("jobs.batch", &owned("CronJob")).is_none());
        assert!(trimmed("deployments.apps", &owned("Shop")).is_some());
        assert!(is_bare(&owned("Shop")) && !is_bare(&owned("ReplicaSet")) && !is_bare(&owned("Node")));
    }
}
