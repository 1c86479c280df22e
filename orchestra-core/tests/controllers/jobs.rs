//! Jobs.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use orchestra_core::api::{DeleteOptions, Propagation};
use serde_json::{Value, json};

use crate::cluster::Cluster;

fn job(name: &str, image: &str, mut spec: Value) -> Value {
    spec["template"] = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]},
    });
    json!({"metadata": {"name": name}, "spec": spec})
}

fn has(job: &Value, condition: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|held| held["type"] == condition && held["status"] == "True")
}

async fn until_over(cluster: &Cluster, name: &str, condition: &str) -> Value {
    cluster.until_object::<Job>(name, &format!("is {condition}"), |job| has(job, condition)).await
}

async fn pods(cluster: &Cluster, name: &str) -> Vec<Pod> {
    let mut pods = cluster.api::<Pod>().list().await.unwrap();
    pods.retain(|pod| pod.metadata.labels.iter().flatten().any(|(key, value)| key == "app" && value == name));
    pods
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.ends("well", 0);
    cluster.ends("badly", 1);
    cluster
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_until_enough_pods_have_succeeded() {
    let cluster = cluster().await;
    cluster.create::<Job>(job("j", "well", json!({"completions": 5, "parallelism": 2}))).await;
    let done = until_over(&cluster, "j", "Complete").await;
    let status = &done["status"];
    let conditions: Vec<_> =
        status["conditions"].as_array().unwrap().iter().map(|it| (&it["type"], &it["reason"])).collect();
    let reason = json!("CompletionsReached");
    assert_eq!(conditions, [(&json!("SuccessCriteriaMet"), &reason), (&json!("Complete"), &reason)]);
    assert_eq!(
        [
            &status["succeeded"],
            &status["active"],
            &status["ready"],
            &status["terminating"],
            &status["uncountedTerminatedPods"]
        ],
        [&json!(5), &Value::Null, &json!(0), &json!(0), &json!({})]
    );
    assert!(status["completionTime"].is_string() && status["startTime"].is_string());
    let pods = pods(&cluster, "j").await;
    assert_eq!(pods.len(), 5);
    assert!(pods.iter().all(|pod| pod.metadata.finalizers.as_ref().is_none_or(Vec::is_empty)));
    let events = cluster.events("j").await;
    assert_eq!(events.iter().filter(|(reason, _)| reason == "SuccessfulCreate").count(), 5);
    assert!(events.contains(&("Completed".to_owned(), "Job completed".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_is_tried_again_more_and_more_slowly_and_then_given_up() {
    let cluster = cluster().await;
    let begun = tokio::time::Instant::now();
    cluster.create::<Job>(job("j", "badly", json!({"backoffLimit": 2}))).await;
    let failed = until_over(&cluster, "j", "Failed").await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(28) && took < Duration::from_secs(60), "{took:?}");
    assert_eq!(failed["status"]["failed"], 3);
    assert_eq!(pods(&cluster, "j").await.len(), 3);
    let message = "Job has reached the specified backoff limit".to_owned();
    assert!(cluster.events("j").await.contains(&("BackoffLimitExceeded".to_owned(), message)));
}

#[tokio::test(start_paused = true)]
async fn each_index_is_done_once() {
    let cluster = cluster().await;
    cluster
        .create::<Job>(job(
            "j",
            "well",
            json!({"completions": 4, "parallelism": 3, "completionMode": "Indexed"}),
        ))
        .await;
    let done = until_over(&cluster, "j", "Complete").await;
    assert_eq!(
        (&done["status"]["completedIndexes"], &done["status"]["succeeded"]),
        (&json!("0-3"), &json!(4))
    );
    let pods = pods(&cluster, "j").await;
    let mut hosts: Vec<_> = pods.iter().filter_map(|pod| pod.spec.as_ref()?.hostname.clone()).collect();
    hosts.sort();
    assert_eq!(hosts, ["j-0", "j-1", "j-2", "j-3"]);
    for pod in &pods {
        let name = pod.metadata.name.as_ref().unwrap();
        let index = &pod.metadata.annotations.as_ref().unwrap()["batch.kubernetes.io/job-completion-index"];
        assert!(name.starts_with(&format!("j-{index}-")), "{name} {index}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_keeps_failing_fails_alone() {
    let cluster = cluster().await;
    let spec = json!({
        "completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 1,
    });
    cluster.create::<Job>(job("j", "badly", spec)).await;
    let failed = until_over(&cluster, "j", "Failed").await;
    assert_eq!((&failed["status"]["failedIndexes"], &failed["status"]["failed"]), (&json!("0,1"), &json!(4)));
    assert_eq!(failed["status"]["conditions"][0]["reason"], "FailedIndexes");
}

#[tokio::test(start_paused = true)]
async fn a_suspended_job_has_no_pods_and_goes_on_when_it_is_resumed() {
    let cluster = cluster().await;
    cluster.create::<Job>(job("j", "serves", json!({"completions": 2, "parallelism": 2}))).await;
    cluster.until_pods("app=j", 2).await;
    cluster.patch::<Job>("j", json!({"spec": {"suspend": true}})).await;
    let suspended = until_over(&cluster, "j", "Suspended").await;
    assert!(suspended["status"]["startTime"].is_null(), "{suspended}");
    cluster.until_pods("app=j", 0).await;
    cluster.patch::<Job>("j", json!({"spec": {"suspend": false}})).await;
    cluster.until_pods("app=j", 2).await;
    let resumed = cluster.until_object::<Job>("j", "is resumed", |job| job["status"]["active"] == 2).await;
    assert!(!has(&resumed, "Suspended") && resumed["status"]["startTime"].is_string());
    // What was deleted because of that has not failed.
    assert!(resumed["status"]["failed"].is_null());
}

#[tokio::test(start_paused = true)]
async fn nothing_keeps_the_pods_of_a_job_that_is_gone() {
    let cluster = cluster().await;
    for (name, propagation) in [("one", Propagation::Background), ("two", Propagation::Orphan)] {
        cluster.create::<Job>(job(name, "serves", json!({"completions": 2, "parallelism": 2}))).await;
        cluster.until_pods(&format!("app={name}"), 2).await;
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        cluster.api::<Job>().delete_with(name, options).await.unwrap();
    }
    cluster.until("the pods are gone", async || pods(&cluster, "one").await.is_empty().then_some(())).await;
    cluster
        .until("the orphans are free", async || {
            let pods = pods(&cluster, "two").await;
            let free = |pod: &Pod| pod.metadata.finalizers.as_ref().is_none_or(Vec::is_empty);
            (pods.len() == 2 && pods.iter().all(free)).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_ended_is_kept_for_as_long_as_it_asks_for() {
    let cluster = cluster().await;
    cluster.create::<Job>(job("j", "well", json!({"ttlSecondsAfterFinished": 100}))).await;
    until_over(&cluster, "j", "Complete").await;
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(cluster.api::<Job>().find("j").await.unwrap().is_some());
    cluster.until_object::<Job>("j", "is gone", Value::is_null).await;
    cluster.until("its pods are gone", async || pods(&cluster, "j").await.is_empty().then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_is_stopped_at_any_time_counts_each_pod_once() {
    let cluster = cluster().await;
    cluster.create::<Job>(job("j", "well", json!({"completions": 40, "parallelism": 7}))).await;
    for round in 0..12 {
        tokio::time::sleep(Duration::from_millis(130 * round)).await;
        cluster.stop_controllers().await;
        cluster.start_controllers();
    }
    let done = until_over(&cluster, "j", "Complete").await;
    assert_eq!((&done["status"]["succeeded"], &done["status"]["failed"]), (&json!(40), &Value::Null));
    assert_eq!(pods(&cluster, "j").await.len(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_large_job_does_not_run_hot() {
    let cluster = cluster().await;
    cluster.create::<Job>(job("j", "well", json!({"completions": 1000, "parallelism": 250}))).await;
    let done = until_over(&cluster, "j", "Complete").await;
    assert_eq!(done["status"]["succeeded"], 1000);
    assert_eq!(pods(&cluster, "j").await.len(), 1000);
    let runs = cluster.runs("job-controller");
    assert!(runs < 60, "{runs} runs for 1000 pods");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(cluster.runs("job-controller") - runs < 10);
}

#[tokio::test(start_paused = true)]
async fn a_job_of_more_pods_than_a_run_makes_waits_for_nothing_between_runs() {
    let cluster = cluster().await;
    let began = tokio::time::Instant::now();
    cluster.create::<Job>(job("j", "well", json!({"completions": 2000, "parallelism": 2000}))).await;
    let are_there = async || (pods(&cluster, "j").await.len() == 2000).then_some(());
    cluster.until("its pods are there", are_there).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?} for what four runs make");
    assert_eq!(until_over(&cluster, "j", "Complete").await["status"]["succeeded"], 2000);
}

#[tokio::test(start_paused = true)]
async fn two_jobs_with_one_selector_leave_each_other_their_pods() {
    let cluster = cluster().await;
    for name in ["one", "two"] {
        let spec = json!({
            "completions": 3, "parallelism": 3, "manualSelector": true,
            "selector": {"matchLabels": {"app": "both"}},
        });
        let mut job = job(name, "serves", spec);
        job["spec"]["template"]["metadata"]["labels"]["app"] = "both".into();
        cluster.create::<Job>(job).await;
    }
    cluster.until_pods("app=both", 6).await;
    let runs = cluster.runs("job-controller");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(cluster.pods("app=both").await.len(), 6);
    assert!(cluster.runs("job-controller") - runs < 20);
}
