use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::account::{Account, Outcome, account};
use super::super::backoff::Backoff;
use super::super::model::{COMPLETION_INDEX, FAILURES, JobPod, TRACKING, Wanted};
use super::{Observed, plan};
use crate::controllers::replicas::member::Member;
use crate::controllers::testing::{at, entry, over, text};

fn job(change: &Value) -> Job {
    let job = json!({
        "metadata": {"name": "j", "namespace": "default", "uid": "j"},
        "spec": {"parallelism": 2, "completions": 3, "backoffLimit": 2, "template": {"spec": {"restartPolicy": "Never"}}},
        "status": {"startTime": text(0)},
    });
    serde_json::from_value(over(job, change)).unwrap()
}

fn indexed(change: &Value) -> Job {
    job(&over(json!({"spec": {"completionMode": "Indexed"}}), change))
}

/// A pod in a phase that still has to be counted.
fn pod(name: &str, phase: &str, change: &Value) -> Member {
    let pod = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "creationTimestamp": text(0), "finalizers": [TRACKING],
        },
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": text(0)}]},
    });
    Member::new(entry(&over(pod, change))).unwrap()
}

fn at_index(index: u32, name: &str, phase: &str, failures: u32) -> Member {
    let annotations = json!({COMPLETION_INDEX: index.to_string(), FAILURES: failures.to_string()});
    pod(name, phase, &json!({"metadata": {"annotations": annotations}}))
}

fn exited(name: &str, code: i32) -> Member {
    let status = json!({"name": "c", "state": {"terminated": {"exitCode": code, "finishedAt": text(0)}}});
    pod(name, "Failed", &json!({"status": {"containerStatuses": [status]}}))
}

fn observed<'o>(job: &'o Job, pods: &'o [Member]) -> Observed<'o> {
    let wanted = Wanted::of(job).unwrap();
    let pods = pods.iter().map(|member| JobPod::of(&wanted, member)).collect();
    Observed { wanted, pods, backoff: Some(Backoff::default()) }
}

/// What is planned at a time.
fn planned(job: &Job, pods: &[Member], now: i64) -> String {
    plan(&observed(job, pods), at(now)).to_string()
}

/// The account of a plan of which everything went well.
fn accounted(job: &Job, pods: &[Member], now: i64) -> Account {
    let observed = observed(job, pods);
    let plan = plan(&observed, at(now));
    let ready = plan.delete.iter().filter(|member| member.pod.is_ready()).count();
    let outcome = Outcome { created: plan.create.len(), deleted: plan.delete.len(), deleted_ready: ready };
    account(&observed, &plan, outcome, at(now))
}

#[test]
fn there_are_as_many_pods_as_are_wanted() {
    let none = json!({});
    let running = |name: &str| pod(name, "Running", &none);
    let done = |name: &str| pod(name, "Succeeded", &none);
    for (change, pods, expected) in [
        (json!({}), vec![], "create\ncreate\n"),
        (json!({}), vec![running("a")], "create\n"),
        (json!({}), vec![running("a"), running("b")], ""),
        (json!({}), vec![done("a"), done("b")], "create\n"),
        (json!({"status": {"succeeded": 2}}), vec![done("a"), running("b")], "delete b uncounted\n"),
        (json!({"status": {"succeeded": 1}}), vec![done("a"), running("b")], ""),
        (
            json!({"spec": {"parallelism": 1}}),
            vec![running("a"), pod("b", "Pending", &none)],
            "delete b uncounted\n",
        ),
        (json!({"spec": {"completions": null}}), vec![running("a")], "create\n"),
        (json!({"spec": {"completions": null}}), vec![running("a"), done("b")], ""),
        (json!({"spec": {"suspend": true}}), vec![running("a"), done("b")], "delete a uncounted\n"),
        (json!({"metadata": {"deletionTimestamp": text(0)}}), vec![running("a")], ""),
        (json!({"spec": {"completions": 0}}), vec![], ""),
    ] {
        assert_eq!(planned(&job(&change), &pods, 0), expected, "{change}");
    }
}

#[test]
fn a_pod_that_failed_is_replaced_after_a_while_that_grows() {
    let failed = |name: &str, second: i64| {
        let ready = json!([{"type": "Ready", "status": "False", "lastTransitionTime": text(second)}]);
        pod(name, "Failed", &json!({"status": {"conditions": ready}}))
    };
    let job = job(&json!({"spec": {"backoffLimit": 9}}));
    assert_eq!(planned(&job, &[failed("a", 0)], 0), "again in 10s\n");
    assert_eq!(planned(&job, &[failed("a", 0)], 10), "create\ncreate\n");
    assert_eq!(planned(&job, &[failed("a", 0), failed("b", 5)], 5), "again in 20s\n");
    // A success since then makes it short again.
    let since = pod(
        "c",
        "Succeeded",
        &json!({"status": {"conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": text(6)},
        ]}}),
    );
    assert_eq!(planned(&job, &[failed("a", 0), failed("b", 5), since], 6), "create\ncreate\n");
    // A clock that was set back makes no one wait longer.
    assert_eq!(planned(&job, &[failed("a", 0)], -100_000), "again in 10s\n");
}

#[test]
fn a_job_ends_for_a_reason() {
    let failed = |name: &str| pod(name, "Failed", &json!({}));
    let limit = "FailureTarget BackoffLimitExceeded: Job has reached the specified backoff limit\n";
    let late = "FailureTarget DeadlineExceeded: Job was active longer than specified deadline\n";
    let restarted = |count: i32| {
        let statuses = json!([{"name": "c", "restartCount": count}]);
        pod("a", "Running", &json!({"status": {"containerStatuses": statuses}}))
    };
    let on_failure = json!({"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}});
    for (change, pods, now, expected) in [
        (json!({}), vec![failed("a"), failed("b"), failed("c")], 0, limit.to_owned()),
        (
            json!({"status": {"failed": 2}}),
            vec![failed("a"), pod("b", "Running", &json!({}))],
            0,
            format!("delete b\n{limit}"),
        ),
        (on_failure.clone(), vec![restarted(2)], 0, format!("delete a\n{limit}")),
        (on_failure, vec![restarted(1)], 0, "create\n".to_owned()),
        (
            json!({"spec": {"activeDeadlineSeconds": 30}}),
            vec![],
            10,
            "create\ncreate\nagain in 20s\n".to_owned(),
        ),
        (json!({"spec": {"activeDeadlineSeconds": 30}}), vec![], 30, late.to_owned()),
        (json!({"spec": {"activeDeadlineSeconds": 30, "suspend": true}}), vec![], 30, String::new()),
    ] {
        assert_eq!(planned(&job(&change), &pods, now), expected, "{change}");
    }
}

#[test]
fn failures_are_judged_by_the_first_rule_they_fulfil() {
    let rules = json!([
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [2], "containerName": "c"}},
    ]);
    let job = job(&json!({"spec": {"backoffLimit": 0, "podFailurePolicy": {"rules": rules}}}));
    let disrupted = json!({"status": {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}});
    assert_eq!(planned(&job, &[exited("a", 1)], 60), "create\ncreate\n");
    assert_eq!(planned(&job, &[pod("a", "Failed", &disrupted)], 60), "create\ncreate\n");
    let limit = "FailureTarget BackoffLimitExceeded: Job has reached the specified backoff limit\n";
    assert_eq!(planned(&job, &[exited("a", 2)], 60), limit);
    let rule = "FailureTarget PodFailurePolicy: Container c for pod default/a failed with exit code 3 matching FailJob \
                rule at index 2\n";
    assert_eq!(planned(&job, &[exited("a", 3)], 60), rule);
}

#[test]
fn each_index_has_a_pod_of_its_own() {
    let running = |index, name: &str| at_index(index, name, "Running", 0);
    let stray = pod("stray", "Running", &json!({}));
    let four = json!({"spec": {"completions": 4, "parallelism": 3}});
    for (change, pods, expected) in [
        (json!({}), vec![], "create 0\ncreate 1\ncreate 2\n"),
        (json!({}), vec![running(1, "a")], "create 0\ncreate 2\n"),
        (json!({"status": {"completedIndexes": "0,2"}}), vec![running(1, "a")], "create 3\n"),
        (json!({}), vec![running(1, "a"), running(1, "b"), running(0, "c")], "delete a uncounted\n"),
        (
            json!({}),
            vec![running(9, "a"), stray, running(0, "c")],
            "delete a uncounted\ndelete stray uncounted\n",
        ),
    ] {
        assert_eq!(planned(&indexed(&over(four.clone(), &change)), &pods, 0), expected, "{change}");
    }
}

#[test]
fn failures_are_limited_for_each_index() {
    let limited = json!({"spec": {"backoffLimit": 100, "backoffLimitPerIndex": 1}});
    let job = |change: &Value| indexed(&over(limited.clone(), change));
    let first = at_index(0, "a", "Failed", 0);
    assert_eq!(
        planned(&job(&json!({})), std::slice::from_ref(&first), 5),
        "create 1 after 0+0 failures\nagain in 5s\n"
    );
    assert_eq!(
        planned(&job(&json!({})), std::slice::from_ref(&first), 10),
        "create 0 after 1+0 failures\ncreate 1 after 0+0 failures\n"
    );
    // The pod is kept until its successor has its count.
    assert!(accounted(&job(&json!({})), std::slice::from_ref(&first), 5).untrack.is_empty());
    let second = at_index(0, "b", "Failed", 1);
    let account = accounted(&job(&json!({})), &[first, second], 60);
    assert_eq!((account.status.failed_indexes.as_deref(), account.untrack.len()), (Some("0"), 2));
    let last = json!({"status": {"failedIndexes": "0", "completedIndexes": "1,2"}});
    assert_eq!(planned(&job(&last), &[], 60), "FailureTarget FailedIndexes: Job has failed indexes\n");
    let most = json!({"spec": {"maxFailedIndexes": 0}, "status": {"failedIndexes": "0"}});
    let message = "Job has exceeded the specified maximal number of failed indexes";
    assert_eq!(planned(&job(&most), &[], 60), format!("FailureTarget MaxFailedIndexesExceeded: {message}\n"));
}

#[test]
fn some_successes_may_be_enough() {
    let policy = |rule: Value| json!({"spec": {"successPolicy": {"rules": [rule]}}, "status": {"completedIndexes": "1"}});
    let met = "SuccessCriteriaMet SuccessPolicy: Matched rules at index 0\n";
    let running = || vec![at_index(0, "a", "Running", 0)];
    for (rule, expected) in [
        (json!({"succeededIndexes": "1"}), format!("delete a\n{met}")),
        (json!({"succeededCount": 1}), format!("delete a\n{met}")),
        (json!({"succeededIndexes": "0-2", "succeededCount": 1}), format!("delete a\n{met}")),
        (json!({"succeededIndexes": "0,1"}), "create 2\n".to_owned()),
        (json!({"succeededCount": 2}), "create 2\n".to_owned()),
    ] {
        assert_eq!(planned(&indexed(&policy(rule.clone())), &running(), 0), expected, "{rule}");
    }
}

#[test]
fn a_pod_is_noted_then_freed_then_counted() {
    let done = pod("a", "Succeeded", &json!({}));
    let first = accounted(&job(&json!({})), std::slice::from_ref(&done), 0);
    let noted = json!({"succeeded": ["a"]});
    assert_eq!(json!(first.status.uncounted_terminated_pods), noted);
    assert_eq!((first.status.succeeded, first.untrack.len()), (None, 1));
    // Cut off there, it is the same again; freed, it is counted.
    let held = json!({"status": {"uncountedTerminatedPods": noted}});
    let again = accounted(&job(&held), std::slice::from_ref(&done), 0);
    assert_eq!((json!(again.status.uncounted_terminated_pods), again.status.succeeded), (noted, None));
    for pods in [vec![], vec![pod("a", "Succeeded", &json!({"metadata": {"finalizers": []}}))]] {
        let counted = accounted(&job(&held), &pods, 0);
        assert_eq!(
            (json!(counted.status.uncounted_terminated_pods), counted.status.succeeded),
            (json!({}), Some(1))
        );
    }
}

#[test]
fn a_job_is_said_to_have_ended_when_its_pods_are_gone() {
    let said = json!({"type": "FailureTarget", "status": "True", "reason": "R", "message": "M"});
    let failing = job(&json!({"status": {"conditions": [said]}}));
    let running = pod("a", "Running", &json!({}));
    let first = accounted(&failing, std::slice::from_ref(&running), 0);
    assert_eq!((first.finished.is_none(), first.untrack.len()), (true, 1));
    assert_eq!(json!(first.status.uncounted_terminated_pods), json!({"failed": ["a"]}));
    let leaving = pod("a", "Running", &json!({"metadata": {"finalizers": [], "deletionTimestamp": text(0)}}));
    assert!(accounted(&failing, &[leaving], 0).finished.is_none());
    let last = accounted(&failing, &[], 0).finished.unwrap();
    assert_eq!(
        (&*last.type_, last.reason.as_deref(), last.message.as_deref()),
        ("Failed", Some("R"), Some("M"))
    );

    let all = job(&json!({"status": {"succeeded": 3}}));
    let met = accounted(&all, &[], 0).status;
    assert_eq!(met.conditions.as_ref().unwrap()[0].type_, "SuccessCriteriaMet");
    let complete = accounted(&Job { status: Some(met), ..all }, &[], 5).status;
    assert_eq!(complete.conditions.unwrap().last().unwrap().type_, "Complete");
    assert_eq!(complete.completion_time.unwrap().0, at(5));
}

#[test]
fn time_counts_anew_when_a_job_is_resumed() {
    let suspended = accounted(&job(&json!({"spec": {"suspend": true}})), &[], 5);
    assert_eq!((suspended.suspended, suspended.status.start_time.is_none()), (Some(true), true));
    let resumed = job(&json!({"status": {"conditions": suspended.status.conditions}}));
    let account = accounted(&resumed, &[], 9);
    assert_eq!((account.suspended, account.status.start_time.unwrap().0), (Some(false), at(9)));
    assert_eq!(account.status.conditions.unwrap()[0].reason.as_deref(), Some("JobResumed"));
    assert_eq!(accounted(&job(&json!({})), &[], 5).suspended, None);
}

fn any_pods() -> impl Strategy<Value = Vec<Member>> {
    let phases = prop::sample::select(vec!["Pending", "Running", "Succeeded", "Failed"]);
    let drawn = (phases, any::<bool>(), any::<bool>(), 0..6_u32);
    prop::collection::vec(drawn, 0..12).prop_map(|pods| {
        let made = pods.into_iter().enumerate().map(|(place, (phase, tracked, deleting, index))| {
            let mut change = json!({"metadata": {"annotations": {COMPLETION_INDEX: index.to_string()}}});
            if !tracked {
                change["metadata"]["finalizers"] = json!([]);
            }
            if deleting {
                change["metadata"]["deletionTimestamp"] = text(0).into();
            }
            pod(&format!("p{place}"), phase, &change)
        });
        made.collect()
    })
}

proptest! {
    #[test]
    fn never_are_there_too_many_pods_nor_is_one_lost(
        pods in any_pods(),
        (parallelism, completions, with_index) in (0..5_i32, prop::option::of(0..6_i32), any::<bool>()),
        (only_failed, suspend) in (any::<bool>(), any::<bool>()),
    ) {
        let with_index = with_index && completions.is_some();
        let job = job(&json!({"spec": {
            "parallelism": parallelism, "completions": completions, "suspend": suspend, "backoffLimit": 100,
            "completionMode": if with_index { "Indexed" } else { "NonIndexed" },
            "podReplacementPolicy": if only_failed { "Failed" } else { "TerminatingOrFailed" },
        }}));
        let observed = observed(&job, &pods);
        let plan = plan(&observed, at(1_000_000));
        let active = pods.iter().filter(|member| member.pod.is_active()).count();
        let after = active + plan.create.len() - plan.delete.len();
        prop_assert!(plan.create.is_empty() || plan.delete.is_empty());
        prop_assert!(plan.create.is_empty() || after <= usize::try_from(parallelism).unwrap());
        prop_assert!(plan.delete.iter().all(|member| member.pod.is_active()));
        prop_assert!(!(suspend && after > 0));
        if with_index {
            let mut made: Vec<_> = plan.create.iter().map(|new| new.index.unwrap()).collect();
            made.extend(observed.pods.iter().filter(|pod| pod.pod().is_active()).filter_map(|pod| pod.index));
            let all = made.len();
            made.sort_unstable();
            made.dedup();
            prop_assert!(plan.create.is_empty() || made.len() == all);
        }
        // Nothing loses its finalizer that is neither noted nor of an index that is done, unless it does not count.
        let account = accounted(&job, &pods, 1_000_000);
        let noted = account.status.uncounted_terminated_pods.clone().unwrap();
        let noted: Vec<_> = noted.succeeded.into_iter().chain(noted.failed).flatten().collect();
        for freed in &account.untrack {
            let pod = observed.pods.iter().find(|pod| Arc::ptr_eq(&pod.member.entry, freed)).unwrap();
            let by_index = with_index && (pod.succeeded() || !pod.is_valid(observed.wanted.indexes()));
            // One that still ran when the Job succeeded counts as neither.
            let neither = !pod.succeeded() && !pod.failed;
            prop_assert!(neither || by_index || noted.iter().any(|uid| *uid == *pod.uid()), "{} is lost", pod.uid());
        }
    }
}
