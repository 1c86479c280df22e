//! LimitRanges and ResourceQuotas, and ComponentStatuses, which nobody writes.

use serde_json::{Value, json};

use super::{printed, refused, refused_changes, row, status_faults, stored};
use crate::api::Verb;

fn limits(limits: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "LimitRange", "metadata": { "name": "l" }, "spec": { "limits": limits } })
}

fn quota(spec: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "q" }, "spec": spec })
}

#[test]
fn of_containers_one_limit_follows_from_another() {
    let object = stored(&limits(json!([
        { "type": "Container", "max": { "cpu": 2 }, "min": { "memory": "1024Mi" } },
        { "type": "Pod", "max": { "cpu": "2" } },
    ])));
    assert_eq!(
        object["spec"]["limits"],
        json!([
            { "type": "Container", "max": { "cpu": "2" }, "min": { "memory": "1Gi" }, "default": { "cpu": "2" },
                "defaultRequest": { "cpu": "2", "memory": "1Gi" } },
            { "type": "Pod", "max": { "cpu": "2" } },
        ])
    );
    assert!(row(&object).name_optional);
}

#[test]
fn limits_are_refused() {
    refused([
        (limits(json!([])), vec![]),
        (
            limits(
                json!([{ "type": "Container", "min": { "cpu": "7" }, "max": { "cpu": "2" }, "default": { "cpu": "500m" },
                "defaultRequest": { "cpu": "200m" }, "maxLimitRequestRatio": { "cpu": "10" } }]),
            ),
            vec![
                "spec.limits[0].min[cpu]: Invalid value: \"7\": min value 7 is greater than max value 2",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"200m\": min value 7 is greater than default request value \
                 200m",
                "spec.limits[0].default[cpu]: Invalid value: \"7\": min value 7 is greater than default value 500m",
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"10\": ratio 10 is greater than max/min = 0.285714",
            ],
        ),
        (
            limits(
                json!([{ "type": "Pod", "default": { "cpu": "1" }, "maxLimitRequestRatio": { "cpu": "500m" } },
                { "type": "Pod", "max": { "storage": "1" } }, { "type": "PersistentVolumeClaim" }, { "type": "x" }]),
            ),
            vec![
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1",
                "spec.limits[1].type: Duplicate value: \"Pod\"",
                "spec.limits[1].max[storage]: Invalid value: \"storage\": must be a standard resource for containers",
                "spec.limits[2].limits: Required value: either minimum or maximum storage value is required, but neither was \
                 provided",
                "spec.limits[3].type: Invalid value: \"x\": must be a standard limit type or fully qualified",
            ],
        ),
        (
            limits(json!([{ "type": "Container", "default": { "example.com/gpu": "2" },
                "defaultRequest": { "example.com/gpu": "1" } }])),
            vec![
                "spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: \"1\": default value 2 must equal to \
                 defaultRequest value 1 in example.com/gpu",
            ],
        ),
    ]);
}

#[test]
fn quotas_are_refused() {
    let hard = |hard: Value| quota(json!({ "hard": hard }));
    refused([
        (
            hard(
                json!({ "pods": "10", "requests.cpu": "500m", "count/deployments.apps": "2", "requests.nvidia.com/gpu": "4",
                "hugepages-2Mi": "4Mi", "fast.storageclass.storage.k8s.io/requests.storage": "1Gi" }),
            ),
            vec![],
        ),
        (
            hard(json!({ "pods": "500m", "storage": "1", "things": "-1", "count/jobs.batch": "1500m" })),
            vec![
                "spec.hard[count/jobs.batch]: Invalid value: \"1500m\": must be an integer",
                "spec.hard[pods]: Invalid value: \"500m\": must be an integer",
                "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
                "spec.hard[things]: Invalid value: \"things\": must be a standard resource type or fully qualified",
                "spec.hard[things]: Invalid value: \"things\": must be a standard resource for quota",
                "spec.hard[things]: Invalid value: \"-1\": must be greater than or equal to 0",
            ],
        ),
        (
            quota(json!({ "hard": { "services": "1" }, "scopes": ["BestEffort", "NotBestEffort", "x"] })),
            vec![
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"x\"]: unsupported scope applied to resource",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"x\"]: unsupported scope applied to resource",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"x\"]: unsupported scope",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"x\"]: conflicting scopes",
            ],
        ),
        (
            quota(json!({ "hard": { "pods": "1" }, "scopeSelector": { "matchExpressions": [
                { "scopeName": "PriorityClass", "operator": "In", "values": ["high"] },
                { "scopeName": "Terminating", "operator": "In" },
                { "scopeName": "VolumeAttributesClass", "operator": "Exists", "values": ["a"] }] } })),
            vec![
                "spec.scopeSelector.matchExpressions.operator: Invalid value: \"In\": must be 'Exists' when scope is any of \
                 ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                 ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' \
                 or 'NotIn' for scope selector",
                "spec.scopeSelector.matchExpressions: Invalid value: \
                 {\"MatchExpressions\":[{\"ScopeName\":\"PriorityClass\",\"Operator\":\"In\",\"Values\":[\"high\"]},\
                 {\"ScopeName\":\"Terminating\",\"Operator\":\"In\",\"Values\":null},\
                 {\"ScopeName\":\"VolumeAttributesClass\",\"Operator\":\"Exists\",\"Values\":[\"a\"]}]}: unsupported scope \
                 applied to resource",
                "spec.scopeSelector.matchExpressions.values: Invalid value: [\"a\"]: must be no value when `operator` is \
                 'Exist' or 'DoesNotExist' for scope selector",
            ],
        ),
    ]);
    let old = stored(&quota(json!({ "hard": { "pods": "1" }, "scopes": ["Terminating"] })));
    refused_changes(
        &old,
        [
            ("/spec/hard/pods", json!("2"), vec![]),
            (
                "/spec/scopes",
                json!(["NotTerminating"]),
                vec!["spec.scopes: Invalid value: [\"NotTerminating\"]: field is immutable"],
            ),
        ],
    );
    assert_eq!(
        status_faults(&old, json!({}), json!({ "used": { "pods": "-1" } })),
        ["status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0"]
    );
}

#[test]
fn rows() {
    let mut object = stored(&quota(json!({})));
    object["status"] = json!({ "hard": { "pods": "10", "limits.cpu": "4", "requests.cpu": "2" },
        "used": { "pods": "3", "limits.cpu": "500m" } });
    assert_eq!(printed(&object), json!(["q", "pods: 3/10, requests.cpu: 0/2", "limits.cpu: 500m/4", "60s"]));
    assert_eq!(printed(&limits(json!([]))), json!(["l", "2024-01-01T00:00:00Z"]));
    let component = json!({ "apiVersion": "v1", "kind": "ComponentStatus", "metadata": { "name": "etcd-0" },
        "conditions": [{ "type": "Healthy", "status": "True", "message": "ok" }] });
    assert_eq!(printed(&component), json!(["etcd-0", "Healthy", "ok", ""]));
    assert_eq!(*row(&component).verbs, [Verb::Get, Verb::List]);
}
