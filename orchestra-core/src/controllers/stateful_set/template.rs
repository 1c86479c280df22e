//! The pods that a StatefulSet makes. Pure.

use serde_json::{Value, json};

use super::model::{POD_INDEX, POD_NAME, REVISION, claim_name};

/// The pod of an ordinal out of the template of a revision.
pub(super) fn pod(set: &Value, template: &Value, owner: &Value, revision: &str, ordinal: u32) -> Value {
    let set_name = set["metadata"]["name"].as_str().unwrap_or_default();
    let name = format!("{set_name}-{ordinal}");
    let mut metadata = json!({
        "name": name,
        "namespace": set["metadata"]["namespace"],
        "labels": template["metadata"]["labels"],
        "annotations": template["metadata"]["annotations"],
        "finalizers": template["metadata"]["finalizers"],
        "ownerReferences": [owner],
    });
    for (label, value) in identity(&name, ordinal) {
        metadata["labels"][label] = value.into();
    }
    metadata["labels"][REVISION] = revision.into();
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.retain(|_, value| !value.is_null());
    }
    let mut spec = template["spec"].clone();
    spec["hostname"] = name.as_str().into();
    if let Some(service) = set["spec"]["serviceName"].as_str() {
        spec["subdomain"] = service.into();
    }
    let volumes = volumes(set, set_name, ordinal, &spec["volumes"]);
    if !volumes.is_empty() {
        spec["volumes"] = volumes.into();
    }
    json!({"metadata": metadata, "spec": spec})
}

/// The labels that say which pod of its set it is.
pub(super) fn identity(name: &str, ordinal: u32) -> [(&'static str, String); 2] {
    [(POD_NAME, name.to_owned()), (POD_INDEX, ordinal.to_string())]
}

/// The claims as volumes, in place of those of the same name.
pub(super) fn volumes(set: &Value, set_name: &str, ordinal: u32, held: &Value) -> Vec<Value> {
    let templates = set["spec"]["volumeClaimTemplates"].as_array();
    let claims = templates.into_iter().flatten().filter_map(|template| template["metadata"]["name"].as_str());
    let mut volumes: Vec<Value> = claims
        .map(|volume| {
            let claim = claim_name(volume, set_name, ordinal);
            json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}})
        })
        .collect();
    let others = held.as_array().into_iter().flatten();
    let kept: Vec<Value> =
        others.filter(|held| volumes.iter().all(|it| it["name"] != held["name"])).cloned().collect();
    volumes.extend(kept);
    volumes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_who_it_is_and_has_its_own_claims() {
        let set = json!({
            "metadata": {"name": "s", "namespace": "default"},
            "spec": {"serviceName": "h", "volumeClaimTemplates": [{"metadata": {"name": "d"}}]},
        });
        let template = json!({
            "metadata": {"labels": {"app": "x"}},
            "spec": {"volumes": [{"name": "d", "emptyDir": {}}, {"name": "e", "emptyDir": {}}]},
        });
        let expected = json!({
            "metadata": {
                "name": "s-3", "namespace": "default", "ownerReferences": [{"uid": "u"}],
                "labels": {"app": "x", POD_NAME: "s-3", POD_INDEX: "3", REVISION: "s-abc"},
            },
            "spec": {
                "hostname": "s-3", "subdomain": "h",
                "volumes": [
                    {"name": "d", "persistentVolumeClaim": {"claimName": "d-s-3"}},
                    {"name": "e", "emptyDir": {}},
                ],
            },
        });
        assert_eq!(pod(&set, &template, &json!({"uid": "u"}), "s-abc", 3), expected);
    }
}
