//! The pods that a Job makes. Pure.

use serde_json::{Value, json};

use super::model::{COMPLETION_INDEX, FAILURES, IGNORED_FAILURES, TRACKING};
use super::plan::NewPod;

const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// How long the beginning of a name may be that the API completes.
const LONGEST_PREFIX: usize = 58;

/// A pod of a Job that is given as it stands in the API.
pub(super) fn pod(job: &Value, owner: &Value, new: NewPod) -> Value {
    let name = job["metadata"]["name"].as_str().unwrap_or_default();
    let template = &job["spec"]["template"];
    let meta = &template["metadata"];
    let mut pod = json!({
        "metadata": {
            "generateName": prefix(name, new.index),
            "namespace": job["metadata"]["namespace"],
            "labels": meta["labels"],
            "annotations": meta["annotations"],
            "finalizers": finalizers(&meta["finalizers"]),
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    });
    if let Some(index) = new.index {
        let text = index.to_string();
        pod["metadata"]["annotations"][COMPLETION_INDEX] = text.as_str().into();
        pod["metadata"]["labels"][COMPLETION_INDEX] = text.as_str().into();
        pod["spec"]["hostname"] = format!("{name}-{index}").into();
        for containers in ["initContainers", "containers"] {
            pod["spec"][containers].as_array_mut().into_iter().flatten().for_each(add_variable);
        }
        if pod["spec"]["initContainers"].is_null()
            && let Some(spec) = pod["spec"].as_object_mut()
        {
            spec.remove("initContainers");
        }
    }
    if let Some((counted, ignored)) = new.failures {
        let annotations = &mut pod["metadata"]["annotations"];
        annotations[FAILURES] = counted.to_string().into();
        if ignored > 0 {
            annotations[IGNORED_FAILURES] = ignored.to_string().into();
        }
    }
    if let Some(meta) = pod["metadata"].as_object_mut() {
        meta.retain(|_, value| !value.is_null());
    }
    pod
}

fn prefix(job: &str, index: Option<u32>) -> String {
    let Some(index) = index else { return format!("{job}-") };
    let end = format!("-{index}-");
    let kept: String = job.chars().take(LONGEST_PREFIX - end.len()).collect();
    kept + &end
}

fn finalizers(given: &Value) -> Value {
    let mut finalizers = given.as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|name| name == TRACKING) {
        finalizers.push(TRACKING.into());
    }
    finalizers.into()
}

/// Tells a container its index, unless it has a variable of that name already.
fn add_variable(container: &mut Value) {
    let held = container["env"].as_array().into_iter().flatten().any(|env| env["name"] == INDEX_VARIABLE);
    if held {
        return;
    }
    let path = format!("metadata.labels['{COMPLETION_INDEX}']");
    let variable = json!({"name": INDEX_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    match container["env"].as_array_mut() {
        Some(env) => env.push(variable),
        None => container["env"] = json!([variable]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_with_an_index_knows_it() {
        let job = json!({
            "metadata": {"name": "j", "namespace": "default"},
            "spec": {"template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [
                    {"name": "a", "env": [{"name": "X", "value": "1"}]},
                    {"name": "b", "env": [{"name": "JOB_COMPLETION_INDEX", "value": "own"}]},
                ]},
            }},
        });
        let made = pod(&job, &json!({"uid": "u"}), NewPod { index: Some(3), failures: Some((2, 0)) });
        let path = "metadata.labels['batch.kubernetes.io/job-completion-index']";
        assert_eq!(
            made,
            json!({
                "metadata": {
                    "generateName": "j-3-", "namespace": "default",
                    "labels": {"app": "x", COMPLETION_INDEX: "3"},
                    "annotations": {COMPLETION_INDEX: "3", FAILURES: "2"},
                    "finalizers": [TRACKING],
                    "ownerReferences": [{"uid": "u"}],
                },
                "spec": {
                    "hostname": "j-3",
                    "containers": [
                        {"name": "a", "env": [
                            {"name": "X", "value": "1"},
                            {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": path}}},
                        ]},
                        {"name": "b", "env": [{"name": "JOB_COMPLETION_INDEX", "value": "own"}]},
                    ],
                },
            })
        );
        let plain = pod(&job, &json!({}), NewPod { index: None, failures: None });
        assert_eq!(plain["metadata"]["generateName"], "j-");
        assert!(plain["metadata"].get("annotations").is_none() && plain["spec"].get("hostname").is_none());
        assert_eq!(prefix(&"j".repeat(60), Some(1234)).len(), LONGEST_PREFIX);
    }
}
