use serde_json::{Value, json};

use super::*;
use crate::watch::IndexedFields;

fn newcomer(meta: Value, spec: Value) -> Newcomer {
    let mut pod = json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" }, "spec": spec });
    for (key, value) in meta.as_object().unwrap() {
        pod["metadata"][key] = value.clone();
    }
    let entry = Entry::of(&pod, &IndexedFields::none()).unwrap();
    Newcomer::of(&entry, &serde_json::from_value(pod).unwrap(), |name| name == "a.io/counted").unwrap()
}

fn asks(requests: Value) -> Value {
    json!({ "containers": [{ "name": "c", "resources": { "requests": requests } }] })
}

fn node() -> NodeSpec {
    let node = json!({
        "metadata": { "name": "n1", "labels": { "disk": "ssd" } },
        "spec": { "taints": [
            { "key": "busy", "effect": "NoSchedule" },
            { "key": "sick", "value": "yes", "effect": "NoExecute" },
        ] },
        "status": { "allocatable": { "a.io/dongle": "2", "a.io/counted": "0", "hugepages-2Mi": "4Mi" } },
    });
    NodeSpec::from_json(node.to_string().as_bytes()).unwrap()
}

fn port(ip: &str, port: i32) -> HostPort {
    HostPort { ip: ip.into(), protocol: "TCP".into(), port }
}

/// The reasons for which the node, of which another pod has a part, does not take a pod.
fn reasons(pod: &Newcomer) -> Vec<String> {
    let amounts = Resources {
        milli_cpu: 1500,
        memory: 60,
        ephemeral_storage: 10,
        others: vec![("a.io/dongle".into(), 1), ("hugepages-2Mi".into(), 2 << 20)],
    };
    let used = Used { pods: 1, amounts, ports: vec![port("0.0.0.0", 80), port("10.0.0.1", 53)] };
    let capacity = Resources { milli_cpu: 2000, memory: 100, ephemeral_storage: 20, others: Vec::new() };
    pod.faults(&node(), &used, &capacity, 10).iter().map(Fault::reason).collect()
}

#[test]
fn each_rule_says_no_by_its_name() {
    let tolerates = json!([{ "key": "sick", "operator": "Exists" }]);
    let with = |mut spec: Value, field: &str, value: Value| {
        spec["tolerations"] = tolerates.clone();
        spec[field] = value;
        newcomer(json!({}), spec)
    };
    let of = |requests: Value| with(asks(requests), "nodeSelector", json!({}));
    let listens =
        |port: Value| with(json!({ "containers": [{ "name": "c", "ports": [port] }] }), "x", json!({}));
    let requires = |operator: &str| {
        let term =
            json!({ "matchExpressions": [{ "key": "disk", "operator": operator, "values": ["ssd"] }] });
        let required =
            json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [term] } });
        with(asks(json!({})), "affinity", json!({ "nodeAffinity": required }))
    };
    let cases: Vec<(Newcomer, &[&str])> = vec![
        (of(json!({})), &[]),
        (of(json!({ "cpu": "500m", "memory": "40", "ephemeral-storage": "10" })), &[]),
        (of(json!({ "cpu": "501m" })), &["OutOfcpu"]),
        (of(json!({ "ephemeral-storage": "11" })), &["OutOfephemeral-storage"]),
        (of(json!({ "a.io/dongle": "1" })), &[]),
        (of(json!({ "a.io/dongle": "2" })), &["OutOfa.io/dongle"]),
        // Its devices are counted one by one elsewhere.
        (of(json!({ "a.io/counted": "2" })), &[]),
        // What the node does not know may be the cluster's; but there are no pages of a size that it has not.
        (of(json!({ "b.io/hand": "7" })), &[]),
        (of(json!({ "hugepages-2Mi": "2Mi" })), &[]),
        (of(json!({ "hugepages-2Mi": "4Mi" })), &["OutOfhugepages-2Mi"]),
        (of(json!({ "hugepages-1Gi": "1Gi" })), &["OutOfhugepages-1Gi"]),
        (of(json!({ "memory": "41", "cpu": "501m" })), &["OutOfcpu", "OutOfmemory"]),
        (with(asks(json!({})), "nodeSelector", json!({ "disk": "ssd" })), &[]),
        (with(asks(json!({})), "nodeSelector", json!({ "disk": "hdd" })), &["NodeAffinity"]),
        (requires("In"), &[]),
        (requires("NotIn"), &["NodeAffinity"]),
        (listens(json!({ "containerPort": 80 })), &[]),
        (listens(json!({ "containerPort": 1, "hostPort": 80 })), &["NodePorts"]),
        (listens(json!({ "containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.2" })), &["NodePorts"]),
        (listens(json!({ "containerPort": 1, "hostPort": 80, "protocol": "UDP" })), &[]),
        (listens(json!({ "containerPort": 1, "hostPort": 53, "hostIP": "10.0.0.2" })), &[]),
        (newcomer(json!({}), asks(json!({}))), &["TaintToleration"]),
    ];
    for (number, (pod, expected)) in cases.iter().enumerate() {
        assert_eq!(reasons(pod), *expected, "case {number}");
    }
}

#[test]
fn the_first_fault_is_told_and_of_critical_pods_the_first_that_is_no_want_of_room() {
    let spec = || {
        let mut spec = asks(json!({ "cpu": "9" }));
        spec["nodeSelector"] = json!({ "disk": "hdd" });
        spec
    };
    let told = |pod: &Newcomer| {
        let faults = pod.faults(&node(), &Used::default(), &Resources::default(), 0);
        pod.told(&faults).map(|fault| format!("{}: {fault}", fault.reason()))
    };
    let usual = newcomer(json!({}), spec());
    let short = "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 0, capacity: 0";
    assert_eq!(told(&usual).as_deref(), Some(short));
    let affinity =
        "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    let mut critical = spec();
    critical["priority"] = json!(2_000_000_000);
    assert_eq!(told(&newcomer(json!({}), critical)).as_deref(), Some(affinity));
    let annotations = json!({ "annotations": { "kubernetes.io/config.source": "file" } });
    let of_manifest = newcomer(annotations, spec());
    assert_eq!(told(&of_manifest).as_deref(), Some(affinity));
    assert!(
        !reasons(&of_manifest).contains(&"TaintToleration".to_owned()),
        "manifests stay whatever the taints"
    );
    let words = [
        (
            Filter::NodePorts,
            Reason::Ports.to_string(),
            "node(s) didn't have free ports for the requested pod ports",
        ),
        (Filter::TaintToleration, TAINTED.to_owned(), "node(s) had taints that the pod didn't tolerate"),
    ];
    for (filter, why, words) in words {
        assert_eq!(Fault::Rule(filter, why).to_string(), format!("Predicate {filter} failed: {words}"));
    }
}

#[test]
fn a_pod_of_another_system_is_known_by_its_label_or_its_field() {
    let named = |label: Option<&str>, os: Option<&str>| {
        let pod = json!({
            "metadata": { "labels": label.map(|label| json!({ OS: label })) },
            "spec": { "containers": [], "os": os.map(|os| json!({ "name": os })) },
        });
        wrong_system(&serde_json::from_value(pod).unwrap(), "linux").map(|(reason, _)| reason)
    };
    assert_eq!(named(None, None), None);
    assert_eq!(named(Some("linux"), Some("linux")), None);
    assert_eq!(named(Some("windows"), None), Some("PodOSSelectorNodeLabelDoesNotMatch"));
    assert_eq!(named(None, Some("windows")), Some("PodOSNotSupported"));
}
