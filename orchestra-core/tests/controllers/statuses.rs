//! Statuses that are written by applying them, under the names by which Kubernetes' own controllers do so.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use orchestra_core::meta::Object;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// Waits until the status of an object is a manager's, by application, and returns which of its fields are.
async fn applied<K: Object>(cluster: &Cluster, name: &str, manager: &str) -> Value {
    let entry = async || {
        let held = cluster.client.cluster::<K>().find(name).await.unwrap()?;
        let managers = serde_json::to_value(held).unwrap()["metadata"]["managedFields"].take();
        managers.as_array().cloned().unwrap_or_default().into_iter().find(|held| held["manager"] == manager)
    };
    let entry = cluster.until("the status is applied", entry).await;
    assert_eq!((&entry["operation"], &entry["subresource"]), (&json!("Apply"), &json!("status")), "{name}");
    entry["fieldsV1"]["f:status"].clone()
}

#[tokio::test(start_paused = true)]
async fn statuses_are_applied_by_kubernetes_names() {
    let cluster = Cluster::start().await;
    let rules =
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]);
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": rules}, "validations": [{"expression": "true"}],
    }});
    cluster.create::<ValidatingAdmissionPolicy>(policy).await;
    let theirs =
        applied::<ValidatingAdmissionPolicy>(&cluster, "p", "validatingadmissionpolicy-status").await;
    assert_eq!(theirs, json!({"f:observedGeneration": {}, "f:typeChecking": {}}));

    let schema =
        json!({"metadata": {"name": "f"}, "spec": {"priorityLevelConfiguration": {"name": "nowhere"}}});
    cluster.create::<FlowSchema>(schema).await;
    let manager = "api-priority-and-fairness-config-consumer-v1";
    let theirs = applied::<FlowSchema>(&cluster, "f", manager).await;
    assert!(theirs["f:conditions"]["k:{\"type\":\"Dangling\"}"].is_object(), "{theirs}");

    let range = json!({"metadata": {"name": "more"}, "spec": {"cidrs": ["10.7.0.0/24"]}});
    cluster.create::<ServiceCIDR>(range).await;
    let theirs = applied::<ServiceCIDR>(&cluster, "more", "service-cidr-controller").await;
    assert!(theirs["f:conditions"]["k:{\"type\":\"Ready\"}"].is_object(), "{theirs}");
}
