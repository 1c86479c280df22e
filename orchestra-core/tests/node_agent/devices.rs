//! Devices of plugins: counted in the node's status, given to containers, each to one pod at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Node, Pod};
use orchestra_core::k8s_openapi;
use orchestra_core::node::{Choice, DeviceError, DevicePlugins, Devices, Given};
use orchestra_core::runtime::ContainerId;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::world::{NODE, World, container, waiting};

const DONGLE: &str = "example.com/dongle";

/// A plugin whose devices are set, and which writes down what it is asked.
#[derive(Default)]
struct Dongles {
    devices: Mutex<Devices>,
    asked: Mutex<Vec<String>>,
    refuses: Mutex<bool>,
    prefers: Mutex<Vec<String>>,
    changed: Notify,
}

impl Dongles {
    fn of(healthy: &[&str]) -> Arc<Self> {
        let dongles = Self::default();
        dongles.set(healthy, &[]);
        Arc::new(dongles)
    }

    fn set(&self, healthy: &[&str], unhealthy: &[&str]) {
        let set =
            |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        *self.devices.lock().unwrap() = Devices { healthy: set(healthy), unhealthy: set(unhealthy) };
        self.changed.notify_one();
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn note(&self, text: String) {
        self.asked.lock().unwrap().push(text);
    }
}

#[async_trait]
impl DevicePlugins for Dongles {
    fn resources(&self) -> BTreeMap<String, Devices> {
        [(DONGLE.to_owned(), self.devices.lock().unwrap().clone())].into()
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn preferred(&self, _: &str, choice: &Choice) -> Result<Vec<String>, DeviceError> {
        self.note(format!("prefer {} of {:?} with {:?}", choice.size, choice.available, choice.must_include));
        Ok(self.prefers.lock().unwrap().clone())
    }

    async fn allocate(&self, resource: &str, devices: &[String]) -> Result<Given, DeviceError> {
        self.note(format!("allocate {devices:?}"));
        if *self.refuses.lock().unwrap() {
            return Err(DeviceError::Failed { resource: resource.to_owned(), message: "broken".into() });
        }
        Ok(Given { env: [("DONGLES".to_owned(), devices.join(","))].into(), ..Given::default() })
    }

    async fn pre_start(&self, _: &str, devices: &[String]) -> Result<(), DeviceError> {
        self.note(format!("start {devices:?}"));
        Ok(())
    }
}

async fn world(dongles: &Arc<Dongles>) -> World {
    let mut world = World::without_agent().await;
    world.plugins = Some(dongles.clone());
    world.start_agent();
    world
}

fn wants(name: &str, devices: u32) -> Value {
    json!({"name": name, "image": "a:1", "resources": {"limits": {DONGLE: devices.to_string()}}})
}

async fn figures(world: &World) -> Option<(String, String)> {
    let status = world.client.cluster::<Node>().find(NODE).await.unwrap()?.status?;
    Some((status.capacity?.get(DONGLE)?.0.clone(), status.allocatable?.get(DONGLE)?.0.clone()))
}

fn shown(capacity: &str, allocatable: &str) -> Option<(String, String)> {
    Some((capacity.to_owned(), allocatable.to_owned()))
}

#[tokio::test(start_paused = true)]
async fn the_node_says_at_once_what_devices_it_has() {
    let dongles = Dongles::of(&["a", "b"]);
    let world = world(&dongles).await;
    world.sleep(1.0).await;
    assert_eq!(figures(&world).await, shown("2", "2"));
    dongles.set(&["a"], &["b", "c"]);
    world.sleep(0.1).await;
    assert_eq!(figures(&world).await, shown("3", "1"));
    dongles.set(&[], &[]);
    world.sleep(0.1).await;
    assert_eq!(figures(&world).await, shown("0", "0"));
}

#[tokio::test(start_paused = true)]
async fn a_device_is_one_pods_until_that_has_ended() {
    let dongles = Dongles::of(&["a", "b"]);
    let world = world(&dongles).await;
    world.create("one", json!({"containers": [wants("app", 1)]})).await;
    world.until_ready("one").await;
    world.create("two", json!({"containers": [wants("app", 1), {"name": "none", "image": "a:1"}]})).await;
    world.until_ready("two").await;
    assert_eq!(
        dongles.taken(),
        [
            r#"prefer 1 of ["a", "b"] with []"#,
            r#"allocate ["a"]"#,
            r#"start ["a"]"#,
            r#"allocate ["b"]"#,
            r#"start ["b"]"#
        ]
    );
    world.create("three", json!({"containers": [wants("app", 1)]})).await;
    let failed = world.until_phase("three", "Failed").await.status.unwrap();
    assert_eq!(failed.reason.as_deref(), Some("UnexpectedAdmissionError"));
    let why = "Allocate failed due to requested number of devices unavailable for example.com/dongle. \
               Requested: 1, Available: 0, which is unexpected";
    assert_eq!(failed.message, Some(format!("Pod was rejected: {why}")));
    assert!(world.events("three").await.contains(&format!("Warning UnexpectedAdmissionError {why}")));
    // What ends gives its devices to whoever comes next.
    world.delete("one", Some(1)).await;
    world.until_gone("one").await;
    world.create("four", json!({"containers": [wants("app", 1)]})).await;
    world.until_ready("four").await;
    assert_eq!(dongles.taken(), [r#"allocate ["a"]"#, r#"start ["a"]"#]);
}

#[tokio::test(start_paused = true)]
async fn what_has_run_to_its_end_holds_nothing() {
    let dongles = Dongles::of(&["a"]);
    let world = world(&dongles).await;
    world.create("job", json!({"restartPolicy": "Never", "containers": [wants("app", 1)]})).await;
    let pod = world.until_ready("job").await;
    world.runtime.exit(&id(&pod, "app"), 0);
    world.until_phase("job", "Succeeded").await;
    world.create("next", json!({"containers": [wants("app", 1)]})).await;
    world.until_ready("next").await;
}

fn id(pod: &Pod, name: &str) -> ContainerId {
    let shown = container(pod, name).unwrap().container_id.clone().unwrap();
    ContainerId::new(shown.rsplit("://").next().unwrap())
}

#[tokio::test(start_paused = true)]
async fn another_agent_knows_who_has_which_device() {
    let dongles = Dongles::of(&["a", "b"]);
    let mut world = world(&dongles).await;
    world.create("one", json!({"containers": [wants("app", 1)]})).await;
    let pod = world.until_ready("one").await;
    dongles.taken();
    world.kill_agent().await;
    world.start_agent();
    world.sleep(1.0).await;
    world.create("two", json!({"containers": [wants("app", 1)]})).await;
    world.until_ready("two").await;
    assert_eq!(dongles.taken(), [r#"allocate ["b"]"#, r#"start ["b"]"#]);
    // A container that starts again has what it had, and the plugin is told.
    world.runtime.exit(&id(&pod, "app"), 1);
    let again =
        |pod: &Pod| container(pod, "app").is_some_and(|status| status.restart_count == 1 && status.ready);
    world.until("one", "started again", again).await;
    assert_eq!(dongles.taken(), [r#"start ["a"]"#]);
    // How it is can be seen where it is.
    let health = |pod: &Pod| {
        let shown = container(pod, "app")?.allocated_resources_status.clone()?;
        let one = shown.first()?.resources.clone()?.pop()?;
        Some(format!("{} {} {}", shown[0].name, one.resource_id, one.health?))
    };
    assert_eq!(health(&world.get("one").await).as_deref(), Some("example.com/dongle a Healthy"));
    dongles.set(&["b"], &["a"]);
    world.until("one", "ill", |pod| health(pod).as_deref() == Some("example.com/dongle a Unhealthy")).await;
    world.create("three", json!({"containers": [wants("app", 1)]})).await;
    world.until_phase("three", "Failed").await;
}

#[tokio::test(start_paused = true)]
async fn the_devices_of_an_init_container_are_had_by_those_after_it() {
    let dongles = Dongles::of(&["a", "b", "c"]);
    dongles.prefers.lock().unwrap().extend(["c".to_owned(), "nonsense".to_owned()]);
    let world = world(&dongles).await;
    let init = wants("init", 2);
    let spec = json!({"initContainers": [init], "containers": [wants("app", 1), wants("other", 2)]});
    world.create("web", spec).await;
    let pod = world
        .until("web", "begun", |pod| container(pod, "init").is_some_and(|c| c.container_id.is_some()))
        .await;
    world.runtime.exit(&id(&pod, "init"), 0);
    world.until_ready("web").await;
    assert_eq!(
        dongles.taken(),
        [
            r#"prefer 2 of ["a", "b", "c"] with []"#,
            r#"allocate ["c", "a"]"#,
            r#"prefer 1 of ["c", "b"] with ["c"]"#,
            r#"allocate ["c"]"#,
            r#"allocate ["a", "b"]"#,
            r#"start ["c", "a"]"#,
            r#"start ["c"]"#,
            r#"start ["a", "b"]"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_refuses_is_had_by_others() {
    let dongles = Dongles::of(&["a"]);
    *dongles.refuses.lock().unwrap() = true;
    let world = world(&dongles).await;
    world.create("one", json!({"containers": [wants("app", 1)]})).await;
    let status = world.until_phase("one", "Failed").await.status.unwrap();
    let why = "Pod was rejected: Allocate failed due to the device plugin of example.com/dongle: broken, which is \
               unexpected";
    assert_eq!(status.message.as_deref(), Some(why));
    *dongles.refuses.lock().unwrap() = false;
    world.create("two", json!({"containers": [wants("app", 1)]})).await;
    world.until_ready("two").await;
    // What no plugin knows is somebody else's.
    let odd = json!({"name": "app", "image": "a:1", "resources": {"limits": {"b.io/hand": "1"}}});
    world.create("odd", json!({"containers": [odd]})).await;
    let pod = world.until_ready("odd").await;
    assert_eq!(waiting(&pod, "app"), "");
    dongles.set(&[], &["a"]);
    world.create("ill", json!({"containers": [wants("app", 1)]})).await;
    let status = world.until_phase("ill", "Failed").await.status.unwrap();
    assert!(status.message.unwrap().contains("no healthy devices present"));
}
