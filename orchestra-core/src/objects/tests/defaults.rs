use serde_json::json;

use super::{deployment, pod, service, stored};

#[test]
fn a_small_pod_gets_all_that_it_does_not_say() {
    let wanted = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "p", "namespace": "default" },
        "spec": {
            "containers": [{
                "name": "c",
                "image": "nginx",
                "imagePullPolicy": "Always",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": true,
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "terminationGracePeriodSeconds": 30,
        },
        "status": { "phase": "Pending", "qosClass": "BestEffort" },
    });
    assert_eq!(stored(&pod(json!({}))), wanted);
}

#[test]
fn the_parts_of_a_pod_get_theirs() {
    let object = stored(&pod(json!({
        "hostNetwork": true,
        "serviceAccount": "robot",
        "containers": [{
            "name": "c",
            "image": "nginx:1.25",
            "ports": [{ "containerPort": 80 }],
            "resources": { "limits": { "cpu": 0.5, "memory": "1024Mi" }, "requests": { "memory": 1000000 } },
            "env": [
                { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                { "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } },
            ],
            "livenessProbe": { "httpGet": { "port": 80 }, "periodSeconds": 0 },
            "readinessProbe": { "tcpSocket": { "port": "http" }, "failureThreshold": 7 },
            "lifecycle": { "preStop": { "httpGet": { "port": 80, "path": "/bye" } } },
        }],
        "volumes": [
            { "name": "a" },
            { "name": "b", "secret": { "secretName": "s" } },
            { "name": "c", "hostPath": { "path": "/tmp" } },
            { "name": "d", "projected": { "sources": [
                { "serviceAccountToken": { "path": "token" } },
                { "downwardAPI": { "items": [{ "path": "l", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
            ] } },
            { "name": "e", "emptyDir": { "sizeLimit": "1024Mi" } },
        ],
    })));
    let spec = &object["spec"];
    let container = &spec["containers"][0];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(container["ports"], json!([{ "containerPort": 80, "hostPort": 80, "protocol": "TCP" }]));
    assert_eq!(
        container["resources"],
        json!({
            "limits": { "cpu": "500m", "memory": "1Gi" },
            "requests": { "cpu": "500m", "memory": "1M" },
        })
    );
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(container["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
    assert_eq!(
        container["livenessProbe"],
        json!({ "failureThreshold": 3, "httpGet": { "path": "/", "port": 80, "scheme": "HTTP" },
            "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1 })
    );
    assert_eq!(container["readinessProbe"]["failureThreshold"], 7);
    assert_eq!(container["lifecycle"]["preStop"]["httpGet"]["scheme"], "HTTP");
    assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&json!("robot"), &json!("robot")));
    let volumes = &spec["volumes"];
    assert_eq!(volumes[0], json!({ "name": "a", "emptyDir": {} }));
    assert_eq!(volumes[1]["secret"]["defaultMode"], 420);
    assert_eq!(volumes[2]["hostPath"], json!({ "path": "/tmp", "type": "" }));
    assert_eq!(volumes[3]["projected"]["defaultMode"], 420);
    assert_eq!(volumes[3]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3600);
    let item = &volumes[3]["projected"]["sources"][1]["downwardAPI"]["items"][0];
    assert_eq!(item["fieldRef"]["apiVersion"], "v1");
    assert_eq!(volumes[4]["emptyDir"]["sizeLimit"], "1Gi");
    assert_eq!(object["status"]["qosClass"], "Burstable");
}

#[test]
fn the_class_of_service_follows_from_what_is_asked_for() {
    let limits = json!({ "limits": { "cpu": "1", "memory": "1Gi" } });
    for (resources, class) in [
        (json!({}), "BestEffort"),
        (limits, "Guaranteed"),
        (json!({ "requests": { "cpu": "1" } }), "Burstable"),
        (json!({ "limits": { "cpu": "1" } }), "Burstable"),
        (json!({ "requests": { "cpu": "0" } }), "BestEffort"),
    ] {
        let object =
            stored(&pod(json!({ "containers": [{ "name": "c", "image": "i", "resources": resources }] })));
        assert_eq!(object["status"]["qosClass"], class, "{resources}");
    }
}

#[test]
fn a_deployment_rolls_by_quarters() {
    let object = stored(&deployment(json!({})));
    let spec = &object["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["revisionHistoryLimit"], 10);
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    assert_eq!(
        spec["strategy"],
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } })
    );
    let template = &spec["template"]["spec"];
    assert_eq!(template["restartPolicy"], "Always");
    assert_eq!(template["containers"][0]["imagePullPolicy"], "IfNotPresent");
    assert!(template.get("enableServiceLinks").is_none(), "only pods say");
    let recreate = stored(&deployment(json!({ "strategy": { "type": "Recreate" } })));
    assert_eq!(recreate["spec"]["strategy"], json!({ "type": "Recreate" }));
}

#[test]
fn a_replication_controller_takes_the_labels_of_its_template() {
    let object = stored(&json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "r" },
        "spec": { "template": {
            "metadata": { "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "c", "image": "i" }] },
        } },
    }));
    assert_eq!(object["spec"]["selector"], json!({ "app": "web" }));
    assert_eq!(object["metadata"]["labels"], json!({ "app": "web" }));
    assert_eq!((&object["spec"]["replicas"], &object["status"]), (&json!(1), &json!({ "replicas": 0 })));
}

#[test]
fn services_get_what_their_type_has() {
    let ports = json!([{ "port": 80 }]);
    let object = stored(&service(json!({ "ports": ports })));
    assert_eq!(
        object["spec"],
        json!({
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        })
    );
    assert_eq!(object["status"], json!({ "loadBalancer": {} }));
    let object = stored(&service(
        json!({ "type": "LoadBalancer", "ports": ports, "sessionAffinity": "ClientIP", "clusterIP": "10.0.0.9" }),
    ));
    let spec = &object["spec"];
    assert_eq!(spec["externalTrafficPolicy"], "Cluster");
    assert_eq!(spec["allocateLoadBalancerNodePorts"], true);
    assert_eq!(spec["sessionAffinityConfig"], json!({ "clientIP": { "timeoutSeconds": 10800 } }));
    assert_eq!(spec["clusterIPs"], json!(["10.0.0.9"]));
    let object = stored(&service(json!({ "type": "ExternalName", "externalName": "a.b" })));
    assert_eq!(
        object["spec"],
        json!({ "externalName": "a.b", "sessionAffinity": "None", "type": "ExternalName" })
    );
}

#[test]
fn small_kinds_get_theirs() {
    let cases = [
        (
            json!({ "apiVersion": "v1", "kind": "Secret", "data": { "a": "eA==" }, "stringData": { "b": "y" } }),
            json!({ "apiVersion": "v1", "kind": "Secret", "data": { "a": "eA==", "b": "eQ==" }, "type": "Opaque" }),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "n" } }),
            json!({ "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": "n", "labels": { "kubernetes.io/metadata.name": "n" } },
                "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" } }),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Node", "status": { "capacity": { "cpu": 4 } } }),
            json!({ "apiVersion": "v1", "kind": "Node",
                "status": { "capacity": { "cpu": "4" }, "allocatable": { "cpu": "4" } } }),
        ),
        (
            json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "ports": [{ "port": 1 }] }),
            json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "ports": [{ "port": 1, "name": "", "protocol": "TCP" }] }),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Endpoints", "subsets": [{ "ports": [{ "port": 1 }] }] }),
            json!({ "apiVersion": "v1", "kind": "Endpoints",
                "subsets": [{ "ports": [{ "port": 1, "protocol": "TCP" }] }] }),
        ),
        (
            json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1 }),
            json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1,
                "preemptionPolicy": "PreemptLowerPriority" }),
        ),
    ];
    for (manifest, wanted) in cases {
        assert_eq!(stored(&manifest), wanted);
    }
}

#[test]
fn a_binding_is_of_the_groups_own_roles_and_users() {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": "b" },
        "roleRef": { "kind": "Role", "name": "r" },
        "subjects": [{ "kind": "User", "name": "u" }, { "kind": "ServiceAccount", "name": "s" }],
    });
    let group = "rbac.authorization.k8s.io";
    let object = stored(&binding);
    assert_eq!(object["roleRef"]["apiGroup"], group);
    assert_eq!(object["subjects"][0]["apiGroup"], group);
    assert_eq!(object["subjects"][1].get("apiGroup"), None);
}
