use super::*;
use crate::runtime::{ContainerMeta, Exit, PodRef, Sandbox, SandboxMeta};
use serde_json::{Value, json};

pub(in crate::node) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

pub(in crate::node) fn pod(spec: Value) -> Pod {
    let mut spec = spec;
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            container["image"] = json!("a:1");
        }
    }
    let meta = json!({"name": "web", "namespace": "default", "uid": "u1"});
    serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
}

/// A sandbox with containers written as `name#attempt state`, where a state is `running`, `created` or an exit code
/// with the second it ended at: `1@50`.
fn sandbox(attempt: u32, state: SandboxState, containers: &[&str]) -> Sandbox {
    Sandbox {
        id: format!("s{attempt}").into(),
        meta: SandboxMeta {
            pod: PodRef { namespace: "default".into(), name: "web".into(), uid: "u1".into() },
            attempt,
            owner: "c/n".into(),
        },
        state,
        created_at: at(i64::from(attempt)),
        ips: Vec::new(),
        netns: None,
        host_network: false,
        containers: containers.iter().enumerate().map(|(n, text)| life(attempt, n, text)).collect(),
    }
}

fn life(sandbox: u32, number: usize, text: &str) -> Container {
    let (name, state) = text.split_once(' ').unwrap();
    let (name, attempt) = name.split_once('#').unwrap_or((name, "0"));
    let state = match state {
        "running" => ContainerState::Running { started_at: at(1) },
        "created" => ContainerState::Created,
        exit => {
            let (code, second) = exit.split_once('@').unwrap_or((exit, "10"));
            ContainerState::Exited(Exit {
                code: code.parse().unwrap(),
                oom_killed: false,
                started_at: Some(at(1)),
                finished_at: at(second.parse().unwrap()),
                reason: String::new(),
                message: String::new(),
            })
        }
    };
    let wanted = Wanted { name: name.into(), image: Some("a:1".into()), ..Wanted::default() };
    Container {
        id: format!("s{sandbox}-{number}").into(),
        meta: ContainerMeta {
            name: name.into(),
            attempt: attempt.parse().unwrap(),
            hash: container_hash(&wanted),
        },
        state,
        image: "a:1".into(),
        image_id: String::new(),
        created_at: at(number as i64),
    }
}

pub(in crate::node) fn ready(containers: &[&str]) -> Observed {
    Observed::new(vec![sandbox(0, SandboxState::Ready, containers)])
}

pub(in crate::node) fn settled() -> Memory {
    Memory { volumes_ready: true, attached: Some(("s0".into(), Vec::new())), ..Memory::default() }
}

fn planned(pod: &Pod, seen: &Observed, memory: &Memory) -> String {
    let plan = plan(pod, seen, memory, at(100));
    check(&plan);
    plan.to_string()
}

/// What must be true of every plan.
fn check(plan: &Plan) {
    let starts = plan.steps.iter().filter_map(|step| match step {
        Step::Start(start) => Some(&start.container),
        _ => None,
    });
    let mut names: Vec<_> = starts.collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "no container is started twice");
    let ends =
        plan.steps.iter().any(|step| matches!(step, Step::Terminate { .. } | Step::Finish | Step::Release));
    assert!(!ends || plan.steps.len() == 1, "a pod that ends does nothing else");
}

#[test]
fn from_nothing_to_running() {
    let pod = pod(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let mut memory = Memory::default();
    insta::assert_snapshot!(planned(&pod, &Observed::default(), &memory), @"
    prepare volumes
    run sandbox, attempt 0
    ");
    memory.volumes_ready = true;
    insta::assert_snapshot!(planned(&pod, &ready(&[]), &memory), @"attach sandbox s0");
    insta::assert_snapshot!(planned(&pod, &ready(&[]), &settled()), @"
    start App a, attempt 0
    start App b, attempt 0
    ");
    insta::assert_snapshot!(planned(&pod, &ready(&["a running", "b created"]), &settled()), @"start App b, attempt 0, made already as s0-1");
    assert_eq!(planned(&pod, &ready(&["a running", "b running"]), &settled()), "");
}

#[test]
fn a_new_agent_prepares_volumes_again_and_restarts_nothing() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    insta::assert_snapshot!(planned(&pod, &ready(&["a running"]), &Memory::default()), @"attach sandbox s0");
    let attached = Memory { volumes_ready: false, ..settled() };
    insta::assert_snapshot!(planned(&pod, &ready(&["a running"]), &attached), @"prepare volumes");
}

#[test]
fn a_container_that_was_added_is_started_once_whatever_the_others_do() {
    let spec = json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}],
        "ephemeralContainers": [{"name": "debug"}]});
    for (lives, expected) in [
        (&["i running"][..], "start Ephemeral debug, attempt 0\n"),
        (&["i 0", "a running"], "start Ephemeral debug, attempt 0\n"),
        (&["i 0", "a running", "debug created"], "start Ephemeral debug, attempt 0, made already as s0-2\n"),
        (&["i 0", "a running", "debug running"], ""),
        (&["i 0", "a running", "debug 1"], ""),
        (&["i 0", "a running", "debug 0"], ""),
    ] {
        assert_eq!(planned(&pod(spec.clone()), &ready(lives), &settled()), expected, "{lives:?}");
    }
    let mut known = pod(spec);
    known.status =
        serde_json::from_value(json!({"ephemeralContainerStatuses": [{"name": "debug", "image": "a:1",
        "imageID": "", "ready": false, "restartCount": 0, "containerID": "fake://gone"}]}))
        .unwrap();
    assert_eq!(
        planned(&known, &ready(&["i 0", "a running"]), &settled()),
        "",
        "one that was lost is not begun again"
    );
    let over = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}],
        "ephemeralContainers": [{"name": "debug"}]}));
    assert_eq!(planned(&over, &ready(&["a 0"]), &settled()), "terminate within 30s\n");
}

#[test]
fn restarts_follow_the_policy() {
    for (policy, code, expected) in [
        ("Always", 0, "start App a, attempt 1\n"),
        ("Always", 1, "start App a, attempt 1\n"),
        ("OnFailure", 1, "start App a, attempt 1\n"),
        ("OnFailure", 0, "terminate within 30s\n"),
        ("Never", 1, "terminate within 30s\n"),
        ("Never", 0, "terminate within 30s\n"),
    ] {
        let pod = pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}]}));
        let seen = ready(&[&format!("a {code}")]);
        assert_eq!(planned(&pod, &seen, &settled()), expected, "{policy} {code}");
    }
}

#[test]
fn rules_for_exit_codes_come_before_the_policy() {
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let pod = pod(json!({"restartPolicy": "Never", "containers": [
        {"name": "a", "restartPolicy": "Never", "restartPolicyRules": rules}]}));
    assert_eq!(planned(&pod, &ready(&["a 42"]), &settled()), "start App a, attempt 1\n");
    assert_eq!(planned(&pod, &ready(&["a 1"]), &settled()), "terminate within 30s\n");
}

#[test]
fn a_crash_waits_and_old_lives_are_forgotten() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let mut memory = settled();
    let key = crash_key(&pod.spec.as_ref().unwrap().containers[0]);
    memory.crashes.next(&key, at(80), at(80));
    insta::assert_snapshot!(planned(&pod, &ready(&["a#0 1@70", "a#1 1@80", "a#2 1@95"]), &memory), @"
    back off a for 10s
    forget s0-0
    wake at 1970-01-12T13:48:25Z
    ");
    insta::assert_snapshot!(planned(&pod, &ready(&["a#2 1@90"]), &memory), @"start App a, attempt 3");
}

#[test]
fn a_sandbox_goes_when_nothing_of_it_is_kept() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let seen = |before: &[&str]| {
        let all = [(1, before), (2, &["a#4 0", "a#5 running"][..])];
        Observed::new(
            all.into_iter()
                .map(|(attempt, lives)| {
                    let state = if attempt == 2 { SandboxState::Ready } else { SandboxState::NotReady };
                    sandbox(attempt, state, lives)
                })
                .collect(),
        )
    };
    let settled = Memory { attached: Some(("s2".into(), Vec::new())), ..settled() };
    assert_eq!(planned(&pod, &seen(&["a#3 0"]), &settled), "forget s1-0\n");
    assert_eq!(planned(&pod, &seen(&[]), &settled), "forget sandbox s1\n");
}

#[test]
fn what_a_pod_has_left_goes_when_the_disk_is_full() {
    let mut pod = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    let seen = Observed::new(vec![sandbox(0, SandboxState::NotReady, &["a 0"])]);
    let full = Memory { room_is_needed: true, ..settled() };
    assert_eq!(planned(&pod, &seen, &full), "", "the API does not know yet that it has ended");
    pod.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    assert_eq!(planned(&pod, &seen, &settled()), "");
    assert_eq!(planned(&pod, &seen, &full), "forget sandbox s0\n");
    assert_eq!(planned(&pod, &Observed::default(), &full), "");
}

#[test]
fn a_failure_may_give_less_time() {
    let pod = pod(json!({"terminationGracePeriodSeconds": 20, "containers": [{"name": "a"}]}));
    for (grace, expected) in [(None, 20), (Some(60), 20), (Some(5), 5), (Some(0), 2)] {
        let grace = grace.map(Duration::from_secs);
        let failure = Some(Failure { reason: "Evicted".into(), message: String::new(), grace });
        let memory = Memory { failure, ..settled() };
        assert_eq!(planned(&pod, &ready(&["a running"]), &memory), format!("terminate within {expected}s\n"));
    }
}

#[test]
fn init_containers_in_order() {
    let pod = pod(
        json!({"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}, {"name": "j"}],
        "containers": [{"name": "a"}]}),
    );
    for (seen, expected) in [
        (vec![], "start Init i, attempt 0\n"),
        (vec!["i running"], ""),
        (vec!["i 1"], "start Init i, attempt 1\n"),
        (vec!["i 0"], "start Sidecar s, attempt 0\n"),
        (vec!["i 0", "s running"], "start Init j, attempt 0\n"),
        (vec!["i 0", "s 0", "j 0"], "start Sidecar s, attempt 1\n"),
        (vec!["i 0", "s running", "j 0"], "start App a, attempt 0\n"),
        (vec!["i 0", "s running", "j 0", "a running"], ""),
        (vec!["i 0", "s 1", "j 0", "a running"], "start Sidecar s, attempt 1\n"),
    ] {
        assert_eq!(planned(&pod, &ready(&seen), &settled()), expected, "{seen:?}");
    }
}

#[test]
fn a_sidecar_holds_the_next_back_until_it_has_started() {
    let probe = json!({"exec": {"command": ["x"]}});
    let pod =
        pod(json!({"initContainers": [{"name": "s", "restartPolicy": "Always", "startupProbe": probe}],
        "containers": [{"name": "a"}]}));
    assert_eq!(planned(&pod, &ready(&["s running"]), &settled()), "");
    let mut memory = settled();
    let started = super::super::model::Probed { started: true, ready: true, failed: None };
    memory.probed.insert("s0-0".into(), started);
    assert_eq!(planned(&pod, &ready(&["s running"]), &memory), "start App a, attempt 0\n");
}

#[test]
fn a_container_that_fails_its_probe_or_changed_is_killed() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let mut memory = settled();
    let failed =
        super::super::model::Probed { started: true, ready: false, failed: Some(FailedProbe::Liveness) };
    memory.probed.insert("s0-0".into(), failed);
    assert_eq!(planned(&pod, &ready(&["a running"]), &memory), "kill a (s0-0): Probe(Liveness)\n");
    let mut changed = pod.clone();
    changed.spec.as_mut().unwrap().containers[0].image = Some("a:2".into());
    assert_eq!(planned(&changed, &ready(&["a running"]), &settled()), "kill a (s0-0): Changed\n");
}

#[test]
fn a_dead_sandbox_is_replaced_unless_the_pod_is_done() {
    let lost = Observed::new(vec![sandbox(0, SandboxState::NotReady, &["a 137"])]);
    let always = pod(json!({"containers": [{"name": "a"}]}));
    insta::assert_snapshot!(planned(&always, &lost, &settled()), @"run sandbox, attempt 1");
    let again = Observed::new(vec![
        sandbox(0, SandboxState::NotReady, &["a 137"]),
        sandbox(1, SandboxState::Ready, &[]),
    ]);
    let attached = Memory { attached: Some(("s1".into(), Vec::new())), ..settled() };
    insta::assert_snapshot!(planned(&always, &again, &attached), @"start App a, attempt 1");
    let never = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    assert_eq!(planned(&never, &lost, &settled()), "");
}

#[test]
fn endings() {
    let mut deleted = pod(json!({"terminationGracePeriodSeconds": 5, "containers": [{"name": "a"}]}));
    deleted.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(90)));
    let down = Observed::new(vec![sandbox(0, SandboxState::NotReady, &["a 0"])]);
    assert_eq!(planned(&deleted, &ready(&["a running"]), &settled()), "terminate within 5s\n");
    assert_eq!(planned(&deleted, &ready(&["a 0"]), &settled()), "terminate within 5s\n");
    assert_eq!(planned(&deleted, &down, &settled()), "finish\n");
    assert_eq!(planned(&deleted, &Observed::default(), &settled()), "finish\n", "also one that never began");
    let gone = Memory { gone: true, ..settled() };
    assert_eq!(planned(&deleted, &ready(&["a running"]), &gone), "terminate within 2s\n");
    assert_eq!(planned(&deleted, &down, &gone), "release\n");
}

#[test]
fn a_deadline_counts_from_the_first_sight() {
    let pod = pod(json!({"activeDeadlineSeconds": 60, "containers": [{"name": "a"}]}));
    let seen_at = |second| Memory { first_seen: Some(at(second)), ..settled() };
    insta::assert_snapshot!(planned(&pod, &ready(&["a running"]), &seen_at(50)), @"wake at 1970-01-12T13:48:30Z");
    insta::assert_snapshot!(planned(&pod, &ready(&["a running"]), &seen_at(40)), @"fail: DeadlineExceeded");
}

#[test]
fn a_failed_preparation_waits() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let memory = Memory { prepare_not_before: Some(at(110)), ..Memory::default() };
    insta::assert_snapshot!(planned(&pod, &Observed::default(), &memory), @"wake at 1970-01-12T13:48:30Z");
    insta::assert_snapshot!(planned(&pod, &ready(&["a running"]), &memory), @"wake at 1970-01-12T13:48:30Z");
}

#[test]
fn the_attempt_goes_on_from_the_status_when_the_runtime_has_forgotten() {
    let mut pod = pod(json!({"containers": [{"name": "a"}]}));
    pod.status = serde_json::from_value(json!({"containerStatuses": [
        {"name": "a", "restartCount": 4, "containerID": "docker://x", "image": "", "imageID": "", "ready": false}]}))
    .unwrap();
    assert_eq!(planned(&pod, &ready(&[]), &settled()), "start App a, attempt 5\n");
}

mod never {
    use super::*;
    use proptest::prelude::*;

    fn state() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("running".to_owned()),
            Just("created".to_owned()),
            (0..3i32, 0..100i64).prop_map(|(code, second)| format!("{code}@{second}")),
        ]
    }

    fn observed() -> impl Strategy<Value = Observed> {
        let life = (prop::sample::select(vec!["i", "s", "a", "b"]), 0..3u32, state());
        let sandbox = (any::<bool>(), prop::collection::vec(life, 0..5));
        prop::collection::vec(sandbox, 0..3).prop_map(|sandboxes| {
            let made = sandboxes.into_iter().enumerate().map(|(n, (ready, lives))| {
                let state = if ready { SandboxState::Ready } else { SandboxState::NotReady };
                let texts: Vec<String> = lives
                    .into_iter()
                    .map(|(name, attempt, state)| format!("{name}#{attempt} {state}"))
                    .collect();
                super::sandbox(n as u32, state, &texts.iter().map(String::as_str).collect::<Vec<_>>())
            });
            Observed::new(made.collect())
        })
    }

    fn spec(policy: &str) -> Pod {
        pod(
            json!({"restartPolicy": policy, "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}]}),
        )
    }

    proptest! {
        /// Nothing is ever started beside a life of the same container that still runs in the same sandbox.
        #[test]
        fn twice_at_once(seen in observed(), policy in prop::sample::select(vec!["Always", "OnFailure", "Never"])) {
            let pod = spec(policy);
            let newest = seen.sandboxes.last().map(|s| s.id.clone());
            let memory = Memory { attached: newest.map(|id| (id, Vec::new())), ..settled() };
            let plan = plan(&pod, &seen, &memory, at(100));
            check(&plan);
            for step in &plan.steps {
                if let Step::Start(start) = step {
                    let newest = seen.sandboxes.last().unwrap();
                    let latest = newest.containers.iter().filter(|c| c.meta.name == start.container)
                        .max_by_key(|c| (c.meta.attempt, c.created_at));
                    prop_assert!(latest.is_none_or(|c| !c.state.is_running()));
                }
            }
        }

        /// A container whose policy is never to restart starts once at most.
        #[test]
        fn again_what_may_run_but_once(seen in observed()) {
            let pod = spec("Never");
            let newest = seen.sandboxes.last().map(|s| s.id.clone());
            let memory = Memory { attached: newest.map(|id| (id, Vec::new())), ..settled() };
            for step in plan(&pod, &seen, &memory, at(100)).steps {
                if let Step::Start(start) = step && start.role == Role::App {
                    let ended = seen.latest(&start.container).is_some_and(|life| life.state.exit().is_some());
                    prop_assert!(!ended, "{start:?}");
                }
            }
        }
    }
}
