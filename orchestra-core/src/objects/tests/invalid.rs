use serde_json::{Value, json};

use super::{deployment, faults, pod, reduce, row, service, stored};

/// The manifest is refused for just these reasons; none, and it is accepted.
fn expect(cases: impl IntoIterator<Item = (Value, Vec<&'static str>)>) {
    for (manifest, wanted) in cases {
        let found = faults(&manifest);
        let short: Vec<&str> = found
            .iter()
            .zip(wanted.iter().map(|text| text.len()).chain(std::iter::repeat(usize::MAX)))
            .map(|(text, len)| text.get(..len).unwrap_or(text))
            .collect();
        assert_eq!(short, wanted, "{manifest}: {found:#?}");
    }
}

fn container(fields: Value) -> Value {
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

#[test]
fn controllers_are_refused_by_field() {
    expect([
        (deployment(json!({})), vec![]),
        (
            deployment(json!({ "selector": { "matchLabels": { "app": "x" } } })),
            vec![
                "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
            ],
        ),
        (
            deployment(json!({ "selector": {} })),
            vec!["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        ),
        (
            deployment(
                json!({ "selector": { "matchExpressions": [{ "key": "app", "operator": "Like", "values": ["a"] }] } }),
            ),
            vec![
                "spec.selector.matchExpressions[0].operator: Invalid value: \"Like\": not a valid selector operator",
                "spec.selector: Invalid value: {\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"Like\",\"values\":[\"a\"]}]}: invalid label selector",
            ],
        ),
        (
            deployment(
                json!({ "replicas": -1, "strategy": { "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "0%" } } }),
            ),
            vec![
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0",
            ],
        ),
        (
            deployment(
                json!({ "strategy": { "rollingUpdate": { "maxSurge": "many", "maxUnavailable": "101%" } } }),
            ),
            vec![
                "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"many\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
            ],
        ),
        (
            deployment(json!({ "strategy": { "type": "Recreate", "rollingUpdate": {} } })),
            vec![
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ],
        ),
        (
            deployment(json!({ "minReadySeconds": 600 })),
            vec!["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
        ),
        (
            deployment(
                json!({ "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } } }),
            ),
            vec![
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ],
        ),
        (
            json!({ "apiVersion": "v1", "kind": "ReplicationController", "spec": {} }),
            vec!["spec.selector: Required value", "spec.template: Required value"],
        ),
    ]);
}

#[test]
fn services_and_endpoints_are_refused_by_field() {
    let endpoints = |subset: Value| json!({ "apiVersion": "v1", "kind": "Endpoints", "subsets": [subset] });
    expect([
        (service(json!({ "ports": [{ "port": 80 }] })), vec![]),
        (service(json!({})), vec!["spec.ports: Required value"]),
        (service(json!({ "clusterIP": "None" })), vec![]),
        (
            service(json!({ "type": "NodePort", "clusterIP": "None", "ports": [{ "port": 80 }] })),
            vec![
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
            ],
        ),
        (
            service(json!({ "ports": [{ "port": 0 }, { "port": 80, "name": "a", "nodePort": 30000 }] })),
            vec![
                "spec.ports[0].name: Required value",
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[1].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
            ],
        ),
        (
            service(json!({ "clusterIP": "abc", "ports": [{ "port": 80 }] })),
            vec!["spec.clusterIPs[0]: Invalid value: \"abc\": must be a valid IP address"],
        ),
        (
            service(json!({ "type": "Magic", "ports": [{ "port": 80 }] })),
            vec![
                "spec.type: Unsupported value: \"Magic\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ],
        ),
        (service(json!({ "type": "ExternalName" })), vec!["spec.externalName: Required value"]),
        (
            endpoints(json!({ "ports": [{ "port": 1 }] })),
            vec!["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
        ),
        (
            endpoints(json!({ "addresses": [{ "ip": "169.254.1.1" }, { "ip": "127.1.2.3" }] })),
            vec![
                "subsets[0].addresses[0].ip: Invalid value: \"169.254.1.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
                "subsets[0].addresses[1].ip: Invalid value: \"127.1.2.3\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ],
        ),
        (
            json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "endpoints": [{ "addresses": ["::1"] }, { "addresses": [] }] }),
            vec![
                "endpoints[0].addresses[0]: Invalid value: \"::1\": must be an IPv4 address",
                "endpoints[1].addresses: Required value: must contain at least 1 address",
            ],
        ),
    ]);
}

#[test]
fn small_kinds_are_refused_by_field() {
    let secret =
        |kind: &str, data: Value| json!({ "apiVersion": "v1", "kind": "Secret", "type": kind, "data": data });
    expect([
        (
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "a/b": "", "c": "" }, "binaryData": { "c": "" } }),
            vec![
                "data[a/b]: Invalid value: \"a/b\": a valid config key must consist of",
                "data[c]: Invalid value: \"c\": duplicate of key present in binaryData",
            ],
        ),
        (
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "a": "x".repeat(1024 * 1024 + 1) } }),
            vec!["[]: Too long: may not be more than 1048576 bytes"],
        ),
        (secret("kubernetes.io/tls", json!({ "tls.crt": "" })), vec!["data[tls.key]: Required value"]),
        (
            secret("kubernetes.io/dockerconfigjson", json!({ ".dockerconfigjson": "eA==" })),
            vec!["data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": expected value"],
        ),
        (
            secret("kubernetes.io/basic-auth", json!({})),
            vec!["data[username]: Required value", "data[password]: Required value"],
        ),
        (secret("kubernetes.io/ssh-auth", json!({})), vec!["data[ssh-privatekey]: Required value"]),
        (
            secret("kubernetes.io/service-account-token", json!({})),
            vec!["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
        (
            json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": { "leaseDurationSeconds": 0, "leaseTransitions": -1 } }),
            vec![
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Node", "spec": { "taints": [{ "key": "a", "effect": "NoSchedule" }, { "key": "a", "effect": "NoSchedule" }, { "key": "b", "effect": "" }] } }),
            vec![
                "metadata.taints[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}: taints must be",
                "metadata.taints[2].effect: Required value",
            ],
        ),
        (
            json!({ "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": -1 }),
            vec![
                "data: Required value: data is mandatory",
                "revision: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "namespace": "a" }, "involvedObject": { "namespace": "b" } }),
            vec!["involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"],
        ),
        (
            json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": "system-mine" }, "value": 1 }),
            vec![
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only.",
            ],
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "n" }, "spec": { "finalizers": ["mine"] } }),
            vec![
                "spec.finalizers: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified",
            ],
        ),
    ]);
}

#[test]
fn what_is_no_quantity_is_refused_before_anything_else() {
    let mut object = container(json!({ "resources": { "limits": { "cpu": "lots" } } }));
    let error = reduce(&row(&object), &mut object).unwrap_err();
    assert!(error.to_string().starts_with("quantities must match the regular expression"));
}

#[test]
fn what_is_accepted_may_still_be_warned_of() {
    let manifest = pod(json!({
        "nodeSelector": { "beta.kubernetes.io/os": "linux" },
        "imagePullSecrets": [{ "name": "a" }, { "name": "a" }],
        "containers": [{ "name": "c", "image": "i", "env": [{ "name": "A" }, { "name": "A" }],
            "ports": [{ "containerPort": 80 }, { "containerPort": 80 }],
            "resources": { "limits": { "memory": "100m" } } }],
    }));
    let mut errors = crate::api::field::Errors::new();
    let warnings = row(&manifest).rules.validate(&stored(&manifest), &mut errors).unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(
        warnings,
        [
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.imagePullSecrets[1].name: duplicate name \"a\"",
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
        ]
    );
}

#[test]
fn roles_and_bindings_are_refused_by_field() {
    let object = |kind: &str, fields: Value| {
        let mut object = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": { "name": "A_b" },
        });
        super::merge(&mut object, fields);
        object
    };
    let role = |kind: &str, rule: Value| object(kind, json!({ "rules": [rule] }));
    let resources = json!({ "verbs": ["get"], "apiGroups": [""], "resources": ["pods"] });
    let paths = json!({ "verbs": ["get"], "nonResourceURLs": ["/x"] });
    let both = json!({ "verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"] });
    let bind = |kind: &str, role: &str, subject: Value| {
        object(kind, json!({ "roleRef": { "kind": role, "name": "r" }, "subjects": [subject] }))
    };
    let user = json!({ "kind": "User", "name": "u" });
    let account = json!({ "kind": "ServiceAccount", "name": "s" });
    expect([
        (role("Role", resources.clone()), vec![]),
        (role("ClusterRole", resources), vec![]),
        (role("ClusterRole", paths.clone()), vec![]),
        (
            role("Role", paths),
            vec![
                "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
            ],
        ),
        (
            role("ClusterRole", both),
            vec![
                "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources",
            ],
        ),
        (
            role("Role", json!({ "verbs": [] })),
            vec![
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        ),
        (
            object("ClusterRole", json!({ "aggregationRule": {} })),
            vec![
                "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required",
            ],
        ),
        (bind("RoleBinding", "Role", user.clone()), vec![]),
        (bind("RoleBinding", "ClusterRole", account.clone()), vec![]),
        (
            bind("ClusterRoleBinding", "Role", account),
            vec![
                "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
                "subjects[0].namespace: Required value",
            ],
        ),
        (
            bind("RoleBinding", "Rule", json!({ "kind": "Users", "name": "" })),
            vec![
                "roleRef.kind: Unsupported value: \"Rule\": supported values: \"Role\", \"ClusterRole\"",
                "subjects[0].name: Required value",
                "subjects[0].kind: Unsupported value: \"Users\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
            ],
        ),
        (
            bind("RoleBinding", "Role", json!({ "kind": "Group", "name": "g", "apiGroup": "x" })),
            vec![
                "subjects[0].apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"",
            ],
        ),
    ]);
}
