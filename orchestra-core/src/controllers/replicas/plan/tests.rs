use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::member::Member;
use super::{Plan, Wanted, plan};
use crate::controllers::testing::{at, entry, over, pod, text};
use crate::meta::Uid;
use crate::selector::{Labels, Selector};

const OWNER: &str = "rs";

fn wanted(replicas: i32) -> Wanted {
    Wanted {
        uid: Uid::from(OWNER),
        deleting: false,
        replicas,
        min_ready_seconds: 0,
        selector: Selector::parse("app=web").unwrap().into(),
        template_labels: Labels::from([("app".to_owned(), "web".to_owned())]),
    }
}

fn members(pods: &[Value]) -> Vec<Member> {
    pods.iter().map(|pod| Member::new(entry(pod)).unwrap()).collect()
}

fn decide(wanted: &Wanted, pods: &[Value]) -> Plan {
    let members = members(pods);
    plan(wanted, &members, &members, at(1000))
}

#[test]
fn pods_are_sorted_by_owner_and_selector() {
    let stranger = json!({"metadata": {"labels": {"app": "other"}}});
    let deleting = json!({"metadata": {"deletionTimestamp": text(5)}});
    let pods = [
        pod("own", Some(OWNER), &json!({})),
        pod("own-other-label", Some(OWNER), &stranger),
        pod("own-deleting", Some(OWNER), &deleting),
        pod("own-failed", Some(OWNER), &json!({"status": {"phase": "Failed"}})),
        pod("free", None, &json!({"metadata": {"labels": {"app": "web", "extra": "1"}}})),
        pod("free-deleting", None, &deleting),
        pod("free-other-label", None, &stranger),
        pod("of-another", Some("other"), &json!({})),
    ];
    let plan = decide(&wanted(3), &pods);
    insta::assert_snapshot!(plan, @r"
    adopt default/free
    release default/own-other-label
    create 1
    report 2 pods, 2 labeled, 2 ready, 2 available, 1 terminating
    ");
    let going = Wanted { deleting: true, ..wanted(3) };
    insta::assert_snapshot!(decide(&going, &pods), @"report 1 pods, 1 labeled, 1 ready, 1 available, 1 terminating");
}

#[test]
fn surplus_pods_go_in_the_order_of_kubernetes() {
    let ready_since = |seconds| json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": text(seconds)}]}});
    let cost = json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-5"}}});
    let not_ready = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
    let restarted = json!({"status": {"containerStatuses": [{"restartCount": 1}, {"restartCount": 7}]}});
    let pods = [
        pod("a-old", Some(OWNER), &json!({})),
        pod("b-created-later", Some(OWNER), &json!({"metadata": {"creationTimestamp": text(900)}})),
        pod("c-restarted", Some(OWNER), &restarted),
        pod("d-ready-later", Some(OWNER), &ready_since(900)),
        pod("e-crowded", Some(OWNER), &json!({"spec": {"nodeName": "n2"}})),
        pod("e-crowd", Some("sibling"), &json!({"spec": {"nodeName": "n2"}})),
        pod("f-cheap", Some(OWNER), &cost),
        pod("g-not-ready", Some(OWNER), &not_ready),
        pod("h-pending", Some(OWNER), &over(not_ready.clone(), &json!({"status": {"phase": "Pending"}}))),
        pod("i-unassigned", Some(OWNER), &json!({"spec": {"nodeName": ""}})),
    ];
    // On n1 there are eight; to make n2 the crowded one, its crowd counts from another ReplicaSet of the application.
    let crowd =
        (0..10).map(|index| pod(&format!("x{index}"), Some("sibling"), &json!({"spec": {"nodeName": "n2"}})));
    let related: Vec<Value> = pods.iter().cloned().chain(crowd).collect();
    let order = |replicas| {
        let plan = plan(&wanted(replicas), &members(&pods), &members(&related), at(1000));
        plan.delete.iter().map(|entry| entry.name().name()[..1].to_owned()).collect::<String>()
    };
    assert_eq!(order(1), "ihgfedcb");
    assert_eq!(order(8), "i");
    assert_eq!(order(0).len(), 9);
}

#[test]
fn a_ready_pod_becomes_available_after_its_time() {
    let mut wanted = wanted(2);
    wanted.min_ready_seconds = 30;
    let since = |seconds| json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": text(seconds)}]}});
    let pods = [pod("a", Some(OWNER), &since(970)), pod("b", Some(OWNER), &since(980))];
    insta::assert_snapshot!(decide(&wanted, &pods), @r"
    report 2 pods, 2 labeled, 2 ready, 1 available, 0 terminating
    again in 10s
    ");
}

#[derive(Clone, Debug)]
struct Sample {
    owner: Option<&'static str>,
    label: &'static str,
    phase: &'static str,
    deleting: bool,
    ready: bool,
}

fn some_pod() -> impl Strategy<Value = Sample> {
    (
        prop::sample::select(vec![None, Some(OWNER), Some("other")]),
        prop::sample::select(vec!["web", "db"]),
        prop::sample::select(vec!["Pending", "Running", "Failed", "Succeeded"]),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(owner, label, phase, deleting, ready)| Sample {
            owner,
            label,
            phase,
            deleting,
            ready,
        })
}

fn build(index: usize, some: &Sample) -> Value {
    let mut change = json!({
        "metadata": {"labels": {"app": some.label}},
        "status": {
            "phase": some.phase,
            "conditions": [{"type": "Ready", "status": if some.ready { "True" } else { "False" }}],
        },
    });
    if some.deleting {
        change["metadata"]["deletionTimestamp"] = text(5).into();
    }
    pod(&format!("p{index}"), some.owner, &change)
}

proptest! {
    #[test]
    fn no_pod_of_another_is_touched_and_the_number_is_met(
        pods in prop::collection::vec(some_pod(), 0..20),
        replicas in 0..12_i32,
    ) {
        let values: Vec<Value> = pods.iter().enumerate().map(|(index, pod)| build(index, pod)).collect();
        let plan = decide(&wanted(replicas), &values);
        let adopted: BTreeSet<_> = plan.adopt.iter().map(|entry| entry.name().clone()).collect();
        for entry in &plan.delete {
            let own = entry.controller().is_some_and(|owner| owner.uid.as_str() == OWNER);
            prop_assert!(own || adopted.contains(entry.name()), "{} is not its own", entry.name());
            prop_assert!(!entry.is_deleting());
        }
        prop_assert!(plan.release.iter().all(|entry| entry.controller().is_some_and(|owner| owner.uid.as_str() == OWNER)));
        prop_assert!(plan.adopt.iter().all(|entry| entry.controller().is_none()));
        // After one run the number is right, and a second one has nothing to do.
        let left = plan.counts.replicas as usize + plan.create - plan.delete.len();
        prop_assert_eq!(left, replicas as usize);
        prop_assert!(plan.create == 0 || plan.delete.is_empty());
        // A ready pod never goes before one that is not.
        let is_ready = |member: &Member| member.pod.is_ready() && member.pod.status.phase == crate::controllers::pod::Phase::Running;
        let deleted_ready = members(&values).into_iter().filter(|member| {
            plan.delete.iter().any(|entry| entry.uid() == member.entry.uid()) && is_ready(member)
        });
        if deleted_ready.count() > 0 {
            let kept_pending = pods.iter().enumerate().filter(|(index, pod)| {
                let kept = !plan.delete.iter().any(|entry| entry.name().name() == format!("p{index}"));
                kept && pod.phase == "Pending" && !pod.deleting && pod.label == "web" && pod.owner != Some("other")
            });
            prop_assert_eq!(kept_pending.count(), 0);
        }
    }
}
