//! A cluster without nodes: a server, the controllers, and a kubelet of a few lines that says of every pod what a
//! test wants it to say.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use orchestra_core::api::{Api, Client, DeleteOptions, Patch, WatchOptions, Watched};
use orchestra_core::clock::SharedClock;
use orchestra_core::controllers::{self, Config};
use orchestra_core::meta::Object;
use orchestra_core::testing::{TestServer, TestServerBuilder, until};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// How long anything may take, in the cluster's time.
const PATIENCE: Duration = Duration::from_secs(3600);

pub struct Cluster {
    pub client: Client,
    kubelet: Arc<Mutex<Kubelet>>,
    config: Config,
    controllers: Mutex<Option<(CancellationToken, tokio::task::JoinHandle<()>)>>,
    server: TestServer,
    _stop: tokio_util::sync::DropGuard,
}

/// What becomes of pods.
#[derive(Default)]
struct Kubelet {
    /// Images whose pods never become ready.
    broken: Vec<String>,
    /// Images whose pods run to their end at once, with an exit code.
    ending: HashMap<String, i32>,
    /// Nodes that are alive. Pods go to them in turn; if there are none, pods run without.
    alive: Vec<String>,
    /// Whether a scheduler says where pods go.
    scheduled: bool,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub async fn with(config: Config) -> Self {
        Self::of(config, TestServer::builder()).await
    }

    /// One that lives by a clock.
    pub async fn by(clock: SharedClock) -> Self {
        Self::of(Config::default(), TestServer::builder().clock(clock)).await
    }

    async fn of(config: Config, server: TestServerBuilder) -> Self {
        let stop = CancellationToken::new();
        let server = server.namespace("kube-node-lease").start().await;
        let client = server.client();
        let kubelet = Arc::new(Mutex::new(Kubelet::default()));
        let run = kubelet_for(client.clone(), Arc::clone(&kubelet));
        tokio::spawn(stop.clone().run_until_cancelled_owned(run));
        let controllers = Mutex::default();
        let cluster = Self { client, kubelet, config, controllers, server, _stop: stop.drop_guard() };
        cluster.start_controllers();
        cluster
    }

    /// Starts the controllers.
    pub fn start_controllers(&self) {
        let stop = CancellationToken::new();
        let run =
            controllers::run_all(self.client.clone(), self.config.clone(), stop.clone().cancelled_owned());
        *self.controllers.lock().unwrap() = Some((stop, tokio::spawn(run)));
    }

    /// Stops the controllers and waits until they have.
    pub async fn stop_controllers(&self) {
        let (stop, run) = self.controllers.lock().unwrap().take().unwrap();
        stop.cancel();
        run.await.unwrap();
    }

    /// From now on pods of an image never become ready.
    pub fn breaks(&self, image: &str) {
        self.kubelet.lock().unwrap().broken.push(image.to_owned());
    }

    /// From now on pods of an image run to their end, with an exit code.
    pub fn ends(&self, image: &str, code: i32) {
        self.kubelet.lock().unwrap().ending.insert(image.to_owned(), code);
    }

    /// From now on pods go where a scheduler says.
    pub fn is_scheduled(&self) {
        self.kubelet.lock().unwrap().scheduled = true;
    }

    /// How often a controller has run.
    pub fn runs(&self, controller: &str) -> u64 {
        self.config.metrics.read()[controller].ran.count
    }

    /// Adds a node that is alive.
    pub async fn node(&self, name: &str) {
        let now = now(&self.client);
        self.create::<Node>(json!({
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now}]},
        }))
        .await;
        self.kubelet.lock().unwrap().alive.push(name.to_owned());
        tokio::spawn(heartbeats(self.client.clone(), Arc::clone(&self.kubelet), name.to_owned()));
    }

    /// From now on nothing is heard of a node.
    pub fn kill(&self, node: &str) {
        self.kubelet.lock().unwrap().alive.retain(|alive| alive != node);
    }

    /// A node that was killed comes back.
    pub async fn revive(&self, name: &str) {
        self.kubelet.lock().unwrap().alive.push(name.to_owned());
        let conditions = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": now(&self.client)}]);
        let status = Patch::Merge(json!({"status": {"conditions": conditions}}));
        self.client.cluster::<Node>().patch_status(name, status).await.unwrap();
    }

    pub fn api<K: Object>(&self) -> Api<K> {
        self.client.api("default")
    }

    pub async fn create<K: Object>(&self, object: Value) -> K {
        self.server.create(object).await
    }

    pub async fn patch<K: Object>(&self, name: &str, patch: Value) -> K {
        self.api::<K>().patch(name, Patch::Merge(patch)).await.unwrap()
    }

    /// Waits until something is so.
    pub async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, is: impl Fn() -> F) -> T {
        until(what, PATIENCE, async || is().await).await
    }

    /// Waits until an object is as wanted, or gone.
    pub async fn until_object<K: Object>(
        &self,
        name: &str,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        until(format!("{} {name} {what}", K::KIND), PATIENCE, async || {
            let object = serde_json::to_value(self.api::<K>().find(name).await.unwrap()).unwrap();
            is(&object).then_some(object)
        })
        .await
    }

    /// The pods that match, without those on their way out.
    pub async fn pods(&self, labels: &str) -> Vec<Pod> {
        let options =
            orchestra_core::api::ListOptions { labels: Some(labels.parse().unwrap()), ..Default::default() };
        let mut pods = self.api::<Pod>().list_with(options).await.unwrap().items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        pods
    }

    /// Waits until there are so many pods, all ready.
    pub async fn until_pods(&self, labels: &str, count: usize) -> Vec<Pod> {
        self.until(&format!("{count} pods {labels}"), async || {
            let pods = self.pods(labels).await;
            (pods.len() == count && pods.iter().all(is_ready)).then_some(pods)
        })
        .await
    }

    /// The events about an object: reasons and messages.
    pub async fn events(&self, name: &str) -> Vec<(String, String)> {
        // Until the recorders have written what they have.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut events = self.api::<Event>().list().await.unwrap();
        events.retain(|event| event.involved_object.name.as_deref() == Some(name));
        events.sort_by_key(|event| event.metadata.name.clone());
        events.into_iter().map(|event| (event.reason.unwrap(), event.message.unwrap())).collect()
    }
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn now(client: &Client) -> String {
    client.clock().now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Renews a node's lease as long as it is alive.
async fn heartbeats(client: Client, kubelet: Arc<Mutex<Kubelet>>, node: String) {
    let leases = client.api::<Lease>("kube-node-lease");
    let lease = json!({"metadata": {"name": node}, "spec": {"holderIdentity": node}});
    let _ = leases.create(&serde_json::from_value(lease).unwrap()).await;
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        if kubelet.lock().unwrap().alive.contains(&node) {
            let time = client.clock().now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            let _ = leases.patch(&node, Patch::Merge(json!({"spec": {"renewTime": time}}))).await;
        }
    }
}

async fn kubelet_for(client: Client, kubelet: Arc<Mutex<Kubelet>>) {
    let mut next = 1;
    let mut watch = client.cluster::<Pod>().watch(WatchOptions::default()).await.unwrap();
    while let Some(event) = watch.next().await {
        let (Watched::Added(pod) | Watched::Modified(pod)) = event.unwrap() else { continue };
        let name = pod.metadata.name.clone().unwrap();
        let api = client.api::<Pod>(pod.metadata.namespace.as_deref().unwrap());
        let alive = kubelet.lock().unwrap().alive.clone();
        let spec = pod.spec.as_ref().unwrap();
        if let Some(node) = &spec.node_name
            && !alive.contains(node)
        {
            continue;
        }
        if pod.metadata.deletion_timestamp.is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let options =
                DeleteOptions { grace_period: Some(0), uid: pod.metadata.uid, ..Default::default() };
            let _ = api.delete_with(&name, options).await;
            continue;
        }
        if spec.node_name.is_none() && kubelet.lock().unwrap().scheduled {
            continue;
        }
        if spec.node_name.is_none() && !alive.is_empty() {
            next += 1;
            let node = named_node(&pod).unwrap_or_else(|| alive[next % alive.len()].clone());
            let target = json!({"kind": "Node", "name": node});
            let binding = json!({"metadata": {"name": name}, "target": target});
            // It may have been deleted meanwhile.
            let _ = api.create_sub(&name, "binding", binding).await;
            continue;
        }
        let started = pod.status.as_ref().is_some_and(|status| status.pod_ip.is_some());
        let image = spec.containers[0].image.clone().unwrap_or_default();
        if started || has_ended(&pod) || kubelet.lock().unwrap().broken.contains(&image) {
            continue;
        }
        let now = now(&client);
        let code = kubelet.lock().unwrap().ending.get(&image).copied();
        if let Some(code) = code {
            let _ = api.patch_status(&name, Patch::Merge(ended(&pod, code, &now))).await;
            continue;
        }
        next += 1;
        let ip = format!("10.0.{}.{}", next / 250, next % 250);
        let status = json!({"status": {
            "phase": "Running", "startTime": now, "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
        }});
        let _ = api.patch_status(&name, Patch::Merge(status)).await;
    }
}

/// The node that a pod says it must be on.
fn named_node(pod: &Pod) -> Option<String> {
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let field = required.node_selector_terms.first()?.match_fields.as_ref()?.first()?;
    field.values.as_ref()?.first().cloned()
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn ended(pod: &Pod, code: i32, now: &str) -> Value {
    let container = &pod.spec.as_ref().unwrap().containers[0].name;
    let terminated = json!({"exitCode": code, "startedAt": now, "finishedAt": now});
    json!({"status": {
        "phase": if code == 0 { "Succeeded" } else { "Failed" },
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": now}],
        "containerStatuses": [{
            "name": container, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": terminated},
        }],
    }})
}
