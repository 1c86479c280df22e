//! The agent dies, the runtime goes away, the API forgets: what survives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use orchestra_core::node::{HttpAnswer, LogRequest, NodeService};
use orchestra_core::runtime::fake::{Behaviour, Call, On};
use orchestra_core::runtime::{LogOptions, PodRef, Runtime};
use serde_json::{Value, json};

use crate::world::{World, condition, container, phase, sandbox_spec};

fn one(image: &str) -> Value {
    json!({"containers": [{"name": "app", "image": image}]})
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_adopts_what_runs_and_restarts_nothing() {
    let mut world = World::start().await;
    for n in 0..5 {
        world.create(&format!("web-{n}"), one("nginx:1")).await;
    }
    let mut before = Vec::new();
    for n in 0..5 {
        before.push(world.until_ready(&format!("web-{n}")).await);
    }
    world.kill_agent().await;
    world.sleep(60.0).await;
    world.start_agent();
    world.sleep(60.0).await;
    for (n, before) in before.iter().enumerate() {
        let now = world.get(&format!("web-{n}")).await;
        assert_eq!(now.status, before.status, "not a letter of its status changed");
    }
    assert_eq!(world.runtime.calls(Call::CreateContainer), 5);
    assert_eq!(world.runtime.calls(Call::RunSandbox), 5);
    world.create("new", one("nginx:1")).await;
    let new = world.until_ready("new").await;
    let ip = |pod: &orchestra_core::k8s_openapi::api::core::v1::Pod| pod.status.clone().unwrap().pod_ip;
    assert!(before.iter().all(|pod| ip(pod) != ip(&new)), "an adopted address is not given out again");
}

/// N1 and N2: probes of adopted pods find them, and until they have said something the status stands as it is.
#[tokio::test(start_paused = true)]
async fn probes_of_adopted_pods_go_on() {
    let mut world = World::start().await;
    let sick = Arc::new(AtomicBool::new(false));
    let now = sick.clone();
    world.host.on_http(move |request| {
        assert_eq!(request.host, "10.64.0.1");
        Ok(HttpAnswer { status: if now.load(Ordering::SeqCst) { 503 } else { 200 }, body: String::new() })
    });
    let http = json!({"httpGet": {"port": 80}, "periodSeconds": 2});
    let probes = json!({"name": "app", "image": "a:1", "readinessProbe": http,
        "startupProbe": {"tcpSocket": {"port": 80}}, "livenessProbe": {"grpc": {"port": 80}, "periodSeconds": 2}});
    let exec = json!({"name": "exec", "image": "a:1", "readinessProbe": {"exec": {"command": ["check"]}}});
    world.create("web", json!({"containers": [probes, exec]})).await;
    let before = world.until_ready("web").await;
    for _ in 0..2 {
        world.kill_agent().await;
        world.sleep(30.0).await;
        let mut changes = world.watch_pods().await;
        world.start_agent();
        world.sleep(60.0).await;
        assert_eq!(world.get("web").await.status, before.status);
        assert!(changes.next().now_or_never().is_none(), "not even for a moment was it another");
    }
    let events = world.events("web").await;
    assert!(!events.contains("Unhealthy"), "{events}");
    sick.store(true, Ordering::SeqCst);
    world.until("web", "unready", |pod| condition(pod, "Ready") == "False").await;
    world.host.close(true);
    world.until("web", "restarted", |pod| container(pod, "app").unwrap().restart_count == 1).await;
}

/// Kills the agent at every moment of a pod's start, and of its end, and starts it again.
#[tokio::test(start_paused = true)]
async fn an_agent_may_die_at_any_moment() {
    for delay in 0..12 {
        let mut world = World::start().await;
        let slow =
            Behaviour::new().pulled_in(Duration::from_millis(100)).starts_in(Duration::from_millis(100));
        world.runtime.on(On::image("slow:1"), slow.stops_in(Duration::from_millis(200), 0));
        world.create("web", one("slow:1")).await;
        world.sleep(f64::from(delay) * 0.025).await;
        world.kill_agent().await;
        world.start_agent();
        let pod = world.until_ready("web").await;
        assert_eq!(container(&pod, "app").unwrap().restart_count, 0, "killed after {delay}");
        assert_eq!(world.sandboxes().await.len(), 1);
        world.delete("web", None).await;
        world.sleep(f64::from(delay) * 0.025).await;
        world.kill_agent().await;
        world.start_agent();
        world.until_gone("web").await;
        world.until_empty().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_api_does_not_know_is_removed() {
    let mut world = World::start().await;
    world.create("web", one("nginx:1")).await;
    world.until_ready("web").await;
    world.kill_agent().await;
    world.delete("web", Some(0)).await;
    let pod = PodRef { namespace: "default".into(), name: "x".into(), uid: "other".into() };
    let other = sandbox_spec(pod, "another-cluster/n1".into());
    world.runtime.run_sandbox(&other).await.unwrap();
    world.start_agent();
    world.sleep(10.0).await;
    let left = world.sandboxes().await;
    assert_eq!(left.len(), 1, "only what another agent made is left");
    assert_eq!(left[0].meta.owner, "another-cluster/n1");
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_the_same_name_is_another_pod() {
    let mut world = World::start().await;
    world.create("web", one("nginx:1")).await;
    let first = world.until_ready("web").await;
    world.kill_agent().await;
    world.delete("web", Some(0)).await;
    world.create("web", one("nginx:1")).await;
    world.start_agent();
    let second = world.until_ready("web").await;
    assert_ne!(first.metadata.uid, second.metadata.uid);
    world.sleep(5.0).await;
    let sandboxes = world.sandboxes().await;
    assert_eq!(sandboxes.len(), 1);
    assert_eq!(Some(&sandboxes[0].meta.pod.uid), second.metadata.uid.as_ref());
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_goes_away_costs_no_pod() {
    let world = World::start().await;
    world.create("web", one("nginx:1")).await;
    let before = world.until_ready("web").await;
    world.runtime.set_available(false);
    world.create("late", one("nginx:1")).await;
    world.sleep(120.0).await;
    assert_eq!(world.get("web").await.status, before.status, "nothing is said that is not known");
    let id = world_container_while_away(&world).await;
    world.runtime.set_available(true);
    world.until_ready("late").await;
    world.sleep(5.0).await;
    assert_eq!(world.get("web").await.status, before.status);
    assert_eq!(world.runtime.calls(Call::CreateContainer), 2);
    // What happened while nobody could see is seen afterwards.
    world.runtime.set_available(false);
    world.runtime.exit(&id, 9);
    world.runtime.set_available(true);
    let pod = world.until("web", "restarted", |pod| container(pod, "app").unwrap().restart_count == 1).await;
    let last = container(&pod, "app").unwrap().last_state.clone().unwrap().terminated.unwrap();
    assert_eq!(last.exit_code, 9);
}

/// N10: a reader that follows is told that the container is gone.
#[tokio::test(start_paused = true)]
async fn logs_that_are_followed_end_with_the_pod() {
    let world = World::start().await;
    let pod = world.create("web", one("nginx:1")).await;
    world.until_ready("web").await;
    let request = LogRequest {
        pod: PodRef { namespace: "default".into(), name: "web".into(), uid: pod.metadata.uid.unwrap() },
        container: "app".into(),
        previous: false,
        options: LogOptions { follow: true, ..LogOptions::default() },
    };
    let stream = world.service().logs(&request).await.unwrap();
    world.delete("web", Some(0)).await;
    let read = tokio::time::timeout(Duration::from_secs(60), stream.collect::<Vec<_>>()).await;
    assert!(read.is_ok_and(|chunks| chunks.is_empty()));
}

async fn world_container_while_away(world: &World) -> orchestra_core::runtime::ContainerId {
    let pod = world.get("web").await;
    let id = container(&pod, "app").unwrap().container_id.clone().unwrap();
    id.trim_start_matches("fake://").into()
}

#[tokio::test(start_paused = true)]
async fn a_lost_sandbox_is_made_anew() {
    let world = World::start().await;
    world.create("web", one("nginx:1")).await;
    let before = world.until_ready("web").await;
    world.runtime.lose_sandbox(before.metadata.uid.as_deref().unwrap());
    let pod =
        world.until("web", "running again", |pod| container(pod, "app").unwrap().restart_count == 1).await;
    assert_eq!(phase(&pod), "Running");
    world.until_ready("web").await;
    assert!(world.sandboxes().await.iter().any(|sandbox| sandbox.meta.attempt == 1));
    world.delete("web", Some(1)).await;
    world.until_empty().await;
}

#[tokio::test(start_paused = true)]
async fn logs_of_this_life_and_the_one_before() {
    let world = World::start().await;
    let behaviour = Behaviour::new().logs(Duration::ZERO, "hello").logs(Duration::from_secs(5), "bye");
    world.runtime.on(
        On::image("talk:1"),
        behaviour.starts_in(Duration::from_secs(1)).exits(Duration::from_secs(5), 1),
    );
    let pod = world.create("talk", one("talk:1")).await;
    let reference =
        PodRef { namespace: "default".into(), name: "talk".into(), uid: pod.metadata.uid.clone().unwrap() };
    let service = world.service();
    let read = async |previous: bool| {
        let request = LogRequest {
            pod: reference.clone(),
            container: "app".into(),
            previous,
            options: LogOptions::default(),
        };
        let stream = service.logs(&request).await.map_err(|status| status.to_string())?;
        let chunks: Vec<_> = stream.collect().await;
        let bytes: Vec<u8> = chunks.into_iter().flat_map(|chunk| chunk.unwrap()).collect();
        Ok::<_, String>(String::from_utf8(bytes).unwrap())
    };
    let error = read(false).await.unwrap_err();
    assert!(error.contains("container \"app\" in pod \"talk\""), "{error}");
    world.until_ready("talk").await;
    assert_eq!(read(false).await.unwrap(), "hello\n");
    assert!(
        read(true)
            .await
            .unwrap_err()
            .contains("previous terminated container \"app\" in pod \"talk\" not found")
    );
    world.until("talk", "restarted", |pod| container(pod, "app").unwrap().restart_count == 1).await;
    assert_eq!(read(true).await.unwrap(), "hello\nbye\n");
}
