//! What is left over, and loops that panic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use orchestra_core::runtime::RuntimeError;
use orchestra_core::runtime::fake::{Behaviour, Call, On};
use serde_json::{Value, json};

use crate::world::{World, condition, container};

fn one(image: &str) -> Value {
    json!({"containers": [{"name": "app", "image": image}], "volumes": [{"name": "cache", "emptyDir": {}}]})
}

/// A pod that was deleted while no agent watched resists; pods that come meanwhile are not taken for leftovers too.
#[tokio::test(start_paused = true)]
async fn an_orphan_that_resists_costs_no_new_pod() {
    let mut world = World::start().await;
    world.create("old", one("nginx:1")).await;
    let old = world.until_ready("old").await.metadata.uid.unwrap();
    world.kill_agent().await;
    world.delete("old", Some(0)).await;
    for _ in 0..3 {
        world.runtime.fail_next(Call::RemoveSandbox, RuntimeError::Failed { message: "device busy".into() });
    }
    let before = world.runtime.calls(Call::RunSandbox);
    world.start_agent();
    world.sleep(0.2).await;
    world.create("new", one("nginx:1")).await;
    let pod = world.until_ready("new").await;
    let uid = pod.metadata.uid.clone().unwrap();
    world.sleep(30.0).await;
    assert_eq!(world.runtime.calls(Call::RunSandbox) - before, 1, "the new pod was killed as an orphan");
    let now = world.get("new").await;
    assert_eq!(container(&now, "app").unwrap().restart_count, 0);
    assert_eq!((now.status.as_ref(), condition(&now, "Ready")), (pod.status.as_ref(), "True"));
    assert!(world.host.volume(&uid, "cache").is_some(), "its volumes stay");
    assert_eq!(world.network.attached(), 1, "the new pod has its address, the old one's is given back");
    let left = world.sandboxes().await;
    assert_eq!(left.iter().map(|sandbox| sandbox.meta.pod.uid.as_str()).collect::<Vec<_>>(), [uid]);
    assert_eq!(world.host.volume(&old, "cache"), None);
}

/// The runtime is away while an agent dies that was about to remove what nobody knows: it is removed by the next, and
/// by nobody after that.
#[tokio::test(start_paused = true)]
async fn nothing_of_an_agent_outlives_it() {
    let mut world = World::start().await;
    world.create("old", one("nginx:1")).await;
    world.until_ready("old").await;
    world.kill_agent().await;
    world.delete("old", Some(0)).await;
    world.runtime.set_available(false);
    world.start_agent();
    world.sleep(10.0).await;
    world.runtime.set_available(true);
    world.sleep(0.001).await;
    world.kill_agent().await;
    let (lists, left) = (world.runtime.calls(Call::List), world.sandboxes().await.len());
    world.sleep(600.0).await;
    assert_eq!((world.runtime.calls(Call::List), world.sandboxes().await.len()), (lists + 1, left));
    world.start_agent();
    world.until_empty().await;
}

/// A container of a pod of ours that nobody knows comes up late, as when a daemon finishes what it was told to give up.
#[tokio::test(start_paused = true)]
async fn what_comes_up_late_is_removed() {
    let world = World::start().await;
    world.create("web", one("nginx:1")).await;
    world.until_ready("web").await;
    let late = world.sandbox_of_nobody("gone-uid").await;
    world.sleep(60.0).await;
    assert!(world.sandboxes().await.iter().all(|sandbox| sandbox.id != late), "found by its start");
    let late = world.sandbox_of_nobody("another-uid").await;
    world.delete("web", None).await;
    world.until_empty().await;
    assert!(world.sandboxes().await.iter().all(|sandbox| sandbox.id != late), "found after a pod has ended");
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_panicked_is_begun_again() {
    let world = World::start().await;
    let once = AtomicBool::new(true);
    let behaviour = Behaviour::new().exec(move |_: &[String]| {
        assert!(!once.swap(false, Ordering::SeqCst), "a bug");
        Default::default()
    });
    world.runtime.on(On::image("nginx:1"), behaviour);
    let spec = json!({"containers": [{"name": "app", "image": "nginx:1",
        "lifecycle": {"postStart": {"exec": {"command": ["true"]}}}}]});
    world.create("web", spec).await;
    let pod = world.until_ready("web").await;
    assert_eq!(container(&pod, "app").unwrap().restart_count, 0, "what it had started is adopted");
    world.delete("web", Some(1)).await;
    world.until_gone("web").await;
    world.until_empty().await;
    assert_eq!(world.network.attached(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panicked_is_begun_again() {
    let world = World::start().await;
    let once = AtomicBool::new(true);
    let behaviour = Behaviour::new().exec(move |_: &[String]| {
        assert!(!once.swap(false, Ordering::SeqCst), "a bug");
        Default::default()
    });
    world.runtime.on(On::image("a:1"), behaviour);
    let probe = json!({"exec": {"command": ["check"]}, "periodSeconds": 1});
    let spec = json!({"containers": [{"name": "app", "image": "a:1", "readinessProbe": probe}]});
    world.create("web", spec).await;
    let began = world.clock.now();
    world.until_ready("web").await;
    assert!(world.clock.now().duration_since(began).unsigned_abs() < Duration::from_secs(5));
}
