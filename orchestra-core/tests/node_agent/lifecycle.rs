//! Starting, crashing, completing, deleting.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use orchestra_core::api::WatchEvent;
use orchestra_core::k8s_openapi;
use orchestra_core::runtime::PullFailure;
use orchestra_core::runtime::fake::{Behaviour, Call, On};
use serde_json::json;

use crate::world::{NODE, World, condition, container, phase, waiting};

#[tokio::test(start_paused = true)]
async fn a_node_registers_and_says_that_it_lives() {
    let world = World::start().await;
    world.sleep(1.0).await;
    let node: Node = world.client.cluster().get(NODE).await.unwrap();
    let status = node.status.unwrap();
    assert_eq!(status.capacity.unwrap()["cpu"].0, "4");
    assert_eq!(
        status.node_info.unwrap().container_runtime_version,
        concat!("fake://", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(node.metadata.labels.unwrap()["kubernetes.io/hostname"], NODE);
    let ready = status.conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("True", Some("KubeletReady")));
    let renewed = async || {
        let lease: Lease = world.client.api("kube-node-lease").get(NODE).await.unwrap();
        lease.spec.unwrap().renew_time.unwrap().0
    };
    let first = renewed().await;
    world.sleep(30.0).await;
    let later = renewed().await;
    assert!((20..=30).contains(&later.duration_since(first).as_secs()), "every 10 seconds");

    world.runtime.set_available(false);
    world.sleep(11.0).await;
    let node: Node = world.client.cluster().get(NODE).await.unwrap();
    let ready = node.status.unwrap().conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("KubeletNotReady")));
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_and_is_deleted() {
    let world = World::start().await;
    world.create("web", json!({"containers": [{"name": "app", "image": "nginx:1"}]})).await;
    let pod = world.until_ready("web").await;
    let status = pod.status.as_ref().unwrap();
    assert_eq!(phase(&pod), "Running");
    assert_eq!(status.host_ip.as_deref(), Some("10.0.0.1"));
    assert_eq!(status.pod_ip.as_deref(), Some("10.64.0.1"));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    let app = container(&pod, "app").unwrap();
    assert!(app.container_id.as_deref().unwrap().starts_with("fake://"));
    assert_eq!((app.ready, app.started, app.restart_count), (true, Some(true), 0));
    for kind in ["PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"] {
        assert_eq!(condition(&pod, kind), "True", "{kind}");
    }
    insta::assert_snapshot!(world.events("web").await, @r#"
    Normal Pulled Container image "nginx:1" already present on machine and can be accessed by the pod
    Normal Created Container created
    Normal Started Container started
    "#);
    world.delete("web", None).await;
    world.until_gone("web").await;
    world.until_empty().await;
    assert_eq!(world.network.attached(), 0, "its address was given back");
    assert!(world.events("web").await.contains("Normal Killing Stopping container app"));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_crashes_backs_off() {
    let world = World::start().await;
    world.runtime.on(On::image("bad:1"), Behaviour::new().exits(Duration::ZERO, 1));
    world.create("bad", json!({"containers": [{"name": "app", "image": "bad:1"}]})).await;
    let pod = world.until("bad", "backing off", |pod| waiting(pod, "app") == "CrashLoopBackOff").await;
    assert_eq!(phase(&pod), "Running");
    let app = container(&pod, "app").unwrap();
    let uid = pod.metadata.uid.as_deref().unwrap();
    let state = app.state.as_ref().unwrap().waiting.as_ref().unwrap();
    assert_eq!(
        state.message.clone().unwrap(),
        format!("back-off 10s restarting failed container=app pod=bad_default({uid})")
    );
    let last = app.last_state.as_ref().unwrap().terminated.as_ref().unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    let started = world.clock.now();
    let mut seen = Vec::new();
    for restarts in 2..=6 {
        world.until("bad", "restarted", |pod| container(pod, "app").unwrap().restart_count >= restarts).await;
        seen.push(world.clock.now().duration_since(started).as_secs());
    }
    assert_eq!(seen, [10, 30, 70, 150, 310], "10 s, 20 s, 40 s, 80 s, 160 s");
    let events = world.events("bad").await;
    assert!(events.contains("Back-off restarting failed container app in pod bad_default("), "{events}");
    let sandboxes = world.sandboxes().await;
    assert!(sandboxes[0].containers.len() <= 3, "old lives are removed");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_done_succeeds_or_fails() {
    let world = World::start().await;
    for (name, code, policy, expected) in [
        ("ok", 0, "Never", "Succeeded"),
        ("bad", 3, "Never", "Failed"),
        ("done", 0, "OnFailure", "Succeeded"),
    ] {
        let image = format!("{name}:1");
        world.runtime.on(On::image(&image), Behaviour::new().exits(Duration::from_secs(5), code));
        world
            .create(name, json!({"restartPolicy": policy, "containers": [{"name": "app", "image": image}]}))
            .await;
        let pod = world.until_phase(name, expected).await;
        let end = container(&pod, "app").unwrap().state.as_ref().unwrap().terminated.clone().unwrap();
        assert_eq!(end.exit_code, code);
        let ran = end.finished_at.unwrap().0.duration_since(end.started_at.unwrap().0);
        assert_eq!(ran.as_secs(), 5);
        assert_eq!(condition(&pod, "Ready"), "False");
        assert!(pod.status.unwrap().pod_ip.is_some(), "the address is still shown");
    }
    world.sleep(600.0).await;
    assert_eq!(world.runtime.calls(Call::CreateContainer), 3, "nothing was started again");
}

#[tokio::test(start_paused = true)]
async fn images_that_cannot_be_had() {
    let world = World::start().await;
    let behaviour = Behaviour::new().pull_fails(PullFailure::NotFound, "manifest unknown");
    world.runtime.on(On::image("gone:1"), behaviour.clone());
    world.runtime.on(On::image("never:1"), behaviour);
    world.create("gone", json!({"containers": [{"name": "app", "image": "gone:1"}]})).await;
    world.until("gone", "failing", |pod| waiting(pod, "app") == "ErrImagePull").await;
    let pod = world.until("gone", "backing off", |pod| waiting(pod, "app") == "ImagePullBackOff").await;
    assert_eq!(phase(&pod), "Pending");
    world.until("gone", "failing again", |pod| waiting(pod, "app") == "ErrImagePull").await;
    let message = |pod: &Pod| container(pod, "app")?.state.clone()?.waiting?.message;
    let pod = world.until("gone", "backing off again", |pod| waiting(pod, "app") == "ImagePullBackOff").await;
    assert_eq!(
        message(&pod).as_deref(),
        Some(
            "Back-off pulling image \"gone:1\": ErrImagePull: failed to pull image \"gone:1\": manifest unknown"
        )
    );
    let events = world.events("gone").await;
    for line in [
        "Normal Pulling (x2) Pulling image \"gone:1\"",
        "Warning Failed (x2) Failed to pull image \"gone:1\": manifest unknown",
        "Warning Failed (x2) Error: ErrImagePull",
        "Normal BackOff (x2) Back-off pulling image \"gone:1\"",
        "Warning Failed (x2) Error: ImagePullBackOff",
    ] {
        assert!(events.contains(line), "{line}\nin\n{events}");
    }
    let spec = json!({"containers": [{"name": "app", "image": "never:1", "imagePullPolicy": "Never"}]});
    world.create("never", spec).await;
    world.until("never", "refused", |pod| waiting(pod, "app") == "ErrImageNeverPull").await;
    world.create("odd", json!({"containers": [{"name": "app", "image": "No/Such Name"}]})).await;
    world.until("odd", "refused", |pod| waiting(pod, "app") == "InvalidImageName").await;
}

#[tokio::test(start_paused = true)]
async fn a_command_that_cannot_be_started_is_a_crash() {
    let world = World::start().await;
    world.runtime.on(On::image("x:1"), Behaviour::new().start_fails(127, "exec: \"nope\": not found"));
    world.create("x", json!({"containers": [{"name": "app", "image": "x:1"}]})).await;
    let pod = world.until("x", "backing off", |pod| waiting(pod, "app") == "CrashLoopBackOff").await;
    let last = container(&pod, "app").unwrap().last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (127, Some("StartError")));
    assert!(world.events("x").await.contains("Warning Failed (x2) Error: exec: \"nope\": not found"));
}

/// C11: a container that never began, and is not started again, has no state before this one, and every time is a time.
#[tokio::test(start_paused = true)]
async fn a_container_that_never_began_has_no_last_state() {
    let world = World::start().await;
    world.runtime.on(On::image("x:1"), Behaviour::new().start_fails(127, "exec: \"nope\": not found"));
    let mut changes = world.watch_pods().await;
    world
        .create("x", json!({"restartPolicy": "Never", "containers": [{"name": "app", "image": "x:1"}]}))
        .await;
    let pod = world.until_phase("x", "Failed").await;
    let app = container(&pod, "app").unwrap();
    let end = app.state.clone().unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (127, Some("StartError")));
    assert!(end.finished_at.is_some());
    assert_eq!(end.started_at, end.finished_at);
    while let Some(Some(Ok(event))) = changes.next().now_or_never() {
        let WatchEvent::Modified(entry) = event else { continue };
        let pod: Pod = entry.decode().unwrap();
        let last = container(&pod, "app").and_then(|app| app.last_state.clone());
        // Where a status says nothing of a last state, Kubernetes stores that it is empty.
        assert_eq!(last.unwrap_or_default(), Default::default(), "not even on the way");
    }
}

/// A25: what a container was given stands in its status.
#[tokio::test(start_paused = true)]
async fn resources_are_reported() {
    let world = World::start().await;
    let resources = json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "1", "memory": "64Mi"}});
    let spec = json!({"containers": [
        {"name": "app", "image": "a:1", "resources": resources}, {"name": "none", "image": "a:1"}]});
    world.create("web", spec).await;
    let pod = world.until_ready("web").await;
    let app = container(&pod, "app").unwrap();
    let shown = app.resources.clone().unwrap();
    assert_eq!(app.allocated_resources, shown.requests);
    assert_eq!(app.allocated_resources.as_ref().unwrap()["cpu"].0, "250m");
    assert_eq!(shown.limits.unwrap()["memory"].0, "64Mi");
    let none = container(&pod, "none").unwrap();
    assert_eq!((&none.resources, &none.allocated_resources), (&Some(Default::default()), &None));
}

/// Two seconds at least, so that a container which ends in good order is not killed.
#[tokio::test(start_paused = true)]
async fn a_container_gets_two_seconds_to_end() {
    let world = World::start().await;
    world.runtime.on(On::image("brisk:1"), Behaviour::new().stops_in(Duration::from_millis(1900), 0));
    for (name, own, asked) in [("own", 1, None), ("asked", 30, Some(1)), ("gone", 30, Some(0))] {
        let spec = json!({"terminationGracePeriodSeconds": own, "containers": [{"name": "app", "image": "brisk:1"}]});
        world.create(name, spec).await;
        world.until_ready(name).await;
        let began = world.clock.now();
        world.delete(name, asked).await;
        world.until_gone(name).await;
        world.until_empty().await;
        let took = world.clock.now().duration_since(began).as_millis();
        assert!((1900..2000).contains(&took), "{name} took {took} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_one_after_the_other_and_sidecars_beside_them() {
    let world = World::start().await;
    world.runtime.on(On::container("first"), Behaviour::new().exits(Duration::from_secs(5), 0));
    world.runtime.on(On::container("second"), Behaviour::new().exits(Duration::from_secs(5), 0));
    world.runtime.on(On::container("job"), Behaviour::new().exits(Duration::from_secs(60), 0));
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [
            {"name": "first", "image": "a:1"},
            {"name": "side", "image": "a:1", "restartPolicy": "Always"},
            {"name": "second", "image": "a:1"},
        ],
        "containers": [{"name": "job", "image": "a:1"}],
    });
    world.create("multi", spec).await;
    let pod = world.until("multi", "started", |pod| container(pod, "first").is_some()).await;
    assert_eq!((phase(&pod), waiting(&pod, "job")), ("Pending", "PodInitializing"));
    assert_eq!(condition(&pod, "Initialized"), "False");
    let pod = world.until_phase("multi", "Running").await;
    let begun = |name: &str| {
        let state = container(&pod, name).unwrap().state.clone().unwrap();
        let at =
            state.running.and_then(|r| r.started_at).or(state.terminated.and_then(|t| t.started_at)).unwrap();
        at.0.as_second()
    };
    assert_eq!((begun("side") - begun("first"), begun("job") - begun("second")), (5, 5));
    let pod = world.until_phase("multi", "Succeeded").await;
    let side = container(&pod, "side").unwrap().state.clone().unwrap();
    assert!(side.running.is_some() || side.terminated.is_some());
    world.sleep(5.0).await;
    assert!(
        world
            .sandboxes()
            .await
            .iter()
            .all(|sandbox| !sandbox.containers.iter().any(|c| c.state.is_running()))
    );
}

#[tokio::test(start_paused = true)]
async fn an_init_container_that_fails_for_good_fails_the_pod() {
    let world = World::start().await;
    world.runtime.on(On::container("init"), Behaviour::new().exits(Duration::ZERO, 7));
    let spec = |policy: &str| {
        json!({"restartPolicy": policy, "initContainers": [{"name": "init", "image": "a:1"}],
            "containers": [{"name": "app", "image": "a:1"}]})
    };
    world.create("never", spec("Never")).await;
    let pod = world.until_phase("never", "Failed").await;
    assert_eq!(waiting(&pod, "app"), "PodInitializing");
    world.create("always", spec("Always")).await;
    let pod = world.until("always", "backing off", |pod| waiting(pod, "init") == "CrashLoopBackOff").await;
    assert_eq!(phase(&pod), "Pending");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_may_not_run_longer_fails() {
    let world = World::start().await;
    world
        .create("late", json!({"activeDeadlineSeconds": 30, "containers": [{"name": "app", "image": "a:1"}]}))
        .await;
    world.until_ready("late").await;
    let began = world.clock.now();
    let pod = world.until_phase("late", "Failed").await;
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert!((29..=31).contains(&world.clock.now().duration_since(began).as_secs()));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_waits_for_its_grace_and_no_longer() {
    let world = World::start().await;
    world.runtime.on(On::image("slow:1"), Behaviour::new().ignores_stop());
    let spec =
        json!({"terminationGracePeriodSeconds": 20, "containers": [{"name": "app", "image": "slow:1"}]});
    for (name, grace, expected) in [("a", None, 20), ("b", Some(5), 5)] {
        world.create(name, spec.clone()).await;
        world.until_ready(name).await;
        let began = world.clock.now();
        world.delete(name, grace).await;
        world.until_gone(name).await;
        let took = world.clock.now().duration_since(began).as_secs();
        assert!((expected..=expected + 1).contains(&took), "{name} took {took} s");
    }
    world.create("c", spec).await;
    world.until_ready("c").await;
    world.delete("c", None).await;
    world.sleep(2.0).await;
    let began = world.clock.now();
    world.delete("c", Some(0)).await;
    world.until_gone("c").await;
    world.until_empty().await;
    assert!(world.clock.now().duration_since(began).as_secs() <= 2, "a second, shorter grace counts");
}

/// A pull that takes long says how far it is: in the status, and less and less often in events.
#[tokio::test(start_paused = true)]
async fn how_far_a_pull_is_can_be_seen() {
    let world = World::start().await;
    world.runtime.on(On::image("slow:1"), Behaviour::new().pulled_in(Duration::from_secs(300)));
    world.create("web", json!({"containers": [{"name": "app", "image": "slow:1"}]})).await;
    let message = |pod: &Pod| {
        let state = container(pod, "app")?.state.clone()?;
        state.waiting.filter(|waiting| waiting.reason.as_deref() == Some("ContainerCreating"))?.message
    };
    world.sleep(9.0).await;
    assert_eq!(message(&world.get("web").await), None, "it may be there any moment");
    world.sleep(2.0).await;
    let shown = world.get("web").await;
    let said = message(&shown).unwrap();
    assert!(said.starts_with("Pulling image \"slow:1\": ") && said.ends_with(" MiB"), "{said}");
    world.sleep(200.0).await;
    let later = world.get("web").await.metadata.resource_version;
    assert_eq!(later, shown.metadata.resource_version, "nothing is written that is no news");
    let events = world.events("web").await;
    // After 30, 90 and 210 seconds.
    assert_eq!(events.matches(&format!("Normal Pulling (x3) {said}")).count(), 1, "{events}");
    let pod = world.until_ready("web").await;
    assert_eq!(container(&pod, "app").unwrap().state.clone().unwrap().waiting, None);
}
