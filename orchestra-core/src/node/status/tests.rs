use super::*;
use crate::node::plan::tests::{at, pod, ready, settled};
use serde_json::json;

fn reported(pod: &Pod, seen: &Observed, memory: &Memory) -> PodStatus {
    let node = NodeFacts { host_ips: vec!["10.0.0.1".parse().unwrap()], runtime: "docker".into() };
    status(pod, seen, memory, &node, at(100))
}

fn phase_of(pod: &Pod, lives: &[&str]) -> String {
    reported(pod, &ready(lives), &settled()).phase.unwrap()
}

#[test]
fn phases() {
    for (policy, lives, expected) in [
        ("Always", vec![], "Pending"),
        ("Always", vec!["a running"], "Pending"),
        ("Always", vec!["a running", "b running"], "Running"),
        ("Always", vec!["a 1", "b running"], "Running"),
        ("Always", vec!["a 1", "b 0"], "Running"),
        ("OnFailure", vec!["a 1", "b 0"], "Running"),
        ("OnFailure", vec!["a 0", "b 0"], "Succeeded"),
        ("Never", vec!["a 0", "b running"], "Running"),
        ("Never", vec!["a 0", "b 0"], "Succeeded"),
        ("Never", vec!["a 0", "b 1"], "Failed"),
    ] {
        let pod = pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]}));
        assert_eq!(phase_of(&pod, &lives), expected, "{policy} {lives:?}");
    }
}

#[test]
fn phases_with_init_containers() {
    for (policy, lives, expected) in [
        ("Always", vec!["i running"], "Pending"),
        ("Always", vec!["i 1"], "Pending"),
        ("Never", vec!["i 1"], "Failed"),
        ("Always", vec!["i 0"], "Pending"),
        ("Always", vec!["i 0", "a running"], "Running"),
    ] {
        let pod = pod(
            json!({"restartPolicy": policy, "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}),
        );
        assert_eq!(phase_of(&pod, &lives), expected, "{policy} {lives:?}");
    }
}

#[test]
fn a_deleted_pod_ends_as_its_containers_did() {
    let mut deleted = pod(json!({"containers": [{"name": "a"}]}));
    deleted.metadata.deletion_timestamp = Some(Time(at(90)));
    for (lives, expected) in [
        (vec!["a running"], "Running"),
        (vec!["a 0"], "Succeeded"),
        (vec!["a 143"], "Failed"),
        (vec![], "Failed"),
    ] {
        assert_eq!(phase_of(&deleted, &lives), expected, "{lives:?}");
    }
}

#[test]
fn a_container_that_waits_shows_how_its_last_life_ended() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let mut memory = settled();
    let waiting = crate::node::model::Waiting { reason: "CrashLoopBackOff", message: "back-off 10s".into() };
    memory.waiting.insert("a".into(), waiting);
    let status = reported(&pod, &ready(&["a#2 1@50"]), &memory);
    let a = status.container_statuses.unwrap().remove(0);
    assert_eq!(a.restart_count, 2);
    assert_eq!(a.container_id.as_deref(), Some("docker://s0-0"));
    assert_eq!(a.state.unwrap().waiting.unwrap().reason.as_deref(), Some("CrashLoopBackOff"));
    let last = a.last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    assert_eq!(last.finished_at, Some(Time(at(50))));
}

#[test]
fn conditions_say_since_when_and_those_of_others_stay() {
    let mut pod =
        pod(json!({"containers": [{"name": "a"}], "readinessGates": [{"conditionType": "example.org/lb"}]}));
    pod.metadata.generation = Some(3);
    let first = reported(&pod, &ready(&["a running"]), &settled());
    let find = |status: &PodStatus, kind: &str| {
        status.conditions.as_ref().unwrap().iter().find(|c| c.type_ == kind).cloned().unwrap()
    };
    assert_eq!(find(&first, "ContainersReady").status, "True");
    let gated = find(&first, "Ready");
    assert_eq!((gated.status.as_str(), gated.reason.as_deref()), ("False", Some("ReadinessGatesNotReady")));
    assert_eq!((gated.observed_generation, first.observed_generation), (Some(3), Some(3)));

    let mut known = first.clone();
    let foreign =
        PodCondition { type_: "example.org/lb".into(), status: "True".into(), ..PodCondition::default() };
    known.conditions.as_mut().unwrap().push(foreign.clone());
    for condition in known.conditions.as_mut().unwrap() {
        condition.last_transition_time = Some(Time(at(7)));
    }
    pod.status = Some(known);
    let second = reported(&pod, &ready(&["a running"]), &settled());
    assert_eq!(find(&second, "Ready").status, "True");
    assert_eq!(find(&second, "Ready").last_transition_time, Some(Time(at(100))), "it changed");
    assert_eq!(find(&second, "ContainersReady").last_transition_time, Some(Time(at(7))), "it did not");
    assert_eq!(find(&second, "example.org/lb").status, "True");
}

#[test]
fn the_same_pod_seen_the_same_way_gives_the_same_status() {
    let mut pod =
        pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "b"}, {"name": "a"}]}));
    let seen = ready(&["i 0", "a#1 running", "a#0 1@20", "b 137"]);
    let first = reported(&pod, &seen, &settled());
    pod.status = Some(first.clone());
    assert_eq!(reported(&pod, &seen, &settled()), first);
    let names: Vec<_> = first.container_statuses.unwrap().into_iter().map(|status| status.name).collect();
    assert_eq!(names, ["a", "b"], "in order of name");
}
