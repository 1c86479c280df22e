//! A cluster of one node on a real runtime, and pods that do what they should not: each is told of in Kubernetes' words, ends,
//! and leaves nothing.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use orchestra_core::api::{Api, DeleteOptions};
use orchestra_core::cluster::{Cluster, Component, Node};
use orchestra_core::k8s_openapi;
use orchestra_core::network::{Applied, AttachRequest, Attachment, Network, ServicePlan};
use orchestra_core::node::{Config, DevicePlugins, Thresholds};
use orchestra_core::runtime::{Filter, PodRef, Runtime, SandboxId};
use orchestra_core::testing::until;
use orchestra_runtime::host::{NetProber, Volumes};
use serde_json::{Value, json};

use crate::support::PATIENCE;

pub const NODE: &str = "n1";

/// Pods have the addresses that the runtime gave them, and no services.
struct Given;

#[async_trait]
impl Network for Given {
    async fn attach(&self, request: &AttachRequest) -> orchestra_core::network::Result<Attachment> {
        Ok(Attachment { ips: request.runtime_ips.clone() })
    }

    async fn detach(&self, _: &SandboxId, _: &PodRef) -> orchestra_core::network::Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &ServicePlan) -> orchestra_core::network::Result<Applied> {
        Ok(Applied::default())
    }
}

/// A cluster of one node.
pub struct World {
    pub cluster: Cluster,
    pub runtime: Arc<dyn Runtime>,
    image: String,
    volumes: PathBuf,
    logs: PathBuf,
}

impl World {
    pub async fn start(runtime: Arc<dyn Runtime>, image: &str, place: &Path) -> Self {
        Self::with(runtime, image, place, None).await
    }

    /// One whose node has device plugins.
    pub async fn with(
        runtime: Arc<dyn Runtime>,
        image: &str,
        place: &Path,
        plugins: Option<Arc<dyn DevicePlugins>>,
    ) -> Self {
        let (volumes, logs) = (place.join("pod-volumes"), place.join("pod-logs"));
        // How full the disk of the machine is must not decide what becomes of the pods.
        let config = Config { log_root: logs.clone(), eviction: Thresholds::none(), ..Config::default() };
        let node = Node::new(NODE).config(config).volumes(Volumes::new(volumes.clone())).prober(NetProber);
        let node = plugins.into_iter().fold(node, Node::device_plugins);
        let cluster = Cluster::builder()
            .without(Component::Scheduler)
            .node(node, Arc::clone(&runtime), Given)
            .start()
            .await
            .unwrap();
        Self { cluster, runtime, image: image.to_owned(), volumes, logs }
    }

    pub fn pods(&self) -> Api<Pod> {
        self.cluster.client().api("default")
    }

    /// Makes a pod, with what its author wrote; a container runs a script.
    pub async fn create(&self, name: &str, spec: Value) {
        let mut spec = spec;
        spec["nodeName"] = json!(NODE);
        spec["automountServiceAccountToken"] = json!(false);
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                if container.get("image").is_none() {
                    container["image"] = json!(self.image);
                }
                container["imagePullPolicy"] = json!("IfNotPresent");
                container["securityContext"] = json!({"runAsUser": 0});
                let script = container["script"].take();
                container.as_object_mut().unwrap().remove("script");
                container["command"] = json!(["/bin/sh", "-c", script]);
            }
        }
        let pod = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
        self.pods().create(&serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    pub async fn until(&self, name: &str, what: &str, is: impl Fn(&Pod) -> bool) -> Pod {
        let pods = self.pods();
        until(format_args!("{name} is {what}"), PATIENCE * 2, async || {
            pods.find(name).await.unwrap().filter(|pod| is(pod))
        })
        .await
    }

    pub async fn until_phase(&self, name: &str, phase: &str) -> Pod {
        self.until(name, phase, |pod| self::phase(pod) == phase).await
    }

    pub async fn delete(&self, name: &str, grace: i64) {
        let options = DeleteOptions { grace_period: Some(grace), ..DeleteOptions::default() };
        self.pods().delete_with(name, options).await.unwrap();
        let pods = self.pods();
        until(format_args!("{name} is gone"), PATIENCE * 2, async || {
            pods.find(name).await.unwrap().is_none().then_some(())
        })
        .await;
    }

    /// Waits until nothing is left of any pod: no sandbox, no file, no log.
    pub async fn until_empty(&self) {
        let names = |folder: &Path| -> Vec<OsString> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name()).collect()
        };
        let left = Mutex::new(String::new());
        let what = fmt::from_fn(|f| write!(f, "nothing is left of the pods: {}", left.lock().unwrap()));
        until(&what, PATIENCE, async || {
            let sandboxes = self.runtime.list(&Filter::default()).await;
            let (volumes, logs) = (names(&self.volumes), names(&self.logs));
            *left.lock().unwrap() = format!("{sandboxes:?}, volumes of {volumes:?}, logs of {logs:?}");
            let is_empty = sandboxes.is_ok_and(|all| all.is_empty()) && volumes.is_empty() && logs.is_empty();
            is_empty.then_some(())
        })
        .await;
    }

    /// What was said of a pod: its events' reasons with their messages.
    pub async fn events(&self, pod: &str) -> String {
        let all: Vec<Event> = self.cluster.client().api::<Event>("default").list().await.unwrap();
        let own = all.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(pod));
        own.map(|event| {
            format!("{} {}\n", event.reason.unwrap_or_default(), event.message.unwrap_or_default())
        })
        .collect()
    }

    pub async fn until_said(&self, pod: &str, text: &str) {
        until(format_args!("{text:?} is said of {pod}"), PATIENCE, async || {
            self.events(pod).await.contains(text).then_some(())
        })
        .await;
    }

    pub async fn end(self) {
        self.cluster.shutdown().await;
    }
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn statuses(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default()
}

pub fn is_ready(pod: &Pod) -> bool {
    let all = statuses(pod);
    !all.is_empty() && all.iter().all(|status| status.ready)
}

/// How often the containers of a pod were started again.
pub fn restarts(pod: &Pod) -> i32 {
    statuses(pod).iter().map(|status| status.restart_count).sum()
}

/// Pods that are too many, hang, do not want to end, fill what they can. The node bears them.
pub async fn bears_bad_pods(runtime: Arc<dyn Runtime>, image: &str, place: &Path) {
    let world = World::start(runtime, image, place).await;
    tokio::join!(
        a_name_that_is_none(&world),
        hooks_and_probes_that_hang(&world),
        what_does_not_want_to_end(&world),
        a_log_at_full_speed(&world),
        what_fills_its_disk(&world),
    );
    fifty_containers(&world).await;
    world.until_empty().await;
    world.end().await;
}

async fn a_name_that_is_none(world: &World) {
    world.create("noname", json!({"containers": [{"name": "a", "image": "Not:A:Name", "script": ""}]})).await;
    let waits = |pod: &Pod| {
        let state = statuses(pod).first().and_then(|status| status.state.as_ref()?.waiting.clone());
        state.and_then(|waiting| waiting.reason).as_deref() == Some("InvalidImageName")
    };
    world.until("noname", "refused", waits).await;
    world.delete("noname", 0).await;
}

async fn fifty_containers(world: &World) {
    let containers: Vec<Value> = (0..50)
        .map(|n| json!({"name": format!("c{n}"), "script": "trap exit TERM; sleep 600 & wait"}))
        .collect();
    world.create("fifty", json!({"containers": containers})).await;
    let pod = world.until("fifty", "ready", |pod| statuses(pod).len() == 50 && is_ready(pod)).await;
    assert_eq!(restarts(&pod), 0);
    world.delete("fifty", 30).await;
}

/// A hook ends with its grace, and a probe with its time; neither keeps the pod.
async fn hooks_and_probes_that_hang(world: &World) {
    let hang = json!({"exec": {"command": ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 48150; done"]}});
    let mut probe = hang.clone();
    probe["timeoutSeconds"] = json!(1);
    probe["periodSeconds"] = json!(1);
    probe["failureThreshold"] = json!(2);
    let containers = json!([
        {"name": "hook", "script": "trap exit TERM; sleep 600 & wait", "lifecycle": {"preStop": hang}},
        {"name": "probe", "script": "sleep 600", "livenessProbe": probe},
    ]);
    world.create("hangs", json!({"terminationGracePeriodSeconds": 2, "containers": containers})).await;
    world.until("hangs", "restarted", |pod| restarts(pod) > 0).await;
    world.until_said("hangs", "Liveness probe failed").await;
    world.delete("hangs", 2).await;
    world.until_said("hangs", "FailedPreStopHook").await;
}

/// A thousand children that hear nothing.
async fn what_does_not_want_to_end(world: &World) {
    let script = "trap '' TERM; i=0; while [ $i -lt 1000 ]; do sleep 48151 & i=$((i+1)); done; echo up; wait";
    world.create("deaf", json!({"containers": [{"name": "a", "script": script}]})).await;
    world.until("deaf", "ready", is_ready).await;
    world.delete("deaf", 1).await;
}

/// A log that is written without end is put aside, and no more of it is kept than may be.
async fn a_log_at_full_speed(world: &World) {
    let script = "exec /bin/busybox yes 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    world.create("loud", json!({"containers": [{"name": "a", "script": script}]})).await;
    let pod = world.until("loud", "ready", is_ready).await;
    let folder = world.logs.join(format!("default_loud_{}/a", pod.metadata.uid.as_deref().unwrap()));
    // Docker keeps its logs itself.
    if folder.exists() {
        let files = || std::fs::read_dir(&folder).unwrap().count();
        until("the log is put aside again and again", PATIENCE, async || (files() > 2).then_some(())).await;
        assert!(files() <= 6, "one of them is about to go");
    }
    world.delete("loud", 1).await;
}

async fn what_fills_its_disk(world: &World) {
    let script = "/bin/busybox dd if=/dev/zero of=/tmp/all bs=1M count=64; sleep 600";
    let resources = json!({"limits": {"ephemeral-storage": "20Mi"}});
    let container = json!({"name": "a", "script": script, "resources": resources});
    world.create("full", json!({"terminationGracePeriodSeconds": 1, "containers": [container]})).await;
    let pod = world.until_phase("full", "Failed").await;
    let status = pod.status.unwrap();
    assert_eq!(status.reason.as_deref(), Some("Evicted"));
    let message = status.message.unwrap();
    assert!(message.contains("ephemeral"), "{message}");
    world.delete("full", 0).await;
}

/// A daemon that can be killed and begun again.
#[async_trait]
pub trait Mortal: Send {
    fn kill(&mut self);
    async fn restart(&mut self);
}

/// Whenever the daemon is killed, a pod that was to run runs, one that was to go goes, and nothing that runs is begun again.
pub async fn bears_a_daemon_that_is_killed(
    daemon: &mut dyn Mortal,
    runtime: Arc<dyn Runtime>,
    image: &str,
    place: &Path,
) {
    let world = World::start(runtime, image, place).await;
    let ids = |pod: &Pod| -> Vec<Option<String>> {
        statuses(pod).iter().map(|status| status.container_id.clone()).collect()
    };
    for wait in [0, 30, 100, 300, 700].map(Duration::from_millis) {
        let name = format!("after-{}", wait.as_millis());
        let spec = json!({"containers": [{"name": "a", "script": "trap exit TERM; sleep 48160 & wait"}]});
        world.create(&name, spec).await;
        tokio::time::sleep(wait).await;
        daemon.kill();
        daemon.restart().await;
        let before = world.until(&name, "ready", is_ready).await;
        assert!(restarts(&before) <= 1, "{name}");
        daemon.kill();
        daemon.restart().await;
        // Whatever the node made of that, it has done before it runs another.
        let other = format!("{name}-other");
        world.create(&other, json!({"containers": [{"name": "a", "script": "sleep 600"}]})).await;
        world.until(&other, "ready", is_ready).await;
        let after = world.until(&name, "ready", is_ready).await;
        assert_eq!((ids(&after), restarts(&after)), (ids(&before), restarts(&before)), "{name}");
        let ends = async {
            world.delete(&name, 1).await;
            world.delete(&other, 1).await;
        };
        let dies = async {
            tokio::time::sleep(wait).await;
            daemon.kill();
            daemon.restart().await;
        };
        tokio::join!(ends, dies);
    }
    world.until_empty().await;
    world.end().await;
}
