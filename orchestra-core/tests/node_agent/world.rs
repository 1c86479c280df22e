//! An API server in memory with one node agent over fakes, in virtual time.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use orchestra_core::api::access::Authenticated;
use orchestra_core::api::{
    Api, Client, DeleteOptions, Responders, Server, ServerConfig, Target, User, WatchEvent, WatchOptions,
    WatchStream,
};
use orchestra_core::clock::{SharedClock, TokioClock};
use orchestra_core::k8s_openapi;
use orchestra_core::network::fake::FakeNetwork;
use orchestra_core::node::fake::FakeHost;
use orchestra_core::node::{Agent, Config, DevicePlugins, LocalNode, Manifests};
use orchestra_core::objects;
use orchestra_core::runtime::fake::FakeRuntime;
use orchestra_core::runtime::{
    ContainerMeta, ContainerSpec, Filter, PodRef, Runtime, Sandbox, SandboxId, SandboxMeta, SandboxSpec,
};
use orchestra_core::store::memory::MemoryStore;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const NODE: &str = "n1";
const DEADLINE: Duration = Duration::from_secs(3600);

pub struct World {
    pub client: Client,
    pub clock: SharedClock,
    pub runtime: FakeRuntime,
    pub network: FakeNetwork,
    pub host: FakeHost,
    pub manifests: Vec<Arc<dyn Manifests>>,
    pub plugins: Option<Arc<dyn DevicePlugins>>,
    /// What is set of the next agent.
    pub config: Config,
    stop: CancellationToken,
    agent: Option<JoinHandle<()>>,
    server: Arc<Server>,
    _server: CancellationToken,
}

impl World {
    /// A cluster whose agent runs.
    pub async fn start() -> Self {
        let mut world = Self::without_agent().await;
        world.start_agent();
        world
    }

    pub async fn without_agent() -> Self {
        let clock = TokioClock::simulated(7);
        let token = CancellationToken::new();
        let config = ServerConfig {
            store: Arc::new(MemoryStore::new()),
            kinds: Arc::new(objects::builtin()),
            clock: clock.clone(),
            admission: Box::new(|_, _| Vec::new()),
            authorizer: Box::new(|_| Arc::new(Authenticated)),
            responders: Box::new(|_, _, _| Responders::new()),
        };
        let server = Server::start(config, token.clone()).await.unwrap();
        Self {
            client: server.client(User::admin()),
            runtime: FakeRuntime::new(clock.clone()),
            network: FakeNetwork::new(),
            host: FakeHost::new(),
            manifests: Vec::new(),
            plugins: None,
            config: Config { addresses: vec!["10.0.0.1".parse().unwrap()], ..Config::default() },
            stop: CancellationToken::new(),
            clock,
            agent: None,
            server,
            _server: token,
        }
    }

    fn new_agent(&self) -> Agent {
        let host = Arc::new(self.host.clone());
        let (runtime, network) = (Arc::new(self.runtime.clone()), Arc::new(self.network.clone()));
        let agent = Agent::new(NODE, self.client.clone(), runtime, network);
        let agent = self.plugins.iter().cloned().fold(agent, Agent::device_plugins);
        let manifests = self.manifests.iter().cloned();
        manifests.fold(agent, Agent::manifests).volumes(host.clone()).prober(host).config(self.config.clone())
    }

    /// Takes the API away, or brings it back.
    pub fn set_serving(&self, serving: bool) {
        self.server.set_serving(serving);
    }

    pub fn start_agent(&mut self) {
        let agent = self.new_agent();
        self.stop = CancellationToken::new();
        self.agent = Some(tokio::spawn(agent.run(self.stop.clone().cancelled_owned())));
    }

    /// Tells the agent to stop, as SIGTERM does; it has when what is answered ends.
    pub fn stop_agent(&mut self) -> JoinHandle<()> {
        self.stop.cancel();
        self.agent.take().expect("an agent runs")
    }

    /// Kills the agent as `kill -9` would: in the middle of whatever it does.
    pub async fn kill_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.abort();
            let _ = agent.await;
        }
    }

    pub fn service(&self) -> LocalNode {
        self.new_agent().service()
    }

    pub fn pods(&self) -> Api<Pod> {
        self.client.api("default")
    }

    /// Makes a pod on the node, with what its author wrote.
    pub async fn create(&self, name: &str, spec: Value) -> Pod {
        let mut spec = spec;
        spec["nodeName"] = json!(NODE);
        let pod = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
        self.pods().create(&serde_json::from_value(pod).unwrap()).await.unwrap()
    }

    /// What happens to pods from now on.
    pub async fn watch_pods(&self) -> WatchStream {
        let target = Target::of::<Pod>(Some("default"));
        let mut watch = self
            .client
            .watch(
                target,
                WatchOptions { initial_events: Some(true), bookmarks: true, ..WatchOptions::default() },
            )
            .await
            .unwrap();
        while let Some(event) = watch.next().await {
            if matches!(event.unwrap(), WatchEvent::Bookmark { initial_events_end: true, .. }) {
                break;
            }
        }
        watch
    }

    pub async fn get(&self, name: &str) -> Pod {
        self.pods().get(name).await.unwrap()
    }

    /// Waits until a pod is as it should be.
    pub async fn until(&self, name: &str, what: &str, is: impl Fn(&Pod) -> bool) -> Pod {
        let wait = async {
            loop {
                if let Some(pod) = self.pods().find(name).await.unwrap()
                    && is(&pod)
                {
                    return pod;
                }
                self.sleep(0.05).await;
            }
        };
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(pod) => pod,
            Err(_) => panic!(
                "{name} never was {what}: {:#?}",
                self.pods().find(name).await.unwrap().map(|p| p.status)
            ),
        }
    }

    pub async fn until_ready(&self, name: &str) -> Pod {
        self.until(name, "ready", |pod| condition(pod, "Ready") == "True").await
    }

    pub async fn until_phase(&self, name: &str, phase: &str) -> Pod {
        self.until(name, phase, |pod| self::phase(pod) == phase).await
    }

    pub async fn until_gone(&self, name: &str) {
        let wait = async {
            while self.pods().find(name).await.unwrap().is_some() {
                self.sleep(0.05).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("the pod goes");
    }

    /// Waits until the runtime has nothing left.
    pub async fn until_empty(&self) {
        let wait = async {
            while !self.sandboxes().await.is_empty() {
                self.sleep(0.05).await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.expect("everything is removed");
    }

    pub async fn delete(&self, name: &str, grace: Option<i64>) {
        let options = DeleteOptions { grace_period: grace, ..DeleteOptions::default() };
        self.pods().delete_with(name, options).await.unwrap();
    }

    pub async fn sleep(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// A sandbox of this node whose pod nobody knows, with a container that runs.
    pub async fn sandbox_of_nobody(&self, uid: &str) -> SandboxId {
        let pod = PodRef { namespace: "default".into(), name: "nobody".into(), uid: uid.into() };
        let owner = format!("{}/{NODE}", Config::default().cluster);
        let sandbox = self.runtime.run_sandbox(&sandbox_spec(pod, owner)).await.unwrap().id;
        let meta = ContainerMeta { name: "late".into(), attempt: 0, hash: String::new() };
        let spec = ContainerSpec {
            meta,
            image: "nginx:1".into(),
            image_id: String::new(),
            command: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            working_dir: None,
            mounts: Vec::new(),
            devices: Vec::new(),
            security: Default::default(),
            resources: Default::default(),
            stdin: false,
            stdin_once: false,
            tty: false,
            processes_of: None,
            stop_signal: None,
            labels: Default::default(),
            annotations: Default::default(),
            log_path: "late.log".into(),
        };
        let container = self.runtime.create_container(&sandbox, &spec).await.unwrap();
        self.runtime.start_container(&container).await.unwrap();
        sandbox
    }

    pub async fn sandboxes(&self) -> Vec<Sandbox> {
        self.runtime.list(&Filter::default()).await.unwrap()
    }

    /// What was said of a pod, one line an event, in order of time: `Normal Started (x2) Container started`.
    pub async fn events(&self, pod: &str) -> String {
        // The recorder writes in the background.
        self.sleep(0.01).await;
        let mut events: Vec<Event> = self.client.api::<Event>("default").list().await.unwrap();
        events.retain(|event| event.involved_object.name.as_deref() == Some(pod));
        events.sort_by_key(|event| {
            let number = event.metadata.resource_version.clone().unwrap_or_default();
            (event.first_timestamp.as_ref().map(|time| time.0), number.parse::<u64>().unwrap_or(0))
        });
        let mut text = String::new();
        for event in events {
            let count = event.count.filter(|count| *count > 1).map(|count| format!(" (x{count})"));
            let _ = writeln!(
                text,
                "{} {}{} {}",
                event.type_.unwrap_or_default(),
                event.reason.unwrap_or_default(),
                count.unwrap_or_default(),
                event.message.unwrap_or_default()
            );
        }
        text
    }
}

/// A plain sandbox of a pod.
pub fn sandbox_spec(pod: PodRef, owner: String) -> SandboxSpec {
    SandboxSpec {
        meta: SandboxMeta { pod, attempt: 0, owner },
        hostname: "x".into(),
        dns: None,
        host_ports: Vec::new(),
        namespaces: Default::default(),
        sysctls: Default::default(),
        labels: Default::default(),
        annotations: Default::default(),
        log_directory: "/x".into(),
        cgroup_parent: None,
        resources: None,
        handler: String::new(),
        privileged: false,
    }
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn condition<'a>(pod: &'a Pod, type_: &str) -> &'a str {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let found = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == type_));
    found.map(|condition| condition.status.as_str()).unwrap_or_default()
}

pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let mut all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    all.find(|container| container.name == name)
}

/// Why a container waits; empty when it does not.
pub fn waiting<'a>(pod: &'a Pod, name: &str) -> &'a str {
    let state = container(pod, name).and_then(|container| container.state.as_ref());
    state
        .and_then(|state| state.waiting.as_ref())
        .and_then(|waiting| waiting.reason.as_deref())
        .unwrap_or_default()
}
