//! CronJobs.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn cron(schedule: &str, image: &str, change: &Value) -> Value {
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]});
    let mut spec = json!({
        "schedule": schedule,
        "jobTemplate": {"metadata": {"labels": {"of": "c"}}, "spec": {"template": {"spec": pod}}},
    });
    for (field, value) in change.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({"metadata": {"name": "c"}, "spec": spec})
}

async fn jobs(cluster: &Cluster) -> Vec<Job> {
    cluster.api::<Job>().list().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_job_is_started_at_each_time_and_the_last_ones_are_kept() {
    let cluster = Cluster::start().await;
    cluster.ends("well", 0);
    cluster.create::<CronJob>(cron("*/10 * * * *", "well", &json!({"successfulJobsHistoryLimit": 2}))).await;
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    let cron =
        cluster.until_object::<CronJob>("c", "is idle", |cron| cron["status"]["active"].is_null()).await;
    assert!(
        cron["status"]["lastScheduleTime"].is_string() && cron["status"]["lastSuccessfulTime"].is_string()
    );
    let jobs = jobs(&cluster).await;
    assert_eq!(jobs.len(), 2);
    for job in &jobs {
        let annotations = job.metadata.annotations.as_ref().unwrap();
        let time: jiff::Timestamp =
            annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"].parse().unwrap();
        assert_eq!(job.metadata.name.as_deref(), Some(&*format!("c-{}", time.as_second() / 60)));
        assert_eq!((time.as_second() / 60) % 10, 0);
        assert_eq!(job.metadata.labels.as_ref().unwrap()["of"], "c");
    }
    let events = cluster.events("c").await;
    for reason in ["SuccessfulCreate", "SawCompletedJob", "SuccessfulDelete"] {
        assert!(events.iter().any(|(held, _)| held == reason), "{reason}: {events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_of_minutes_with_a_job_that_does_not_end_is_one_job_and_little_work() {
    let cluster = Cluster::start().await;
    cluster.create::<CronJob>(cron("* * * * *", "serves", &json!({"concurrencyPolicy": "Forbid"}))).await;
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(jobs(&cluster).await.len(), 1);
    let runs = cluster.runs("cronjob-controller");
    assert!((24 * 60..24 * 60 + 60).contains(&runs), "{runs} runs");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_replaced_goes() {
    let cluster = Cluster::start().await;
    cluster.create::<CronJob>(cron("* * * * *", "serves", &json!({"concurrencyPolicy": "Replace"}))).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let jobs = jobs(&cluster).await;
    let staying: Vec<_> = jobs.iter().filter(|job| job.metadata.deletion_timestamp.is_none()).collect();
    assert_eq!(staying.len(), 1, "{jobs:?}");
}

#[tokio::test(start_paused = true)]
async fn the_times_that_nobody_saw_lead_to_one_job() {
    let cluster = Cluster::start().await;
    cluster.create::<CronJob>(cron("* * * * *", "serves", &json!({}))).await;
    cluster.stop_controllers().await;
    tokio::time::sleep(Duration::from_secs(2 * 3600)).await;
    cluster.start_controllers();
    cluster.until("a job is started", async || (jobs(&cluster).await.len() == 1).then_some(())).await;
    let events = cluster.events("c").await;
    assert!(events.iter().any(|(reason, _)| reason == "TooManyMissedTimes"), "{events:?}");
}
