//! PodDisruptionBudgets.

use serde_json::{Value, json};

use super::{printed, refused, status_faults, stored};

fn budget(spec: Value) -> Value {
    json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "b" }, "spec": spec })
}

#[test]
fn budgets_are_refused() {
    refused([
        (budget(json!({ "maxUnavailable": "20%", "selector": { "matchLabels": { "a": "b" } } })), vec![]),
        (
            budget(json!({ "minAvailable": 1, "maxUnavailable": "101%" })),
            vec![
                "spec: Invalid value: \
                 {\"MinAvailable\":1,\"Selector\":null,\"MaxUnavailable\":\"101%\",\"UnhealthyPodEvictionPolicy\":null}: \
                 minAvailable and maxUnavailable cannot be both set",
                "spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ],
        ),
        (
            budget(json!({ "minAvailable": -1, "unhealthyPodEvictionPolicy": "x",
                "selector": { "matchExpressions": [{ "key": "a", "operator": "x" }] } })),
            vec![
                "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0",
                "spec.selector.matchExpressions[0].operator: Invalid value: \"x\": not a valid selector operator",
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"x\": supported values: \"AlwaysAllow\", \
                 \"IfHealthyBudget\"",
            ],
        ),
    ]);
}

#[test]
fn a_status_has_sound_conditions_and_counts() {
    let counts =
        json!({ "disruptionsAllowed": -1, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0 });
    let mut status = counts.clone();
    let condition = |kind: &str, status: &str, reason: &str| json!({ "type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2024-01-01T00:00:00Z" });
    status["conditions"] = json!([condition("A", "True", "Because"), condition("A", "Maybe", "-")]);
    status["conditions"][1].as_object_mut().unwrap().remove("lastTransitionTime");
    let found = status_faults(&stored(&budget(json!({}))), counts, status);
    let starts = [
        "status.conditions[1].type: Duplicate value: \"A\"",
        "status.conditions[1].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
        "status.conditions[1].lastTransitionTime: Required value",
        "status.conditions[1].reason: Invalid value: \"-\": a condition reason must start with alphabetic character",
        "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
}

#[test]
fn a_row() {
    let mut object = stored(&budget(json!({ "minAvailable": "50%" })));
    object["status"] =
        json!({ "disruptionsAllowed": 2, "currentHealthy": 4, "desiredHealthy": 2, "expectedPods": 4 });
    assert_eq!(printed(&object), json!(["b", "50%", "N/A", 2, "60s"]));
}
