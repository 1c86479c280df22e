//! Devices of a plugin in containers of a real runtime, by a real agent.

mod plugin;

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use orchestra_core::cluster::Component;
use orchestra_core::k8s_openapi;
use orchestra_core::runtime::{ContainerId, Runtime};
use orchestra_core::testing::until;
use orchestra_runtime::host::DevicePlugins;
use serde_json::{Value, json};

use self::plugin::{Given, Mount, Node, Plugin};
use crate::support::pods::{NODE, World, is_ready, phase, restarts, statuses};
use crate::support::{PATIENCE, says};

const DONGLE: &str = "example.com/dongle";

/// Says what it has been given, with which it can do only what it may, and goes on until it is told to fail.
const LOOKS: &str = "read v < /opt/driver/version; (: > /opt/driver/x) 2>/dev/null || ro=read-only; \
    test -c /dev/dongle && ( : < /dev/dongle ) && reads=reads; ( : > /dev/dongle ) 2>/dev/null && writes=writes; \
    echo devices $DEVICES version $v $ro $reads ${writes:-only}; until test -e /tmp/fail; do sleep 0.1; done; exit 1";

fn wants(devices: u32) -> Value {
    let resources = json!({"limits": {DONGLE: devices.to_string()}});
    json!({"terminationGracePeriodSeconds": 1,
        "containers": [{"name": "a", "script": LOOKS, "resources": resources}]})
}

async fn shown(world: &World, capacity: &str, allocatable: &str) {
    let expected = Some((capacity.to_owned(), allocatable.to_owned()));
    until(format_args!("{expected:?} of the devices"), PATIENCE, async || {
        let node: NodeObject = world.cluster.client().cluster().find(NODE).await.unwrap()?;
        let status = node.status?;
        let found = (status.capacity?.get(DONGLE)?.0.clone(), status.allocatable?.get(DONGLE)?.0.clone());
        (Some(found) == expected).then_some(())
    })
    .await;
}

fn id(pod: &Pod) -> ContainerId {
    let shown = statuses(pod)[0].container_id.clone().unwrap();
    ContainerId::new(shown.rsplit("://").next().unwrap())
}

/// Waits until a pod says what it was given.
async fn has(world: &World, pod: &str, devices: &str) -> ContainerId {
    let found = world.until(pod, "ready", is_ready).await;
    let said = format!("devices {devices} version 7 read-only reads only");
    says(world.runtime.as_ref(), &id(&found), &said).await;
    id(&found)
}

/// Devices are counted, chosen as the plugin prefers, given with all that comes with them, kept over a new start of the container
/// and of the agent, and given back.
pub async fn gives_devices(runtime: Arc<dyn Runtime>, image: &str, place: &Path) {
    let (folder, driver) = (place.join("device-plugins"), place.join("driver"));
    std::fs::create_dir_all(&driver).unwrap();
    std::fs::write(driver.join("version"), "7\n").unwrap();
    let plugins = DevicePlugins::serve(&folder);
    until("the socket is there", PATIENCE, async || folder.join("kubelet.sock").exists().then_some(())).await;
    let given = Given {
        mounts: vec![Mount {
            container_path: "/opt/driver".into(),
            host_path: driver.display().to_string(),
            read_only: true,
        }],
        devices: vec![Node {
            container_path: "/dev/dongle".into(),
            host_path: "/dev/fuse".into(),
            permissions: "r".into(),
        }],
        ..Given::default()
    };
    let plugin = Plugin::serve(&folder, DONGLE, &["x", "y"], given).await;
    let world = World::with(runtime, image, place, Some(Arc::new(plugins))).await;
    shown(&world, "2", "2").await;
    world.create("one", wants(1)).await;
    let first = has(&world, "one", "y").await;
    assert_eq!(plugin.asked(), ["prefer 1 of x y with ", "allocate y", "start y"]);
    plugin.set(&[("x", false), ("y", true)]);
    shown(&world, "2", "1").await;
    world.create("ill", wants(1)).await;
    let failed = world.until_phase("ill", "Failed").await.status.unwrap();
    assert_eq!(failed.reason.as_deref(), Some("UnexpectedAdmissionError"));
    world.delete("ill", 0).await;

    let agent = Component::Kubelet(NODE.into());
    assert!(world.cluster.stop(&agent).await && world.cluster.start(&agent));
    plugin.set(&[("x", true), ("y", true)]);
    shown(&world, "2", "2").await;
    world.create("two", wants(1)).await;
    has(&world, "two", "x").await;
    assert_eq!(plugin.asked(), ["allocate x", "start x"]);
    let fails = ["/bin/sh", "-c", ": > /tmp/fail"].map(str::to_owned);
    world.runtime.exec_sync(&first, &fails, PATIENCE).await.unwrap();
    world.until("one", "begun again", |pod| restarts(pod) == 1 && is_ready(pod)).await;
    assert_ne!(has(&world, "one", "y").await, first);
    assert_eq!(plugin.asked(), ["start y"]);

    // Whoever comes after a pod has its devices.
    world.create("all", wants(2)).await;
    world.until_phase("all", "Failed").await;
    for pod in ["one", "two", "all"] {
        world.delete(pod, 1).await;
    }
    world.create("both", wants(2)).await;
    has(&world, "both", "x,y").await;
    drop(plugin);
    shown(&world, "2", "0").await;
    assert_eq!(phase(&world.pods().get("both").await.unwrap()), "Running");
    world.delete("both", 1).await;
    world.until_empty().await;
    world.end().await;
}
