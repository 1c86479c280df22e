//! Small clusters with one thing wrong, and what is told of it.

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";
const LONG_AGO: &str = "2026-01-01T00:00:00Z";

/// Facts of objects, each given with the plural of its kind.
fn facts(objects: &[(&str, Value)]) -> Facts {
    let mut facts = Facts::new(NOW.parse().unwrap());
    for (resource, object) in objects {
        facts.add(resource, object.clone()).unwrap();
    }
    facts
}

/// What is wrong, as text: the summary, and each step with where it is known from.
fn told(objects: &[(&str, Value)]) -> String {
    wrong(&facts(objects)).iter().map(text).collect()
}

fn text(story: &Story) -> String {
    let mut text = format!("{:?}: {}\n", story.severity, story.summary);
    for step in &story.steps {
        text.push_str(&format!("  {} {}\n", step.about, step.says));
        for evidence in &step.evidence {
            text.push_str(&format!("    {} = {}\n", evidence.from, evidence.says));
        }
        for advice in &step.advice {
            text.push_str(&format!("    > {advice}\n"));
        }
    }
    for about in &story.affects {
        text.push_str(&format!("  affects {about}\n"));
    }
    text
}

fn node(name: &str, ready: &str) -> (&'static str, Value) {
    let conditions = json!([{"type": "Ready", "status": ready, "reason": "R", "message": "m"}]);
    let allocatable = json!({"cpu": "2", "memory": "4Gi", "pods": "10"});
    (
        "nodes",
        json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": LONG_AGO},
            "status": {"conditions": conditions, "allocatable": allocatable},
        }),
    )
}

/// A pod of an owner, with a status; on the node `a`.
fn pod(name: &str, owner: Option<(&str, &str)>, status: Value) -> (&'static str, Value) {
    let owners: Vec<Value> = owner
        .map(|(kind, name)| json!({"kind": kind, "name": name, "uid": name, "controller": true, "apiVersion": "x"}))
        .into_iter()
        .collect();
    (
        "pods",
        json!({
            "metadata": {
                "name": name, "namespace": "default", "uid": name, "labels": {"app": "web", "tier": "front"},
                "ownerReferences": owners, "creationTimestamp": LONG_AGO,
            },
            "spec": {
                "nodeName": "a",
                "containers": [{"name": "c", "image": "web:1", "resources": {"limits": {"memory": "64Mi"}}}],
            },
            "status": status,
        }),
    )
}

fn ready() -> Value {
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
        {"name": "c", "ready": true, "state": {"running": {"startedAt": LONG_AGO}}},
    ]})
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"phase": "Pending", "containerStatuses": [
        {"name": "c", "ready": false, "state": {"waiting": {"reason": reason, "message": message}}},
    ]})
}

fn crashing(code: i64, reason: &str, message: &str) -> Value {
    json!({"phase": "Running", "containerStatuses": [{
        "name": "c", "ready": false, "restartCount": 7, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": NOW}},
    }]})
}

fn deployment(available: i64) -> [(&'static str, Value); 2] {
    let owner =
        json!([{"kind": "Deployment", "name": "web", "uid": "web", "controller": true, "apiVersion": "x"}]);
    let named = |name: &str, owners: Value| {
        json!({
            "name": name, "namespace": "default", "uid": name, "ownerReferences": owners, "creationTimestamp": LONG_AGO,
            "annotations": {"deployment.kubernetes.io/revision": "1"},
        })
    };
    let status = json!({"availableReplicas": available});
    [
        (
            "deployments",
            json!({"metadata": named("web", json!([])), "spec": {"replicas": 3}, "status": status}),
        ),
        (
            "replicasets",
            json!({"metadata": named("web-1", owner), "spec": {"replicas": 3}, "status": status}),
        ),
    ]
}

fn service(selector: Value) -> (&'static str, Value) {
    (
        "services",
        json!({
            "metadata": {"name": "front", "namespace": "default", "uid": "front", "creationTimestamp": LONG_AGO},
            "spec": {"selector": selector, "ports": [{"port": 80, "targetPort": "http"}]},
        }),
    )
}

fn warning(uid: &str, reason: &str, message: &str) -> (&'static str, Value) {
    (
        "events",
        json!({
            "metadata": {"name": format!("{uid}.1"), "namespace": "default", "uid": format!("event-{uid}")},
            "involvedObject": {"uid": uid}, "type": "Warning", "reason": reason, "message": message,
            "lastTimestamp": NOW,
        }),
    )
}

#[test]
fn nothing_is_wrong_with_what_serves() {
    let [deployment, set] = deployment(3);
    let mut all = vec![node("a", "True"), deployment, set];
    all.extend((0..3).map(|n| pod(&format!("web-1-{n}"), Some(("ReplicaSet", "web-1")), ready())));
    assert_eq!(told(&all), "");
    assert_eq!(explain(&facts(&all), &About::new("apps", "deployments", "default", "web")), None);
    assert_eq!(explain(&facts(&all), &About::new("apps", "deployments", "default", "other")), None);
}

#[test]
fn a_deployment_without_pods_leads_to_the_quota() {
    let [deployment, mut set] = deployment(0);
    let message = "pods \"web-1-x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2";
    set.1["status"]["conditions"] =
        json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]);
    let expected = format!(
        "\
Critical: Deployment web has none of its 3 pods available: ReplicaSet web-1 may not make its pods.
  Deployment web has none of its 3 pods available
  ReplicaSet web-1 may not make its pods
    status.conditions[ReplicaFailure] = {message}
    > raise the quota of the namespace, or ask for less
"
    );
    assert_eq!(told(&[deployment, set]), expected);
}

#[test]
fn a_refusal_of_pods_that_are_there_by_now_is_over() {
    let [deployment, set] = deployment(3);
    let mut all = vec![node("a", "True"), deployment, set];
    all.push(warning(
        "web-1",
        "FailedCreate",
        "Error creating: pods \"web-1-2\" is forbidden: exceeded quota: few",
    ));
    all.extend((0..2).map(|n| pod(&format!("web-1-{n}"), Some(("ReplicaSet", "web-1")), ready())));
    let about = About::new("apps", "deployments", "default", "web");
    assert!(explain(&facts(&all), &about).is_some(), "two of three are there");
    all.push(pod("web-1-2", Some(("ReplicaSet", "web-1")), ready()));
    assert_eq!(explain(&facts(&all), &about), None);
}

#[test]
fn an_image_that_cannot_be_had_is_told_once_for_all_that_suffer_by_it() {
    let [deployment, set] = deployment(0);
    let owner = Some(("ReplicaSet", "web-1"));
    let backing_off = || waiting("ImagePullBackOff", "Back-off pulling image \"web:1\"");
    let all = [
        deployment,
        set,
        pod("web-1-a", owner, backing_off()),
        pod("web-1-b", owner, backing_off()),
        warning("web-1-a", "Failed", "Failed to pull image \"web:1\": manifest unknown"),
        service(json!({"app": "web"})),
    ];
    let expected = "\
Critical: Deployment web has none of its 3 pods available: pod web-1-a cannot get its image web:1, and 1 more likewise.
  Deployment web has none of its 3 pods available
  Pod web-1-a cannot get its image web:1, and 1 more likewise
    status.containerStatuses = Back-off pulling image \"web:1\"
    event Failed = Failed to pull image \"web:1\": manifest unknown
    > see that the image and its tag are spelled as the registry has them
    > for a private registry, name a secret in imagePullSecrets
  affects Service front
";
    assert_eq!(told(&all), expected);
    // Asked for by itself, the service has a story of its own.
    let about = About::new("", "services", "default", "front");
    let story = explain(&facts(&all), &about).unwrap();
    assert_eq!(story.summary, "Service front leads nowhere: pod web-1-a cannot get its image web:1.");
}

#[test]
fn a_container_that_crashes_says_how_it_ended() {
    for (status, says, advice) in [
        (
            crashing(137, "OOMKilled", ""),
            "has a container c that took more memory than it may, and was begun again 7 times",
            "give it more memory than its limit of 64Mi, or find what takes it",
        ),
        (
            crashing(127, "Error", ""),
            "has a container c that has a command that is not there (exit code 127), and was begun again 7 times",
            "see that its command is in the image, and can be run",
        ),
        (
            crashing(0, "Completed", ""),
            "has a container c that ends by itself, and was begun again 7 times",
            "its command ends although nothing is wrong: run one that stays, or make a Job of it",
        ),
        (
            crashing(1, "Error", "no config"),
            "has a container c that ends with exit code 1, and was begun again 7 times",
            "kubectl logs -n default web -c c --previous",
        ),
    ] {
        let stories = wrong(&facts(&[pod("web", None, status)]));
        let step = &stories[0].steps[0];
        assert_eq!((&*step.says, &*step.advice[0]), (says, advice));
    }
    let stories = wrong(&facts(&[pod("web", None, crashing(1, "Error", "no config\n"))]));
    assert_eq!(stories[0].steps[0].evidence[0].says, "no config");
}

#[test]
fn a_pod_that_fits_nowhere_is_told_what_would_help() {
    let mut large = pod(
        "web",
        None,
        json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."},
        ]}),
    );
    large.1["spec"] =
        json!({"containers": [{"name": "c", "image": "a", "resources": {"requests": {"cpu": "3"}}}]});
    let expected = "\
Serious: Pod web fits on no node.
  Pod web fits on no node
    status.conditions[PodScheduled] = 0/1 nodes are available: 1 Insufficient cpu.
    > a: request 2000m of cpu instead of 3000m
";
    assert_eq!(told(&[node("a", "True"), large.clone()]), expected);
    // Who may not see nodes is told no more than the pod says.
    assert_eq!(told(&[large]), expected[..expected.find("    >").unwrap()]);
}

#[test]
fn a_claim_that_is_not_bound_stands_behind_its_pod() {
    let mut waits = pod(
        "db",
        None,
        json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "message": "pod has unbound immediate PersistentVolumeClaims"},
        ]}),
    );
    waits.1["spec"] = json!({"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]});
    let claim = json!({
        "metadata": {"name": "data", "namespace": "default", "uid": "data", "creationTimestamp": LONG_AGO},
        "spec": {"storageClassName": "fast"}, "status": {"phase": "Pending"},
    });
    let class = json!({"metadata": {"name": "slow"}, "volumeBindingMode": "WaitForFirstConsumer"});
    let told = told(&[waits, ("persistentvolumeclaims", claim.clone()), ("storageclasses", class)]);
    let expected = "\
Serious: Pod db fits on no node: PersistentVolumeClaim data is bound to no volume.
  Pod db fits on no node
    status.conditions[PodScheduled] = pod has unbound immediate PersistentVolumeClaims
  PersistentVolumeClaim data is bound to no volume
    spec.storageClassName = there is no class fast
    > make the class, or name one that there is
";
    assert_eq!(told, expected);
    // One that waits for a pod to use it is as it should be.
    let mut waits = claim;
    waits["spec"]["storageClassName"] = json!("slow");
    let class = json!({"metadata": {"name": "slow"}, "volumeBindingMode": "WaitForFirstConsumer"});
    assert_eq!(wrong(&facts(&[("persistentvolumeclaims", waits), ("storageclasses", class)])), []);
}

#[test]
fn a_service_that_leads_nowhere_is_told_why() {
    let serving = pod("web", None, ready());
    let expected = "\
Serious: Service front leads nowhere: its selector matches no pod.
  Service front leads nowhere: its selector matches no pod
    spec.selector = app=wbe,tier=front
    the nearest pod = pod web has app=web instead
    > make selector and labels agree
";
    assert_eq!(told(&[serving.clone(), service(json!({"app": "wbe", "tier": "front"}))]), expected);
    let expected = "\
Serious: Service front leads nowhere at its port 80.
  Service front leads nowhere at its port 80
    spec.ports = no pod has a port that is named http
    > name the container's port so, or give the service its number
";
    assert_eq!(told(&[serving, service(json!({"app": "web"}))]), expected);
    assert_eq!(told(&[service(json!({}))]), "");
    let near = |app: &str| {
        told(&[pod("web", None, ready()), service(json!({"app": app}))]).contains("has app=web instead")
    };
    assert!(near("wbe") && near("web1") && near("we"));
    assert!(!near("lost") && !near("db"), "what is another word altogether is no slip of the pen");
}

#[test]
fn a_node_that_is_gone_silent_stands_before_what_ran_on_it() {
    let told = told(&[pod("web", None, ready()), node("a", "Unknown")]);
    let expected = "\
Critical: Node a is not ready: its agent has gone silent.
  Node a is not ready: its agent has gone silent
    status.conditions[Ready] = R: m
    > see whether the machine runs, and reaches the API server
Serious: Pod web is on the node a, which is not ready: Node a is not ready: its agent has gone silent.
";
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn what_began_just_now_is_given_time() {
    let [mut deployment, mut set] = deployment(0);
    let mut starting = pod("web-1-a", Some(("ReplicaSet", "web-1")), waiting("ContainerCreating", ""));
    for object in [&mut deployment.1, &mut set.1, &mut starting.1] {
        object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:59:50Z");
    }
    assert_eq!(told(&[deployment, set, starting]), "");
}

#[test]
fn a_roll_out_that_does_not_get_on_is_told_though_the_old_pods_serve() {
    let [deployment, set] = deployment(3);
    let mut newer = set.clone();
    newer.1["metadata"]["name"] = json!("web-2");
    newer.1["metadata"]["uid"] = json!("web-2");
    newer.1["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = json!("2");
    let stuck = pod("web-2-a", Some(("ReplicaSet", "web-2")), waiting("ErrImagePull", "manifest unknown"));
    let all = [deployment, set, newer, stuck];
    let expected = "Serious: Deployment web does not get on with its roll-out: pod web-2-a cannot get its image web:1.\n";
    assert!(told(&all).starts_with(expected), "{}", told(&all));
    // The same when its time is over, which its condition says.
    let [mut late, set, newer, stuck] = all;
    late.1["status"]["conditions"] =
        json!([{"type": "Progressing", "status": "False", "message": "timed out progressing"}]);
    let told = told(&[late, set, newer, stuck]);
    assert!(
        told.starts_with(expected) && told.contains("status.conditions[Progressing] = timed out progressing"),
        "{told}"
    );
}

#[test]
fn what_was_begun_again_is_told_though_its_owner_has_all_its_pods() {
    let [deployment, set] = deployment(3);
    let mut again = ready();
    let last =
        json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:58:00Z"}});
    again["containerStatuses"][0]["restartCount"] = json!(4);
    again["containerStatuses"][0]["lastState"] = last;
    let told = told(&[deployment, set, pod("web-1-a", Some(("ReplicaSet", "web-1")), again)]);
    assert!(
        told.starts_with("Minor: Pod web-1-a has a container c that took more memory than it may"),
        "{told}"
    );
}

#[test]
fn a_job_that_failed_says_how_its_last_pod_did() {
    let job = json!({
        "metadata": {"name": "load", "namespace": "default", "uid": "load", "creationTimestamp": LONG_AGO},
        "status": {"failed": 1, "conditions": [
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"},
        ]},
    });
    let ended = json!({"phase": "Failed", "containerStatuses": [
        {"name": "c", "state": {"terminated": {"exitCode": 3, "reason": "Error", "message": "no such table"}}},
    ]});
    let told = told(&[("jobs", job), pod("load-x", Some(("Job", "load")), ended)]);
    assert!(
        told.starts_with(
            "Serious: Job load failed: pod load-x has a container c that ends with exit code 3.\n"
        ),
        "{told}"
    );
    assert!(told.contains("last message of c = no such table"), "{told}");
    assert_eq!(told.matches("Serious").count(), 1, "{told}");
}

#[test]
fn what_cannot_be_read_says_nothing_and_breaks_nothing() {
    for odd in [
        json!({}),
        json!({"metadata": {"name": "a"}, "status": {"conditions": [{}]}}),
        json!({"spec": {"selector": 7}}),
    ] {
        for source in sources() {
            let mut facts = Facts::new(NOW.parse().unwrap());
            let _ = facts.add(source.resource, odd.clone());
            let _ = wrong(&facts);
        }
    }
    let mut facts = Facts::new(NOW.parse().unwrap());
    assert!(facts.add("pods", json!({"metadata": 7})).is_err());
    assert!(facts.add("secrets", json!({"metadata": 7})).is_ok(), "of other kinds nothing is asked");
}
