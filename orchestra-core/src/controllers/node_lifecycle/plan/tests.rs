use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::{Grace, Health, Plan, labels, plan, ready};
use crate::controllers::testing::{at, over, text};

const GRACE: Grace =
    Grace { running: SignedDuration::from_secs(40), starting: SignedDuration::from_secs(60) };

fn node(ready: &str, change: &Value) -> Node {
    let conditions = json!([
        {"type": "Ready", "status": ready, "lastTransitionTime": text(0)},
        {"type": "MemoryPressure", "status": "False"},
        {"type": "DiskPressure", "status": "False"},
        {"type": "PIDPressure", "status": "False"},
    ]);
    let node = json!({"metadata": {"name": "n1"}, "status": {"conditions": conditions}});
    serde_json::from_value(over(node, change)).unwrap()
}

fn decide(node: &Node, silent: i64, health: Health) -> Plan {
    plan(node, at(0), false, GRACE, health, at(silent))
}

fn taints(plan: &Plan) -> Vec<String> {
    let taints = plan.taints.iter().flatten();
    taints.map(|taint| format!("{}:{}", taint.key.rsplit('/').next().unwrap(), taint.effect)).collect()
}

#[test]
fn a_node_that_is_heard_of_is_looked_at_again_when_its_grace_ends() {
    let plan = decide(&node("True", &json!({})), 15, Health::Normal);
    let again = SignedDuration::from_millis(25_001);
    assert_eq!(plan, Plan { again: Some(again), ..Plan::default() });
}

#[test]
fn a_silent_node_is_unknown_and_tainted() {
    let plan = decide(&node("True", &json!({})), 41, Health::Normal);
    let conditions = plan.conditions.clone().unwrap();
    assert!(conditions.iter().all(|condition| condition.status == "Unknown"));
    assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
    assert_eq!(conditions[0].message.as_deref(), Some("Kubelet stopped posting node status."));
    assert!(plan.lost && plan.unready);
    assert_eq!(taints(&plan), ["unreachable:NoSchedule", "unreachable:NoExecute"]);
    // Said once.
    let said =
        node("Unknown", &json!({"status": {"conditions": conditions}, "spec": {"taints": plan.taints}}));
    let again = decide(&said, 100, Health::Normal);
    assert_eq!((again.conditions, again.taints, again.lost), (None, None, false));
    assert_eq!(again.again, Some(SignedDuration::from_secs(5)), "the others may come to fail too");
}

#[test]
fn a_node_that_never_reported_has_longer_and_drives_no_pods_away_before() {
    let silent = node("True", &json!({"status": {"conditions": []}}));
    let waiting = decide(&silent, 50, Health::Normal);
    assert_eq!((&waiting.conditions, &waiting.taints), (&None, &None));
    let plan = decide(&silent, 61, Health::Normal);
    let conditions = plan.conditions.unwrap();
    assert_eq!(ready(&conditions), "Unknown");
    assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusNeverUpdated"));
}

#[test]
fn taints_follow_the_conditions_and_leave_others_alone() {
    let own = json!([
        {"key": "example.org/gpu", "effect": "NoSchedule"},
        {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": text(0)},
    ]);
    let back = decide(&node("True", &json!({"spec": {"taints": own}})), 1, Health::Normal);
    assert_eq!(taints(&back), ["gpu:NoSchedule"]);
    let not_ready = decide(&node("False", &json!({"spec": {"taints": own}})), 1, Health::Normal);
    assert_eq!(taints(&not_ready), ["gpu:NoSchedule", "not-ready:NoSchedule", "not-ready:NoExecute"]);
    let pressed = json!({
        "spec": {"unschedulable": true},
        "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]},
    });
    assert_eq!(
        taints(&decide(&node("True", &pressed), 1, Health::Normal)),
        ["disk-pressure:NoSchedule", "unschedulable:NoSchedule"]
    );
}

#[test]
fn when_most_nodes_fail_none_of_them_drives_pods_away() {
    let plan = decide(&node("True", &json!({})), 41, Health::Disrupted);
    assert_eq!(taints(&plan), ["unreachable:NoSchedule"]);
    assert!(!plan.gives_up() && decide(&node("True", &json!({})), 41, Health::Normal).gives_up());
}

#[test]
fn what_a_node_says_of_its_machine_it_says_by_both_names() {
    let of = |held: &Value| {
        let node = crate::controllers::testing::entry(
            &json!({"metadata": {"name": "n", "uid": "n", "labels": held}}),
        );
        labels(node.labels())
    };
    assert_eq!(of(&json!({})), []);
    assert_eq!(of(&json!({"beta.kubernetes.io/os": "linux"})), []);
    let both = json!({"kubernetes.io/os": "linux", "beta.kubernetes.io/os": "linux"});
    assert_eq!(of(&both), []);
    let other =
        json!({"kubernetes.io/os": "linux", "beta.kubernetes.io/os": "plan9", "kubernetes.io/arch": "arm64"});
    let expected =
        [("beta.kubernetes.io/os", "linux".to_owned()), ("beta.kubernetes.io/arch", "arm64".to_owned())];
    assert_eq!(of(&other), expected);
}
