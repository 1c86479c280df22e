//! Pods of manifests, with the API and without it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use orchestra_core::k8s_openapi;
use orchestra_core::node::{HostError, Manifest, Manifests};
use orchestra_core::runtime::fake::{Behaviour, Call, On};
use serde_json::json;
use tokio::sync::Notify;

use crate::world::{NODE, World, phase};

/// A folder in memory.
#[derive(Default)]
struct Folder {
    files: Mutex<BTreeMap<&'static str, String>>,
    broken: Mutex<bool>,
    changed: Notify,
}

impl Folder {
    fn put(&self, name: &'static str, text: impl Into<String>) {
        self.files.lock().unwrap().insert(name, text.into());
        self.changed.notify_one();
    }

    fn remove(&self, name: &str) {
        self.files.lock().unwrap().remove(name);
        self.changed.notify_one();
    }

    fn set_broken(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
        self.changed.notify_one();
    }
}

#[async_trait]
impl Manifests for Folder {
    fn source(&self) -> &'static str {
        "file"
    }

    async fn read(&self) -> Result<Vec<Manifest>, HostError> {
        if *self.broken.lock().unwrap() {
            return Err(HostError::Io { path: "/manifests".into(), message: "input/output error".into() });
        }
        let files = self.files.lock().unwrap();
        let manifest = |(name, text): (&&str, &String)| Manifest {
            origin: format!("/manifests/{name}"),
            text: text.clone().into_bytes(),
        };
        Ok(files.iter().map(manifest).collect())
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn web(image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web}}\n\
         spec: {{terminationGracePeriodSeconds: 20, containers: [{{name: app, image: {image}}}]}}\n"
    )
}

async fn world() -> (World, Arc<Folder>) {
    let folder = Arc::<Folder>::default();
    let mut world = World::without_agent().await;
    world.manifests.push(folder.clone());
    (world, folder)
}

fn mirror_of(pod: &Pod) -> Option<&String> {
    pod.metadata.annotations.as_ref()?.get("kubernetes.io/config.mirror")
}

const NAME: &str = "web-n1";

#[tokio::test(start_paused = true)]
async fn a_manifest_runs_and_the_api_shows_it() {
    let (mut world, folder) = world().await;
    folder.put("web.yaml", web("nginx:1"));
    world.start_agent();
    let pod = world.until_ready(NAME).await;
    assert_eq!(phase(&pod), "Running");
    let owner = &pod.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), owner.name.as_str()), ("Node", NODE));
    let sandboxes = world.sandboxes().await;
    assert_eq!(sandboxes.len(), 1, "the mirror is not run too");
    assert_eq!(Some(&sandboxes[0].meta.pod.uid), mirror_of(&pod));
    assert_ne!(Some(&sandboxes[0].meta.pod.uid), pod.metadata.uid.as_ref());

    // Whoever deletes what is shown changes nothing of what runs.
    world.delete(NAME, None).await;
    let again = |shown: &Pod| shown.metadata.uid != pod.metadata.uid && phase(shown) == "Running";
    world.until(NAME, "shown again", again).await;
    assert_eq!(world.sandboxes().await[0].id, sandboxes[0].id);

    folder.remove("web.yaml");
    world.until_gone(NAME).await;
    world.until_empty().await;
}

#[tokio::test(start_paused = true)]
async fn another_manifest_is_another_pod_that_waits_for_the_first_to_end() {
    let (mut world, folder) = world().await;
    world.runtime.on(On::image("nginx:1"), Behaviour::new().stops_in(Duration::from_secs(10), 0));
    folder.put("web.yaml", web("nginx:1"));
    world.start_agent();
    let first = world.until_ready(NAME).await;
    folder.put("web.yaml", web("nginx:2"));
    world.sleep(5.0).await;
    assert_eq!(world.sandboxes().await.len(), 1, "it is still on its way out, within its own grace");
    let image = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.clone();
    let second = |pod: &Pod| image(pod).as_deref() == Some("nginx:2") && phase(pod) == "Running";
    let second = world.until(NAME, "the second", second).await;
    assert_ne!(mirror_of(&first), mirror_of(&second));
    assert_eq!(world.sandboxes().await.len(), 1);
    // What cannot be read, or is none, ends nothing; what is wrong runs nothing.
    folder.set_broken(true);
    world.sleep(60.0).await;
    folder.set_broken(false);
    folder.put("other.yaml", "kind: Pod\napiVersion: v1\nmetadata: {name: other}\nspec: {containers: []}\n");
    world.sleep(60.0).await;
    assert_eq!(world.sandboxes().await.len(), 1);
    assert_eq!(world.runtime.calls(Call::StartContainer), 2);
}

#[tokio::test(start_paused = true)]
async fn another_agent_finds_what_runs_and_ends_what_has_no_manifest_any_more() {
    let (mut world, folder) = world().await;
    folder.put("web.yaml", web("nginx:1"));
    world.start_agent();
    world.until_ready(NAME).await;
    let before = world.sandboxes().await;
    world.kill_agent().await;
    world.sleep(10.0).await;
    world.start_agent();
    world.sleep(60.0).await;
    assert_eq!(world.sandboxes().await[0].id, before[0].id);
    assert_eq!(world.runtime.calls(Call::StartContainer), 1);
    world.kill_agent().await;
    folder.remove("web.yaml");
    world.start_agent();
    world.until_empty().await;
    world.until_gone(NAME).await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_crashes_is_started_again() {
    let (mut world, folder) = world().await;
    world.runtime.on(On::image("nginx:1"), Behaviour::new().exits(Duration::from_secs(5), 1));
    folder.put("web.yaml", web("nginx:1"));
    world.start_agent();
    let restarts = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.clone());
        statuses.is_some_and(|all| all[0].restart_count >= 3)
    };
    world.until(NAME, "restarted", restarts).await;
    let pod = world.get(NAME).await;
    let status = &pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0];
    assert!(status.last_state.as_ref().unwrap().terminated.is_some(), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn no_api_is_needed() {
    let (mut world, folder) = world().await;
    folder.put("web.yaml", web("nginx:1"));
    world.set_serving(false);
    world.start_agent();
    world.sleep(30.0).await;
    let running = async || {
        let containers = world.sandboxes().await.into_iter().flat_map(|sandbox| sandbox.containers);
        containers.filter(|container| container.state.is_running()).count()
    };
    assert_eq!(running().await, 1, "it runs though the API answers nothing");
    world.set_serving(true);
    world.until_ready(NAME).await;
    world.set_serving(false);
    folder.remove("web.yaml");
    world.until_empty().await;
    world.set_serving(true);
    world.until_gone(NAME).await;
}

#[tokio::test(start_paused = true)]
async fn taints_are_nothing_to_a_manifest_and_labels_are() {
    let (mut world, folder) = world().await;
    let sick = json!({"key": "sick", "effect": "NoExecute"});
    world.config.taints.push(serde_json::from_value(sick).unwrap());
    world.config.labels.insert("disk".into(), "ssd".into());
    let on =
        |disk: &str| web("nginx:1").replace("spec: {", &format!("spec: {{nodeSelector: {{disk: {disk}}}, "));
    folder.put("web.yaml", on("ssd"));
    folder.put("other.yaml", on("hdd").replace("name: web", "name: other"));
    world.start_agent();
    world.until_ready(NAME).await;
    let other = world.until_phase("other-n1", "Failed").await;
    assert_eq!(other.status.unwrap().reason.as_deref(), Some("NodeAffinity"));
    assert_eq!(world.sandboxes().await.len(), 1);
}
