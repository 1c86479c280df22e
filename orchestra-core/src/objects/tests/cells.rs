use serde_json::{Value, json};

use super::{deployment, pod, service, stored};

/// The cells of an object's row, at a time at which it is a minute old.
pub(super) fn cells(object: &Value) -> Vec<Value> {
    super::printed(object).as_array().unwrap().clone()
}

/// READY, STATUS and RESTARTS of a pod with this status.
fn summary(spec: Value, status: Value, deleted: bool) -> [String; 3] {
    let mut object = stored(&pod(spec));
    super::merge(&mut object["status"], status);
    if deleted {
        object["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:30Z");
    }
    let cells = cells(&object);
    [1, 2, 3].map(|index| cells[index].as_str().unwrap().to_owned())
}

/// The status of one container.
fn one(name: &str, ready: bool, restarts: i32, state: Value) -> Value {
    json!({ "name": name, "image": "i", "imageID": "", "ready": ready, "restartCount": restarts, "state": state })
}

#[test]
fn pods_say_what_their_containers_amount_to() {
    let running = json!({ "running": {} });
    let two = json!({ "containers": [{ "name": "a", "image": "i" }, { "name": "b", "image": "i" }] });
    let ended = |reason: &str, code: i32| json!({ "terminated": { "exitCode": code, "reason": reason } });
    let cases = [
        (json!({}), json!({}), false, ["0/1", "Pending", "0"]),
        (
            json!({}),
            json!({ "containerStatuses": [one("c", false, 0, json!({ "waiting": { "reason": "ContainerCreating" } }))] }),
            false,
            ["0/1", "ContainerCreating", "0"],
        ),
        (
            json!({}),
            json!({ "phase": "Running", "containerStatuses": [one("c", true, 0, running.clone())] }),
            false,
            ["1/1", "Running", "0"],
        ),
        (
            json!({}),
            json!({ "phase": "Running", "containerStatuses": [{
                "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
                "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 1, "finishedAt": "2024-01-01T00:00:55Z" } } }] }),
            false,
            ["0/1", "CrashLoopBackOff", "3 (5s ago)"],
        ),
        (
            json!({}),
            json!({ "phase": "Succeeded", "containerStatuses": [one("c", false, 0, ended("Completed", 0))] }),
            false,
            ["0/1", "Completed", "0"],
        ),
        (
            json!({}),
            json!({ "phase": "Failed", "containerStatuses": [one("c", false, 0, ended("Error", 2))] }),
            false,
            ["0/1", "Error", "0"],
        ),
        (
            json!({}),
            json!({ "phase": "Failed", "containerStatuses": [one("c", false, 0, ended("", 2))] }),
            false,
            ["0/1", "ExitCode:2", "0"],
        ),
        (json!({}), json!({ "phase": "Failed", "reason": "Evicted" }), false, ["0/1", "Evicted", "0"]),
        (
            two.clone(),
            json!({ "phase": "Running", "containerStatuses":
                [one("a", false, 0, ended("Completed", 0)), one("b", true, 0, running.clone())] }),
            false,
            ["1/2", "NotReady", "0"],
        ),
        (
            two,
            json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }], "containerStatuses":
                [one("a", false, 1, ended("Completed", 0)), one("b", true, 2, running.clone())] }),
            false,
            ["1/2", "Running", "3"],
        ),
        (
            json!({ "nodeName": "n" }),
            json!({ "phase": "Running", "containerStatuses": [one("c", true, 0, running.clone())] }),
            true,
            ["1/1", "Terminating", "0"],
        ),
        (json!({}), json!({ "phase": "Running", "reason": "NodeLost" }), true, ["0/1", "Unknown", "0"]),
        (json!({}), json!({ "phase": "Succeeded" }), true, ["0/1", "Succeeded", "0"]),
        (json!({ "schedulingGates": [{ "name": "g" }] }), json!({}), false, ["0/1", "SchedulingGated", "0"]),
    ];
    for (spec, status, deleted, wanted) in cases {
        assert_eq!(summary(spec, status.clone(), deleted), wanted, "{status}");
    }
}

#[test]
fn pods_say_how_far_their_init_containers_are() {
    let spec = json!({ "initContainers": [
        { "name": "x", "image": "i" },
        { "name": "side", "image": "i", "restartPolicy": "Always" },
        { "name": "y", "image": "i" },
    ] });
    let done = json!({ "terminated": { "exitCode": 0, "reason": "Completed" } });
    let status = |side: Value, last: Value| {
        json!({ "initContainerStatuses": [one("x", true, 1, done.clone()), side, one("y", false, 0, last)],
            "containerStatuses": [one("c", false, 0, json!({ "waiting": { "reason": "PodInitializing" } }))] })
    };
    let mut side = one("side", true, 2, json!({ "running": {} }));
    side["started"] = json!(true);
    let not_yet = one("side", false, 0, json!({ "waiting": { "reason": "PodInitializing" } }));
    for (status, wanted) in [
        (status(not_yet, json!({})), ["0/2", "Init:1/3", "1"]),
        (status(side.clone(), json!({ "running": {} })), ["1/2", "Init:2/3", "3"]),
        (
            status(side.clone(), json!({ "waiting": { "reason": "ImagePullBackOff" } })),
            ["1/2", "Init:ImagePullBackOff", "3"],
        ),
        (
            status(side.clone(), json!({ "terminated": { "exitCode": 1, "reason": "Error" } })),
            ["1/2", "Init:Error", "3"],
        ),
        (
            status(side.clone(), json!({ "terminated": { "exitCode": 7, "signal": 9 } })),
            ["1/2", "Init:Signal:9", "3"],
        ),
        // Once all are done, only the restarts of sidecars count beside those of the containers.
        (status(side, done.clone()), ["1/2", "PodInitializing", "2"]),
    ] {
        assert_eq!(summary(spec.clone(), status.clone(), false), wanted, "{status}");
    }
}

#[test]
fn the_wide_columns_of_a_pod() {
    let mut object = stored(&pod(json!({ "nodeName": "n", "readinessGates": [
        { "conditionType": "a" }, { "conditionType": "b" }] })));
    assert_eq!(cells(&object)[4..], ["60s", "<none>", "n", "<none>", "0/2"].map(Value::from));
    super::merge(
        &mut object["status"],
        json!({ "podIPs": [{ "ip": "10.0.0.1" }], "nominatedNodeName": "m",
        "conditions": [{ "type": "a", "status": "True" }] }),
    );
    assert_eq!(cells(&object)[5..], ["10.0.0.1", "n", "m", "1/2"].map(Value::from));
}

#[test]
fn rows_of_the_other_kinds() {
    let mut ready = stored(&deployment(json!({ "replicas": 3 })));
    ready["status"] = json!({ "readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1 });
    let mut balanced = stored(&service(json!({ "type": "LoadBalancer", "selector": { "a": "b" },
        "ports": [{ "name": "x", "port": 80, "nodePort": 30080 }, { "name": "y", "port": 53, "protocol": "UDP" }] })));
    balanced["spec"]["clusterIPs"] = json!(["10.96.0.9"]);
    let addresses: Vec<Value> = (1..=5).map(|index| json!({ "ip": format!("10.0.0.{index}") })).collect();
    let cases = [
        (ready, json!(["d", "2/3", 3, 1, "60s", "c", "nginx:1.25", "app=web"])),
        (
            balanced,
            json!(["s", "LoadBalancer", "10.96.0.9", "<pending>", "80:30080/TCP,53/UDP", "60s", "a=b"]),
        ),
        (
            service(json!({ "type": "ExternalName", "externalName": "a.b" })),
            json!(["s", "ExternalName", "<none>", "a.b", "<none>", "60s", "<none>"]),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "r" },
                "spec": { "replicas": 3, "selector": { "a": "b" }, "template": { "spec": { "containers": [
                    { "name": "x", "image": "i" }, { "name": "y", "image": "j" }] } } },
                "status": { "replicas": 2, "readyReplicas": 1 } }),
            json!(["r", 3, 2, 1, "60s", "x,y", "i,j", "a=b"]),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Node",
                "metadata": { "name": "n", "labels": { "node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "agent" } },
                "spec": { "unschedulable": true },
                "status": { "conditions": [{ "type": "Ready", "status": "True" }],
                    "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }],
                    "nodeInfo": { "kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6", "containerRuntimeVersion": "",
                        "architecture": "", "bootID": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "systemUUID": "" } } }),
            json!([
                "n",
                "Ready,SchedulingDisabled",
                "agent,control-plane",
                "60s",
                "v1.36.0",
                "10.0.0.1",
                "<none>",
                "Debian",
                "6",
                "<unknown>"
            ]),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "e" },
                "subsets": [{ "addresses": addresses, "ports": [{ "port": 80 }] }] }),
            json!(["e", "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...", "60s"]),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "e" } }),
            json!(["e", "<none>", "60s"]),
        ),
        (
            json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": { "name": "e" },
                "addressType": "IPv4", "endpoints": [{ "addresses": ["10.0.0.1"] }], "ports": [{ "port": 80 }, {}] }),
            json!(["e", "IPv4", "80,*", "10.0.0.1", "60s"]),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e" }, "type": "Warning",
                "reason": "BackOff", "message": " again ", "count": 4, "source": { "component": "kubelet", "host": "n" },
                "involvedObject": { "kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}" },
                "firstTimestamp": "2024-01-01T00:00:00Z", "lastTimestamp": "2024-01-01T00:00:50Z" }),
            json!([
                "10s",
                "Warning",
                "BackOff",
                "pod/p",
                "spec.containers{c}",
                "kubelet, n",
                "again",
                "60s",
                4,
                "e"
            ]),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": "e" }, "eventTime": "2024-01-01T00:00:58.000000Z",
                "reportingComponent": "scheduler", "involvedObject": { "kind": "Pod" } }),
            json!(["2s", "", "", "pod", "", "scheduler", "", "2s", 1, "e"]),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "type": "Opaque", "data": { "a": "" } }),
            json!(["s", "Opaque", 1, "60s"]),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "data": { "a": "" }, "binaryData": { "b": "" } }),
            json!(["c", 2, "60s"]),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "a" } }),
            json!(["a", "60s"]),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "n" }, "status": { "phase": "Active" } }),
            json!(["n", "Active", "60s"]),
        ),
        (
            json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "l" }, "spec": { "holderIdentity": "me" } }),
            json!(["l", "me", "60s"]),
        ),
        (
            json!({ "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 3, "metadata": { "name": "r", "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": true }] } }),
            json!(["r", "statefulset.apps/db", 3, "60s"]),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "PodTemplate", "metadata": { "name": "t" }, "template": {
                "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "x", "image": "i" }] } } }),
            json!(["t", "x", "i", "a=b"]),
        ),
        (
            json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": { "name": "p" }, "value": 7, "preemptionPolicy": "Never" }),
            json!(["p", 7, false, "60s", "Never"]),
        ),
    ];
    for (object, wanted) in cases {
        assert_eq!(Value::from(cells(&object)), wanted);
    }
}

#[test]
fn bindings_say_who_has_which_role() {
    let subjects = json!([
        { "kind": "User", "name": "u" },
        { "kind": "Group", "name": "g" },
        { "kind": "User", "name": "v" },
        { "kind": "ServiceAccount", "name": "s", "namespace": "n" },
    ]);
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "b" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": subjects,
    });
    assert_eq!(cells(&binding), ["b", "ClusterRole/view", "60s", "u, v", "g", "n/s"]);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "r" },
    });
    assert_eq!(cells(&role), ["r", "2024-01-01T00:00:00Z"]);
}
