use serde_json::{Value, json};

use super::pod;
use crate::scheduler::Resources;

fn needed(spec: Value) -> Resources {
    pod("web", json!({ "spec": spec })).requests.needed.clone()
}

fn cpu(amount: &str) -> Value {
    json!({"name": "c", "resources": {"requests": {"cpu": amount}}})
}

fn sidecar(amount: &str) -> Value {
    json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": amount}}})
}

#[test]
fn containers_are_added_up() {
    let needed = needed(json!({"containers": [
        {"name": "a", "resources": {"requests": {"cpu": "0.5", "memory": "1Gi", "example.com/gpu": "1"}}},
        {"name": "b", "resources": {"requests": {"cpu": "250m", "ephemeral-storage": "1k", "example.com/gpu": 2}}},
    ]}));
    assert_eq!((needed.milli_cpu, needed.memory, needed.ephemeral_storage), (750, 1 << 30, 1000));
    assert_eq!((needed.other("example.com/gpu"), needed.other("example.com/fpga")), (3, 0));
}

#[test]
fn the_largest_moment_counts() {
    for (init, containers, milli) in [
        (json!([cpu("2")]), json!([cpu("1"), cpu("500m")]), 2000),
        (json!([cpu("1")]), json!([cpu("1"), cpu("500m")]), 1500),
        (json!([sidecar("1"), cpu("2")]), json!([cpu("500m")]), 3000),
        (json!([cpu("2"), sidecar("1")]), json!([cpu("500m")]), 2000),
        (json!([sidecar("1"), sidecar("1")]), json!([cpu("500m")]), 2500),
        (Value::Null, Value::Null, 0),
    ] {
        let found = needed(json!({"initContainers": init, "containers": containers})).milli_cpu;
        assert_eq!(found, milli, "{init} {containers}");
    }
}

#[test]
fn overhead_is_added_and_requests_of_the_pod_replace_those_of_its_containers() {
    let spec = json!({"containers": [cpu("1")], "overhead": {"cpu": "100m", "memory": "10Mi"}});
    let found = needed(spec);
    assert_eq!((found.milli_cpu, found.memory), (1100, 10 << 20));
    let spec = json!({"containers": [cpu("1")], "resources": {"requests": {"cpu": "3"}}});
    assert_eq!(needed(spec).milli_cpu, 3000);
}

#[test]
fn a_container_that_asks_for_nothing_is_given_a_default_for_scoring_only() {
    let pod = pod("web", json!({"spec": {"containers": [{"name": "a"}, cpu("1")]}}));
    assert_eq!((pod.requests.needed.milli_cpu, pod.requests.needed.memory), (1000, 0));
    assert_eq!((pod.requests.assumed_milli_cpu, pod.requests.assumed_memory), (1100, 400 << 20));
}
