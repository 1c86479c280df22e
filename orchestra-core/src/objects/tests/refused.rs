//! More manifests that are refused, each for the reasons that a stock API server was heard to give.

use serde_json::{Value, json};

use super::{deployment, pod, refused, service, stored};

#[test]
fn pods() {
    let context = |fields: Value| pod(json!({ "securityContext": fields }));
    let spread = |fields: Value| pod(json!({ "topologySpreadConstraints": [fields] }));
    let limits = |amounts: Value| {
        pod(json!({ "containers": [{ "name": "c", "image": "i", "resources": { "limits": amounts } }] }))
    };
    let annotated = |cost: &str| {
        let mut pod = pod(json!({}));
        pod["metadata"]["annotations"] = json!({ "controller.kubernetes.io/pod-deletion-cost": cost });
        pod
    };
    refused([
        (
            context(json!({ "runAsUser": 2_147_483_648_i64, "supplementalGroups": [-1] })),
            vec![
                "spec.securityContext.runAsUser: Invalid value: 2147483648: must be between 0 and 2147483647, inclusive",
                "spec.securityContext.supplementalGroups[0]: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ],
        ),
        (
            context(json!({ "seccompProfile": { "type": "RuntimeDefault", "localhostProfile": "p.json" } })),
            vec![
                "spec.securityContext.seccompProfile.localhostProfile: Invalid value: \
                 {\"Type\":\"RuntimeDefault\",\"LocalhostProfile\":\"p.json\"}: can only be set when seccomp type is \
                 Localhost",
            ],
        ),
        (
            spread(
                json!({ "maxSkew": 1, "topologyKey": "", "whenUnsatisfiable": "Bad", "minDomains": 2, "matchLabelKeys": ["a"] }),
            ),
            vec![
                "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Bad\": supported values: \
                 \"DoNotSchedule\", \"ScheduleAnyway\"",
                "spec.topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if \
                 whenUnsatisfiable=DoNotSchedule, not Bad",
                "spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is \
                 not set",
            ],
        ),
        (
            pod(json!({ "topologySpreadConstraints": [
                { "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" },
                { "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway" },
                { "maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" },
            ] })),
            vec![
                "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, \
                 DoNotSchedule}\"",
            ],
        ),
        (
            limits(json!({ "hugepages-2Mi": "3Mi" })),
            vec![
                "spec.containers[0].resources: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                "spec.containers[0].resources: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                "spec.containers[0].resources: Forbidden: HugePages require cpu or memory",
            ],
        ),
        (limits(json!({ "hugepages-2Mi": "4Mi", "memory": "1Gi" })), vec![]),
        (
            annotated("x"),
            vec![
                "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"x\": must be a 32bit \
                 integer",
            ],
        ),
        (annotated("-7"), vec![]),
        (
            pod(json!({ "os": { "name": "plan9" } })),
            vec!["spec.os: Unsupported value: \"plan9\": supported values: \"linux\", \"windows\""],
        ),
        (
            pod(
                json!({ "containers": [{ "name": "c", "image": "i", "securityContext": { "procMount": "Unmasked" } }] }),
            ),
            vec![
                "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to \
                 use `Unmasked`",
            ],
        ),
    ]);
}

#[test]
fn files_of_one_volume_have_paths_of_their_own() {
    let map = |name: &str| json!({ "configMap": { "name": name, "items": [{ "key": "k", "path": "p" }] } });
    let volumes = json!([{ "name": "v", "projected": { "sources": [map("a"), map("b")] } }]);
    refused([(
        pod(json!({ "volumes": volumes })),
        vec!["spec.volumes[0].projected: Invalid value: \"b\": conflicting duplicate paths"],
    )]);
}

#[test]
fn services() {
    refused([
        (
            service(json!({ "ports": [{ "name": "a", "port": 80 }, { "name": "b", "port": 80 }] })),
            vec![
                "spec.ports[1]: Duplicate value: \
                 {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
            ],
        ),
        (
            service(
                json!({ "type": "LoadBalancer", "ports": [{ "port": 80 }], "loadBalancerSourceRanges": ["1.2.3.4"] }),
            ),
            vec![
                "spec.LoadBalancerSourceRanges[0]: Invalid value: \"1.2.3.4\": must be a valid CIDR value, (e.g. \
                 10.9.8.0/24 or 2001:db8::/64)",
            ],
        ),
        (
            service(
                json!({ "ports": [{ "port": 80 }], "internalTrafficPolicy": "", "trafficDistribution": "x" }),
            ),
            vec![
                "spec.internalTrafficPolicy: Unsupported value: \"\": supported values: \"Cluster\", \"Local\"",
                "spec.trafficDistribution: Unsupported value: \"x\": supported values: \"PreferClose\", \
                 \"PreferSameZone\", \"PreferSameNode\"",
            ],
        ),
        (
            service(json!({ "ports": [{ "port": 80 }], "clusterIP": "10.96.0.9", "ipFamilies": ["IPv6"] })),
            vec![
                "spec.clusterIPs[0]: Invalid value: \"10.96.0.9\": expected an IPv6 value as indicated by `ipFamilies[0]`",
            ],
        ),
        (
            service(json!({ "type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.9" })),
            vec!["spec.clusterIPs: Forbidden: may not be set for ExternalName services"],
        ),
    ]);
}

#[test]
fn a_service_without_pods_and_address_is_of_both_families() {
    let spec = |fields: Value| stored(&service(fields))["spec"].clone();
    let bare = spec(json!({ "clusterIP": "None" }));
    assert_eq!(bare["ipFamilyPolicy"], "RequireDualStack");
    assert_eq!(bare["ipFamilies"], json!(["IPv4", "IPv6"]));
    let selecting = spec(json!({ "clusterIP": "None", "selector": { "a": "b" } }));
    assert_eq!(
        (&selecting["ipFamilyPolicy"], &selecting["ipFamilies"]),
        (&json!("SingleStack"), &json!(["IPv4"]))
    );
}

#[test]
fn the_rest() {
    refused([
        (
            deployment(json!({ "strategy": { "type": "Bad", "rollingUpdate": { "maxSurge": 2 } } })),
            vec![
                "spec.strategy: Unsupported value: {\"Type\":\"Bad\",\"RollingUpdate\":{\"MaxUnavailable\":null,\"MaxSurge\":2}}: \
                 supported values: \"Recreate\", \"RollingUpdate\"",
            ],
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Node", "spec": { "podCIDRs": ["10.1.0.0/24", "10.2.0.0/24"] } }),
            vec![
                "spec.podCIDRs: Invalid value: [\"10.1.0.0/24\",\"10.2.0.0/24\"]: may specify no more than one CIDR for \
                 each IP family",
            ],
        ),
        (
            json!({ "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1, "data": ["a"] }),
            vec!["data: Required value: data must be a valid JSON object"],
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Endpoints", "subsets": [{ "addresses": [{ "ip": "x" }] }] }),
            vec![
                "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
                 2001:db8::ffff)",
                "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address",
            ],
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Endpoints", "subsets": [
                { "addresses": [{ "ip": "127.0.0.1", "targetRef": { "kind": "Pod", "name": "p" } }] }] }),
            vec![],
        ),
    ]);
}
