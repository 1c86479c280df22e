//! The pods that a DaemonSet makes. Pure.

use serde_json::{Value, json};

use super::model::{GENERATION_LABEL, HASH};

/// What daemons put up with, as they have to be there whatever is wrong with the node.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// What those do beside, that bring their node its network.
const TOLERATED_ON_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The pod of a template, without a node: what the rules about nodes are asked for.
pub(super) fn of_template(set: &Value) -> Value {
    let template = &set["spec"]["template"];
    let mut spec = template["spec"].clone();
    tolerate(&mut spec);
    let mut metadata = template["metadata"].clone();
    metadata["namespace"] = set["metadata"]["namespace"].clone();
    json!({"metadata": metadata, "spec": spec})
}

/// The pods for nodes.
pub(super) fn pod(set: &Value, owner: &Value, hash: &str, generation: Option<&str>, node: &str) -> Value {
    let mut pod = of_template(set);
    let name = set["metadata"]["name"].as_str().unwrap_or_default();
    let meta = &mut pod["metadata"];
    meta["generateName"] = format!("{name}-").into();
    meta["ownerReferences"] = json!([owner]);
    meta["labels"][HASH] = hash.into();
    if let Some(generation) = generation {
        meta["labels"][GENERATION_LABEL] = generation.into();
    }
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
    pod
}

fn tolerate(spec: &mut Value) {
    let on_host = (spec["hostNetwork"] == true).then_some(TOLERATED_ON_HOST_NETWORK);
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for (key, effect) in TOLERATED.into_iter().chain(on_host) {
        let ours = json!({"key": key, "operator": "Exists", "effect": effect});
        let is_same = |held: &Value| {
            let empty = |value: &Value| value.is_null() || *value == "";
            ["key", "operator", "effect"].iter().all(|field| held[*field] == ours[*field])
                && empty(&held["value"])
        };
        match tolerations.iter_mut().find(|held| is_same(held)) {
            // For how long, is not for the template to say.
            Some(held) => *held = ours,
            None => tolerations.push(ours),
        }
    }
    spec["tolerations"] = tolerations.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_bound_to_its_node_and_tolerates_what_is_wrong_with_it() {
        let short = json!({
            "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5,
        });
        let set = json!({
            "metadata": {"name": "d", "namespace": "default"},
            "spec": {"template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"hostNetwork": true, "tolerations": [{"operator": "Exists", "key": "mine"}, short]},
            }},
        });
        let pod = pod(&set, &json!({"uid": "u"}), "h", Some("3"), "n1");
        let meta = json!({
            "generateName": "d-", "namespace": "default", "ownerReferences": [{"uid": "u"}],
            "labels": {"app": "x", "controller-revision-hash": "h", "pod-template-generation": "3"},
        });
        assert_eq!(pod["metadata"], meta);
        let tolerations = pod["spec"]["tolerations"].as_array().unwrap();
        let keys: Vec<_> =
            tolerations.iter().map(|it| it["key"].as_str().unwrap().rsplit('/').next().unwrap()).collect();
        let expected = [
            "mine",
            "not-ready",
            "unreachable",
            "disk-pressure",
            "memory-pressure",
            "pid-pressure",
            "unschedulable",
            "network-unavailable",
        ];
        assert_eq!(keys, expected);
        assert!(tolerations[1].get("tolerationSeconds").is_none());
        let required =
            &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        let field = json!({"key": "metadata.name", "operator": "In", "values": ["n1"]});
        assert_eq!(*required, json!({"nodeSelectorTerms": [{"matchFields": [field]}]}));
    }
}
