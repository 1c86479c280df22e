use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;

use super::pod;
use crate::scheduler::queue::{BACKOFF, Queue};
use crate::scheduler::{Filter, PodInfo};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("a time")
}

fn ranked(name: &str, priority: i32, created: i64) -> Arc<PodInfo> {
    pod(
        name,
        json!({"metadata": {"creationTimestamp": at(created).to_string()}, "spec": {"priority": priority}}),
    )
}

fn pop(queue: &mut Queue, now: i64) -> Option<String> {
    queue.pop(at(now)).map(|pod| pod.name.name().to_owned())
}

fn fit() -> BTreeSet<Filter> {
    BTreeSet::from([Filter::NodeResourcesFit])
}

#[test]
fn the_important_come_first_then_the_old_then_by_arrival() {
    let mut queue = Queue::new(BACKOFF);
    for pod in [ranked("young", 0, 20), ranked("b", 0, 10), ranked("a", 0, 10), ranked("high", 5, 30)] {
        queue.set(pod);
    }
    let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, 100)).collect();
    assert_eq!(order, ["high", "b", "a", "young"]);
}

#[test]
fn a_parked_pod_waits_for_help_or_five_minutes() {
    let mut queue = Queue::new(BACKOFF);
    queue.set(ranked("web", 0, 0));
    let web = queue.pop(at(0)).expect("due");
    queue.park(&web.uid, fit(), at(0));
    queue.wake(at(60), |_, failed| failed.contains(&Filter::NodePorts));
    assert_eq!((pop(&mut queue, 299), queue.deadline()), (None, Some(at(300))));
    queue.wake(at(299), |_, failed| failed.contains(&Filter::NodeResourcesFit));
    assert_eq!(pop(&mut queue, 299).as_deref(), Some("web"));
    queue.park(&web.uid, fit(), at(299));
    assert_eq!(pop(&mut queue, 599).as_deref(), Some("web"));
}

#[test]
fn backing_off_doubles_from_one_second_to_ten() {
    let mut queue = Queue::new(BACKOFF);
    queue.set(ranked("web", 0, 0));
    let mut now = 0;
    for wait in [1, 2, 4, 8, 10, 10] {
        let web = queue.pop(at(now)).expect("due");
        queue.back_off(&web.uid, at(now));
        assert_eq!((pop(&mut queue, now + wait - 1), queue.deadline()), (None, Some(at(now + wait))));
        now += wait;
    }
}

#[test]
fn a_pod_woken_in_haste_lets_others_go_first_but_does_not_wait_for_nobody() {
    let mut queue = Queue::new(BACKOFF);
    queue.set(ranked("eager", 9, 0));
    let eager = queue.pop(at(0)).expect("due");
    queue.park(&eager.uid, fit(), at(0));
    queue.wake(at(0), |_, _| true);
    queue.set(ranked("other", 0, 0));
    assert_eq!(pop(&mut queue, 0).as_deref(), Some("other"));
    assert_eq!(pop(&mut queue, 0).as_deref(), Some("eager"));
}

#[test]
fn what_is_said_of_a_pod_does_not_wake_it_and_what_it_asks_for_does() {
    let mut queue = Queue::new(BACKOFF);
    queue.set(ranked("web", 0, 0));
    let web = queue.pop(at(0)).expect("due");
    queue.park(&web.uid, fit(), at(0));
    let mut told = (*web).clone();
    told.reported = Some("0/1 nodes are available".to_owned());
    queue.set(told.clone().into());
    assert_eq!(pop(&mut queue, 10), None);
    told.requests.needed.milli_cpu = 1;
    queue.set(told.into());
    assert_eq!(pop(&mut queue, 10).as_deref(), Some("web"));
}

#[test]
fn a_pod_that_is_out_is_not_given_out_again() {
    let mut queue = Queue::new(BACKOFF);
    queue.set(ranked("web", 0, 0));
    let web = queue.pop(at(0)).expect("due");
    queue.set(web.clone());
    queue.retry(&web.uid);
    assert_eq!(pop(&mut queue, 1000), None);
    queue.remove(&web.uid);
    queue.back_off(&web.uid, at(0));
    assert_eq!((pop(&mut queue, 1000), queue.deadline()), (None, None));
}

#[test]
fn gates_hold_until_they_are_lifted() {
    let mut queue = Queue::new(BACKOFF);
    let gated = pod("web", json!({"spec": {"schedulingGates": [{"name": "example.com/quota"}]}}));
    queue.set(gated.clone());
    assert_eq!(pop(&mut queue, 1000), None);
    queue.set(pod("web", json!({})));
    assert_eq!(pop(&mut queue, 1000).as_deref(), Some("web"));
}
