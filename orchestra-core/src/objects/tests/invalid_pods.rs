use serde_json::{Value, json};

use super::invalid::expect;
use super::pod;

pub(super) fn container(fields: Value) -> Value {
    let mut container = json!({ "name": "c", "image": "i" });
    super::merge(&mut container, fields);
    pod(json!({ "containers": [container] }))
}

#[test]
fn pods_are_refused_by_field() {
    expect([
        (pod(json!({})), vec![]),
        (pod(json!({ "containers": [] })), vec!["spec.containers: Required value"]),
        (
            pod(json!({ "containers": [{}] })),
            vec!["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"],
        ),
        (
            pod(
                json!({ "containers": [{ "name": "A", "image": " i" }, { "name": "b", "image": "i" }, { "name": "b", "image": "i" }] }),
            ),
            vec![
                "spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of",
                "spec.containers[2].name: Duplicate value: \"b\"",
                "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace",
            ],
        ),
        (
            pod(json!({ "restartPolicy": "Maybe" })),
            vec![
                "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        ),
        (
            pod(json!({ "dnsPolicy": "None" })),
            vec!["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            pod(json!({ "nodeSelector": { "a": "b c" } })),
            vec!["spec.nodeSelector: Invalid value: \"b c\": a valid label"],
        ),
        (
            pod(json!({ "activeDeadlineSeconds": 0 })),
            vec!["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            pod(json!({ "hostname": "a.b" })),
            vec!["spec.hostname: Invalid value: \"a.b\": must not contain dots"],
        ),
        (
            pod(json!({ "hostAliases": [{ "ip": "x", "hostnames": ["a"] }] })),
            vec![
                "spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            pod(
                json!({ "initContainers": [{ "name": "c", "image": "i", "livenessProbe": { "exec": { "command": ["x"] } } }] }),
            ),
            vec![
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
                "spec.initContainers[0].name: Duplicate value: \"c\"",
            ],
        ),
        (
            pod(json!({ "nodeName": "n", "schedulingGates": [{ "name": "g" }] })),
            vec!["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
        ),
    ]);
}

#[test]
fn containers_are_refused_by_field() {
    expect([
        (
            container(
                json!({ "ports": [{ "containerPort": 70000 }, { "containerPort": 80, "name": "HTTP", "protocol": "ICMP" }] }),
            ),
            vec![
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "spec.containers[0].ports[1].name: Invalid value: \"HTTP\": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
                "spec.containers[0].ports[1].name: Invalid value: \"HTTP\": must contain at least one letter (a-z)",
                "spec.containers[0].ports[1].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ],
        ),
        (
            container(
                json!({ "ports": [{ "containerPort": 80, "hostPort": 8080 }, { "containerPort": 81, "hostPort": 8080 }] }),
            ),
            vec!["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//8080\""],
        ),
        (
            container(
                json!({ "env": [{ "name": "" }, { "name": "a=b" }, { "name": "A", "value": "x", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }] }),
            ),
            vec![
                "spec.containers[0].env[0].name: Required value",
                "spec.containers[0].env[1].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
                "spec.containers[0].env[2].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ],
        ),
        (
            container(
                json!({ "env": [{ "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "spec.color" } } }] }),
            ),
            vec![
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.color\": error converting fieldPath: field label not supported: spec.color",
            ],
        ),
        (
            container(json!({ "envFrom": [{}] })),
            vec![
                "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            ],
        ),
        (
            container(json!({ "volumeMounts": [{ "name": "v", "mountPath": "/a", "subPath": "../b" }] })),
            vec![
                "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
                "spec.containers[0].volumeMounts.subPath: Invalid value: \"../b\": must not contain '..'",
            ],
        ),
        (
            container(
                json!({ "resources": { "requests": { "cpu": "2", "gpu": "1", "memory": "-1" }, "limits": { "cpu": "1" } } }),
            ),
            vec![
                "spec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified",
                "spec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
                "spec.containers[0].resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ],
        ),
        (
            container(json!({ "livenessProbe": { "successThreshold": 2 } })),
            vec![
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
                "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ],
        ),
        (
            container(
                json!({ "readinessProbe": { "httpGet": { "port": 0 }, "exec": { "command": ["a"] }, "periodSeconds": -1 } }),
            ),
            vec![
                "spec.containers[0].readinessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
                "spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            container(json!({ "imagePullPolicy": "Sometimes" })),
            vec![
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            container(
                json!({ "securityContext": { "runAsUser": -1, "seccompProfile": { "type": "Localhost" } } }),
            ),
            vec![
                "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
                "spec.containers[0].securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            ],
        ),
    ]);
}

#[test]
fn volumes_are_refused_by_field() {
    let volumes = |volumes: Value| pod(json!({ "volumes": volumes }));
    expect([
        (
            volumes(json!([{ "name": "a", "emptyDir": {}, "hostPath": { "path": "/a" } }])),
            vec!["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            volumes(json!([{ "name": "a" }, { "name": "a" }, {}])),
            vec!["spec.volumes[1].name: Duplicate value: \"a\"", "spec.volumes[2].name: Required value"],
        ),
        (
            volumes(json!([{ "name": "a", "hostPath": { "path": "/a/../b", "type": "Hole" } }])),
            vec![
                "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
                "spec.volumes[0].hostPath.type: Unsupported value: \"Hole\"",
            ],
        ),
        (
            volumes(
                json!([{ "name": "a", "configMap": { "defaultMode": 4096, "items": [{ "key": "", "path": "/x" }] } }]),
            ),
            vec![
                "spec.volumes[0].configMap.name: Required value",
                "spec.volumes[0].configMap.defaultMode: Invalid value: 4096: must be a number between 0 and 0777 (octal), both inclusive",
                "spec.volumes[0].configMap.items[0].key: Required value",
                "spec.volumes[0].configMap.items[0].path: Invalid value: \"/x\": must be a relative path",
            ],
        ),
        (
            volumes(json!([{ "name": "a", "secret": {} }])),
            vec!["spec.volumes[0].secret.secretName: Required value"],
        ),
        (
            volumes(
                json!([{ "name": "a", "projected": { "sources": [{ "serviceAccountToken": { "path": "t", "expirationSeconds": 5 } }] } }]),
            ),
            vec![
                "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
                "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
            ],
        ),
    ]);
}

#[test]
fn places_to_run_are_refused_by_field() {
    expect([
        (
            pod(
                json!({ "tolerations": [{ "operator": "Equal" }, { "key": "a", "operator": "Exists", "value": "b" }, { "key": "a", "effect": "Never", "tolerationSeconds": 1 }] }),
            ),
            vec![
                "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty",
                "spec.tolerations[1].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
                "spec.tolerations[2].effect: Invalid value: \"Never\": effect must be 'NoExecute' when `tolerationSeconds` is set",
                "spec.tolerations[2].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ],
        ),
        (
            pod(
                json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "a", "operator": "In" }] }] } } } }),
            ),
            vec![
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ],
        ),
        (
            pod(
                json!({ "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 0, "podAffinityTerm": { "topologyKey": "" } }] } } }),
            ),
            vec![
                "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100",
                "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Required value: can not be empty",
                "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: \"\": name part must be non-empty",
                "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Invalid value: \"\": name part must consist of",
            ],
        ),
        (
            pod(
                json!({ "topologySpreadConstraints": [{ "maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "Cry" }] }),
            ),
            vec![
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Cry\"",
            ],
        ),
    ]);
}
