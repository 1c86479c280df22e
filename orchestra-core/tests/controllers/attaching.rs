//! Volumes that a driver attaches to nodes, with everything at work: agents that show them, and a driver that takes its time.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, VolumeAttachment};
use orchestra_core::api::{Api, Client, DeleteOptions, Patch, WatchOptions, Watched};
use orchestra_core::clock::TokioClock;
use orchestra_core::cluster::{self, Cluster};
use orchestra_core::meta::{Object, Scope};
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::node::CsiDriver;
use orchestra_core::node::fake::FakeHost;
use orchestra_core::runtime::fake::FakeRuntime;
use orchestra_core::testing::until;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

pub(super) const DRIVER: &str = "disks.test";
const FINALIZER: &str = "external-attacher/disks-test";
/// How long anything may take, in the cluster's time.
pub(super) const PATIENCE: Duration = Duration::from_secs(3600);
/// How long the driver takes.
const SLOWLY: Duration = Duration::from_secs(5);
/// A disk of one node at a time, and one of many.
pub(super) const ONE: &str = "ReadWriteOnce";
const MANY: &str = "ReadWriteMany";

pub(super) struct World {
    pub(super) client: Client,
    pub(super) hosts: [FakeHost; 2],
    _cluster: Cluster,
    _attacher: DropGuard,
}

impl World {
    /// Two nodes, `a` and `b`, with a driver on each, and what attaches its volumes.
    pub(super) async fn start() -> Self {
        let hosts = [FakeHost::new(), FakeHost::new()];
        let clock = TokioClock::simulated(7);
        let mut builder = Cluster::builder().rbac().clock(clock.clone());
        for (name, host) in ["a", "b"].into_iter().zip(&hosts) {
            host.install(driver(name));
            let node = cluster::Node::new(name).volumes(host.clone()).prober(host.clone());
            builder = builder.node(node, FakeRuntime::new(clock.clone()), FakeNetwork::new());
        }
        let cluster = builder.start().await.unwrap();
        let client = cluster.client();
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(attacher(client.clone())));
        let world = Self { client, hosts, _cluster: cluster, _attacher: stop.drop_guard() };
        world
            .create::<CSIDriver>(json!({"metadata": {"name": DRIVER}, "spec": {"attachRequired": true}}))
            .await;
        world
    }

    pub(super) async fn create<K: Object>(&self, object: Value) {
        let object: K = serde_json::from_value(object).unwrap();
        let api = match K::SCOPE {
            Scope::Namespaced => self.client.api("default"),
            Scope::Cluster => self.client.cluster(),
        };
        api.create(&object).await.unwrap();
    }

    /// A disk and a claim that has it.
    pub(super) async fn disk(&self, name: &str, mode: &str) {
        let claim_ref = json!({"namespace": "default", "name": name});
        let size = json!({"storage": "1Gi"});
        self.create::<PersistentVolume>(json!({"metadata": {"name": name}, "spec": {
            "capacity": size, "accessModes": [mode], "claimRef": claim_ref,
            "csi": {"driver": DRIVER, "volumeHandle": format!("disk/{name}")},
        }}))
        .await;
        let spec = json!({
            "accessModes": [mode], "storageClassName": "", "volumeName": name, "resources": {"requests": size},
        });
        self.create::<PersistentVolumeClaim>(json!({"metadata": {"name": name}, "spec": spec})).await;
    }

    pub(super) async fn pod(&self, name: &str, node: &str, claim: &str, change: Value) {
        let mut spec = json!({
            "nodeName": node, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}],
        });
        for (key, value) in change.as_object().unwrap() {
            spec[key] = value.clone();
        }
        self.create::<Pod>(json!({"metadata": {"name": name}, "spec": spec})).await;
    }

    pub(super) fn pods(&self) -> Api<Pod> {
        self.client.api("default")
    }

    pub(super) async fn phase(&self, pod: &str, phase: &str) -> Pod {
        until(format!("{pod} is {phase}"), PATIENCE, async || {
            let pod = self.pods().get(pod).await.unwrap();
            (pod.status.as_ref()?.phase.as_deref() == Some(phase)).then_some(pod)
        })
        .await
    }

    /// The nodes that volumes are attached to, each with what its node says of itself: `a disk` for one that is told of it,
    /// with `!` if it uses it.
    async fn attached(&self) -> Vec<String> {
        let mut all = Vec::new();
        for held in self.client.cluster::<VolumeAttachment>().list().await.unwrap() {
            let name = held.spec.source.persistent_volume_name.unwrap();
            let called = format!("kubernetes.io/csi/{DRIVER}^disk/{name}");
            let node = self.client.cluster::<Node>().find(&held.spec.node_name).await.unwrap();
            let status = node.and_then(|node| node.status).unwrap_or_default();
            let told = status.volumes_attached.iter().flatten().any(|it| it.name == called);
            let used = status.volumes_in_use.iter().flatten().any(|it| *it == called);
            let mark = |is: bool, mark: &'static str| if is { mark } else { "" };
            let leaving = held.metadata.deletion_timestamp.is_some();
            let marks = [mark(told, "+"), mark(used, "!"), mark(leaving, " leaving")].concat();
            all.push(format!("{name} {}{marks}", held.spec.node_name));
        }
        all.sort();
        all
    }

    async fn until_attached(&self, expected: &[&str]) {
        until(format!("{expected:?}"), PATIENCE, async || (self.attached().await == expected).then_some(()))
            .await;
    }

    /// The events about a pod that tell of attaching.
    async fn told(&self, pod: &str) -> Vec<String> {
        // Until the recorders have written what they have.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut events = self.client.api::<Event>("default").list().await.unwrap();
        events.retain(|event| {
            event.involved_object.name.as_deref() == Some(pod)
                && event.reason.as_deref().is_some_and(|reason| reason.contains("AttachVolume"))
        });
        events.sort_by_key(|event| event.metadata.creation_timestamp.clone().map(|time| time.0));
        let text = |event: Event| format!("{}: {}", event.reason.unwrap(), event.message.unwrap().trim());
        events.into_iter().map(text).collect()
    }
}

fn driver(node: &str) -> CsiDriver {
    CsiDriver {
        name: DRIVER.into(),
        node_id: format!("machine-{node}"),
        topology: [("disks.test/rack".to_owned(), "r1".to_owned())].into(),
        most_volumes: Some(8),
    }
}

async fn has_driver(client: &Client, node: &str) -> bool {
    let found = client.cluster::<CSINode>().find(node).await.unwrap();
    let drivers = found.map(|found| found.spec.drivers).unwrap_or_default();
    drivers.iter().any(|it| it.name == DRIVER && it.node_id == format!("machine-{node}"))
}

/// Attaches and detaches, slowly, as the controller of a driver does.
async fn attacher(client: Client) {
    let api = client.cluster::<VolumeAttachment>();
    let mut watch = api.watch(WatchOptions::default()).await.unwrap();
    while let Some(event) = watch.next().await {
        let (Watched::Added(held) | Watched::Modified(held)) = event.unwrap() else { continue };
        let (name, node) = (held.metadata.name.as_deref().unwrap(), &held.spec.node_name);
        let patch = |finalizers: Value| Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
        if held.metadata.deletion_timestamp.is_some() {
            tokio::time::sleep(SLOWLY).await;
            let _ = api.patch(name, patch(Value::Null)).await;
        } else if !held.status.as_ref().is_some_and(|status| status.attached) {
            // It knows the node by what the driver there calls it.
            while !has_driver(&client, node).await {
                tokio::time::sleep(SLOWLY).await;
            }
            tokio::time::sleep(SLOWLY).await;
            let _ = api.patch(name, patch(json!([FINALIZER]))).await;
            let status = json!({"status": {"attached": true, "attachmentMetadata": {"device": format!("/dev/{node}")}}});
            let _ = api.patch_status(name, Patch::Merge(status)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_attached_before_it_is_shown_and_detached_when_it_is_shown_no_more() {
    let world = World::start().await;
    world.disk("data", ONE).await;
    world.pod("first", "a", "data", json!({})).await;
    let pod = world.phase("first", "Running").await;
    let uid = pod.metadata.uid.unwrap();
    let shown = &world.hosts[0].shown(&uid)["v"];
    assert_eq!(shown.attached.as_ref().unwrap()["device"], "/dev/a");
    assert_eq!(world.attached().await, ["data a+!"]);
    let attachments = world.client.cluster::<VolumeAttachment>().list().await.unwrap();
    // printf disk/datadisks.testa | sha256sum
    let name = "csi-7476c1c8f40f5d31";
    assert!(attachments[0].metadata.name.as_ref().unwrap().starts_with(name), "{attachments:?}");
    let told = "SuccessfulAttachVolume: AttachVolume.Attach succeeded for volume \"data\"";
    assert_eq!(world.told("first").await, [told]);
    // What a driver does not take back stays where it is.
    world.hosts[0].hold(true);
    world.pods().delete("first").await.unwrap();
    until("the pod goes", PATIENCE, async || {
        world.pods().find("first").await.unwrap().is_none().then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(world.attached().await, ["data a+!"]);
    world.hosts[0].hold(false);
    world.until_attached(&["data a leaving"]).await;
    world.until_attached(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_of_one_node_moves_when_the_first_pod_is_over_though_it_is_still_there() {
    let world = World::start().await;
    world.disk("data", ONE).await;
    let job = json!({"restartPolicy": "Never", "containers": [{
        "name": "main", "image": "i", "command": ["sleep", "600"], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }]});
    world.pod("job", "a", "data", job).await;
    world.phase("job", "Running").await;
    world.pod("next", "b", "data", json!({})).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.attached().await, ["data a+!"]);
    let refused =
        "FailedAttachVolume: Multi-Attach error for volume \"data\" Volume is already used by pod(s) job";
    assert_eq!(world.told("next").await, [refused]);
    world.phase("job", "Succeeded").await;
    let next = world.phase("next", "Running").await;
    assert_eq!(world.attached().await, ["data b+!"]);
    assert!(world.hosts[1].shown(&next.metadata.uid.unwrap()).contains_key("v"));
    let told = world.told("next").await;
    assert!(told.last().unwrap().starts_with("SuccessfulAttachVolume"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_disk_of_many_nodes_is_on_each_that_needs_it() {
    let world = World::start().await;
    world.disk("data", MANY).await;
    for (pod, node) in [("one", "a"), ("two", "b"), ("three", "b")] {
        world.pod(pod, node, "data", json!({})).await;
    }
    for pod in ["one", "two", "three"] {
        world.phase(pod, "Running").await;
    }
    assert_eq!(world.attached().await, ["data a+!", "data b+!"]);
    world.pods().delete("two").await.unwrap();
    world.pods().delete("one").await.unwrap();
    world.until_attached(&["data b+!"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_attaches_nothing_is_asked_at_once() {
    let world = World::start().await;
    let spec = json!({"spec": {"attachRequired": false}});
    let drivers = world.client.cluster::<CSIDriver>();
    drivers.delete(DRIVER).await.unwrap();
    world.create::<CSIDriver>(json!({"metadata": {"name": DRIVER}, "spec": spec["spec"]})).await;
    world.disk("data", ONE).await;
    world.pod("first", "a", "data", json!({})).await;
    world.phase("first", "Running").await;
    assert!(world.attached().await.is_empty());
    let node = world.client.cluster::<Node>().get("a").await.unwrap();
    assert_eq!(node.status.unwrap().volumes_in_use, None);
}

#[tokio::test(start_paused = true)]
async fn a_node_says_which_drivers_it_has() {
    let world = World::start().await;
    let nodes = world.client.cluster::<CSINode>();
    let drivers = async |what: &str, count: usize| {
        until(format!("the node {what}"), PATIENCE, async || {
            let found = nodes.find("a").await.unwrap()?;
            (found.spec.drivers.len() == count).then_some(found)
        })
        .await
    };
    let found = drivers("has one", 1).await;
    let node = world.client.cluster::<Node>().get("a").await.unwrap();
    assert_eq!(found.metadata.owner_references.unwrap()[0].uid, node.metadata.uid.unwrap());
    let driver = &found.spec.drivers[0];
    assert_eq!((&*driver.name, &*driver.node_id), (DRIVER, "machine-a"));
    assert_eq!(driver.topology_keys.as_ref().unwrap(), &["disks.test/rack"]);
    assert_eq!(driver.allocatable.as_ref().unwrap().count, Some(8));
    assert_eq!(node.metadata.labels.unwrap()["disks.test/rack"], "r1");
    let ids = &node.metadata.annotations.unwrap()["csi.volume.kubernetes.io/nodeid"];
    assert_eq!(ids, "{\"disks.test\":\"machine-a\"}");
    world.hosts[0].uninstall(DRIVER);
    drivers("has none", 0).await;
}

/// Nodes that are only said to be: what they say of themselves is written here.
async fn silent(world: &World, name: &str, taint: bool) {
    let taints = if taint {
        json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}])
    } else {
        json!([])
    };
    world.create::<Node>(json!({
        "metadata": {
            "name": name, "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {"taints": taints},
        "status": {
            "conditions": [{"type": "Ready", "status": "Unknown"}],
            "volumesInUse": [format!("kubernetes.io/csi/{DRIVER}^disk/data")],
        },
    }))
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_silent_is_waited_for_six_minutes_and_one_out_of_service_not_at_all() {
    for (taint, least, most) in [(false, 360, 380), (true, 0, 15)] {
        let world = World::start().await;
        world.disk("data", ONE).await;
        silent(&world, "lost", taint).await;
        let spec = json!({"drivers": [{"name": DRIVER, "nodeID": "machine-lost"}]});
        world.create::<CSINode>(json!({"metadata": {"name": "lost"}, "spec": spec})).await;
        let stays = json!({"tolerations": [{"operator": "Exists"}]});
        world.pod("first", "lost", "data", stays).await;
        world.until_attached(&["data lost+!"]).await;
        let began = tokio::time::Instant::now();
        let now = DeleteOptions { grace_period: Some(0), ..DeleteOptions::default() };
        world.pods().delete_with("first", now).await.unwrap();
        world.pod("next", "a", "data", json!({})).await;
        world.until_attached(&["data lost! leaving"]).await;
        let waited = began.elapsed().as_secs();
        assert!((least..=most).contains(&waited), "{waited} s, out of service: {taint}");
        world.phase("next", "Running").await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_volumes_that_are_one_to_their_driver_are_one() {
    let world = World::start().await;
    world.disk("data", ONE).await;
    let claim_ref = json!({"namespace": "default", "name": "same"});
    let size = json!({"storage": "1Gi"});
    world
        .create::<PersistentVolume>(json!({"metadata": {"name": "same"}, "spec": {
            "capacity": size, "accessModes": [ONE], "claimRef": claim_ref,
            "csi": {"driver": DRIVER, "volumeHandle": "disk/data"},
        }}))
        .await;
    let spec = json!({
        "accessModes": [ONE], "storageClassName": "", "volumeName": "same", "resources": {"requests": size},
    });
    world.create::<PersistentVolumeClaim>(json!({"metadata": {"name": "same"}, "spec": spec})).await;
    world.pod("one", "a", "data", json!({})).await;
    world.phase("one", "Running").await;
    world.pod("two", "a", "same", json!({})).await;
    world.phase("two", "Running").await;
    world.pods().delete("one").await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.attached().await, ["data a+!"], "the other pod has it still");
    world.pods().delete("two").await.unwrap();
    world.until_attached(&[]).await;
}
