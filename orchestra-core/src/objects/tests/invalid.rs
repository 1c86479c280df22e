use serde_json::{Value, json};

use super::invalid_pods::container;
use super::{deployment, faults, pod, reduce, row, service, stored};

/// The manifest is refused for just these reasons; none, and it is accepted.
pub(super) fn expect(cases: impl IntoIterator<Item = (Value, Vec<&'static str>)>) {
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
                "endpoints": [{ "addresses": ["10.0.0.1"], "zone": "b c",
                    "hints": { "forZones": [{ "name": "a" }, { "name": "a" }], "forNodes": [{ "name": "" }] } }],
                "ports": [{ "port": 0 }] }),
            vec![
                "endpoints[0].hints.forZones[1].name: Duplicate value: \"a\"",
                "endpoints[0].hints.forNodes[0].name: Invalid value: \"\": a lowercase RFC 1123 subdomain",
            ],
        ),
        (
            endpoints(json!({ "addresses": [{ "ip": "10.0.0.1", "nodeName": "" }] })),
            vec!["subsets[0].addresses[0].nodeName: Invalid value: \"\": a lowercase RFC 1123 subdomain"],
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
            "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].resources.requests[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
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
