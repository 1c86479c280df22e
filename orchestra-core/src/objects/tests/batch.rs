//! Jobs and CronJobs.

use serde_json::{Value, json};

use super::{change, faults, merge, printed, refused, refused_changes, row, status_faults, stored};

fn template() -> Value {
    json!({
        "metadata": { "labels": { "app": "x" } },
        "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "nginx:1" }] },
    })
}

fn job(fields: Value) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": "j", "namespace": "default", "uid": "u" },
        "spec": { "template": template() },
    });
    merge(&mut job["spec"], fields);
    job
}

fn indexed(fields: Value) -> Value {
    let mut job = job(json!({ "completionMode": "Indexed", "completions": 5, "parallelism": 2 }));
    merge(&mut job["spec"], fields);
    job
}

fn cron_job(fields: Value) -> Value {
    let mut object = json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": { "name": "c", "namespace": "default" },
        "spec": { "schedule": "*/5 * * * *", "jobTemplate": { "spec": { "template": template() } } },
    });
    merge(&mut object["spec"], fields);
    object
}

#[test]
fn a_job_gets_a_selector_of_its_own() {
    let object = stored(&job(json!({})));
    let labels = json!({
        "app": "x",
        "batch.kubernetes.io/controller-uid": "u",
        "batch.kubernetes.io/job-name": "j",
        "controller-uid": "u",
        "job-name": "j",
    });
    assert_eq!(object["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(object["metadata"]["labels"], labels, "it had none, and shares those of the template");
    assert_eq!(
        object["spec"]["selector"],
        json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": "u" } })
    );
    let spec = &object["spec"];
    for (field, value) in [
        ("parallelism", json!(1)),
        ("completions", json!(1)),
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("manualSelector", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
    ] {
        assert_eq!(spec[field], value, "{field}");
    }
    assert!(
        stored(&job(json!({ "parallelism": 3 })))["spec"].get("completions").is_none(),
        "a queue of work"
    );
    let by_index = stored(&indexed(json!({ "backoffLimitPerIndex": 1 })));
    assert_eq!(by_index["spec"]["backoffLimit"], i32::MAX);
    let manual = json!({ "manualSelector": true, "selector": { "matchLabels": { "app": "x" } } });
    let manual = stored(&job(manual));
    assert_eq!(manual["spec"]["template"]["metadata"]["labels"], json!({ "app": "x" }));
}

#[test]
fn jobs_are_refused() {
    let rule = |fields: Value| job(json!({ "podFailurePolicy": { "rules": [fields] } }));
    let success = |fields: Value| indexed(json!({ "successPolicy": { "rules": [fields] } }));
    let mut foreign = job(json!({}));
    foreign["spec"]["template"]["metadata"]["labels"]["job-name"] = json!("other");
    let mut always = job(json!({}));
    always["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
    let mut long = indexed(json!({ "completions": 10 }));
    long["metadata"]["name"] = json!("j".repeat(62));
    refused([
        (job(json!({})), vec![]),
        (
            foreign,
            vec![
                "spec.template.metadata.labels[job-name]: Invalid value: \
                 {\"app\":\"x\",\"batch.kubernetes.io/controller-uid\":\"u\",\"batch.kubernetes.io/job-name\":\"j\",\
                 \"controller-uid\":\"u\",\"job-name\":\"other\"}: must be 'j'",
            ],
        ),
        (
            always,
            vec!["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
        ),
        (
            job(json!({ "selector": { "matchLabels": { "app": "y" } } })),
            vec![
                "spec.selector: Invalid value: \
                 {\"matchLabels\":{\"app\":\"y\",\"batch.kubernetes.io/controller-uid\":\"u\"}}: `selector` not \
                 auto-generated",
                "spec.template.metadata.labels: Invalid value: \
                 {\"app\":\"x\",\"batch.kubernetes.io/controller-uid\":\"u\",\"batch.kubernetes.io/job-name\":\"j\",\
                 \"controller-uid\":\"u\",\"job-name\":\"j\"}: `selector` does not match template `labels`",
            ],
        ),
        (
            rule(json!({})),
            vec![
                "spec.podFailurePolicy.rules[0].action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \
                 \"Ignore\"]",
                "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            ],
        ),
        (
            rule(
                json!({ "action": "FailIndex", "onExitCodes": { "operator": "In", "values": [0, 2, 1, 2], "containerName": "d" } }),
            ),
            vec![
                "spec.podFailurePolicy.rules[0].action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be \
                 set",
                "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: \"d\": must be one of the container \
                 or initContainer names in the pod template",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[3]: Duplicate value: 2",
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [0,2,1,2]: must be ordered",
            ],
        ),
        (
            job(
                json!({ "successPolicy": { "rules": [{ "succeededCount": 1 }] }, "backoffLimitPerIndex": 1 }),
            ),
            vec![
                "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
                "spec.successPolicy: Invalid value: {\"Rules\":[{\"SucceededIndexes\":null,\"SucceededCount\":1}]}: requires \
                 indexed completion mode",
            ],
        ),
        (
            success(json!({ "succeededCount": 6, "succeededIndexes": "0-1" })),
            vec![
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of \
                 specified completions)",
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 6: must be less than or equal to 2 (the number of \
                 indexes in the specified succeededIndexes field)",
            ],
        ),
        (
            success(json!({ "succeededIndexes": "7" })),
            vec![
                "spec.successPolicy.rules[0].succeededIndexes: Invalid value: \"7\": error parsing succeededIndexes: too large \
                 index: \"7\"",
            ],
        ),
        (
            indexed(json!({ "maxFailedIndexes": 6, "managedBy": "me" })),
            vec![
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
                "spec.managedBy: Invalid value: \"me\": must be a domain-prefixed path (such as \"acme.io/foo\")",
                "spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions",
            ],
        ),
    ]);
    let found = faults(&long);
    assert!(found.len() == 1 && found[0].contains("will not able to create pod with invalid DNS label: jjj"));
}

#[test]
fn of_a_job_that_may_run_little_changes() {
    let immutable = |path: &str, value: &str| format!("{path}: Invalid value: {value}: field is immutable");
    let old = stored(&indexed(json!({ "backoffLimitPerIndex": 1 })));
    let backoff = immutable("spec.backoffLimitPerIndex", "2");
    refused_changes(
        &old,
        [
            ("/spec/parallelism", json!(7), vec![]),
            ("/spec/suspend", json!(true), vec![]),
            ("/spec/backoffLimitPerIndex", json!(2), vec![&*backoff]),
            (
                "/spec/completions",
                json!(6),
                vec![
                    "spec.completions: Invalid value: 6: can only be modified in tandem with spec.parallelism",
                ],
            ),
        ],
    );
    let mut image = old.clone();
    image["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
    let (_, found) = change(&image, &old);
    assert!(found.len() == 1 && found[0].starts_with("spec.template: Invalid value: "), "{found:?}");
    // Suspended and without pods, it may yet go elsewhere and be given more, and no more than that.
    let suspended = stored(&job(json!({ "suspend": true })));
    let mut moved = suspended.clone();
    let spec = &mut moved["spec"]["template"]["spec"];
    spec["nodeSelector"] = json!({ "disk": "ssd" });
    spec["affinity"] = json!({ "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 1, "preference": { "matchExpressions": [{ "key": "a", "operator": "Exists" }] } }] } });
    spec["containers"][0]["resources"] = json!({ "requests": { "cpu": "1" } });
    moved["spec"]["template"]["metadata"]["labels"]["b"] = json!("c");
    assert_eq!(change(&moved, &suspended).1, Vec::<String>::new());
    moved["spec"]["template"]["spec"]["schedulerName"] = json!("mine");
    let (_, found) = change(&moved, &suspended);
    assert!(found.len() == 1 && found[0].starts_with("spec.template.spec: Invalid value: "), "{found:?}");
    let mut running = suspended;
    running["status"]["active"] = json!(1);
    assert_eq!(change(&moved, &running).1.len(), 1);
}

#[test]
fn a_status_of_a_job_goes_forward() {
    let object = stored(&indexed(json!({ "backoffLimitPerIndex": 1 })));
    let is = |condition: &str| json!({ "type": condition, "status": "True" });
    let done = json!({ "startTime": "2024-01-01T00:00:00Z", "completionTime": "2024-01-01T00:01:00Z", "succeeded": 5,
        "completedIndexes": "0-4", "conditions": [is("SuccessCriteriaMet"), is("Complete")] });
    let cases = [
        (json!({}), done.clone(), vec![]),
        (
            json!({}),
            json!({ "conditions": [is("Complete")], "active": 1 }),
            vec![
                "status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true \
                 condition",
                "status.active: Invalid value: 1: active>0 is invalid for finished job",
                "status.completionTime: Required value: completionTime is required for Complete jobs",
                "status.startTime: Required value: startTime is required for finished job",
            ],
        ),
        (
            done.clone(),
            json!({ "startTime": "2024-01-01T00:00:00Z", "succeeded": 4, "completedIndexes": "0-4" }),
            vec![
                "status.succeeded: Invalid value: 4: cannot decrease the succeeded counter",
                "status.conditions: Invalid value: cannot disable the terminal Complete=True condition",
                "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
            ],
        ),
        (
            json!({ "completedIndexes": "0" }),
            json!({ "completedIndexes": "0-2", "failedIndexes": "2,9", "ready": 1 }),
            vec![
                "status.ready: Invalid value: 1: cannot set more ready pods than active",
                "status.failedIndexes: Invalid value: \"2,9\": error parsing failedIndexes: too large index: \"9\"",
                "status.failedIndexes: Invalid value: \"2,9\": failedIndexes and completedIndexes overlap at index: 2",
            ],
        ),
        // What is wrong already stops nobody.
        (json!({ "completedIndexes": "9" }), json!({ "completedIndexes": "9", "failed": 1 }), vec![]),
        (
            json!({ "startTime": "2024-01-01T00:00:00Z" }),
            json!({ "startTime": "2024-01-02T00:00:00Z" }),
            vec![
                "status.startTime: Invalid value: \"2024-01-02T00:00:00Z\": field is immutable for unsuspended job once set",
            ],
        ),
        (
            json!({}),
            json!({ "uncountedTerminatedPods": { "succeeded": ["a", ""], "failed": ["a"] } }),
            vec![
                "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
                "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
            ],
        ),
    ];
    for (old, new, wanted) in cases {
        assert_eq!(status_faults(&object, old, new.clone()), wanted, "{new}");
    }
}

#[test]
fn cron_jobs_are_defaulted_and_refused() {
    let object = stored(&cron_job(json!({})));
    for (field, value) in [
        ("concurrencyPolicy", json!("Allow")),
        ("suspend", json!(false)),
        ("successfulJobsHistoryLimit", json!(3)),
        ("failedJobsHistoryLimit", json!(1)),
    ] {
        assert_eq!(object["spec"][field], value, "{field}");
    }
    assert_eq!(object["spec"]["jobTemplate"]["metadata"], json!({}));
    assert!(
        object["spec"]["jobTemplate"]["spec"].get("parallelism").is_none(),
        "a Job is filled in when it is made"
    );
    let long = {
        let mut object = cron_job(json!({}));
        object["metadata"]["name"] = json!("c".repeat(53));
        object
    };
    let too_long =
        format!("metadata.name: Invalid value: {:?}: must be no more than 52 characters", "c".repeat(53));
    refused([
        (cron_job(json!({ "timeZone": "Europe/Vienna" })), vec![]),
        (cron_job(json!({ "schedule": "" })), vec!["spec.schedule: Required value"]),
        (
            cron_job(json!({ "schedule": "TZ=UTC 0 0 * * *" })),
            vec![
                "spec.schedule: Invalid value: \"TZ=UTC 0 0 * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field \
                 instead",
            ],
        ),
        (
            cron_job(json!({ "timeZone": "Europe/Viennax", "concurrencyPolicy": "x" })),
            vec![
                "spec.concurrencyPolicy: Unsupported value: \"x\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
                "spec.timeZone: Invalid value: \"Europe/Viennax\": unknown time zone Europe/Viennax",
            ],
        ),
        (long, vec![&*too_long]),
    ]);
    let mut selecting = cron_job(json!({}));
    selecting["spec"]["jobTemplate"]["spec"]["manualSelector"] = json!(true);
    refused([(
        selecting,
        vec![
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
        ],
    )]);
    let unknown = "spec.timeZone: Invalid value: \"Nowhere\": unknown time zone Nowhere";
    let old = stored(&cron_job(json!({ "timeZone": "UTC" })));
    refused_changes(&old, [("/spec/timeZone", json!("Nowhere"), vec![unknown])]);
}

#[test]
fn rows() {
    let mut running = stored(&job(json!({})));
    running["status"] = json!({ "startTime": "2024-01-01T00:00:20Z", "active": 1 });
    let selector = "batch.kubernetes.io/controller-uid=u";
    assert_eq!(printed(&running), json!(["j", "Running", "0/1", "40s", "60s", "c", "nginx:1", selector]));
    let mut done = stored(&job(json!({ "completions": Value::Null, "parallelism": 3 })));
    done["status"] = json!({ "startTime": "2024-01-01T00:00:20Z", "completionTime": "2024-01-01T00:00:50Z",
        "succeeded": 2, "conditions": [{ "type": "Complete", "status": "True" }] });
    assert_eq!(printed(&done), json!(["j", "Complete", "2/1 of 3", "30s", "60s", "c", "nginx:1", selector]));
    let mut cron = stored(&cron_job(json!({ "suspend": true })));
    cron["status"] = json!({ "active": [{ "name": "a" }], "lastScheduleTime": "2024-01-01T00:00:55Z" });
    assert_eq!(
        printed(&cron),
        json!(["c", "*/5 * * * *", "<none>", "True", 1, "5s", "60s", "c", "nginx:1", "<none>"])
    );
    assert_eq!(row(&cron).short_names.first().map(|name| &**name), Some("cj"));
}
