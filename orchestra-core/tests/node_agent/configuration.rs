//! Probes, hooks, volumes and what a container is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use orchestra_core::api::Patch;
use orchestra_core::k8s_openapi;
use orchestra_core::network::NetworkError;
use orchestra_core::node::{HttpAnswer, ProbeError};
use orchestra_core::runtime::ExecOutput;
use orchestra_core::runtime::fake::{Behaviour, Call, On};
use serde_json::json;

use crate::world::{World, condition, container, waiting};

fn answer(code: i32) -> ExecOutput {
    ExecOutput { exit_code: code, stdout: b"sick".to_vec(), stderr: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn readiness_comes_and_goes() {
    let world = World::start().await;
    let well = Arc::new(AtomicBool::new(false));
    let now = well.clone();
    world.host.on_http(move |request| {
        assert_eq!(request.url(), "http://10.64.0.1:8080/ready");
        match now.load(Ordering::SeqCst) {
            true => Ok(HttpAnswer { status: 200, body: String::new() }),
            false => Ok(HttpAnswer { status: 503, body: String::new() }),
        }
    });
    let probe =
        json!({"httpGet": {"path": "/ready", "port": "web"}, "periodSeconds": 5, "failureThreshold": 2});
    let spec = json!({"containers": [{"name": "app", "image": "a:1", "readinessProbe": probe,
        "ports": [{"name": "web", "containerPort": 8080}]}]});
    world.create("web", spec).await;
    let pod = world
        .until("web", "running", |pod| container(pod, "app").is_some_and(|c| c.started == Some(true)))
        .await;
    assert_eq!(condition(&pod, "Ready"), "False");
    world.sleep(12.0).await;
    assert!(
        world.events("web").await.contains(
            "Warning Unhealthy (x3) Readiness probe failed: HTTP probe failed with statuscode: 503"
        ),
        "{}",
        world.events("web").await
    );
    well.store(true, Ordering::SeqCst);
    world.until_ready("web").await;
    well.store(false, Ordering::SeqCst);
    let began = world.clock.now();
    let pod = world.until("web", "unready", |pod| condition(pod, "Ready") == "False").await;
    assert!((5..=10).contains(&world.clock.now().duration_since(began).as_secs()), "two failures in a row");
    assert_eq!(container(&pod, "app").unwrap().restart_count, 0);
    let ready = pod.status.unwrap().conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [app]"));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_not_alive_is_restarted() {
    let world = World::start().await;
    let sick = Arc::new(AtomicBool::new(false));
    let now = sick.clone();
    world
        .runtime
        .on(On::image("a:1"), Behaviour::new().exec(move |_| answer(i32::from(now.load(Ordering::SeqCst)))));
    let probe = json!({"exec": {"command": ["check"]}, "periodSeconds": 2});
    world
        .create("web", json!({"containers": [{"name": "app", "image": "a:1", "livenessProbe": probe}]}))
        .await;
    world.until_ready("web").await;
    world.sleep(60.0).await;
    sick.store(true, Ordering::SeqCst);
    world.until("web", "restarted", |pod| container(pod, "app").unwrap().restart_count == 1).await;
    let events = world.events("web").await;
    assert!(events.contains("Liveness probe failed: sick"), "{events}");
    assert!(
        events.contains("Normal Killing Container app failed liveness probe, will be restarted"),
        "{events}"
    );
    sick.store(false, Ordering::SeqCst);
    world.until_ready("web").await;
}

#[tokio::test(start_paused = true)]
async fn a_startup_probe_holds_the_others_back() {
    let world = World::start().await;
    let began = world.clock.now();
    let clock = world.clock.clone();
    world.runtime.on(
        On::image("a:1"),
        Behaviour::new().exec(move |_| answer(i32::from(clock.now().duration_since(began).as_secs() < 30))),
    );
    let exec = json!({"command": ["check"]});
    let spec = json!({"containers": [{"name": "app", "image": "a:1",
        "startupProbe": {"exec": exec, "periodSeconds": 5, "failureThreshold": 10},
        "livenessProbe": {"exec": exec, "periodSeconds": 1, "failureThreshold": 1},
    }]});
    world.create("web", spec).await;
    let pod = world
        .until("web", "running", |pod| container(pod, "app").is_some_and(|c| c.container_id.is_some()))
        .await;
    let app = container(&pod, "app").unwrap();
    assert_eq!((app.started, app.ready), (Some(false), false));
    let pod = world.until_ready("web").await;
    assert_eq!(container(&pod, "app").unwrap().restart_count, 0, "the liveness probe waited");
    assert!(world.clock.now().duration_since(began).as_secs() >= 30);
}

#[tokio::test(start_paused = true)]
async fn a_door_that_is_closed_is_not_ready() {
    let world = World::start().await;
    world.host.on_http(|request| {
        Err(ProbeError::Connect {
            message: format!("dial tcp {}:80: connect: connection refused", request.host),
        })
    });
    let probe = json!({"httpGet": {"port": 80}});
    world
        .create("web", json!({"containers": [{"name": "app", "image": "a:1", "readinessProbe": probe}]}))
        .await;
    world.until("web", "running", |pod| container(pod, "app").is_some_and(|c| c.started == Some(true))).await;
    world.sleep(5.0).await;
    let events = world.events("web").await;
    let said = "Warning Unhealthy Readiness probe failed: Get \"http://10.64.0.1:80/\": dial tcp 10.64.0.1:80: connect: connection refused";
    assert!(events.contains(said), "{events}");
}

#[tokio::test(start_paused = true)]
async fn hooks_run_after_the_start_and_before_the_end() {
    let world = World::start().await;
    let count = Arc::new(AtomicU32::new(0));
    let ran = count.clone();
    world.runtime.on(
        On::image("a:1"),
        Behaviour::new().ignores_stop().exec_takes(Duration::from_secs(4)).exec(move |command| {
            assert!(["hello", "goodbye"].contains(&command[0].as_str()));
            ran.fetch_add(1, Ordering::SeqCst);
            ExecOutput::default()
        }),
    );
    let spec = json!({"terminationGracePeriodSeconds": 10, "containers": [{"name": "app", "image": "a:1", "lifecycle": {
        "postStart": {"exec": {"command": ["hello"]}}, "preStop": {"exec": {"command": ["goodbye"]}},
    }}]});
    world.create("web", spec).await;
    world.until_ready("web").await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let began = world.clock.now();
    world.delete("web", None).await;
    world.until_gone("web").await;
    assert_eq!(count.load(Ordering::SeqCst), 2, "the hook ran once");
    let took = world.clock.now().duration_since(began).as_secs();
    assert_eq!(took, 10, "the hook's time is part of the grace");
}

#[tokio::test(start_paused = true)]
async fn a_post_start_hook_that_fails_ends_its_container() {
    let world = World::start().await;
    world.runtime.on(On::image("a:1"), Behaviour::new().exec(|_| answer(1)));
    let spec = json!({"containers": [{"name": "app", "image": "a:1",
        "lifecycle": {"postStart": {"exec": {"command": ["x"]}}}}]});
    world.create("web", spec).await;
    world.until("web", "backing off", |pod| waiting(pod, "app") == "CrashLoopBackOff").await;
    let events = world.events("web").await;
    assert!(events.contains("Warning FailedPostStartHook (x2) PostStartHook failed\n"), "{events}");
}

#[tokio::test(start_paused = true)]
async fn a_container_waits_for_what_it_is_told() {
    let world = World::start().await;
    let spec = json!({"containers": [{"name": "app", "image": "a:1", "env": [
        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "level"}}}]}]});
    world.create("web", spec).await;
    let pod = world.until("web", "waiting", |pod| waiting(pod, "app") == "CreateContainerConfigError").await;
    let state = container(&pod, "app").unwrap().state.clone().unwrap().waiting.unwrap();
    assert_eq!(state.message.as_deref(), Some("configmap \"conf\" not found"));
    assert!(world.events("web").await.contains("Warning Failed Error: configmap \"conf\" not found"));
    let map: ConfigMap = serde_json::from_value(
        json!({"metadata": {"name": "conf", "namespace": "default"}, "data": {"level": "1"}}),
    )
    .unwrap();
    world.client.api("default").create(&map).await.unwrap();
    world.until_ready("web").await;
}

#[tokio::test(start_paused = true)]
async fn volumes_wait_for_their_sources_and_follow_them() {
    let world = World::start().await;
    let spec = json!({
        "containers": [{"name": "app", "image": "a:1", "volumeMounts": [{"name": "conf", "mountPath": "/etc/conf"}]}],
        "volumes": [{"name": "conf", "projected": {"sources": [
            {"configMap": {"name": "conf"}}, {"secret": {"name": "key"}},
            {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ]}}],
    });
    world.create("web", spec).await;
    world.sleep(3.0).await;
    assert_eq!(waiting(&world.get("web").await, "app"), "ContainerCreating");
    let events = world.events("web").await;
    assert!(events.contains("Warning FailedMount (x"), "{events}");
    assert!(
        events.contains("MountVolume.SetUp failed for volume \"conf\" : configmap \"conf\" not found"),
        "{events}"
    );
    let meta = |name: &str| json!({"name": name, "namespace": "default"});
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": meta("conf"), "data": {"a": "1"}})).unwrap();
    let secret: Secret = serde_json::from_value(
        json!({"metadata": meta("key"), "stringData": {"s": "x"}, "data": {"s": "eA=="}}),
    )
    .unwrap();
    world.client.api("default").create(&map).await.unwrap();
    world.client.api("default").create(&secret).await.unwrap();
    let pod = world.until_ready("web").await;
    let uid = pod.metadata.uid.clone().unwrap();
    let shown = || {
        let files = world.host.volume(&uid, "conf").unwrap();
        files
            .into_iter()
            .map(|(path, file)| format!("{path}={}", String::from_utf8(file.data).unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(), ["a=1", "name=web", "s=x"]);
    let api = world.client.api::<ConfigMap>("default");
    api.patch("conf", Patch::Merge(json!({"data": {"a": "2"}}))).await.unwrap();
    world.sleep(1.0).await;
    assert_eq!(shown(), ["a=2", "name=web", "s=x"], "told by its watch");
    api.delete("conf").await.unwrap();
    world.sleep(1.0).await;
    assert_eq!(shown(), ["a=2", "name=web", "s=x"], "what was there stays");
    api.create(&map).await.unwrap();
    world.sleep(1.0).await;
    assert_eq!(shown(), ["a=1", "name=web", "s=x"]);
    world.delete("web", Some(1)).await;
    world.until_empty().await;
    assert_eq!(world.host.volume(&uid, "conf"), None);
}

/// N21: a volume of the downward API alone.
#[tokio::test(start_paused = true)]
async fn volumes_follow_the_labels_of_their_pod() {
    let world = World::start().await;
    let labels = json!({"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}});
    let spec = json!({"containers": [{"name": "app", "image": "a:1"}],
        "volumes": [{"name": "info", "downwardAPI": {"items": [labels]}}]});
    world.create("web", spec).await;
    let uid = world.until_ready("web").await.metadata.uid.unwrap();
    for value in ["1", "2"] {
        let patch = json!({"metadata": {"labels": {"step": value}}});
        world.pods().patch("web", Patch::Merge(patch)).await.unwrap();
        world.sleep(1.0).await;
        let shown = world.host.volume(&uid, "info").unwrap()["labels"].data.clone();
        assert_eq!(String::from_utf8(shown).unwrap(), format!("step=\"{value}\""));
    }
    assert_eq!(container(&world.get("web").await, "app").unwrap().restart_count, 0);
}

/// N25: environment and files of a container are of one and the same ConfigMap, however long ago its volumes were made.
#[tokio::test(start_paused = true)]
async fn a_container_is_told_the_same_twice() {
    let world = World::start().await;
    let map = |level: &str| -> ConfigMap {
        serde_json::from_value(
            json!({"metadata": {"name": "conf", "namespace": "default"}, "data": {"level": level}}),
        )
        .unwrap()
    };
    let api = world.client.api::<ConfigMap>("default");
    api.create(&map("1")).await.unwrap();
    let pulled = Behaviour::new().pulled_in(Duration::from_secs(60));
    world.runtime.on(On::image("slow:1"), pulled);
    let spec = json!({
        "containers": [{"name": "app", "image": "slow:1", "volumeMounts": [{"name": "conf", "mountPath": "/c"}],
            "env": [{"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "level"}}}]}],
        "volumes": [{"name": "conf", "configMap": {"name": "conf"}}],
    });
    let pod = world.create("web", spec).await;
    world.sleep(30.0).await;
    let uid = pod.metadata.uid.unwrap();
    let file = || String::from_utf8(world.host.volume(&uid, "conf").unwrap()["level"].data.clone()).unwrap();
    assert_eq!(file(), "1");
    api.patch("conf", Patch::Merge(json!({"data": {"level": "2"}}))).await.unwrap();
    while world.runtime.calls(Call::CreateContainer) == 0 {
        world.sleep(0.001).await;
    }
    assert_eq!(file(), "2", "as old as its environment, which is read when it is made");
}

/// A redirect to another host is not followed: nobody knows, so it is well, and somebody is told.
#[tokio::test(start_paused = true)]
async fn a_probe_that_is_sent_away_warns() {
    let world = World::start().await;
    world.host.on_http(|_| Ok(HttpAnswer { status: 302, body: "elsewhere".into() }));
    let probe = json!({"httpGet": {"port": 80}});
    world
        .create("web", json!({"containers": [{"name": "app", "image": "a:1", "readinessProbe": probe}]}))
        .await;
    world.until_ready("web").await;
    let events = world.events("web").await;
    let said =
        "Warning ProbeWarning Readiness probe warning: Probe terminated redirects, Response body: elsewhere";
    assert!(events.contains(said), "{events}");
}

#[tokio::test(start_paused = true)]
async fn what_a_container_leaves_is_its_message() {
    let world = World::start().await;
    world.runtime.on(
        On::image("a:1"),
        Behaviour::new().logs(Duration::ZERO, "no disk").exits(Duration::from_secs(2), 1),
    );
    let spec = |policy: &str| {
        json!({"restartPolicy": "Never", "containers": [
        {"name": "app", "image": "a:1", "terminationMessagePolicy": policy}]})
    };
    let pod = world.create("file", spec("File")).await;
    world.host.write(pod.metadata.uid.as_deref().unwrap(), "containers/app/0", b"I gave up");
    world.create("log", spec("FallbackToLogsOnError")).await;
    for (name, message) in [("file", "I gave up"), ("log", "no disk\n")] {
        let pod = world.until_phase(name, "Failed").await;
        let end = container(&pod, "app").unwrap().state.clone().unwrap().terminated.unwrap();
        assert_eq!(end.message.as_deref(), Some(message));
    }
}

#[tokio::test(start_paused = true)]
async fn another_image_replaces_the_container() {
    let world = World::start().await;
    world.create("web", json!({"containers": [{"name": "app", "image": "a:1"}]})).await;
    world.until_ready("web").await;
    let patch = json!({"spec": {"containers": [{"name": "app", "image": "a:2"}]}});
    world.pods().patch("web", Patch::Strategic(patch)).await.unwrap();
    let pod = world.until("web", "replaced", |pod| container(pod, "app").unwrap().image == "a:2").await;
    assert_eq!(container(&pod, "app").unwrap().restart_count, 1);
    assert!(
        world
            .events("web")
            .await
            .contains("Normal Killing Container app definition changed, will be restarted")
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_network_refuses_is_said_in_the_status() {
    let world = World::start().await;
    let message = "kubernetes.io/egress-bandwidth: \"fast\": no".to_owned();
    for _ in 0..3 {
        world.network.fail_next_attach(NetworkError::Refused { message: message.clone() });
    }
    let one = |name: &str| json!({"name": name, "image": "a:1"});
    let spec = json!({"initContainers": [one("first")], "containers": [one("app")]});
    world.runtime.on(On::container("first"), Behaviour::new().exits(Duration::from_secs(5), 0));
    world.create("web", spec).await;
    let said = |pod: &Pod, name: &str| {
        let waiting = container(pod, name)?.state.clone()?.waiting?;
        Some((waiting.reason?, waiting.message?))
    };
    let wanted = Some(("ContainerCreating".to_owned(), message.clone()));
    world.until("web", "told", |pod| ["first", "app"].iter().all(|name| said(pod, name) == wanted)).await;
    let events = world.events("web").await;
    let line = "Warning FailedCreatePodSandBox Failed to create pod sandbox: failed to set up the network: ";
    assert!(events.contains(&format!("{line}{message}")), "{events}");
    // Once it is connected, nothing is said any more of what was the matter.
    let pod = world.until("web", "begun", |pod| said(pod, "first").is_none()).await;
    assert_eq!(waiting(&pod, "app"), "PodInitializing");
    world.until_ready("web").await;
}
