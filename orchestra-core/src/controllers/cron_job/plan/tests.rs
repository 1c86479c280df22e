use k8s_openapi::api::batch::v1::CronJob;
use serde_json::{Value, json};

use super::{Child, Observed, job_name, plan};
use crate::controllers::testing::{at, entry, over, text};

/// A CronJob of every minute, created at the beginning of time.
fn cron(change: &Value) -> CronJob {
    let cron = json!({
        "metadata": {"name": "c", "namespace": "default", "creationTimestamp": text(0)},
        "spec": {
            "schedule": "* * * * *", "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
            "jobTemplate": {"spec": {"template": {}}},
        },
    });
    serde_json::from_value(over(cron, change)).unwrap()
}

fn job(name: &str, started: i64, ended: Option<&str>) -> Child {
    let conditions: Vec<_> = ended.into_iter().map(|kind| json!({"type": kind, "status": "True"})).collect();
    let status =
        json!({"startTime": text(started), "completionTime": text(started + 5), "conditions": conditions});
    let entry = entry(&json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"template": {}}, "status": status,
    }));
    Child { job: entry.view().unwrap(), entry }
}

fn active(name: &str) -> Value {
    json!({"status": {"active": [{"name": name, "uid": name}]}})
}

fn decided(cron: &CronJob, jobs: Vec<Child>, gone: &[&str], now: i64) -> super::Plan {
    let gone = gone.iter().map(|uid| (*uid).to_owned()).collect();
    plan(&Observed { name: "c", cron, jobs, gone, now: at(now) })
}

fn planned(change: &Value, jobs: Vec<Child>, now: i64) -> String {
    decided(&cron(change), jobs, &[], now).to_string()
}

#[test]
fn a_job_is_started_at_each_time() {
    let zone = json!({"spec": {"schedule": "0 1 * * *", "timeZone": "Europe/Vienna"}});
    for (change, now, expected) in [
        (json!({}), 30, "again in 30.1s\n".to_owned()),
        (json!({}), 60, format!("start {}\nagain in 60.1s\n", at(60))),
        (json!({}), 200, format!("start {}\nagain in 40.1s\n", at(180))),
        (json!({"status": {"lastScheduleTime": text(60)}}), 70, "again in 50.1s\n".to_owned()),
        (json!({}), 60 * 200, format!("TooManyMissedTimes\nstart {}\nagain in 60.1s\n", at(60 * 200))),
        (
            json!({"spec": {"startingDeadlineSeconds": 90}}),
            60 * 200 + 5,
            format!("start {}\nagain in 55.1s\n", at(60 * 200)),
        ),
        (json!({"spec": {"startingDeadlineSeconds": 10}}), 60 + 20, "again in 40.1s\n".to_owned()),
        (json!({"spec": {"suspend": true}}), 60, String::new()),
        (json!({"metadata": {"deletionTimestamp": text(0)}}), 60, String::new()),
        (json!({"spec": {"schedule": "every day"}}), 60, "UnparseableSchedule\n".to_owned()),
        (json!({"spec": {"timeZone": "Nowhere/At_All"}}), 60, "UnknownTimeZone\n".to_owned()),
        // One in Vienna is midnight here; and nobody sleeps for a day, as the clock may be set.
        (zone, 86_400, format!("start {}\nagain in 600s\n", at(86_400))),
        // A clock that was set back.
        (json!({"status": {"lastScheduleTime": text(86_400)}}), 60, "again in 600s\n".to_owned()),
    ] {
        assert_eq!(planned(&change, vec![], now), expected, "{change} {now}");
    }
}

#[test]
fn jobs_that_still_run_are_let_be_waited_for_or_replaced() {
    let policy = |policy: &str| over(active("c-1"), &json!({"spec": {"concurrencyPolicy": policy}}));
    let running = || vec![job("c-1", 0, None)];
    let start = format!("start {}\nagain in 60.1s\n", at(60));
    assert_eq!(planned(&policy("Allow"), running(), 60), start);
    assert_eq!(planned(&policy("Forbid"), running(), 60), "JobAlreadyActive\nagain in 60.1s\n");
    assert_eq!(planned(&policy("Replace"), running(), 60), format!("delete c-1\n{start}"));
    let same = job_name("c", at(60));
    assert_eq!(planned(&active(&same), vec![job(&same, 60, None)], 60), "again in 60.1s\n");
}

#[test]
fn jobs_that_ended_or_are_gone_are_noted_and_the_oldest_go() {
    let jobs = ["c-1", "c-2", "c-3"].into_iter().zip([10, 20, 30]);
    let done = jobs.map(|(name, started)| job(name, started, Some("Complete"))).collect();
    let plan = decided(&cron(&active("c-3")), done, &[], 40);
    assert_eq!(plan.to_string(), "delete c-1\ndelete c-2\nSawCompletedJob\nagain in 20.1s\n");
    assert_eq!(json!(plan.status), json!({"lastSuccessfulTime": text(35)}));
    let failed = vec![job("c-1", 10, Some("Failed")), job("c-2", 20, Some("Complete"))];
    assert_eq!(planned(&json!({}), failed, 40), "again in 20.1s\n");
    assert_eq!(planned(&json!({}), vec![job("c-1", 10, None)], 40), "UnexpectedJob\nagain in 20.1s\n");
    let missing = decided(&cron(&active("c-9")), vec![], &["c-9"], 40);
    assert_eq!(
        (missing.to_string(), missing.status.active),
        ("MissingJob\nagain in 20.1s\n".to_owned(), None)
    );
}
