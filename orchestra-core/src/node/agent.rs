//! The agent: it registers its node, follows the node's pods, and runs a loop for each.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Service};
use rustc_hash::FxHashMap;
use tokio::task::JoinSet;

use super::config::Config;
use super::context::{Context, owner};
use super::fake::FakeHost;
use super::mailbox::Mailbox;
use super::no_host::NoHost;
use super::orphans;
use super::pod_loop::PodLoop;
use super::ports::{Prober, VolumeHost};
use super::register::Registrar;
use super::service::LocalNode;
use super::status::NodeFacts;
use crate::api::{Client, Status, Target, WatchEvent, WatchOptions};
use crate::control::events::Recorder;
use crate::network::Network;
use crate::runtime::{Filter, Runtime, RuntimeError, RuntimeInfo};
use crate::selector::FieldSelector;
use crate::watch::Entry;

/// How soon a watch or a runtime that is away is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs the pods of one node.
///
/// ```no_run
/// # async fn example(
/// #     client: orchestra_core::api::Client,
/// #     runtime: std::sync::Arc<dyn orchestra_core::runtime::Runtime>,
/// #     network: std::sync::Arc<dyn orchestra_core::network::Network>,
/// #     shutdown: impl Future<Output = ()> + Send,
/// # ) {
/// use orchestra_core::node::Agent;
///
/// Agent::new("node-1", client, runtime, network).run(shutdown).await;
/// # }
/// ```
///
/// When `shutdown` resolves the agent leaves everything as it is: containers run on, and the next agent of that name
/// adopts them.
pub struct Agent {
    name: String,
    client: Client,
    runtime: Arc<dyn Runtime>,
    network: Arc<dyn Network>,
    volumes: Option<Arc<dyn VolumeHost>>,
    prober: Option<Arc<dyn Prober>>,
    config: Config,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Agent {
    /// An agent for a node.
    ///
    /// Until it is given a place for volumes and a prober it does without: pods that want them are told so, except on a
    /// [simulated](crate::runtime::Capabilities::simulated) runtime, where volumes are remembered and probes pass.
    pub fn new(
        name: impl Into<String>,
        client: Client,
        runtime: Arc<dyn Runtime>,
        network: Arc<dyn Network>,
    ) -> Self {
        let (volumes, prober, config) = (None, None, Config::default());
        Self { name: name.into(), client, runtime, network, volumes, prober, config }
    }

    /// Where volumes are kept.
    #[must_use]
    pub fn volumes(mut self, volumes: Arc<dyn VolumeHost>) -> Self {
        self.volumes = Some(volumes);
        self
    }

    /// How pods are probed over the network.
    #[must_use]
    pub fn prober(mut self, prober: Arc<dyn Prober>) -> Self {
        self.prober = Some(prober);
        self
    }

    /// Everything else that can be set.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// What answers requests for logs and the like of this node's pods.
    pub fn service(&self) -> LocalNode {
        LocalNode::new(self.runtime.clone(), owner(&self.config, &self.name), self.client.clone())
    }

    /// Runs until `shutdown` resolves. Waits for a runtime or an API that is away, now or later.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        tokio::select! {
            () = self.live() => {}
            () = shutdown => {}
        }
    }

    async fn live(self) {
        let (ctx, info) = self.prepare().await;
        let mut registrar = Registrar::new(ctx.clone(), info);
        registrar.register().await;
        let mut pods = Pods { ctx, loops: FxHashMap::default(), tasks: JoinSet::new() };
        tokio::join!(registrar.run(), pods.follow());
    }

    /// Asks the runtime who and where it is, until it answers.
    async fn prepare(self) -> (Arc<Context>, RuntimeInfo) {
        let clock = self.client.clock().clone();
        let (machine, info) = loop {
            match self.ask().await {
                Ok(answer) => break answer,
                Err(error) => tracing::warn!(node = self.name, %error, "the runtime does not answer yet"),
            }
            clock.sleep(AGAIN).await;
        };
        let services = self.client.cache::<Service>().await;
        if let Err(error) = &services {
            tracing::warn!(node = self.name, %error, "containers will not be told of services");
        }
        let recorder =
            self.config.events.then(|| Recorder::new(self.client.clone(), "kubelet", self.name.clone()));
        let simulated = self.runtime.capabilities().simulated;
        let volumes = self
            .volumes
            .unwrap_or_else(|| if simulated { Arc::new(FakeHost::new()) } else { Arc::new(NoHost) });
        let prober = self
            .prober
            .unwrap_or_else(|| if simulated { Arc::new(FakeHost::new()) } else { Arc::new(NoHost) });
        let facts = NodeFacts { host_ips: self.config.addresses.clone(), runtime: info.name.clone() };
        let ctx = Context {
            name: self.name,
            runtime: self.runtime,
            network: self.network,
            volumes,
            prober,
            recorder,
            config: self.config,
            machine,
            facts,
            services: services.ok(),
            began: clock.now(),
            client: self.client,
        };
        (Arc::new(ctx), info)
    }

    async fn ask(&self) -> Result<(crate::runtime::MachineInfo, RuntimeInfo), RuntimeError> {
        Ok((self.runtime.machine().await?, self.runtime.info().await?))
    }
}

/// The pods of the node, by uid, and their loops.
struct Pods {
    ctx: Arc<Context>,
    loops: FxHashMap<String, Arc<Mailbox>>,
    /// Ends with the uid of the pod that is no more. Dropping it ends all loops.
    tasks: JoinSet<String>,
}

impl Pods {
    /// Follows the API and the runtime for ever.
    async fn follow(&mut self) {
        let mut events = None;
        loop {
            if let Err(error) = self.watch(&mut events).await {
                tracing::debug!(node = self.ctx.name, %error, "the watch of the node's pods ended");
            }
            self.ctx.clock().sleep(AGAIN).await;
        }
    }

    /// One watch, from the list of what is there to its end.
    async fn watch(&mut self, events: &mut Option<crate::runtime::EventStream>) -> Result<(), Status> {
        let fields = FieldSelector::parse(&format!("spec.nodeName={}", self.ctx.name))
            .map_err(|error| Status::internal(error.to_string()))?;
        let options = WatchOptions {
            fields: Some(fields),
            initial_events: Some(true),
            bookmarks: true,
            ..WatchOptions::default()
        };
        let mut watch = self.ctx.client.watch(Target::of::<Pod>(None), options).await?;
        let mut listed = Some(BTreeSet::new());
        loop {
            tokio::select! {
                event = watch.next() => {
                    let Some(event) = event else { return Ok(()) };
                    self.changed(event?, &mut listed).await;
                }
                event = next_event(&self.ctx, events) => self.happened(event),
                Some(ended) = self.tasks.join_next() => self.ended(ended),
            }
        }
    }

    async fn changed(&mut self, event: WatchEvent, listed: &mut Option<BTreeSet<String>>) {
        match event {
            WatchEvent::Added(entry) | WatchEvent::Modified(entry) => {
                if let Some(listed) = listed {
                    listed.insert(entry.uid().to_string());
                }
                self.put(entry);
            }
            WatchEvent::Deleted(entry) => {
                if let Some(mailbox) = self.loops.get(entry.uid().as_str()) {
                    mailbox.put_gone(Some(entry));
                }
            }
            WatchEvent::Bookmark { initial_events_end: true, .. } => {
                if let Some(listed) = listed.take() {
                    self.drop_others(&listed).await;
                }
            }
            WatchEvent::Bookmark { .. } => {}
        }
    }

    fn put(&mut self, entry: Arc<Entry>) {
        let uid = entry.uid().to_string();
        if let Some(mailbox) = self.loops.get(&uid) {
            return mailbox.put(entry);
        }
        let mailbox = Arc::new(Mailbox::default());
        self.loops.insert(uid.clone(), mailbox.clone());
        let running = PodLoop::new(self.ctx.clone(), mailbox, entry).run();
        self.tasks.spawn(async move {
            running.await;
            uid
        });
    }

    /// The API has just these pods: ends the loops of others, and removes what is left of pods that nobody knows.
    async fn drop_others(&mut self, listed: &BTreeSet<String>) {
        for (uid, mailbox) in &self.loops {
            if !listed.contains(uid) {
                mailbox.put_gone(None);
            }
        }
        let known: BTreeSet<String> = self.loops.keys().cloned().collect();
        tokio::spawn(orphans::remove(self.ctx.clone(), known));
    }

    /// The runtime says that something happened to a pod; `None` when it may have happened to any.
    fn happened(&self, uid: Option<String>) {
        match uid {
            Some(uid) => {
                if let Some(mailbox) = self.loops.get(&uid) {
                    mailbox.poke();
                }
            }
            None => self.loops.values().for_each(|mailbox| mailbox.poke()),
        }
    }

    fn ended(&mut self, ended: Result<String, tokio::task::JoinError>) {
        match ended {
            Ok(uid) => {
                self.loops.remove(&uid);
            }
            Err(error) => tracing::error!(node = self.ctx.name, %error, "the loop of a pod panicked"),
        }
    }
}

/// Waits for the runtime's next event: the uid of its pod, or `None` after events may have been missed.
async fn next_event(ctx: &Context, events: &mut Option<crate::runtime::EventStream>) -> Option<String> {
    loop {
        let Some(stream) = events else {
            match ctx.runtime.events().await {
                Ok(stream) => {
                    *events = Some(stream);
                    return None;
                }
                Err(error) => tracing::debug!(node = ctx.name, %error, "no events from the runtime"),
            }
            ctx.clock().sleep(AGAIN).await;
            continue;
        };
        match stream.next().await {
            Some(Ok(event)) => return Some(event.pod.uid),
            Some(Err(_)) | None => *events = None,
        }
    }
}

/// What one agent made.
pub(super) fn mine(ctx: &Context) -> Filter {
    Filter::owner(ctx.owner())
}
