//! HorizontalPodAutoscalers. How the older version is converted is tested beside the conversion.

use serde_json::{Value, json};

use super::{change, printed, refused, status_faults, stored};
use crate::objects::builtin;

fn autoscaler(fields: Value) -> Value {
    let mut object = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": { "name": "a", "namespace": "default" },
        "spec": {
            "scaleTargetRef": { "kind": "Deployment", "name": "d", "apiVersion": "apps/v1" },
            "maxReplicas": 3,
        },
    });
    super::merge(&mut object["spec"], fields);
    object
}

fn cpu(percent: i32) -> Value {
    json!({ "type": "Resource", "resource": { "name": "cpu",
        "target": { "type": "Utilization", "averageUtilization": percent } } })
}

#[test]
fn an_autoscaler_measures_cpus_and_changes_at_a_known_pace() {
    let object = stored(&autoscaler(json!({ "behavior": { "scaleDown": { "selectPolicy": "Min" } } })));
    let spec = &object["spec"];
    assert_eq!((&spec["minReplicas"], &spec["metrics"]), (&json!(1), &json!([cpu(80)])));
    let policy = |kind: &str, value: i32| json!({ "type": kind, "value": value, "periodSeconds": 15 });
    assert_eq!(
        spec["behavior"],
        json!({
            "scaleUp": { "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
                "policies": [policy("Pods", 4), policy("Percent", 100)] },
            "scaleDown": { "selectPolicy": "Min", "policies": [policy("Percent", 100)] },
        })
    );
    assert!(object["metadata"].get("generation").is_none());
    // What the older version keeps in annotations is no annotation here.
    let mut noted = autoscaler(json!({}));
    noted["metadata"]["annotations"] =
        json!({ "autoscaling.alpha.kubernetes.io/conditions": "[]", "mine": "x" });
    assert_eq!(stored(&noted)["metadata"]["annotations"], json!({ "mine": "x" }));
}

#[test]
fn a_list_without_policies_is_not_the_same_as_none() {
    refused([(
        autoscaler(json!({ "behavior": { "scaleUp": { "policies": [] } } })),
        vec!["spec.behavior.scaleUp.policies: Required value: must specify at least one Policy"],
    )]);
}

#[test]
fn the_older_version_is_served_from_the_same_row() {
    let kinds = builtin();
    let row = kinds.served("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
    assert_eq!(row.api_version(), "autoscaling/v2");
    let mut object = stored(&autoscaler(json!({ "metrics": [cpu(70)] })));
    (row.conversion("autoscaling", "v1").unwrap().from_stored)(&mut object);
    assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 70);
    assert_eq!(object["status"], json!({ "currentReplicas": 0, "desiredReplicas": 0 }));
}

#[test]
fn autoscalers_are_refused() {
    let measuring = |metric: Value| autoscaler(json!({ "metrics": [metric] }));
    let target =
        |fields: Value| json!({ "type": "Resource", "resource": { "name": "cpu", "target": fields } });
    refused([
        (autoscaler(json!({})), vec![]),
        (
            autoscaler(
                json!({ "minReplicas": 0, "maxReplicas": -1, "scaleTargetRef": { "kind": "a/b", "name": "" } }),
            ),
            vec![
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1",
                "spec.maxReplicas: Invalid value: -1: must be greater than or equal to `minReplicas`",
                "spec.scaleTargetRef.kind: Invalid value: \"a/b\": may not contain '/'",
                "spec.scaleTargetRef.name: Required value",
                "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero \
                 replicas",
                "spec.scaleTargetRef.apiVersion: Invalid value: \"\": apiVersion must specify API group",
            ],
        ),
        (autoscaler(json!({ "scaleTargetRef": { "kind": "ReplicationController", "name": "r" } })), vec![]),
        (
            measuring(
                json!({ "type": "Pods", "resource": { "name": "cpu", "target": { "type": "Utilization" } } }),
            ),
            vec![
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a \
                 target utilization",
                "spec.metrics[0].pods: Required value: must populate information for the given metric source",
            ],
        ),
        (
            measuring(target(json!({ "type": "x", "averageUtilization": 0, "averageValue": "0" }))),
            vec![
                "spec.metrics[0].resource.target.type: Invalid value: \"x\": must be either Utilization, Value, or \
                 AverageValue",
                "spec.metrics[0].resource.target.averageValue: Invalid value: \"0\": must be positive",
                "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
                "spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target \
                 utilization",
            ],
        ),
        (
            {
                let mut both = cpu(50);
                both["pods"] = json!({ "metric": { "name": "q" }, "target": { "type": "AverageValue", "averageValue": "1" } });
                measuring(both)
            },
            vec!["spec.metrics[0].pods: Forbidden: must populate the given metric source only"],
        ),
        (
            autoscaler(
                json!({ "behavior": { "scaleUp": { "stabilizationWindowSeconds": 3601, "selectPolicy": "x",
                "policies": [{ "type": "x", "value": 0, "periodSeconds": 1801 }], "tolerance": "-1" } } }),
            ),
            vec![
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"x\": supported values: \"Disabled\", \"Max\", \"Min\"",
                "spec.behavior.scaleUp.policies[0].type: Unsupported value: \"x\": supported values: \"Percent\", \"Pods\"",
                "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
                "spec.behavior.scaleUp.tolerance: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        ),
    ]);
    let object = stored(&autoscaler(json!({})));
    assert_eq!(
        status_faults(&object, json!({}), json!({ "currentReplicas": -1, "desiredReplicas": -1 })),
        [
            "status.currentReplicas: Invalid value: -1: must be greater than or equal to 0",
            "status.desiredReplicas: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
}

#[test]
fn a_target_that_was_accepted_stays() {
    let mut old = stored(&autoscaler(json!({})));
    old["spec"]["scaleTargetRef"]["apiVersion"] = json!("v1");
    let mut new = old.clone();
    new["spec"]["maxReplicas"] = json!(5);
    assert_eq!(change(&new, &old).1, Vec::<String>::new());
    new["spec"]["scaleTargetRef"]["kind"] = json!("Other");
    assert_eq!(
        change(&new, &old).1,
        ["spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group"]
    );
}

#[test]
fn a_row_shows_the_first_two_targets() {
    let average = json!({ "type": "Pods", "pods": { "metric": { "name": "q" },
        "target": { "type": "AverageValue", "averageValue": "1k" } } });
    let outside = json!({ "type": "External", "external": { "metric": { "name": "q" },
        "target": { "type": "AverageValue", "averageValue": "5" } } });
    let mut object = stored(&autoscaler(json!({ "metrics": [cpu(70), average.clone(), outside.clone()] })));
    object["status"] = json!({ "currentReplicas": 2, "desiredReplicas": 2, "currentMetrics": [
        { "type": "Resource", "resource": { "name": "cpu", "current": { "averageUtilization": 35 } } },
        { "type": "Pods", "pods": { "metric": { "name": "q" }, "current": { "averageValue": "900" } } },
    ] });
    assert_eq!(
        printed(&object),
        json!(["a", "Deployment/d", "cpu: 35%/70%, 900/1k + 1 more...", "1", 3, 2, "60s"])
    );
    object["spec"]["metrics"] = json!([outside]);
    object["status"] = json!({ "desiredReplicas": 0 });
    assert_eq!(printed(&object)[2], "<unknown>/5 (avg)");
}
