//! The agent dies, the runtime goes away, the API forgets: what survives.

use std::time::Duration;

use orchestra_core::node::{LogRequest, NodeService};
use orchestra_core::runtime::fake::{Behaviour, Call, On};
use orchestra_core::runtime::{LogOptions, PodRef, Runtime, SandboxMeta, SandboxSpec};
use serde_json::{Value, json};

use crate::world::{World, container, phase};

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
    let other = SandboxSpec {
        meta: SandboxMeta {
            pod: PodRef { namespace: "default".into(), name: "x".into(), uid: "other".into() },
            attempt: 0,
            owner: "another-cluster/n1".into(),
        },
        hostname: "x".into(),
        dns: None,
        host_ports: Vec::new(),
        namespaces: Default::default(),
        sysctls: Default::default(),
        labels: Default::default(),
        annotations: Default::default(),
        log_directory: "/x".into(),
        cgroup_parent: None,
    };
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
        let chunks: Vec<_> = futures::StreamExt::collect(stream).await;
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
